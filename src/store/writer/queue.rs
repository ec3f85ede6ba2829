//! The queue of write requests. It is bounded in bytes, with a part for urgent requests; while it is full, callers
//! wait.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, timeout_at},
};

use crate::store::{
    StoreError, StoreOptions,
    commit_health::CommitHealth,
    pending_write::{PendingWrite, WaitForRoom},
    write_request::{
        BASE_BYTES, PendingRequest, QueuedWrite, ReplyReceiver, WriteRequest, with_reply,
    },
};

/// The queue's unit of account, in bytes: a request without a payload takes one.
const UNIT: usize = BASE_BYTES;
/// The share of the queue that only urgent requests use, and the only one that they use: one in so many bytes.
const URGENT_SHARE: usize = 4;

/// The sending half of the queue.
#[derive(Debug, Clone)]
pub(in crate::store) struct WriteQueue {
    sender: mpsc::UnboundedSender<QueuedWrite>,
    /// Free room for requests that are not urgent, in units. The semaphores bound the channel.
    room: Arc<Semaphore>,
    urgent_room: Arc<Semaphore>,
    health: CommitHealth,
    commit_timeout: Duration,
}

impl WriteQueue {
    /// Makes the queue. The receiver is the writer's.
    pub(super) fn new(
        options: &StoreOptions,
        health: CommitHealth,
    ) -> (Self, mpsc::UnboundedReceiver<QueuedWrite>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let units = options.queue_bytes / UNIT;
        let queue = Self {
            sender,
            room: Arc::new(Semaphore::new(units - units / URGENT_SHARE)),
            urgent_room: Arc::new(Semaphore::new(units / URGENT_SHARE)),
            health,
            commit_timeout: options.commit_timeout,
        };
        (queue, receiver)
    }

    pub(in crate::store) fn health(&self) -> &CommitHealth {
        &self.health
    }

    /// Queues a request. With room in the queue this costs two allocations, the request and its reply channel, and no
    /// wait.
    pub(in crate::store) fn submit<R: WriteRequest>(&self, request: R) -> PendingWrite<R::Output> {
        let (request, reply) = with_reply(request);
        self.submit_pending(request, reply)
    }

    /// Queues a request that has its `Reply`.
    pub(in crate::store) fn submit_pending<T>(
        &self,
        request: Box<dyn PendingRequest>,
        reply: ReplyReceiver<T>,
    ) -> PendingWrite<T> {
        let weight = request.weight();
        let units = u32::try_from(weight.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let room = Arc::clone(if request.is_urgent() {
            &self.urgent_room
        } else {
            &self.room
        });
        let submitted = Instant::now();
        let deadline = submitted + self.commit_timeout;
        let enqueue = move |sender: &mpsc::UnboundedSender<QueuedWrite>, room| {
            // If the writer has ended, the request is dropped with its reply, and the caller gets `Closed`.
            let _closed = sender.send(QueuedWrite {
                request,
                weight,
                submitted,
                deadline,
                deferred: false,
                unknown_in: Vec::new(),
                _room: room,
            });
        };
        let waiting = match Arc::clone(&room).try_acquire_many_owned(units) {
            Ok(permit) => {
                enqueue(&self.sender, permit);
                None
            }
            Err(_full) => {
                let sender = self.sender.clone();
                Some(Box::pin(async move {
                    let acquired = timeout_at(deadline, room.acquire_many_owned(units)).await;
                    let Ok(Ok(permit)) = acquired else {
                        return Err(StoreError::Unavailable);
                    };
                    enqueue(&sender, permit);
                    Ok(())
                }) as WaitForRoom)
            }
        };
        PendingWrite { waiting, reply }
    }
}
