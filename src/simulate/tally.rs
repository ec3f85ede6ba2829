//! What happened, counted, and how it is told.

use std::{
    fmt::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A device was greeted for the first time.
    FirstLogin,
    /// A device was greeted.
    Login,
    /// A session ended, however it did.
    SessionEnd,
    PingSaid,
    PingAnswered,
    ReportSaid,
    ReportThanked,
    BlobSaid,
    BlobStored,
    CommandAnswered,
    GoodbyeSaid,
    GoodbyeAnswered,
    /// The gateway did not understand.
    Bad,
    /// The gateway said what it does not say, or not now.
    Odd,
    /// The gateway told the device to go.
    ToldToGo,
    /// A connection ended otherwise than by a goodbye.
    Lost,
    /// An attempt to connect or to log in failed.
    Refused,
}

const EVENTS: usize = Event::Refused as usize + 1;

/// Counts of all devices together; each device adds to it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: [AtomicU64; EVENTS],
    /// Why the last connection was lost or refused.
    trouble: Mutex<String>,
}

/// The counts at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts([u64; EVENTS]);

impl Tally {
    pub(super) fn count(&self, event: Event) {
        // Only sums are read, and they need no order.
        self.counts[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A connection or an attempt failed, and why.
    pub(super) fn trouble(&self, event: Event, why: &str) {
        self.count(event);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.clear();
        trouble.push_str(why);
    }

    pub(super) fn counts(&self) -> Counts {
        Counts(std::array::from_fn(|event| {
            self.counts[event].load(Ordering::Relaxed)
        }))
    }

    /// Why the last connection was lost or refused; empty if none was.
    pub(super) fn last_trouble(&self) -> String {
        let trouble = self.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Counts {
    pub(super) fn of(&self, event: Event) -> u64 {
        self.0[event as usize]
    }

    /// Devices that have a session.
    pub(super) fn online(&self) -> u64 {
        self.of(Event::Login)
            .saturating_sub(self.of(Event::SessionEnd))
    }

    /// One line on how a fleet of `devices` does, with rates of what was
    /// answered since `earlier`, `elapsed` ago.
    pub(super) fn progress(
        &self,
        devices: usize,
        earlier: &Self,
        elapsed: Duration,
        last_trouble: &str,
    ) -> String {
        let rate = |event| {
            let events = u32::try_from(self.of(event) - earlier.of(event)).unwrap_or(u32::MAX);
            f64::from(events) / elapsed.as_secs_f64().max(1e-3)
        };
        let mut line = format!(
            "online {} of {devices} | {:.1} PING/s, {:.1} REPORT/s, {:.1} logins/s | lost {}, refused {}, bad {}",
            self.online(),
            rate(Event::PingAnswered),
            rate(Event::ReportThanked),
            rate(Event::Login),
            self.of(Event::Lost),
            self.of(Event::Refused),
            self.of(Event::Bad) + self.of(Event::Odd),
        );
        if !last_trouble.is_empty() {
            line.push_str(" | last: ");
            line.push_str(last_trouble);
        }
        line
    }

    /// The account at the end, a line for each subject.
    pub(super) fn summary(&self, devices: usize, elapsed: Duration, last_trouble: &str) -> String {
        let mut text = String::new();
        let mut line = |subject: &str, told: String| {
            // Writing to a string cannot fail.
            let _written = writeln!(text, "{subject:<12} {told}");
        };
        let of = |event| self.of(event);
        let pair =
            |said, answer: &str, answered| format!("{}, {answer} {}", of(said), of(answered));
        line("time", format!("{:.1} s", elapsed.as_secs_f64()));
        line(
            "devices",
            format!("{devices}, logged in {}", of(Event::FirstLogin)),
        );
        line("logins", of(Event::Login).to_string());
        line(
            "heartbeats",
            pair(Event::PingSaid, "answered", Event::PingAnswered),
        );
        line(
            "reports",
            pair(Event::ReportSaid, "thanked", Event::ReportThanked),
        );
        line(
            "debug blobs",
            pair(Event::BlobSaid, "stored", Event::BlobStored),
        );
        line(
            "commands",
            format!("{} answered", of(Event::CommandAnswered)),
        );
        line(
            "goodbyes",
            pair(Event::GoodbyeSaid, "answered", Event::GoodbyeAnswered),
        );
        line("told to go", of(Event::ToldToGo).to_string());
        line("lost", format!("{} connections", of(Event::Lost)));
        line("refused", format!("{} attempts", of(Event::Refused)));
        line(
            "bad",
            format!(
                "{} not understood by the gateway, {} by the devices",
                of(Event::Bad),
                of(Event::Odd)
            ),
        );
        if !last_trouble.is_empty() {
            line("last trouble", last_trouble.to_owned());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(events: &[Event]) -> Tally {
        let tally = Tally::default();
        for event in events {
            tally.count(*event);
        }
        tally
    }

    #[test]
    fn who_logged_in_and_did_not_leave_is_online() {
        let counts = tally(&[Event::Login, Event::Login, Event::SessionEnd]).counts();
        assert_eq!(counts.online(), 1);
    }

    #[test]
    fn progress_tells_rates_and_the_last_trouble() {
        let tally = tally(&[Event::Login, Event::PingAnswered]);
        let earlier = tally.counts();
        tally.count(Event::PingAnswered);
        tally.trouble(Event::Lost, "it was cut");
        let line =
            tally
                .counts()
                .progress(7, &earlier, Duration::from_secs(2), &tally.last_trouble());
        assert_eq!(
            line,
            "online 1 of 7 | 0.5 PING/s, 0.0 REPORT/s, 0.0 logins/s | lost 1, refused 0, bad 0 | last: it was cut"
        );
    }

    #[test]
    fn the_summary_has_every_subject_and_ends_with_trouble_if_there_was_any() {
        let tally = tally(&[Event::ReportSaid, Event::ReportSaid, Event::ReportThanked]);
        let summary = tally.counts().summary(3, Duration::from_millis(1250), "");
        assert!(summary.starts_with("time         1.2 s\ndevices      3, logged in 0\n"));
        assert!(
            summary.contains("\nreports      2, thanked 1\n"),
            "{summary}"
        );
        assert!(!summary.contains("trouble"));
    }
}
