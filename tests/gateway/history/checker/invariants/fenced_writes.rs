//! Invariant 3: A session's write commits only if the row still names this instance and this epoch at that commit;
//! nothing of a dead instance commits after its death was recorded.

use std::collections::BTreeMap;

use crate::history::checker::Violation;
use crate::history::checker::vehicle_history::{Step, Stored, View};
use crate::history::record::{Change, Connection, Event, History, Marker, Session};

/// What one vehicle's rows tell.
pub(crate) fn check(view: &View<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (before, step) in view.changes() {
        if let Some(what) = wrong_step(view, &before, step) {
            violations.push(Violation::new(3, view.device_id, Some(step.at), what));
        }
    }
    let connections = connections(view);
    for stored in &view.stored {
        let connection = stored.marker.and_then(|marker| connections.get(&marker));
        let epoch = connection.and_then(|connection| view.epochs.get(connection));
        if let (Some(marker), Some(&epoch)) = (stored.marker, epoch)
            && let Some(what) = wrong_report(view, stored, marker, epoch)
        {
            violations.push(Violation::new(3, view.device_id, Some(stored.at), what));
        }
    }
    violations
}

/// On which connection each report, each answer that holds one, and each debug blob was sent.
fn connections(view: &View<'_>) -> BTreeMap<Marker, Connection> {
    let seen = view.seen.iter();
    seen.filter_map(|seen| match seen.event {
        Event::Reported(marker)
        | Event::Dumped(marker)
        | Event::Answered {
            marker: Some(marker),
            ..
        } => Some((marker, seen.connection)),
        _ => None,
    })
    .collect()
}

/// What is wrong with a change of a session.
fn wrong_step(view: &View<'_>, before: &Session, step: Step<'_>) -> Option<String> {
    let (after, writer) = (step.session, step.writer.instance.as_str());
    if after.epoch > before.epoch {
        let owner = after.instance.as_deref();
        // Whoever logs in and is gone within one batch leaves no owner.
        let is_own = owner.is_none_or(|owner| owner == writer);
        return (!is_own).then(|| format!("{writer} wrote a login to {owner:?}"));
    }
    match (before.instance.as_deref(), after.instance.as_deref()) {
        (one, other) if one == other => None,
        (_, Some(other)) => Some(format!(
            "the session of epoch {} got the owner {other} without a login",
            after.epoch
        )),
        // Whoever was asked to delete it writes that.
        (Some(_), None) if step.deletes => None,
        (Some(owner), None) => {
            let is_dead = view
                .deaths
                .get(owner)
                .is_some_and(|(place, _)| *place < step.place);
            (owner != writer && !is_dead).then(|| {
                format!(
                    "{writer} ended the session of epoch {}, which {owner} held and was live",
                    after.epoch
                )
            })
        }
        (None, None) => None,
    }
}

/// What is wrong with a report of the session of this epoch.
fn wrong_report(
    view: &View<'_>,
    stored: &Stored<'_>,
    marker: Marker,
    epoch: i64,
) -> Option<String> {
    let owner = view.login(epoch)?.session.instance.as_deref()?;
    if stored.writer.instance != owner {
        return Some(format!(
            "report {marker} of epoch {epoch} was written by {} and received by {owner}",
            stored.writer.instance
        ));
    }
    // In one batch what was first in line is written with what came after it; but what is deleted takes it along.
    let mut deletions = view.deletions();
    let is_deleted = deletions.any(|step| {
        // Its row may show the login that made the vehicle anew at once.
        let is_reborn = step.session.instance.is_some();
        let last = step.session.epoch - i64::from(is_reborn);
        epoch <= last && step.place < stored.place && step.writer != stored.writer
    });
    if is_deleted {
        return Some(format!(
            "report {marker} of epoch {epoch} was written after its vehicle was deleted"
        ));
    }
    let overtaken = view
        .steps
        .iter()
        .find(|step| step.session.epoch > epoch)
        .filter(|next| stored.epoch >= next.session.epoch && next.writer != stored.writer);
    overtaken.map(|next| {
        format!(
            "report {marker} of epoch {epoch} was written after the login of epoch {}",
            next.session.epoch
        )
    })
}

/// Nothing of a dead instance is written, whatever it is about.
pub(crate) fn check_instances(history: &History) -> Vec<Violation> {
    let mut dead = BTreeMap::new();
    let mut violations = Vec::new();
    for audit in &history.audit {
        if let Some(since) = dead.get(audit.writer.instance.as_str()) {
            let device_id = match &audit.change {
                Change::Session { device_id, .. }
                | Change::Stored { device_id, .. }
                | Change::Message { device_id, .. }
                | Change::Command { device_id, .. } => device_id,
                Change::Instance { id, .. } => id,
            };
            violations.push(Violation::new(
                3,
                device_id,
                Some(audit.at),
                format!(
                    "{} wrote {:?} and was dead since {since}",
                    audit.writer.instance, audit.change
                ),
            ));
        }
        if let Change::Instance { id, state, .. } = &audit.change
            && state == "dead"
        {
            dead.insert(id.as_str(), audit.at);
        }
    }
    violations
}

mod tests {
    use crate::history::checker::timeline::{Story, faults_of, held};
    use crate::history::record::Session;

    #[test]
    fn what_the_owner_writes_is_well_and_what_others_do_for_a_dead_one() {
        let mut story = Story::new();
        story.log_in(0, 1).report(0, 1).stored(1, 1).thanked(0, 1);
        story.leaves(0).goes_offline("A", "connection-closed");
        story.log_in(1, 2).report(1, 2);
        // First in line, and in the same batch as the login that ends it.
        story
            .hello(2)
            .step("A", held("A", 2, 3))
            .stored_too("A", 2, 3);
        story.leaves(1).greeted(2);
        story.is("A", "dead").is_given("B", 2_000).leaves(2);
        story.log_in_at("B", 3, 4);
        assert_eq!(story.violations(), []);
    }

    #[test]
    fn a_report_that_is_written_after_the_newer_login_is_found() {
        let mut story = Story::new();
        story.log_in(0, 1).report(0, 1);
        story.log_in_at("B", 1, 2);
        story.stored(1, 2);
        assert_eq!(
            faults_of(&story, 3),
            ["report 1 of epoch 1 was written after the login of epoch 2"]
        );
    }

    #[test]
    fn a_report_that_another_instance_writes_is_found() {
        let mut story = Story::new();
        story.log_in(0, 1).report(0, 1).stored_by("B", 1, 1);
        assert_eq!(
            faults_of(&story, 3),
            ["report 1 of epoch 1 was written by B and received by A"]
        );
    }

    #[test]
    fn an_end_that_another_instance_writes_is_found_while_the_owner_lives() {
        let mut story = Story::new();
        story.log_in(0, 1).leaves(0).is_given("B", 2_000);
        story.log_in(1, 2);
        assert_eq!(
            faults_of(&story, 3),
            ["B ended the session of epoch 1, which A held and was live"]
        );
    }

    #[test]
    fn an_owner_that_comes_without_a_login_is_found() {
        let mut story = Story::new();
        story.log_in(0, 1).goes_offline("A", "goodbye");
        let session = Session {
            online: true,
            instance: Some("B".to_owned()),
            ..story.session.clone()
        };
        story.step("B", session);
        assert_eq!(
            faults_of(&story, 3),
            ["the session of epoch 1 got the owner B without a login"]
        );
    }

    #[test]
    fn what_a_dead_instance_writes_is_found() {
        let mut story = Story::new();
        story.log_in(0, 1).is("A", "dead");
        story.goes_offline("A", "goodbye");
        let found = faults_of(&story, 3);
        assert!(found[0].starts_with("A wrote Session"), "{found:?}");
        assert_eq!(found.len(), 2, "and what it told of that");
    }
}
