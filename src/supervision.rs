//! Tasks that the gateway cannot work without. A panic in one of them ends the process, so that a supervisor such as
//! systemd restarts it: the alternative is a gateway that looks alive and stores nothing.

use std::{convert::Infallible, panic::AssertUnwindSafe};

use futures_util::FutureExt;

use crate::telemetry;

/// The exit code after a panic, which is also that of a Rust program whose main thread panics.
const PANICKED: i32 = 101;

/// Runs `task`, and ends the process with exit code 101 if it panics.
pub async fn essential<T>(name: &'static str, task: impl Future<Output = T>) -> T {
    let task = async {
        tokio::select! {
            done = task => done,
            never = requested_panic(name) => match never {},
        }
    };
    let Ok(done) = AssertUnwindSafe(task).catch_unwind().await else {
        // The panic hook has logged the reason.
        tracing::error!(
            task = name,
            "exiting: a task that the gateway cannot work without has panicked"
        );
        telemetry::flush();
        std::process::exit(PANICKED);
    };
    done
}

/// For tests: panics at SIGUSR2 if the environment variable `VEHICLE_GATEWAY_PANIC` names this task. Only in builds
/// with debug assertions.
#[cfg(debug_assertions)]
#[expect(clippy::panic, reason = "tests ask for it")]
async fn requested_panic(name: &'static str) -> Infallible {
    use tokio::signal::unix::{SignalKind, signal};

    if std::env::var("VEHICLE_GATEWAY_PANIC").is_ok_and(|wanted| wanted == name)
        && let Ok(mut requests) = signal(SignalKind::user_defined2())
    {
        requests.recv().await;
        panic!("requested by a test");
    }
    std::future::pending().await
}

#[cfg(not(debug_assertions))]
async fn requested_panic(_name: &'static str) -> Infallible {
    std::future::pending().await
}
