//! What must hold for any input in either dialect; the targets add what is their own.

use vehicle_gateway::protocol::{BadReason, Decoded, Decoder, DeviceMessage, Limits};

/// Small, so that inputs of a few hundred bytes reach every cap.
pub const LIMITS: Limits = Limits {
    sentence: 160,
    blob: 48,
};

/// What was decoded. Excerpts are left out: they may depend on how the input was split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Message(DeviceMessage),
    Bad(BadReason),
    TooLarge(BadReason),
}

/// Pushes `input` in the chunks whose lengths `next_chunk` tells, and takes out everything.
pub fn feed(
    decoder: &mut Decoder,
    input: &[u8],
    mut next_chunk: impl FnMut() -> usize,
) -> Vec<Outcome> {
    // Room that an earlier, larger chunk took may still be in use.
    let most = (LIMITS.json_object() + input.len()).max(decoder.buffered());
    let mut outcomes = Vec::new();
    let mut rest = input;
    while !rest.is_empty() {
        let (chunk, later) = rest.split_at(next_chunk().clamp(1, rest.len()));
        rest = later;
        decoder.push(chunk);
        assert!(decoder.buffered() <= most, "the cap and one chunk");
        loop {
            outcomes.push(match decoder.next() {
                Decoded::Incomplete => break,
                Decoded::Message(message) => Outcome::Message(message),
                Decoded::Bad(bad) => Outcome::Bad(bad.reason),
                Decoded::TooLarge(bad) => Outcome::TooLarge(bad.reason),
            });
        }
        assert!(decoder.buffered() <= most, "the cap and one chunk");
    }
    outcomes
}

/// Decodes `input` whole, byte by byte and in chunks that `input` itself chooses, and checks that
/// it makes no difference. Returns the decoder as it stands behind the input, and what it found.
pub fn decode_alike(input: &[u8]) -> (Decoder, Vec<Outcome>) {
    let mut whole = Decoder::new(LIMITS);
    let outcomes = feed(&mut whole, input, || input.len());

    let mut bytewise = Decoder::new(LIMITS);
    assert_eq!(feed(&mut bytewise, input, || 1), outcomes, "byte by byte");
    assert!(bytewise.buffered() <= LIMITS.json_object());
    assert_alike(&whole, &bytewise);

    // Not taken from the input's own bytes, so that a seed is just what a device would send.
    let mut random = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let longest = random % 61 + 2;
    let mut chunked = Decoder::new(LIMITS);
    let chunk = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % longest).unwrap_or(1)
    };
    assert_eq!(feed(&mut chunked, input, chunk), outcomes, "in chunks");
    assert_alike(&whole, &chunked);

    (whole, outcomes)
}

fn assert_alike(one: &Decoder, other: &Decoder) {
    assert_eq!(one.dialect(), other.dialect());
    assert_eq!(one.in_blob(), other.in_blob());
    assert_eq!(one.is_skipping(), other.is_skipping());
    assert_eq!(one.is_idle(), other.is_idle());
}
