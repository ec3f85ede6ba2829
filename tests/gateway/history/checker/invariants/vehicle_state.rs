//! Vehicle state: the values and the report interval that a vehicle's row has at the end.

use super::Finding;
use crate::history::{
    checker::vehicle_history::VehicleHistory,
    record::{DeviceEvent, StoredKind},
};

pub(super) fn check(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let wrong = wrong_values(vehicle)
        .into_iter()
        .chain(wrong_interval(vehicle));
    wrong.map(|what| Finding::new(None, what)).collect()
}

/// The row has the values of the last report since the last deletion.
fn wrong_values(vehicle: &VehicleHistory<'_>) -> Option<String> {
    let row = vehicle.row?;
    let deletion = vehicle.deletions().next_back();
    let mut reports = vehicle.stored_changes.iter().rev();
    let last = reports.find(|entry| {
        let is_newer = deletion.is_none_or(|deletion| {
            entry.position > deletion.position || entry.batch == deletion.batch
        });
        entry.kind == StoredKind::Report && is_newer
    });
    let last = last.and_then(|entry| entry.marker);
    (last != row.marker).then(|| {
        format!(
            "the row has the values of report {:?}, and the last report is {last:?}",
            row.marker
        )
    })
}

/// The row has the last interval that the device stated on the connection that is alive at the end: its own, or one to
/// which it agreed.
fn wrong_interval(vehicle: &VehicleHistory<'_>) -> Option<String> {
    let alive = vehicle
        .observations
        .iter()
        .rfind(|observation| observation.event == DeviceEvent::AliveAtEnd)?;
    let mut requested: Vec<Option<u32>> = Vec::new();
    let mut last = None;
    for observation in vehicle.observations {
        if observation.connection != alive.connection {
            continue;
        }
        match &observation.event {
            DeviceEvent::ReceivedCommand { sentence, .. } => requested.push(interval(sentence)),
            DeviceEvent::SentInterval(seconds) => last = Some(*seconds),
            DeviceEvent::SentReply { nth, .. } => {
                last = requested.get(*nth).copied().flatten().or(last);
            }
            _ => {}
        }
    }
    let (row, last) = (vehicle.row?.acknowledged_interval, i64::from(last?));
    (row != Some(last))
        .then(|| format!("the device stated an interval of {last} s last, and the row has {row:?}"))
}

/// The interval in seconds that `KEEP ME POSTED EVERY <s> SECONDS.` asks for.
fn interval(sentence: &str) -> Option<u32> {
    let seconds = sentence.strip_prefix("KEEP ME POSTED EVERY ")?;
    seconds.strip_suffix(" SECONDS.")?.parse().ok()
}

mod tests {
    use crate::history::checker::{
        Invariant,
        timeline::{Timeline, findings},
    };

    #[test]
    fn values_other_than_those_of_the_last_report_violate() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).send_report(0, 1).store_report(1, 1);
        timeline.send_report(0, 7).store_report(7, 1);
        timeline.set_row_report(1);
        assert_eq!(
            findings(&timeline, Invariant::VehicleState),
            ["the row has the values of report Some(1), and the last report is Some(7)"]
        );
    }

    #[test]
    fn an_interval_other_than_the_last_one_violates() {
        const ASK: &str = "KEEP ME POSTED EVERY 60 SECONDS.";
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).send_interval(0, 30);
        assert_eq!(timeline.violations(), []);
        timeline
            .create_command("a", ASK, "sent")
            .receive_command(0, ASK);
        timeline.send_reply(0, 0, "SURE, I WILL!");
        timeline.end_command("a", "done", "SURE, I WILL!");
        assert_eq!(
            findings(&timeline, Invariant::VehicleState),
            ["the device stated an interval of 60 s last, and the row has Some(30)"]
        );
    }
}
