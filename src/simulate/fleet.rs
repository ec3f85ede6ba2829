//! All devices of a simulation: how they begin, how it goes, how it ends.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;
use uuid::Builder;

use super::{
    Options,
    device::{Device, Lines},
    life::live,
    screen::Screen,
    tally::{Counts, Event, Tally},
    vehicle::Vehicle,
};
use crate::domain::DeviceId;

/// How often progress is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is told where lines stay, unless devices logged in since.
const TELL: Duration = Duration::from_secs(10);
/// How often a device of a fleet reports unless told otherwise.
const FLEET_REPORTS: Duration = Duration::from_mins(1);

/// A simulation that is under way.
pub(super) struct Fleet {
    size: usize,
    tally: Arc<Tally>,
    screen: Arc<Screen>,
    started: Instant,
    /// What progress told last, and when.
    told: (Counts, Instant),
    devices: JoinSet<()>,
}

impl Fleet {
    /// Starts the devices, `options.ramp` of them a second; `lines` are for the only one.
    pub(super) fn start(
        options: &Options,
        seed: u64,
        screen: Arc<Screen>,
        mut lines: Lines,
        stop: &CancellationToken,
    ) -> Self {
        let started = Instant::now();
        let mut fleet = Self {
            size: options.devices as usize,
            tally: Arc::default(),
            screen,
            started,
            told: (Counts::default(), started),
            devices: JoinSet::new(),
        };
        let address: Arc<str> = options.connect.as_str().into();
        let mut rng = Rng::with_seed(seed);
        for index in 0..options.devices {
            let device = fleet.device(options, rng.fork());
            let begin = started + Duration::from_secs(1) * index / options.ramp;
            let (address, lines, stop) = (Arc::clone(&address), lines.take(), stop.clone());
            fleet.devices.spawn(async move {
                if stop.run_until_cancelled(sleep_until(begin)).await.is_some() {
                    live(device, &address, lines, &stop).await;
                }
            });
        }
        fleet
    }

    /// The same device for the same `rng`.
    fn device(&self, options: &Options, mut rng: Rng) -> Device {
        let alone = options.devices == 1;
        let by_default = (!alone).then_some(FLEET_REPORTS);
        let report_every = options.report_every.or(by_default);
        Device {
            id: options.id.clone().unwrap_or_else(|| device_id(&mut rng)),
            dialect: options.dialect,
            vehicle: Vehicle::new(unless_zero(report_every), rng.fork()),
            heartbeat: unless_zero(Some(options.heartbeat)),
            staggered: !alone,
            rng,
            tally: Arc::clone(&self.tally),
            screen: alone.then(|| Arc::clone(&self.screen)),
            known: false,
            moved: Instant::now(),
        }
    }

    /// Waits until every device has said goodbye, and tells meanwhile how it goes.
    pub(super) async fn finish(&mut self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.tick().await;
        loop {
            tokio::select! {
                biased;
                ended = self.devices.join_next() => match ended {
                    None => return,
                    Some(Ok(())) => {}
                    Some(Err(error)) => self.screen.note(&format_args!("a device ended badly: {error}")),
                },
                now = looks.tick(), if self.size > 1 => self.look(now),
            }
        }
    }

    /// Tells how it goes, if that is worth a line.
    fn look(&mut self, now: Instant) {
        let counts = self.tally.counts();
        let (earlier, at) = &self.told;
        let ago = now - *at;
        let connecting = counts.of(Event::FirstLogin) > earlier.of(Event::FirstLogin);
        if self.screen.is_rewritable() || ago >= TELL || connecting {
            let trouble = self.tally.last_trouble();
            let line = counts.progress(self.size, earlier, ago, &trouble);
            self.screen.progress(&line);
            self.told = (counts, now);
        }
    }

    /// Tells what came of it.
    pub(super) fn summarise(&self) {
        let trouble = self.tally.last_trouble();
        let elapsed = self.started.elapsed();
        let summary = self.tally.counts().summary(self.size, elapsed, &trouble);
        self.screen.text(&format!("\n{summary}"));
    }
}

fn device_id(rng: &mut Rng) -> DeviceId {
    let uuid = Builder::from_random_bytes(rng.u128(..).to_be_bytes()).into_uuid();
    DeviceId::parse(&uuid.to_string()).expect("a UUID is an id")
}

fn unless_zero(every: Option<Duration>) -> Option<Duration> {
    every.filter(|every| !every.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_fleet_and_a_smaller_one_is_its_beginning() {
        let ids = |seed, size| -> Vec<DeviceId> {
            let mut rng = Rng::with_seed(seed);
            (0..size).map(|_| device_id(&mut rng.fork())).collect()
        };
        assert_eq!(ids(7, 100)[..50], ids(7, 50));
        assert_ne!(ids(7, 1), ids(8, 1));
    }
}
