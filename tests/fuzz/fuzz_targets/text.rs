//! Plain text: any split decodes alike, memory is bounded, and a sentence is always found again.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use vehicle_gateway::{
    domain::DeviceSentence,
    protocol::{Decoder, Dialect},
};
use vehicle_gateway_fuzz::{LIMITS, Outcome, decode_alike, feed};

fuzz_target!(|input: &[u8]| -> Corpus {
    let (mut decoder, outcomes) = decode_alike(input);
    if decoder.dialect() != Some(Dialect::Text) {
        return Corpus::Reject;
    }
    if is_closed(&outcomes) {
        assert_eq!(feed(&mut decoder, b"\nPING.", || 6), [], "closed for good");
        assert_eq!(decoder.buffered(), 0);
        return Corpus::Keep;
    }
    if decoder.is_skipping() {
        let mut quieted = Decoder::new(LIMITS);
        feed(&mut quieted, input, || input.len());
        quieted.quiet();
        assert_pings(&mut quieted);
    }
    if !decoder.in_blob() {
        // This newline may be the one that ends a blob's announcement.
        let outcomes = feed(&mut decoder, b"\n", || 1);
        if !decoder.in_blob() && !is_closed(&outcomes) {
            assert_pings(&mut decoder);
        }
    }
    Corpus::Keep
});

fn is_closed(outcomes: &[Outcome]) -> bool {
    outcomes
        .iter()
        .any(|outcome| matches!(outcome, Outcome::TooLarge(_)))
}

fn assert_pings(decoder: &mut Decoder) {
    let ping = Outcome::Message(DeviceSentence::Ping.into());
    assert_eq!(feed(decoder, b"PING.", || 5), [ping]);
    assert!(decoder.is_idle());
}
