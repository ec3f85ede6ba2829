//! When what the database notes was committed, at the earliest. A trigger reads the clock before the commit, which may be
//! long after it; so somebody looks again and again what can be seen, on the clock of the devices and clients: what he did
//! not see was committed after he began to look.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle, time::sleep};

use crate::history::observer::Observer;
use crate::history::record::{Clock, Moment};

/// How often he looks, beside the time that it takes.
const PAUSE: Duration = Duration::from_millis(15);
/// After so long a number that nobody has seen is taken for one of a transaction that was rolled back.
const GIVEN_UP: Moment = 30_000;

/// By the number of an entry: it was committed after this.
pub(crate) type Commits = BTreeMap<i64, Moment>;

/// Somebody who looks what is committed.
pub(crate) struct Witness {
    looking: JoinHandle<Commits>,
    over: watch::Sender<bool>,
}

impl Witness {
    pub(crate) fn start(observer: Observer, clock: Clock) -> Self {
        let (over, mut receiver) = watch::channel(false);
        let looking = tokio::spawn(async move {
            let mut view = View::default();
            while !*receiver.borrow_and_update() {
                let began = clock.now();
                // The database may be away.
                if let Ok(seen) = observer.entries_after(view.through).await {
                    view.sees(began, seen);
                }
                sleep(PAUSE).await;
            }
            view.commits
        });
        Self { looking, over }
    }

    pub(crate) async fn stop(self) -> Commits {
        self.over.send_replace(true);
        self.looking.await.unwrap()
    }
}

#[derive(Default)]
struct View {
    commits: Commits,
    /// When he began to look the last time.
    last: Moment,
    /// All up to this are seen, or given up.
    through: i64,
    /// What was seen beyond that.
    beyond: BTreeSet<i64>,
    /// Since when the next one is missing while later ones are there.
    missing: Option<Moment>,
}

impl View {
    /// Of what is beyond `through` this is all that could be seen by somebody who began to look then.
    fn sees(&mut self, began: Moment, seen: Vec<i64>) {
        for number in seen {
            if self.beyond.insert(number) {
                self.commits.insert(number, self.last);
            }
        }
        self.last = began;
        let before = self.through;
        while self.beyond.remove(&(self.through + 1)) {
            self.through += 1;
        }
        if self.through > before || self.beyond.is_empty() {
            self.missing = None;
        }
        if let Some(&next) = self.beyond.first()
            && began - *self.missing.get_or_insert(began) > GIVEN_UP
        {
            self.through = next - 1;
            self.missing = None;
        }
    }
}

mod tests {
    use super::*;

    #[test]
    fn what_was_not_seen_was_committed_after_that_also_out_of_turn() {
        let mut view = View::default();
        view.sees(10, vec![1, 3]);
        assert_eq!((view.through, view.commits[&3]), (1, 0));
        view.sees(20, vec![3]);
        view.sees(30, vec![2, 3, 4]);
        assert_eq!(view.commits, [(1, 0), (2, 20), (3, 0), (4, 20)].into());
        assert_eq!(view.through, 4);
    }

    #[test]
    fn what_was_rolled_back_is_not_looked_for_for_ever() {
        let mut view = View::default();
        view.sees(10, vec![2, 3]);
        view.sees(GIVEN_UP, vec![2, 3, 5]);
        assert_eq!(view.through, 0);
        view.sees(GIVEN_UP + 11, vec![2, 3, 5]);
        view.sees(GIVEN_UP + 12, vec![2, 3, 5]);
        assert_eq!(view.through, 3);
    }
}
