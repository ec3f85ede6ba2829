//! Command replies: the reply and the late reply in a command's row are those that the device sent to this command.
//! Replies carry no ids; the gateway matches them in the order in which it wrote the commands of one kind.

use std::collections::BTreeMap;

use super::Finding;
use crate::history::{
    checker::{command_matching::match_commands, vehicle_history::VehicleHistory},
    record::{ConnectionNumber, DeviceEvent, Marker},
};

/// A reply as the device sent it.
struct SentReply<'a> {
    sentence: &'a str,
    marker: Option<Marker>,
}

pub(super) fn check(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let matched = match_commands(vehicle);
    let replies = sent_replies(vehicle);
    let mut findings = Vec::new();
    for row in vehicle.command_rows.values() {
        for reply in [&row.reply, &row.late_reply].into_iter().flatten() {
            let id = &row.id;
            let received = matched.received.get(id);
            let sent =
                received.and_then(|received| replies.get(&(received.connection, received.nth)));
            let what = match (received, sent) {
                (None, _) => format!("{id} has the reply {reply:?}, and no device received it"),
                (_, None) => format!("{id} has the reply {reply:?}, and the device sent none"),
                (_, Some(sent)) if !is_same(reply, sent) => format!(
                    "{id} has the reply {reply:?}, and the device sent {:?}",
                    sent.sentence
                ),
                _ => continue,
            };
            findings.push(Finding::new(row.finished_at, what));
        }
    }
    findings
}

/// The replies of the device, by connection and by the place of their command on it.
fn sent_replies<'v>(
    vehicle: &'v VehicleHistory<'_>,
) -> BTreeMap<(ConnectionNumber, usize), SentReply<'v>> {
    let observations = vehicle.observations.iter();
    observations
        .filter_map(|observation| match &observation.event {
            DeviceEvent::SentReply {
                nth,
                sentence,
                marker,
            } => Some((
                (observation.connection, *nth),
                SentReply {
                    sentence,
                    marker: *marker,
                },
            )),
            _ => None,
        })
        .collect()
}

/// Compares values by their marker: the gateway stores numbers, and may format them in another way.
fn is_same(reply: &str, sent: &SentReply<'_>) -> bool {
    match sent.marker {
        Some(marker) => marker_of(reply) == Some(marker),
        None => reply == sent.sentence,
    }
}

/// The marker in the longitude of `FINE. I'M HERE <lat> <lon>, …`.
fn marker_of(reply: &str) -> Option<Marker> {
    let (_, rest) = reply.split_once("I'M HERE ")?;
    let (place, _) = rest.split_once(',')?;
    let (_, longitude) = place.split_once(' ')?;
    let decimals = longitude
        .split_once('.')
        .map_or("", |(_, decimals)| decimals);
    format!("{decimals:0<9}").parse().ok()
}

mod tests {
    use super::marker_of;
    use crate::history::checker::{
        Invariant,
        timeline::{Timeline, findings},
    };

    const RUN: &str = "HEY YOU, RUN!";

    #[test]
    fn replies_in_the_row_of_their_command_hold_also_late_ones() {
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .run_command("a", 0, 0)
            .run_command("b", 0, 1);
        timeline
            .create_command("c", RUN, "sent")
            .receive_command(0, RUN)
            .set_command_state("c", "no-answer");
        timeline.send_reply(0, 2, "I CAN'T, SORRY.");
        timeline.command_row("c").late_reply = Some("I CAN'T, SORRY.".to_owned());
        timeline
            .create_command("d", RUN, "sent")
            .receive_command(0, RUN)
            .set_command_state("d", "no-answer");
        assert_eq!(timeline.violations(), []);
    }

    #[test]
    fn a_reply_in_the_row_of_another_command_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1);
        timeline
            .create_command("a", RUN, "sent")
            .receive_command(0, RUN)
            .set_command_state("a", "no-answer");
        timeline
            .create_command("b", RUN, "sent")
            .receive_command(0, RUN);
        timeline
            .send_reply(0, 0, "DONE!")
            .end_command("b", "done", "DONE!");
        timeline.send_reply(0, 1, "I CAN'T, SORRY.");
        timeline
            .create_command("c", RUN, "sent")
            .receive_command(0, RUN);
        timeline
            .send_reply(0, 2, "I CAN'T, SORRY.")
            .end_command("c", "done", "DONE!");
        timeline
            .create_command("d", RUN, "sent")
            .end_command("d", "done", "DONE!");
        timeline
            .create_command("e", RUN, "sent")
            .receive_command(0, RUN)
            .end_command("e", "done", "DONE!");
        let found = findings(&timeline, Invariant::CommandReplies);
        assert_eq!(
            found,
            [
                "b has the reply \"DONE!\", and the device sent \"I CAN'T, SORRY.\"",
                "c has the reply \"DONE!\", and the device sent \"I CAN'T, SORRY.\"",
                "d has the reply \"DONE!\", and no device received it",
                "e has the reply \"DONE!\", and the device sent none",
            ]
        );
    }

    #[test]
    fn values_are_compared_as_numbers() {
        let fine = |place| format!("FINE. I'M HERE {place}, RUNNING AND CHARGED AT 3%.");
        assert_eq!(marker_of(&fine("0.01 3.000000003")), Some(3));
        assert_eq!(marker_of(&fine("0.01 120.0000003")), Some(300));
        assert_eq!(marker_of(&fine("1 2")), Some(0));
        assert_eq!(marker_of("DONE!"), None);
    }
}
