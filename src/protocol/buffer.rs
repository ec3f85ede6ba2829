//! The bytes that were received and are not used up yet.

use bytes::Bytes;

/// A queue of bytes that knows what it costs.
///
/// A plain vector and not a `BytesMut`, because the latter does not tell how much memory stands
/// behind it once its front was used up, and doubles at will: the caps are about real memory.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// How many of `bytes` are used up.
    start: usize,
}

impl Buffer {
    /// What an empty buffer may keep: room for any usual chunk of either dialect, so that a
    /// chatting device costs no allocations, and an idle one no more than this.
    const RETAINED: usize = 256;
    /// The smallest allocation: a text report fits.
    const SMALLEST: usize = 64;

    /// What is not used up.
    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Whether nothing is pending.
    pub(super) fn is_empty(&self) -> bool {
        self.pending().is_empty()
    }

    /// Bytes of heap held, used or not.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends `chunk`.
    ///
    /// `bound` is what the sentence, object or blob under way may come to: room is taken ahead up
    /// to there and not beyond it, so at no time more than `bound` and one chunk is held.
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

    /// Uses up the first `len` pending bytes.
    pub(super) fn consume(&mut self, len: usize) {
        self.start += len;
        debug_assert!(
            self.start <= self.bytes.len(),
            "used up more than there was"
        );
        if self.start >= self.bytes.len() {
            self.clear();
        }
    }

    /// Uses up the first `len` pending bytes and hands them out, without a copy where they are
    /// most of what is held.
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

    /// Gives back memory that what is pending does not need. To be called before waiting.
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
    fn an_empty_buffer_keeps_little() {
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
    fn room_is_taken_ahead_only_up_to_the_bound() {
        let mut buffer = Buffer::default();
        for _ in 0..100 {
            buffer.push(&[b'x'; 10], 1000);
            assert!(buffer.capacity() <= 1000);
        }
        buffer.push(&[b'x'; 10], 1000);
        assert_eq!(buffer.capacity(), 1010);
    }

    #[test]
    fn what_is_large_is_handed_out_without_a_copy_and_the_rest_stays() {
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
    fn what_is_small_does_not_pin_a_large_allocation() {
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
