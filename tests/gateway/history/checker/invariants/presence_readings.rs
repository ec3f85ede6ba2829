//! Presence readings: the `online` that `GET /vehicles/{deviceId}` returns is one that the vehicle's row had during the
//! request.

use super::Finding;
use crate::history::{
    checker::{
        tolerances::{COMMIT_DELAY, READ_DELAY},
        vehicle_history::VehicleHistory,
    },
    record::Moment,
};

pub(super) fn check(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let changes = &vehicle.session_changes;
    let was_online = |moment: Moment| {
        let last = changes
            .iter()
            .take_while(|change| change.at <= moment)
            .last();
        last.is_some_and(|change| change.session.online)
    };
    let readings = vehicle.run.presence_readings.iter();
    readings
        .filter(|reading| reading.device_id == vehicle.device_id)
        .filter(|reading| {
            let (from, until) = (reading.from - COMMIT_DELAY, reading.until + READ_DELAY);
            let became_so = changes.iter().any(|change| {
                (from..=until).contains(&change.at) && change.session.online == reading.online
            });
            was_online(from) != reading.online && !became_so
        })
        .map(|reading| {
            let what = format!("REST returned online {}, which it was not", reading.online);
            Finding::new(reading.until, what)
        })
        .collect()
}

mod tests {
    use crate::history::checker::{
        Invariant,
        timeline::{Timeline, findings},
    };

    #[test]
    fn a_presence_that_the_database_never_had_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).wait(20_000).read_presence(false);
        assert_eq!(
            findings(&timeline, Invariant::PresenceReadings),
            ["REST returned online false, which it was not"]
        );
    }
}
