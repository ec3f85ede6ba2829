//! Commands that a login makes due: the desired report interval, and queued commands.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{
    CommandRequest, Commands,
    delivery::{Delivery, Handover},
    failure_log,
    submit::log_end,
};
use crate::{
    domain::{Action, CommandOrigin, CommandOutcome, CommandState, ReportInterval},
    sessions::{LoginBacklog, Session, SlotError, SlotReservation},
    store::StoreError,
};

/// The pause before the next attempt after the database failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Whether a later attempt may succeed.
fn is_temporary(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable | StoreError::Read(_))
}

impl Commands {
    /// Sends the commands that the login of this session made due.
    pub fn send_due(self: &Arc<Self>, session: &Arc<Session>, due: LoginBacklog) {
        let LoginBacklog { desired, queued } = due;
        if desired.is_none() && queued.is_empty() {
            return;
        }
        let mut under_way = JoinSet::new();
        if let Some(interval) = desired {
            under_way.spawn(Arc::clone(self).send_interval(Arc::clone(session), interval));
        }
        if queued.is_empty() {
            under_way.detach_all();
        } else {
            tokio::spawn(Arc::clone(self).send_queued(Arc::clone(session), queued, under_way));
        }
    }

    async fn send_interval(self: Arc<Self>, session: Arc<Session>, interval: ReportInterval) {
        let device_id = &session.key.device_id;
        let request = CommandRequest {
            device_id: device_id.clone(),
            action: Action::KeepMePosted(interval),
            timeout: self.options.timeout,
            queue: None,
            key: None,
        };
        // A vehicle that stays connected does not log in again, so the interval is sent now or much later: try again.
        loop {
            let first = Some(Arc::clone(&session));
            let run = self.run(request.clone(), CommandOrigin::Login, first);
            let Err(error) = run.await else {
                return;
            };
            failure_log::interval_not_sent(device_id, &error);
            let current = self.registry.session(device_id);
            if !is_temporary(&error) || current.is_none_or(|current| current.key != session.key) {
                return;
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Sends queued commands in the order in which they were submitted, goodbyes last, without waiting for the answers.
    /// Nothing may be written after a goodbye, so it waits until all other commands have ended. `under_way` has the
    /// task that sends the desired interval, if any, and gets a task for each command that is sent here.
    async fn send_queued(
        self: Arc<Self>,
        session: Arc<Session>,
        queued: Vec<(Uuid, Action)>,
        mut under_way: JoinSet<()>,
    ) {
        let (goodbyes, others): (Vec<_>, Vec<_>) = queued
            .into_iter()
            .partition(|(_, action)| *action == Action::Goodbye);
        for (id, action) in others {
            self.send_one(&session, id, action, &mut under_way).await;
        }
        for (id, action) in goodbyes {
            while under_way.join_next().await.is_some() {}
            self.send_one(&session, id, action, &mut under_way).await;
        }
        under_way.detach_all();
    }

    /// Sends one queued command, and tries again after errors that may pass. If the session ends first, or the store
    /// fails for good, the command stays queued for the next login. A task in `under_way` awaits the answer.
    async fn send_one(
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
                Ok(reservation) => match self
                    .try_send_queued(reservation, id, action, under_way)
                    .await
                {
                    Ok(()) => return,
                    Err(error) if is_temporary(&error) => {
                        failure_log::queued_not_sent(device_id, id, &error);
                    }
                    Err(error) => {
                        failure_log::queued_given_up(device_id, id, &error);
                        return;
                    }
                },
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Makes one attempt to send a queued command. A task in `under_way` awaits the vehicle's answer.
    async fn try_send_queued(
        self: &Arc<Self>,
        reservation: SlotReservation,
        id: Uuid,
        action: Action,
        under_way: &mut JoinSet<()>,
    ) -> Result<(), StoreError> {
        let device_id = reservation.session().key.device_id.clone();
        let watch = self.store.watch(id);
        let stored = self.store.command(&device_id, id).await?;
        let Some(mut command) = stored.filter(|command| command.state == CommandState::Queued)
        else {
            return Ok(());
        };
        let left = command.expires_at.since(self.store.now());
        let mut delivery = Delivery {
            device_id,
            id,
            action,
            deadline: Instant::now() + left,
            answer_timeout: Some(self.options.timeout),
            stored_epoch: reservation.session().key.epoch,
            order: None,
            watch,
        };
        match self
            .hand_over(&mut delivery, &mut command, reservation)
            .await?
        {
            Handover::Ended(outcome) => log_outcome(&outcome),
            Handover::Retry => {}
            Handover::Dispatched(session, until) => {
                let commands = Arc::clone(self);
                under_way.spawn(async move {
                    match commands.await_end(&mut delivery, &session, until).await {
                        Ok(outcome) => log_outcome(&outcome),
                        Err(error) => failure_log::end_not_stored(&delivery.device_id, id, &error),
                    }
                });
            }
        }
        Ok(())
    }
}

fn log_outcome(outcome: &CommandOutcome) {
    if let CommandOutcome::Recorded { command } = outcome {
        log_end(command);
    }
}
