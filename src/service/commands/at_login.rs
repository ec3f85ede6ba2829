//! What is sent because a vehicle logged in.

use std::sync::Arc;

use tokio::time::Instant;
use uuid::Uuid;

use super::{CommandError, CommandRequest, journey::Journey};
use crate::{
    domain::{Action, CommandOrigin, ReportInterval, Timestamp},
    registry::{Session, Turn},
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
        if let Some(interval) = desired {
            let request = CommandRequest {
                device_id: session.key.device_id.clone(),
                action: Action::KeepMePosted(interval),
                timeout: self.commands.timeout,
                queue: None,
                key: None,
            };
            let (service, session) = (Arc::clone(self), Arc::clone(session));
            tokio::spawn(async move {
                let run = service.run(request, CommandOrigin::Login, Some(session));
                if let Err(CommandError::Store(error)) = run.await {
                    tracing::warn!(%error, "a desired report interval is not sent; it will be at the next login");
                }
            });
        }
        for (id, action) in queued {
            // In line now, in the order in which they were asked for.
            let kind = action.answer_kind();
            let Ok(turn) = session.enter_again(kind, self.commands.queue, id) else {
                return;
            };
            let (service, session) = (Arc::clone(self), Arc::clone(session));
            tokio::spawn(async move {
                if let Err(error) = service.deliver_queued(turn, &session, id, action).await {
                    tracing::warn!(device_id = %session.key.device_id, %id, %error, "a queued command could not be sent");
                }
            });
        }
    }

    /// One attempt: what does not come to be claimed stays queued for the next login.
    async fn deliver_queued(
        self: &Arc<Self>,
        turn: Turn,
        session: &Arc<Session>,
        id: Uuid,
        action: Action,
    ) -> Result<(), CommandError> {
        let device_id = session.key.device_id.clone();
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
            epoch: session.key.epoch,
            watch: self.store.watch(id),
        };
        self.attempt(&mut journey, &mut command, turn)
            .await
            .map(drop)
    }
}
