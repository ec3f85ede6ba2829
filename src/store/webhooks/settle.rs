//! What came of messages that were sent.
//!
//! Cost of all that a batch settles: one SELECT of the messages, one UPDATE for each 64 that were finished alike, and one
//! for each that is sent again. Of what their lanes send next: one SELECT of how the endpoints fare, two for each of them,
//! and one write for each 128 lanes.

use std::collections::{BTreeMap, HashMap, HashSet};

use sea_orm::{
    ColumnTrait, DbErr, EntityTrait, QueryFilter, QuerySelect, UpdateMany,
    sea_query::{CaseStatement, Expr, ExprTrait},
};
use uuid::Uuid;

use super::{
    KnownEndpoints,
    claim::take,
    heads::{Next, heads},
    intent::{Attempt, Outcome, Outgoing, Settled},
    lanes::{KEYS_PER_SELECT, LaneKey, Lanes, key, write_rows},
    verdicts::{LONGEST_ERROR, healths, short},
};
use crate::{
    domain::Timestamp,
    store::{
        database::Transaction,
        entities::webhook_message,
        statements::{Texts, padded},
    },
};

/// The longest text that is kept of an answer, in characters.
const LONGEST_ANSWER: usize = 1024;
/// Messages that one UPDATE finishes at most.
const FINISHED_PER_UPDATE: usize = 64;

/// Notes what came of messages, and returns those whose lanes have more to send and are wanted for it. What somebody else
/// has claimed meanwhile is theirs.
pub(super) async fn settle<'a>(
    db: &Transaction,
    known: &KnownEndpoints,
    lanes: &mut Lanes,
    settled: &[&'a Settled],
    now: Timestamp,
) -> Result<Vec<&'a Settled>, DbErr> {
    let settled = claimed(lanes, settled);
    let planned = still_pending(db, &settled).await?;
    let (mut finished, mut going_on) = (Vec::new(), Vec::new());
    for settled in settled {
        let Some(lane) = lanes.change(&lane_of(settled)) else {
            continue;
        };
        let planned = planned.get(&settled.key.id);
        let note = Note::of(settled, planned.map(|message| message.due), now);
        let is_finished = note.state != webhook_message::PENDING;
        // Its vehicle was deleted while it was on its way: it was counted out then, and is not sent again.
        let is_dropped = planned.is_some_and(|message| message.sequence <= lane.dropped_through);
        // One that was too old meanwhile is not there to be counted.
        if planned.is_some() {
            lane.pending -= i64::from(is_finished && !is_dropped);
            if is_finished {
                finished.push((settled, note.state));
            } else {
                note.write(db, settled, now).await?;
            }
        }
        lane.blocked = note.is_blocked && !is_dropped;
        let endpoint = known.enabled_with(settled.key.endpoint_id);
        let is_ordered = endpoint.is_none_or(|endpoint| endpoint.ordered);
        // Where the order matters, all of the lane waits for the one that failed.
        let is_over = is_finished || is_dropped;
        let waits = is_ordered && !is_over;
        lane.release(if waits { note.due } else { now.as_millis() });
        if is_over && lane.pending > 0 && settled.go_on.is_some() {
            going_on.push(settled);
        }
    }
    finish(db, finished, now).await?;
    Ok(going_on)
}

/// Claims the next message of these lanes, unless their endpoint is left alone; by the id of the message before it.
pub(super) async fn go_on(
    db: &Transaction,
    texts: &mut Texts,
    known: &KnownEndpoints,
    lanes: &Lanes,
    going_on: &[&Settled],
    now: Timestamp,
) -> Result<HashMap<Uuid, Outgoing>, DbErr> {
    let mut claimed = HashMap::new();
    let mut by_endpoint: BTreeMap<Uuid, Vec<&Settled>> = BTreeMap::new();
    for settled in going_on {
        let of_endpoint = by_endpoint.entry(settled.key.endpoint_id).or_default();
        of_endpoint.push(settled);
    }
    let healths = healths(db, by_endpoint.keys().copied()).await?;
    let mut changed = Vec::new();
    for (id, going_on) in by_endpoint {
        let is_paused = healths.get(&id).is_none_or(|health| health.is_paused(now));
        let Some(endpoint) = known.enabled_with(id).filter(|_| !is_paused) else {
            continue;
        };
        let devices: Vec<&str> = going_on.iter().map(|it| &*it.key.device_id).collect();
        let mut next = heads(db, endpoint, &devices, now).await?;
        for settled in going_on {
            let lane = lanes.get(&lane_of(settled)).cloned();
            let (Some(mut lane), Some(lasts)) = (lane, settled.go_on) else {
                continue;
            };
            // What has nothing to send now is found by its time.
            let Some(Next::Message(message)) = next.remove(&settled.key.device_id) else {
                continue;
            };
            let until = now.after(lasts).as_millis();
            let claim = settled.key.claim;
            let taken = take(endpoint, &mut lane, *message, claim, until, now);
            claimed.extend(taken.map(|taken| (settled.key.id, taken)));
            changed.push(lane);
        }
    }
    write_rows(db, texts, &changed.iter().collect::<Vec<_>>()).await?;
    Ok(claimed)
}

fn lane_of(settled: &Settled) -> LaneKey {
    key(settled.key.endpoint_id, &settled.key.device_id)
}

/// Those whose lane is still claimed as it was, each once: whoever was not answered settles again.
fn claimed<'a>(lanes: &Lanes, settled: &[&'a Settled]) -> Vec<&'a Settled> {
    let mut seen = HashSet::new();
    let is_claimed = |settled: &Settled| {
        let claim = settled.key.claim.to_string();
        let lane = lanes.get(&lane_of(settled));
        lane.is_some_and(|lane| lane.claim == Some(claim))
    };
    let settled = settled.iter().copied();
    settled
        .filter(|settled| is_claimed(settled) && seen.insert(settled.key.id))
        .collect()
}

/// A message that is pending: when it was to be sent, and its place.
struct Planned {
    due: i64,
    sequence: i64,
}

/// Which of the messages are there and pending. Their lanes are locked: nobody else changes them.
async fn still_pending(
    db: &Transaction,
    settled: &[&Settled],
) -> Result<HashMap<Uuid, Planned>, DbErr> {
    use webhook_message::Column as M;
    let ids: Vec<String> = settled.iter().map(|it| it.key.id.to_string()).collect();
    let mut pending = HashMap::with_capacity(ids.len());
    for chunk in ids.chunks(KEYS_PER_SELECT) {
        let found: Vec<(String, i64, i64)> = webhook_message::Entity::find()
            .select_only()
            .columns([M::Id, M::Due, M::Sequence])
            .filter(M::Id.is_in(padded(chunk)))
            .filter(M::State.eq(webhook_message::PENDING))
            .into_tuple()
            .all(db)
            .await?;
        pending.extend(
            found.into_iter().filter_map(|(id, due, sequence)| {
                Some((id.parse().ok()?, Planned { due, sequence }))
            }),
        );
    }
    Ok(pending)
}

/// What becomes of a message by an attempt.
struct Note {
    state: i16,
    due: i64,
    /// The attempt is one of its schedule.
    counts: bool,
    /// It waits for its endpoint, and need not wait once that works again.
    is_blocked: bool,
}

impl Note {
    fn of(settled: &Settled, planned: Option<i64>, now: Timestamp) -> Self {
        let note = |state, due: Timestamp| Self {
            state,
            due: due.as_millis(),
            counts: true,
            is_blocked: false,
        };
        let is_failure = matches!(
            settled.outcome,
            Outcome::Again { .. } | Outcome::GivenUp { .. }
        );
        if settled.is_early && is_failure {
            // The endpoint seemed to work again. That it does not costs the message none of its attempts.
            let planned = planned.map_or(now, Timestamp::from_millis);
            return Self {
                counts: false,
                ..note(webhook_message::PENDING, planned)
            };
        }
        match &settled.outcome {
            Outcome::Delivered => note(webhook_message::DELIVERED, now),
            Outcome::GivenUp { .. } => note(webhook_message::FAILED, now),
            Outcome::Gone => note(webhook_message::PENDING, now),
            Outcome::Again {
                after, is_endpoint, ..
            } => Self {
                is_blocked: *is_endpoint,
                ..note(webhook_message::PENDING, now.after(*after))
            },
        }
    }

    /// Notes that the message is to be sent again.
    async fn write(
        &self,
        db: &Transaction,
        settled: &Settled,
        now: Timestamp,
    ) -> Result<(), DbErr> {
        use webhook_message::Column as M;
        let attempt = &settled.attempt;
        attempted(attempt, now)
            .col_expr(M::Due, Expr::value(self.due))
            .col_expr(
                M::Attempts,
                Expr::col(M::Attempts).add(i32::from(self.counts)),
            )
            .col_expr(M::TookMs, Expr::value(took_millis(attempt)))
            .filter(M::Id.eq(settled.key.id.to_string()))
            .exec(db)
            .await
            .map(drop)
    }
}

/// The part of a note that messages share that were answered alike.
fn attempted(attempt: &Attempt, now: Timestamp) -> UpdateMany<webhook_message::Entity> {
    use webhook_message::Column as M;
    webhook_message::Entity::update_many()
        .col_expr(M::AttemptedAt, Expr::value(now.as_millis()))
        .col_expr(M::Status, Expr::value(attempt.status.map(i32::from)))
        .col_expr(
            M::Answer,
            Expr::value(short(attempt.answer.as_deref(), LONGEST_ANSWER)),
        )
        .col_expr(
            M::Error,
            Expr::value(short(attempt.error.as_deref(), LONGEST_ERROR)),
        )
}

fn took_millis(attempt: &Attempt) -> Option<i64> {
    let took = attempt.took?;
    Some(i64::try_from(took.as_millis()).unwrap_or(i64::MAX))
}

/// Notes messages that are delivered or given up: nearly all of them are answered alike.
async fn finish(
    db: &Transaction,
    finished: Vec<(&Settled, i16)>,
    now: Timestamp,
) -> Result<(), DbErr> {
    use webhook_message::Column as M;
    type Alike<'a> = (i16, Option<u16>, Option<&'a str>, Option<&'a str>);
    let mut groups: BTreeMap<Alike<'_>, Vec<(String, Option<i64>)>> = BTreeMap::new();
    let mut examples: HashMap<Alike<'_>, &Attempt> = HashMap::new();
    for (settled, state) in finished {
        let attempt = &settled.attempt;
        let (answer, error) = (attempt.answer.as_deref(), attempt.error.as_deref());
        let alike = (state, attempt.status, answer, error);
        examples.insert(alike, attempt);
        let row = (settled.key.id.to_string(), took_millis(attempt));
        groups.entry(alike).or_default().push(row);
    }
    for (alike, rows) in groups {
        for chunk in rows.chunks(FINISHED_PER_UPDATE) {
            let mut took = CaseStatement::new();
            for (id, millis) in padded(chunk) {
                took = took.case(Expr::col(M::Id).eq(id), millis);
            }
            attempted(examples[&alike], now)
                .col_expr(M::State, Expr::value(alike.0))
                .col_expr(M::Due, Expr::value(now.as_millis()))
                .col_expr(M::FinishedAt, Expr::value(now.as_millis()))
                .col_expr(M::Attempts, Expr::col(M::Attempts).add(1))
                .col_expr(M::TookMs, took.finally(Expr::col(M::TookMs)).into())
                .filter(M::Id.is_in(padded(chunk).map(|(id, _)| id)))
                .exec(db)
                .await?;
        }
    }
    Ok(())
}
