//! What a batch is made of, and how often it is tried: until each request is committed, deferred, rejected or past its
//! deadline.

use std::time::Duration;

use sea_orm::DbErr;
use tokio::time::{Instant, sleep, timeout};

use super::{BACKOFF, WriterTask};
use crate::store::{
    StoreError,
    batch::{self, BatchFailure, BatchNumber},
    error::{CommitError, is_poison},
    tables::instances,
    write_request::QueuedWrite,
};

/// Requests and bytes that a transaction holds at most: beyond, latency grows and throughput does not.
const BATCH_REQUESTS: usize = 2_000;
const BATCH_BYTES: usize = 8 << 20;
/// These limits are halved at so many webhook endpoints that subscribe to all vehicles, divided by three at twice as
/// many, and so on: each of them adds a message to each report.
const FREE_ENDPOINTS: usize = 4;
/// How long one lookup of the last batch may take: longer than the server waits for the lock that a COMMIT still holds.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

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
                    tracing::error!(%error, "the database refused a write; it is dropped");
                    queued.request.reject(StoreError::Rejected(error.clone()));
                }
            }
        }
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
        let Err(error) = self.commit(piece).await else {
            self.collided = false;
            if self.health.committed() {
                tracing::info!("the database commits again");
            }
            return Ok(());
        };
        if error.is_collision() && !std::mem::replace(&mut self.collided, true) {
            tracing::debug!(%error, "another instance was first");
        } else if !error.is_poison() && was_lost == self.is_lost {
            let waiting = piece.len();
            if self.health.failed() {
                tracing::error!(%error, waiting, "the database cannot commit; nothing is acknowledged until it does");
            } else {
                tracing::debug!(%error, waiting, "the database still cannot commit");
            }
        }
        Err(error)
    }

    async fn commit(&mut self, piece: &mut [QueuedWrite]) -> Result<(), CommitError> {
        if self.is_lost {
            self.begin_next_incarnation().await?;
        }
        let started = Instant::now();
        let db = self.connection.get().await?;
        self.last_batch += 1;
        let number = BatchNumber {
            incarnation: self.incarnation.id,
            number: self.last_batch,
        };
        let applied = batch::apply(db, &mut self.cache, &self.signals.clock, number, piece).await;
        if applied.is_err() {
            self.connection.discard().await;
            self.cache.clear();
        }
        let committed = match applied {
            Ok(effects) => Ok(effects),
            Err(BatchFailure::Failed(error)) => {
                self.is_lost = matches!(error, CommitError::IncarnationLost);
                Err(error)
            }
            Err(BatchFailure::Unknown(error, effects)) => {
                let until = piece.iter().map(|queued| queued.deadline).max();
                if self.was_committed(until).await {
                    Ok(effects)
                } else {
                    Err(error)
                }
            }
        };
        tracing::debug!(requests = piece.len(), took = ?started.elapsed(), committed = committed.is_ok(), "batch");
        committed.map(|effects| self.publish(effects))
    }

    /// Whether the newest batch, whose COMMIT was not answered, is stored: asks the database until it answers, or until
    /// `until`, when the last deadline of its requests has passed; then false. Without asking, a retry could store the
    /// batch twice, and a rejection could be wrong.
    async fn was_committed(&mut self, until: Option<Instant>) -> bool {
        let mut backoff = BACKOFF;
        loop {
            match self.last_committed_batch().await {
                Ok(last) => return last == Some(self.last_batch),
                Err(error) => {
                    tracing::debug!(%error, "whether the last batch is stored is not known yet");
                }
            }
            self.connection.discard().await;
            if until.is_none_or(|until| until <= Instant::now()) {
                return false;
            }
            sleep(backoff.next_pause()).await;
        }
    }

    async fn last_committed_batch(&mut self) -> Result<Option<i64>, CommitError> {
        let db = self.connection.get().await?;
        let last = timeout(
            LOOKUP_TIMEOUT,
            instances::last_batch(db, self.incarnation.id),
        )
        .await;
        Ok(last.map_err(|_elapsed| CommitError::NoAnswer(LOOKUP_TIMEOUT))??)
    }
}

fn reject_expired(piece: &mut Vec<QueuedWrite>) {
    let now = Instant::now();
    for expired in piece.extract_if(.., |queued| queued.deadline <= now) {
        expired.request.reject(StoreError::Unavailable);
    }
}
