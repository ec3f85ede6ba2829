//! One connection of a device: its login, its loop of reading and acting, and the replies that it expects.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use fastrand::Rng;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout_at},
};

use super::{abandoned_connection::AbandonedConnection, fleet::FleetVehicle};
use crate::{
    history::record::{ConnectionNumber, DeviceEvent, Marker},
    support::{AsyncDevice, GatewayMessage, hello},
};

/// How long a device waits for a reply before it closes the connection. It is longer than the gateway may take, so that
/// the `response-time` invariant sees every reply that is late.
pub(super) const REPLY_TIMEOUT: Duration = Duration::from_secs(12);

/// How a connection ended for its device.
pub(super) enum ConnectionEnd {
    /// It is closed, or could not be opened.
    Closed,
    /// The device stopped reading.
    Abandoned(AbandonedConnection),
    /// It was alive at the end of the run, and is still open.
    Alive(TcpStream),
}

/// A reply that the device expects from the gateway.
pub(super) enum ExpectedReply {
    /// The acknowledgement of a report or of a debug blob, with its text.
    Acknowledgement(Marker, &'static str),
    IntervalAcknowledgement(u32),
    Pong {
        last: bool,
    },
    Goodbye,
}

/// A reply to a command that the device is about to send.
pub(super) struct ScheduledReply {
    pub(super) due: Instant,
    pub(super) nth: usize,
    pub(super) sentence: String,
    pub(super) marker: Option<Marker>,
}

/// What the connection does after an event.
pub(super) enum Next {
    Continue,
    /// It ends, for the reason that this event states.
    End(DeviceEvent),
    Abandon,
    /// It is alive at the end of the run.
    Alive,
}

pub(super) struct DeviceConnection {
    pub(super) vehicle: Arc<FleetVehicle>,
    number: ConnectionNumber,
    pub(super) device: AsyncDevice,
    pub(super) rng: Rng,
    /// In the order of the messages that they answer, with the times at which those were sent.
    pub(super) expected: VecDeque<(ExpectedReply, Instant)>,
    pub(super) scheduled: VecDeque<ScheduledReply>,
    /// How many commands it has received.
    pub(super) commands: usize,
    /// When it acts next on its own.
    pub(super) next_action: Instant,
}

impl FleetVehicle {
    /// Connects, logs in, and runs the connection until one of the two sides ends it.
    pub(super) async fn connect(self: Arc<Self>, mut rng: Rng) -> ConnectionEnd {
        let (to, is_direct) = self.addresses.choose(&mut rng);
        let number = self.next_connection();
        let proxied = is_direct.then(|| unique_address(self.number, number));
        let Ok(mut device) = AsyncDevice::connect(to, proxied, self.dialect, &self.id).await else {
            return ConnectionEnd::Closed;
        };
        let address = device.address.to_string();
        self.observe(number, DeviceEvent::Connected { address });
        self.observe(number, DeviceEvent::SentHello);
        if device.say(&hello(&self.id)).await.is_err() {
            self.observe(number, DeviceEvent::ClosedByPeer);
            return ConnectionEnd::Closed;
        }
        if let Err(event) = receive_greeting(&mut device, Instant::now()).await {
            self.observe(number, event);
            return ConnectionEnd::Closed;
        }
        self.observe(number, DeviceEvent::Greeted);
        let connection = DeviceConnection {
            vehicle: Arc::clone(&self),
            number,
            device,
            rng,
            expected: VecDeque::new(),
            scheduled: VecDeque::new(),
            commands: 0,
            next_action: Instant::now(),
        };
        connection.run().await
    }
}

/// The event of a device that gives up a reply which it expects since then.
pub(super) fn timed_out(since: Instant) -> DeviceEvent {
    let waited = since.elapsed().as_millis().try_into().unwrap();
    DeviceEvent::TimedOut { waited }
}

/// An address that no other connection of a run has.
fn unique_address(vehicle: usize, connection: ConnectionNumber) -> SocketAddr {
    let byte = |number: usize| u8::try_from(number % 256).unwrap();
    let address = [10, byte(vehicle), byte(connection / 256), byte(connection)];
    SocketAddr::from((address, 1024))
}

/// Waits for the greeting, which the device expects since then.
async fn receive_greeting(device: &mut AsyncDevice, since: Instant) -> Result<(), DeviceEvent> {
    loop {
        match timeout_at(since + REPLY_TIMEOUT, device.hear()).await {
            Err(_elapsed) => return Err(timed_out(since)),
            Ok(None) => return Err(DeviceEvent::ClosedByPeer),
            Ok(Some(GatewayMessage::Greeting)) => {}
            Ok(Some(GatewayMessage::Reply(reply))) if reply == "HI, NICE TO MEET YOU!" => {
                return Ok(());
            }
            Ok(Some(other)) => return Err(DeviceEvent::UnexpectedSentence(format!("{other:?}"))),
        }
    }
}

impl DeviceConnection {
    async fn run(mut self) -> ConnectionEnd {
        let mut phase = self.vehicle.phase.clone();
        phase.mark_unchanged();
        loop {
            let reply_due = self.scheduled.front().map(|reply| reply.due);
            let due = reply_due.unwrap_or(self.next_action).min(self.next_action);
            let next = tokio::select! {
                message = self.device.hear() => match message {
                    None => Next::End(DeviceEvent::ClosedByPeer),
                    Some(message) => self.receive(message),
                },
                () = sleep_until(due) => self.act().await,
                // It acts at once when the phase changes.
                Ok(()) = phase.changed() => {
                    self.next_action = Instant::now();
                    Next::Continue
                }
            };
            match next {
                Next::Continue => {}
                Next::End(event) => {
                    self.observe(event);
                    return ConnectionEnd::Closed;
                }
                Next::Abandon => {
                    self.observe(DeviceEvent::StoppedReading);
                    return ConnectionEnd::Abandoned(AbandonedConnection {
                        device: self.device,
                        connection: self.number,
                    });
                }
                Next::Alive => {
                    self.observe(DeviceEvent::AliveAtEnd);
                    return ConnectionEnd::Alive(self.device.into_stream());
                }
            }
        }
    }

    pub(super) fn observe(&self, event: DeviceEvent) {
        self.vehicle.observe(self.number, event);
    }

    fn receive(&mut self, message: GatewayMessage) -> Next {
        match message {
            GatewayMessage::Command(sentence) => {
                self.observe(DeviceEvent::ReceivedCommand {
                    sentence: sentence.clone(),
                    late: false,
                });
                self.commands += 1;
                self.schedule_reply(&sentence);
                Next::Continue
            }
            GatewayMessage::Reply(reply) => self.receive_reply(reply),
            GatewayMessage::Greeting => {
                Next::End(DeviceEvent::UnexpectedSentence("connected".to_owned()))
            }
        }
    }

    fn receive_reply(&mut self, reply: String) -> Next {
        match (reply.as_str(), self.expected.pop_front()) {
            (text, Some((ExpectedReply::Acknowledgement(marker, expected), _)))
                if text == expected =>
            {
                self.observe(DeviceEvent::Acknowledged(marker));
                Next::Continue
            }
            ("SURE, I WILL!", Some((ExpectedReply::IntervalAcknowledgement(seconds), _))) => {
                self.observe(DeviceEvent::IntervalAcknowledged(seconds));
                Next::Continue
            }
            ("PONG.", Some((ExpectedReply::Pong { last: true }, _))) => Next::Alive,
            // The close follows the reply to a goodbye.
            ("PONG.", Some((ExpectedReply::Pong { last: false }, _)))
            | ("SEE YA!", Some((ExpectedReply::Goodbye, _))) => Next::Continue,
            _ => Next::End(DeviceEvent::UnexpectedSentence(reply)),
        }
    }
}
