//! Commands to vehicles: how they are submitted, delivered and ended.
//!
//! A command takes a place at a reply slot of the session that holds its vehicle. When the slot is its own, the session
//! claims the command in the store, and only then writes it to the socket: so a command is written at most once, and a
//! crash between the two leaves it unwritten. Usually the slot is free, and one commit stores and claims the command.
//! Another commit ends it: with the vehicle's answer, the end of the session, or a deadline.
//!
//! | File | What it does |
//! |---|---|
//! | `admission` | says whether a request may be stored, and gives it a place at a reply slot |
//! | `submit` | decides which instance executes a request, and stores the command |
//! | `delivery` | brings a stored command to its vehicle and to its end |
//! | `remote` | has another instance, which holds the vehicle, execute a request |
//! | `on_login` | sends the commands that waited for a login |
//! | `broadcast` | sends a command to all vehicles |
//! | `fifo` | keeps the order of commands across reconnects |
//! | `store` | the store as commands use it |

mod admission;
mod broadcast;
mod delivery;
mod fifo;
mod on_login;
mod remote;
mod store;
mod submit;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use crate::{
    cluster::Peers,
    domain::{Action, Answer, DeviceId, IncarnationId},
    fanout::Fanout,
    instance::Instance,
    sessions::{OfflineGrace, Registry, Session},
    store::{PendingWrite, SessionWrite, Store, Written},
};
use fifo::PendingOrder;
use store::CommandStore;

pub use broadcast::{Broadcast, BroadcastError};

/// Requests that may be executed at a time, also for callers that hung up. They take a few MiB.
const CONCURRENT_REQUESTS: usize = 4_096;

/// Limits of commands.
#[derive(Debug, Clone, Copy)]
pub struct CommandOptions {
    /// Commands that may wait for a reply slot of one vehicle.
    pub queue: usize,
    /// How long to wait for the answer to a command that no caller waits for.
    pub timeout: Duration,
}

/// A request to send a command to one vehicle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRequest {
    /// The vehicle.
    pub device_id: DeviceId,
    /// The action to ask of it.
    pub action: Action,
    /// How long to wait for the answer. The command is written within this time or never.
    pub timeout: Duration,
    /// How long to keep the command for the next login, if the vehicle is offline or goes offline first.
    pub queue: Option<Duration>,
    /// The caller's idempotency key, 1 to 128 bytes: a repeated request gets the outcome of the first.
    pub key: Option<String>,
}

/// Commands to the vehicles of this instance, and to those of others through their instances.
#[derive(Debug)]
pub struct Commands {
    store: CommandStore,
    registry: Arc<Registry>,
    fanout: Arc<Fanout>,
    instance: Arc<Instance>,
    peers: Arc<Peers>,
    offline_grace: OfflineGrace,
    options: CommandOptions,
    order: Arc<PendingOrder>,
    /// One for each request that is executed.
    permits: Arc<Semaphore>,
    /// One, for the broadcast that is under way.
    broadcast_permit: Arc<Semaphore>,
}

/// The parts of the gateway that [`Commands`] works on.
#[derive(Debug)]
pub struct CommandParts {
    /// Where commands are stored.
    pub store: Arc<Store>,
    /// The connections and sessions of this instance.
    pub registry: Arc<Registry>,
    /// Messages between instances.
    pub fanout: Arc<Fanout>,
    /// This instance.
    pub instance: Arc<Instance>,
    /// The other instances.
    pub peers: Arc<Peers>,
    /// Which vehicles are expected back.
    pub offline_grace: OfflineGrace,
}

impl Commands {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: CommandParts, options: CommandOptions) -> Self {
        let CommandParts {
            store,
            registry,
            fanout,
            instance,
            peers,
            offline_grace,
        } = parts;
        Self {
            store: CommandStore::new(store),
            registry,
            fanout,
            instance,
            peers,
            offline_grace,
            options,
            order: Arc::default(),
            permits: Arc::new(Semaphore::new(CONCURRENT_REQUESTS)),
            broadcast_permit: Arc::new(Semaphore::new(1)),
        }
    }

    /// Stores a vehicle's answer with the command that it answers. Returns `None` if the session awaits no such answer.
    pub fn answer(&self, session: &Session, answer: Answer) -> Option<PendingWrite<Written>> {
        let command = session.match_answer(answer.kind())?;
        let write = SessionWrite::Answer {
            id: command.id,
            late: command.late,
            answer,
        };
        Some(self.store.write(session.key.clone(), write))
    }

    fn incarnation(&self) -> IncarnationId {
        self.instance.incarnation()
    }
}
