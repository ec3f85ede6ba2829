//! The edge to the other instances: what they ask of this one, and what it lets them know.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    cluster::Cluster,
    commands::Commands,
    domain::{Action, DeviceId},
    fanout::{Answer, Asked, Fanout, Incoming, Notice, Request, SessionOver},
    sessions::Registry,
    store::{Eviction, Store},
};

/// The parts of the gateway that messages of other instances are for.
#[derive(Debug, Clone)]
pub struct Handlers {
    /// Does what they ask of vehicles.
    pub commands: Arc<Commands>,
    /// Ends the sessions that they took over.
    pub registry: Arc<Registry>,
    /// Finds out what may have been missed.
    pub cluster: Arc<Cluster>,
    /// Takes the answers.
    pub fanout: Arc<Fanout>,
}

/// Does what other instances ask, until they cannot be heard any more.
pub async fn serve(mut incoming: mpsc::Receiver<Incoming>, handlers: Handlers) {
    while let Some(heard) = incoming.recv().await {
        match heard {
            Incoming::Asked(asked, request) => {
                tokio::spawn(handlers.clone().answer(asked, request));
            }
            Incoming::Told(Notice::SessionsOver(sessions)) => {
                for over in sessions {
                    let SessionOver {
                        device_id,
                        through_epoch,
                        reason,
                    } = over;
                    handlers
                        .registry
                        .end_through(&device_id, through_epoch, reason);
                }
            }
            Incoming::Spoken { device_id, action } => handlers.speak(&device_id, action),
            Incoming::MayHaveMissed => handlers.cluster.reconcile_soon(),
        }
    }
}

impl Handlers {
    async fn answer(self, asked: Asked, request: Request) {
        let answer = match request {
            Request::Command(command) => {
                Answer::Command(self.commands.run_for_other(command).await)
            }
            Request::Broadcast { action, timeout } => {
                Answer::Broadcast(self.commands.address_all(action, timeout).await)
            }
        };
        if let Err(error) = self.fanout.answer(&asked, &answer).await {
            tracing::debug!(%error, to = %asked.origin(), "an answer did not reach another instance");
        }
    }

    /// Says what was published for one vehicle, if it is here.
    fn speak(&self, device_id: &DeviceId, action: Action) {
        if let Some(session) = self.registry.session(device_id) {
            tokio::spawn(Arc::clone(&self.commands).command_by_channel(session, action));
        }
    }
}

/// Tells other instances which of their sessions this one's commits end, for ever.
pub async fn tell_evictions(store: Arc<Store>, fanout: Arc<Fanout>) {
    let Some(mut evictions) = store.take_evictions() else {
        return;
    };
    while let Some(evicted) = evictions.recv().await {
        for (owner, sessions) in by_owner(evicted) {
            // It finds out by itself, only later.
            if let Err(error) = fanout.notify(owner, &Notice::SessionsOver(sessions)).await {
                tracing::debug!(%error, %owner, "an instance is not told which of its sessions are over");
            }
        }
    }
}

fn by_owner(evicted: Vec<Eviction>) -> HashMap<Uuid, Vec<SessionOver>> {
    let mut by_owner: HashMap<Uuid, Vec<SessionOver>> = HashMap::new();
    for eviction in evicted {
        let sessions = by_owner.entry(eviction.owner.as_uuid()).or_default();
        sessions.push(SessionOver {
            device_id: eviction.device_id,
            through_epoch: eviction.through_epoch,
            reason: eviction.reason,
        });
    }
    by_owner
}
