//! The text form of values: durations, sizes, networks, names, and text that may hold a secret.

use std::{borrow::Cow, net::IpAddr, time::Duration};

use ipnet::IpNet;
use serde::Serializer;

pub(super) const MILLIS_100: Duration = Duration::from_millis(100);
pub(super) const HOUR: Duration = Duration::from_hours(1);
pub(super) const DAY: Duration = Duration::from_hours(24);

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;

/// The units of a size, largest first, with their bytes.
const SIZES: [(&str, u64); 4] = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB), ("B", 1)];

/// The units of a duration, largest first, in nanoseconds.
const DURATIONS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Parses `90s`, `1m 30s` or `90d`. A number without a unit is refused, except `0`.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// The duration in the largest unit that divides it, so that `90d` is not shown in months.
pub(super) fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    DURATIONS
        .into_iter()
        .find(|(_, unit)| nanos.is_multiple_of(*unit))
        .map(|(name, unit)| format!("{}{name}", nanos / unit))
        .unwrap_or_default()
}

/// Parses a number of bytes, or `64 KiB`. Only binary units, because KB is ambiguous.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let (number, unit) = text.split_at(text.len() - digits.len());
    let unit = unit.trim_start();
    let factor = if unit.is_empty() {
        1
    } else {
        let (_, factor) = SIZES
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
        factor
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The size in the largest unit that divides it.
pub(super) fn format_size(bytes: u64) -> String {
    SIZES
        .into_iter()
        .find(|(_, unit)| bytes != 0 && bytes.is_multiple_of(*unit))
        .map_or_else(
            || format!("{bytes} B"),
            |(name, unit)| format!("{} {name}", bytes / unit),
        )
}

/// For serde: the duration as text, by [`format_duration`].
pub(super) fn as_duration<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_duration(*duration))
}

/// For serde: each duration as text, by [`format_duration`].
pub(super) fn as_durations<S: Serializer>(
    durations: &[Duration],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(durations.iter().map(|duration| format_duration(*duration)))
}

/// For serde: the number of bytes as text, by [`format_size`].
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(super) fn as_size<S: Serializer>(bytes: &usize, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_size(*bytes as u64))
}

/// A name for logs and lists: 1 to 64 printable characters, without white space at its ends.
#[must_use]
pub fn printable_name(text: &str) -> Option<String> {
    let printable = |c: char| !c.is_control() && c != char::REPLACEMENT_CHARACTER;
    let fits = (1..=64).contains(&text.chars().count());
    (fits && text.trim() == text && text.chars().all(printable)).then(|| text.to_owned())
}

/// Parses an IP network such as `10.0.0.0/8`, or one address. Bits beyond the prefix are dropped, as routers do. An
/// IPv4-mapped IPv6 address is refused, because it would never match a peer: their addresses are compared as IPv4.
pub(super) fn parse_network(text: &str) -> Option<IpNet> {
    let network: IpNet = text
        .parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .ok()?;
    let mapped = matches!(network, IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some());
    (!mapped).then(|| network.trunc())
}

/// Replaces the password of a URL, and query values that look like one, by `***`.
///
/// It must hide the password of an invalid URL too, because invalid URLs are the ones that get reported.
/// So a password ends at the *last* `@` and may hold any character, and no valid scheme is needed.
#[must_use]
pub fn mask(text: &str) -> Cow<'_, str> {
    let mut masked = Cow::Borrowed(text);
    if let Some((userinfo, rest)) = text.rsplit_once('@') {
        let start = userinfo.find("://").map_or(0, |at| at + 3);
        if let Some(colon) = userinfo.get(start..).and_then(|user| user.find(':')) {
            masked = Cow::Owned(format!("{}:***@{rest}", &userinfo[..start + colon]));
        }
    }
    let Some((base, query)) = masked.split_once('?') else {
        return masked;
    };
    let query: Vec<_> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if names_a_secret(name) => Cow::Owned(format!("{name}=***")),
            _ => Cow::Borrowed(pair),
        })
        .collect();
    Cow::Owned(format!("{base}?{}", query.join("&")))
}

fn names_a_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "pwd", "secret", "token", "key"]
        .iter()
        .any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_shown_in_their_largest_whole_unit_and_read_back() {
        for (text, shown) in [
            ("0", "0s"),
            ("200ms", "200ms"),
            ("60s", "1m"),
            ("1m 30s", "90s"),
            ("24h", "1d"),
            ("90d", "90d"),
            ("1500us", "1500us"),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(format_duration(duration), shown);
            assert_eq!(parse_duration(shown), Some(duration));
        }
        for bad in ["", "10", "s", "-1s", "1.5", "10 parsecs"] {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn sizes_have_a_binary_unit_and_read_back() {
        for (text, bytes, shown) in [
            ("0", 0, "0 B"),
            ("1023", 1023, "1023 B"),
            ("65536", 65536, "64 KiB"),
            ("64KiB", 65536, "64 KiB"),
            ("1 mib", 1 << 20, "1 MiB"),
            ("3 GiB", 3 << 30, "3 GiB"),
            ("7 B", 7, "7 B"),
        ] {
            assert_eq!(parse_size(text), Some(bytes));
            assert_eq!(format_size(bytes), shown);
            assert_eq!(parse_size(shown), Some(bytes));
        }
        for bad in [
            "",
            "KiB",
            "-1",
            "+1",
            "1.5 MiB",
            "64 KB",
            "1 MiB 1",
            "99999999999 GiB",
        ] {
            assert_eq!(parse_size(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn passwords_are_masked_even_in_a_broken_url() {
        for (text, masked) in [
            ("sqlite://vehicle-gateway.db", "sqlite://vehicle-gateway.db"),
            ("mysql://joe@host/db", "mysql://joe@host/db"),
            (
                "mysql://joe:s3cret@host:3306/db",
                "mysql://joe:***@host:3306/db",
            ),
            ("mysql://joe:s3/cr@et?#@host/db", "mysql://joe:***@host/db"),
            ("redis://:s3cret@host", "redis://:***@host"),
            ("mysql:/joe:s3cret@host", "mysql:***@host"),
            ("joe:s3cret@host", "joe:***@host"),
            (
                "pg://host/db?user=joe&Password=s3cret",
                "pg://host/db?user=joe&Password=***",
            ),
            ("@:s3cret@host", "@:***@host"),
        ] {
            assert_eq!(mask(text), masked);
        }
    }
}
