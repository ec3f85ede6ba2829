//! What devices do: connect, log in, report, leave.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use uuid::Uuid;

use super::{
    connection_handle::Mailbox,
    offline_grace::OfflineGrace,
    registry::{ConnectionGuard, Overtaken, Registry},
    session::Session,
};
use crate::{
    domain::{Action, DeviceId, DisconnectReason, ReportInterval, SessionKey, VehicleState},
    pacing,
    store::{Login, PendingWrite, SessionWrite, Store, StoreError, Written},
};

/// The device connections and sessions of this instance.
#[derive(Debug)]
pub struct Sessions {
    store: Arc<Store>,
    registry: Arc<Registry>,
    offline_grace: OfflineGrace,
}

/// What is to be sent because a vehicle logged in.
#[derive(Debug)]
pub struct DueAtLogin {
    /// The report interval that an operator wants.
    pub desired: Option<ReportInterval>,
    /// Commands that waited for the login, oldest first.
    pub queued: Vec<(Uuid, Action)>,
}

/// A login that came to nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoginError {
    /// A newer login or the vehicle's deletion came first.
    #[error("overtaken: {}", .0.0)]
    Overtaken(Overtaken),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A session that has begun.
#[derive(Debug)]
pub struct LoggedIn {
    /// The session.
    pub session: Arc<Session>,
    /// What is to be sent to it.
    pub due: DueAtLogin,
}

impl Sessions {
    /// The sessions in `registry`, stored in `store`. Those that end get `offline_grace`.
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
        *self.store.incarnation().borrow()
    }

    /// Counts a device connection in until the guard is dropped; `mailbox` reaches it.
    pub fn connect(&self, mailbox: Arc<Mailbox>) -> ConnectionGuard {
        self.registry.connect(mailbox)
    }

    /// How many device connections this instance holds, logged in or not.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.registry.connections()
    }

    /// Closes every device connection at once. What is not stored never will be.
    pub fn close_connections(&self, reason: DisconnectReason) {
        for mailbox in self.registry.mailboxes() {
            mailbox.close(reason);
        }
    }

    /// Asks every device connection to close, a few at a time but all of them within `time`: vehicles that
    /// come back elsewhere at once are a load that nobody needs.
    pub async fn release_connections(&self, reason: DisconnectReason, time: Duration) {
        let connections = self.registry.mailboxes();
        let mut ticks = tokio::time::interval(pacing::TICK);
        for some in connections.chunks(pacing::a_tick(connections.len(), time)) {
            ticks.tick().await;
            for mailbox in some {
                mailbox.close(reason);
            }
        }
    }

    /// Sends a login to the store. Whatever becomes of the ticket goes to [`Sessions::finish_login`].
    pub fn begin_login(&self, device_id: DeviceId, remote: SocketAddr) -> PendingWrite<Login> {
        self.registry.begin_login(&device_id);
        self.store.log_in(device_id, remote, self.store.now())
    }

    /// Makes a stored login the vehicle's session on this instance; older sessions are closed.
    pub fn finish_login(
        &self,
        device_id: DeviceId,
        stored: Result<Login, StoreError>,
        mailbox: Arc<Mailbox>,
    ) -> Result<LoggedIn, LoginError> {
        let login = stored.inspect_err(|_| self.registry.abandon_login(&device_id))?;
        let session = Arc::new(Session::new(
            SessionKey {
                device_id,
                epoch: login.epoch,
            },
            mailbox,
        ));
        self.registry
            .activate(Arc::clone(&session))
            .map_err(LoginError::Overtaken)?;
        Ok(LoggedIn {
            session,
            due: DueAtLogin {
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

    /// Stores the interval that the vehicle says it keeps.
    pub fn acknowledge_interval(
        &self,
        session: &Session,
        interval: ReportInterval,
    ) -> PendingWrite<Written> {
        self.write(session, SessionWrite::KeepMePosted(interval))
    }

    /// Notes that the vehicle is alive; it reaches the store with the next flush.
    pub fn heartbeat(&self, session: &Session) {
        session.heartbeat(self.store.now());
    }

    /// Takes a session off this instance, before its socket is shut; a newer one stays.
    pub fn leave(&self, session: &Session) {
        self.registry.remove(session);
    }

    /// Sends the end of a session to the store. Whatever becomes of the ticket goes to
    /// [`Sessions::finish_end`].
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

    /// Stores that a session is over, however long it takes: while the database is away its vehicle
    /// would otherwise stay online for ever. Gives up only when the store is closed.
    pub async fn finish_end(
        &self,
        session: &Session,
        reason: DisconnectReason,
        mut ticket: PendingWrite<Written>,
    ) {
        loop {
            match ticket.await {
                // Stale: the vehicle has a newer session, or is deleted, and that is the truth.
                // Fenced: whoever may write now has ended it.
                Ok(Written::Stored | Written::Stale) | Err(StoreError::Fenced) => return,
                // The store has tried for its whole time-out; no pause is needed.
                Err(StoreError::Unavailable) => ticket = self.begin_end(session, reason),
                Err(error) => {
                    let device_id = &session.key.device_id;
                    tracing::error!(%device_id, %error, "the end of a session is not stored");
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
