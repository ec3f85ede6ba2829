//! Handles the messages of other instances, and notifies other instances of their sessions that commits of this one
//! ended.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::mpsc;

use crate::{
    cluster::Cluster,
    commands::Commands,
    domain::{Action, DeviceId, IncarnationId},
    fanout::{EndedSessions, Fanout, FanoutEvent, Notice, PeerAnswer, PeerRequest, ReplyAddress},
    sessions::Registry,
    store::{Eviction, Store},
};

/// The parts of the gateway that handle the messages of other instances.
#[derive(Debug, Clone)]
pub struct Handlers {
    /// Executes the commands and broadcasts that other instances request.
    pub commands: Arc<Commands>,
    /// Ends the sessions of this instance that commits of other instances ended in the database.
    pub registry: Arc<Registry>,
    /// Reconciles after messages that may have been lost.
    pub cluster: Arc<Cluster>,
    /// Sends the answers.
    pub fanout: Arc<Fanout>,
}

/// Handles the events of the fan-out until it is closed.
pub async fn serve(mut incoming: mpsc::Receiver<FanoutEvent>, handlers: Handlers) {
    while let Some(event) = incoming.recv().await {
        match event {
            FanoutEvent::Request(reply_to, request) => {
                tokio::spawn(handlers.clone().answer(reply_to, request));
            }
            FanoutEvent::Notice(Notice::SessionsEnded(sessions)) => {
                for ended in sessions {
                    let EndedSessions {
                        device_id,
                        through_epoch,
                        reason,
                    } = ended;
                    handlers
                        .registry
                        .end_through(&device_id, through_epoch, reason);
                }
            }
            FanoutEvent::ChannelCommand { device_id, action } => {
                handlers.execute_from_channel(&device_id, action);
            }
            FanoutEvent::MayHaveMissed => handlers.cluster.reconcile_soon(),
        }
    }
}

impl Handlers {
    async fn answer(self, reply_to: ReplyAddress, request: PeerRequest) {
        let answer = match request {
            PeerRequest::Command(command) => {
                PeerAnswer::Command(self.commands.execute_for_peer(command).await)
            }
            PeerRequest::Broadcast { action, timeout } => {
                PeerAnswer::Broadcast(self.commands.broadcast_here(action, timeout).await)
            }
        };
        if let Err(error) = self.fanout.answer(&reply_to, &answer).await {
            tracing::debug!(%error, to = %reply_to.origin(), "answer to another instance not sent");
        }
    }

    /// Executes a command from the shared channel if this instance holds the vehicle.
    fn execute_from_channel(&self, device_id: &DeviceId, action: Action) {
        if let Some(session) = self.registry.session(device_id) {
            let commands = Arc::clone(&self.commands);
            tokio::spawn(async move { commands.execute_from_channel(session, action).await });
        }
    }
}

/// Notifies other instances of their sessions that commits of this one ended, until the process ends.
pub async fn notify_evictions(store: Arc<Store>, fanout: Arc<Fanout>) {
    let Some(mut evictions) = store.take_evictions() else {
        return;
    };
    while let Some(evicted) = evictions.recv().await {
        for (owner, sessions) in by_owner(evicted) {
            for sessions in sessions.chunks(Notice::MOST_SESSIONS) {
                let notice = Notice::SessionsEnded(sessions.to_vec());
                // Without the notice the owner finds out at its next reconciliation.
                if let Err(error) = fanout.notify(owner, &notice).await {
                    tracing::debug!(%error, %owner, "eviction notice not sent");
                }
            }
        }
    }
}

fn by_owner(evicted: Vec<Eviction>) -> HashMap<IncarnationId, Vec<EndedSessions>> {
    let mut by_owner: HashMap<IncarnationId, Vec<EndedSessions>> = HashMap::new();
    for eviction in evicted {
        let sessions = by_owner.entry(eviction.owner).or_default();
        sessions.push(EndedSessions {
            device_id: eviction.device_id,
            through_epoch: eviction.through_epoch,
            reason: eviction.reason,
        });
    }
    by_owner
}
