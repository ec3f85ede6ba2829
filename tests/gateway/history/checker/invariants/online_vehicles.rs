//! Invariant 4: `online` ⇒ its instance is live, or dead and not yet reaped, or `offline_due` is set. Quiescent for one
//! sweep: live sockets ⇔ online rows, one per vehicle.

use crate::history::checker::Violation;
use crate::history::checker::fault_windows::had_calm;
use crate::history::checker::lease;
use crate::history::checker::vehicle_history::View;
use crate::history::record::{Connection, Event, History, Moment, Seen};

/// What instances may take beyond a lease on a busy machine.
const SLACK: Moment = 5_000;

pub(crate) fn check(history: &History, view: &View<'_>) -> Vec<Violation> {
    let mut violations = at_the_end(view);
    violations.extend(meanwhile(history, view));
    violations
}

/// The one connection that is alive at the end is the session that the row has.
fn at_the_end(view: &View<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut wrong = |what| violations.push(Violation::new(4, view.device_id, None, what));
    let of = |event: &Event| -> Vec<Connection> {
        let seen: Vec<&Seen> = view
            .seen
            .iter()
            .filter(|seen| seen.event == *event)
            .collect();
        seen.iter().map(|seen| seen.connection).collect()
    };
    let alive = of(&Event::Alive);
    for connection in of(&Event::StillOpen) {
        wrong(format!(
            "connection {connection} is forgotten, and the gateway has not closed it"
        ));
    }
    let Some(row) = view.row else {
        if !alive.is_empty() {
            wrong(format!(
                "connections {alive:?} are alive, and there is no such vehicle"
            ));
        }
        return violations;
    };
    let session = &row.session;
    if alive.len() > 1 {
        wrong(format!("connections {alive:?} are alive at once"));
    }
    if session.online != (alive.len() == 1) {
        wrong(format!(
            "online is {} and connections {alive:?} are alive",
            session.online
        ));
    }
    if let Some(due) = session.offline_due {
        wrong(format!(
            "it is due to be offline at {due}, when all is quiet"
        ));
    }
    if session.online != session.instance.is_some() {
        wrong(format!(
            "online is {} and the owner {:?}",
            session.online, session.instance
        ));
    }
    if let Some(owner) = &session.instance
        && view.deaths.contains_key(owner.as_str())
    {
        wrong(format!("its owner {owner} is dead"));
    }
    if let [connection] = alive[..]
        && let Some(&epoch) = view.epochs.get(&connection)
        && epoch != session.epoch
    {
        wrong(format!(
            "connection {connection} of epoch {epoch} is alive, and the row has epoch {}",
            session.epoch
        ));
    }
    violations
}

/// Nobody stays online with a dead instance, or beyond its grace.
fn meanwhile(history: &History, view: &View<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (index, step) in view.steps.iter().enumerate() {
        let next = view
            .steps
            .get(index + 1)
            .map_or(history.end, |next| next.at);
        let session = step.session;
        if let Some(owner) = &session.instance
            && let Some((_, died)) = view.deaths.get(owner.as_str())
        {
            let since = step.at.max(*died);
            if had_calm(history, since, next, lease() + SLACK) {
                violations.push(Violation::new(
                    4,
                    view.device_id,
                    Some(since),
                    format!("it stayed with {owner}, which was dead, until {next}"),
                ));
            }
        }
        if let (true, Some(due)) = (session.online, session.offline_due)
            && had_calm(history, due, next, lease() + SLACK)
        {
            violations.push(Violation::new(
                4,
                view.device_id,
                Some(due),
                format!("it was due to be offline, and stayed online until {next}"),
            ));
        }
    }
    violations.extend(with_the_killed(history, view));
    violations
}

/// Whoever was killed is taken for dead in time. Those that were killed are known by the sessions that stay with them.
fn with_the_killed(history: &History, view: &View<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (id, killed) in &history.killed {
        for (index, step) in view.steps.iter().enumerate() {
            let next = view
                .steps
                .get(index + 1)
                .map_or(history.end, |next| next.at);
            if step.session.instance.as_deref() == Some(id)
                && next > *killed
                && had_calm(history, step.at.max(*killed), next, lease() + SLACK)
            {
                violations.push(Violation::new(
                    4,
                    view.device_id,
                    Some(*killed),
                    format!("it stayed with {id}, which was killed, until {next}"),
                ));
            }
        }
    }
    violations
}

/// The instances hold the connections that are alive, and no others.
pub(crate) fn check_held(history: &History) -> Vec<Violation> {
    let alive = history
        .seen
        .values()
        .flatten()
        .filter(|seen| seen.event == Event::Alive)
        .count() as u64;
    if history.held == alive {
        return Vec::new();
    }
    let what = format!(
        "the instances hold {} connections, and {alive} are alive",
        history.held
    );
    vec![Violation::new(4, "all", None, what)]
}

mod tests {
    use crate::history::checker::timeline::{Story, TRUCK, faults_of};
    use crate::history::record::{Event, Fault, Seen};

    #[test]
    fn one_live_connection_of_the_session_that_the_row_has_is_well() {
        let mut story = Story::new();
        story.log_in(0, 1).leaves(0).log_in_at("B", 1, 2);
        assert_eq!(story.violations(), []);
    }

    #[test]
    fn a_vehicle_that_is_online_without_a_connection_is_found_and_one_that_is_offline_with_one() {
        let mut story = Story::new();
        story.log_in(0, 1).leaves(0);
        assert_eq!(
            faults_of(&story, 4),
            ["online is true and connections [] are alive"]
        );
        let mut story = Story::new();
        story.log_in(0, 1).goes_offline("A", "silent");
        assert_eq!(
            faults_of(&story, 4),
            ["online is false and connections [0] are alive"]
        );
    }

    #[test]
    fn an_older_connection_that_is_alive_is_found() {
        let mut story = Story::new();
        story.log_in(0, 1).log_in(1, 2).leaves(1).alive(Some(0));
        assert_eq!(
            faults_of(&story, 4),
            ["connection 0 of epoch 1 is alive, and the row has epoch 2"]
        );
    }

    #[test]
    fn connections_that_nobody_closes_are_found() {
        let mut story = Story::new();
        story.log_in(0, 1).log_in(1, 2);
        let still_open = Seen {
            at: 900,
            connection: 0,
            event: Event::StillOpen,
        };
        story.history.seen.get_mut(TRUCK).unwrap().push(still_open);
        story.history.held = 1;
        assert_eq!(
            faults_of(&story, 4),
            [
                "connection 0 is forgotten, and the gateway has not closed it",
                "the instances hold 2 connections, and 1 are alive",
            ]
        );
    }

    #[test]
    fn an_end_that_is_due_when_all_is_quiet_is_found_and_one_that_is_overdue() {
        let mut story = Story::new();
        story.log_in(0, 1).leaves(0).is_given("A", 2_000);
        story.passes(12_000).goes_offline("B", "instance-lost");
        assert_eq!(
            faults_of(&story, 4),
            ["it was due to be offline, and stayed online until 12090"]
        );
        let mut story = Story::new();
        story.log_in(0, 1).leaves(0).is_given("A", 2_000);
        assert_eq!(faults_of(&story, 4).len(), 3);
    }

    #[test]
    fn a_vehicle_that_stays_with_a_dead_or_a_killed_instance_is_found_unless_nobody_could_help() {
        let stays = |fault| {
            let mut story = Story::new();
            story.log_in(0, 1);
            story.history.killed.push(("A".to_owned(), 70));
            story.leaves(0).trouble(fault, 20_000);
            story
                .is("A", "dead")
                .is_given("B", 2_000)
                .log_in_at("B", 1, 2);
            faults_of(&story, 4)
        };
        assert_eq!(
            stays(Fault::RedisDown),
            ["it stayed with A, which was killed, until 20090"]
        );
        assert_eq!(stays(Fault::DatabaseDown), [""; 0]);
        let mut story = Story::new();
        story.log_in(0, 1).is("A", "dead").passes(9_000);
        story.leaves(0).is_given("B", 2_000).log_in_at("B", 1, 2);
        assert_eq!(
            faults_of(&story, 4),
            ["it stayed with A, which was dead, until 9090"]
        );
    }
}
