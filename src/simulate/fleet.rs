//! All devices of a simulation: starts them, shows their progress and the summary.

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
    device::{SimulatedDevice, TypedLines},
    reconnect::run_device,
    screen::Screen,
    tally::{Tallied, Tally, TallySnapshot},
    vehicle::SimulatedVehicle,
};
use crate::domain::DeviceId;

/// The interval at which progress is shown on a terminal.
const TICK: Duration = Duration::from_secs(1);
/// The interval at which progress is shown in a pipe. While devices log in for the first time, it is shown at every
/// [`TICK`].
const PIPED_INTERVAL: Duration = Duration::from_secs(10);
/// The default interval between two reports of a device of a fleet.
const FLEET_REPORTS: Duration = Duration::from_mins(1);

/// A running simulation.
pub(super) struct Fleet {
    size: usize,
    tally: Arc<Tally>,
    screen: Arc<Screen>,
    started: Instant,
    /// The counts that were shown last, and when.
    shown: (TallySnapshot, Instant),
    devices: JoinSet<()>,
}

impl Fleet {
    /// Starts `options.ramp` devices a second; `lines` are typed for the device if there is only one.
    pub(super) fn start(
        options: &Options,
        seed: u64,
        screen: Arc<Screen>,
        mut lines: TypedLines,
        stop: &CancellationToken,
    ) -> Self {
        let started = Instant::now();
        let mut fleet = Self {
            size: options.devices as usize,
            tally: Arc::default(),
            screen,
            started,
            shown: (TallySnapshot::default(), started),
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
                    run_device(device, &address, lines, &stop).await;
                }
            });
        }
        fleet
    }

    /// Creates a device. Its id and its vehicle follow from `rng`, so that a seed gives the same fleet.
    fn device(&self, options: &Options, mut rng: Rng) -> SimulatedDevice {
        let alone = options.devices == 1;
        let by_default = (!alone).then_some(FLEET_REPORTS);
        let report_every = options.report_every.or(by_default);
        SimulatedDevice {
            id: options.id.clone().unwrap_or_else(|| device_id(&mut rng)),
            dialect: options.dialect,
            vehicle: SimulatedVehicle::new(unless_zero(report_every), rng.fork()),
            heartbeat: unless_zero(Some(options.heartbeat)),
            staggered: !alone,
            rng,
            tally: Arc::clone(&self.tally),
            screen: alone.then(|| Arc::clone(&self.screen)),
            known: false,
            moved: Instant::now(),
        }
    }

    /// Waits until every device has said goodbye, and shows the progress meanwhile.
    pub(super) async fn finish(&mut self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            tokio::select! {
                biased;
                ended = self.devices.join_next() => match ended {
                    None => return,
                    Some(Ok(())) => {}
                    Some(Err(error)) => self.screen.note(&format_args!("a device failed: {error}")),
                },
                now = ticks.tick(), if self.size > 1 => self.show_progress(now),
            }
        }
    }

    /// Shows the progress, if it is due.
    fn show_progress(&mut self, now: Instant) {
        let counts = self.tally.counts();
        let (earlier, at) = &self.shown;
        let ago = now - *at;
        let connecting = counts.of(Tallied::FirstLogin) > earlier.of(Tallied::FirstLogin);
        if self.screen.is_rewritable() || ago >= PIPED_INTERVAL || connecting {
            let failure = self.tally.last_failure();
            let progress = counts.progress(self.size, earlier, ago, &failure);
            self.screen.progress(&progress);
            self.shown = (counts, now);
        }
    }

    /// Whether any device was logged in at some time.
    pub(super) fn has_logged_in(&self) -> bool {
        self.tally.counts().of(Tallied::FirstLogin) > 0
    }

    /// Shows the summary.
    pub(super) fn show_summary(&self) {
        let failure = self.tally.last_failure();
        let elapsed = self.started.elapsed();
        let summary = self.tally.counts().summary(self.size, elapsed, &failure);
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
    fn a_seed_gives_the_same_fleet_of_any_size() {
        let ids = |seed, size| -> Vec<DeviceId> {
            let mut rng = Rng::with_seed(seed);
            (0..size).map(|_| device_id(&mut rng.fork())).collect()
        };
        assert_eq!(ids(7, 100)[..50], ids(7, 50));
        assert_ne!(ids(7, 1), ids(8, 1));
    }
}
