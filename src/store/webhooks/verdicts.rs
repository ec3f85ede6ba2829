//! How endpoints fare, by what came of what was sent to them.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use sea_orm::{
    ColumnTrait, DbErr, EntityTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, LockBehavior, LockType},
};
use uuid::Uuid;

use super::{
    KnownEndpoints,
    endpoints::changed,
    intent::{Disabled, Outcome, Settled},
};
use crate::{
    domain::Timestamp,
    store::{
        database::Transaction,
        entities::{webhook_endpoint, webhook_lane},
        statements::padded,
    },
};

/// The first pause of an endpoint that fails; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// A pause that an endpoint asks for is at most this long.
const LONGEST_WISH: Duration = Duration::from_hours(24);
/// The longest text that is kept of what went wrong, in characters.
pub(super) const LONGEST_ERROR: usize = 255;
/// Lanes that one statement frees.
const LANES_PER_STEP: u64 = 500;

/// How an endpoint fares, as far as it decides what is sent to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Health {
    pub(super) failures: i32,
    failing_since: Option<i64>,
    paused_until: Option<i64>,
}

impl Health {
    /// Whether nothing is sent to it now.
    pub(super) fn is_paused(&self, now: Timestamp) -> bool {
        self.paused_until
            .is_some_and(|until| until > now.as_millis())
    }
}

/// How these endpoints fare: one SELECT, and none for none.
pub(super) async fn healths(
    db: &Transaction,
    ids: impl IntoIterator<Item = Uuid>,
) -> Result<HashMap<Uuid, Health>, DbErr> {
    use webhook_endpoint::Column as C;
    let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(String, i32, Option<i64>, Option<i64>)> = webhook_endpoint::Entity::find()
        .select_only()
        .columns([C::Id, C::Failures, C::FailingSince, C::PausedUntil])
        .filter(C::Id.is_in(padded(&ids)))
        .into_tuple()
        .all(db)
        .await?;
    let healths = rows.into_iter().filter_map(|row| {
        let (id, failures, failing_since, paused_until) = row;
        let health = Health {
            failures,
            failing_since,
            paused_until,
        };
        Some((id.parse().ok()?, health))
    });
    Ok(healths.collect())
}

/// At most so many characters, none of them NUL, which some databases refuse in a text.
pub(super) fn short(text: Option<&str>, most: usize) -> Option<String> {
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
    /// What an attempt says of its endpoint, as it is now: what became of another address says nothing of this one.
    pub(super) fn add(&mut self, known: &KnownEndpoints, settled: &Settled) {
        let now = known.enabled_with(settled.key.endpoint_id);
        if now.is_none_or(|now| now.url != settled.endpoint.url) {
            return;
        }
        let verdict = self.by_endpoint.entry(settled.key.endpoint_id).or_default();
        match &settled.outcome {
            Outcome::Delivered => verdict.succeeded = true,
            Outcome::Gone => verdict.gone = true,
            Outcome::GivenUp { is_endpoint, pause }
            | Outcome::Again {
                is_endpoint, pause, ..
            } => {
                verdict.failed = Some(settled.attempt.error.clone().unwrap_or_default());
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
        db: &Transaction,
        now: Timestamp,
    ) -> Result<Vec<(Uuid, &'static str)>, DbErr> {
        let mut disabled = Vec::new();
        for (id, verdict) in &self.by_endpoint {
            // It works, and asks not to be asked so much.
            let wants_pause = verdict.pause.is_some_and(|wish| !wish.is_zero());
            let reason = if verdict.gone {
                Some(Disabled::Gone)
            } else if verdict.succeeded && !wants_pause {
                self.frees_lanes |= succeed(db, *id, now).await?;
                None
            } else if let Some(error) = &verdict.failed {
                fail(db, *id, error, verdict.pause, self.disable_after, now).await?
            } else {
                None
            };
            if let Some(reason) = reason {
                disable(db, *id, reason, now).await?;
                disabled.push((*id, reason.as_str()));
            }
        }
        Ok(disabled)
    }
}

/// The endpoint works. Whether it did not before: then what waited for it is due at once.
async fn succeed(db: &Transaction, id: Uuid, now: Timestamp) -> Result<bool, DbErr> {
    use webhook_endpoint::Column as C;
    let Some(health) = healths(db, [id]).await?.remove(&id) else {
        return Ok(false);
    };
    let was_well = health.failures == 0 && health.failing_since.is_none();
    // What was on its way before a pause began says nothing of what comes after it.
    if was_well || health.is_paused(now) {
        return Ok(false);
    }
    webhook_endpoint::Entity::update_many()
        .col_expr(C::Failures, Expr::value(0))
        .col_expr(C::FailingSince, Expr::value(None::<i64>))
        .col_expr(C::PausedUntil, Expr::value(None::<i64>))
        .filter(C::Id.eq(id.to_string()))
        .exec(db)
        .await?;
    if health.failures == 0 {
        return Ok(false);
    }
    free_lanes(db, id, Waiting::ForTheEndpoint, now).await?;
    Ok(true)
}

/// What lanes wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// For their endpoint to work again.
    ForTheEndpoint,
    /// For anything but whoever has claimed them.
    ForAnything,
}

/// Makes lanes due that wait. One that somebody else has locked goes on waiting for its own time: to wait for it here, in
/// another order than everybody's, could be for ever.
pub(super) async fn free_lanes(
    db: &Transaction,
    endpoint_id: Uuid,
    waiting: Waiting,
    now: Timestamp,
) -> Result<(), DbErr> {
    use webhook_lane::Column as L;
    loop {
        let mut waits = webhook_lane::Entity::find()
            .select_only()
            .column(L::DeviceId)
            .filter(L::EndpointId.eq(endpoint_id.to_string()))
            .filter(L::Due.gt(now.as_millis()))
            .filter(L::Claim.is_null());
        if waiting == Waiting::ForTheEndpoint {
            waits = waits.filter(L::Blocked.eq(true));
        }
        let devices: Vec<String> = waits
            .limit(LANES_PER_STEP)
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .into_tuple()
            .all(db)
            .await?;
        let found = devices.len() as u64;
        if found > 0 {
            webhook_lane::Entity::update_many()
                .col_expr(L::Due, Expr::value(now.as_millis()))
                .col_expr(L::Blocked, Expr::value(false))
                .filter(L::EndpointId.eq(endpoint_id.to_string()))
                .filter(L::DeviceId.is_in(devices))
                .exec(db)
                .await?;
        }
        if found < LANES_PER_STEP {
            return Ok(());
        }
    }
}

/// The endpoint fails. Whether it has for too long.
async fn fail(
    db: &Transaction,
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
    db: &Transaction,
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
