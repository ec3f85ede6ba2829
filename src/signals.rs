//! The signals that the process handles.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Catches SIGTERM and SIGINT (Ctrl-C) from its creation on.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installs the handlers, which replace the default action of ending the process.
    ///
    /// # Errors
    ///
    /// The operating system refused a handler.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal and returns its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Catches SIGHUP from its creation on. Its default action ends the process as a crash does, and administrators send it to
/// daemons to have them read their files again.
#[derive(Debug)]
pub(crate) struct Hangups(Signal);

impl Hangups {
    /// Installs the handler.
    ///
    /// # Errors
    ///
    /// The operating system refused the handler.
    pub(crate) fn new() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Waits for the next one; several that come meanwhile count as one.
    pub(crate) async fn next(&mut self) {
        // `None` never comes: the handler stays as long as the process.
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
