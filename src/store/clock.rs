//! The clock that stamps rows and decides what is due.
//!
//! Several instances on one database need one clock, and the clocks of their hosts may disagree, jump, or be wrong. So
//! on a server it is the database's clock: read now and then, and extrapolated by a monotonic clock in between. A file
//! belongs to one process, whose wall clock is good enough.
//!
//! Either of them may jump: it is set, or a fail-over leads to a server with another clock. A jump of more than a
//! minute is believed after a minute, so that a clock that is wrong for a moment neither expires nor deletes anything.
//! In the first minute after the start it is believed at once: a host may start its programs before it has set its
//! clock.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

use crate::{
    domain::Timestamp,
    steady_time::{Reading, SteadyTime},
};

/// The clock of the database, or of this host. [`Self::now`] costs no round trip.
#[derive(Debug, Clone)]
pub(super) struct Clock(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Whether it is the wall clock of this host, which is read each time.
    is_own: bool,
    origin: Instant,
    /// The time at `origin`, in milliseconds since 1970: that of `time`, to be read without its lock.
    at_origin: AtomicI64,
    time: Mutex<SteadyTime>,
    /// How long the query behind `at_origin` took, in milliseconds: the most that `at_origin` can be wrong by.
    uncertainty: AtomicI64,
}

/// A query that took no longer than this, in milliseconds, is always precise enough.
const PROMPT: i64 = 100;

/// How long a jump must last to be believed, and how long after the start it is believed at once.
const PATIENCE: Duration = Duration::from_mins(1);

/// A reading of this host's clock that differs by no more than this, in milliseconds, from what was expected is taken
/// without a lock.
const SLEW: i64 = 1_000;

impl Clock {
    /// The wall clock of this host.
    pub(super) fn own() -> Self {
        Self::new(true, Timestamp::now())
    }

    /// The clock of the database behind `db`.
    pub(super) async fn of(db: &impl ConnectionTrait) -> Result<Self, DbErr> {
        let clock = Self::new(false, query_time(db).await?);
        clock.read(db).await?;
        Ok(clock)
    }

    fn new(is_own: bool, reading: Timestamp) -> Self {
        Self(Arc::new(Shared {
            is_own,
            origin: Instant::now(),
            at_origin: AtomicI64::new(reading.as_millis()),
            time: Mutex::new(SteadyTime::new(reading, PATIENCE)),
            uncertainty: AtomicI64::new(i64::MAX),
        }))
    }

    /// The time now.
    pub(super) fn now(&self) -> Timestamp {
        let age = self.0.origin.elapsed();
        let at_origin = self.0.at_origin.load(Ordering::Relaxed);
        if !self.0.is_own {
            return Timestamp::from_millis(at_origin + millis(age));
        }
        let reading = Timestamp::now();
        if (reading.as_millis() - millis(age) - at_origin).abs() <= SLEW {
            return reading;
        }
        self.take(reading, age)
    }

    /// Takes a reading that was made at this age of the clock, and returns the time then.
    fn take(&self, reading: Timestamp, age: Duration) -> Timestamp {
        let mut time = self.0.time.lock().unwrap_or_else(PoisonError::into_inner);
        let mut said = time.read(reading, age);
        if let Reading::Jumped(jump) = said
            && age < PATIENCE
        {
            *time = SteadyTime::new(
                Timestamp::from_millis(reading.as_millis() - millis(age)),
                PATIENCE,
            );
            said = Reading::Believed(jump);
        }
        self.0
            .at_origin
            .store(time.at(Duration::ZERO).as_millis(), Ordering::Relaxed);
        let now = time.at(age);
        drop(time);
        let clock = if self.0.is_own { "host" } else { "database" };
        match said {
            Reading::Expected | Reading::StillJumped => {}
            Reading::Jumped(jump_ms) => {
                tracing::warn!(
                    clock,
                    jump_ms,
                    "the clock has jumped; the jump is ignored unless it lasts a minute"
                );
            }
            Reading::Believed(jump_ms) => {
                tracing::warn!(clock, jump_ms, "the clock was set");
            }
            Reading::Recovered => tracing::info!(clock, "the clock is as before its jump"),
        }
        now
    }

    /// Reads the database's time. A query that took much longer than the last one is ignored: the database may have
    /// stalled before it read its clock, or after, so the known time is more precise.
    pub(super) async fn read(&self, db: &impl ConnectionTrait) -> Result<(), DbErr> {
        if self.0.is_own {
            return Ok(());
        }
        let asked = self.0.origin.elapsed();
        let reading = query_time(db).await?;
        let answered = self.0.origin.elapsed();
        let took = millis(answered.saturating_sub(asked));
        let known = self.0.uncertainty.load(Ordering::Relaxed);
        if took > PROMPT.max(known.saturating_mul(2)) {
            return Ok(());
        }
        self.0.uncertainty.store(took, Ordering::Relaxed);
        // The database read its clock at some moment between the query and the answer.
        self.take(reading, (asked + answered) / 2);
        Ok(())
    }
}

/// Asks the database for its time.
async fn query_time(db: &impl ConnectionTrait) -> Result<Timestamp, DbErr> {
    let backend = db.get_database_backend();
    // In UTC: the driver sets the session's time zone.
    let statement = match backend {
        DbBackend::Postgres => {
            "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
        }
        _ => "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)",
    };
    let row = db
        .query_one_raw(Statement::from_string(backend, statement))
        .await?;
    let now = row.map(|row| row.try_get_by_index(0)).transpose()?;
    now.map(Timestamp::from_millis)
        .ok_or_else(|| DbErr::Custom("the database returned no time".to_owned()))
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
