//! What a write request is, and what the queue and a batch see of it.
//!
//! Cost of a request: one allocation for itself with its `Reply`, because the queue holds requests of all kinds, and
//! one for the channel of the reply.

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
    access::AuditRecord,
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

    /// Whether it may also take its room from the part of the queue that reports and blobs cannot fill.
    fn is_urgent(&self) -> bool;

    /// Bytes that it holds while it waits, beyond [`BASE_BYTES`].
    fn payload_bytes(&self) -> usize {
        0
    }

    /// Names the rows that it reads and writes.
    fn touch<'a>(&'a self, _touched: &mut Touched<'a>) {}

    /// Makes the change in memory and returns the output; `None` if [`execute`](Self::execute) returns it.
    fn apply(&self, _state: &mut BatchState) -> Option<Self::Output> {
        None
    }

    /// Makes the change with SQL of its own and returns the output; `None` if [`apply`](Self::apply) returned it.
    fn execute(
        &self,
        _transaction: &mut BatchTransaction<'_>,
    ) -> impl Future<Output = Result<Option<Self::Output>, DbErr>> + Send {
        std::future::ready(Ok(None))
    }
}

/// The places in a batch's transaction at which requests run SQL of their own. Their order is that in which every
/// instance locks rows: instances, vehicles, commands, webhook tables, others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before any vehicle is read. On a server only.
    Instances,
    /// After vehicles and their histories are written.
    Histories,
    /// After the messages about the batch's events are written, and its attempts to send messages are settled.
    Webhooks,
    /// At the end: tables that have to do neither with vehicles nor with webhooks.
    Administration,
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
    /// The webhook part of the batch so far.
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
    /// Audit records, which the batch inserts together.
    pub(super) audit_records: Vec<&'a AuditRecord>,
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

/// A write request of any kind, together with its [`Reply`].
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
    /// When its caller submitted it.
    pub(super) submitted: Instant,
    /// When the writer stops trying and rejects it.
    pub(super) deadline: Instant,
    /// Whether another instance has locked a vehicle that it touches, so that it is left for the next batch. Set by
    /// every attempt.
    pub(super) deferred: bool,
    /// The attempts that it was part of and whose COMMIT was not answered: at most one of them is stored.
    pub(super) unknown_in: Vec<i64>,
    /// Its room in the queue, given back when the request is dropped.
    pub(super) _room: OwnedSemaphorePermit,
}

/// A request and its [`Reply`].
struct WithReply<R: WriteRequest> {
    request: R,
    reply: Reply<R::Output>,
}

/// The receiver of a request's output.
pub(super) type ReplyReceiver<T> = oneshot::Receiver<Result<T, StoreError>>;

/// Gives a request its [`Reply`], and returns the receiver.
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

/// The output of a request and the channel to its caller. The output is set by every attempt to commit, and sent once
/// after the commit.
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

    // The caller may have dropped the receiver; the write is committed all the same.
    pub(super) fn send(self) {
        let _uninterested = self.sender.send(self.output.ok_or(StoreError::Closed));
    }

    pub(super) fn fail(self, error: StoreError) {
        let _uninterested = self.sender.send(Err(error));
    }
}
