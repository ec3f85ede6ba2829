//! The connections and sessions that this instance holds.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use dashmap::{DashMap, Entry};

use super::{connection_handle::ConnectionHandle, session::Session};
use crate::domain::{DeviceId, DisconnectReason, SessionKey, Timestamp};

/// The login was overtaken by a newer login or by the vehicle's deletion: its session has already ended, for this
/// reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overtaken(pub DisconnectReason);

/// The session of one vehicle at this instance, and up to which epoch its sessions have ended.
#[derive(Debug, Default)]
struct VehicleSessions {
    session: Option<Arc<Session>>,
    /// Sessions up to this epoch have ended, for this reason. A session in this range whose login is still being stored
    /// is refused when it is activated.
    ended: Option<(i64, DisconnectReason)>,
    /// Logins that are being stored. While there are any, `ended` must be kept.
    pending_logins: u32,
}

impl VehicleSessions {
    fn ended_for(&self, epoch: i64) -> Option<DisconnectReason> {
        self.ended
            .filter(|(through, _)| epoch <= *through)
            .map(|(_, reason)| reason)
    }

    fn end_through(&mut self, epoch: i64, reason: DisconnectReason) {
        if self.ended_for(epoch).is_none() {
            self.ended = Some((epoch, reason));
        }
        if let Some(session) = self.session.take_if(|session| session.key.epoch <= epoch) {
            session.close(reason);
        }
    }
}

/// The connections and sessions of this instance.
#[derive(Debug, Default)]
pub struct Registry {
    vehicles: DashMap<DeviceId, VehicleSessions>,
    connections: DashMap<u64, Arc<ConnectionHandle>>,
    next_connection: AtomicU64,
}

impl Registry {
    /// Registers a connection, logged in or not, until the guard is dropped.
    pub fn connect(self: &Arc<Self>, handle: Arc<ConnectionHandle>) -> ConnectionGuard {
        let id = self.next_connection.fetch_add(1, Ordering::Relaxed);
        self.connections.insert(id, handle);
        ConnectionGuard {
            registry: Arc::clone(self),
            id,
        }
    }

    /// The number of connections, logged in or not.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// The handles of all connections.
    #[must_use]
    pub fn handles(&self) -> Vec<Arc<ConnectionHandle>> {
        let handles = self.connections.iter();
        handles.map(|handle| Arc::clone(&handle)).collect()
    }

    /// Notes that a login of this vehicle is being stored.
    pub fn begin_login(&self, device_id: &DeviceId) {
        self.vehicles
            .entry(device_id.clone())
            .or_default()
            .pending_logins += 1;
    }

    /// Notes that a login was not stored.
    pub fn abandon_login(&self, device_id: &DeviceId) {
        self.settle_login(device_id, |_| ());
    }

    /// Makes a stored login the vehicle's session here, and closes a session with a lower epoch. Fails if the session
    /// has already ended.
    pub fn activate(&self, session: Arc<Session>) -> Result<(), Overtaken> {
        let device_id = session.key.device_id.clone();
        self.settle_login(&device_id, move |entry| {
            let epoch = session.key.epoch;
            if let Some(reason) = entry.ended_for(epoch) {
                return Err(Overtaken(reason));
            }
            entry.end_through(epoch - 1, DisconnectReason::Superseded);
            entry.session = Some(session);
            Ok(())
        })
    }

    fn settle_login<T>(
        &self,
        device_id: &DeviceId,
        settle: impl FnOnce(&mut VehicleSessions) -> T,
    ) -> T {
        let mut entry = self.vehicles.entry(device_id.clone()).or_default();
        entry.pending_logins = entry.pending_logins.saturating_sub(1);
        let outcome = settle(&mut entry);
        drop(entry);
        self.remove_if_empty(device_id);
        outcome
    }

    /// Ends the vehicle's sessions up to `epoch`, also those whose login is still being stored.
    pub fn end_through(&self, device_id: &DeviceId, epoch: i64, reason: DisconnectReason) {
        if let Some(mut entry) = self.vehicles.get_mut(device_id) {
            entry.end_through(epoch, reason);
        }
        self.remove_if_empty(device_id);
    }

    /// Ends this session and asks its connection to close; a newer session of the vehicle stays.
    pub fn end_session(&self, session: &Session, reason: DisconnectReason) {
        self.end_through(&session.key.device_id, session.key.epoch, reason);
    }

    /// Whether this instance has a session of the vehicle, or a login that is being stored.
    #[must_use]
    pub fn has_session_or_login(&self, device_id: &DeviceId) -> bool {
        self.vehicles.contains_key(device_id)
    }

    /// Removes this session, whose connection is closing already; a newer session of the vehicle stays.
    pub fn remove(&self, session: &Session) {
        if let Some(mut entry) = self.vehicles.get_mut(&session.key.device_id) {
            entry.session.take_if(|held| held.key == session.key);
        }
        self.remove_if_empty(&session.key.device_id);
        session.close_slots();
    }

    fn remove_if_empty(&self, device_id: &DeviceId) {
        if let Entry::Occupied(entry) = self.vehicles.entry(device_id.clone())
            && entry.get().session.is_none()
            && entry.get().pending_logins == 0
        {
            entry.remove();
        }
    }

    /// The vehicle's session, if this instance holds it.
    #[must_use]
    pub fn session(&self, device_id: &DeviceId) -> Option<Arc<Session>> {
        self.vehicles.get(device_id)?.session.clone()
    }

    /// All sessions of this instance.
    #[must_use]
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.vehicles
            .iter()
            .filter_map(|entry| entry.session.clone())
            .collect()
    }

    /// The latest heartbeat of each session that had one since the last call.
    #[must_use]
    pub fn take_heartbeats(&self) -> Vec<(SessionKey, Timestamp)> {
        self.vehicles
            .iter()
            .filter_map(|entry| {
                let session = entry.session.as_ref()?;
                Some((session.key.clone(), session.take_heartbeat()?))
            })
            .collect()
    }
}

/// Keeps a connection in its [`Registry`] until it is dropped.
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
    use crate::sessions::ConnectionEvent;

    fn session(
        registry: &Registry,
        epoch: i64,
    ) -> (Arc<Session>, Arc<ConnectionHandle>, Result<(), Overtaken>) {
        let handle = Arc::new(ConnectionHandle::default());
        let device_id = DeviceId::parse("truck").unwrap();
        let session = Arc::new(Session::new(
            SessionKey { device_id, epoch },
            Arc::clone(&handle),
        ));
        registry.begin_login(&session.key.device_id);
        let activated = registry.activate(Arc::clone(&session));
        (session, handle, activated)
    }

    fn closed(handle: &ConnectionHandle) -> Option<DisconnectReason> {
        match handle.poll(&Context::from_waker(Waker::noop())) {
            Poll::Ready(ConnectionEvent::Close(reason)) => Some(reason),
            Poll::Ready(ConnectionEvent::Write(_)) | Poll::Pending => None,
        }
    }

    #[test]
    fn the_newest_login_wins_whatever_the_order_of_activation() {
        let registry = Registry::default();
        let (_, older, _) = session(&registry, 1);
        let (newer, handle, _) = session(&registry, 3);
        assert_eq!(closed(&older), Some(DisconnectReason::Superseded));
        let (_, _, between) = session(&registry, 2);
        assert_eq!(between, Err(Overtaken(DisconnectReason::Superseded)));
        assert_eq!(closed(&handle), None);
        assert_eq!(registry.session(&newer.key.device_id).unwrap().key.epoch, 3);
    }

    #[test]
    fn removing_an_old_session_keeps_the_new_one() {
        let registry = Registry::default();
        let (older, _, _) = session(&registry, 1);
        let (newer, _, _) = session(&registry, 2);
        registry.remove(&older);
        assert!(registry.session(&newer.key.device_id).is_some());
        registry.remove(&newer);
        assert!(registry.vehicles.is_empty());
    }

    #[test]
    fn a_deletion_ends_a_pending_login_but_not_a_later_one() {
        let registry = Registry::default();
        let device_id = DeviceId::parse("truck").unwrap();
        registry.begin_login(&device_id);
        registry.end_through(&device_id, 1, DisconnectReason::Deleted);
        let (_, _, second) = session(&registry, 1);
        assert_eq!(second, Err(Overtaken(DisconnectReason::Deleted)));
        let (_, _, later) = session(&registry, 2);
        assert_eq!(later, Ok(()));
        registry.abandon_login(&device_id);
        assert_eq!(registry.vehicles.len(), 1);
    }

    #[test]
    fn a_heartbeat_is_taken_once_and_kept() {
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

    #[test]
    fn the_last_heartbeat_never_goes_back() {
        let registry = Registry::default();
        let (session, _, _) = session(&registry, 1);
        session.heartbeat(Timestamp::from_millis(5));
        session.heartbeat(Timestamp::from_millis(4));
        assert_eq!(session.last_heartbeat(), Some(Timestamp::from_millis(5)));
        assert_eq!(
            registry.take_heartbeats(),
            [(session.key.clone(), Timestamp::from_millis(5))]
        );
        session.heartbeat(Timestamp::from_millis(3));
        assert_eq!(registry.take_heartbeats(), []);
    }
}
