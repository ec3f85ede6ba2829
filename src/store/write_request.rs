//! What a write request is, and what the queue and a batch see of it.
//!
//! Cost of a request: an allocation for itself with its reply slot, because the queue holds requests of all kinds, and
//! one for the reply's channel.

use std::{future::Future, pin::Pin};

use sea_orm::DbErr;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};
use uuid::Uuid;

use super::{
    StoreError,
    clock::Clock,
    database::Transaction,
    statements::Texts,
    webhooks::{EndpointCache, FinishedAttempt, WebhookBatch},
};
use crate::{
    domain::{DeviceId, IncarnationId, Timestamp},
    state::BatchState,
};

/// Bytes that a request without a payload takes in the queue.
pub(super) const BASE_BYTES: usize = 256;

/// A change that a caller wants written.
///
/// It may be applied more than once, since a batch that fails is applied again; only the last attempt counts.
pub(super) trait WriteRequest: Send + Sync + 'static {
    /// What the caller gets once the change is committed.
    type Output: Send + 'static;

    /// When in the transaction [`execute`](Self::execute) runs; `None` for a request that only changes the batch state,
    /// as nearly all do.
    const PHASE: Option<Phase> = None;

    /// Whether room is kept for it when reports and blobs flood the queue.
    fn is_urgent(&self) -> bool;

    /// Bytes that it holds while it waits, beyond [`BASE_BYTES`].
    fn payload_bytes(&self) -> usize {
        0
    }

    /// Names the rows that it reads and writes.
    fn touch<'a>(&'a self, _touched: &mut Touched<'a>) {}

    /// Makes the change in memory and returns the output.
    fn apply(&self, _state: &mut BatchState) -> Option<Self::Output> {
        None
    }

    /// Makes the change with SQL of its own and returns the output.
    fn execute(
        &self,
        _transaction: &mut BatchTransaction<'_>,
    ) -> impl Future<Output = Result<Option<Self::Output>, DbErr>> + Send {
        std::future::ready(Ok(None))
    }
}

/// The places in a batch's transaction at which requests run SQL of their own. They keep the order in which rows are
/// locked: instances, vehicles, commands, webhook tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before any vehicle is read.
    Instances,
    /// After vehicles and their histories are written.
    Histories,
    /// After the messages about the batch's events are written, and its attempts to send messages are settled.
    Webhooks,
}

/// The transaction of a batch, for requests with SQL of their own.
#[derive(Debug)]
pub(super) struct BatchTransaction<'a> {
    pub(super) db: &'a Transaction,
    pub(super) texts: &'a mut Texts,
    pub(super) clock: &'a Clock,
    /// The incarnation that writes the batch.
    pub(super) incarnation: IncarnationId,
    /// When the batch is applied.
    pub(super) now: Timestamp,
    /// The webhook endpoints as they were before the batch.
    pub(super) endpoints: &'a EndpointCache,
    /// What the batch does to webhooks.
    pub(super) webhooks: &'a mut WebhookBatch,
}

/// The rows that requests read and write.
#[derive(Debug, Default)]
pub(super) struct Touched<'a> {
    pub(super) vehicles: Vec<&'a DeviceId>,
    /// The vehicles all of whose open commands are read.
    pub(super) open_commands_of: Vec<&'a DeviceId>,
    /// Commands by their ids.
    pub(super) commands: Vec<Uuid>,
    /// Idempotency keys with their vehicles.
    pub(super) idempotency_keys: Vec<(&'a DeviceId, &'a str)>,
    /// Attempts to send webhook messages, which the batch settles together.
    pub(super) attempts: Vec<&'a FinishedAttempt>,
}

impl<'a> Touched<'a> {
    /// The rows that these requests touch.
    pub(super) fn by(requests: impl Iterator<Item = &'a dyn PendingRequest>) -> Self {
        let mut touched = Self::default();
        for request in requests {
            request.touch(&mut touched);
        }
        touched
    }
}

/// A write request of any kind, together with its reply slot.
pub(super) trait PendingRequest: Send {
    /// Bytes that it holds while it waits.
    fn weight(&self) -> usize;
    /// See [`WriteRequest::is_urgent`].
    fn is_urgent(&self) -> bool;
    /// See [`WriteRequest::PHASE`].
    fn phase(&self) -> Option<Phase>;
    /// See [`WriteRequest::touch`].
    fn touch<'a>(&'a self, touched: &mut Touched<'a>);
    /// Applies the request and keeps its output until the commit.
    fn apply(&mut self, state: &mut BatchState);
    /// Executes the request and keeps its output until the commit.
    fn execute<'a>(
        &'a mut self,
        transaction: &'a mut BatchTransaction<'_>,
    ) -> Pin<Box<dyn Future<Output = Result<(), DbErr>> + Send + 'a>>;
    /// Sends the output to the caller: the batch is committed.
    fn complete(self: Box<Self>);
    /// Sends an error to the caller: nothing of the request is stored.
    fn reject(self: Box<Self>, error: StoreError);
}

/// A request in the queue.
pub(super) struct QueuedWrite {
    pub(super) request: Box<dyn PendingRequest>,
    /// Bytes that the request holds while it waits.
    pub(super) weight: usize,
    /// When the writer gives it up.
    pub(super) deadline: Instant,
    /// A row that it touches was locked by another instance: it is for the next batch. Set by every attempt.
    pub(super) deferred: bool,
    /// Its share of the queue, given back when it is dropped.
    pub(super) _room: OwnedSemaphorePermit,
}

/// A request and where its output goes.
struct WithReply<R: WriteRequest> {
    request: R,
    reply: Reply<R::Output>,
}

/// The receiver of a request's output.
pub(super) type ReplyReceiver<T> = oneshot::Receiver<Result<T, StoreError>>;

/// Gives a request its reply slot.
pub(super) fn with_reply<R: WriteRequest>(
    request: R,
) -> (Box<dyn PendingRequest>, ReplyReceiver<R::Output>) {
    let (reply, receiver) = Reply::channel();
    (Box::new(WithReply { request, reply }), receiver)
}

impl<R: WriteRequest> PendingRequest for WithReply<R> {
    fn weight(&self) -> usize {
        BASE_BYTES + self.request.payload_bytes()
    }

    fn is_urgent(&self) -> bool {
        self.request.is_urgent()
    }

    fn phase(&self) -> Option<Phase> {
        R::PHASE
    }

    fn touch<'a>(&'a self, touched: &mut Touched<'a>) {
        self.request.touch(touched);
    }

    fn apply(&mut self, state: &mut BatchState) {
        if let Some(output) = self.request.apply(state) {
            self.reply.set(output);
        }
    }

    fn execute<'a>(
        &'a mut self,
        transaction: &'a mut BatchTransaction<'_>,
    ) -> Pin<Box<dyn Future<Output = Result<(), DbErr>> + Send + 'a>> {
        Box::pin(async move {
            if let Some(output) = self.request.execute(transaction).await? {
                self.reply.set(output);
            }
            Ok(())
        })
    }

    fn complete(self: Box<Self>) {
        self.reply.send();
    }

    fn reject(self: Box<Self>, error: StoreError) {
        self.reply.fail(error);
    }
}

/// Where the output of a request goes: set by every attempt to commit, sent once after the commit.
pub(super) struct Reply<T> {
    sender: oneshot::Sender<Result<T, StoreError>>,
    output: Option<T>,
}

impl<T> Reply<T> {
    pub(super) fn channel() -> (Self, ReplyReceiver<T>) {
        let (sender, receiver) = oneshot::channel();
        let reply = Self {
            sender,
            output: None,
        };
        (reply, receiver)
    }

    /// Sets the output of the attempt under way; a repeated attempt overwrites it.
    pub(super) fn set(&mut self, output: T) {
        self.output = Some(output);
    }

    // A receiver that is gone has lost interest, which is its right: the write happened all the same.
    pub(super) fn send(self) {
        let _uninterested = self.sender.send(self.output.ok_or(StoreError::Closed));
    }

    pub(super) fn fail(self, error: StoreError) {
        let _uninterested = self.sender.send(Err(error));
    }
}
