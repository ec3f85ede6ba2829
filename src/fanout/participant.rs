//! The part of the fan-out that is the same for every transport.

use tokio::sync::watch;

use super::{drop_log::DropLog, pending::PendingRequests};
use crate::domain::IncarnationId;

/// The state that sending and receiving share.
#[derive(Debug)]
pub(super) struct Participant {
    /// The incarnation of this instance, set by [`Fanout::listen_as`](super::Fanout::listen_as). Before that it is a
    /// random one, to which no other instance sends.
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

/// Whether a message was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    /// It was published and has reached a subscriber; with a Redis Cluster it may have reached none.
    Sent,
    /// It was published, but the channel has no subscriber.
    NotListening,
    /// It was not published.
    NotSent,
    /// The transport did not confirm it: it may have been published or not.
    Unconfirmed,
}
