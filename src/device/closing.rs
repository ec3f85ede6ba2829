//! Closing a socket so that the last words arrive.

use std::{future::poll_fn, mem::MaybeUninit, pin::Pin, task::Poll, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};

use crate::domain::DisconnectReason;

/// How long closing waits for the other side.
const LINGER: Duration = Duration::from_secs(1);

/// Whether the gateway said something before it closed for this reason.
pub(super) fn has_last_words(reason: DisconnectReason) -> bool {
    matches!(
        reason,
        DisconnectReason::Goodbye
            | DisconnectReason::ConnectionClosed
            | DisconnectReason::TooManyBadSentences
            | DisconnectReason::TooLarge
            | DisconnectReason::Shutdown
    )
}

/// Tells the other side that nothing more comes; false if it is gone.
pub(super) async fn shut(stream: &mut (impl AsyncWrite + Unpin)) -> bool {
    let shut = poll_fn(|context| Pin::new(&mut *stream).poll_shutdown(context));
    matches!(timeout(LINGER, shut).await, Ok(Ok(())))
}

/// Reads and drops what the other side is still sending, for a moment: closing over unread bytes
/// resets the connection, and the last words might be lost.
pub(super) async fn linger(stream: &mut (impl AsyncRead + Unpin)) {
    let until_closed = poll_fn(|context| {
        loop {
            let mut memory = [const { MaybeUninit::<u8>::uninit() }; 4 << 10];
            let mut buffer = ReadBuf::uninit(&mut memory);
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    if timeout(LINGER, until_closed).await.is_err() {
        tracing::trace!("the device did not close its side");
    }
}
