//! Dead incarnations: once an incarnation is declared dead, none of its transactions commits, whatever it writes.

use std::collections::BTreeMap;

use super::Finding;
use crate::history::record::{Change, History};

pub(super) fn check(history: &History) -> Vec<(String, Finding)> {
    let mut dead = BTreeMap::new();
    let mut findings = Vec::new();
    for entry in &history.audit {
        let writer = entry.batch.incarnation.as_str();
        if let Some(since) = dead.get(writer) {
            let subject = match &entry.change {
                Change::Session { device_id, .. }
                | Change::Stored { device_id, .. }
                | Change::Message { device_id, .. }
                | Change::Command { device_id, .. } => device_id,
                Change::Instance { id, .. } => id,
            };
            let what = format!(
                "{writer} wrote {:?} and was dead since {since}",
                entry.change
            );
            findings.push((subject.clone(), Finding::new(entry.at, what)));
        }
        if let Change::Instance { id, state, .. } = &entry.change
            && state == "dead"
        {
            dead.insert(id.as_str(), entry.at);
        }
    }
    findings
}

mod tests {
    use crate::history::checker::{
        Invariant,
        timeline::{Timeline, findings},
    };

    #[test]
    fn a_write_of_a_dead_incarnation_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).set_instance_state("A", "dead");
        timeline.go_offline("A", "goodbye");
        let found = findings(&timeline, Invariant::DeadIncarnations);
        assert!(found[0].starts_with("A wrote Session"), "{found:?}");
        assert!(found[1].starts_with("A wrote Message"), "{found:?}");
        assert_eq!(found.len(), 2);
    }
}
