use std::{future::pending, io};

use super::*;

const HTTPS_ONLY: UrlPolicy = UrlPolicy {
    allow_http: false,
    allow_private: false,
    allow_any_port: false,
};
const ALSO_HTTP: UrlPolicy = UrlPolicy {
    allow_http: true,
    ..HTTPS_ONLY
};

#[track_caller]
fn refused(url: &str, policy: UrlPolicy) -> String {
    policy.check(url).unwrap_err().to_string()
}

#[test]
fn https_is_always_allowed_and_http_where_the_policy_says() {
    for url in [
        "https://hook.example/",
        "https://hook.example:8443/in?key=1",
        "https://1.1.1.1/",
        "https://[2606:4700::1111]:1024/",
    ] {
        assert_eq!(HTTPS_ONLY.check(url).unwrap().as_str(), url);
    }
    assert!(ALSO_HTTP.check("http://hook.example").is_ok());
    assert_eq!(
        refused("http://hook.example", HTTPS_ONLY),
        "webhooks go to https; http is possible only where webhooks.allow_http is true"
    );
    for url in [
        "ftp://hook.example",
        "file:///etc/passwd",
        "data:,1",
        "ws://hook.example",
    ] {
        assert!(refused(url, UrlPolicy::TRUSTED).starts_with("webhooks go to https, not to "));
    }
}

#[test]
fn ports_are_those_of_http_or_from_1024_on() {
    for port in [443, 80, 1024, 8443, 65535] {
        let url = format!("https://hook.example:{port}/");
        assert!(HTTPS_ONLY.check(&url).is_ok(), "{url}");
    }
    for port in [0, 1, 22, 25, 79, 81, 442, 444, 1023] {
        let error = refused(&format!("https://hook.example:{port}/"), HTTPS_ONLY);
        assert_eq!(
            error,
            format!("webhooks go to port 443, 80, or 1024 and above, not to port {port}")
        );
    }
    let trusted = |port: u16| UrlPolicy::TRUSTED.check(&format!("http://hook.example:{port}/"));
    assert!(trusted(81).is_ok());
    assert_eq!(trusted(0), Err(UrlPolicyError::Port(0)));
}

#[test]
fn text_that_is_not_a_url_is_refused() {
    for url in [
        "",
        "hook.example",
        "/in",
        "https://",
        "https://hook example/",
        "https://hook.example:65536/",
        "https://[::1/",
        "https://1.2.3.256/",
        "https://[fe80::1%25eth0]/",
    ] {
        assert!(
            refused(url, UrlPolicy::TRUSTED).starts_with("not a URL: "),
            "{url}"
        );
    }
}

#[test]
fn a_url_with_a_user_a_password_or_a_fragment_is_refused() {
    for url in [
        "https://user@hook.example/",
        "https://user:pass@hook.example/",
        "https://:pass@hook.example/",
    ] {
        let refused = refused(url, UrlPolicy::TRUSTED);
        assert!(refused.contains("no user or password"), "{url}: {refused}");
        assert!(!refused.contains("hook.example"));
    }
    for url in ["https://hook.example/#part", "https://hook.example/#"] {
        assert!(
            refused(url, UrlPolicy::TRUSTED).contains("no fragment"),
            "{url}"
        );
    }
}

#[test]
fn a_url_has_at_most_2048_bytes_before_and_after_escaping() {
    let begin = "https://hook.example/";
    let fits = format!("{begin}{}", "a".repeat(2048 - begin.len()));
    assert!(HTTPS_ONLY.check(&fits).is_ok());
    assert_eq!(
        refused(&format!("{fits}a"), HTTPS_ONLY),
        "a URL has at most 2048 bytes"
    );
    let grows = format!("{begin}{}", "\u{e4}".repeat(900));
    assert_eq!(refused(&grows, HTTPS_ONLY), "a URL has at most 2048 bytes");
}

/// Notations of 127.0.0.1 in a URL.
const LOOPBACKS: &[&str] = &[
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0177.0.0.1",
    "0x7f.1",
    "0x7F.0x0.0x0.0x1",
    "%31%32%37.0.0.1",
    // Full-width digits and full stops.
    "\u{ff11}\u{ff12}\u{ff17}\u{3002}\u{ff10}.0.1",
    "127\t.0.0.\n1",
];

#[test]
fn every_notation_of_an_address_is_checked() {
    for host in LOOPBACKS {
        for url in [
            format!("http://{host}/in"),
            format!("http://{host}:8080"),
            format!("https:\\\\{host}\\in"),
        ] {
            assert_eq!(
                refused(&url, ALSO_HTTP),
                "the host is a loopback address, which webhooks must not reach",
                "{url}"
            );
        }
        let normalized = UrlPolicy::TRUSTED.check(&format!("http://{host}")).unwrap();
        assert_eq!(normalized.as_str(), "http://127.0.0.1/");
    }
}

#[test]
fn an_address_of_each_forbidden_kind_is_refused_in_a_url() {
    for (host, kind) in [
        ("0.0.0.0", "the unspecified address"),
        ("0", "the unspecified address"),
        ("10.1.2.3", "a private address"),
        ("100.64.0.1", "an address shared behind a carrier's NAT"),
        (
            "169.254.169.254",
            "an address of a cloud's metadata service",
        ),
        ("0xa9fea9fe", "an address of a cloud's metadata service"),
        ("169.254.1.1", "a link-local address"),
        ("192.0.2.1", "an address for documentation"),
        ("198.18.0.1", "an address for benchmarks"),
        ("224.0.0.1", "a multicast address"),
        ("255.255.255.255", "the broadcast address"),
        ("240.0.0.1", "a reserved address"),
        ("[::]", "the unspecified address"),
        ("[::1]", "a loopback address"),
        ("[0:0:0:0:0:0:0:1]", "a loopback address"),
        ("[::ffff:10.0.0.1]", "an IPv4-mapped address"),
        ("[::127.0.0.1]", "an IPv4-compatible address"),
        ("[2002:7f00:1::]", "a 6to4 address"),
        ("[64:ff9b::7f00:1]", "a NAT64 address"),
        ("[2001::1]", "a Teredo address"),
        ("[fd12::1]", "a unique local address"),
        (
            "[fd00:ec2::254]",
            "an address of a cloud's metadata service",
        ),
        ("[fe80::1]", "a link-local address"),
        ("[fec0::1]", "a site-local address"),
        ("[ff02::1]", "a multicast address"),
    ] {
        let url = format!("https://{host}/");
        let error = refused(&url, HTTPS_ONLY);
        assert!(
            error == format!("the host is {kind}, which webhooks must not reach"),
            "{host}: {error}"
        );
        assert!(UrlPolicy::TRUSTED.check(&url).is_ok());
    }
}

#[test]
fn the_debug_output_hides_path_and_query() {
    let allowed = HTTPS_ONLY
        .check("https://hook.example:8443/token-1?key=2")
        .unwrap();
    assert_eq!(
        format!("{allowed:?}"),
        "AllowedUrl(https://hook.example:8443/…)"
    );
}

fn of_name(policy: UrlPolicy) -> AllowedUrl {
    policy.check("https://hook.test/").unwrap()
}

fn finds(address: &'static str) -> Resolver {
    Resolver::new(async move |name| {
        assert_eq!(name, "hook.test");
        Ok(vec![address.parse().unwrap()])
    })
}

#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_refused() {
    let refused = of_name(HTTPS_ONLY).check_host(&finds("192.168.1.1")).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "hook.test resolves to a private address, which webhooks must not reach"
    );
    let public = of_name(HTTPS_ONLY).check_host(&finds("1.1.1.1")).await;
    assert_eq!(public, Ok(()));
    let trusted = of_name(UrlPolicy::TRUSTED)
        .check_host(&finds("192.168.1.1"))
        .await;
    assert_eq!(trusted, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_does_not_resolve_yet_is_accepted() {
    let unknown = Resolver::new(async |_name| Err(io::Error::other("no such name")));
    assert_eq!(of_name(HTTPS_ONLY).check_host(&unknown).await, Ok(()));
    // The clock is moved on while nothing happens.
    let silent = Resolver::new(|_name| pending());
    assert_eq!(of_name(HTTPS_ONLY).check_host(&silent).await, Ok(()));
}

#[tokio::test]
async fn an_address_is_not_resolved() {
    let never = Resolver::new(async |name| panic!("{name} was resolved"));
    let allowed = HTTPS_ONLY.check("https://1.1.1.1/").unwrap();
    assert_eq!(allowed.check_host(&never).await, Ok(()));
}
