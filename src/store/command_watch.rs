//! Notifies callers that a command has ended, right after the commit that stores its end, whichever write request
//! caused it.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::domain::Command;

/// The watches of all commands. The mutex blocks its thread, since it is held for a few instructions only.
#[derive(Debug, Clone, Default)]
pub(super) struct CommandWatchers(Arc<Mutex<HashMap<Uuid, Vec<oneshot::Sender<Command>>>>>);

impl CommandWatchers {
    pub(super) fn watch(&self, id: Uuid) -> CommandWatch {
        let (sender, finished) = oneshot::channel();
        self.with(|watches| watches.entry(id).or_default().push(sender));
        CommandWatch {
            id,
            finished,
            watchers: self.clone(),
        }
    }

    /// Resolves the watches of commands whose end is committed.
    pub(super) fn notify(&self, finished: Vec<Command>) {
        for command in finished {
            let senders = self.with(|watches| watches.remove(&command.id));
            for sender in senders.into_iter().flatten() {
                let _uninterested = sender.send(command.clone());
            }
        }
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&mut HashMap<Uuid, Vec<oneshot::Sender<Command>>>) -> T,
    ) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Resolves when a command reaches its final state. An end before the watch began is not noticed: watch first, then
/// read the command.
#[derive(Debug)]
#[must_use = "a watch that is not polled notices nothing"]
pub struct CommandWatch {
    id: Uuid,
    finished: oneshot::Receiver<Command>,
    watchers: CommandWatchers,
}

impl Future for CommandWatch {
    type Output = Command;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Command> {
        match Pin::new(&mut self.finished).poll(context) {
            Poll::Ready(Ok(command)) => Poll::Ready(command),
            // The store was dropped, so nothing can end the command any more.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for CommandWatch {
    fn drop(&mut self) {
        self.finished.close();
        self.watchers.with(|watches| {
            if let Some(senders) = watches.get_mut(&self.id) {
                senders.retain(|sender| !sender.is_closed());
                if senders.is_empty() {
                    watches.remove(&self.id);
                }
            }
        });
    }
}
