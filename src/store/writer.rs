//! The one task that writes: it takes what waits in the queue, applies it as one transaction, and
//! answers each intent after the commit. Latency is one commit; throughput grows with load; a full
//! queue holds back whoever wants to write.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use sea_orm::DbErr;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    StoreError, StoreOptions,
    batch::{self, Effects, Failure, KnownRows, Number},
    clock::Clock,
    database::{Life, Succession, WriteConnection, last_batch, retire},
    error::{is_collision, is_poison},
    health::Health,
    intent::{Eviction, Intent, Queued, Reply},
    watch::Watchers,
};

/// Intents a transaction holds at most, and bytes: beyond, latency grows and throughput does not.
const BATCH_INTENTS: usize = 2_000;
const BATCH_BYTES: usize = 8 << 20;
/// Endpoints of webhooks beside which a batch may be as large as that; with more of them it is smaller, for each adds a
/// message to each report.
const FREE_ENDPOINTS: usize = 4;
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
    health: Health,
    commit_timeout: Duration,
}

impl Writer {
    /// The way into the queue, and the task behind it, which ends when it is told to and has dealt
    /// with what is queued.
    pub(super) fn new(
        options: &StoreOptions,
        connection: WriteConnection,
        signals: Signals,
    ) -> (Self, Task) {
        let (queue, intents) = mpsc::unbounded_channel();
        let units = options.queue_bytes / UNIT;
        let writer = Self {
            queue,
            room: Arc::new(Semaphore::new(units - units / URGENT_SHARE)),
            urgent_room: Arc::new(Semaphore::new(units / URGENT_SHARE)),
            health: Health::new(),
            commit_timeout: options.commit_timeout,
        };
        let task = Task {
            connection,
            known: KnownRows::default(),
            renew_every: signals.is_shared.then_some(options.lease / 4),
            intents,
            deferred: Vec::new(),
            signals,
            life: Life {
                id: options.incarnation,
                name: options.instance_name.clone(),
            },
            lost: false,
            next_life: None,
            collided: false,
            last_batch: 0,
            health: writer.health.clone(),
        };
        (writer, task)
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Queues an intent. With room in the queue this costs one allocation and no wait.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        intent: impl FnOnce(Reply<T>) -> Intent,
    ) -> PendingWrite<T> {
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
        PendingWrite { waiting, outcome }
    }

    fn enqueue(&self, intent: Intent, deadline: Instant, room: OwnedSemaphorePermit) {
        // A writer that is gone drops the intent and with it the sender: its ticket says `Closed`.
        let _closed = self.queue.send(Queued {
            intent,
            deadline,
            deferred: false,
            _room: room,
        });
    }
}

/// Waits for room in the queue and takes it.
type Waiting = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// Resolves when the intent is committed, or will not be.
#[must_use = "an outcome that nobody looks at may be a failure"]
pub struct PendingWrite<T> {
    waiting: Option<Waiting>,
    outcome: oneshot::Receiver<Result<T, StoreError>>,
}

impl<T> std::fmt::Debug for PendingWrite<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PendingWrite(queued: {})", self.is_queued())
    }
}

impl<T> PendingWrite<T> {
    /// Whether the intent has its place in the queue. Until then nothing that must come after it
    /// may be submitted.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        self.waiting.is_none()
    }
}

impl<T> Future for PendingWrite<T> {
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

/// What the writer tells others, and what they tell it.
pub(super) struct Signals {
    /// Whether other instances may write to the database, too.
    pub(super) is_shared: bool,
    pub(super) clock: Clock,
    pub(super) closing: CancellationToken,
    pub(super) watchers: Watchers,
    /// Which life this is: another one after it was declared dead.
    pub(super) life: watch::Sender<Uuid>,
    /// Cancelled by the writer alone: another gateway has taken the name of this one.
    pub(super) fenced: CancellationToken,
    /// Sessions of others that a commit ended. What does not fit they find out by themselves.
    pub(super) evictions: mpsc::Sender<Vec<Eviction>>,
    /// Something may be due for delivery.
    pub(super) webhooks: Arc<Notify>,
}

/// What [`Writer`] feeds.
pub(super) struct Task {
    connection: WriteConnection,
    known: KnownRows,
    /// On a server: how often something is committed at least, to show that this life goes on.
    renew_every: Option<Duration>,
    intents: mpsc::UnboundedReceiver<Queued>,
    /// What another instance's locks kept out of the last batch; the first in the next.
    deferred: Vec<Queued>,
    signals: Signals,
    life: Life,
    /// The life was declared dead, and another has not begun.
    lost: bool,
    /// The id of the next one, over all attempts to begin it: one whose answer is lost may have begun it.
    next_life: Option<Uuid>,
    /// The last attempt to commit met another instance's: once is no sign of a database that is away.
    collided: bool,
    /// The number of the newest attempt to commit.
    last_batch: i64,
    health: Health,
}

impl Task {
    pub(super) async fn run(mut self) {
        let mut held_over = None;
        loop {
            let mut batch = std::mem::take(&mut self.deferred);
            if !batch.is_empty() {
                // Whoever has the locks commits within milliseconds.
                sleep(FIRST_PAUSE).await;
            } else if held_over.is_none() {
                match self.next().await {
                    Some(intent) => held_over = Some(intent),
                    None => return self.end().await,
                }
            }
            // Whoever is told of everything multiplies what is written.
            let share = 1 + self.known.endpoints.told_of_everything() / FREE_ENDPOINTS;
            let (most_intents, most_bytes) = (BATCH_INTENTS / share, BATCH_BYTES / share);
            let mut bytes: usize = batch.iter().map(|queued| queued.intent.weight()).sum();
            while batch.len() < most_intents
                && let Some(next) = held_over.take().or_else(|| self.intents.try_recv().ok())
            {
                bytes += next.intent.weight();
                if bytes > most_bytes && !batch.is_empty() {
                    held_over = Some(next);
                    break;
                }
                batch.push(next);
            }
            self.settle(batch).await;
        }
    }

    /// Everything is settled.
    async fn end(mut self) {
        if self.signals.is_shared && !self.lost && !self.signals.fenced.is_cancelled() {
            let retired = async {
                let db = self.connection.get().await?;
                retire(&db, self.life.id).await
            };
            match timeout(LOOKUP_TIMEOUT, retired).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(%error, "others will find out that this instance is gone");
                }
                Err(_elapsed) => {
                    tracing::debug!("others will find out that this instance is gone");
                }
            }
        }
        self.connection.discard().await;
    }

    /// The next intent. Without one, a commit now and then shows that this life goes on, and while the
    /// database is away it is tried, so that its return is noticed without a write.
    async fn next(&mut self) -> Option<Queued> {
        loop {
            let idle = match self.renew_every {
                _ if !self.health.is_good() => LONGEST_PAUSE,
                Some(every) => every.saturating_sub(self.health.since_commit()),
                None => Duration::MAX,
            };
            tokio::select! {
                biased;
                next = self.intents.recv() => return next,
                () = self.signals.closing.cancelled() => {
                    // What is queued already is still handed out.
                    self.intents.close();
                    return self.intents.recv().await;
                }
                () = sleep(idle) => {
                    // Nobody waits for it; the next attempt comes by itself.
                    let _logged = self.try_to_commit(&mut []).await;
                }
            }
        }
    }

    /// Applies `batch` until every intent in it is committed, deferred, rejected or past its deadline.
    async fn settle(&mut self, batch: Vec<Queued>) {
        // A stack of pieces still to do, the earliest on top, so that bisecting keeps the order.
        let mut pieces = vec![batch];
        while let Some(piece) = pieces.pop() {
            // What was deferred comes before what was asked later.
            let mut earlier = std::mem::take(&mut self.deferred);
            earlier.extend(piece);
            let mut piece = earlier;
            let error = match self.attempt(&mut piece).await {
                Attempt::Settled => {
                    for queued in piece {
                        if queued.deferred {
                            self.deferred.push(queued);
                        } else {
                            queued.intent.complete();
                        }
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
            if self.signals.fenced.is_cancelled() {
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
        let was_lost = self.lost;
        let Err(error) = self.apply(piece).await else {
            self.collided = false;
            if self.health.committed() {
                tracing::info!("the database commits again");
            }
            return None;
        };
        if is_collision(&error) && !std::mem::replace(&mut self.collided, true) {
            tracing::debug!(%error, "another instance was first");
        } else if !is_poison(&error) && was_lost == self.lost {
            let waiting = piece.len();
            if self.health.failed() {
                tracing::error!(%error, waiting, "the database cannot commit; nothing is acknowledged until it does");
            } else {
                tracing::debug!(%error, waiting, "the database still cannot commit");
            }
        }
        Some(error)
    }

    async fn apply(&mut self, piece: &mut [Queued]) -> Result<(), DbErr> {
        if self.lost {
            self.begin_again().await?;
        }
        let started = Instant::now();
        let db = self.connection.get().await?;
        self.last_batch += 1;
        let number = Number {
            life: self.life.id,
            batch: self.last_batch,
        };
        let clock = &self.signals.clock;
        let applied = batch::apply(&db, &mut self.known, clock, number, piece).await;
        if applied.is_err() {
            self.connection.discard().await;
            self.known.clear();
        }
        let applied = match applied {
            Ok(effects) => Ok(effects),
            Err(Failure::Failed(error)) => Err(error),
            Err(Failure::Unknown(error, effects)) => {
                let until = piece.iter().map(|queued| queued.deadline).max();
                if self.was_committed(until).await {
                    Ok(effects)
                } else {
                    Err(error)
                }
            }
            Err(Failure::Fenced) => {
                self.lost = true;
                Err(DbErr::Custom("this life was declared dead".to_owned()))
            }
        };
        tracing::debug!(intents = piece.len(), took = ?started.elapsed(), committed = applied.is_ok(), "batch");
        applied.map(|effects| self.tell(effects))
    }

    fn tell(&self, effects: Effects) {
        self.signals.watchers.tell(effects.ended);
        if !effects.evictions.is_empty()
            && self.signals.evictions.try_send(effects.evictions).is_err()
        {
            tracing::debug!("not all instances are told at once which of their sessions are over");
        }
        for (id, reason) in effects.webhooks.disabled {
            // Not its URL: that may hold a secret.
            tracing::error!(%id, reason, "webhook disabled; it gets nothing until it is enabled again");
        }
        if effects.webhooks.due {
            self.signals.webhooks.notify_one();
        }
    }

    /// Goes on under a new id. What the last life held is lost: its vehicles may be elsewhere.
    async fn begin_again(&mut self) -> Result<(), DbErr> {
        let life = Life {
            id: *self.next_life.get_or_insert_with(Uuid::new_v4),
            name: self.life.name.clone(),
        };
        let begun = timeout(LOOKUP_TIMEOUT, self.connection.begin_again(&life)).await;
        let begun = begun.unwrap_or_else(|_elapsed| Err(DbErr::Custom("no answer".to_owned())))?;
        match begun {
            Succession::Begun => self.next_life = None,
            Succession::Over => {
                self.next_life = None;
                let error = "the next life was declared dead before it was known to have begun";
                return Err(DbErr::Custom(error.to_owned()));
            }
            Succession::Taken => {
                self.signals.fenced.cancel();
                let error = "another gateway has taken the name of this one";
                return Err(DbErr::Custom(error.to_owned()));
            }
        }
        tracing::error!(was = %self.life.id, id = %life.id, "this instance was declared dead while it could not commit; it closes its connections and goes on under a new id");
        self.signals.life.send_replace(life.id);
        self.life = life;
        self.last_batch = 0;
        self.lost = false;
        Ok(())
    }

    /// Whether the newest batch, whose COMMIT was not answered, is stored: asks until somebody answers, or
    /// until nobody waits for it any more. Neither a blind retry, which stores twice, nor a blind loss.
    async fn was_committed(&mut self, until: Option<Instant>) -> bool {
        let mut pause = FIRST_PAUSE;
        loop {
            let asked = match self.connection.get().await {
                Ok(db) => timeout(LOOKUP_TIMEOUT, last_batch(&db, self.life.id))
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
    /// Nothing will be committed any more: another gateway has the name.
    Fenced,
}

fn give_up_expired(piece: &mut Vec<Queued>) {
    let now = Instant::now();
    for expired in piece.extract_if(.., |queued| queued.deadline <= now) {
        expired.intent.reject(StoreError::Unavailable);
    }
}
