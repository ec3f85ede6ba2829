//! Responses that clients read too slowly.
//!
//! A client that takes a few bytes now and then would hold its connection, and what is in memory for it, for ever.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// How slowly a client may read.
#[derive(Debug, Clone, Copy)]
pub(super) struct PaceLimits {
    /// The longest time in which the client takes nothing.
    pub(super) stall: Duration,
    /// The least throughput in bytes per second, over some multiple of `stall`.
    pub(super) throughput: u32,
    /// The longest time that the gateway waits for the client while it writes one response.
    pub(super) total: Duration,
}

/// The times that the gateway may still wait for a client. Time in which the client need not read does not count.
#[derive(Debug)]
struct Pace {
    limits: PaceLimits,
    /// Shrinks while the gateway waits, and grows with the bytes that the client takes, up to `stall`.
    credit: Duration,
    total_left: Duration,
    waiting_since: Option<Instant>,
}

impl Pace {
    fn new(limits: PaceLimits) -> Self {
        Self {
            limits,
            credit: limits.stall,
            total_left: limits.total,
            waiting_since: None,
        }
    }

    /// The client sent something: what follows is another response.
    fn received(&mut self) {
        self.total_left = self.limits.total;
    }

    /// The client takes nothing at the moment. Returns when it must have taken something.
    fn wait(&mut self, now: Instant) -> Instant {
        let since = *self.waiting_since.get_or_insert(now);
        since + self.credit.min(self.total_left)
    }

    /// The client has taken `count` bytes.
    fn wrote(&mut self, count: usize, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            let waited = now.saturating_duration_since(since);
            self.credit = self.credit.saturating_sub(waited);
            self.total_left = self.total_left.saturating_sub(waited);
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let earned = Duration::from_secs(count.into()) / self.limits.throughput;
        self.credit = (self.credit + earned).min(self.limits.stall);
    }
}

/// A connection whose writes fail if the client is too slow.
pub(super) struct PacedStream<S> {
    stream: S,
    pace: Pace,
    timer: Pin<Box<Sleep>>,
}

impl<S> PacedStream<S> {
    pub(super) fn new(stream: S, limits: PaceLimits) -> Self {
        Self {
            stream,
            pace: Pace::new(limits),
            timer: Box::pin(tokio::time::sleep(limits.stall)),
        }
    }

    /// Takes the result of a write into account.
    fn pace(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(count)) => {
                self.pace.wrote(count, Instant::now());
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => {
                let deadline = self.pace.wait(Instant::now());
                if self.timer.deadline() != deadline {
                    self.timer.as_mut().reset(deadline);
                }
                self.timer
                    .as_mut()
                    .poll(cx)
                    .map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PacedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.pace.received();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PacedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.pace(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.pace(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Does not wait for the client: a TCP stream has no buffer of its own.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LIMITS: PaceLimits = PaceLimits {
        stall: Duration::from_secs(10),
        throughput: 100,
        total: Duration::from_mins(1),
    };

    /// Writes `size` bytes to a client that reads `piece` bytes every `pause`, and returns how long that took, or when
    /// it was given up.
    async fn write_to(size: usize, piece: usize, pause: Duration) -> Result<u64, u64> {
        let (server, mut client) = tokio::io::duplex(100);
        let mut server = PacedStream::new(server, LIMITS);
        tokio::spawn(async move {
            let mut space = vec![0; piece];
            loop {
                tokio::time::sleep(pause).await;
                if client.read(&mut space).await.is_ok_and(|count| count == 0) {
                    return;
                }
            }
        });
        let began = Instant::now();
        let written = server.write_all(&vec![0; size]).await;
        let took = began.elapsed().as_secs();
        written.map(|()| took).map_err(|error| {
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            took
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_too_slowly_is_given_up() {
        let second = Duration::from_secs(1);
        for (what, size, piece, pause, outcome) in [
            ("fast", 1000, 100, second / 10, Ok(0)),
            ("just fast enough", 3000, 100, second, Ok(29)),
            ("nothing at all", 1000, 1, second * 99, Err(10)),
            ("one late pause", 200, 100, second * 9, Ok(9)),
            // Takes something all the time.
            ("half of the throughput", 9000, 50, second, Err(19)),
            ("a byte now and then", 9000, 1, second, Err(10)),
            // Fast enough, but for too long.
            ("a very large response", 9000, 100, second, Err(60)),
        ] {
            assert_eq!(write_to(size, piece, pause).await, outcome, "{what}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_total_time_is_for_each_response() {
        let (server, mut client) = tokio::io::duplex(100);
        let mut server = PacedStream::new(server, LIMITS);
        tokio::spawn(async move {
            for _ in 0..3 {
                client.write_all(b"request").await.unwrap();
                for _ in 0..40 {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    client.read_exact(&mut [0; 100]).await.unwrap();
                }
            }
        });
        for _ in 0..3 {
            server.read_exact(&mut [0; 7]).await.unwrap();
            server.write_all(&[0; 4000]).await.unwrap();
        }
    }
}
