//! Requests of this instance that wait for an answer.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::wire::Reply;

/// Who waits for which answer. As long as the requests under way, which their senders bound.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<HashMap<Uuid, oneshot::Sender<Reply>>>);

impl Pending {
    /// Waits for the answer to this correlation from now on, until the result is dropped.
    pub(super) fn wait(&self, correlation: Uuid) -> Waiting<'_> {
        let (sender, reply) = oneshot::channel();
        self.lock().insert(correlation, sender);
        Waiting {
            pending: self,
            correlation,
            reply,
        }
    }

    /// Hands an answer to whoever waits for it; false if nobody does (any more).
    pub(super) fn resolve(&self, correlation: Uuid, reply: Reply) -> bool {
        let waiting = self.lock().remove(&correlation);
        waiting.is_some_and(|sender| sender.send(reply).is_ok())
    }

    /// No answer will be heard.
    pub(super) fn give_up(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, oneshot::Sender<Reply>>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the [`Pending`].
pub(super) struct Waiting<'a> {
    pending: &'a Pending,
    correlation: Uuid,
    reply: oneshot::Receiver<Reply>,
}

impl Waiting<'_> {
    /// The answer; `None` if none will be heard.
    pub(super) async fn reply(&mut self) -> Option<Reply> {
        (&mut self.reply).await.ok()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pending.lock().remove(&self.correlation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_reaches_who_waits_for_it_once_and_nobody_else() {
        let pending = Pending::default();
        let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
        let mut waiting = pending.wait(first);
        let _other = pending.wait(second);
        assert!(pending.resolve(first, Reply::Unsupported));
        assert!(!pending.resolve(first, Reply::Unsupported));
        assert_eq!(waiting.reply().await, Some(Reply::Unsupported));
    }

    #[tokio::test]
    async fn who_stops_waiting_leaves_nothing_behind() {
        let pending = Pending::default();
        drop(pending.wait(Uuid::new_v4()));
        assert!(pending.lock().is_empty());
        let mut waiting = pending.wait(Uuid::new_v4());
        pending.give_up();
        assert_eq!(waiting.reply().await, None);
    }
}
