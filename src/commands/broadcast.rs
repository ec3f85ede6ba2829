//! Broadcasts: one command to every connected vehicle of every instance.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, interval},
};

use super::{CommandRequest, Commands, failure_log, submit::outcome};
use crate::{
    domain::{Action, CommandOrigin, CommandOutcome, CommandState},
    fanout::{PeerAnswer, PeerRequest},
    pacing,
    sessions::Session,
    store::StoreError,
};

pub use crate::domain::Broadcast;

/// How much longer than the time-out of the broadcast another instance may take to answer with its counts.
const PEER_SLACK: Duration = Duration::from_secs(2);

/// Why a broadcast has no counts.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BroadcastError {
    /// Another broadcast is under way; there is one at a time.
    #[error("a broadcast is under way")]
    UnderWay,
    /// The task of the broadcast ended early, as when the gateway stops.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Commands {
    /// Sends a command to every vehicle that is connected now, and counts the outcomes. Takes `timeout` and the time of
    /// a commit at most, or 2 s more than `timeout` if another instance does not answer. Dropping the future does not
    /// stop the broadcast.
    pub async fn broadcast(
        self: &Arc<Self>,
        action: Action,
        timeout: Duration,
    ) -> Result<Broadcast, BroadcastError> {
        let Ok(permit) = Arc::clone(&self.broadcast_permit).try_acquire_owned() else {
            return Err(BroadcastError::UnderWay);
        };
        let commands = Arc::clone(self);
        let broadcasting = tokio::spawn(async move {
            let _permit = permit;
            commands.broadcast_everywhere(action, timeout).await
        });
        let counts = broadcasting.await;
        counts.map_err(|_panicked| BroadcastError::Store(StoreError::Closed))
    }

    /// Sends a command to the vehicles of all instances.
    async fn broadcast_everywhere(self: Arc<Self>, action: Action, timeout: Duration) -> Broadcast {
        let mut requests = JoinSet::new();
        // Read from the store: the membership may not know an instance yet that has just started.
        let instances = self.store.instances().await.unwrap_or_else(|error| {
            failure_log::instances_not_read(&error);
            self.peers.list()
        });
        let own = self.instance.incarnation();
        for peer in instances.into_iter().filter(|instance| *instance != own) {
            let commands = Arc::clone(&self);
            requests.spawn(async move {
                let request = PeerRequest::Broadcast { action, timeout };
                let deadline = Instant::now() + timeout + PEER_SLACK;
                commands.fanout.request(peer, &request, deadline).await
            });
        }
        let mut counts = Arc::clone(&self).broadcast_here(action, timeout).await;
        while let Some(answer) = requests.join_next().await {
            match answer {
                Ok(Ok(PeerAnswer::Broadcast(peers))) => counts.add(&peers),
                Ok(_) | Err(_) => counts.unreachable_instances += 1,
            }
        }
        counts
    }

    /// Sends a command to the vehicles of this instance.
    pub(crate) async fn broadcast_here(
        self: Arc<Self>,
        action: Action,
        timeout: Duration,
    ) -> Broadcast {
        let deadline = Instant::now() + timeout;
        let sessions = self.registry.sessions();
        let mut counts = Broadcast {
            addressed: sessions.len() as u64,
            ..Broadcast::default()
        };
        let mut ticks = interval(pacing::TICK);
        let mut executing = JoinSet::new();
        for chunk in sessions.chunks(pacing::batch_size(sessions.len(), timeout / 2)) {
            ticks.tick().await;
            for session in chunk {
                let (commands, session) = (Arc::clone(&self), Arc::clone(session));
                let request = request(&session, action, deadline);
                executing.spawn(async move {
                    let run = commands.run(request, CommandOrigin::Broadcast, Some(session));
                    outcome(run.await)
                });
            }
        }
        drop(sessions);
        while let Some(outcome) = executing.join_next().await {
            *counts.count_of(outcome.as_ref().ok()) += 1;
        }
        counts
    }
}

fn request(session: &Session, action: Action, deadline: Instant) -> CommandRequest {
    CommandRequest {
        device_id: session.key.device_id.clone(),
        action,
        timeout: deadline.saturating_duration_since(Instant::now()),
        queue: None,
        key: None,
    }
}

impl Broadcast {
    fn add(&mut self, other: &Self) {
        self.addressed += other.addressed;
        self.done += other.done;
        self.refused += other.refused;
        self.silent += other.silent;
        self.disconnected += other.disconnected;
        self.unsent += other.unsent;
        self.unreachable_instances += other.unreachable_instances;
    }

    /// The count that an outcome belongs to; `None` is a task that panicked.
    fn count_of(&mut self, outcome: Option<&CommandOutcome>) -> &mut u64 {
        let Some(CommandOutcome::Recorded { command }) = outcome else {
            return &mut self.unsent;
        };
        match command.state {
            CommandState::Done => &mut self.done,
            CommandState::Refused => &mut self.refused,
            CommandState::NoAnswer => &mut self.silent,
            CommandState::Disconnected => &mut self.disconnected,
            _ => &mut self.unsent,
        }
    }
}
