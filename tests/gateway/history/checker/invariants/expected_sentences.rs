//! Expected sentences: a device receives only what the protocol allows at that point. The devices themselves find the
//! others.

use super::Finding;
use crate::history::{checker::vehicle_history::VehicleHistory, record::DeviceEvent};

pub(super) fn check(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let observations = vehicle.observations.iter();
    observations
        .filter_map(|observation| match &observation.event {
            DeviceEvent::UnexpectedSentence(sentence) => {
                let connection = observation.connection;
                let what = format!("connection {connection} received the unexpected {sentence}");
                Some(Finding::new(observation.at, what))
            }
            _ => None,
        })
        .collect()
}

mod tests {
    use crate::history::{
        checker::{
            Invariant,
            timeline::{Timeline, findings},
        },
        record::DeviceEvent,
    };

    #[test]
    fn an_unexpected_sentence_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1);
        timeline.observe(0, DeviceEvent::UnexpectedSentence("PONG.".to_owned()));
        assert_eq!(
            findings(&timeline, Invariant::ExpectedSentences),
            ["connection 0 received the unexpected PONG."]
        );
    }
}
