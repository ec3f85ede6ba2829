//! Closing a connection whose client may still be sending.
//!
//! A socket that is closed while its peer sends answers with a reset. The peer then fails to send, and often drops the
//! response that was on its way. So the gateway ends its own side only, and reads and discards what still comes (RFC
//! 9112, section 9.6).

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// How much is discarded at once, in bytes.
const PIECE: usize = 16 << 10;

/// Whether a part of a request is still to come from the client. The connection and its requests share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Incomplete(Arc<AtomicBool>);

impl Incomplete {
    pub(super) fn set(&self, incomplete: bool) {
        // One task reads, serves and closes the connection: there is nothing to order.
        self.0.store(incomplete, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long and for how much a connection lingers.
#[derive(Debug, Clone, Copy)]
pub(super) struct LingerLimits {
    /// The most bytes that are discarded.
    pub(super) bytes: usize,
    /// The longest time in which nothing comes.
    pub(super) idle: Duration,
    /// The longest time in all.
    pub(super) total: Duration,
}

/// A connection that lingers on shutdown if its request is incomplete.
pub(super) struct LingeringStream<S> {
    stream: S,
    incomplete: Incomplete,
    limits: LingerLimits,
    /// Present once the gateway has ended its own side.
    lingering: Option<Lingering>,
}

struct Lingering {
    /// How many bytes may still be discarded.
    left: usize,
    ends: Instant,
    /// Ends at `ends`, or earlier if nothing comes.
    timer: Pin<Box<Sleep>>,
}

impl<S> LingeringStream<S> {
    pub(super) fn new(stream: S, incomplete: Incomplete, limits: LingerLimits) -> Self {
        Self {
            stream,
            incomplete,
            limits,
            lingering: None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LingeringStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            // At least the beginning of a request; `exchange` clears this at its end.
            self.incomplete.set(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LingeringStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Ends the gateway's side, and resolves when the client has ended its own or the limits are reached.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.incomplete.get() {
                return Poll::Ready(Ok(()));
            }
        }
        let limits = this.limits;
        let lingering = this
            .lingering
            .get_or_insert_with(|| Lingering::begin(limits));
        lingering.poll_discard(&mut this.stream, limits.idle, cx)
    }
}

impl Lingering {
    fn begin(limits: LingerLimits) -> Self {
        let ends = Instant::now() + limits.total;
        let first = Instant::now() + limits.idle;
        Self {
            left: limits.bytes,
            ends,
            timer: Box::pin(tokio::time::sleep_until(first.min(ends))),
        }
    }

    fn poll_discard(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        idle: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut space = [MaybeUninit::uninit(); PIECE];
            let mut piece = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut piece))?;
            let count = piece.filled().len();
            if count == 0 || count > self.left {
                return Poll::Ready(Ok(()));
            }
            self.left -= count;
            let next = Instant::now() + idle;
            self.timer.as_mut().reset(next.min(self.ends));
        }
    }
}
