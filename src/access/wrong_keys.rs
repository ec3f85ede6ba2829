//! How often an address may try a wrong key.
//!
//! Keys cannot be guessed. But who tries many either has a program that goes on with an old key, or is up to something:
//! neither should fill logs or take time.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Wrong keys of an address within [`WINDOW`] that are answered as such.
const TRIES: u32 = 10;
const WINDOW: Duration = Duration::from_mins(1);
/// Addresses that are remembered at most. When there are more, all are forgotten.
const ADDRESSES: usize = 10_000;

/// Counts the wrong keys of each address.
#[derive(Debug, Default)]
pub(crate) struct WrongKeys(Mutex<HashMap<IpAddr, (Instant, u32)>>);

impl WrongKeys {
    /// Whether the address has tried as many as it may.
    pub(crate) fn is_over(&self, address: IpAddr, now: Instant) -> bool {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(&network(address));
        count.is_some_and(|(since, count)| now.duration_since(*since) < WINDOW && *count >= TRIES)
    }

    /// Notes a wrong key. Returns whether the address has tried too many.
    pub(crate) fn note(&self, address: IpAddr, now: Instant) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = network(address);
        if counts.len() >= ADDRESSES && !counts.contains_key(&address) {
            counts.retain(|_, (since, _)| now.duration_since(*since) < WINDOW);
            if counts.len() >= ADDRESSES {
                counts.clear();
            }
        }
        let (since, count) = counts.entry(address).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count > TRIES
    }
}

/// The address, or of an IPv6 address the network that one customer has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn an_address_may_try_ten_wrong_keys_a_minute() {
        let (keys, start) = (WrongKeys::default(), Instant::now());
        for _ in 0..TRIES {
            assert!(!keys.note(address(1), start));
        }
        assert!(keys.is_over(address(1), start) && !keys.is_over(address(2), start));
        assert!(keys.note(address(1), start));
        assert!(!keys.note(address(2), start));
        assert!(!keys.is_over(address(1), start + WINDOW));
        assert!(!keys.note(address(1), start + WINDOW));
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_count_together() {
        let (keys, now) = (WrongKeys::default(), Instant::now());
        let late = (0..=TRIES).map(|host| {
            let address = format!("2001:db8::{host:x}").parse().unwrap();
            keys.note(address, now)
        });
        assert_eq!(late.filter(|late| *late).count(), 1);
        assert!(!keys.note("2001:db8:0:1::1".parse().unwrap(), now));
        let mapped = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(network(mapped), address(10 << 24 | 1));
    }

    #[test]
    fn no_more_than_ten_thousand_addresses_are_remembered() {
        let (keys, now) = (WrongKeys::default(), Instant::now());
        for number in 0..3 * 10_000 {
            keys.note(address(number), now);
            assert!(keys.0.lock().unwrap().len() <= ADDRESSES);
        }
    }
}
