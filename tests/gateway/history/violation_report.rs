//! A violation for people: what happened to that vehicle at about that time, in order, from all who noted it.

use std::fmt::Write as _;

use serde_json::Value;

use crate::history::checker::{Violation, title};
use crate::history::record::{Change, Clock, History, Moment};

/// How long before and after the violation.
const BEFORE: Moment = 8_000;
const AFTER: Moment = 2_000;
/// The most lines of it.
const MOST: usize = 150;

/// All that was noted about this vehicle, and about the servers, in order.
fn lines(history: &History, log: &[(Moment, Value)], device_id: &str) -> Vec<(Moment, String)> {
    let mut lines = Vec::new();
    for seen in history.seen.get(device_id).into_iter().flatten() {
        let line = format!("device       #{} {:?}", seen.connection, seen.event);
        lines.push((seen.at, line));
    }
    for audit in &history.audit {
        let is_about = match &audit.change {
            Change::Session { device_id: id, .. }
            | Change::Stored { device_id: id, .. }
            | Change::Message { device_id: id, .. }
            | Change::Command { device_id: id, .. } => id == device_id,
            Change::Instance { .. } => true,
        };
        if is_about {
            let writer = &audit.writer;
            let line = format!(
                "database     {:?} (batch {} of {})",
                audit.change, writer.batch, writer.instance
            );
            lines.push((audit.at, line));
        }
    }
    for request in history
        .requests
        .iter()
        .filter(|request| request.device_id == device_id)
    {
        let line = format!(
            "http client  {:?} key {:?}: {:?} after {} ms",
            request.sentence,
            request.key,
            request.told,
            request.until - request.from
        );
        lines.push((request.until, line));
    }
    for errand in history
        .errands
        .iter()
        .filter(|errand| errand.device_id == device_id)
    {
        let line = format!(
            "http client  {:?}: {:?} after {} ms",
            errand.wish,
            errand.told,
            errand.until - errand.from
        );
        lines.push((errand.until, line));
    }
    for polled in history
        .polled
        .iter()
        .filter(|polled| polled.device_id == device_id)
    {
        lines.push((
            polled.until,
            format!("http client  online is {}", polled.online),
        ));
    }
    for trouble in &history.troubles {
        lines.push((trouble.from, format!("trouble      {}", trouble.what)));
        lines.push((trouble.until, format!("trouble over {}", trouble.what)));
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

/// Tells of a violation and what led to it.
pub(crate) fn tell(history: &History, log: &[(Moment, Value)], violation: &Violation) -> String {
    let mut told = format!(
        "invariant {} ({}) does not hold for {}: {}\n",
        violation.invariant,
        title(violation.invariant),
        violation.device_id,
        violation.what
    );
    let mut lines = lines(history, log, &violation.device_id);
    if let Some(at) = violation.at {
        lines.retain(|(moment, _)| (at - BEFORE..at + AFTER).contains(moment));
    }
    for row in &history.commands {
        let is_about = row.device_id == violation.device_id
            && lines.iter().any(|(_, line)| line.contains(&row.id));
        if is_about {
            lines.push((Moment::MAX, format!("in the end   {row:?}")));
        }
    }
    for row in &history.vehicles {
        if row.device_id == violation.device_id {
            lines.push((Moment::MAX, format!("in the end   {row:?}")));
        }
    }
    let skipped = lines.len().saturating_sub(MOST);
    if skipped > 0 {
        let _infallible = writeln!(told, "  … {skipped} lines before");
    }
    for (at, line) in &lines[skipped..] {
        let _infallible = if *at == Moment::MAX {
            writeln!(told, "            {line}")
        } else {
            writeln!(told, "  {at:>8}  {line}")
        };
    }
    told
}

/// When a line of a gateway's log was written.
pub(crate) fn moment_of(clock: Clock, line: &Value) -> Option<Moment> {
    let at: jiff::Timestamp = line["timestamp"].as_str()?.parse().ok()?;
    Some(clock.at(at.as_millisecond()))
}
