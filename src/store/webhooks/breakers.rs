//! Circuit breakers of endpoints: reads their state, applies the outcomes of a batch and writes what changed.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QuerySelect, sea_query::Expr};
use uuid::Uuid;

use super::{
    backlog,
    endpoint::{backlog_from_columns, breaker_from_columns, set_backlog, set_breaker},
    endpoints::{EndpointCache, bump_version},
    message::{FailureLimits, FinishedAttempt},
    queues::{Release, release},
};
use crate::{
    domain::{DisabledReason, Timestamp},
    state::{BreakerSignal, CircuitBreaker, OutcomeSummary},
    store::{
        database::Transaction,
        {entities::webhook_endpoint, statements::padded},
    },
};

/// The longest error text that is stored, in characters.
pub(super) const ERROR_CHARACTERS: usize = 255;

/// Reads the breakers of these endpoints: one SELECT, and none for no endpoints.
pub(super) async fn read(
    db: &Transaction,
    ids: impl IntoIterator<Item = Uuid>,
) -> Result<HashMap<Uuid, CircuitBreaker>, DbErr> {
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
    let breakers = rows.into_iter().filter_map(|row| {
        let (id, failures, failing_since, paused_until) = row;
        let breaker = breaker_from_columns(failures, failing_since, paused_until);
        Some((id.parse().ok()?, breaker))
    });
    Ok(breakers.collect())
}

/// Shortens a text to at most `characters`, and replaces NUL, which some databases refuse.
pub(super) fn storable(text: Option<&str>, characters: usize) -> Option<String> {
    let text = text?.chars().map(|character| match character {
        '\0' => char::REPLACEMENT_CHARACTER,
        other => other,
    });
    Some(text.take(characters).collect())
}

/// The outcomes of a batch, by endpoint.
#[derive(Debug, Default)]
pub(super) struct BatchOutcomes {
    by_endpoint: BTreeMap<Uuid, EndpointOutcomes>,
    limits: FailureLimits,
}

#[derive(Debug, Default)]
struct EndpointOutcomes {
    summary: OutcomeSummary,
    /// Whether the endpoint was behind before the batch.
    is_behind: bool,
    last_error: Option<String>,
}

/// What the outcomes of a batch have changed.
#[derive(Debug, Default)]
pub(super) struct BreakerChanges {
    /// Endpoints that were disabled.
    pub(super) disabled: Vec<(Uuid, DisabledReason)>,
    /// Endpoints that have fallen behind.
    pub(super) behind: Vec<Uuid>,
    /// Whether a column of an endpoint has changed that every instance keeps in memory.
    pub(super) endpoints_changed: bool,
    /// Whether queues that waited for their endpoint are now due.
    pub(super) released: bool,
}

impl BatchOutcomes {
    /// The outcomes of these attempts, except for endpoints that are disabled or have another URL by now.
    pub(super) fn of(endpoints: &EndpointCache, attempts: &[&FinishedAttempt]) -> Self {
        let mut outcomes = Self::default();
        for attempt in attempts {
            outcomes.limits = attempt.limits;
            outcomes.add(endpoints, attempt);
        }
        outcomes
    }

    fn add(&mut self, endpoints: &EndpointCache, attempt: &FinishedAttempt) {
        let id = attempt.key.queue.endpoint_id;
        let current = endpoints.enabled_with(id);
        let Some(current) = current.filter(|it| it.url == attempt.endpoint.url) else {
            return;
        };
        let outcomes = self.by_endpoint.entry(id).or_default();
        outcomes.is_behind = current.backlog.is_behind();
        outcomes.summary.add(&attempt.outcome);
        if attempt.outcome.is_failure() {
            outcomes.last_error = Some(attempt.record.error.clone().unwrap_or_default());
        }
    }

    /// Applies the outcomes to the breakers and backlogs, and disables endpoints that are gone or have failed for too
    /// long.
    pub(super) async fn write(
        &self,
        db: &Transaction,
        now: Timestamp,
    ) -> Result<BreakerChanges, DbErr> {
        let mut changes = BreakerChanges::default();
        for (id, outcomes) in &self.by_endpoint {
            let disable = match outcomes.summary.signal() {
                None => None,
                Some(BreakerSignal::Disable(reason)) => Some(reason),
                Some(BreakerSignal::Success) => {
                    let recovered = record_success(db, *id, now).await?;
                    changes.released |= recovered;
                    if recovered && outcomes.is_behind {
                        changes.endpoints_changed |= backlog::recover(db, *id, now).await?;
                    }
                    None
                }
                Some(BreakerSignal::Failure { pause }) => {
                    let error = outcomes.last_error.as_deref();
                    let failure = record_failure(db, *id, error, pause, self.limits, now).await?;
                    if failure.fell_behind {
                        bump_version(db).await?;
                        changes.behind.push(*id);
                        changes.endpoints_changed = true;
                    }
                    failure.is_too_long.then_some(DisabledReason::Failing)
                }
            };
            if let Some(reason) = disable {
                self::disable(db, *id, reason, now).await?;
                changes.disabled.push((*id, reason));
                changes.endpoints_changed = true;
            }
        }
        Ok(changes)
    }
}

/// Records a success. If the endpoint has recovered by it, makes the queues due that waited for the endpoint. Returns
/// whether it has.
async fn record_success(db: &Transaction, id: Uuid, now: Timestamp) -> Result<bool, DbErr> {
    // Without a lock, since nearly always there is nothing to change.
    let Some(before) = read(db, [id]).await?.remove(&id) else {
        return Ok(false);
    };
    let mut breaker = before;
    let recovered = breaker.record_success(now);
    if breaker != before {
        set_breaker(webhook_endpoint::Entity::update_many(), &breaker)
            .filter(webhook_endpoint::Column::Id.eq(id.to_string()))
            .exec(db)
            .await?;
    }
    if recovered {
        release(db, id, Release::WaitingForEndpoint, now).await?;
    }
    Ok(recovered)
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, Default)]
struct Failure {
    /// The endpoint has failed for too long, and is to be disabled.
    is_too_long: bool,
    fell_behind: bool,
}

/// Records a failure. Nothing follows if there is no such endpoint.
async fn record_failure(
    db: &Transaction,
    id: Uuid,
    error: Option<&str>,
    pause: Option<Duration>,
    limits: FailureLimits,
    now: Timestamp,
) -> Result<Failure, DbErr> {
    use webhook_endpoint::Column as C;
    let row = webhook_endpoint::Entity::find_by_id(id.to_string())
        .lock_exclusive()
        .one(db)
        .await?;
    let Some(row) = row else {
        return Ok(Failure::default());
    };
    let mut breaker = breaker_from_columns(row.failures, row.failing_since, row.paused_until);
    breaker.record_failure(pause, now);
    let mut backlog = backlog_from_columns(row.behind_since, row.catch_up_at);
    let fell_behind = backlog.fall_behind(&breaker, limits.coalesce_after, now);
    let update = set_breaker(webhook_endpoint::Entity::update_many(), &breaker);
    set_backlog(update, backlog)
        .col_expr(C::LastError, Expr::value(storable(error, ERROR_CHARACTERS)))
        .filter(C::Id.eq(id.to_string()))
        .exec(db)
        .await?;
    Ok(Failure {
        is_too_long: breaker.has_failed_for(limits.disable_after, now),
        fell_behind,
    })
}

async fn disable(
    db: &Transaction,
    id: Uuid,
    reason: DisabledReason,
    now: Timestamp,
) -> Result<(), DbErr> {
    use webhook_endpoint::Column as C;
    webhook_endpoint::Entity::update_many()
        .col_expr(C::DisabledAt, Expr::value(now.as_millis()))
        .col_expr(C::DisabledReason, Expr::value(reason.as_str()))
        .filter(C::Id.eq(id.to_string()))
        .exec(db)
        .await?;
    bump_version(db).await
}
