//! Reading from the device, within the budget for large input.

use std::{
    io::ErrorKind,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{budget::FREE, connection::DeviceConnection};
use crate::domain::DisconnectReason;

/// The largest read while a blob is received, in bytes. The memory is on the stack, so that an idle connection holds
/// none of it.
const READ_SIZE: usize = 16 << 10;
/// The largest read otherwise, in bytes.
const SMALL_READ_SIZE: usize = 4 << 10;

impl<S: AsyncRead + AsyncWrite + Unpin> DeviceConnection<S> {
    /// Reads once, if the next sentence may be handled and there is room for it. Returns whether anything was read.
    pub(super) fn read(&mut self, context: &mut Context<'_>) -> Result<bool, DisconnectReason> {
        if self.end_of_input || !self.may_handle() || !self.has_room(context) {
            return Ok(false);
        }
        let size = if self.is_large() {
            READ_SIZE
        } else {
            SMALL_READ_SIZE
        };
        let mut memory = [const { MaybeUninit::<u8>::uninit() }; READ_SIZE];
        let mut buffer = ReadBuf::uninit(&mut memory[..size]);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Pending => Ok(false),
            // The end of a connection inside TLS without its farewell, which much firmware does not send. A sentence or a
            // blob that was cut off is incomplete, so nothing that was not sent is taken for said.
            Poll::Ready(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                self.end_of_input = true;
                Ok(true)
            }
            Poll::Ready(Err(_)) => Err(DisconnectReason::ConnectionLost),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                self.end_of_input = true;
                Ok(true)
            }
            Poll::Ready(Ok(())) => {
                self.decoder.push(buffer.filled());
                self.last_read = Instant::now();
                if self.decoder.in_blob() {
                    self.last_valid = self.last_read;
                }
                Ok(true)
            }
        }
    }

    /// Whether a blob is being received, or with the next read more may be buffered than `FREE` bytes.
    fn is_large(&self) -> bool {
        self.decoder.in_blob() || self.decoder.buffered() > FREE - SMALL_READ_SIZE
    }

    /// Whether the share of the budget covers the bytes that the connection holds and those of the next read. If it
    /// does not, the task is woken when it does.
    fn has_room(&mut self, context: &mut Context<'_>) -> bool {
        let waiting = self.replies.waiting_blob();
        let needed = if self.is_large() || waiting > 0 {
            self.decoder.buffered() + waiting + READ_SIZE
        } else {
            0
        };
        if self.share.poll_cover(context, needed).is_ready() {
            self.waiting_for_room = None;
            true
        } else {
            self.waiting_for_room.get_or_insert_with(Instant::now);
            false
        }
    }
}
