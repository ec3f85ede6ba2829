//! Requests of this instance that wait for their answer.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::codec::PeerReply;

/// The requests that wait for an answer, by correlation: the random id of a request, which its answer repeats. Not
/// bounded here: the callers bound how many commands and broadcasts are under way.
#[derive(Debug, Default)]
pub(super) struct PendingRequests(Mutex<HashMap<Uuid, oneshot::Sender<PeerReply>>>);

impl PendingRequests {
    /// Registers a request until its reply arrives or the result is dropped.
    pub(super) fn register(&self, correlation: Uuid) -> PendingAnswer<'_> {
        let (sender, reply) = oneshot::channel();
        self.lock().insert(correlation, sender);
        PendingAnswer {
            requests: self,
            correlation,
            reply,
        }
    }

    /// Hands a reply to its request. Returns false if no request waits for it: it is late, a copy or unsolicited.
    pub(super) fn resolve(&self, correlation: Uuid, reply: PeerReply) -> bool {
        let request = self.lock().remove(&correlation);
        request.is_some_and(|sender| sender.send(reply).is_ok())
    }

    /// Ends all waits without a reply.
    pub(super) fn abandon_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, oneshot::Sender<PeerReply>>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A registered request, which waits for its reply. Dropping it ends the registration.
pub(super) struct PendingAnswer<'a> {
    requests: &'a PendingRequests,
    correlation: Uuid,
    reply: oneshot::Receiver<PeerReply>,
}

impl PendingAnswer<'_> {
    /// Waits for the reply; `None` once the request was abandoned.
    pub(super) async fn reply(&mut self) -> Option<PeerReply> {
        (&mut self.reply).await.ok()
    }
}

impl Drop for PendingAnswer<'_> {
    fn drop(&mut self) {
        self.requests.lock().remove(&self.correlation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reply_reaches_its_request_once() {
        let requests = PendingRequests::default();
        let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
        let mut pending = requests.register(first);
        let _other = requests.register(second);
        assert!(requests.resolve(first, PeerReply::Unsupported));
        assert!(!requests.resolve(first, PeerReply::Unsupported));
        assert_eq!(pending.reply().await, Some(PeerReply::Unsupported));
    }

    #[tokio::test]
    async fn a_dropped_or_abandoned_request_leaves_nothing_behind() {
        let requests = PendingRequests::default();
        drop(requests.register(Uuid::new_v4()));
        assert!(requests.lock().is_empty());
        let mut pending = requests.register(Uuid::new_v4());
        requests.abandon_all();
        assert_eq!(pending.reply().await, None);
        assert!(requests.lock().is_empty());
    }
}
