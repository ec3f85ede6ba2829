//! One listener that speaks TLS.

use std::{
    array, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustls::ServerConfig;
use strum::EnumCount;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    failure::HandshakeFailure,
    files::{ListenerName, Loaded, TlsErrors, TlsFiles},
};
use crate::{domain::Timestamp, log_throttle::LogThrottle};

/// The content type of the first record of every TLS client: a handshake.
const HANDSHAKE: u8 = 0x16;
/// The longest wait for a client to take the alert that says why it is refused, and to close.
const LINGER: Duration = Duration::from_secs(1);
/// The most bytes that are discarded in that time.
const LINGER_BYTES: usize = 64 << 10;
/// The interval between two lines about failed handshakes at INFO: anybody can cause them.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(10);

static FAILURES: LogThrottle = LogThrottle::every(FAILURE_LOG_INTERVAL, |failed| {
    tracing::info!(
        failed,
        "TLS handshake failed; further ones within 10 s are logged at debug"
    );
});

/// The TLS of one listener.
#[derive(Debug)]
pub(crate) struct TlsServer {
    pub(super) files: TlsFiles,
    /// Written by `reload`; a handshake uses what is there when it begins.
    current: watch::Sender<Loaded>,
    /// How many handshakes failed, by [`HandshakeFailure`].
    failed: [AtomicU64; HandshakeFailure::COUNT],
}

/// What a client begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// A handshake.
    Tls,
    /// Anything else.
    PlainText,
    /// Nothing: it closed the connection.
    Nothing,
}

impl Opening {
    /// Waits for the first byte, and leaves it in the stream.
    pub(crate) async fn of(stream: &TcpStream) -> Self {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1..) if first[0] == HANDSHAKE => Self::Tls,
            Ok(1..) => Self::PlainText,
            Ok(0) | Err(_) => Self::Nothing,
        }
    }
}

impl TlsServer {
    /// Reads the files for the first time.
    ///
    /// # Errors
    ///
    /// A file is missing or cannot be used.
    pub(crate) fn open(files: TlsFiles) -> Result<Self, TlsErrors> {
        let loaded = files.load(&files.read()?)?;
        warn_about_key(&files, &loaded);
        Ok(Self {
            files,
            current: watch::Sender::new(loaded),
            failed: array::from_fn(|_| AtomicU64::new(0)),
        })
    }

    /// The listener.
    pub(crate) fn listener(&self) -> ListenerName {
        self.files.listener
    }

    /// Until when the certificate is valid.
    pub(crate) fn ends(&self) -> Timestamp {
        self.current.borrow().ends
    }

    /// How many handshakes failed since the start, for each reason.
    pub(crate) fn failed_handshakes(&self) -> impl Iterator<Item = (HandshakeFailure, u64)> {
        self.failed.iter().enumerate().filter_map(|(index, count)| {
            let failure = HandshakeFailure::from_repr(index)?;
            Some((failure, count.load(Ordering::Relaxed)))
        })
    }

    /// Shakes hands until `deadline` at the latest. `None` if that failed, which is then counted and logged.
    pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        remote: SocketAddr,
        deadline: Instant,
    ) -> Option<TlsStream<S>> {
        let accepting = TlsAcceptor::from(self.config()).accept(stream);
        match timeout_at(deadline, accepting.into_fallible()).await {
            Ok(Ok(stream)) => {
                let connection = stream.get_ref().1;
                let version = connection.protocol_version();
                // What its names allow is not decided here.
                let has_certificate = connection.peer_certificates().is_some();
                tracing::debug!(%remote, listener = %self.listener(), ?version, has_certificate, "TLS handshake done");
                Some(stream)
            }
            Ok(Err((error, stream))) => {
                self.note_failure(remote, HandshakeFailure::of(&error), Some(&error));
                say_why(stream).await;
                None
            }
            Err(_elapsed) => {
                self.note_failure(remote, HandshakeFailure::Timeout, None);
                None
            }
        }
    }

    /// Counts and logs a connection without TLS.
    pub(crate) fn note_failure(
        &self,
        remote: SocketAddr,
        reason: HandshakeFailure,
        error: Option<&io::Error>,
    ) {
        self.failed[reason as usize].fetch_add(1, Ordering::Relaxed);
        let listener = self.listener();
        let error = error.map(tracing::field::display);
        if let Some(failed) = FAILURES.admit() {
            tracing::info!(%listener, %remote, %reason, error, failed, "TLS handshake failed; further ones within 10 s are logged at debug");
        } else {
            tracing::debug!(%listener, %remote, %reason, error, "TLS handshake failed");
        }
    }

    pub(super) fn current(&self) -> watch::Ref<'_, Loaded> {
        self.current.borrow()
    }

    /// Uses another configuration for handshakes that begin from now on.
    pub(super) fn exchange(&self, loaded: Loaded) {
        warn_about_key(&self.files, &loaded);
        self.current.send_replace(loaded);
    }

    fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.borrow().config)
    }
}

fn warn_about_key(files: &TlsFiles, loaded: &Loaded) {
    if loaded.key_is_open {
        tracing::warn!(listener = %files.listener, file = %files.key.display(), "everybody on this host may read or write the private key of the TLS certificate: chmod o= it");
    }
}

/// Closes a connection whose handshake has failed, so that the client gets the alert that says why. A socket that is
/// closed while its peer sends would answer with a reset, and the alert could be lost.
async fn say_why(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let closing = async {
        stream.shutdown().await?;
        let mut discarded = 0;
        let mut space = [0; 1 << 10];
        while discarded < LINGER_BYTES {
            match stream.read(&mut space).await? {
                0 => break,
                count => discarded += count,
            }
        }
        Ok::<_, io::Error>(())
    };
    // It is closed either way.
    let _closed = timeout(LINGER, closing).await;
}
