//! What must hold of every history, whatever was done to the servers: one file for each invariant.

mod answers;
mod commands;
mod deletion;
mod epochs;
mod excuses;
mod flips;
mod hanging;
mod matching;
mod ownership;
mod presence;
mod queue;
mod reports;
mod story;
mod story_http;
mod story_webhooks;
mod tools;
mod view;
mod webhooks;

use super::record::{History, Moment};
use crate::support::{GRACE, LEASE};

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// Its number.
    pub(super) invariant: u8,
    /// Whom it is about.
    pub(super) device_id: String,
    /// About when.
    pub(super) at: Option<Moment>,
    /// What is wrong.
    pub(super) what: String,
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
pub(super) fn title(invariant: u8) -> &'static str {
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
pub(super) fn violations(history: &History) -> Vec<Violation> {
    let views = view::views(history);
    let mut violations = tools::unexpected(history);
    for view in views.values() {
        violations.extend(hanging::check(history, view));
        violations.extend(reports::check(history, view));
        violations.extend(epochs::check(history, view));
        violations.extend(deletion::check(history, view));
        violations.extend(excuses::check(history, view));
        violations.extend(ownership::check(view));
        violations.extend(presence::check(history, view));
        violations.extend(flips::check(history, view));
        let matched = matching::matched(history, view);
        violations.extend(commands::check(history, view, &matched));
        violations.extend(answers::check(view, &matched));
        violations.extend(queue::check(view));
        violations.extend(webhooks::check(history, view));
    }
    violations.extend(ownership::check_instances(history));
    violations.extend(presence::check_held(history));
    violations.sort_by_key(|violation| violation.at.unwrap_or(Moment::MAX));
    violations
}
