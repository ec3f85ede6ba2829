//! JSON: any split decodes alike, memory is bounded, and what was understood can be said again.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use vehicle_gateway::{
    domain::DeviceSentence,
    protocol::{Dialect, encode_device},
};
use vehicle_gateway_fuzz::{Outcome, decode_alike, feed};

fuzz_target!(|input: &[u8]| -> Corpus {
    let (mut decoder, outcomes) = decode_alike(input);
    if decoder.dialect() != Some(Dialect::Json) {
        return Corpus::Reject;
    }
    for outcome in &outcomes {
        if let Outcome::Message(message) = outcome {
            let mut said_again = Default::default();
            encode_device(message, Dialect::Json, None, &mut said_again);
            let (_, understood) = decode_alike(&said_again);
            assert_eq!(understood, [outcome.clone()]);
        }
    }
    let was_idle = decoder.is_idle();
    let ping = br#"{"message":"PING."}"#;
    let after = feed(&mut decoder, ping, || ping.len());
    if outcomes
        .iter()
        .any(|outcome| matches!(outcome, Outcome::TooLarge(_)))
    {
        assert_eq!(after, [], "closed for good");
        assert_eq!(decoder.buffered(), 0);
    } else if was_idle {
        assert_eq!(after, [Outcome::Message(DeviceSentence::Ping.into())]);
    }
    Corpus::Keep
});
