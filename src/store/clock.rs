//! The time that things are stamped with and that decides what is due.
//!
//! Several instances on one database need one clock, and their own may disagree, jump, or be wrong. So on a
//! server it is the database's: looked at now and then, and counted on from there by a clock that only ever
//! runs forward. A file belongs to one process, whose clock is good enough.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

use crate::domain::Timestamp;

/// The database's clock. Asking it costs no round trip.
#[derive(Debug, Clone)]
pub(super) struct Clock(Option<Arc<Reading>>);

#[derive(Debug)]
struct Reading {
    origin: Instant,
    /// The database's time at `origin`, in milliseconds since 1970. Written by whoever asks the database.
    at_origin: AtomicI64,
    /// How long the answer took that this rests on, in milliseconds. Written with it.
    uncertainty: AtomicI64,
}

/// An answer that took no longer than this is always good enough.
const PROMPT: i64 = 100;

impl Clock {
    /// This process's own.
    pub(super) fn own() -> Self {
        Self(None)
    }

    /// That of the database behind `db`.
    pub(super) async fn of(db: &impl ConnectionTrait) -> Result<Self, DbErr> {
        let clock = Self(Some(Arc::new(Reading {
            origin: Instant::now(),
            at_origin: AtomicI64::new(0),
            uncertainty: AtomicI64::new(i64::MAX),
        })));
        clock.set_by(db).await?;
        Ok(clock)
    }

    pub(super) fn now(&self) -> Timestamp {
        match &self.0 {
            None => Timestamp::now(),
            Some(reading) => Timestamp::from_millis(
                reading.at_origin.load(Ordering::Relaxed) + millis(reading.origin.elapsed()),
            ),
        }
    }

    /// Asks the database what time it is. An answer that took much longer than the last one tells less than is
    /// known: the database may have stood still before it looked at its clock, or after.
    pub(super) async fn set_by(&self, db: &impl ConnectionTrait) -> Result<(), DbErr> {
        let Some(reading) = &self.0 else {
            return Ok(());
        };
        let backend = db.get_database_backend();
        let asked = reading.origin.elapsed();
        // In UTC, which the driver makes the session's time zone.
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
            return Err(DbErr::Custom("the database tells no time".to_owned()));
        };
        let answered = reading.origin.elapsed();
        let took = millis(answered.saturating_sub(asked));
        let known = reading.uncertainty.load(Ordering::Relaxed);
        if took > PROMPT.max(known.saturating_mul(2)) {
            return Ok(());
        }
        // It said so at some moment between the question and the answer.
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
