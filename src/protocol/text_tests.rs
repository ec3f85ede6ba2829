//! Unit tests of the plain-text dialect (docs/protocol.md, "Plain text").

use crate::{
    domain::DeviceSentence as S,
    protocol::{BadInput, BadReason, Decoded, Decoder, Limits},
};

/// All results of `decoder` for `input`.
fn feed(decoder: &mut Decoder, input: &[u8]) -> Vec<Decoded> {
    decoder.push(input);
    std::iter::from_fn(|| match decoder.next() {
        Decoded::Incomplete => None,
        found => Some(found),
    })
    .collect()
}

fn decode(input: &[u8]) -> Vec<Decoded> {
    feed(&mut Decoder::new(Limits::default()), input)
}

fn said(sentence: S) -> Decoded {
    Decoded::Message(sentence.into())
}

/// The decoded sentences, with `None` for each bad one.
fn sentences(found: Vec<Decoded>) -> Vec<Option<S>> {
    found
        .into_iter()
        .map(|found| match found {
            Decoded::Message(message) => Some(message.sentence),
            _ => None,
        })
        .collect()
}

#[test]
fn a_sentence_may_end_with_newline_crlf_or_nothing() {
    for input in [
        &b"PING.DONE!PING."[..],
        b"PING.\nDONE!\nPING.\n",
        b"PING.\r\nDONE!\r\nPING.\r\n",
        b" \t\x0b\x0c\r\n\n PING. DONE! \n\n PING.",
        b"PING.\0DONE!\0\0\n\0PING.\0",
    ] {
        let expected = [said(S::Ping), said(S::Done), said(S::Ping)];
        assert_eq!(decode(input), expected, "{input:?}");
    }
}

#[test]
fn a_sentence_without_a_terminator_is_complete_at_its_last_byte() {
    let mut decoder = Decoder::new(Limits::default());
    for byte in b"GOTTA GO" {
        assert_eq!(feed(&mut decoder, &[*byte]), []);
    }
    assert_eq!(feed(&mut decoder, b"."), [said(S::Goodbye)]);
    assert!(decoder.is_idle());
}

#[test]
fn garbage_is_bad_at_once_and_skipped_through_the_newline() {
    let mut decoder = Decoder::new(Limits::default());
    let found = feed(&mut decoder, b"GET / HTTP/1.1\r\nPING.");
    assert_eq!(sentences(found), [None, Some(S::Ping)]);

    assert_eq!(sentences(feed(&mut decoder, b"PX")), [None]);
    assert!(decoder.is_skipping());
    assert_eq!(feed(&mut decoder, b"PING. PING. PING."), []);
    assert_eq!(decoder.buffered(), 64, "garbage takes no memory");
    assert_eq!(feed(&mut decoder, b"more\nPING."), [said(S::Ping)]);
    assert!(!decoder.is_skipping());
}

#[test]
fn the_first_invalid_byte_may_be_the_newline() {
    let found = decode(b"PIN\nPING.\nHELLO, I'M a\r\nPING.");
    assert_eq!(sentences(found), [None, Some(S::Ping), None, Some(S::Ping)]);
}

#[test]
fn quiet_ends_garbage_but_not_an_unfinished_sentence() {
    let mut decoder = Decoder::new(Limits::default());
    assert_eq!(sentences(feed(&mut decoder, b"garbage PING.")), [None]);
    decoder.quiet();
    assert!(!decoder.is_skipping());
    assert_eq!(feed(&mut decoder, b"PING.PIN"), [said(S::Ping)]);
    decoder.quiet();
    assert_eq!(feed(&mut decoder, b"G."), [said(S::Ping)]);

    // `quiet` also ends garbage that was pushed before the call and that `next` has not taken yet.
    decoder.push(b"garbage PING.");
    assert!(matches!(decoder.next(), Decoded::Bad(_)));
    decoder.quiet();
    assert_eq!(feed(&mut decoder, b"DONE!"), [said(S::Done)]);
}

#[test]
fn nothing_is_skipped_after_a_value_out_of_range() {
    let found = decode(
        b"REPORT. I'M HERE 999 0, RUNNING AND CHARGED AT 5%.PING.\
          KEEP ME POSTED EVERY 5 SECONDS.HELLO, I'M ..!DONE!",
    );
    assert_eq!(
        sentences(found),
        [None, Some(S::Ping), None, None, Some(S::Done)]
    );
}

#[test]
fn a_sentence_above_the_cap_is_bad() {
    let limits = Limits {
        sentence: 40,
        blob: 10,
    };
    let keep = |spaces: usize| format!("KEEP ME{}POSTED EVERY 10 SECONDS.", " ".repeat(spaces));
    assert_eq!(keep(9).len(), 40);
    let mut decoder = Decoder::new(limits);
    let fits = feed(&mut decoder, keep(9).as_bytes());
    assert!(matches!(fits[..], [Decoded::Message(_)]));

    let too_long = feed(&mut decoder, keep(10).as_bytes());
    assert!(matches!(
        &too_long[..],
        [Decoded::Bad(BadInput {
            reason: BadReason::TooLong { limit: 40 },
            ..
        })]
    ));
    assert!(decoder.is_skipping());
    assert_eq!(feed(&mut decoder, b"\nPING."), [said(S::Ping)]);

    // A sentence is refused as soon as it fills the cap, not one byte later.
    let at_cap = feed(&mut decoder, &keep(10).as_bytes()[..40]);
    assert!(matches!(at_cap[..], [Decoded::Bad(_)]));
}

#[test]
fn a_blob_is_exactly_n_bytes_of_anything() {
    let blob = |bytes: &'static [u8]| Some(S::DebugBlob(bytes.into()));
    assert_eq!(
        sentences(decode(b"WTF! 13\nHello, world!PING.")),
        [blob(b"Hello, world!"), Some(S::Ping)]
    );
    assert_eq!(
        sentences(decode(b"WTF! 7\r\n\r\nPING.\nWTF! 3\n\0\xff{WTF! 0\nPING.")),
        [
            blob(b"\r\nPING."),
            blob(b"\0\xff{"),
            blob(b""),
            Some(S::Ping)
        ]
    );
}

#[test]
fn in_blob_lasts_from_the_header_to_the_last_byte() {
    let mut decoder = Decoder::new(Limits::default());
    for (input, in_blob) in [
        (&b"WTF! 2\r"[..], false),
        (b"\n", true),
        (b"\n", true),
        (b"\n", false),
        (b"WTF! 0\n", false),
    ] {
        feed(&mut decoder, input);
        assert_eq!(decoder.in_blob(), in_blob, "{input:?}");
    }
}

#[test]
fn a_blob_above_the_cap_is_refused_at_its_header() {
    let limits = Limits::default();
    let mut decoder = Decoder::new(limits);
    assert_eq!(feed(&mut decoder, b"WTF! 1048576\n"), []);
    assert!(decoder.buffered() <= 64, "announced is not yet taken");

    for announced in ["1048577", "18446744073709551616", "99999999999999999999"] {
        let mut decoder = Decoder::new(limits);
        let found = feed(
            &mut decoder,
            format!("WTF! {announced}\nPING.\nPING.").as_bytes(),
        );
        assert!(
            matches!(
                &found[..],
                [Decoded::TooLarge(BadInput {
                    reason: BadReason::BlobTooLarge { .. },
                    ..
                })]
            ),
            "{announced}"
        );
    }
}

#[test]
fn a_large_blob_takes_no_more_memory_than_itself_and_one_chunk() {
    const SIZE: usize = 1024 * 1024;
    const CHUNK: usize = 16 * 1024;
    let mut decoder = Decoder::new(Limits::default());
    feed(&mut decoder, format!("WTF! {SIZE}\n").as_bytes());
    for sent in (CHUNK..SIZE).step_by(CHUNK) {
        assert_eq!(feed(&mut decoder, &[7; CHUNK]), []);
        assert!(decoder.buffered() <= (2 * sent).max(SIZE));
        assert!(decoder.buffered() <= SIZE + CHUNK);
    }
    let last = feed(&mut decoder, &[&[7; CHUNK][..], b"PING."].concat());
    assert_eq!(
        sentences(last),
        [Some(S::DebugBlob(vec![7; SIZE].into())), Some(S::Ping)]
    );
    assert!(decoder.buffered() <= 256);
}

#[test]
fn an_excerpt_is_the_line_up_to_80_bytes() {
    let excerpt = |input: &[u8]| match decode(input).swap_remove(0) {
        Decoded::Bad(bad) | Decoded::TooLarge(bad) => bad.excerpt,
        other => unreachable!("{other:?}"),
    };
    assert_eq!(excerpt(b"GET / HTTP/1.1\r\nHost: x"), b"GET / HTTP/1.1\r");
    assert_eq!(excerpt(&[b'x'; 500]), [b'x'; 80]);
    assert_eq!(excerpt(b"HELLO, I'M ..!PING."), b"HELLO, I'M ..!");
    assert_eq!(excerpt(b"WTF! 1048577\nsecrets"), b"WTF! 1048577\n");
}
