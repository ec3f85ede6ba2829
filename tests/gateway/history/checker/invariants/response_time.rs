//! A device is answered or closed in time: within `store.commit_timeout` whatever the database does, and soon if that is
//! well. Only its instance can leave it without either, by standing still; Redis cannot.

use crate::history::checker::Violation;
use crate::history::checker::fault_windows::{
    instance_of, is_of_database, is_of_instance, longest_without,
};
use crate::history::checker::lease;
use crate::history::checker::vehicle_history::View;
use crate::history::record::{Event, Fault, History, Moment};

/// `store.commit_timeout`, the second that a connection gives the store beyond it, and what a busy machine takes. Whoever
/// gives up has waited for longer.
const CLOSES: Moment = 11_500;

pub(crate) fn check(history: &History, view: &View<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for seen in view.seen {
        let Event::Hung { waited } = seen.event else {
            continue;
        };
        let from = seen.at - waited;
        let epoch = view.epochs.get(&seen.connection);
        let login = epoch.and_then(|epoch| view.login(*epoch));
        let owner = login.and_then(|login| login.session.instance.as_deref());
        // Whose login was not stored may be with any of them.
        let may_have_it = match owner.and_then(|life| instance_of(history, life)) {
            Some(index) => index..index + 1,
            None => 0..history.instances.max(1),
        };
        let has_no_excuse = |index| {
            let stands_still = |fault: Fault| is_of_instance(fault, index);
            let is_stuck = |fault: Fault| stands_still(fault) || is_of_database(fault);
            longest_without(history, stands_still, from, seen.at) > CLOSES
                || longest_without(history, is_stuck, from, seen.at) > recovery()
        };
        if may_have_it.into_iter().all(has_no_excuse) {
            violations.push(Violation::new(
                0,
                view.device_id,
                Some(seen.at),
                format!(
                    "connection {} was neither answered nor closed for {waited} ms, which nothing explains",
                    seen.connection
                ),
            ));
        }
    }
    violations
}

/// How long a gateway may take to go on once its database is back: it tries again every second or two, and the server ends
/// what others have left half done within a third of a lease.
fn recovery() -> Moment {
    2 * lease()
}

mod tests {
    use crate::history::checker::timeline::{Story, faults_of};
    use crate::history::record::Fault;

    fn waits_over(fault: Fault, length: i64, then: i64) -> Vec<String> {
        let mut story = Story::new();
        story.log_in(0, 1).report(0, 1);
        story.trouble(fault, length).passes(then);
        story.hangs(0, length + then).log_in(1, 2);
        faults_of(&story, 0)
    }

    #[test]
    fn a_device_whose_instance_stands_still_may_wait_and_no_longer_than_it_has_to() {
        assert_eq!(waits_over(Fault::Pause(0), 6_500, 5_500), [""; 0]);
        assert_eq!(waits_over(Fault::Pause(0), 5_500, 6_500).len(), 1);
    }

    #[test]
    fn a_database_that_is_away_explains_no_wait_beyond_the_close() {
        assert_eq!(
            waits_over(Fault::DatabaseDown, 12_000, 0),
            ["connection 0 was neither answered nor closed for 12000 ms, which nothing explains"]
        );
        assert_eq!(waits_over(Fault::RedisDown, 12_000, 0).len(), 1);
        // It goes on, and then cannot store what it has read.
        let mut story = Story::new();
        story.log_in(0, 1).report(0, 1);
        story.trouble(Fault::Pause(0), 2_000);
        story.trouble(Fault::DatabasePause, 10_000);
        story.hangs(0, 12_000).log_in(1, 2);
        assert_eq!(faults_of(&story, 0), [""; 0]);
    }

    #[test]
    fn a_device_that_was_not_greeted_may_be_with_any_instance() {
        let mut story = Story::new();
        story.history.instances = 2;
        story.hello(0).trouble(Fault::Pause(1), 12_000);
        story.hangs(0, 12_000).log_in(1, 1);
        assert_eq!(faults_of(&story, 0), [""; 0]);
        story.hello(2).hangs(2, 12_000).log_in(3, 2);
        story.history.troubles.clear();
        assert_eq!(faults_of(&story, 0).len(), 2);
    }
}
