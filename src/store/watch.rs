//! Telling whoever waits for a command that it has come to its end, right after the commit that
//! holds it, whoever ended it.

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

/// Who waits for which command. A plain mutex: it is held for a few instructions.
#[derive(Debug, Clone, Default)]
pub(super) struct Watchers(Arc<Mutex<HashMap<Uuid, Vec<oneshot::Sender<Command>>>>>);

impl Watchers {
    pub(super) fn watch(&self, id: Uuid) -> CommandWatch {
        let (sender, ended) = oneshot::channel();
        self.with(|waiting| waiting.entry(id).or_default().push(sender));
        CommandWatch {
            id,
            ended,
            watchers: self.clone(),
        }
    }

    /// Tells of commands whose end is committed.
    pub(super) fn tell(&self, ended: Vec<Command>) {
        for command in ended {
            let senders = self.with(|waiting| waiting.remove(&command.id));
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

/// Resolves when the command has come to its end. One that had ended before is not noticed: watch first,
/// then look.
#[derive(Debug)]
#[must_use = "a watch that nobody waits for notices nothing"]
pub struct CommandWatch {
    id: Uuid,
    ended: oneshot::Receiver<Command>,
    watchers: Watchers,
}

impl Future for CommandWatch {
    type Output = Command;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Command> {
        match Pin::new(&mut self.ended).poll(context) {
            Poll::Ready(Ok(command)) => Poll::Ready(command),
            // The store is gone, and with it whoever could end the command.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for CommandWatch {
    fn drop(&mut self) {
        self.ended.close();
        self.watchers.with(|waiting| {
            if let Some(senders) = waiting.get_mut(&self.id) {
                senders.retain(|sender| !sender.is_closed());
                if senders.is_empty() {
                    waiting.remove(&self.id);
                }
            }
        });
    }
}
