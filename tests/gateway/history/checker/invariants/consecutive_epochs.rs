//! Invariant 2: The committed logins of a vehicle get distinct, consecutive epochs in commit order, and epochs never go
//! back.
//!
//! Logins that share a batch leave one entry, of the last of them: it counts for as many as it adds to the epoch.

use crate::history::checker::Violation;
use crate::history::checker::vehicle_history::View;
use crate::history::record::{Event, History, Moment};

pub(crate) fn check(_history: &History, view: &View<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut wrong =
        |at: Option<Moment>, what| violations.push(Violation::new(2, view.device_id, at, what));
    // Logins that left no entry of their own.
    let mut hidden = 0;
    let mut last = 0;
    for (before, step) in view.changes() {
        last = step.session.epoch;
        if last < before.epoch {
            wrong(
                Some(step.at),
                format!("the epoch goes back from {} to {last}", before.epoch),
            );
        }
        // Of one that was deleted in its batch nothing else is left.
        let is_shown = i64::from(step.session.remote.is_some());
        hidden += (last - before.epoch - is_shown).max(0);
    }
    let row = view.row.map_or(0, |row| row.session.epoch);
    if row != last {
        wrong(
            None,
            format!("the epoch is {row} at the end, and {last} was written last"),
        );
    }
    let (mut hellos, mut greeted) = (0, 0);
    let mut strange = Vec::new();
    for seen in view.seen {
        let login = view
            .epochs
            .get(&seen.connection)
            .and_then(|epoch| view.login(*epoch));
        match (&seen.event, login) {
            (Event::Hello, _) => hellos += 1,
            (Event::Greeted, login) => {
                greeted += 1;
                if login.is_none() {
                    strange.push(seen.connection);
                }
                if login.is_some_and(|login| login.committed_after > seen.at) {
                    wrong(
                        Some(seen.at),
                        format!(
                            "connection {} was greeted before its login was committed",
                            seen.connection
                        ),
                    );
                }
            }
            _ => {}
        }
    }
    if i64::try_from(strange.len()).unwrap() > hidden {
        wrong(
            None,
            format!(
                "connections {strange:?} were greeted without a login of their own, and {hidden} logins are not seen"
            ),
        );
    }
    if !(greeted..=hellos).contains(&row) {
        wrong(
            None,
            format!("the epoch is {row}: {greeted} logins were greeted, of {hellos}"),
        );
    }
    violations
}

mod tests {
    use crate::history::checker::timeline::{Story, address, faults_of, held};
    use crate::history::record::Wish;

    #[test]
    fn logins_that_count_up_are_well_also_several_in_one_batch_and_one_that_was_not_greeted() {
        let mut story = Story::new();
        story.log_in(0, 1);
        story.hello(1).hello(2);
        story.step("A", held("A", 2, 3));
        story.greeted(1).leaves(1).greeted(2).leaves(2);
        story.hello(3).step("B", held("B", 3, 4)).leaves(3);
        story.log_in(4, 5);
        assert_eq!(story.violations(), []);
    }

    #[test]
    fn a_login_that_is_deleted_in_its_batch_is_well() {
        let mut story = Story::new();
        story.log_in(0, 1).leaves(0).hello(1);
        story.session.epoch = 2;
        story.is_deleted().wished(Wish::Delete, 204, "").greeted(1);
        story.leaves(1).log_in(2, 3);
        assert_eq!(story.violations(), []);
    }

    #[test]
    fn an_epoch_that_goes_back_is_found() {
        let mut story = Story::new();
        story.log_in(0, 1).log_in(1, 2).log_in(2, 1);
        assert_eq!(faults_of(&story, 2)[0], "the epoch goes back from 2 to 1");
    }

    #[test]
    fn two_logins_with_one_epoch_are_found() {
        let mut story = Story::new();
        story.log_in(0, 1);
        story.hello(1).greeted(1);
        assert_eq!(
            faults_of(&story, 2),
            [
                "connections [1] were greeted without a login of their own, and 0 logins are not seen",
                "the epoch is 1: 2 logins were greeted, of 2",
            ]
        );
    }

    #[test]
    fn an_epoch_that_nobody_logged_in_for_is_found() {
        let mut story = Story::new();
        story.log_in(0, 2);
        assert_eq!(
            faults_of(&story, 2),
            ["the epoch is 2: 1 logins were greeted, of 1"]
        );
    }

    #[test]
    fn a_greeting_before_the_login_is_committed_is_found() {
        let mut story = Story::new();
        story.hello(0).greeted(0);
        story.step("A", held("A", 0, 1));
        assert_eq!(address(0), "10.0.0.0:1024");
        assert_eq!(
            faults_of(&story, 2),
            ["connection 0 was greeted before its login was committed"]
        );
    }
}
