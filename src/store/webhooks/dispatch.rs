//! Claims of what is due, and what came of what was sent.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sea_orm::{
    ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, LockBehavior, LockType},
};
use uuid::Uuid;

use super::{
    KnownEndpoints,
    endpoints::changed,
    intent::{Attempt, Claimable, Disabled, Endpoint, MessageKey, Outcome, Outgoing, Settled},
    lanes::Lanes,
    outbox::key,
};
use crate::{
    domain::Timestamp,
    store::entities::{webhook_endpoint, webhook_lane, webhook_message},
};

/// The first pause of an endpoint that fails; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// A pause that an endpoint asks for is at most this long.
const LONGEST_WISH: Duration = Duration::from_hours(24);
/// The longest texts that are kept of an attempt, in characters.
const LONGEST_ERROR: usize = 255;
const LONGEST_ANSWER: usize = 1024;

/// Claims lanes that are due, with the next message of each.
pub(super) async fn claim(
    db: &DatabaseTransaction,
    known: &KnownEndpoints,
    wanted: &[Claimable],
    lasts: Duration,
    now: Timestamp,
) -> Result<Vec<Outgoing>, DbErr> {
    use webhook_lane::Column as L;
    let mut claimed = Vec::new();
    for Claimable { endpoint_id, lanes } in wanted {
        let Some(endpoint) = known.enabled_with(*endpoint_id) else {
            continue;
        };
        let Some(lanes) = allowed(db, *endpoint_id, *lanes, now).await? else {
            continue;
        };
        let due = webhook_lane::Entity::find()
            .filter(L::EndpointId.eq(endpoint_id.to_string()))
            .filter(L::Due.lte(now.as_millis()))
            .order_by_asc(L::Due)
            .limit(lanes)
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .all(db)
            .await?;
        for lane in due {
            if let Some(outgoing) = claim_lane(db, endpoint, lane, lasts, now).await? {
                claimed.push(outgoing);
            }
        }
    }
    Ok(claimed)
}

/// To how many lanes something may be sent now: one while the endpoint fails, none while it is left alone.
async fn allowed(
    db: &DatabaseTransaction,
    endpoint_id: Uuid,
    lanes: u64,
    now: Timestamp,
) -> Result<Option<u64>, DbErr> {
    use webhook_endpoint::Column as C;
    let health: Option<(i32, Option<i64>)> =
        webhook_endpoint::Entity::find_by_id(endpoint_id.to_string())
            .select_only()
            .columns([C::Failures, C::PausedUntil])
            .into_tuple()
            .one(db)
            .await?;
    Ok(health.and_then(|(failures, paused_until)| {
        if paused_until.is_some_and(|until| until > now.as_millis()) {
            None
        } else {
            Some(if failures > 0 { 1 } else { lanes })
        }
    }))
}

async fn claim_lane(
    db: &DatabaseTransaction,
    endpoint: &Arc<Endpoint>,
    lane: webhook_lane::Model,
    lasts: Duration,
    now: Timestamp,
) -> Result<Option<Outgoing>, DbErr> {
    use webhook_lane::Column as L;
    let next = next(db, endpoint, &lane, now).await?;
    let claim = Uuid::new_v4();
    let (token, due) = match &next {
        Next::Message(_) => (Some(claim.to_string()), Some(now.after(lasts).as_millis())),
        Next::At(due) => (None, Some(*due)),
        Next::Nothing => (None, None),
    };
    let mut update = webhook_lane::Entity::update_many()
        .col_expr(L::Claim, Expr::value(token))
        .col_expr(L::Due, Expr::value(due))
        .col_expr(L::Blocked, Expr::value(false))
        .filter(L::EndpointId.eq(&lane.endpoint_id))
        .filter(L::DeviceId.eq(&lane.device_id));
    if let Next::Message(message) = &next
        && lane.open_message.as_deref() == Some(&*message.id)
    {
        update = update.col_expr(L::OpenMessage, Expr::value(None::<String>));
    }
    update.exec(db).await?;
    Ok(match next {
        Next::Message(message) => outgoing(endpoint, *message, claim),
        Next::At(_) | Next::Nothing => None,
    })
}

fn outgoing(
    endpoint: &Arc<Endpoint>,
    message: webhook_message::Model,
    claim: Uuid,
) -> Option<Outgoing> {
    let id = message.id.parse().ok()?;
    Some(Outgoing {
        key: MessageKey {
            endpoint_id: endpoint.id,
            device_id: message.device_id,
            id,
            claim,
        },
        endpoint: Arc::clone(endpoint),
        sequence: message.sequence,
        body: message.body,
        attempts: u32::try_from(message.attempts).unwrap_or(0),
    })
}

/// What a lane has to send next.
enum Next {
    Message(Box<webhook_message::Model>),
    /// Nothing before then.
    At(i64),
    Nothing,
}

/// The lowest sequence; where the order does not matter, the lowest that is not waiting for another attempt.
async fn next(
    db: &DatabaseTransaction,
    endpoint: &Endpoint,
    lane: &webhook_lane::Model,
    now: Timestamp,
) -> Result<Next, DbErr> {
    use webhook_message::Column as M;
    let pending = || {
        webhook_message::Entity::find()
            .filter(M::EndpointId.eq(&lane.endpoint_id))
            .filter(M::DeviceId.eq(&lane.device_id))
            .filter(M::State.eq(webhook_message::PENDING))
            .filter(M::Sequence.gt(lane.dropped_through))
    };
    let mut first = pending().order_by_asc(M::Sequence);
    if !endpoint.ordered {
        first = first.filter(M::Due.lte(now.as_millis()));
    }
    if let Some(message) = first.one(db).await? {
        return Ok(Next::Message(Box::new(message)));
    }
    if endpoint.ordered {
        return Ok(Next::Nothing);
    }
    let due: Option<i64> = pending()
        .select_only()
        .column(M::Due)
        .order_by_asc(M::Due)
        .into_tuple()
        .one(db)
        .await?;
    Ok(due.map_or(Next::Nothing, Next::At))
}

/// Notes what came of a message, and claims the next one of its lane if that is wanted. What somebody else has claimed
/// meanwhile is theirs.
pub(super) async fn settle(
    db: &DatabaseTransaction,
    known: &KnownEndpoints,
    lanes: &mut Lanes,
    verdicts: &mut Verdicts,
    settled: &Settled,
    now: Timestamp,
) -> Result<Option<Outgoing>, DbErr> {
    let Settled {
        key: which,
        outcome,
        attempt,
        go_on,
    } = settled;
    verdicts.add(which.endpoint_id, outcome, attempt);
    let key = key(which.endpoint_id, &which.device_id);
    let claim = which.claim.to_string();
    let Some(lane) = lanes.change(&key) else {
        return Ok(None);
    };
    if lane.claim.as_deref() != Some(&*claim) {
        return Ok(None);
    }
    let (state, due) = match outcome {
        Outcome::Delivered => (webhook_message::DELIVERED, now),
        Outcome::GivenUp { .. } => (webhook_message::FAILED, now),
        Outcome::Again { after, .. } => (webhook_message::PENDING, now.after(*after)),
        Outcome::Gone => (webhook_message::PENDING, now),
    };
    let is_there = note(db, which.id, state, due, attempt, now).await?;
    let is_finished = state != webhook_message::PENDING;
    // One that was too old meanwhile is not counted any more.
    lane.pending -= i64::from(is_finished && is_there);
    lane.blocked = matches!(
        outcome,
        Outcome::Again {
            is_endpoint: true,
            ..
        }
    );
    let endpoint = known.enabled_with(which.endpoint_id);
    let is_ordered = endpoint.is_none_or(|endpoint| endpoint.ordered);
    // Where the order matters, all of the lane waits for the one that failed.
    lane.release(if is_finished || !is_ordered { now } else { due }.as_millis());
    let (Some(endpoint), Some(lasts), true) = (endpoint, go_on, is_finished && lane.pending > 0)
    else {
        return Ok(None);
    };
    match next(db, endpoint, lane, now).await? {
        Next::Message(message) => {
            if lane.open_message.as_deref() == Some(&*message.id) {
                lane.open_message = None;
            }
            lane.claim = Some(claim);
            lane.due = Some(now.after(*lasts).as_millis());
            Ok(outgoing(endpoint, *message, which.claim))
        }
        Next::At(due) => {
            lane.due = Some(due);
            Ok(None)
        }
        Next::Nothing => Ok(None),
    }
}

/// Whether it was there to be noted.
async fn note(
    db: &DatabaseTransaction,
    id: Uuid,
    state: i16,
    due: Timestamp,
    attempt: &Attempt,
    now: Timestamp,
) -> Result<bool, DbErr> {
    use sea_orm::sea_query::ExprTrait;
    use webhook_message::Column as M;
    let finished_at = (state != webhook_message::PENDING).then_some(now.as_millis());
    let took = attempt
        .took
        .map(|took| i64::try_from(took.as_millis()).unwrap_or(i64::MAX));
    webhook_message::Entity::update_many()
        .col_expr(M::State, Expr::value(state))
        .col_expr(M::Due, Expr::value(due.as_millis()))
        .col_expr(M::Attempts, Expr::col(M::Attempts).add(1))
        .col_expr(M::AttemptedAt, Expr::value(now.as_millis()))
        .col_expr(M::FinishedAt, Expr::value(finished_at))
        .col_expr(M::Status, Expr::value(attempt.status.map(i32::from)))
        .col_expr(M::TookMs, Expr::value(took))
        .col_expr(
            M::Answer,
            Expr::value(short(attempt.answer.as_deref(), LONGEST_ANSWER)),
        )
        .col_expr(
            M::Error,
            Expr::value(short(attempt.error.as_deref(), LONGEST_ERROR)),
        )
        .filter(M::Id.eq(id.to_string()))
        .filter(M::State.eq(webhook_message::PENDING))
        .exec(db)
        .await
        .map(|noted| noted.rows_affected == 1)
}

/// At most so many characters, none of them NUL, which some databases refuse in a text.
fn short(text: Option<&str>, most: usize) -> Option<String> {
    let text = text?.chars().map(|character| match character {
        '\0' => char::REPLACEMENT_CHARACTER,
        other => other,
    });
    Some(text.take(most).collect())
}

/// What a batch has learned of how endpoints fare.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    pub(super) disable_after: Duration,
    by_endpoint: BTreeMap<Uuid, Verdict>,
    frees_lanes: bool,
}

#[derive(Debug, Default)]
struct Verdict {
    succeeded: bool,
    gone: bool,
    /// Failed, and what with.
    failed: Option<String>,
    /// It is the endpoint's trouble; with the pause that it asked for, or zero.
    pause: Option<Duration>,
}

impl Verdicts {
    fn add(&mut self, endpoint_id: Uuid, outcome: &Outcome, attempt: &Attempt) {
        let verdict = self.by_endpoint.entry(endpoint_id).or_default();
        match outcome {
            Outcome::Delivered => verdict.succeeded = true,
            Outcome::Gone => verdict.gone = true,
            Outcome::GivenUp { is_endpoint, pause }
            | Outcome::Again {
                is_endpoint, pause, ..
            } => {
                verdict.failed = Some(attempt.error.clone().unwrap_or_default());
                if *is_endpoint {
                    let wish = pause.unwrap_or_default().min(LONGEST_WISH);
                    verdict.pause = verdict.pause.max(Some(wish));
                }
            }
        }
    }

    /// Whether lanes that waited for their endpoint need not wait any more.
    pub(super) fn frees_lanes(&self) -> bool {
        self.frees_lanes
    }

    /// Writes them, and returns which endpoints are disabled by it, and why.
    pub(super) async fn write(
        &mut self,
        db: &DatabaseTransaction,
        known: &KnownEndpoints,
        now: Timestamp,
    ) -> Result<Vec<(String, &'static str)>, DbErr> {
        let mut disabled = Vec::new();
        for (id, verdict) in &self.by_endpoint {
            let Some(endpoint) = known.enabled_with(*id) else {
                continue;
            };
            let reason = if verdict.gone {
                Some(Disabled::Gone)
            } else if verdict.succeeded {
                self.frees_lanes |= succeed(db, *id, now).await?;
                None
            } else if let Some(error) = &verdict.failed {
                fail(db, *id, error, verdict.pause, self.disable_after, now).await?
            } else {
                None
            };
            if let Some(reason) = reason {
                disable(db, *id, reason, now).await?;
                disabled.push((endpoint.url.clone(), reason.as_str()));
            }
        }
        Ok(disabled)
    }
}

/// The endpoint works. Whether it did not before: then what waited for it is due at once.
async fn succeed(db: &DatabaseTransaction, id: Uuid, now: Timestamp) -> Result<bool, DbErr> {
    use webhook_endpoint::Column as C;
    use webhook_lane::Column as L;
    let failures: Option<i32> = webhook_endpoint::Entity::find_by_id(id.to_string())
        .select_only()
        .column(C::Failures)
        .into_tuple()
        .one(db)
        .await?;
    if failures.is_none_or(|failures| failures == 0) {
        return Ok(false);
    }
    webhook_endpoint::Entity::update_many()
        .col_expr(C::Failures, Expr::value(0))
        .col_expr(C::FailingSince, Expr::value(None::<i64>))
        .col_expr(C::PausedUntil, Expr::value(None::<i64>))
        .filter(C::Id.eq(id.to_string()))
        .exec(db)
        .await?;
    webhook_lane::Entity::update_many()
        .col_expr(L::Due, Expr::value(now.as_millis()))
        .col_expr(L::Blocked, Expr::value(false))
        .filter(L::EndpointId.eq(id.to_string()))
        .filter(L::Blocked.eq(true))
        .exec(db)
        .await?;
    Ok(true)
}

/// The endpoint fails. Whether it has for too long.
async fn fail(
    db: &DatabaseTransaction,
    id: Uuid,
    error: &str,
    pause: Option<Duration>,
    disable_after: Duration,
    now: Timestamp,
) -> Result<Option<Disabled>, DbErr> {
    use webhook_endpoint::Column as C;
    let row = webhook_endpoint::Entity::find_by_id(id.to_string())
        .lock_exclusive()
        .one(db)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let since = row.failing_since.unwrap_or(now.as_millis());
    let mut update = webhook_endpoint::Entity::update_many()
        .col_expr(C::FailingSince, Expr::value(since))
        .col_expr(C::LastError, Expr::value(short(Some(error), LONGEST_ERROR)))
        .filter(C::Id.eq(id.to_string()));
    // What was on its way when the first of them failed says nothing new.
    let is_paused = row
        .paused_until
        .is_some_and(|until| until > now.as_millis());
    if let Some(wish) = pause
        && (!is_paused || !wish.is_zero())
    {
        let doublings = u32::try_from(row.failures).unwrap_or(0).min(10);
        let pause = (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE);
        let until = now.after(pause.max(wish)).as_millis();
        update = update
            .col_expr(C::Failures, Expr::value(row.failures.saturating_add(1)))
            .col_expr(
                C::PausedUntil,
                Expr::value(until.max(row.paused_until.unwrap_or(until))),
            );
    }
    update.exec(db).await?;
    let failing = now.since(Timestamp::from_millis(since));
    Ok((failing >= disable_after).then_some(Disabled::Failing))
}

async fn disable(
    db: &DatabaseTransaction,
    id: Uuid,
    reason: Disabled,
    now: Timestamp,
) -> Result<(), DbErr> {
    use webhook_endpoint::Column as C;
    webhook_endpoint::Entity::update_many()
        .col_expr(C::DisabledAt, Expr::value(now.as_millis()))
        .col_expr(C::DisabledReason, Expr::value(reason.as_str()))
        .filter(C::Id.eq(id.to_string()))
        .exec(db)
        .await?;
    changed(db).await
}
