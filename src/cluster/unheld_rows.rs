//! Finds unheld rows: vehicles' rows that name a session at this instance which it does not have. Pure.

use std::collections::HashSet;

use crate::domain::SessionKey;

/// The unheld rows that the previous comparison of rows with sessions found.
#[derive(Debug, Default)]
pub(super) struct UnheldRows(HashSet<SessionKey>);

impl UnheldRows {
    /// Notes the unheld rows of a comparison, and returns those that were unheld in the previous one too. A row that is
    /// unheld only once may be that of a session whose end is still on its way to the store.
    pub(super) fn confirm(&mut self, unheld: HashSet<SessionKey>) -> Vec<SessionKey> {
        let confirmed = unheld.intersection(&self.0).cloned().collect();
        self.0 = unheld;
        confirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DeviceId;

    fn row(device_id: &str, epoch: i64) -> SessionKey {
        let device_id = DeviceId::parse(device_id).unwrap();
        SessionKey { device_id, epoch }
    }

    #[test]
    fn a_row_is_confirmed_if_it_is_unheld_twice_in_a_row() {
        let mut rows = UnheldRows::default();
        assert_eq!(rows.confirm([row("truck", 1), row("van", 1)].into()), []);
        assert_eq!(
            rows.confirm([row("truck", 1), row("van", 2)].into()),
            [row("truck", 1)]
        );
        assert_eq!(rows.confirm([].into()), []);
        assert_eq!(rows.confirm([row("van", 2)].into()), []);
    }
}
