//! What is sent because a vehicle logged in.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{
    CommandError, CommandRequest, Commands,
    journey::{Journey, Sent},
    log,
};
use crate::{
    domain::{Action, CommandOrigin, CommandState, ReportInterval},
    sessions::{LoginBacklog, Session, SlotError, SlotReservation},
    store::StoreError,
};

/// The pause before the next attempt, when the database could not do it.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Whether the store may be able to do later what it could not do now.
fn may_pass(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable | StoreError::Read(_))
}

impl Commands {
    /// Sends what waited for the login of this session: the desired interval, and queued commands.
    pub fn deliver(self: &Arc<Self>, session: &Arc<Session>, due: LoginBacklog) {
        let LoginBacklog { desired, queued } = due;
        if desired.is_none() && queued.is_empty() {
            return;
        }
        let mut under_way = JoinSet::new();
        if let Some(interval) = desired {
            under_way.spawn(Arc::clone(self).deliver_interval(Arc::clone(session), interval));
        }
        if queued.is_empty() {
            under_way.detach_all();
        } else {
            tokio::spawn(Arc::clone(self).deliver_queued(Arc::clone(session), queued, under_way));
        }
    }

    async fn deliver_interval(self: Arc<Self>, session: Arc<Session>, interval: ReportInterval) {
        let request = CommandRequest {
            device_id: session.key.device_id.clone(),
            action: Action::KeepMePosted(interval),
            timeout: self.options.timeout,
            queue: None,
            key: None,
        };
        let device_id = request.device_id.clone();
        // A vehicle that stays connected does not log in again.
        loop {
            let (service, of) = (Arc::clone(&self), Some(Arc::clone(&session)));
            let run = service.run(request.clone(), CommandOrigin::Login, of);
            let Err(CommandError::Store(error)) = run.await else {
                return;
            };
            tracing::warn!(%device_id, %error, "a desired report interval could not be sent");
            let current = self.registry.session(&device_id);
            if !may_pass(&error) || current.is_none_or(|current| current.key != session.key) {
                return;
            }
            sleep(TRY_AGAIN).await;
        }
    }

    /// Sends them in the order in which they were asked for, without waiting for the answers; but nothing
    /// is said behind a goodbye, so that waits until all others have ended.
    async fn deliver_queued(
        self: Arc<Self>,
        session: Arc<Session>,
        queued: Vec<(Uuid, Action)>,
        mut under_way: JoinSet<()>,
    ) {
        let (goodbyes, others): (Vec<_>, Vec<_>) = queued
            .into_iter()
            .partition(|(_, action)| *action == Action::Goodbye);
        for (id, action) in others {
            self.deliver_one(&session, id, action, &mut under_way).await;
        }
        for (id, action) in goodbyes {
            while under_way.join_next().await.is_some() {}
            self.deliver_one(&session, id, action, &mut under_way).await;
        }
        under_way.detach_all();
    }

    /// Tries until it is sent or ended, or the session is over: then it stays queued for the next login.
    async fn deliver_one(
        self: &Arc<Self>,
        session: &Arc<Session>,
        id: Uuid,
        action: Action,
        under_way: &mut JoinSet<()>,
    ) {
        let device_id = &session.key.device_id;
        loop {
            match session.reserve_slot_for(action.answer_kind(), self.options.queue, id) {
                Err(SlotError::SessionClosed) => return,
                Err(SlotError::QueueFull | SlotError::Duplicate) => {}
                Ok(turn) => match self.send_queued(turn, id, action, under_way).await {
                    Ok(()) => return,
                    Err(CommandError::Store(error)) if may_pass(&error) => {
                        tracing::warn!(%device_id, %id, %error, "a queued command could not be sent");
                    }
                    Err(error) => {
                        tracing::error!(%device_id, %id, %error, "a queued command could not be sent");
                        return;
                    }
                },
            }
            sleep(TRY_AGAIN).await;
        }
    }

    /// One attempt. What the vehicle answers is waited for in `under_way`.
    async fn send_queued(
        self: &Arc<Self>,
        turn: SlotReservation,
        id: Uuid,
        action: Action,
        under_way: &mut JoinSet<()>,
    ) -> Result<(), CommandError> {
        let device_id = turn.session().key.device_id.clone();
        let watch = self.store.watch_command(id);
        let stored = self.store.command(&device_id, id).await?;
        let Some(mut command) = stored.filter(|command| command.state == CommandState::Queued)
        else {
            return Ok(());
        };
        let left = command.expires_at.since(self.store.now());
        let mut journey = Journey {
            device_id,
            id,
            action,
            deadline: Instant::now() + left,
            patience: Some(self.options.timeout),
            epoch: turn.session().key.epoch,
            place: None,
            watch,
        };
        match self.send(&mut journey, &mut command, turn).await? {
            Sent::Ended(command) => log(&command),
            Sent::Moved => {}
            Sent::To(session, until) => {
                let service = Arc::clone(self);
                under_way.spawn(async move {
                    match service.end_of(&mut journey, &session, until).await {
                        Ok(command) => log(&command),
                        Err(error) => tracing::warn!(device_id = %journey.device_id, %id, %error, "what became of a queued command is not stored yet"),
                    }
                });
            }
        }
        Ok(())
    }
}
