//! One connection of a simulated device: login, heartbeats, reports, answers, goodbye.
//!
//! A loop around one wait: for bytes of the gateway, a typed line, a timer, or the end of the simulation.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    device::{ConnectionEnd, SimulatedDevice, TypedLines, next_line},
    tally::Tallied,
    typed::parse_line,
};
use crate::{
    domain::{Action, DeviceSentence, GatewaySentence},
    protocol::{
        DeviceMessage, Dialect, GatewayDecoded, GatewayDecoder, encode, encode_connected,
        encode_device,
    },
};

/// How long a JSON device waits for the `connected` object before it logs in without it.
const CONNECTED_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest time for an answer: longer than the gateway waits for its database.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest time for a write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time for the answer to a goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest read, in bytes. The gateway sends short sentences.
const CHUNK: usize = 512;
/// The number of unanswered sentences at which typed lines have to wait.
const PIPELINE: usize = 32;

/// Runs the connection until it ends. Returns whether the device was logged in, and how the connection ended.
pub(super) async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    device: &mut SimulatedDevice,
    stream: S,
    lines: &mut TypedLines,
    stop: &CancellationToken,
) -> (bool, ConnectionEnd) {
    let mut connection = SimulatedConnection {
        phase: SessionPhase::Silent {
            until: Instant::now() + CONNECTED_TIMEOUT,
        },
        device,
        stream,
        decoder: GatewayDecoder::default(),
        server_id: None,
        unanswered: VecDeque::new(),
        next_heartbeat: None,
        next_report: None,
        logged_in: false,
    };
    let ended = connection.run(lines, stop).await;
    let leaving = matches!(connection.phase, SessionPhase::Leaving { .. });
    let logged_in = connection.logged_in;
    if logged_in {
        device.tally.count(Tallied::SessionEnd);
    }
    // Once the device has said goodbye, every end of the connection is the expected one.
    (
        logged_in,
        if leaving {
            ConnectionEnd::Goodbye
        } else {
            ended
        },
    )
}

/// The phase of a connection.
#[derive(Debug, Clone, Copy)]
enum SessionPhase {
    /// Nothing was sent yet. A JSON device waits for the `connected` object; a text device logs in at once.
    Silent { until: Instant },
    /// The login was sent.
    LoggingIn,
    /// The login was answered.
    LoggedIn,
    /// The goodbye was sent.
    Leaving { until: Instant },
}

struct SimulatedConnection<'a, S> {
    device: &'a mut SimulatedDevice,
    stream: S,
    phase: SessionPhase,
    decoder: GatewayDecoder,
    server_id: Option<Uuid>,
    /// The expected answers with the time of their sentences, oldest first: the gateway answers in order.
    unanswered: VecDeque<(GatewaySentence, Instant)>,
    next_heartbeat: Option<Instant>,
    next_report: Option<Instant>,
    logged_in: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> SimulatedConnection<'_, S> {
    async fn run(&mut self, lines: &mut TypedLines, stop: &CancellationToken) -> ConnectionEnd {
        loop {
            if let Err(ended) = self.step(lines, stop).await {
                return ended;
            }
        }
    }

    async fn step(
        &mut self,
        lines: &mut TypedLines,
        stop: &CancellationToken,
    ) -> Result<(), ConnectionEnd> {
        let leaving = matches!(self.phase, SessionPhase::Leaving { .. });
        let talking =
            matches!(self.phase, SessionPhase::LoggedIn) && self.unanswered.len() < PIPELINE;
        let due = self.next_due();
        let mut chunk = [0; CHUNK];
        tokio::select! {
            biased;
            () = stop.cancelled(), if !leaving => self.leave().await,
            read = self.stream.read(&mut chunk) => match read {
                Ok(0) => Err(ConnectionEnd::Closed),
                Ok(read) => self.on_bytes(&chunk[..read]).await,
                Err(error) => Err(ConnectionEnd::Lost(error)),
            },
            line = next_line(lines), if talking => self.on_typed_line(&line).await,
            () = sleep_until(due) => self.on_timer().await,
        }
    }

    /// When the next timed action is due.
    fn next_due(&self) -> Instant {
        match self.phase {
            SessionPhase::Silent { .. } if self.device.dialect == Dialect::Text => Instant::now(),
            SessionPhase::Silent { until } | SessionPhase::Leaving { until } => until,
            SessionPhase::LoggingIn | SessionPhase::LoggedIn => {
                let answer = self
                    .unanswered
                    .front()
                    .map(|(_, since)| *since + ANSWER_TIMEOUT);
                let due = [answer, self.next_heartbeat, self.next_report];
                let due = due.into_iter().flatten().min();
                due.unwrap_or_else(|| Instant::now() + ANSWER_TIMEOUT)
            }
        }
    }

    /// Does what is due.
    async fn on_timer(&mut self) -> Result<(), ConnectionEnd> {
        let now = Instant::now();
        match self.phase {
            SessionPhase::Silent { .. } => self.log_in().await,
            SessionPhase::Leaving { .. } => Err(ConnectionEnd::NoAnswer),
            SessionPhase::LoggingIn | SessionPhase::LoggedIn => {
                let late = |(_, since): &(_, Instant)| *since + ANSWER_TIMEOUT <= now;
                if self.unanswered.front().is_some_and(late) {
                    return Err(ConnectionEnd::NoAnswer);
                }
                if self.next_heartbeat.is_some_and(|due| due <= now) {
                    self.next_heartbeat = self.device.heartbeat.map(|every| now + every);
                    self.send(DeviceSentence::Ping).await?;
                }
                if self.next_report.is_some_and(|due| due <= now) {
                    self.next_report = self.device.vehicle.report_every().map(|every| now + every);
                    self.device.catch_up();
                    let state = self.device.vehicle.state();
                    self.send(DeviceSentence::Report(state)).await?;
                }
                Ok(())
            }
        }
    }

    async fn log_in(&mut self) -> Result<(), ConnectionEnd> {
        self.phase = SessionPhase::LoggingIn;
        self.send(DeviceSentence::Hello(self.device.id.clone()))
            .await
    }

    async fn leave(&mut self) -> Result<(), ConnectionEnd> {
        let until = Instant::now() + GOODBYE_TIMEOUT;
        self.phase = SessionPhase::Leaving { until };
        self.send(DeviceSentence::Goodbye).await
    }

    async fn on_typed_line(&mut self, line: &str) -> Result<(), ConnectionEnd> {
        self.device.catch_up();
        match parse_line(line, &self.device.id, self.device.vehicle.state()) {
            Ok(None) => Ok(()),
            Ok(Some(DeviceSentence::Goodbye)) => self.leave().await,
            Ok(Some(sentence)) => {
                self.device.vehicle.take_over(&sentence);
                if let DeviceSentence::KeepMePosted(_) = sentence {
                    self.schedule_reports();
                }
                self.send(sentence).await
            }
            Err(hint) => {
                self.device.note(&hint);
                Ok(())
            }
        }
    }

    async fn on_bytes(&mut self, bytes: &[u8]) -> Result<(), ConnectionEnd> {
        self.decoder.push(bytes);
        loop {
            let decoded = self.decoder.next();
            self.show(&decoded);
            match decoded {
                GatewayDecoded::Incomplete => return Ok(()),
                GatewayDecoded::Connected { server_id } => {
                    self.server_id = Some(server_id);
                    if let SessionPhase::Silent { .. } = self.phase {
                        self.log_in().await?;
                    }
                }
                GatewayDecoded::Sentence {
                    sentence,
                    server_id,
                } => {
                    self.server_id = server_id.or(self.server_id);
                    match sentence {
                        GatewaySentence::Command(action) => self.on_command(action).await?,
                        reply => self.on_reply(reply)?,
                    }
                }
                GatewayDecoded::Invalid(_) => self.device.tally.count(Tallied::Unexpected),
            }
        }
    }

    /// Executes a command and answers it.
    async fn on_command(&mut self, action: Action) -> Result<(), ConnectionEnd> {
        self.device.catch_up();
        let answer = self.device.vehicle.answer(action);
        self.answer(answer).await?;
        self.device.tally.count(Tallied::CommandAnswered);
        match action {
            Action::KeepMePosted(_) => self.schedule_reports(),
            Action::Goodbye => {
                // An error does not matter: the connection is over.
                let _closed = timeout(WRITE_TIMEOUT, self.stream.shutdown()).await;
                return Err(ConnectionEnd::DisconnectedByGateway);
            }
            _ => {}
        }
        Ok(())
    }

    /// Handles a reply, which answers the oldest unanswered sentence.
    fn on_reply(&mut self, reply: GatewaySentence) -> Result<(), ConnectionEnd> {
        let tally = Arc::clone(&self.device.tally);
        let expected = self.unanswered.pop_front().map(|(expected, _)| expected);
        let refused = matches!(reply, GatewaySentence::Bad | GatewaySentence::DontKnowYou);
        if refused {
            tally.count(Tallied::Bad);
            if let SessionPhase::LoggingIn = self.phase {
                return Err(ConnectionEnd::LoginRefused);
            }
            return Ok(());
        }
        if expected != Some(reply) {
            tally.count(Tallied::Unexpected);
            return Ok(());
        }
        match reply {
            GatewaySentence::Greeting if !self.logged_in => self.on_greeting(),
            GatewaySentence::Pong => tally.count(Tallied::PingAnswered),
            GatewaySentence::Thanks => tally.count(Tallied::ReportAnswered),
            GatewaySentence::BlobReported => tally.count(Tallied::BlobAnswered),
            GatewaySentence::SeeYa => {
                tally.count(Tallied::GoodbyeAnswered);
                return Err(ConnectionEnd::Goodbye);
            }
            _ => {}
        }
        Ok(())
    }

    fn on_greeting(&mut self) {
        self.logged_in = true;
        self.device.tally.count(Tallied::Login);
        if !std::mem::replace(&mut self.device.known, true) {
            self.device.tally.count(Tallied::FirstLogin);
        }
        if let SessionPhase::LoggingIn = self.phase {
            self.phase = SessionPhase::LoggedIn;
            self.next_heartbeat = self.device.first(self.device.heartbeat);
            self.schedule_reports();
        }
    }

    fn schedule_reports(&mut self) {
        self.next_report = self.device.first(self.device.vehicle.report_every());
    }

    /// Sends a sentence of the device and records the answer that it expects.
    async fn send(&mut self, sentence: DeviceSentence) -> Result<(), ConnectionEnd> {
        let (event, answer) = match &sentence {
            DeviceSentence::Hello(_) => (None, GatewaySentence::Greeting),
            DeviceSentence::Ping => (Some(Tallied::PingSent), GatewaySentence::Pong),
            DeviceSentence::Report(_) | DeviceSentence::Fine(_) => {
                (Some(Tallied::ReportSent), GatewaySentence::Thanks)
            }
            DeviceSentence::DebugBlob(_) => {
                (Some(Tallied::BlobSent), GatewaySentence::BlobReported)
            }
            DeviceSentence::Goodbye => (Some(Tallied::GoodbyeSent), GatewaySentence::SeeYa),
            DeviceSentence::KeepMePosted(_) => (None, GatewaySentence::SureIWill),
            DeviceSentence::Done
            | DeviceSentence::Cannot
            | DeviceSentence::SureIWill
            | DeviceSentence::SeeYa => return self.answer(sentence).await,
        };
        self.unanswered.push_back((answer, Instant::now()));
        self.write(sentence, false).await?;
        if let Some(event) = event {
            self.device.tally.count(event);
        }
        Ok(())
    }

    /// Sends the answer to a command.
    async fn answer(&mut self, sentence: DeviceSentence) -> Result<(), ConnectionEnd> {
        self.write(sentence, true).await
    }

    async fn write(
        &mut self,
        sentence: DeviceSentence,
        is_reply: bool,
    ) -> Result<(), ConnectionEnd> {
        let message = DeviceMessage {
            sentence,
            client_id: Some(self.device.id.clone()),
            is_reply: Some(is_reply),
        };
        let mut out = BytesMut::new();
        encode_device(
            &message,
            self.device.dialect,
            self.server_id.as_ref(),
            &mut out,
        );
        if let Some(screen) = &self.device.screen {
            screen.sent(&out);
        }
        match timeout(WRITE_TIMEOUT, self.stream.write_all(&out)).await {
            Ok(written) => written.map_err(ConnectionEnd::Lost),
            Err(_elapsed) => Err(ConnectionEnd::Lost(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Shows what was decoded, encoded as the gateway does it.
    fn show(&self, decoded: &GatewayDecoded) {
        let Some(screen) = &self.device.screen else {
            return;
        };
        let mut bytes = BytesMut::new();
        match decoded {
            GatewayDecoded::Incomplete => return,
            GatewayDecoded::Connected { server_id } => encode_connected(server_id, &mut bytes),
            GatewayDecoded::Sentence {
                sentence,
                server_id,
            } => {
                let server_id = server_id.or(self.server_id).unwrap_or_default();
                encode(*sentence, self.device.dialect, &server_id, &mut bytes);
            }
            GatewayDecoded::Invalid(excerpt) => bytes.extend_from_slice(excerpt),
        }
        screen.received(&bytes);
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
