//! The clock that stamps rows and decides what is due.
//!
//! Several instances on one database need one clock, and the clocks of their hosts may disagree, jump, or be wrong. So on
//! a server it is the database's clock: read now and then, and extrapolated by a monotonic clock in between. A file
//! belongs to one process, whose wall clock is good enough.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

use crate::domain::Timestamp;

/// The clock of the database, or with `None` the wall clock of this host. [`Self::now`] costs no round trip.
#[derive(Debug, Clone)]
pub(super) struct Clock(Option<Arc<Reading>>);

#[derive(Debug)]
struct Reading {
    origin: Instant,
    /// The database's time at `origin`, in milliseconds since 1970. Set by each query of the database's time that is
    /// precise enough.
    at_origin: AtomicI64,
    /// How long the query behind `at_origin` took, in milliseconds: the most that `at_origin` can be wrong by. Set
    /// together with `at_origin`.
    uncertainty: AtomicI64,
}

/// A query that took no longer than this, in milliseconds, is always precise enough.
const PROMPT: i64 = 100;

impl Clock {
    /// The wall clock of this host.
    pub(super) fn own() -> Self {
        Self(None)
    }

    /// The clock of the database behind `db`.
    pub(super) async fn of(db: &impl ConnectionTrait) -> Result<Self, DbErr> {
        let clock = Self(Some(Arc::new(Reading {
            origin: Instant::now(),
            at_origin: AtomicI64::new(0),
            uncertainty: AtomicI64::new(i64::MAX),
        })));
        clock.read(db).await?;
        Ok(clock)
    }

    /// The time now.
    pub(super) fn now(&self) -> Timestamp {
        match &self.0 {
            None => Timestamp::now(),
            Some(reading) => Timestamp::from_millis(
                reading.at_origin.load(Ordering::Relaxed) + millis(reading.origin.elapsed()),
            ),
        }
    }

    /// Reads the database's time. A query that took much longer than the last one is ignored: the database may have
    /// stalled before it read its clock, or after, so the known time is more precise.
    pub(super) async fn read(&self, db: &impl ConnectionTrait) -> Result<(), DbErr> {
        let Some(reading) = &self.0 else {
            return Ok(());
        };
        let backend = db.get_database_backend();
        let asked = reading.origin.elapsed();
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
        let Some(now) = row.map(|row| row.try_get_by_index(0)).transpose()? else {
            return Err(DbErr::Custom("the database returned no time".to_owned()));
        };
        let answered = reading.origin.elapsed();
        let took = millis(answered.saturating_sub(asked));
        let known = reading.uncertainty.load(Ordering::Relaxed);
        if took > PROMPT.max(known.saturating_mul(2)) {
            return Ok(());
        }
        // The database read its clock at some moment between the query and the answer.
        let now: i64 = now;
        let at_origin = now - millis((asked + answered) / 2);
        reading.at_origin.store(at_origin, Ordering::Relaxed);
        reading.uncertainty.store(took, Ordering::Relaxed);
        Ok(())
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
