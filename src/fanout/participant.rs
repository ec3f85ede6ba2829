//! This instance as a participant of the fan-out, whatever the transport.

use tokio::sync::watch;

use super::{drop_log::DropLog, pending::PendingRequests};
use crate::domain::IncarnationId;

/// The state that sending and receiving share.
#[derive(Debug)]
pub(super) struct Participant {
    /// The incarnation of this instance, set by [`Fanout::listen_as`](super::Fanout::listen_as); before that a random one that nobody knows.
    pub(super) incarnation: watch::Sender<IncarnationId>,
    pub(super) pending: PendingRequests,
    pub(super) drop_log: DropLog,
}

impl Default for Participant {
    fn default() -> Self {
        Self {
            incarnation: watch::Sender::new(IncarnationId::random()),
            pending: PendingRequests::default(),
            drop_log: DropLog::default(),
        }
    }
}

/// What is known of a message that was to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    /// It went to a subscriber; in a cluster perhaps to none.
    Sent,
    /// There is no subscriber.
    NotListening,
    /// It was not published.
    NotSent,
    /// The transport did not confirm it: it may have been published or not.
    Unconfirmed,
}
