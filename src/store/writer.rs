//! The one task that writes: it takes what waits in the queue, applies it as one transaction, and
//! answers each intent after the commit. Latency is one commit; throughput grows with load; a full
//! queue holds back whoever wants to write.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use sea_orm::DbErr;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    StoreError, StoreOptions,
    batch::{self, Failure, KnownRows, Number},
    database::{WriteConnection, last_batch},
    error::is_poison,
    intent::{Intent, Queued, Reply},
    watch::Watchers,
};

/// Intents a transaction holds at most, and bytes: beyond, latency grows and throughput does not.
const BATCH_INTENTS: usize = 2_000;
const BATCH_BYTES: usize = 8 << 20;
/// The queue's unit of account, in bytes: what an intent without a payload weighs.
const UNIT: usize = 256;
/// Share of the queue that only logins, ends and the like may use: a quarter.
const URGENT_SHARE: usize = 4;
/// Pauses between attempts of a batch that the database cannot commit now.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long one answer is waited for that tells whether a batch is stored: longer than the server waits
/// for the lock that a COMMIT still holds.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// The way into the queue.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    queue: mpsc::UnboundedSender<Queued>,
    /// Room in the queue, in units; the queue itself needs no bound of its own.
    room: Arc<Semaphore>,
    urgent_room: Arc<Semaphore>,
    /// Written by the writer task alone: whether its last attempt committed.
    healthy: Arc<AtomicBool>,
    commit_timeout: Duration,
}

impl Writer {
    /// The way into the queue, and the task behind it, which ends when it is told to and has dealt
    /// with what is queued.
    pub(super) fn new(
        options: &StoreOptions,
        connection: WriteConnection,
        closing: CancellationToken,
        watchers: Watchers,
        fenced: CancellationToken,
    ) -> (Self, Task) {
        let (queue, intents) = mpsc::unbounded_channel();
        let units = options.queue_bytes / UNIT;
        let writer = Self {
            queue,
            room: Arc::new(Semaphore::new(units - units / URGENT_SHARE)),
            urgent_room: Arc::new(Semaphore::new(units / URGENT_SHARE)),
            healthy: Arc::new(AtomicBool::new(true)),
            commit_timeout: options.commit_timeout,
        };
        let task = Task {
            connection,
            known: KnownRows::default(),
            instance_id: options.instance_id.clone(),
            intents,
            closing,
            watchers,
            fenced,
            last_batch: 0,
            healthy: Arc::clone(&writer.healthy),
        };
        (writer, task)
    }

    /// Whether the last attempt to commit succeeded.
    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Queues an intent. With room in the queue this costs one allocation and no wait.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        intent: impl FnOnce(Reply<T>) -> Intent,
    ) -> Ticket<T> {
        let (reply, outcome) = Reply::channel();
        let intent = intent(reply);
        let units = u32::try_from(intent.weight().div_ceil(UNIT)).unwrap_or(u32::MAX);
        let room = Arc::clone(if intent.is_urgent() {
            &self.urgent_room
        } else {
            &self.room
        });
        let deadline = Instant::now() + self.commit_timeout;
        let waiting = match Arc::clone(&room).try_acquire_many_owned(units) {
            Ok(permit) => {
                self.enqueue(intent, deadline, permit);
                None
            }
            Err(_full) => {
                let writer = self.clone();
                Some(Box::pin(async move {
                    let acquired = timeout_at(deadline, room.acquire_many_owned(units)).await;
                    let Ok(Ok(permit)) = acquired else {
                        return Err(StoreError::Unavailable);
                    };
                    writer.enqueue(intent, deadline, permit);
                    Ok(())
                }) as Waiting)
            }
        };
        Ticket { waiting, outcome }
    }

    fn enqueue(&self, intent: Intent, deadline: Instant, room: OwnedSemaphorePermit) {
        // A writer that is gone drops the intent and with it the sender: its ticket says `Closed`.
        let _closed = self.queue.send(Queued {
            intent,
            deadline,
            _room: room,
        });
    }
}

/// Waits for room in the queue and takes it.
type Waiting = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// Resolves when the intent is committed, or will not be.
#[must_use = "an outcome that nobody looks at may be a failure"]
pub struct Ticket<T> {
    waiting: Option<Waiting>,
    outcome: oneshot::Receiver<Result<T, StoreError>>,
}

impl<T> std::fmt::Debug for Ticket<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ticket(queued: {})", self.is_queued())
    }
}

impl<T> Ticket<T> {
    /// Whether the intent has its place in the queue. Until then nothing that must come after it
    /// may be submitted.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        self.waiting.is_none()
    }
}

impl<T> Future for Ticket<T> {
    type Output = Result<T, StoreError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ticket = self.get_mut();
        if let Some(waiting) = &mut ticket.waiting {
            ready!(waiting.as_mut().poll(context))?;
            ticket.waiting = None;
        }
        Pin::new(&mut ticket.outcome)
            .poll(context)
            .map(|sent| sent.unwrap_or(Err(StoreError::Closed)))
    }
}

/// What [`Writer`] feeds.
pub(super) struct Task {
    connection: WriteConnection,
    known: KnownRows,
    instance_id: String,
    intents: mpsc::UnboundedReceiver<Queued>,
    closing: CancellationToken,
    watchers: Watchers,
    /// Cancelled by this task alone: this life must not write any more.
    fenced: CancellationToken,
    /// The number of the newest attempt to commit.
    last_batch: i64,
    healthy: Arc<AtomicBool>,
}

impl Task {
    pub(super) async fn run(mut self) {
        let mut held_over = None;
        loop {
            let first = match held_over.take() {
                Some(intent) => intent,
                None => match self.next().await {
                    Some(intent) => intent,
                    None => return self.connection.discard().await,
                },
            };
            let mut bytes = first.intent.weight();
            let mut batch = vec![first];
            while batch.len() < BATCH_INTENTS
                && let Ok(next) = self.intents.try_recv()
            {
                bytes += next.intent.weight();
                if bytes > BATCH_BYTES {
                    held_over = Some(next);
                    break;
                }
                batch.push(next);
            }
            self.settle(batch).await;
        }
    }

    /// The next intent. While the database is away and nobody wants anything of it, it is tried now
    /// and then, so that its return is noticed without a write.
    async fn next(&mut self) -> Option<Queued> {
        loop {
            tokio::select! {
                biased;
                next = self.intents.recv() => return next,
                () = self.closing.cancelled() => {
                    // What is queued already is still handed out.
                    self.intents.close();
                    return self.intents.recv().await;
                }
                () = sleep(LONGEST_PAUSE), if !self.healthy.load(Ordering::Relaxed) => {
                    self.try_to_commit(&mut []).await;
                }
            }
        }
    }

    /// Applies `batch` until every intent in it is committed, rejected or past its deadline.
    async fn settle(&mut self, batch: Vec<Queued>) {
        // A stack of pieces still to do, the earliest on top, so that bisecting keeps the order.
        let mut pieces = vec![batch];
        while let Some(mut piece) = pieces.pop() {
            let error = match self.attempt(&mut piece).await {
                Attempt::Settled => {
                    for queued in piece {
                        queued.intent.complete();
                    }
                    continue;
                }
                Attempt::Fenced => {
                    for queued in piece {
                        queued.intent.reject(StoreError::Fenced);
                    }
                    continue;
                }
                Attempt::Poisoned(error) => error,
            };
            if piece.len() > 1 {
                let later = piece.split_off(piece.len() / 2);
                pieces.push(later);
                pieces.push(piece);
            } else {
                for queued in piece {
                    tracing::error!(%error, "the database refused a write; it is dropped");
                    queued.intent.reject(StoreError::Rejected(error.clone()));
                }
            }
        }
    }

    /// Retries until the piece is committed or empty, or never can be.
    async fn attempt(&mut self, piece: &mut Vec<Queued>) -> Attempt {
        let mut pause = FIRST_PAUSE;
        loop {
            give_up_expired(piece);
            if piece.is_empty() {
                return Attempt::Settled;
            }
            if self.fenced.is_cancelled() {
                return Attempt::Fenced;
            }
            match self.try_to_commit(piece).await {
                None => return Attempt::Settled,
                Some(error) if is_poison(&error) => return Attempt::Poisoned(error),
                Some(_may_pass) => {}
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One attempt, and what it tells of the database's health.
    async fn try_to_commit(&mut self, piece: &mut [Queued]) -> Option<DbErr> {
        let Err(error) = self.apply(piece).await else {
            if !self.healthy.swap(true, Ordering::Relaxed) {
                tracing::info!("the database commits again");
            }
            return None;
        };
        if !is_poison(&error) {
            let waiting = piece.len();
            if self.healthy.swap(false, Ordering::Relaxed) {
                tracing::error!(%error, waiting, "the database cannot commit; nothing is acknowledged until it does");
            } else {
                tracing::debug!(%error, waiting, "the database still cannot commit");
            }
        }
        Some(error)
    }

    async fn apply(&mut self, piece: &mut [Queued]) -> Result<(), DbErr> {
        let started = Instant::now();
        let db = self.connection.get().await?;
        self.last_batch += 1;
        let number = Number {
            instance_id: &self.instance_id,
            batch: self.last_batch,
        };
        let applied = batch::apply(&db, &mut self.known, number, piece).await;
        if applied.is_err() {
            self.connection.discard().await;
            self.known.clear();
        }
        let applied = match applied {
            Ok(ended) => Ok(ended),
            Err(Failure::Failed(error)) => Err(error),
            Err(Failure::Unknown(error, ended)) => {
                let until = piece.iter().map(|queued| queued.deadline).max();
                if self.was_committed(until).await {
                    Ok(ended)
                } else {
                    Err(error)
                }
            }
            Err(Failure::Fenced) => {
                self.fenced.cancel();
                Err(DbErr::Custom(
                    "another gateway has taken this database".to_owned(),
                ))
            }
        };
        tracing::debug!(intents = piece.len(), took = ?started.elapsed(), committed = applied.is_ok(), "batch");
        applied.map(|ended| self.watchers.tell(ended))
    }

    /// Whether the newest batch, whose COMMIT was not answered, is stored: asks until somebody answers, or
    /// until nobody waits for it any more. Neither a blind retry, which stores twice, nor a blind loss.
    async fn was_committed(&mut self, until: Option<Instant>) -> bool {
        let mut pause = FIRST_PAUSE;
        loop {
            let asked = match self.connection.get().await {
                Ok(db) => timeout(LOOKUP_TIMEOUT, last_batch(&db, &self.instance_id))
                    .await
                    .unwrap_or_else(|_elapsed| Err(DbErr::Custom("no answer".to_owned()))),
                Err(error) => Err(error),
            };
            match asked {
                Ok(last) => return last == Some(self.last_batch),
                Err(error) => {
                    tracing::debug!(%error, "whether the last batch is stored is not known yet");
                }
            }
            self.connection.discard().await;
            if until.is_none_or(|until| until <= Instant::now()) {
                return false;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// What became of a piece of a batch.
enum Attempt {
    /// It is committed, and what was too late for it is rejected.
    Settled,
    /// It will never be committed as it is.
    Poisoned(DbErr),
    /// Nothing will be committed any more.
    Fenced,
}

fn give_up_expired(piece: &mut Vec<Queued>) {
    let now = Instant::now();
    for expired in piece.extract_if(.., |queued| queued.deadline <= now) {
        expired.intent.reject(StoreError::Unavailable);
    }
}
