//! What devices do: connect, log in, report and disconnect.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use uuid::Uuid;

use super::{
    connection_handle::ConnectionHandle,
    offline_grace::OfflineGrace,
    registry::{ConnectionGuard, Overtaken, Registry},
    session::Session,
};
use crate::{
    domain::{Action, DeviceId, DisconnectReason, ReportInterval, SessionKey, VehicleState},
    log_throttle::LogThrottle,
    pacing,
    store::{Login, PendingWrite, SessionWrite, Store, StoreError, Written},
};

static UNSTORED_ENDS: LogThrottle = LogThrottle::every(Duration::from_secs(10), |sessions| {
    tracing::error!(sessions, "session end not stored");
});

/// The device connections and sessions of this instance.
#[derive(Debug)]
pub struct Sessions {
    store: Arc<Store>,
    registry: Arc<Registry>,
    offline_grace: OfflineGrace,
}

/// What waited for a login and is to be sent to the new session.
#[derive(Debug)]
pub struct LoginBacklog {
    /// The report interval that an operator asked for.
    pub desired: Option<ReportInterval>,
    /// Commands that waited for the login, oldest first.
    pub queued: Vec<(Uuid, Action)>,
}

/// Why a login failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoginError {
    /// A newer login or the vehicle's deletion came first.
    #[error("overtaken: {}", .0.0)]
    Overtaken(Overtaken),
    /// The login could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A login that succeeded.
#[derive(Debug)]
pub struct LoggedIn {
    /// The new session.
    pub session: Arc<Session>,
    /// What waited for the login and has to be sent to the session.
    pub backlog: LoginBacklog,
}

impl Sessions {
    /// Keeps sessions in `registry` and `store`. `offline_grace` says how long a vehicle whose session ends stays
    /// online.
    #[must_use]
    pub fn new(store: Arc<Store>, registry: Arc<Registry>, offline_grace: OfflineGrace) -> Self {
        Self {
            store,
            registry,
            offline_grace,
        }
    }

    /// The current incarnation of this instance, which devices see as `serverId`.
    #[must_use]
    pub fn incarnation(&self) -> Uuid {
        self.store.incarnation().borrow().as_uuid()
    }

    /// Whether the database commits, so that what happens to sessions now is stored.
    #[must_use]
    pub fn are_stored(&self) -> bool {
        self.store.is_committing()
    }

    /// Registers a device connection, which `handle` reaches, until the guard is dropped.
    pub fn connect(&self, handle: Arc<ConnectionHandle>) -> ConnectionGuard {
        self.registry.connect(handle)
    }

    /// The number of device connections of this instance, logged in or not.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.registry.connections()
    }

    /// Closes all device connections at once. Reports that are not stored yet are lost.
    pub fn close_connections(&self, reason: DisconnectReason) {
        for handle in self.registry.handles() {
            handle.close(reason);
        }
    }

    /// Closes all device connections, spread over `time`, so that the vehicles do not all reconnect to other instances
    /// at once.
    pub async fn release_connections(&self, reason: DisconnectReason, time: Duration) {
        let connections = self.registry.handles();
        let mut ticks = tokio::time::interval(pacing::TICK);
        for batch in connections.chunks(pacing::batch_size(connections.len(), time)) {
            ticks.tick().await;
            for handle in batch {
                handle.close(reason);
            }
        }
    }

    /// Sends a login to the store. The result of the pending write must be passed to [`Sessions::finish_login`].
    pub fn begin_login(&self, device_id: DeviceId, remote: SocketAddr) -> PendingWrite<Login> {
        self.registry.begin_login(&device_id);
        self.store.log_in(device_id, remote, self.store.now())
    }

    /// Makes a stored login the vehicle's session on this instance, and closes an older session.
    pub fn finish_login(
        &self,
        device_id: DeviceId,
        stored: Result<Login, StoreError>,
        handle: Arc<ConnectionHandle>,
    ) -> Result<LoggedIn, LoginError> {
        let login = stored.inspect_err(|_| self.registry.abandon_login(&device_id))?;
        let session = Arc::new(Session::new(
            SessionKey {
                device_id,
                epoch: login.epoch,
            },
            handle,
        ));
        self.registry
            .activate(Arc::clone(&session))
            .map_err(LoginError::Overtaken)?;
        Ok(LoggedIn {
            session,
            backlog: LoginBacklog {
                desired: login.desired,
                queued: login.queued,
            },
        })
    }

    /// Stores a report and the vehicle's state.
    pub fn report(&self, session: &Session, state: VehicleState) -> PendingWrite<Written> {
        self.write(session, SessionWrite::Report(state))
    }

    /// Stores a crash dump.
    pub fn debug_blob(&self, session: &Session, content: Bytes) -> PendingWrite<Written> {
        self.write(session, SessionWrite::DebugBlob(content))
    }

    /// Stores the report interval that the vehicle confirmed.
    pub fn acknowledge_interval(
        &self,
        session: &Session,
        interval: ReportInterval,
    ) -> PendingWrite<Written> {
        self.write(session, SessionWrite::KeepMePosted(interval))
    }

    /// Notes that the vehicle is alive, in memory; the next flush stores it.
    pub fn heartbeat(&self, session: &Session) {
        session.heartbeat(self.store.now());
    }

    /// Removes a session from this instance, before its socket is shut down; a newer one of the vehicle stays.
    pub fn leave(&self, session: &Session) {
        self.registry.remove(session);
    }

    /// Sends the end of a session to the store. The pending write must be passed to [`Sessions::finish_end`].
    pub fn begin_end(&self, session: &Session, reason: DisconnectReason) -> PendingWrite<Written> {
        self.leave(session);
        let last_heartbeat = session.last_heartbeat();
        self.write(
            session,
            SessionWrite::End {
                reason,
                last_heartbeat,
                grace: self.offline_grace.after(reason),
            },
        )
    }

    /// Waits until the end of a session is stored, and retries while the database is unavailable: otherwise its vehicle
    /// would stay online. Returns early only when the store is closed.
    pub async fn finish_end(
        &self,
        session: &Session,
        reason: DisconnectReason,
        mut write: PendingWrite<Written>,
    ) {
        loop {
            match write.await {
                // Stale: the vehicle has a newer session or is deleted. Fenced: the instance that took over ends the
                // session.
                Ok(Written::Stored | Written::Stale) | Err(StoreError::Fenced) => return,
                // The store has retried for store.commit_timeout, so no pause is needed here.
                Err(StoreError::Unavailable) => write = self.begin_end(session, reason),
                Err(error) => {
                    let device_id = &session.key.device_id;
                    if let Some(sessions) = UNSTORED_ENDS.admit() {
                        tracing::error!(%device_id, %error, sessions, "session end not stored");
                    } else {
                        tracing::debug!(%device_id, %error, "session end not stored");
                    }
                    return;
                }
            }
        }
    }

    fn write(&self, session: &Session, write: SessionWrite) -> PendingWrite<Written> {
        self.store
            .write(session.key.clone(), self.store.now(), write)
    }
}
