//! Compares the sessions of this instance with the vehicles' rows that name it: a peer's notice that it has ended some
//! of them may be lost.

use std::collections::{HashMap, HashSet};

use super::{Cluster, unheld_rows::UnheldRows};
use crate::{
    domain::{DeviceId, DisconnectReason, IncarnationId, SessionKey},
    pacing::DEVICES_PER_WRITE,
    store::{SessionWrite, StoreError},
};

impl Cluster {
    /// Ends the sessions of this instance that their vehicles' rows do not name. With `unheld_rows`, also ends in the
    /// store the sessions that rows name, but that this instance had neither in the previous comparison nor has now.
    pub(super) async fn reconcile(
        &self,
        unheld_rows: Option<&mut UnheldRows>,
    ) -> Result<(), StoreError> {
        // The sessions are read before the rows. A login is stored before the registry has its session, so a session
        // that begins in between does not look stale.
        let sessions = self.registry.sessions();
        let incarnation = self.instance.incarnation();
        let rows = self.rows_of(incarnation).await?;
        // Declared dead meanwhile: then all connections are closed, and a peer ends the sessions.
        if self.instance.incarnation() != incarnation {
            return Ok(());
        }
        for session in sessions {
            if is_stale(&session.key, &rows) {
                self.registry
                    .end_session(&session, DisconnectReason::Superseded);
            }
        }
        let Some(unheld_rows) = unheld_rows else {
            return Ok(());
        };
        let is_held = |device_id: &DeviceId| self.registry.has_session_or_login(device_id);
        let confirmed = unheld_rows.confirm(unheld(rows, is_held));
        let (mut ended, mut result) = (0, Ok(()));
        for session in confirmed {
            tracing::debug!(device_id = %session.device_id, epoch = session.epoch, "stored session has no connection");
            let end = SessionWrite::End {
                reason: DisconnectReason::InstanceLost,
                last_heartbeat: None,
                grace: self.offline_grace.after(DisconnectReason::InstanceLost),
            };
            let write = self.store.write(session, self.store.now(), end);
            if let Err(error) = self.store.settled(write).await {
                result = Err(error);
                break;
            }
            ended += 1;
        }
        if ended > 0 {
            tracing::warn!(
                sessions = ended,
                "stored sessions without a connection ended"
            );
        }
        result
    }

    /// The vehicles whose rows name the incarnation, with the epochs of their sessions.
    async fn rows_of(
        &self,
        incarnation: IncarnationId,
    ) -> Result<HashMap<DeviceId, i64>, StoreError> {
        let mut rows = HashMap::new();
        let mut after = None;
        loop {
            let held = self
                .store
                .sessions_held_by(incarnation, after.as_ref(), DEVICES_PER_WRITE as u64)
                .await?;
            let Some(last) = held.last() else {
                return Ok(rows);
            };
            after = Some(last.device_id.clone());
            rows.extend(held.into_iter().map(|held| (held.device_id, held.epoch)));
        }
    }
}

/// Whether the vehicle has no row that names this session. `rows` has only the rows that name this incarnation.
fn is_stale(session: &SessionKey, rows: &HashMap<DeviceId, i64>) -> bool {
    rows.get(&session.device_id) != Some(&session.epoch)
}

/// The sessions of rows whose vehicles are not held: this instance has neither a session nor a login of them.
fn unheld(
    rows: HashMap<DeviceId, i64>,
    is_held: impl Fn(&DeviceId) -> bool,
) -> HashSet<SessionKey> {
    rows.into_iter()
        .filter(|(device_id, _)| !is_held(device_id))
        .map(|(device_id, epoch)| SessionKey { device_id, epoch })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(id: &str) -> DeviceId {
        DeviceId::parse(id).unwrap()
    }

    fn session(id: &str, epoch: i64) -> SessionKey {
        let device_id = device(id);
        SessionKey { device_id, epoch }
    }

    #[test]
    fn a_session_is_stale_unless_its_row_names_its_epoch() {
        let rows = HashMap::from([(device("truck"), 3)]);
        for (key, expected) in [
            (session("truck", 3), false),
            (session("truck", 2), true),
            (session("truck", 4), true),
            (session("van", 3), true),
        ] {
            assert_eq!(is_stale(&key, &rows), expected, "{key:?}");
        }
    }

    #[test]
    fn rows_are_unheld_if_their_vehicle_is_not_held_at_any_epoch() {
        let rows = HashMap::from([(device("truck"), 3), (device("van"), 1)]);
        let unheld = unheld(rows, |id| *id == device("truck"));
        assert_eq!(unheld, HashSet::from([session("van", 1)]));
    }
}
