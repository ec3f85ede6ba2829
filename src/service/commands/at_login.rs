//! What is sent because a vehicle logged in.

use std::sync::Arc;

use tokio::{task::JoinSet, time::Instant};
use uuid::Uuid;

use super::{
    CommandError, CommandRequest,
    journey::{Attempt, Journey},
    log,
};
use crate::{
    domain::{Action, CommandOrigin, DeviceId, ReportInterval, Timestamp},
    registry::{Refused, Session, Turn},
    service::Service,
};

/// What is to be sent because a vehicle logged in.
#[derive(Debug)]
pub struct DueAtLogin {
    /// The report interval that an operator wants.
    pub desired: Option<ReportInterval>,
    /// Commands that waited for the login, oldest first.
    pub queued: Vec<(Uuid, Action)>,
}

impl Service {
    /// Sends what waited for the login of this session: the desired interval, and queued commands.
    pub fn deliver(self: &Arc<Self>, session: &Arc<Session>, due: DueAtLogin) {
        let DueAtLogin { desired, queued } = due;
        let mut others = JoinSet::new();
        if let Some(interval) = desired {
            others.spawn(Arc::clone(self).deliver_interval(Arc::clone(session), interval));
        }
        let (goodbyes, queued): (Vec<_>, Vec<_>) = queued
            .into_iter()
            .partition(|(_, action)| *action == Action::Goodbye);
        for (id, action) in queued {
            // In line now, in the order in which they were asked for.
            let turn = self.line_up(session, id, action);
            others.spawn(Arc::clone(self).deliver_queued(turn, Arc::clone(session), id, action));
        }
        // Nothing is said behind a goodbye: it waits for the others to end.
        for (id, action) in goodbyes {
            let (service, session, before) = (
                Arc::clone(self),
                Arc::clone(session),
                std::mem::take(&mut others),
            );
            others.spawn(async move {
                before.join_all().await;
                let turn = service.line_up(&session, id, action);
                service.deliver_queued(turn, session, id, action).await;
            });
        }
        others.detach_all();
    }

    async fn deliver_interval(self: Arc<Self>, session: Arc<Session>, interval: ReportInterval) {
        let request = CommandRequest {
            device_id: session.key.device_id.clone(),
            action: Action::KeepMePosted(interval),
            timeout: self.commands.timeout,
            queue: None,
            key: None,
        };
        let device_id = session.key.device_id.clone();
        let run = self.run(request, CommandOrigin::Login, Some(session));
        if let Err(CommandError::Store(error)) = run.await {
            tracing::warn!(%device_id, %error, "a desired report interval is not sent; it will be at the next login");
        }
    }

    fn line_up(&self, session: &Arc<Session>, id: Uuid, action: Action) -> Result<Turn, Refused> {
        session.enter_again(action.answer_kind(), self.commands.queue, id)
    }

    /// One attempt: what does not come to be claimed stays queued for the next login.
    async fn deliver_queued(
        self: Arc<Self>,
        turn: Result<Turn, Refused>,
        session: Arc<Session>,
        id: Uuid,
        action: Action,
    ) {
        let Ok(turn) = turn else {
            return;
        };
        let device_id = session.key.device_id.clone();
        if let Err(error) = self.send_queued(turn, device_id.clone(), id, action).await {
            tracing::warn!(%device_id, %id, %error, "a queued command could not be sent");
        }
    }

    async fn send_queued(
        self: &Arc<Self>,
        turn: Turn,
        device_id: DeviceId,
        id: Uuid,
        action: Action,
    ) -> Result<(), CommandError> {
        let watch = self.store.watch(id);
        let Some(mut command) = self.store.command(&device_id, id).await? else {
            return Ok(());
        };
        let left = command.expires_at.since(Timestamp::now());
        let mut journey = Journey {
            device_id,
            id,
            action,
            deadline: Instant::now() + left,
            patience: Some(self.commands.timeout),
            epoch: turn.session().key.epoch,
            watch,
        };
        if let Attempt::Ended(command) = self.attempt(&mut journey, &mut command, turn).await? {
            log(&command);
        }
        Ok(())
    }
}
