//! What a batch is made of, and how often it is tried: until each request is committed, deferred, rejected or past its
//! deadline.

use std::{sync::atomic::Ordering, time::Duration};

use sea_orm::DbErr;
use tokio::time::{Instant, sleep, timeout};

use super::{BACKOFF, WriterTask, ledger::LedgerEntry};
use crate::{
    log_throttle::LogThrottle,
    outage_reasons::OutageReason,
    store::{
        StoreError,
        batch::{self, BatchFailure},
        error::{CommitError, is_poison},
        tables::instances::{self, BatchNumber},
        write_request::QueuedWrite,
    },
};

/// Requests and bytes that a transaction holds at most: beyond, latency grows and throughput does not.
const BATCH_REQUESTS: usize = 2_000;
const BATCH_BYTES: usize = 8 << 20;
/// These limits are halved at so many webhook endpoints that subscribe to all vehicles, divided by three at twice as
/// many, and so on: each of them adds a message to each report.
const FREE_ENDPOINTS: usize = 4;
/// How long one lookup of the last batch may take: longer than the server waits for the lock that a COMMIT still holds.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Each of the first refused writes has a line, because each may be of another kind.
static REFUSED: LogThrottle = LogThrottle::lines_in(10, Duration::from_mins(1), |writes| {
    tracing::error!(writes, "the database refused a write; it is dropped");
});

/// The outcome of a piece of a batch: the whole of it, or a part after bisecting.
enum PieceOutcome {
    /// It is committed, except for requests that were deferred, or rejected because their deadline had passed.
    Settled,
    /// The database refuses one of its requests, and would refuse it again.
    Poisoned(DbErr),
    /// Nothing will be committed any more, because another gateway has the name of this instance.
    Fenced,
}

impl WriterTask {
    /// Makes the next batch: the deferred requests, then `held_over`, then those in the queue. Leaves in `held_over`
    /// the request that did not fit.
    pub(super) fn gather(&mut self, held_over: &mut Option<QueuedWrite>) -> Vec<QueuedWrite> {
        // An endpoint that subscribes to all vehicles multiplies what is written.
        let share = 1 + self.cache.endpoints.subscribed_to_all_vehicles() / FREE_ENDPOINTS;
        let (max_requests, max_bytes) = (BATCH_REQUESTS / share, BATCH_BYTES / share);
        let mut batch = std::mem::take(&mut self.deferred);
        let mut bytes: usize = batch.iter().map(|queued| queued.weight).sum();
        while batch.len() < max_requests {
            let Some(next) = held_over.take().or_else(|| self.requests.try_recv().ok()) else {
                break;
            };
            bytes += next.weight;
            if bytes > max_bytes && !batch.is_empty() {
                *held_over = Some(next);
                break;
            }
            batch.push(next);
        }
        batch
    }

    /// Applies `batch` until every request in it is committed, deferred, rejected or past its deadline. An error that
    /// would occur again bisects the batch, so that only the request that causes it is rejected.
    pub(super) async fn settle(&mut self, batch: Vec<QueuedWrite>) {
        self.health.set_waiting_since(oldest(&batch));
        // A stack of pieces still to do, the earliest on top, so that bisecting keeps the order.
        let mut pieces = vec![batch];
        while let Some(later) = pieces.pop() {
            // What was deferred comes before what was submitted later.
            let mut piece = std::mem::take(&mut self.deferred);
            piece.extend(later);
            let error = match self.attempt(&mut piece).await {
                PieceOutcome::Settled => {
                    for queued in piece {
                        if queued.deferred {
                            self.deferred.push(queued);
                        } else {
                            queued.request.complete();
                        }
                    }
                    continue;
                }
                PieceOutcome::Fenced => {
                    for queued in piece {
                        queued.request.reject(StoreError::Fenced);
                    }
                    continue;
                }
                PieceOutcome::Poisoned(error) => error,
            };
            if piece.len() > 1 {
                let later = piece.split_off(piece.len() / 2);
                pieces.push(later);
                pieces.push(piece);
            } else {
                for queued in piece {
                    if let Some(writes) = REFUSED.admit() {
                        tracing::error!(%error, writes, "the database refused a write; it is dropped");
                    }
                    queued.request.reject(StoreError::Rejected(error.clone()));
                }
            }
        }
        self.health.set_waiting_since(oldest(&self.deferred));
    }

    /// Tries until the piece is committed or will never be, or all its requests are past their deadlines.
    async fn attempt(&mut self, piece: &mut Vec<QueuedWrite>) -> PieceOutcome {
        let mut backoff = BACKOFF;
        loop {
            reject_expired(piece);
            if piece.is_empty() {
                return PieceOutcome::Settled;
            }
            if self.signals.fenced.is_cancelled() {
                return PieceOutcome::Fenced;
            }
            match self.try_to_commit(piece).await {
                Ok(()) => return PieceOutcome::Settled,
                Err(CommitError::EarlierStored(number)) => complete_stored(piece, number),
                Err(CommitError::Database(error)) if is_poison(&error) => {
                    return PieceOutcome::Poisoned(error);
                }
                Err(_may_pass) => sleep(backoff.next_pause()).await,
            }
        }
    }

    /// Attempts once to commit, and notes what that says about the database's health.
    pub(super) async fn try_to_commit(
        &mut self,
        piece: &mut [QueuedWrite],
    ) -> Result<(), CommitError> {
        let was_lost = self.is_lost;
        let committed = self.commit(piece).await;
        if let Ok(()) | Err(CommitError::EarlierStored(_)) = committed {
            self.collided = false;
            self.reasons.end();
            if self.health.committed() {
                tracing::info!("the database commits again");
            }
        }
        let error = match committed {
            Err(error) if !matches!(error, CommitError::EarlierStored(_)) => error,
            stored => return stored,
        };
        if error.is_collision() && !std::mem::replace(&mut self.collided, true) {
            tracing::debug!(%error, "another instance was first");
        } else if !error.is_poison() && was_lost == self.is_lost {
            self.note_failure(&error, piece.len());
        }
        Err(error)
    }

    /// Notes and logs that the database does not commit. `waiting` requests wait for it.
    fn note_failure(&mut self, error: &CommitError, waiting: usize) {
        let reason = error.to_string();
        let noted = self.reasons.note(&reason);
        self.health.failed(reason);
        match noted {
            OutageReason::First => {
                tracing::error!(%error, waiting, "the database cannot commit; nothing is acknowledged until it does");
            }
            OutageReason::Another => {
                tracing::warn!(%error, waiting, "the database still cannot commit");
            }
            OutageReason::Known => {
                tracing::debug!(%error, waiting, "the database still cannot commit");
            }
        }
    }

    async fn commit(&mut self, piece: &mut [QueuedWrite]) -> Result<(), CommitError> {
        if self.is_lost {
            self.begin_next_incarnation().await?;
        }
        let started = Instant::now();
        let db = self.connection.get().await?;
        let number = self.ledger.next_number();
        let batch = BatchNumber {
            incarnation: self.incarnation.id,
            number,
            after: self.ledger.stored(),
        };
        let applied = batch::apply(db, &mut self.cache, &self.signals.clock, batch, piece).await;
        if applied.is_err() {
            self.connection.discard().await;
            self.cache.clear();
        }
        let committed = match applied {
            Ok(effects) => {
                self.ledger.note_stored(number);
                self.publish_stored();
                self.publish(effects);
                Ok(())
            }
            Err(BatchFailure::Failed(CommitError::OtherBatch(stored))) => {
                Err(self.read_ledger(stored, CommitError::OtherBatch(stored)))
            }
            Err(BatchFailure::Failed(error)) => {
                self.is_lost = matches!(error, CommitError::IncarnationLost);
                Err(error)
            }
            Err(BatchFailure::Unknown(error, effects)) => {
                self.ledger.note_unknown(number, effects);
                for queued in piece.iter_mut().filter(|queued| !queued.deferred) {
                    queued.unknown_in.push(number);
                }
                let until = piece.iter().map(|queued| queued.deadline).max();
                Err(match self.last_stored_batch(until, piece.len()).await {
                    Some(stored) => self.read_ledger(stored, error),
                    None => error,
                })
            }
        };
        tracing::debug!(requests = piece.len(), took = ?started.elapsed(), committed = committed.is_ok(), "batch");
        committed
    }

    /// Compares the number in the database's row with what is known, after an attempt that failed with `error`. Returns
    /// why it failed as far as is known now: never that it succeeded, which only its own number in the row would prove.
    fn read_ledger(&mut self, stored: i64, error: CommitError) -> CommitError {
        let known = self.ledger.stored();
        let entry = self.ledger.read(stored, Instant::now());
        self.publish_stored();
        match entry {
            LedgerEntry::Known => error,
            LedgerEntry::Stored { number, effects } => {
                self.publish(effects);
                CommitError::EarlierStored(number)
            }
            LedgerEntry::Behind => CommitError::Behind(known),
            LedgerEntry::Lost(batches) => {
                self.signals
                    .lost_batches
                    .fetch_add(batches.unsigned_abs(), Ordering::Relaxed);
                tracing::error!(
                    batches,
                    "the database has lost batches that it had acknowledged, and with them reports, logins and commands; \
                     sessions that it does not know are closed"
                );
                CommitError::OtherBatch(stored)
            }
            LedgerEntry::Back => {
                tracing::error!(
                    known,
                    stored,
                    "the database has batches again that it had lost: two primaries may have been in use"
                );
                CommitError::EarlierStored(stored)
            }
        }
    }

    /// The number of the last batch that the database has, after a COMMIT was not answered: asks until there is an
    /// answer, or for `None` until `until`. `waiting` requests wait for it.
    async fn last_stored_batch(&mut self, until: Option<Instant>, waiting: usize) -> Option<i64> {
        let mut backoff = BACKOFF;
        loop {
            match self.look_up_last_batch().await {
                Ok(stored) => return stored,
                Err(error) => {
                    tracing::debug!(%error, "whether the last batch is stored is not known yet");
                    self.note_failure(&error, waiting);
                }
            }
            self.connection.discard().await;
            if until.is_none_or(|until| until <= Instant::now()) {
                return None;
            }
            sleep(backoff.next_pause()).await;
        }
    }

    async fn look_up_last_batch(&mut self) -> Result<Option<i64>, CommitError> {
        let db = self.connection.get().await?;
        let last = timeout(
            LOOKUP_TIMEOUT,
            instances::last_batch(db, self.incarnation.id),
        )
        .await;
        Ok(last.map_err(|_elapsed| CommitError::NoAnswer(LOOKUP_TIMEOUT))??)
    }

    /// Lets readers know which batch their connections have to have.
    pub(super) fn publish_stored(&self) {
        if let Some(committed) = &self.signals.committed {
            committed.set(self.incarnation.id, self.ledger.stored());
        }
    }
}

/// When the oldest of these requests was submitted.
fn oldest(requests: &[QueuedWrite]) -> Option<Instant> {
    requests.iter().map(|queued| queued.submitted).min()
}

/// Completes the requests that were part of an attempt that turned out to be stored.
fn complete_stored(piece: &mut Vec<QueuedWrite>, number: i64) {
    for stored in piece.extract_if(.., |queued| queued.unknown_in.contains(&number)) {
        stored.request.complete();
    }
}

fn reject_expired(piece: &mut Vec<QueuedWrite>) {
    let now = Instant::now();
    for expired in piece.extract_if(.., |queued| queued.deadline <= now) {
        expired.request.reject(StoreError::Unavailable);
    }
}
