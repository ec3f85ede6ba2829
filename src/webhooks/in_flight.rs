//! Delivery tasks in flight, counted by endpoint.

use std::collections::HashMap;

use tokio::task::{Id, JoinError, JoinSet};
use uuid::Uuid;

/// The delivery tasks that run, each of which sends to one endpoint.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    tasks: JoinSet<()>,
    /// The endpoint of each task, so that one that panics frees the place of its own endpoint and no other.
    endpoints: HashMap<Id, Uuid>,
    counts: HashMap<Uuid, usize>,
}

impl InFlight {
    /// Starts a task that sends to this endpoint.
    pub(super) fn spawn(
        &mut self,
        endpoint_id: Uuid,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(task);
        self.endpoints.insert(handle.id(), endpoint_id);
        *self.counts.entry(endpoint_id).or_default() += 1;
    }

    /// Number of tasks that send to this endpoint.
    pub(super) fn count(&self, endpoint_id: Uuid) -> usize {
        self.counts.get(&endpoint_id).copied().unwrap_or(0)
    }

    /// Waits for a task to end; `None` at once if none runs. Cancel-safe.
    pub(super) async fn next_ended(&mut self) -> Option<()> {
        let ended = self.tasks.join_next_with_id().await?;
        self.remove(ended);
        Some(())
    }

    /// Frees the places of all tasks that have ended.
    pub(super) fn remove_ended(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.remove(ended);
        }
    }

    fn remove(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "delivery task failed");
                error.id()
            }
        };
        let Some(endpoint_id) = self.endpoints.remove(&id) else {
            return;
        };
        if let Some(count) = self.counts.get_mut(&endpoint_id) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&endpoint_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_frees_its_own_place_only() {
        let [one, other] = [1, 2].map(Uuid::from_u128);
        let mut in_flight = InFlight::default();
        in_flight.spawn(one, pending());
        in_flight.spawn(other, pending());
        in_flight.spawn(one, async { panic!("a bug") });
        assert_eq!(in_flight.count(one), 2);
        in_flight.next_ended().await.unwrap();
        assert_eq!((in_flight.count(one), in_flight.count(other)), (1, 1));
    }

    #[tokio::test]
    async fn ended_tasks_free_their_places() {
        let endpoint = Uuid::from_u128(1);
        let mut in_flight = InFlight::default();
        for _ in 0..3 {
            in_flight.spawn(endpoint, async {});
        }
        in_flight.next_ended().await.unwrap();
        tokio::task::yield_now().await;
        in_flight.remove_ended();
        assert_eq!(in_flight.count(endpoint), 0);
        assert_eq!(in_flight.next_ended().await, None);
    }
}
