//! What must hold of every history, whatever was done to the servers: one file for each invariant.

mod command_matching;
mod fault_windows;
mod invariants;
mod timeline;
mod vehicle_history;

use self::invariants::{
    acknowledged_data, command_lifecycle, command_replies, consecutive_epochs, deletion,
    error_responses, fenced_writes, grace_period, online_vehicles, queued_commands, response_time,
    webhook_deliveries,
};
use crate::history::record::{History, Moment};
use crate::support::{GRACE, LEASE};

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Its number.
    pub(crate) invariant: u8,
    /// Whom it is about.
    pub(crate) device_id: String,
    /// About when.
    pub(crate) at: Option<Moment>,
    /// What is wrong.
    pub(crate) what: String,
}

impl Violation {
    fn new(invariant: u8, device_id: &str, at: Option<Moment>, what: String) -> Self {
        Self {
            invariant,
            device_id: device_id.to_owned(),
            at,
            what,
        }
    }
}

/// What the invariants are.
pub(crate) fn title(invariant: u8) -> &'static str {
    match invariant {
        0 => "devices and clients are told what the protocol says",
        1 => "what was thanked is stored, once",
        2 => "the logins of a vehicle have distinct, ascending, consecutive epochs",
        3 => {
            "only the session that holds a vehicle writes for it, and nothing of the dead is written"
        }
        4 => "online vehicles are those that are connected, each once",
        5 => "online and offline alternate, and grace is granted",
        6 => "a command is written at most once, in its time, and ends as its caller was told",
        7 => "a command is credited with its own answer",
        8 => "a queued command gives way to a newer one",
        _ => "what happened is told to the endpoint, in order, and nothing else",
    }
}

fn millis(duration: std::time::Duration) -> Moment {
    duration.as_millis().try_into().unwrap()
}

fn lease() -> Moment {
    millis(LEASE)
}

fn grace() -> Moment {
    millis(GRACE)
}

/// Everything that is wrong, the earliest first.
pub(crate) fn violations(history: &History) -> Vec<Violation> {
    let views = vehicle_history::views(history);
    let mut violations = fault_windows::unexpected(history);
    for view in views.values() {
        violations.extend(response_time::check(history, view));
        violations.extend(acknowledged_data::check(history, view));
        violations.extend(consecutive_epochs::check(history, view));
        violations.extend(deletion::check(history, view));
        violations.extend(error_responses::check(history, view));
        violations.extend(fenced_writes::check(view));
        violations.extend(online_vehicles::check(history, view));
        violations.extend(grace_period::check(history, view));
        let matched = command_matching::matched(history, view);
        violations.extend(command_lifecycle::check(history, view, &matched));
        violations.extend(command_replies::check(view, &matched));
        violations.extend(queued_commands::check(view));
        violations.extend(webhook_deliveries::check(history, view));
    }
    violations.extend(fenced_writes::check_instances(history));
    violations.extend(online_vehicles::check_held(history));
    violations.sort_by_key(|violation| violation.at.unwrap_or(Moment::MAX));
    violations
}
