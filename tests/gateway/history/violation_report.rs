//! The report of a violation: what devices, clients, the database, the faults and the gateways' logs say about its
//! vehicle at about that time, in one list by time.

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    checker::Violation,
    record::{Change, History, Moment, RunClock},
};

/// How long before and after the violation the report begins and ends, in milliseconds.
const BEFORE: Moment = 8_000;
const AFTER: Moment = 2_000;
/// The report leaves earlier lines out beyond this number.
const MAX_LINES: usize = 150;

/// The lines of a gateway's log, with their times.
type Log = [(Moment, Value)];
/// A line of a report. Rows at the end of the run have the time `Moment::MAX`.
type Line = (Moment, String);

/// Describes a violation and what happened around it.
pub(super) fn describe(history: &History, log: &Log, violation: &Violation) -> String {
    let invariant = violation.invariant;
    let mut report = format!(
        "{} is violated for {}: {}\n  ({})\n",
        invariant.id(),
        violation.subject,
        violation.what,
        invariant.statement()
    );
    let mut lines = lines(history, log, &violation.subject);
    if let Some(at) = violation.at {
        lines.retain(|(moment, _)| (at - BEFORE..at + AFTER).contains(moment));
    }
    lines.extend(final_rows(history, &violation.subject, &lines));
    let skipped = lines.len().saturating_sub(MAX_LINES);
    if skipped > 0 {
        let _infallible = writeln!(report, "  … {skipped} earlier lines");
    }
    for (at, line) in &lines[skipped..] {
        let _infallible = if *at == Moment::MAX {
            writeln!(report, "            {line}")
        } else {
            writeln!(report, "  {at:>8}  {line}")
        };
    }
    report
}

/// Everything about this vehicle and about the servers, by time.
fn lines(history: &History, log: &Log, device_id: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for observation in history.observations.get(device_id).into_iter().flatten() {
        let (connection, event) = (observation.connection, &observation.event);
        let line = format!("device       #{connection} {event:?}");
        lines.push((observation.at, line));
    }
    for entry in &history.audit {
        let is_about = match &entry.change {
            Change::Session { device_id: id, .. }
            | Change::Stored { device_id: id, .. }
            | Change::Message { device_id: id, .. }
            | Change::Command { device_id: id, .. } => id == device_id,
            Change::Instance { .. } => true,
        };
        if is_about {
            let batch = &entry.batch;
            let line = format!(
                "database     {:?} (batch {} of {})",
                entry.change, batch.number, batch.incarnation
            );
            lines.push((entry.at, line));
        }
    }
    lines.extend(client_lines(history, device_id));
    for window in &history.faults {
        lines.push((window.from, format!("fault        {}", window.fault)));
        lines.push((window.until, format!("end of fault {}", window.fault)));
    }
    for (at, line) in log {
        let is_about = line["device_id"] == device_id
            || (line["device_id"].is_null() && line["level"] != "DEBUG");
        if is_about {
            lines.push((*at, format!("log          {line}")));
        }
    }
    lines.sort_by_key(|(at, _)| *at);
    lines
}

/// What HTTP clients sent and received about this vehicle.
fn client_lines(history: &History, device_id: &str) -> Vec<Line> {
    let commands = history.command_requests.iter();
    let commands = commands
        .filter(|request| request.device_id == device_id)
        .map(|request| {
            let line = format!(
                "http client  {:?} key {:?}: {:?} after {} ms",
                request.sentence,
                request.idempotency_key,
                request.result,
                request.until - request.from
            );
            (request.until, line)
        });
    let others = history.vehicle_requests.iter();
    let others = others
        .filter(|request| request.device_id == device_id)
        .map(|request| {
            let line = format!(
                "http client  {:?}: {:?} after {} ms",
                request.action,
                request.result,
                request.until - request.from
            );
            (request.until, line)
        });
    let readings = history.presence_readings.iter();
    let readings = readings
        .filter(|reading| reading.device_id == device_id)
        .map(|reading| {
            let line = format!("http client  online is {}", reading.online);
            (reading.until, line)
        });
    commands.chain(others).chain(readings).collect()
}

/// The rows at the end of the run: those of the commands that these lines name, and the vehicle's.
fn final_rows(history: &History, device_id: &str, lines: &[Line]) -> Vec<Line> {
    let commands = history.command_rows.iter();
    let commands = commands
        .filter(|row| {
            row.device_id == device_id && lines.iter().any(|(_, line)| line.contains(&row.id))
        })
        .map(|row| (Moment::MAX, format!("at the end   {row:?}")));
    let vehicles = history.vehicle_rows.iter();
    let vehicles = vehicles
        .filter(|row| row.device_id == device_id)
        .map(|row| (Moment::MAX, format!("at the end   {row:?}")));
    commands.chain(vehicles).collect()
}

/// The time of a line of a gateway's log.
pub(super) fn log_moment(clock: RunClock, line: &Value) -> Option<Moment> {
    let at: jiff::Timestamp = line["timestamp"].as_str()?.parse().ok()?;
    Some(clock.moment(at.as_millisecond()))
}

mod tests {
    use super::{
        super::{
            checker::{Invariant, Violation},
            record::{DeviceEvent, History, Observation},
        },
        describe,
    };

    #[test]
    fn a_report_names_the_invariant_and_what_happened_around_it() {
        let observation = |at| Observation {
            at,
            connection: 3,
            event: DeviceEvent::SentReport(at),
        };
        let history = History {
            observations: [(
                "truck-0".to_owned(),
                vec![observation(1_000), observation(9_500)],
            )]
            .into(),
            ..History::default()
        };
        let violation = Violation {
            invariant: Invariant::AcknowledgedData,
            subject: "truck-0".to_owned(),
            at: Some(10_000),
            what: "report 9500 is stored 2 times".to_owned(),
        };
        assert_eq!(
            describe(&history, &[], &violation),
            "acknowledged-data is violated for truck-0: report 9500 is stored 2 times\n  \
             (What a gateway acknowledged was committed before the acknowledgement, as exactly one row.)\n      \
             9500  device       #3 SentReport(9500)\n"
        );
    }
}
