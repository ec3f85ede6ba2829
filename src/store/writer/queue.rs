//! The queue of write requests. It is bounded in bytes, with a part that only urgent requests use; while it is full,
//! callers wait.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore, mpsc},
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
/// The share of the queue that only urgent requests use: one in so many bytes.
const URGENT_SHARE: usize = 4;

/// The sending half of the queue.
#[derive(Debug, Clone)]
pub(in crate::store) struct WriteQueue {
    sender: mpsc::UnboundedSender<QueuedWrite>,
    room: Room,
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
            room: Room::of(units),
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
        let is_urgent = request.is_urgent();
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
        let waiting = if let Some(permit) = self.room.try_take(units, is_urgent) {
            enqueue(&self.sender, permit);
            None
        } else {
            let (sender, room) = (self.sender.clone(), self.room.clone());
            Some(Box::pin(async move {
                let acquired = timeout_at(deadline, room.take(units, is_urgent)).await;
                let Ok(Ok(permit)) = acquired else {
                    return Err(StoreError::Unavailable);
                };
                enqueue(&sender, permit);
                Ok(())
            }) as WaitForRoom)
        };
        PendingWrite { waiting, reply }
    }
}

/// Free room in the queue, in units. It bounds the channel.
#[derive(Debug, Clone)]
struct Room {
    /// For every request.
    shared: Arc<Semaphore>,
    /// For urgent requests once the shared room is taken.
    reserved: Arc<Semaphore>,
    /// All of the reserved room.
    reserved_units: usize,
}

impl Room {
    fn of(units: usize) -> Self {
        let reserved = units / URGENT_SHARE;
        Self {
            shared: Arc::new(Semaphore::new(units - reserved)),
            reserved: Arc::new(Semaphore::new(reserved)),
            reserved_units: reserved,
        }
    }

    /// Takes room that is free and for which no other request waits.
    fn try_take(&self, units: u32, is_urgent: bool) -> Option<OwnedSemaphorePermit> {
        let shared = Arc::clone(&self.shared).try_acquire_many_owned(units).ok();
        shared.or_else(|| {
            let reserved = is_urgent.then(|| Arc::clone(&self.reserved))?;
            reserved.try_acquire_many_owned(units).ok()
        })
    }

    /// Waits for room. A request that is heavier than the reserved room waits for shared room only: it would keep others
    /// from the reserved room in vain.
    async fn take(self, units: u32, is_urgent: bool) -> Result<OwnedSemaphorePermit, AcquireError> {
        let shared = self.shared.acquire_many_owned(units);
        if !is_urgent || units as usize > self.reserved_units {
            return shared.await;
        }
        tokio::select! {
            biased;
            permit = shared => permit,
            permit = self.reserved.acquire_many_owned(units) => permit,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const URGENT: bool = true;
    const ORDINARY: bool = false;

    /// Takes room for these requests in order, of 16 units with 4 reserved; whether each got it at once.
    fn taken(requests: &[(u32, bool)]) -> Vec<bool> {
        let room = Room::of(16);
        let permits: Vec<_> = requests
            .iter()
            .map(|&(units, is_urgent)| room.try_take(units, is_urgent))
            .collect();
        permits.iter().map(Option::is_some).collect()
    }

    #[test]
    fn urgent_requests_use_the_shared_room_and_then_the_reserved_one() {
        for (requests, expected) in [
            (&[(12, URGENT), (4, URGENT)][..], &[true, true][..]),
            (&[(12, URGENT), (1, ORDINARY)], &[true, false]),
            (&[(12, ORDINARY), (4, URGENT)], &[true, true]),
            (&[(12, ORDINARY), (1, ORDINARY)], &[true, false]),
            (&[(12, ORDINARY), (5, URGENT)], &[true, false]),
            (
                &[(12, ORDINARY), (3, URGENT), (2, URGENT)],
                &[true, true, false],
            ),
            (&[(13, ORDINARY)], &[false]),
            (
                &[(5, URGENT), (7, ORDINARY), (4, URGENT)],
                &[true, true, true],
            ),
            (
                &[(10, ORDINARY), (3, URGENT), (2, ORDINARY)],
                &[true, true, true],
            ),
        ] {
            assert_eq!(taken(requests), expected, "{requests:?}");
        }
    }

    #[test]
    fn an_urgent_request_that_waits_takes_what_is_free_first() {
        for frees_shared in [true, false] {
            let room = Room::of(16);
            let shared = room.try_take(12, ORDINARY);
            let reserved = room.try_take(4, URGENT);
            let mut waiting = Box::pin(room.clone().take(2, URGENT));
            assert!(waiting.as_mut().now_or_never().is_none());
            drop(if frees_shared { shared } else { reserved });
            assert!(waiting.now_or_never().is_some(), "{frees_shared}");
        }
    }

    #[test]
    fn a_request_heavier_than_the_reserved_room_keeps_nobody_from_it() {
        let room = Room::of(16);
        let shared = room.try_take(12, ORDINARY);
        let mut heavy = Box::pin(room.clone().take(5, URGENT));
        assert!(heavy.as_mut().now_or_never().is_none());
        let light = room.try_take(4, URGENT);
        assert!(light.is_some());
        drop(shared);
        assert!(heavy.now_or_never().is_some());
    }

    #[test]
    fn an_ordinary_request_waits_for_shared_room_only() {
        let room = Room::of(16);
        let shared = room.try_take(12, ORDINARY);
        let mut waiting = Box::pin(room.clone().take(1, ORDINARY));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(shared);
        assert!(waiting.now_or_never().is_some());
    }
}
