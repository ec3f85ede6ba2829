//! Commands to vehicles: how they are submitted, delivered and ended.
//!
//! A command first reserves a reply slot of its vehicle's session: the right to the next answer of its kind. Answers
//! have no ids, so only one command of each kind is outstanding, and the others queue for the slot. A command that has
//! the slot is claimed for the session in the store, and only then written to the socket: so it is written at most
//! once, and a crash between the two leaves it unwritten. Usually the slot is free, and one commit stores and claims
//! the command. Another commit ends it: with the vehicle's answer, the end of the session, or a deadline.
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
//! | `failure_log` | log lines of which an outage would cause one for each command |

mod admission;
mod broadcast;
mod delivery;
mod failure_log;
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

/// How many requests may be executed at a time, those of callers that hung up included. Together they take a few MiB.
const CONCURRENT_REQUESTS: usize = 4_096;

/// The settings `commands.*`.
#[derive(Debug, Clone, Copy)]
pub struct CommandOptions {
    /// How many commands may wait for the reply slots of one vehicle.
    pub queue: usize,
    /// How long to wait for the answer to a command that has no caller: one from the shared channel, or one that a
    /// login made due.
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
    /// How long to keep the command for the next login, if the vehicle is offline or goes offline before the command is
    /// sent; `None` to refuse or cancel the command then.
    pub queue: Option<Duration>,
    /// The caller's idempotency key, 1 to 128 bytes: a repeated request gets the outcome of the first.
    pub key: Option<String>,
}

/// Executes commands: here if this instance holds the vehicle, otherwise at the instance that does.
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
    /// Has a permit for each request that may be executed at a time.
    permits: Arc<Semaphore>,
    /// Has one permit: there is one broadcast at a time.
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
    /// The identity and readiness of this instance.
    pub instance: Arc<Instance>,
    /// Which other instances are alive.
    pub peers: Arc<Peers>,
    /// How long vehicles whose sessions end stay online.
    pub offline_grace: OfflineGrace,
}

impl Commands {
    /// Creates [`Commands`] from the parts.
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
