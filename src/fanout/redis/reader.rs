//! Receives the messages of one connection to Redis, and notes when they arrive.

use std::sync::Arc;

use fred::types::Message as RedisMessage;
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        watch,
    },
    time::Instant,
};

use super::RedisShared;
use crate::{
    domain::IncarnationId,
    fanout::inbox::{Inbox, Received},
};

/// When this incarnation last received something on its channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastReceived {
    /// When the last message of any kind arrived.
    pub(super) at: Instant,
    /// The incarnation of this instance under which its own probe arrived last; `None` before the first one on this
    /// connection. It may be an earlier one than the present incarnation.
    pub(super) probe: Option<IncarnationId>,
}

pub(super) struct SubscriptionReader {
    shared: Arc<RedisShared>,
    inbox: Inbox,
    last: watch::Sender<LastReceived>,
}

impl SubscriptionReader {
    pub(super) fn new(shared: Arc<RedisShared>, inbox: Inbox) -> Self {
        let last = LastReceived {
            at: Instant::now(),
            probe: None,
        };
        Self {
            shared,
            inbox,
            last: watch::Sender::new(last),
        }
    }

    pub(super) fn last_received(&self) -> watch::Receiver<LastReceived> {
        self.last.subscribe()
    }

    /// Reads until the connection ends.
    pub(super) async fn run(mut self, mut messages: broadcast::Receiver<RedisMessage>) {
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Ok(message) => self.read(&message),
                    Err(RecvError::Lagged(dropped)) => {
                        self.inbox.note_missed(dropped);
                    }
                    Err(RecvError::Closed) => return,
                },
                () = self.inbox.report_missed() => {}
            }
        }
    }

    fn read(&mut self, message: &RedisMessage) {
        let bytes = message.value.as_bytes().unwrap_or_default();
        let incarnation = *self.shared.participant.incarnation.borrow();
        if *message.channel == *self.shared.channel {
            self.inbox.receive_on_shared_channel(bytes);
        } else if *message.channel == *self.shared.channel_of(incarnation) {
            self.last.send_modify(|last| last.at = Instant::now());
            if self.inbox.receive(incarnation, bytes) == Received::OwnProbe {
                self.last.send_modify(|last| last.probe = Some(incarnation));
            }
        }
    }
}
