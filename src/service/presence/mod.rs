//! Which instances are there, and what becomes of the vehicles of those that are not.
//!
//! On a database that others write to as well. The database is the truth; what instances tell each other
//! only makes it quicker.

mod roll;

use std::{
    collections::{HashMap, HashSet},
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use self::roll::Roll;
use super::{COMMIT_SLACK, Service, upkeep::STEP};
use crate::{
    domain::{DeviceId, DisconnectReason, SessionKey},
    store::{LostSessions, SessionWrite, StoreError},
};

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
/// An instance that commits nothing for so many leases, and for so long at least, is cut off from the database.
const CUT_OFF_LEASES: u32 = 3;
const CUT_OFF: Duration = Duration::from_mins(1);

impl Service {
    /// Keeps watch over the other instances, for ever. Returns at once on a database of one's own.
    pub async fn keep_watch(&self) {
        if !self.store.is_shared() {
            return;
        }
        let lease = self.presence.lease;
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

    /// Other instances that are there, as they were seen last.
    pub(super) fn others(&self) -> Vec<Uuid> {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.clone()
    }

    /// A message that told of a session's end may be lost.
    pub(super) fn look_soon(&self) {
        self.look_soon.store(true, Ordering::Relaxed);
    }

    /// Whether this instance has been cut off from a database that others may reach.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        let limit = (self.presence.lease * CUT_OFF_LEASES).max(CUT_OFF);
        self.store.is_shared() && self.store.since_commit() > limit
    }

    /// Devices that nobody can thank here may find somebody else who can.
    async fn look_at_database(&self, was_cut_off: &mut bool) {
        let is_cut_off = self.is_cut_off();
        if is_cut_off && !*was_cut_off {
            tracing::error!(
                connections = self.connections(),
                "nothing could be committed for a long time; closing all device connections, others may reach the database"
            );
            let reason = DisconnectReason::StoreUnavailable;
            self.release_connections(reason, self.presence.lease).await;
        }
        *was_cut_off = is_cut_off;
    }

    async fn look_around(&self, watch: &mut Watch) -> Result<(), StoreError> {
        let stalled = watch.roll.stalled(Instant::now());
        let buried = std::mem::take(&mut watch.buried);
        let called = self
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
        *self.others.lock().unwrap_or_else(PoisonError::into_inner) = others;
        // One that may still ask what became of its last batch keeps its row.
        let mourning = (self.commit_timeout + COMMIT_SLACK) * 2;
        watch.dead.retain(|life, _| called.dead.contains(life));
        for life in called.dead {
            let since = *watch.dead.entry(life).or_insert_with(Instant::now);
            if self.end_sessions_of(life).await? == 0 && since.elapsed() > mourning {
                watch.buried.push(life);
            }
        }
        // In a gap of this instance's own nobody could come back.
        if watch.roll.steady_for(Instant::now()) >= self.presence.offline_grace {
            self.end_graces().await?;
        }
        let is_soon = self.look_soon.swap(false, Ordering::Relaxed);
        if watch.reconciled.elapsed() >= self.presence.lease {
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
                .sessions_held_by(life, after.as_ref(), STEP as u64)
                .await?;
            let Some(last) = held.last() else { break };
            after = Some(last.device_id.clone());
            ended += held.len();
            let devices = held.into_iter().map(|session| session.device_id).collect();
            let whose =
                LostSessions::OfIncarnation(life, self.grace(DisconnectReason::InstanceLost));
            self.settled(
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
            let due = self.store.expired_graces(now, STEP as u64).await?;
            let all = due.len() < STEP;
            if !due.is_empty() {
                tracing::info!(
                    vehicles = due.len(),
                    "vehicles have not come back and are offline"
                );
                self.settled(self.store.end_graces(due, now)).await?;
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
        let life = self.life();
        let mut rows: HashMap<DeviceId, i64> = HashMap::new();
        let mut after = None;
        loop {
            let held = self
                .store
                .sessions_held_by(life, after.as_ref(), STEP as u64)
                .await?;
            let Some(last) = held.last() else { break };
            after = Some(last.device_id.clone());
            rows.extend(held.into_iter().map(|held| (held.device_id, held.epoch)));
        }
        if self.life() != life {
            return Ok(());
        }
        for session in sessions {
            let SessionKey { device_id, epoch } = &session.key;
            if rows.get(device_id) != Some(epoch) {
                let reason = DisconnectReason::Superseded;
                self.registry.end_this(&session, reason);
            }
        }
        let Some(orphans) = orphans else {
            return Ok(());
        };
        let unheld = rows.into_iter().filter(|(id, _)| !self.registry.knows(id));
        let unheld: HashSet<SessionKey> = unheld
            .map(|(device_id, epoch)| SessionKey { device_id, epoch })
            .collect();
        // Once may be one whose end is on its way.
        for session in unheld.intersection(orphans) {
            tracing::warn!(device_id = %session.device_id, epoch = session.epoch, "ended a session that nobody holds");
            let end = SessionWrite::End {
                reason: DisconnectReason::InstanceLost,
                last_heartbeat: None,
                grace: self.grace(DisconnectReason::InstanceLost),
            };
            let write = self.store.write(session.clone(), self.store.now(), end);
            self.settled(write).await?;
        }
        *orphans = unheld;
        Ok(())
    }

    /// How long a vehicle may take to come back whose session ended for this reason; none if it is offline
    /// at once.
    pub(super) fn grace(&self, reason: DisconnectReason) -> Option<Duration> {
        use DisconnectReason as R;
        let by_instance = matches!(reason, R::Shutdown | R::InstanceLost | R::StoreUnavailable);
        let by_somebody = matches!(
            reason,
            R::Goodbye | R::Operator | R::Deleted | R::Superseded
        );
        let grace = self.presence.offline_grace;
        let has_grace = by_instance || (self.is_draining() && !by_somebody);
        (self.store.is_shared() && has_grace && !grace.is_zero()).then_some(grace)
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
