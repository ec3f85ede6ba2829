//! Warns before the disk with the `SQLite` file is full: then nothing is stored or acknowledged.

use std::{io, path::Path, time::Duration};

use tokio::{
    pin,
    time::{MissedTickBehavior, interval, timeout},
};

use super::Maintenance;

/// How often the free space is read, which is one system call: a disk may fill up within a minute.
const READ_EVERY: Duration = Duration::from_secs(5);
/// How long a reading may take before there is a warning.
const PATIENCE: Duration = Duration::from_secs(30);
/// The disk has room again once so much more than the limit is free, at most a tenth of the limit: a disk on the border
/// must not fill the log.
const MARGIN: u64 = 64 << 20;

impl Maintenance {
    /// Reads the free space of the disk with the database file again and again, and logs when it falls below
    /// `warn_below` bytes and when it is above again; 0 for no warning. Returns at once on a database server.
    pub async fn watch_disk(&self, warn_below: u64) {
        let Some(file) = self.store.file() else {
            return;
        };
        let mut watch = DiskWatch::new(warn_below);
        let mut ticks = interval(READ_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let reading = self.store.read_free_disk(file);
            watch
                .follow(reading, |change| log(&change, file, warn_below))
                .await;
        }
    }
}

/// What is known about the disk.
struct DiskWatch {
    warn_below: u64,
    is_low: bool,
    is_unreadable: bool,
}

/// A change that is worth a log line, with the free bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum DiskChange {
    Low(u64),
    Enough(u64),
    /// With the error.
    Unreadable(String),
    Readable(u64),
}

impl DiskWatch {
    fn new(warn_below: u64) -> Self {
        Self {
            warn_below,
            is_low: false,
            is_unreadable: false,
        }
    }

    /// Awaits a reading, and tells what it changes, or that it takes long.
    async fn follow(
        &mut self,
        reading: impl Future<Output = io::Result<u64>>,
        mut tell: impl FnMut(DiskChange),
    ) {
        pin!(reading);
        let read = if let Ok(read) = timeout(PATIENCE, &mut reading).await {
            read
        } else {
            let no_answer = io::Error::from(io::ErrorKind::TimedOut);
            self.unreadable(&no_answer).into_iter().for_each(&mut tell);
            // There is one reading at a time, so that a disk that hangs holds one thread.
            reading.await
        };
        let change = match read {
            Ok(free) => self.read(free),
            Err(error) => self.unreadable(&error),
        };
        change.into_iter().for_each(tell);
    }

    fn unreadable(&mut self, error: &io::Error) -> Option<DiskChange> {
        let was_unreadable = std::mem::replace(&mut self.is_unreadable, true);
        (!was_unreadable).then(|| DiskChange::Unreadable(error.to_string()))
    }

    fn read(&mut self, free: u64) -> Option<DiskChange> {
        let was_unreadable = std::mem::replace(&mut self.is_unreadable, false);
        let margin = MARGIN.min(self.warn_below / 10);
        let was_low = self.is_low;
        self.is_low = if was_low {
            free < self.warn_below.saturating_add(margin)
        } else {
            free < self.warn_below
        };
        match (was_low, self.is_low) {
            (false, true) => Some(DiskChange::Low(free)),
            (true, false) => Some(DiskChange::Enough(free)),
            _ => was_unreadable.then_some(DiskChange::Readable(free)),
        }
    }
}

fn log(change: &DiskChange, file: &Path, warn_below: u64) {
    let path = file.display();
    match change {
        DiskChange::Low(free_bytes) => tracing::warn!(
            %path, free_bytes, warn_below,
            "the disk is nearly full (store.disk_warning): make room, enlarge it or shorten retention.*; once it is full, \
             nothing is stored or acknowledged"
        ),
        DiskChange::Enough(free_bytes) => {
            tracing::info!(%path, free_bytes, "the disk has room again");
        }
        DiskChange::Unreadable(error) => tracing::warn!(
            %path, error,
            "the free space of the disk cannot be read: there is no warning before it is full"
        ),
        DiskChange::Readable(free_bytes) => {
            tracing::info!(%path, free_bytes, "the free space of the disk can be read again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        io::ErrorKind,
    };

    use tokio::{select, time::sleep};

    use super::{DiskChange::*, *};

    #[tokio::test(start_paused = true)]
    async fn each_change_is_told_once() {
        let unreadable = || Some(Unreadable("entity not found".to_owned()));
        let mut watch = DiskWatch::new(1_000);
        for (free, change) in [
            (Some(1_000), None),
            (Some(999), Some(Low(999))),
            (Some(0), None),
            (Some(1_099), None),
            (Some(1_100), Some(Enough(1_100))),
            (Some(1_000), None),
            (None, unreadable()),
            (None, None),
            (Some(1_000), Some(Readable(1_000))),
            (None, unreadable()),
            (Some(5), Some(Low(5))),
            (None, unreadable()),
            (Some(6), Some(Readable(6))),
            (Some(7), None),
        ] {
            let mut told = None;
            let reading = ready(free.ok_or(ErrorKind::NotFound.into()));
            watch
                .follow(reading, |change| assert_eq!(told.replace(change), None))
                .await;
            assert_eq!(told, change, "{free:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_told_once() {
        let mut watch = DiskWatch::new(1_000);
        let mut told = Vec::new();
        select! {
            () = watch.follow(pending(), |change| told.push(change)) => {}
            () = sleep(Duration::from_hours(1)) => {}
        }
        assert_eq!(told, [Unreadable("timed out".to_owned())]);
        let mut told = Vec::new();
        watch
            .follow(ready(Ok(2_000)), |change| told.push(change))
            .await;
        assert_eq!(told, [Readable(2_000)]);
    }

    #[test]
    fn a_large_limit_has_a_small_margin() {
        let mut watch = DiskWatch::new(100 << 30);
        assert_eq!(watch.read(0), Some(Low(0)));
        let enough = (100 << 30) + MARGIN;
        assert_eq!(watch.read(enough - 1), None);
        assert_eq!(watch.read(enough), Some(Enough(enough)));
    }

    #[test]
    fn a_limit_of_zero_is_no_limit() {
        assert_eq!(DiskWatch::new(0).read(0), None);
    }
}
