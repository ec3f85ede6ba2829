//! Connection count: the number of device connections that the instances report at the end.

use super::Finding;
use crate::history::record::{DeviceEvent, History};

pub(super) fn check(history: &History) -> Vec<(String, Finding)> {
    let observations = history.observations.values().flatten();
    let alive = observations
        .filter(|observation| observation.event == DeviceEvent::AliveAtEnd)
        .count() as u64;
    if history.connection_count == alive {
        return Vec::new();
    }
    let what = format!(
        "the instances hold {} connections, and {alive} are alive",
        history.connection_count
    );
    vec![("all".to_owned(), Finding::new(None, what))]
}

mod tests {
    use crate::history::checker::{
        Invariant,
        timeline::{Timeline, findings},
    };

    #[test]
    fn a_connection_that_no_device_has_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).log_in(1, 2);
        assert_eq!(
            findings(&timeline, Invariant::ConnectionCount),
            [""; 0],
            "the older connection is closed"
        );
        timeline.history.connection_count = 1;
        assert_eq!(
            findings(&timeline, Invariant::ConnectionCount),
            ["the instances hold 2 connections, and 1 are alive"]
        );
    }
}
