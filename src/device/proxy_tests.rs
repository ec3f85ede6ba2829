//! Headers of balancers, and other input in their place.

use proptest::{collection::vec, prelude::*};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

const HELLO: &[u8] = b"HELLO, I'M truck!";
const IPV4: &[u8] = b"\xcb\x00\x71\x07\x0a\x00\x00\x01\xd9\x03\x0f\xa0";
const IPV6: &[u8] = b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\
    \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\xd9\x03\x0f\xa0";
const DEVICE_4: &str = "203.0.113.7:55555";
const DEVICE_6: &str = "[2001:db8::7]:55555";

fn binary(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [BINARY_SIGNATURE, &[command, family], &length, content].concat()
}

/// Valid headers, and the device of each.
fn valid() -> Vec<(Vec<u8>, Option<&'static str>)> {
    let text = |line: &str| line.as_bytes().to_vec();
    let all_bits = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY UNKNOWN {all_bits} {all_bits} 65535 65535\r\n");
    assert_eq!(longest.len(), LONGEST_TEXT);
    let tlvs = [IPV4, b"\x05\0\x04abcd\xe0\0\0", &[7; 1000]].concat();
    let largest = [IPV6, &[7; LONGEST_BINARY - BINARY_FIXED - 36]].concat();
    vec![
        (
            text("PROXY TCP4 203.0.113.7 10.0.0.1 55555 4000\r\n"),
            Some(DEVICE_4),
        ),
        (
            text("PROXY TCP6 2001:db8::7 2001:db8::1 55555 4000\r\n"),
            Some(DEVICE_6),
        ),
        (text("PROXY UNKNOWN\r\n"), None),
        (text(&longest), None),
        (binary(0x21, 0x11, IPV4), Some(DEVICE_4)),
        (binary(0x21, 0x21, IPV6), Some(DEVICE_6)),
        (binary(0x21, 0x11, &tlvs), Some(DEVICE_4)),
        (binary(0x21, 0x21, &largest), Some(DEVICE_6)),
        (binary(0x21, 0x00, b""), None),
        (binary(0x21, 0x31, &[b'/'; 216]), None),
        // A datagram's address is not that of a connection.
        (binary(0x21, 0x12, IPV4), None),
        (binary(0x20, 0x00, b""), None),
        (binary(0x20, 0x00, b"\x04\0\x01x"), None),
        (binary(0x20, 0x11, IPV4), None),
        // What is in it beside its length does not matter.
        (binary(0x20, 0x11, b""), None),
        (binary(0x20, 0xff, b"?"), None),
    ]
}

#[test]
fn a_header_has_the_device_and_ends_before_its_first_byte() {
    for (header, device) in valid() {
        let wanted = ParsedHeader {
            length: header.len(),
            device: device.map(|device| device.parse().unwrap()),
        };
        assert_eq!(parse(&header), Ok(Some(wanted)), "{header:?}");
        for behind in [HELLO, b"\r\n PROXY \r\n", &[b'x'; 5000]] {
            let all = [&header, behind].concat();
            assert_eq!(parse(&all), Ok(Some(wanted)), "{header:?}");
        }
    }
}

#[test]
fn an_incomplete_header_is_not_refused() {
    for (header, _) in valid() {
        for end in 0..header.len() {
            assert_eq!(parse(&header[..end]), Ok(None), "{:?}", &header[..end]);
        }
    }
}

#[test]
fn other_input_is_refused_at_its_first_wrong_byte() {
    for other in [
        &b"H"[..],
        b"PING.",
        b"PROXY.",
        b"PROXYTCP4 203.0.113.7 10.0.0.1 55555 4000\r\n",
        b"proxy TCP4",
        b"{",
        b"\n",
        b"\r\n\r\n\0\r\nQUIT\r",
        b"\r\nHELLO",
        b"\x16\x03\x01",
    ] {
        assert_eq!(parse(other), Err(HeaderError::NoHeader), "{other:?}");
    }
}

#[test]
fn a_malformed_header_is_refused() {
    let too_long = [b"PROXY TCP4 ", [b'1'; 100].as_slice()].concat();
    let ends_too_late = [b"PROXY UNKNOWN ", [b'x'; 100].as_slice(), b"\r\n"].concat();
    let version_3 = binary(0x31, 0x11, IPV4);
    let command_2 = binary(0x22, 0x11, IPV4);
    let family_5 = binary(0x21, 0x51, IPV4);
    let no_room = binary(0x21, 0x21, IPV4);
    let no_addresses = [&binary(0x21, 0x11, b""), HELLO].concat();
    for malformed in [
        &b"PROXY TCP5 203.0.113.7 10.0.0.1 55555 4000\r\n"[..],
        b"PROXY TCP4 2001:db8::7 2001:db8::1 55555 4000\r\n",
        b"PROXY TCP4 203.0.113.256 10.0.0.1 55555 4000\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 65536 4000\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 55555 4000\rHELLO",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 55555\r\nHELLO, I'M truck!",
        &too_long,
        &ends_too_late,
        &version_3,
        &command_2,
        &family_5,
        &no_room,
        &no_addresses,
    ] {
        assert_eq!(
            parse(malformed),
            Err(HeaderError::Malformed),
            "{malformed:?}"
        );
    }
    let large = binary(0x21, 0x11, &[0; LONGEST_BINARY - BINARY_FIXED + 1]);
    assert_eq!(
        parse(&large[..BINARY_FIXED]),
        Err(HeaderError::TooLong),
        "it is not even received"
    );
}

proptest! {
    #[test]
    fn a_parsed_header_is_never_longer_than_its_input(
        (header, garbage, at) in (0..valid().len(), vec(any::<u8>(), 0..40), 0..120_usize)
    ) {
        let mut bytes = valid()[header].0.clone();
        let at = at.min(bytes.len());
        let end = (at + garbage.len()).min(bytes.len());
        bytes.splice(at..end, garbage);
        if let Ok(Some(header)) = parse(&bytes) {
            prop_assert!(header.length <= bytes.len());
        }
    }
}

/// Both ends of a connection: ours and the balancer's.
async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let balancer = TcpStream::connect(listener.local_addr().unwrap()).await;
    let (ours, _) = listener.accept().await.unwrap();
    let balancer = balancer.unwrap();
    balancer.set_nodelay(true).unwrap();
    (ours, balancer)
}

#[tokio::test]
async fn the_bytes_after_the_header_stay_in_the_stream() {
    for (header, device) in valid() {
        let all = [&header, HELLO].concat();
        for piece in [1, PEEK_SIZE, all.len()] {
            let (mut ours, mut balancer) = connection().await;
            let send = async {
                for piece in all.chunks(piece) {
                    balancer.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
                balancer.shutdown().await.unwrap();
            };
            let receive = async {
                let received = receive(&mut ours).await;
                let mut said = Vec::new();
                ours.read_to_end(&mut said).await.unwrap();
                (received, said)
            };
            let ((), (received, said)) = tokio::join!(send, receive);
            let device = device.map(|device| device.parse().unwrap());
            assert_eq!(received, Ok(device), "{header:?}");
            assert_eq!(said, HELLO, "{header:?}");
        }
    }
}

#[tokio::test]
async fn closing_before_and_within_the_header_are_different_errors() {
    for (said, reason) in [
        (&b""[..], HeaderError::Closed),
        (b"PROXY TC", HeaderError::Truncated),
        (b"\r\n\r\n", HeaderError::Truncated),
    ] {
        let (mut ours, mut balancer) = connection().await;
        balancer.write_all(said).await.unwrap();
        drop(balancer);
        assert_eq!(receive(&mut ours).await, Err(reason));
    }
}

#[test]
fn an_ipv4_balancer_is_recognised_on_a_dual_stack_socket() {
    let sources = ["10.0.0.0/8", "fd00::/8"].map(|source| source.parse().unwrap());
    let balancers = Balancers::new(sources.to_vec(), HEADER_TIMEOUT);
    for (remote, admitted) in [
        ("10.1.2.3:1", true),
        ("[::ffff:10.1.2.3]:1", true),
        ("[fd00::1]:1", true),
        ("11.1.2.3:1", false),
        ("[::ffff:11.1.2.3]:1", false),
        ("[fc00::1]:1", false),
    ] {
        assert_eq!(
            balancers.admit(remote.parse().unwrap()),
            admitted,
            "{remote}"
        );
    }
}
