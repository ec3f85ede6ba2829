//! Which instances are there, and what becomes of the vehicles of those that are not.
//!
//! On a database that others write to as well. The database is the truth; what instances tell each other
//! only makes it quicker.

mod failure_detector;
mod peers;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use self::failure_detector::Roll;
use crate::{
    domain::{DeviceId, DisconnectReason, SessionKey},
    fanout::{Fanout, FanoutState},
    instance::Instance,
    pacing::DEVICES_PER_WRITE,
    sessions::{OfflineGrace, Registry, Sessions},
    store::{LostSessions, SessionWrite, Store, StoreError},
};

pub use peers::Peers;

/// How presence is kept.
#[derive(Debug, Clone, Copy)]
pub struct PresenceOptions {
    /// How long an instance may commit nothing before another may declare it dead.
    pub lease: Duration,
    /// How long a vehicle whose session was ended by its instance may take to come back.
    pub offline_grace: Duration,
}

/// Looks at the other instances in a lease. Also how late a death or the end of a grace may be noticed.
const LOOKS: u32 = 8;
const OFTENEST: Duration = Duration::from_millis(200);
const SELDOMEST: Duration = Duration::from_secs(2);
/// How long a start waits for Redis at most.
const REACH: Duration = Duration::from_secs(2);

/// This instance among the others on its database.
#[derive(Debug)]
pub struct Cluster {
    store: Arc<Store>,
    fanout: Arc<Fanout>,
    registry: Arc<Registry>,
    sessions: Arc<Sessions>,
    instance: Arc<Instance>,
    peers: Arc<Peers>,
    options: PresenceOptions,
    offline_grace: OfflineGrace,
    /// Sessions and rows are to be compared at the next look.
    look_soon: AtomicBool,
}

/// The parts of the gateway that [`Cluster`] works on.
#[derive(Debug)]
pub struct ClusterParts {
    /// The database that the instances share.
    pub store: Arc<Store>,
    /// Messages between instances.
    pub fanout: Arc<Fanout>,
    /// The connections and sessions of this instance.
    pub registry: Arc<Registry>,
    /// The use cases on them.
    pub sessions: Arc<Sessions>,
    /// This instance.
    pub instance: Arc<Instance>,
    /// Where the peers are noted.
    pub peers: Arc<Peers>,
    /// How long vehicles may take to come back.
    pub offline_grace: OfflineGrace,
}

impl Cluster {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: ClusterParts, options: PresenceOptions) -> Self {
        let ClusterParts {
            store,
            fanout,
            registry,
            sessions,
            instance,
            peers,
            offline_grace,
        } = parts;
        Self {
            store,
            fanout,
            registry,
            sessions,
            instance,
            peers,
            options,
            offline_grace,
            look_soon: AtomicBool::new(false),
        }
    }

    /// Waits until others can reach this instance, but not for long: Redis may be away.
    pub async fn reach_others(&self) {
        self.fanout.begin_life(self.instance.incarnation()).await;
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
            self.sessions
                .close_connections(DisconnectReason::InstanceLost);
            self.fanout.begin_life(self.instance.incarnation()).await;
        }
    }

    /// Keeps watch over the other instances, for ever. Returns at once on a database of one's own.
    pub async fn keep_watch(&self) {
        if !self.store.is_shared() {
            return;
        }
        let lease = self.options.lease;
        let mut watch = Watch {
            roll: Roll::new(lease),
            dead: HashMap::new(),
            buried: Vec::new(),
            orphans: HashSet::new(),
            reconciled: Instant::now(),
            is_cut_off: false,
        };
        let mut ticks = interval((lease / LOOKS).clamp(OFTENEST, SELDOMEST));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look_at_database(&mut watch.is_cut_off).await;
            if let Err(error) = self.look_around(&mut watch).await {
                tracing::debug!(%error, "nothing is known of other instances at the moment");
            }
        }
    }

    /// A message that told of a session's end may be lost.
    pub fn look_soon(&self) {
        self.look_soon.store(true, Ordering::Relaxed);
    }

    /// Devices that nobody can thank here may find somebody else who can.
    async fn look_at_database(&self, was_cut_off: &mut bool) {
        let is_cut_off = self.instance.is_cut_off();
        if is_cut_off && !*was_cut_off {
            tracing::error!(
                connections = self.sessions.connections(),
                "nothing could be committed for a long time; closing all device connections, others may reach the database"
            );
            let reason = DisconnectReason::StoreUnavailable;
            self.sessions
                .release_connections(reason, self.options.lease)
                .await;
        }
        *was_cut_off = is_cut_off;
    }

    async fn look_around(&self, watch: &mut Watch) -> Result<(), StoreError> {
        let stalled = watch.roll.stalled(Instant::now());
        let buried = std::mem::take(&mut watch.buried);
        let called = self
            .store
            .settled(self.store.update_membership(stalled, buried))
            .await?;
        watch.roll.observe(Instant::now(), &called.peers);
        for instance in called.declared_dead {
            tracing::warn!(
                instance,
                "an instance has committed nothing for presence.lease and is declared dead"
            );
        }
        let others = called.peers.iter().map(|other| other.id).collect();
        self.peers.set(others);
        // One that may still ask what became of its last batch keeps its row.
        let mourning = self.store.commit_wait() * 2;
        watch.dead.retain(|life, _| called.dead.contains(life));
        for life in called.dead {
            let since = *watch.dead.entry(life).or_insert_with(Instant::now);
            if self.end_sessions_of(life).await? == 0 && since.elapsed() > mourning {
                watch.buried.push(life);
            }
        }
        // In a gap of this instance's own nobody could come back.
        if watch.roll.steady_for(Instant::now()) >= self.options.offline_grace {
            self.end_graces().await?;
        }
        let is_soon = self.look_soon.swap(false, Ordering::Relaxed);
        if watch.reconciled.elapsed() >= self.options.lease {
            watch.reconciled = Instant::now();
            self.reconcile(Some(&mut watch.orphans)).await?;
        } else if is_soon {
            self.reconcile(None).await?;
        }
        Ok(())
    }

    /// Ends the sessions that a dead life held; says how many.
    async fn end_sessions_of(&self, life: Uuid) -> Result<usize, StoreError> {
        let mut ended = 0;
        let mut after = None;
        loop {
            let held = self
                .store
                .sessions_held_by(life, after.as_ref(), DEVICES_PER_WRITE as u64)
                .await?;
            let Some(last) = held.last() else { break };
            after = Some(last.device_id.clone());
            ended += held.len();
            let devices = held.into_iter().map(|session| session.device_id).collect();
            let whose = LostSessions::OfIncarnation(
                life,
                self.offline_grace.after(DisconnectReason::InstanceLost),
            );
            self.store
                .settled(
                    self.store
                        .end_lost_sessions(devices, whose, self.store.now()),
                )
                .await?;
        }
        if ended > 0 {
            tracing::warn!(%life, vehicles = ended, "ended the sessions of an instance that is gone; vehicles that do not come back are offline after presence.offline_grace");
        }
        Ok(ended)
    }

    /// Sets vehicles offline that did not come back in time.
    async fn end_graces(&self) -> Result<(), StoreError> {
        loop {
            let now = self.store.now();
            let due = self
                .store
                .expired_graces(now, DEVICES_PER_WRITE as u64)
                .await?;
            let all = due.len() < DEVICES_PER_WRITE;
            if !due.is_empty() {
                tracing::info!(
                    vehicles = due.len(),
                    "vehicles have not come back and are offline"
                );
                self.store.settled(self.store.end_graces(due, now)).await?;
            }
            if all {
                return Ok(());
            }
        }
    }

    /// Compares the rows that name this instance with its sessions, both ways: a message that told of a
    /// difference may be lost. A row that nobody holds is one of the `orphans` first, and ended if it still is when
    /// it is looked for them again.
    async fn reconcile(&self, orphans: Option<&mut HashSet<SessionKey>>) -> Result<(), StoreError> {
        // Sessions first: whatever begins in between has a row by the time it is a session.
        let sessions = self.registry.sessions();
        let life = self.instance.incarnation();
        let mut rows: HashMap<DeviceId, i64> = HashMap::new();
        let mut after = None;
        loop {
            let held = self
                .store
                .sessions_held_by(life, after.as_ref(), DEVICES_PER_WRITE as u64)
                .await?;
            let Some(last) = held.last() else { break };
            after = Some(last.device_id.clone());
            rows.extend(held.into_iter().map(|held| (held.device_id, held.epoch)));
        }
        if self.instance.incarnation() != life {
            return Ok(());
        }
        for session in sessions {
            let SessionKey { device_id, epoch } = &session.key;
            if rows.get(device_id) != Some(epoch) {
                let reason = DisconnectReason::Superseded;
                self.registry.end_session(&session, reason);
            }
        }
        let Some(orphans) = orphans else {
            return Ok(());
        };
        let unheld = rows
            .into_iter()
            .filter(|(id, _)| !self.registry.has_session_or_login(id));
        let unheld: HashSet<SessionKey> = unheld
            .map(|(device_id, epoch)| SessionKey { device_id, epoch })
            .collect();
        // Once may be one whose end is on its way.
        for session in unheld.intersection(orphans) {
            tracing::warn!(device_id = %session.device_id, epoch = session.epoch, "ended a session that nobody holds");
            let end = SessionWrite::End {
                reason: DisconnectReason::InstanceLost,
                last_heartbeat: None,
                grace: self.offline_grace.after(DisconnectReason::InstanceLost),
            };
            let write = self.store.write(session.clone(), self.store.now(), end);
            self.store.settled(write).await?;
        }
        *orphans = unheld;
        Ok(())
    }
}

/// What is remembered from one look to the next.
struct Watch {
    roll: Roll,
    /// Dead lives, and since when they are known to be.
    dead: HashMap<Uuid, Instant>,
    /// Those of them that hold no vehicle any more.
    buried: Vec<Uuid>,
    /// Rows that named this instance when no session was here.
    orphans: HashSet<SessionKey>,
    reconciled: Instant,
    is_cut_off: bool,
}
