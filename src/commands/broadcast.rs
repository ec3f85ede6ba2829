//! One command to every vehicle that is connected.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, interval},
};

use super::{CommandError, CommandRequest, Commands, Outcome};
use crate::{
    domain::{Action, CommandOrigin, CommandState},
    fanout::{Answer, Request},
    pacing,
    sessions::Session,
    store::StoreError,
};

pub use crate::domain::Broadcast;

/// What another instance may take beyond the vehicles' time to tell how many there were.
const OTHERS_SLACK: Duration = Duration::from_secs(2);

/// Why a broadcast did not take place.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BroadcastError {
    /// There is one at a time.
    #[error("a broadcast is under way")]
    UnderWay,
    /// The gateway is stopping.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Commands {
    /// Sends a command to every vehicle that is connected now, and counts what becomes of it. Ends within
    /// `timeout` and a commit. A caller that hangs up does not stop it.
    pub async fn broadcast(
        self: &Arc<Self>,
        action: Action,
        timeout: Duration,
    ) -> Result<Broadcast, BroadcastError> {
        let Ok(permit) = Arc::clone(&self.broadcasts).try_acquire_owned() else {
            return Err(BroadcastError::UnderWay);
        };
        let service = Arc::clone(self);
        let under_way = tokio::spawn(async move {
            let _one_at_a_time = permit;
            service.address_everywhere(action, timeout).await
        });
        let counted = under_way.await;
        counted.map_err(|_panicked| BroadcastError::Store(StoreError::Closed))
    }

    /// The vehicles of all instances.
    async fn address_everywhere(self: Arc<Self>, action: Action, timeout: Duration) -> Broadcast {
        let mut elsewhere = JoinSet::new();
        // As they are now: one that has just started has not been looked at yet.
        let others = self.store.live_instances().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "a broadcast goes to the instances that were seen last");
            self.peers.list()
        });
        let own = self.instance.incarnation();
        for other in others.into_iter().filter(|other| *other != own) {
            let service = Arc::clone(&self);
            elsewhere.spawn(async move {
                let request = Request::Broadcast { action, timeout };
                let deadline = Instant::now() + timeout + OTHERS_SLACK;
                service
                    .fanout
                    .ask(other.as_uuid(), &request, deadline)
                    .await
            });
        }
        let mut counts = Arc::clone(&self).address_all(action, timeout).await;
        while let Some(answered) = elsewhere.join_next().await {
            match answered {
                Ok(Ok(Answer::Broadcast(theirs))) => counts.add(&theirs),
                Ok(_) | Err(_) => counts.unreachable_instances += 1,
            }
        }
        counts
    }

    /// The vehicles of this instance.
    pub(crate) async fn address_all(
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
        let mut under_way = JoinSet::new();
        for some in sessions.chunks(pacing::batch_size(sessions.len(), timeout / 2)) {
            ticks.tick().await;
            for session in some {
                let request = request(session, action, deadline);
                let run = Arc::clone(&self).run(
                    request,
                    CommandOrigin::Broadcast,
                    Some(Arc::clone(session)),
                );
                under_way.spawn(run);
            }
        }
        drop(sessions);
        while let Some(ended) = under_way.join_next().await {
            *counts.place_of(&ended.unwrap_or(Err(StoreError::Closed.into()))) += 1;
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

    fn place_of(&mut self, ended: &Result<Outcome, CommandError>) -> &mut u64 {
        let Ok(Outcome::Command(command)) = ended else {
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
