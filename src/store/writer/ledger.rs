//! Which batches of this incarnation are stored, by the number that the database has in its row.
//!
//! A COMMIT whose answer is lost may or may not have happened, and the server that is asked next may not have applied
//! yet what another one has acknowledged. So an unknown batch is never taken for lost because of what a look-up
//! returns: the next batch is only written where the row still has the last known number. If it has the number of an
//! unknown batch, that one is stored, and its requests are not written again.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::batch::SideEffects;

/// How long a database may show an older number than one that it has acknowledged before it counts as lost: a server
/// that trails the others catches up, one that has taken the place of a primary does not.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(3);

/// What an incarnation knows of its batches.
#[derive(Debug, Default)]
pub(super) struct BatchLedger {
    /// The number of the newest attempt.
    newest: i64,
    /// The number of the newest batch that is known to be stored; 0 if there is none.
    stored: i64,
    /// The attempts since then whose COMMIT was not answered, with the side effects that they have if they are stored.
    unknown: Vec<(i64, SideEffects)>,
    /// Since when the database has shown an older number than `stored`.
    behind_since: Option<Instant>,
}

/// What the number in the database's row means.
#[derive(Debug)]
pub(super) enum LedgerEntry {
    /// The newest batch that is known to be stored: no unknown one is, as far as this server knows.
    Known,
    /// An attempt whose COMMIT was not answered is stored.
    Stored { number: i64, effects: SideEffects },
    /// An older batch: this server may catch up.
    Behind,
    /// The database has lost so many batches that it had acknowledged. This is now the newest one known.
    Lost(i64),
    /// A batch that was not known to be stored, because the database had lost it before, is there again.
    Back,
}

impl BatchLedger {
    /// Takes the number of the next attempt.
    pub(super) fn next_number(&mut self) -> i64 {
        self.newest += 1;
        self.newest
    }

    /// The number of the newest batch that is known to be stored.
    pub(super) fn stored(&self) -> i64 {
        self.stored
    }

    /// Notes that an attempt is stored: no other one since the last known batch is.
    pub(super) fn note_stored(&mut self, number: i64) {
        self.stored = number;
        self.unknown.clear();
        self.behind_since = None;
    }

    /// Notes that the COMMIT of an attempt was not answered.
    pub(super) fn note_unknown(&mut self, number: i64, effects: SideEffects) {
        self.unknown.push((number, effects));
    }

    /// Interprets the number that the database has now.
    pub(super) fn read(&mut self, number: i64, now: Instant) -> LedgerEntry {
        if number == self.stored {
            self.behind_since = None;
            return LedgerEntry::Known;
        }
        let unknown = self.unknown.iter().position(|(known, _)| *known == number);
        if let Some(index) = unknown {
            let (_, effects) = self.unknown.swap_remove(index);
            self.note_stored(number);
            return LedgerEntry::Stored { number, effects };
        }
        if number > self.stored {
            self.note_stored(number);
            return LedgerEntry::Back;
        }
        let since = *self.behind_since.get_or_insert(now);
        if now - since < CATCH_UP_TIMEOUT {
            return LedgerEntry::Behind;
        }
        let lost = self.stored - number;
        self.note_stored(number);
        LedgerEntry::Lost(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ledger in which batch 1 is stored, and 2 and 3 are unknown.
    fn ledger() -> BatchLedger {
        let mut ledger = BatchLedger::default();
        for _ in 0..3 {
            ledger.next_number();
        }
        ledger.note_stored(1);
        ledger.note_unknown(2, SideEffects::default());
        ledger.note_unknown(3, SideEffects::default());
        ledger
    }

    #[test]
    fn the_number_of_an_unknown_batch_proves_that_it_is_stored() {
        let mut ledger = ledger();
        let entry = ledger.read(2, Instant::now());
        assert!(matches!(entry, LedgerEntry::Stored { number: 2, .. }));
        assert_eq!(ledger.stored(), 2);
        assert!(matches!(ledger.read(2, Instant::now()), LedgerEntry::Known));
    }

    #[test]
    fn the_last_known_number_proves_nothing_about_unknown_batches() {
        let mut ledger = ledger();
        assert!(matches!(ledger.read(1, Instant::now()), LedgerEntry::Known));
        let entry = ledger.read(3, Instant::now());
        assert!(matches!(entry, LedgerEntry::Stored { number: 3, .. }));
    }

    #[test]
    fn an_older_number_is_a_loss_only_if_it_lasts() {
        let (mut ledger, start) = (ledger(), Instant::now());
        assert!(matches!(ledger.read(0, start), LedgerEntry::Behind));
        // It catches up and falls behind again.
        assert!(matches!(ledger.read(1, start), LedgerEntry::Known));
        let later = start + CATCH_UP_TIMEOUT;
        assert!(matches!(ledger.read(0, later), LedgerEntry::Behind));
        let lost = ledger.read(0, later + CATCH_UP_TIMEOUT);
        assert!(matches!(lost, LedgerEntry::Lost(1)));
        assert_eq!(ledger.next_number(), 4, "a number is used once");
    }

    #[test]
    fn a_lost_batch_may_come_back() {
        let (mut ledger, start) = (ledger(), Instant::now());
        ledger.read(0, start);
        ledger.read(0, start + CATCH_UP_TIMEOUT);
        assert!(matches!(ledger.read(3, start), LedgerEntry::Back));
        assert_eq!(ledger.stored(), 3);
    }
}
