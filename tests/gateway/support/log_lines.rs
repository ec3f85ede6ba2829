//! What a part of a log says in all: its lines by message, and the sums of their numbers.

use std::collections::BTreeMap;

use serde_json::Value;

/// More lines of one message than an operator wants about one cause.
const HANDFUL: usize = 12;

/// Checks that no message has more than a handful of lines at info or above, whatever caused them.
#[track_caller]
pub(crate) fn expect_few_lines(log: &[Value]) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for line in log.iter().filter(|line| line["level"] != "DEBUG") {
        *counts
            .entry(line["message"].as_str().unwrap_or_default())
            .or_default() += 1;
    }
    let many = counts.values().filter(|count| **count > HANDFUL).count();
    assert_eq!(many, 0, "{counts:#?}");
}

/// The sum of a number over the lines with this message at info or above.
#[track_caller]
pub(crate) fn sum(log: &[Value], message: &str, field: &str) -> u64 {
    let lines = log
        .iter()
        .filter(|line| line["message"] == message && line["level"] != "DEBUG");
    lines.map(|line| line[field].as_u64().unwrap()).sum()
}
