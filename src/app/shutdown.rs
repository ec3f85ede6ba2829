//! Shutdown: draining, and the end of all tasks and of the store within the grace time.

use std::time::{Duration, Instant};

use super::{parts::Parts, tasks::Tasks};
use crate::signals::Signals;

/// The least time that the store gets to commit and close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Waits while balancers learn that new connections go to other instances; false if a second signal ends the wait.
pub(super) async fn drain(signal: &str, delay: Duration, signals: &mut Signals) -> bool {
    if delay.is_zero() {
        return true;
    }
    tracing::info!(signal, delay = %humantime::format_duration(delay), "draining: still accepting, while /ready/balancer is 404");
    tokio::select! {
        () = tokio::time::sleep(delay) => true,
        signal = signals.next() => {
            tracing::warn!(signal, "second signal: exiting at once");
            false
        }
    }
}

/// Waits for all tasks for at most `grace`, then closes the store within the rest of `grace`, but not less than
/// [`CLOSE_TIMEOUT`]. False if a write could not be stored.
pub(super) async fn finish(parts: &Parts, tasks: Tasks, grace: Duration) -> bool {
    let started = Instant::now();
    let all = async {
        for (name, task) in tasks {
            if let Err(error) = task.await {
                tracing::error!(task = name, %error, "task failed");
            }
        }
    };
    if tokio::time::timeout(grace, all).await.is_err() {
        let connections = parts.sessions.connections();
        tracing::warn!(
            connections,
            ?grace,
            "shutdown.grace is over: the remaining connections are cut"
        );
    }
    let left = grace.saturating_sub(started.elapsed()).max(CLOSE_TIMEOUT);
    let close = async {
        parts.fanout.close().await;
        parts.store.close().await
    };
    match tokio::time::timeout(left, close).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::error!(%error, "cannot close the store");
            false
        }
        Err(_elapsed) => {
            tracing::error!("the database cannot commit: pending writes are lost");
            false
        }
    }
}
