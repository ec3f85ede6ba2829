//! When faults lasted, and which of them excuse a delay.

use crate::history::record::{Change, Fault, FaultWindow, History, Moment};

/// Whether the database was available and at least one instance ran, without an interruption, for a period longer than
/// `length` between these moments.
pub(crate) fn was_operational(
    history: &History,
    from: Moment,
    until: Moment,
    length: Moment,
) -> bool {
    (0..history.instances.max(1)).any(|index| {
        let interrupts = |fault| is_of_instance(fault, index) || is_of_database(fault);
        longest_period_without(history, interrupts, from, until) > length
    })
}

/// The length of the longest period between these moments without such a fault.
pub(crate) fn longest_period_without(
    history: &History,
    is_such: impl Fn(Fault) -> bool,
    from: Moment,
    until: Moment,
) -> Moment {
    let mut windows: Vec<&FaultWindow> = history
        .faults
        .iter()
        .filter(|window| is_such(window.fault) && window.until > from && window.from < until)
        .collect();
    windows.sort_unstable_by_key(|window| (window.from, window.until));
    let (mut longest, mut since) = (0, from);
    for window in windows {
        longest = longest.max(window.from - since);
        since = since.max(window.until);
    }
    longest.max(until - since)
}

pub(crate) fn is_of_instance(fault: Fault, instance: usize) -> bool {
    match fault {
        Fault::Kill(index) | Fault::Pause(index) | Fault::Restart(index) => index == instance,
        _ => false,
    }
}

pub(crate) fn is_of_any_instance(fault: Fault) -> bool {
    matches!(fault, Fault::Kill(_) | Fault::Pause(_) | Fault::Restart(_))
}

pub(crate) fn is_of_database(fault: Fault) -> bool {
    matches!(fault, Fault::DatabaseDown | Fault::DatabasePause)
}

pub(crate) fn is_of_redis(fault: Fault) -> bool {
    matches!(fault, Fault::RedisDown | Fault::RedisPause)
}

/// The number of the instance that this incarnation is a run of.
pub(crate) fn instance_of(history: &History, incarnation: &str) -> Option<usize> {
    history.audit.iter().find_map(|entry| match &entry.change {
        Change::Instance { id, name, .. } if id == incarnation => {
            let number: usize = name.strip_prefix("gateway-")?.parse().ok()?;
            number.checked_sub(1)
        }
        _ => None,
    })
}

mod tests {
    use super::*;

    #[test]
    fn an_operational_period_lies_between_faults() {
        let window = |from, until, fault| FaultWindow { from, until, fault };
        let history = History {
            faults: vec![
                window(0, 100, Fault::DatabaseDown),
                window(50, 2_000, Fault::Pause(0)),
                window(3_000, 9_000, Fault::RedisDown),
                window(5_000, 6_000, Fault::Kill(0)),
            ],
            instances: 1,
            ..History::default()
        };
        assert!(
            !was_operational(&history, 0, 6_000, 3_000),
            "2000 to 5000 is no longer than that"
        );
        assert!(was_operational(&history, 0, 6_000, 2_999));
        assert!(!was_operational(&history, 2_500, 5_500, 2_600));
        assert!(was_operational(&history, 5_500, 9_000, 2_900));
        let two_instances = History {
            instances: 2,
            ..history
        };
        assert!(
            was_operational(&two_instances, 0, 6_000, 5_800),
            "the other instance ran"
        );
    }
}
