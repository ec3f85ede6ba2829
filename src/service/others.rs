//! What the instances say to each other.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::mpsc;
use uuid::Uuid;

use super::Service;
use crate::{
    domain::{Action, DeviceId},
    fanout::{Answer, Asked, FanoutState, Incoming, Notice, Request, SessionOver},
    store::Eviction,
};

impl Service {
    /// Does what other instances ask, until they cannot be heard any more.
    pub async fn hear(self: Arc<Self>, mut incoming: mpsc::Receiver<Incoming>) {
        while let Some(heard) = incoming.recv().await {
            match heard {
                Incoming::Asked(asked, request) => {
                    tokio::spawn(Arc::clone(&self).do_for_other(asked, request));
                }
                Incoming::Told(Notice::SessionsOver(sessions)) => {
                    for over in sessions {
                        let SessionOver {
                            device_id,
                            through_epoch,
                            reason,
                        } = over;
                        self.registry.end_through(&device_id, through_epoch, reason);
                    }
                }
                Incoming::Spoken { device_id, action } => self.speak(&device_id, action),
                Incoming::MayHaveMissed => self.look_soon(),
            }
        }
    }

    async fn do_for_other(self: Arc<Self>, asked: Asked, request: Request) {
        let answer = match request {
            Request::Command(command) => {
                Answer::Command(Arc::clone(&self).run_for_other(command).await)
            }
            Request::Broadcast { action, timeout } => {
                Answer::Broadcast(Arc::clone(&self).address_all(action, timeout).await)
            }
        };
        if let Err(error) = self.fanout.answer(&asked, &answer).await {
            tracing::debug!(%error, to = %asked.origin(), "an answer did not reach another instance");
        }
    }

    /// Says what was published for one vehicle, if it is here.
    fn speak(self: &Arc<Self>, device_id: &DeviceId, action: Action) {
        if let Some(session) = self.registry.session(device_id) {
            tokio::spawn(Arc::clone(self).command_by_channel(session, action));
        }
    }

    /// Tells other instances which of their sessions this one's commits end, for ever.
    pub async fn tell_evictions(&self) {
        let Some(mut evictions) = self.store.take_evictions() else {
            return;
        };
        while let Some(evicted) = evictions.recv().await {
            for (owner, sessions) in by_owner(evicted) {
                // It finds out by itself, only later.
                if let Err(error) = self
                    .fanout
                    .notify(owner, &Notice::SessionsOver(sessions))
                    .await
                {
                    tracing::debug!(%error, %owner, "an instance is not told which of its sessions are over");
                }
            }
        }
    }

    /// Whether other instances can be reached.
    #[must_use]
    pub fn fanout_state(&self) -> FanoutState {
        self.fanout.state()
    }
}

fn by_owner(evicted: Vec<Eviction>) -> HashMap<Uuid, Vec<SessionOver>> {
    let mut by_owner: HashMap<Uuid, Vec<SessionOver>> = HashMap::new();
    for eviction in evicted {
        let sessions = by_owner.entry(eviction.owner).or_default();
        sessions.push(SessionOver {
            device_id: eviction.device_id,
            through_epoch: eviction.through_epoch,
            reason: eviction.reason,
        });
    }
    by_owner
}
