//! Hears what others publish and hands it on. Waits for nobody: what the service has no room for is dropped.

use std::sync::Arc;

use fred::types::Message as Published;
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc::{self, error::TrySendError},
        watch,
    },
    time::Instant,
};
use tracing::{debug, warn};
use uuid::Uuid;

use super::{
    Shared,
    message::{Asked, Incoming},
    wire::{self, Envelope, Message, Owed, Reply, Undecodable},
};

/// What came through the channel of this instance last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    /// When anything came.
    pub(super) at: Instant,
    /// Which life heard itself.
    pub(super) probe: Option<Uuid>,
}

pub(super) struct Reader {
    shared: Arc<Shared>,
    incoming: mpsc::Sender<Incoming>,
    /// Who is to be told that it was not understood.
    refuse: mpsc::Sender<Asked>,
    heard: watch::Sender<Heard>,
    /// Whether the service is to be told that something may have been missed.
    missed: bool,
}

impl Reader {
    /// Of a subscription that has just begun: what was published before it was missed.
    pub(super) fn new(
        shared: Arc<Shared>,
        incoming: mpsc::Sender<Incoming>,
        refuse: mpsc::Sender<Asked>,
    ) -> Self {
        let now = Heard {
            at: Instant::now(),
            probe: None,
        };
        Self {
            shared,
            incoming,
            refuse,
            heard: watch::Sender::new(now),
            missed: true,
        }
    }

    pub(super) fn heard(&self) -> watch::Receiver<Heard> {
        self.heard.subscribe()
    }

    /// Until the connection ends.
    pub(super) async fn run(mut self, mut messages: broadcast::Receiver<Published>) {
        let incoming = self.incoming.clone();
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Ok(message) => self.read(&message),
                    Err(RecvError::Lagged(number)) => {
                        warn!(number, "messages of other instances were dropped: they came too fast");
                        self.missed = true;
                    }
                    Err(RecvError::Closed) => return,
                },
                room = incoming.reserve(), if self.missed => {
                    self.missed = false;
                    // Without a service there is nobody to tell.
                    if let Ok(room) = room {
                        room.send(Incoming::MayHaveMissed);
                    }
                }
            }
        }
    }

    fn read(&mut self, message: &Published) {
        let bytes = message.value.as_bytes().unwrap_or_default();
        let life = *self.shared.life.borrow();
        if *message.channel == *self.shared.channel {
            self.read_spoken(bytes);
        } else if *message.channel == *self.shared.channel_of(life) {
            self.heard.send_modify(|heard| heard.at = Instant::now());
            self.read_envelope(life, bytes);
        }
    }

    fn read_spoken(&mut self, bytes: &[u8]) {
        match wire::decode_spoken(bytes) {
            Ok(Some((device_id, action))) => self.hand_on(Incoming::Spoken { device_id, action }),
            Ok(None) => debug!("a message of an instance on the shared channel is dropped"),
            Err(reason) => self.shared.complaints.of_person(&reason, bytes),
        }
    }

    fn read_envelope(&mut self, life: Uuid, bytes: &[u8]) {
        match wire::decode(bytes) {
            Ok(Envelope { origin, message }) if origin == life => {
                if message == Message::Probe {
                    self.heard.send_modify(|heard| heard.probe = Some(life));
                }
            }
            Ok(Envelope { origin, message }) => match message {
                Message::Request {
                    correlation,
                    request,
                } => {
                    let asked = Asked {
                        origin,
                        correlation,
                    };
                    self.hand_on(Incoming::Asked(asked, request));
                }
                Message::Answer { correlation, reply } => self.resolve(correlation, reply),
                Message::Notice(notice) => self.hand_on(Incoming::Told(notice)),
                Message::Probe => debug!(%origin, "a probe of another instance is dropped"),
            },
            Err(wrong) if wrong.origin == Some(life) => {}
            Err(wrong) => self.read_undecodable(&wrong, bytes),
        }
    }

    fn read_undecodable(&self, wrong: &Undecodable, bytes: &[u8]) {
        let complaints = &self.shared.complaints;
        complaints.of_instance(wrong.fault, &wrong.reason, bytes);
        match wrong.owed {
            Some(Owed::Refusal(asked)) => self.refuse(asked),
            Some(Owed::Resolution(correlation)) => self.resolve(correlation, Reply::Unsupported),
            None => {}
        }
    }

    fn refuse(&self, asked: Asked) {
        if self.refuse.try_send(asked).is_err() {
            debug!(to = %asked.origin, "a request is not refused: too many are to be");
        }
    }

    fn resolve(&self, correlation: Uuid, reply: Reply) {
        if !self.shared.pending.resolve(correlation, reply) {
            debug!(%correlation, "nobody waits for an answer");
        }
    }

    fn hand_on(&mut self, incoming: Incoming) {
        match self.incoming.try_send(incoming) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                if !self.missed {
                    warn!("messages of other instances are dropped: too many wait to be worked on");
                }
                self.missed = true;
            }
            Err(TrySendError::Closed(_)) => debug!("nobody listens to other instances"),
        }
    }
}
