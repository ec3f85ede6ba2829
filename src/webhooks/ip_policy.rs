//! IP policy: which addresses webhooks may reach. Pure: it resolves nothing and connects to nothing.
//!
//! A user of the API chooses the URL of an endpoint, and the gateway's host connects to it. Without a check of the
//! address, a webhook could reach everything that this host reaches and the user does not (server-side request
//! forgery).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Networks that webhooks must not reach, with a description of their addresses; the first match counts. These are the
/// entries of IANA's special-purpose address registries that are not globally reachable, and the metadata services of
/// clouds.
const FORBIDDEN: &[(IpNet, &str)] = &[
    (v4([169, 254, 169, 254], 32), METADATA),
    // Azure, Oracle Cloud and Alibaba Cloud.
    (v4([168, 63, 129, 16], 32), METADATA),
    (v4([192, 0, 0, 192], 32), METADATA),
    (v4([100, 100, 100, 200], 32), METADATA),
    (v4([0, 0, 0, 0], 32), UNSPECIFIED),
    (v4([0, 0, 0, 0], 8), RESERVED),
    (v4([10, 0, 0, 0], 8), PRIVATE),
    (
        v4([100, 64, 0, 0], 10),
        "an address shared behind a carrier's NAT",
    ),
    (v4([127, 0, 0, 0], 8), LOOPBACK),
    (v4([169, 254, 0, 0], 16), LINK_LOCAL),
    (v4([172, 16, 0, 0], 12), PRIVATE),
    (v4([192, 0, 0, 0], 24), RESERVED),
    (v4([192, 0, 2, 0], 24), DOCUMENTATION),
    (v4([192, 88, 99, 0], 24), SIX_TO_FOUR),
    (v4([192, 168, 0, 0], 16), PRIVATE),
    (v4([198, 18, 0, 0], 15), BENCHMARKING),
    (v4([198, 51, 100, 0], 24), DOCUMENTATION),
    (v4([203, 0, 113, 0], 24), DOCUMENTATION),
    (v4([224, 0, 0, 0], 4), MULTICAST),
    (v4([255, 255, 255, 255], 32), "the broadcast address"),
    (v4([240, 0, 0, 0], 4), RESERVED),
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), METADATA),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), UNSPECIFIED),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), LOOPBACK),
    // An IPv6 address that embeds an IPv4 address may lead to any IPv4 address, so none is allowed. A receiver with a
    // public IPv4 address can be reached by that address itself.
    (
        v6([0, 0, 0, 0, 0, 0, 0, 0], 96),
        "an IPv4-compatible address",
    ),
    (
        v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96),
        "an IPv4-mapped address",
    ),
    (
        v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96),
        "an IPv4-translated address",
    ),
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), NAT64),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), NAT64),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "a Teredo address"),
    (v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), BENCHMARKING),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), RESERVED),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), DOCUMENTATION),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), SIX_TO_FOUR),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), DOCUMENTATION),
    (
        v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
        "a unique local address",
    ),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), LINK_LOCAL),
    (
        v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
        "a site-local address",
    ),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), MULTICAST),
];

/// The only part of IPv6 that has been allocated for global unicast.
const GLOBAL_UNICAST: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

const BENCHMARKING: &str = "an address for benchmarks";
const DOCUMENTATION: &str = "an address for documentation";
const LINK_LOCAL: &str = "a link-local address";
const LOOPBACK: &str = "a loopback address";
const METADATA: &str = "an address of a cloud's metadata service";
const MULTICAST: &str = "a multicast address";
const NAT64: &str = "a NAT64 address";
const PRIVATE: &str = "a private address";
const RESERVED: &str = "a reserved address";
const SIX_TO_FOUR: &str = "a 6to4 address";
const UNSPECIFIED: &str = "the unspecified address";

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(it: [u16; 8], prefix: u8) -> IpNet {
    let address = Ipv6Addr::new(it[0], it[1], it[2], it[3], it[4], it[5], it[6], it[7]);
    IpNet::V6(Ipv6Net::new_assert(address, prefix))
}

/// Whether webhooks of endpoints that were created over the API may reach this address, unless the policy allows
/// private addresses too.
#[must_use]
pub fn is_allowed(address: IpAddr) -> bool {
    forbidden(address).is_none()
}

/// Describes the address if webhooks must not reach it.
pub(super) fn forbidden(address: IpAddr) -> Option<&'static str> {
    let kind = FORBIDDEN
        .iter()
        .find_map(|(network, kind)| network.contains(&address).then_some(*kind));
    kind.or_else(|| match address {
        IpAddr::V6(address) if !GLOBAL_UNICAST.contains(&address) => Some(RESERVED),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and the last address of each network, and others of the same kind.
    const NOT_ALLOWED: &[(&str, &str)] = &[
        ("the unspecified", "0.0.0.0 ::"),
        (
            "a reserved",
            "0.0.0.1 0.255.255.255 192.0.0.0 192.0.0.255 240.0.0.0 255.255.255.254",
        ),
        (
            "a reserved",
            "100::1 1:: 1fff:ffff::1 4000:: 5f00::1 fe00:: 2001:1::1 2001:1ff:ffff::",
        ),
        (
            "a private",
            "10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255",
        ),
        ("an address shared", "100.64.0.0 100.127.255.255"),
        ("a loopback", "127.0.0.0 127.0.0.1 127.255.255.255 ::1"),
        (
            "a link-local",
            "169.254.0.0 169.254.255.255 fe80::1 febf:ffff::",
        ),
        (
            METADATA,
            "169.254.169.254 168.63.129.16 192.0.0.192 100.100.100.200 fd00:ec2::254",
        ),
        (
            DOCUMENTATION,
            "192.0.2.0 198.51.100.255 203.0.113.7 2001:db8:: 2001:db8:ffff:: 3fff::1 3fff:fff::",
        ),
        (
            BENCHMARKING,
            "198.18.0.0 198.19.255.255 2001:2:: 2001:2:0:ffff::",
        ),
        (
            "a multicast",
            "224.0.0.0 239.255.255.255 ff00:: ff02::1 ffff::",
        ),
        ("the broadcast", "255.255.255.255"),
        // Also where the address within is public.
        ("an IPv4-mapped", "::ffff:127.0.0.1 ::ffff:8.8.8.8"),
        ("an IPv4-compatible", "::127.0.0.1 ::8.8.8.8 ::2"),
        ("an IPv4-translated", "::ffff:0:10.0.0.1"),
        (
            "a NAT64",
            "64:ff9b::10.0.0.1 64:ff9b::8.8.8.8 64:ff9b:1::1 64:ff9b:1:ffff::",
        ),
        ("a 6to4", "2002:7f00:1:: 2002:808:808::1 192.88.99.1"),
        ("a Teredo", "2001::1 2001:0:ffff::"),
        ("a unique local", "fc00:: fd00::1 fdff:ffff::"),
        ("a site-local", "fec0:: feff:ffff::"),
    ];

    /// Among them the neighbours of forbidden networks.
    const ALLOWED: &str = "1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 \
        128.0.0.0 168.63.129.15 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 \
        192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 198.17.255.255 \
        198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255 2000::1 \
        2001:200:: 2001:db7:ffff:: 2001:db9:: 2003:: 2606:4700:4700::1111 2a00:1450:: 3ffe:ffff:: \
        3fff:1000::";

    #[test]
    fn addresses_that_are_not_public_are_refused_with_their_kind() {
        for (kind, addresses) in NOT_ALLOWED {
            for address in addresses.split(' ') {
                let address = address.parse().unwrap();
                assert!(!is_allowed(address), "{address}");
                let description = forbidden(address).unwrap();
                assert!(description.starts_with(kind), "{address} is {description}");
            }
        }
    }

    #[test]
    fn public_addresses_next_to_forbidden_networks_are_allowed() {
        for address in ALLOWED.split(' ') {
            let address = address.parse().unwrap();
            assert_eq!(forbidden(address), None, "{address}");
            assert!(is_allowed(address));
        }
    }
}
