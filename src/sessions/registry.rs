//! The connections and sessions that this instance holds.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use dashmap::{DashMap, Entry};

use super::{connection_handle::Mailbox, session::Session};
use crate::domain::{DeviceId, DisconnectReason, SessionKey, Timestamp};

/// The session was over before it could begin: a newer login, or the vehicle's deletion, came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overtaken(pub DisconnectReason);

/// What this instance knows of one vehicle's sessions.
#[derive(Debug, Default)]
struct Slot {
    session: Option<Arc<Session>>,
    /// Sessions up to this epoch are over, and why: closes one whose login is still on its way.
    over: Option<(i64, DisconnectReason)>,
    /// Logins that are on their way to the store; while there are any, `over` must be kept.
    pending: u32,
}

impl Slot {
    fn is_over(&self, epoch: i64) -> Option<DisconnectReason> {
        self.over
            .filter(|(through, _)| epoch <= *through)
            .map(|(_, reason)| reason)
    }

    fn end_through(&mut self, epoch: i64, reason: DisconnectReason) {
        if self.is_over(epoch).is_none() {
            self.over = Some((epoch, reason));
        }
        if let Some(session) = self.session.take_if(|session| session.key.epoch <= epoch) {
            session.close(reason);
        }
    }
}

/// The connections and sessions of this instance.
#[derive(Debug, Default)]
pub struct Registry {
    slots: DashMap<DeviceId, Slot>,
    connections: DashMap<u64, Arc<Mailbox>>,
    next_connection: AtomicU64,
}

impl Registry {
    /// Takes in a connection, logged in or not, until the guard is dropped.
    pub fn connect(self: &Arc<Self>, mailbox: Arc<Mailbox>) -> ConnectionGuard {
        let id = self.next_connection.fetch_add(1, Ordering::Relaxed);
        self.connections.insert(id, mailbox);
        ConnectionGuard {
            registry: Arc::clone(self),
            id,
        }
    }

    /// How many connections there are, logged in or not.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// How to reach every connection that is there now.
    #[must_use]
    pub fn mailboxes(&self) -> Vec<Arc<Mailbox>> {
        let mailboxes = self.connections.iter();
        mailboxes.map(|mailbox| Arc::clone(&mailbox)).collect()
    }

    /// Notes that a login of this vehicle is on its way to the store.
    pub fn begin_login(&self, device_id: &DeviceId) {
        self.slots.entry(device_id.clone()).or_default().pending += 1;
    }

    /// Notes that a login that was on its way did not happen.
    pub fn abandon_login(&self, device_id: &DeviceId) {
        self.settle_login(device_id, |_| ());
    }

    /// Makes a stored login the vehicle's session here, unless it is over already; sessions with
    /// lower epochs are closed.
    pub fn activate(&self, session: Arc<Session>) -> Result<(), Overtaken> {
        let device_id = session.key.device_id.clone();
        self.settle_login(&device_id, move |slot| {
            let epoch = session.key.epoch;
            if let Some(reason) = slot.is_over(epoch) {
                return Err(Overtaken(reason));
            }
            slot.end_through(epoch - 1, DisconnectReason::Superseded);
            slot.session = Some(session);
            Ok(())
        })
    }

    fn settle_login<T>(&self, device_id: &DeviceId, settle: impl FnOnce(&mut Slot) -> T) -> T {
        let mut entry = self.slots.entry(device_id.clone()).or_default();
        entry.pending = entry.pending.saturating_sub(1);
        let outcome = settle(&mut entry);
        drop(entry);
        self.tidy(device_id);
        outcome
    }

    /// Ends sessions of the vehicle up to `epoch`, also those whose login is still on its way.
    pub fn end_through(&self, device_id: &DeviceId, epoch: i64, reason: DisconnectReason) {
        if let Some(mut slot) = self.slots.get_mut(device_id) {
            slot.end_through(epoch, reason);
        }
        self.tidy(device_id);
    }

    /// Ends this very session; a newer one stays.
    pub fn end_this(&self, session: &Session, reason: DisconnectReason) {
        self.end_through(&session.key.device_id, session.key.epoch, reason);
    }

    /// Whether this instance has a session of the vehicle, or one on its way.
    #[must_use]
    pub fn knows(&self, device_id: &DeviceId) -> bool {
        self.slots.contains_key(device_id)
    }

    /// Removes this very session; a newer one stays.
    pub fn remove(&self, session: &Session) {
        if let Some(mut slot) = self.slots.get_mut(&session.key.device_id) {
            slot.session.take_if(|held| held.key == session.key);
        }
        self.tidy(&session.key.device_id);
        session.close_lanes();
    }

    fn tidy(&self, device_id: &DeviceId) {
        if let Entry::Occupied(slot) = self.slots.entry(device_id.clone())
            && slot.get().session.is_none()
            && slot.get().pending == 0
        {
            slot.remove();
        }
    }

    /// The vehicle's session, if this instance holds it.
    #[must_use]
    pub fn session(&self, device_id: &DeviceId) -> Option<Arc<Session>> {
        self.slots.get(device_id)?.session.clone()
    }

    /// Every session that this instance holds now.
    #[must_use]
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.slots
            .iter()
            .filter_map(|slot| slot.session.clone())
            .collect()
    }

    /// Heartbeats since the last call, with the session they belong to.
    #[must_use]
    pub fn take_heartbeats(&self) -> Vec<(SessionKey, Timestamp)> {
        self.slots
            .iter()
            .filter_map(|slot| {
                let session = slot.session.as_ref()?;
                Some((session.key.clone(), session.take_heartbeat()?))
            })
            .collect()
    }
}

/// Keeps a connection in its [`Registry`].
#[derive(Debug)]
pub struct ConnectionGuard {
    registry: Arc<Registry>,
    id: u64,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.registry.connections.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::sessions::Letter;

    fn session(
        registry: &Registry,
        epoch: i64,
    ) -> (Arc<Session>, Arc<Mailbox>, Result<(), Overtaken>) {
        let mailbox = Arc::new(Mailbox::default());
        let device_id = DeviceId::parse("truck").unwrap();
        let session = Arc::new(Session::new(
            SessionKey { device_id, epoch },
            Arc::clone(&mailbox),
        ));
        registry.begin_login(&session.key.device_id);
        let activated = registry.activate(Arc::clone(&session));
        (session, mailbox, activated)
    }

    fn closed(mailbox: &Mailbox) -> Option<DisconnectReason> {
        match mailbox.poll(&Context::from_waker(Waker::noop())) {
            Poll::Ready(Letter::Close(reason)) => Some(reason),
            Poll::Ready(Letter::Order(_)) | Poll::Pending => None,
        }
    }

    #[test]
    fn the_newest_login_wins_in_whichever_order_logins_are_activated() {
        let registry = Registry::default();
        let (_, older, _) = session(&registry, 1);
        let (newer, mailbox, _) = session(&registry, 3);
        assert_eq!(closed(&older), Some(DisconnectReason::Superseded));
        let (_, _, between) = session(&registry, 2);
        assert_eq!(between, Err(Overtaken(DisconnectReason::Superseded)));
        assert_eq!(closed(&mailbox), None);
        assert_eq!(registry.session(&newer.key.device_id).unwrap().key.epoch, 3);
    }

    #[test]
    fn an_old_session_that_closes_late_does_not_remove_the_new_one() {
        let registry = Registry::default();
        let (older, _, _) = session(&registry, 1);
        let (newer, _, _) = session(&registry, 2);
        registry.remove(&older);
        assert!(registry.session(&newer.key.device_id).is_some());
        registry.remove(&newer);
        assert!(registry.slots.is_empty());
    }

    #[test]
    fn deleting_a_vehicle_ends_also_a_login_on_its_way_but_not_a_later_one() {
        let registry = Registry::default();
        let device_id = DeviceId::parse("truck").unwrap();
        registry.begin_login(&device_id);
        registry.end_through(&device_id, 1, DisconnectReason::Deleted);
        let (_, _, second) = session(&registry, 1);
        assert_eq!(second, Err(Overtaken(DisconnectReason::Deleted)));
        let (_, _, later) = session(&registry, 2);
        assert_eq!(later, Ok(()));
        registry.abandon_login(&device_id);
        assert_eq!(registry.slots.len(), 1);
    }

    #[test]
    fn a_heartbeat_is_taken_once_and_remembered() {
        let registry = Registry::default();
        let (session, _, _) = session(&registry, 1);
        session.heartbeat(Timestamp::from_millis(5));
        assert_eq!(
            registry.take_heartbeats(),
            [(session.key.clone(), Timestamp::from_millis(5))]
        );
        assert_eq!(registry.take_heartbeats(), []);
        assert_eq!(session.last_heartbeat(), Some(Timestamp::from_millis(5)));
    }
}
