//! The received bytes that are not consumed yet.

use bytes::Bytes;

/// A queue of bytes with a known and bounded cost in memory.
///
/// It is a vector instead of a `BytesMut`, because the latter does not report its memory after its front was consumed,
/// and grows by doubling: the caps are about actual memory.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// The number of consumed `bytes`.
    start: usize,
}

impl Buffer {
    /// The capacity that an empty buffer keeps, in bytes: room for any usual chunk of either dialect, so that an active
    /// device costs no allocations and an idle one no more than this.
    const RETAINED: usize = 256;
    /// The smallest allocation: a text report fits.
    const SMALLEST: usize = 64;

    /// The bytes that are not consumed.
    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Whether nothing is pending.
    pub(super) fn is_empty(&self) -> bool {
        self.pending().is_empty()
    }

    /// Bytes of heap, used or not.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends `chunk`.
    ///
    /// `bound` is the largest size of the incomplete sentence, object or blob. Capacity is reserved ahead up to it, so
    /// the buffer never holds more than `bound` and one chunk.
    pub(super) fn push(&mut self, chunk: &[u8], bound: usize) {
        self.compact();
        let needed = self.bytes.len() + chunk.len();
        if needed > self.bytes.capacity() {
            let ahead = needed
                .next_power_of_two()
                .max(Self::SMALLEST)
                .min(bound)
                .max(needed);
            self.bytes.reserve_exact(ahead - self.bytes.len());
        }
        self.bytes.extend_from_slice(chunk);
    }

    /// Consumes the first `len` pending bytes.
    pub(super) fn consume(&mut self, len: usize) {
        self.start += len;
        debug_assert!(
            self.start <= self.bytes.len(),
            "consumed more than was pending"
        );
        if self.start >= self.bytes.len() {
            self.clear();
        }
    }

    /// Consumes the first `len` pending bytes and returns them, without a copy if they are most of the buffer.
    pub(super) fn take(&mut self, len: usize) -> Bytes {
        if len <= self.bytes.capacity() / 2 {
            let taken = Bytes::copy_from_slice(&self.pending()[..len]);
            self.consume(len);
            return taken;
        }
        self.compact();
        let rest = self.bytes.split_off(len);
        Bytes::from(std::mem::replace(&mut self.bytes, rest))
    }

    /// Frees memory that the pending bytes do not need. Call it before waiting for more bytes.
    pub(super) fn settle(&mut self) {
        self.compact();
        if self.bytes.capacity() > Self::RETAINED && self.bytes.capacity() / 4 > self.bytes.len() {
            self.bytes.shrink_to(Self::RETAINED);
        }
    }

    /// Drops everything.
    fn clear(&mut self) {
        self.start = 0;
        self.bytes.clear();
        if self.bytes.capacity() > Self::RETAINED {
            self.bytes = Vec::new();
        }
    }

    fn compact(&mut self) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_buffer_keeps_little_memory() {
        let mut buffer = Buffer::default();
        assert_eq!(buffer.capacity(), 0);
        buffer.push(&[b'x'; 200], 4096);
        buffer.consume(200);
        assert_eq!(buffer.capacity(), 256);
        buffer.push(&[b'x'; 300], 4096);
        buffer.consume(300);
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn capacity_is_reserved_only_up_to_the_bound() {
        let mut buffer = Buffer::default();
        for _ in 0..100 {
            buffer.push(&[b'x'; 10], 1000);
            assert!(buffer.capacity() <= 1000);
        }
        buffer.push(&[b'x'; 10], 1000);
        assert_eq!(buffer.capacity(), 1010);
    }

    #[test]
    fn a_large_blob_is_taken_without_a_copy() {
        let mut buffer = Buffer::default();
        buffer.push(b"head", 1004);
        buffer.push(&[b'x'; 1000], 1004);
        buffer.consume(4);
        buffer.settle();
        buffer.push(b"tail", 1000);
        let address = buffer.pending().as_ptr();
        let taken = buffer.take(1000);
        assert_eq!(taken.as_ptr(), address);
        assert_eq!(&taken[..], &[b'x'; 1000]);
        assert_eq!(buffer.pending(), b"tail");
    }

    #[test]
    fn a_small_blob_does_not_keep_a_large_allocation() {
        let mut buffer = Buffer::default();
        buffer.push(&vec![b'x'; 60_000], 60_000);
        buffer.consume(10);
        assert_eq!(&buffer.take(3)[..], b"xxx");
        buffer.consume(59_980);
        assert_eq!(buffer.pending(), b"xxxxxxx");
        buffer.settle();
        assert_eq!(buffer.pending(), b"xxxxxxx");
        assert!(buffer.capacity() <= 256);
    }
}
