//! A batch: one transaction that reads rows, applies write requests to them in memory, and writes each row once.
//!
//! Cost: one SELECT for each 512 vehicles (on a file only those that the last batches did not touch), one INSERT for
//! each 64 to 256 changed rows of a table (in powers of two, so that a handful of prepared statements serves every
//! size), one commit with its fsync.

mod cache;

use std::{
    collections::{BTreeSet, HashMap},
    iter::once,
    time::Duration,
};

use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use tokio::time::timeout;

use super::{
    clock::Clock,
    database::Transaction,
    error::CommitError,
    tables::{
        audit, commands, debug_blobs,
        instances::{self, BatchNumber},
        reports, vehicles,
    },
    webhooks::{self, BatchEvents, WebhookBatch, WebhookEffects},
    write_request::{BatchTransaction, PendingRequest, Phase, QueuedWrite, Touched},
};
use crate::{
    domain::{Command, DeviceId},
    state::{BatchState, Eviction, QueuedCommand, VehicleEntry},
};

pub(super) use cache::BatchCache;

/// What is published after the commit, beside the outputs of the requests.
#[derive(Debug, Clone, Default)]
pub(super) struct SideEffects {
    /// Commands that reached their final state.
    pub(super) finished: Vec<Command>,
    /// Commands that were queued.
    pub(super) queued: Vec<QueuedCommand>,
    /// Sessions of other instances that the batch ended.
    pub(super) evictions: Vec<Eviction>,
    /// What changed for webhooks.
    pub(super) webhooks: WebhookEffects,
}

/// Why a batch is not known to be committed.
#[derive(Debug)]
pub(super) enum BatchFailure {
    /// Nothing of it is stored; it may be applied again.
    Failed(CommitError),
    /// COMMIT was not answered, so it may be stored. With its side effects, to publish if it is.
    Unknown(CommitError, SideEffects),
}

impl From<CommitError> for BatchFailure {
    fn from(error: CommitError) -> Self {
        Self::Failed(error)
    }
}

/// A server that does not answer for this long is taken to be gone: a batch takes milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Applies `batch`, except for the requests that it marks as deferred, and commits. After any failure the caller must
/// close `db` and clear `cache`.
pub(super) async fn apply(
    db: &Transaction,
    cache: &mut BatchCache,
    clock: &Clock,
    number: BatchNumber,
    batch: &mut [QueuedWrite],
) -> Result<SideEffects, BatchFailure> {
    let is_file = db.get_database_backend() == DbBackend::Sqlite;
    // On an error the caller throws the connection away, and the transaction with it.
    let prepared = prepare(db, cache, clock, number, batch);
    let (rows, effects) = if is_file {
        prepared.await?
    } else {
        timeout(ANSWER_TIMEOUT, prepared)
            .await
            .map_err(|_elapsed| CommitError::NoAnswer(ANSWER_TIMEOUT))??
    };
    let commit = db.commit();
    if is_file {
        commit.await.map_err(CommitError::from)?;
    } else {
        let answered = timeout(ANSWER_TIMEOUT, commit).await;
        let committed = match answered {
            Ok(committed) => committed.map_err(CommitError::from),
            Err(_elapsed) => Err(CommitError::NoAnswer(ANSWER_TIMEOUT)),
        };
        if let Err(error) = committed {
            return Err(BatchFailure::Unknown(error, effects));
        }
    }
    cache.keep(rows);
    Ok(effects)
}

/// Does everything but the COMMIT: begins the transaction, reads rows, applies the requests and writes what changed.
async fn prepare(
    db: &Transaction,
    cache: &mut BatchCache,
    clock: &Clock,
    number: BatchNumber,
    batch: &mut [QueuedWrite],
) -> Result<(HashMap<DeviceId, VehicleEntry>, SideEffects), CommitError> {
    let is_file = db.get_database_backend() == DbBackend::Sqlite;
    db.begin().await?;
    let incarnation = number.incarnation;
    let mut endpoint_set = None;
    if !is_file {
        endpoint_set = Some(instances::renew(db, number).await?);
        let mut context = BatchTransaction {
            db,
            texts: &mut cache.texts,
            clock,
            incarnation,
            now: clock.now(),
            endpoints: &cache.endpoints,
            webhooks: &mut WebhookBatch::default(),
        };
        execute(Phase::Instances, batch, &mut context).await?;
    }
    cache.check(db).await?;
    // A batch that only renews the incarnation causes no events.
    if !batch.is_empty() {
        cache.endpoints.check(db, endpoint_set).await?;
    }
    let vehicles = read_vehicles(db, cache, batch).await?;
    let commands = commands::read(db, &Touched::by(due(batch))).await?;
    let subscribed = cache.endpoints.subscribed();
    let mut state = BatchState::new(incarnation, clock.now(), vehicles, commands, subscribed);
    for queued in batch.iter_mut().filter(|queued| !queued.deferred) {
        queued.request.apply(&mut state);
    }
    let (rows, effects) = write(db, cache, clock, state, batch).await?;
    Ok((rows, effects))
}

/// The requests that this attempt applies.
fn due(batch: &[QueuedWrite]) -> impl Iterator<Item = &dyn PendingRequest> {
    batch
        .iter()
        .filter(|queued| !queued.deferred)
        .map(|queued| &*queued.request)
}

/// Reads the vehicles that the batch touches. On a server they are locked; a request that touches one that another
/// instance has locked at the moment is marked as deferred, so that no other request waits for it.
async fn read_vehicles(
    db: &Transaction,
    cache: &mut BatchCache,
    batch: &mut [QueuedWrite],
) -> Result<HashMap<DeviceId, VehicleEntry>, DbErr> {
    let mut entries = HashMap::with_capacity(batch.len());
    let mut unknown = BTreeSet::new();
    let touched = Touched::by(batch.iter().map(|queued| &*queued.request));
    for id in touched.vehicles {
        if let Some(record) = cache.take(id) {
            entries.insert(id.clone(), VehicleEntry::read(Some(record)));
        } else if !entries.contains_key(id) {
            unknown.insert(id);
        }
    }
    let read = vehicles::lock_and_read(db, unknown, cache.is_shared).await?;
    entries.extend(read.entries);
    for queued in batch {
        let is_locked = |id: &&DeviceId| read.locked.contains(id.as_str());
        queued.deferred = !read.locked.is_empty()
            && Touched::by(once(&*queued.request))
                .vehicles
                .iter()
                .any(is_locked);
    }
    Ok(entries)
}

/// Writes what the batch changed, and runs the requests that have SQL of their own.
async fn write(
    db: &Transaction,
    cache: &mut BatchCache,
    clock: &Clock,
    mut state: BatchState,
    batch: &mut [QueuedWrite],
) -> Result<(HashMap<DeviceId, VehicleEntry>, SideEffects), DbErr> {
    let finished: Vec<Command> = state.commands.finished().collect();
    let queued = state.commands.queued_now().collect();
    state.emit_finished(&finished);
    let BatchState {
        incarnation,
        vehicles,
        reports,
        blobs,
        commands,
        evictions,
        mut events,
        deleted,
        now,
        ..
    } = state;
    let texts = &mut cache.texts;
    vehicles::write(db, texts, &vehicles).await?;
    reports::write(db, texts, &reports).await?;
    debug_blobs::write(db, blobs, &mut events).await?;
    commands::write(db, texts, &commands).await?;
    let mut webhooks = WebhookBatch::default();
    let mut context = BatchTransaction {
        db,
        texts,
        clock,
        incarnation,
        now,
        endpoints: &cache.endpoints,
        webhooks: &mut webhooks,
    };
    execute(Phase::Histories, batch, &mut context).await?;
    let happened = BatchEvents {
        events: events.into_iter().flatten().collect(),
        deleted,
        now,
    };
    let touched = Touched::by(due(batch));
    *context.webhooks = webhooks::deliver(
        db,
        context.texts,
        context.endpoints,
        &happened,
        &touched.attempts,
    )
    .await?;
    audit::write(db, context.texts, &touched.audit_records).await?;
    execute(Phase::Webhooks, batch, &mut context).await?;
    execute(Phase::Administration, batch, &mut context).await?;
    if webhooks.effects.endpoints_changed {
        cache.endpoints.clear();
    }
    let effects = SideEffects {
        finished,
        queued,
        evictions,
        webhooks: webhooks.effects,
    };
    Ok((vehicles, effects))
}

/// Runs the requests of this phase, in order.
async fn execute(
    phase: Phase,
    batch: &mut [QueuedWrite],
    transaction: &mut BatchTransaction<'_>,
) -> Result<(), DbErr> {
    for queued in batch {
        if queued.request.phase() == Some(phase) {
            queued.request.execute(transaction).await?;
        }
    }
    Ok(())
}
