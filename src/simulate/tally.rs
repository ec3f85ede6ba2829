//! Counts what happens in a simulation, and formats the counts.

use std::{
    fmt::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::progress::Progress;

/// Something that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tallied {
    /// A device was logged in for the first time.
    FirstLogin,
    /// A device was logged in.
    Login,
    /// A session ended, for any reason.
    SessionEnd,
    PingSent,
    PingAnswered,
    ReportSent,
    ReportAnswered,
    BlobSent,
    BlobAnswered,
    CommandAnswered,
    GoodbyeSent,
    GoodbyeAnswered,
    /// The gateway answered that a sentence is bad, or that it does not know the device.
    Bad,
    /// The gateway sent what the device cannot decode, or another reply than the expected one.
    Unexpected,
    /// The gateway sent a goodbye.
    DisconnectedByGateway,
    /// A connection ended without a goodbye.
    Lost,
    /// An attempt to connect or to log in failed.
    Refused,
}

const EVENTS: usize = Tallied::Refused as usize + 1;

/// The counters of all devices together; each device adds to them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: [AtomicU64; EVENTS],
    /// Why the last connection was lost or refused.
    last_failure: Mutex<String>,
}

/// The counts at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TallySnapshot([u64; EVENTS]);

impl Tally {
    pub(super) fn count(&self, event: Tallied) {
        // Only sums are read, and they need no order.
        self.counts[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a failed connection or attempt, and keeps the reason.
    pub(super) fn count_failure(&self, event: Tallied, reason: &str) {
        self.count(event);
        let mut last = self
            .last_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        last.clear();
        last.push_str(reason);
    }

    pub(super) fn counts(&self) -> TallySnapshot {
        TallySnapshot(std::array::from_fn(|event| {
            self.counts[event].load(Ordering::Relaxed)
        }))
    }

    /// Why the last connection was lost or refused; empty if none was.
    pub(super) fn last_failure(&self) -> String {
        let last = self.last_failure.lock();
        last.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl TallySnapshot {
    pub(super) fn of(&self, event: Tallied) -> u64 {
        self.0[event as usize]
    }

    /// The number of devices that have a session.
    pub(super) fn online(&self) -> u64 {
        self.of(Tallied::Login)
            .saturating_sub(self.of(Tallied::SessionEnd))
    }

    /// The progress of a fleet of `devices`, with the rates of answered sentences since `earlier`, which is `elapsed`
    /// ago.
    pub(super) fn progress(
        &self,
        devices: usize,
        earlier: &Self,
        elapsed: Duration,
        last_failure: &str,
    ) -> Progress {
        let rate = |event| {
            let events = u32::try_from(self.of(event) - earlier.of(event)).unwrap_or(u32::MAX);
            f64::from(events) / elapsed.as_secs_f64().max(1e-3)
        };
        Progress {
            online: format!("online {} of {devices}", self.online()),
            rates: [
                format!("{:.1} PING/s", rate(Tallied::PingAnswered)),
                format!("{:.1} REPORT/s", rate(Tallied::ReportAnswered)),
                format!("{:.1} logins/s", rate(Tallied::Login)),
            ],
            trouble: format!(
                "lost {}, refused {}, bad {}",
                self.of(Tallied::Lost),
                self.of(Tallied::Refused),
                self.of(Tallied::Bad) + self.of(Tallied::Unexpected),
            ),
            last_failure: last_failure.to_owned(),
        }
    }

    /// The counts at the end, one line for each subject.
    pub(super) fn summary(&self, devices: usize, elapsed: Duration, last_failure: &str) -> String {
        let mut text = String::new();
        let mut line = |subject: &str, counts: String| {
            // Writing to a string cannot fail.
            let _written = writeln!(text, "{subject:<12} {counts}");
        };
        let of = |event| self.of(event);
        let pair =
            |sent, answer: &str, answered| format!("{}, {answer} {}", of(sent), of(answered));
        line("time", format!("{:.1} s", elapsed.as_secs_f64()));
        line(
            "devices",
            format!("{devices}, logged in {}", of(Tallied::FirstLogin)),
        );
        line("logins", of(Tallied::Login).to_string());
        line(
            "heartbeats",
            pair(Tallied::PingSent, "answered", Tallied::PingAnswered),
        );
        line(
            "reports",
            pair(Tallied::ReportSent, "thanked", Tallied::ReportAnswered),
        );
        line(
            "debug blobs",
            pair(Tallied::BlobSent, "stored", Tallied::BlobAnswered),
        );
        line(
            "commands",
            format!("{} answered", of(Tallied::CommandAnswered)),
        );
        line(
            "goodbyes",
            pair(Tallied::GoodbyeSent, "answered", Tallied::GoodbyeAnswered),
        );
        line(
            "closed",
            format!("{} by the gateway", of(Tallied::DisconnectedByGateway)),
        );
        line("lost", format!("{} connections", of(Tallied::Lost)));
        line("refused", format!("{} attempts", of(Tallied::Refused)));
        line(
            "bad",
            format!(
                "{} not understood by the gateway, {} by the devices",
                of(Tallied::Bad),
                of(Tallied::Unexpected)
            ),
        );
        if !last_failure.is_empty() {
            line("last trouble", last_failure.to_owned());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(events: &[Tallied]) -> Tally {
        let tally = Tally::default();
        for event in events {
            tally.count(*event);
        }
        tally
    }

    #[test]
    fn online_is_logins_without_session_ends() {
        let counts = tally(&[Tallied::Login, Tallied::Login, Tallied::SessionEnd]).counts();
        assert_eq!(counts.online(), 1);
    }

    #[test]
    fn progress_tells_rates_and_the_last_failure() {
        let tally = tally(&[Tallied::Login, Tallied::PingAnswered]);
        let earlier = tally.counts();
        tally.count(Tallied::PingAnswered);
        tally.count_failure(Tallied::Lost, "it was cut");
        let ago = Duration::from_secs(2);
        let progress = tally
            .counts()
            .progress(7, &earlier, ago, &tally.last_failure());
        assert_eq!(
            progress.line(None),
            "online 1 of 7 | 0.5 PING/s, 0.0 REPORT/s, 0.0 logins/s | lost 1, refused 0, bad 0 | last: it was cut"
        );
    }

    #[test]
    fn the_summary_has_every_subject() {
        let tally = tally(&[
            Tallied::ReportSent,
            Tallied::ReportSent,
            Tallied::ReportAnswered,
        ]);
        let summary = tally.counts().summary(3, Duration::from_millis(1250), "");
        assert!(summary.starts_with("time         1.2 s\ndevices      3, logged in 0\n"));
        assert!(
            summary.contains("\nreports      2, thanked 1\n"),
            "{summary}"
        );
        assert!(!summary.contains("trouble"));
    }
}
