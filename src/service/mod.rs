//! The use cases, free of sockets, HTTP and SQL: what a login, a report, a query does.

mod commands;
mod others;
mod pace;
mod presence;
mod sessions;
mod upkeep;
mod vehicles;

use std::{
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    domain::{DisconnectReason, Timestamp},
    fanout::Fanout,
    registry::Registry,
    store::Store,
};

// What the edges need of the parts below: they see the rest of the gateway through here.
pub use crate::{
    fanout::FanoutState,
    registry::{ConnectionGuard, Letter, Mailbox, Order, Overtaken, Session},
    store::{
        CommandPage, Disabled, Endpoint, EndpointHealth, EndpointState, HistoryPage, Login,
        Message, MessagePage, MessageState, PendingWrite, Position, Registered, SecretText,
        StoreError, Written,
    },
    webhooks::{
        Counts as WebhookCounts, EndpointError, EndpointRequest, EndpointUpdate,
        Rules as WebhookRules, Secret, WebhookAdmin,
    },
};
pub use commands::{
    Broadcast, BroadcastError, CommandError, CommandOptions, CommandRequest, DueAtLogin, Outcome,
};
pub use presence::PresenceOptions;
pub use sessions::{LoggedIn, LoginError};
pub use upkeep::Retention;

/// Why a use case could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServiceError {
    /// The vehicle was never heard of, or is deleted.
    #[error("there is no vehicle with this id")]
    UnknownVehicle,
    /// The vehicle has no debug blob with this id.
    #[error("the vehicle has no debug blob with this id")]
    UnknownDebugBlob,
    /// The vehicle has no command with this id.
    #[error("the vehicle has no command with this id")]
    UnknownCommand,
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an attempt to commit that began in time may take to end.
const COMMIT_SLACK: Duration = Duration::from_secs(2);

/// How long a start waits for Redis at most.
const REACH: Duration = Duration::from_secs(2);

/// This process, as others know it.
#[derive(Debug, Clone)]
pub struct Instance {
    /// `instance.id`: the name that stays.
    pub name: String,
    /// When it started.
    pub started_at: Timestamp,
}

/// How the use cases are done.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// Bounds every wait for the store.
    pub commit_timeout: Duration,
    /// What operators ask of vehicles.
    pub commands: CommandOptions,
    /// Who is there.
    pub presence: PresenceOptions,
    /// Where endpoints of webhooks may be that are made over REST.
    pub webhook_rules: WebhookRules,
    /// What the dispatcher counts.
    pub webhook_counts: WebhookCounts,
}

/// The use cases over the store and the sessions of this instance.
#[derive(Debug)]
pub struct Service {
    store: Arc<Store>,
    registry: Arc<Registry>,
    instance: Instance,
    commit_timeout: Duration,
    commands: CommandOptions,
    fanout: Fanout,
    presence: PresenceOptions,
    webhooks: WebhookAdmin,
    /// Other instances that are there. Written by whoever keeps watch over them.
    others: Mutex<Vec<Uuid>>,
    /// Sessions and rows are to be compared at the next look.
    look_soon: AtomicBool,
    /// Cancelled once the gateway was told to stop.
    draining: CancellationToken,
    unsent: Arc<commands::Unsent>,
    /// Room for requests whose vehicles have yet to answer.
    under_way: Arc<Semaphore>,
    /// One broadcast at a time.
    broadcasts: Arc<Semaphore>,
}

impl Service {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        store: Arc<Store>,
        fanout: Fanout,
        instance: Instance,
        options: ServiceOptions,
    ) -> Self {
        let webhooks = WebhookAdmin::new(
            Arc::clone(&store),
            options.commit_timeout + COMMIT_SLACK,
            options.webhook_rules,
            options.webhook_counts,
        );
        Self {
            store,
            registry: Arc::default(),
            instance,
            commit_timeout: options.commit_timeout,
            commands: options.commands,
            fanout,
            presence: options.presence,
            webhooks,
            others: Mutex::default(),
            look_soon: AtomicBool::new(false),
            draining: CancellationToken::new(),
            unsent: Arc::default(),
            under_way: Arc::new(Semaphore::new(commands::MOST_UNDER_WAY)),
            broadcasts: Arc::new(Semaphore::new(1)),
        }
    }

    /// This instance.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// The administration of webhook endpoints.
    #[must_use]
    pub fn webhooks(&self) -> &WebhookAdmin {
        &self.webhooks
    }

    /// This life of the instance, which devices see as `serverId`: new at every start, and when others have
    /// declared it dead.
    #[must_use]
    pub fn life(&self) -> Uuid {
        *self.store.incarnation().borrow()
    }

    /// From now on what ends here begins elsewhere.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Whether the gateway was told to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Waits until others can reach this instance, but not for long: Redis may be away.
    pub async fn reach_others(&self) {
        self.fanout.begin_life(self.life()).await;
        let started = Instant::now();
        while self.fanout.state() == FanoutState::Down && started.elapsed() < REACH {
            tokio::time::sleep(REACH / 100).await;
        }
    }

    /// Closes all connections whenever this instance was declared dead and goes on as another life: their vehicles
    /// may be elsewhere.
    pub async fn follow_life(&self) {
        let mut life = self.store.incarnation().clone();
        while life.changed().await.is_ok() {
            self.close_connections(DisconnectReason::InstanceLost);
            self.fanout.begin_life(self.life()).await;
        }
    }

    /// Closes every device connection at once. What is not stored never will be.
    pub fn close_connections(&self, reason: DisconnectReason) {
        for mailbox in self.registry.mailboxes() {
            mailbox.close(reason);
        }
    }

    /// Counts a device connection in until the guard is dropped; `mailbox` reaches it.
    pub fn connect(&self, mailbox: Arc<Mailbox>) -> ConnectionGuard {
        self.registry.connect(mailbox)
    }

    /// Asks every device connection to close, a few at a time but all of them within `time`: vehicles that
    /// come back elsewhere at once are a load that nobody needs.
    pub async fn release_connections(&self, reason: DisconnectReason, time: Duration) {
        let connections = self.registry.mailboxes();
        let mut ticks = tokio::time::interval(pace::TICK);
        for some in connections.chunks(pace::a_tick(connections.len(), time)) {
            ticks.tick().await;
            for mailbox in some {
                mailbox.close(reason);
            }
        }
    }

    /// How many device connections this instance holds, logged in or not.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.registry.connections()
    }

    /// Whether the store commits and answers.
    pub async fn check_store(&self) -> Result<(), StoreError> {
        tokio::time::timeout(self.commit_timeout, self.store.check())
            .await
            .unwrap_or(Err(StoreError::Unavailable))
    }

    /// Resolves once another gateway has taken the name of this one: nothing more is stored here.
    pub async fn fenced(&self) {
        self.store.fenced().await;
    }

    /// Commits what is queued and closes the store.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.fanout.close().await;
        self.store.close().await
    }

    /// Waits for a write, but not for a database that hangs: an attempt that began in time gets
    /// time to end, so that what is stored is not called unavailable.
    async fn settled<T>(&self, ticket: PendingWrite<T>) -> Result<T, StoreError> {
        tokio::time::timeout(self.commit_timeout + COMMIT_SLACK, ticket)
            .await
            .unwrap_or(Err(StoreError::Unavailable))
    }
}
