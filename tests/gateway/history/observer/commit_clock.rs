//! The commit clock: a lower bound of the commit time of each audit entry.
//!
//! A trigger runs before the commit, and possibly long before it, so its time does not show that something was
//! committed by then. A second connection therefore polls for the committed entries, on the clock of the devices and
//! clients: an entry that a poll did not return was committed after that poll began.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle, time::sleep};

use super::Observer;
use crate::history::record::{Moment, RunClock};

/// The pause between two polls.
const POLL_INTERVAL: Duration = Duration::from_millis(15);
/// After this many milliseconds, a missing sequence number is taken for one of a transaction that was rolled back.
const ROLLED_BACK_AFTER: Moment = 30_000;

/// The lower bounds of the commit times, by sequence number of the entry.
pub(super) type CommitTimes = BTreeMap<i64, Moment>;

/// A task that polls for committed entries.
pub(crate) struct CommitClock {
    polling: JoinHandle<CommitTimes>,
    stop: watch::Sender<bool>,
}

impl CommitClock {
    pub(crate) fn start(observer: Observer, clock: RunClock) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let polling = tokio::spawn(async move {
            let mut polls = Polls::default();
            while !*stopped.borrow_and_update() {
                let began = clock.now();
                // The database may be down.
                if let Ok(entries) = observer.committed_entries_after(polls.complete_to).await {
                    polls.add(began, entries);
                }
                sleep(POLL_INTERVAL).await;
            }
            polls.commit_times
        });
        Self { polling, stop }
    }

    pub(crate) async fn stop(self) -> CommitTimes {
        self.stop.send_replace(true);
        self.polling.await.unwrap()
    }
}

/// What the polls returned until now.
#[derive(Default)]
struct Polls {
    commit_times: CommitTimes,
    /// When the last poll began.
    last: Moment,
    /// Every entry up to this number was seen, or was rolled back.
    complete_to: i64,
    /// The entries beyond `complete_to` that were seen.
    beyond: BTreeSet<i64>,
    /// Since when the next entry is missing although later ones were seen.
    gap_since: Option<Moment>,
}

impl Polls {
    /// Adds the result of a poll that began at this moment: all committed entries beyond `complete_to`.
    fn add(&mut self, began: Moment, entries: Vec<i64>) {
        for number in entries {
            if self.beyond.insert(number) {
                self.commit_times.insert(number, self.last);
            }
        }
        self.last = began;
        let before = self.complete_to;
        while self.beyond.remove(&(self.complete_to + 1)) {
            self.complete_to += 1;
        }
        if self.complete_to > before || self.beyond.is_empty() {
            self.gap_since = None;
        }
        if let Some(&next) = self.beyond.first()
            && began - *self.gap_since.get_or_insert(began) > ROLLED_BACK_AFTER
        {
            self.complete_to = next - 1;
            self.gap_since = None;
        }
    }
}

mod tests {
    use super::*;

    #[test]
    fn an_entry_is_committed_after_the_last_poll_without_it() {
        let mut polls = Polls::default();
        polls.add(10, vec![1, 3]);
        assert_eq!((polls.complete_to, polls.commit_times[&3]), (1, 0));
        polls.add(20, vec![3]);
        polls.add(30, vec![2, 3, 4]);
        assert_eq!(
            polls.commit_times,
            [(1, 0), (2, 20), (3, 0), (4, 20)].into()
        );
        assert_eq!(polls.complete_to, 4);
    }

    #[test]
    fn a_number_that_stays_missing_counts_as_rolled_back() {
        let mut polls = Polls::default();
        polls.add(10, vec![2, 3]);
        polls.add(ROLLED_BACK_AFTER, vec![2, 3, 5]);
        assert_eq!(polls.complete_to, 0);
        polls.add(ROLLED_BACK_AFTER + 11, vec![2, 3, 5]);
        polls.add(ROLLED_BACK_AFTER + 12, vec![2, 3, 5]);
        assert_eq!(polls.complete_to, 3);
    }
}
