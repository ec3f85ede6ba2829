//! The simulated vehicle: its state, how that changes over time, and its answers. No clock, no connection.

use std::{f64::consts::PI, time::Duration};

use fastrand::Rng;

use crate::domain::{Action, Battery, DeviceSentence, Latitude, Longitude, Running, VehicleState};

/// Metres a second: about 50 km/h, so that a minute of driving is visible on a map.
const SPEED: f64 = 14.0;
const METRES_PER_DEGREE: f64 = 111_320.0;
/// In each step the heading changes at random by at most half of this to either side, in radians.
const TURN: f64 = 0.5;
/// The latitude, north and south, at which the vehicle turns back, in degrees: near a pole a metre can be any number of
/// degrees of longitude.
const NORTHERNMOST: f64 = 80.0;
/// The driving time that one percent of the battery lasts: short enough to be watched.
const PERCENT_LASTS: Duration = Duration::from_mins(1);
/// The centre of the square of one degree in which vehicles begin.
const HOME: (f64, f64) = (43.62, 11.46);

/// A simulated vehicle.
#[derive(Debug)]
pub(super) struct SimulatedVehicle {
    latitude: f64,
    longitude: f64,
    /// Clockwise from north, in radians.
    heading: f64,
    running: bool,
    /// The driving time that is left in the battery; at zero the vehicle rests and cannot run.
    driving_left: Duration,
    report_every: Option<Duration>,
    rng: Rng,
}

impl SimulatedVehicle {
    /// A vehicle at a random place, charged to 40 % or more, running or resting.
    pub(super) fn new(report_every: Option<Duration>, mut rng: Rng) -> Self {
        Self {
            latitude: HOME.0 + rng.f64() - 0.5,
            longitude: HOME.1 + rng.f64() - 0.5,
            heading: rng.f64() * 2.0 * PI,
            running: rng.bool(),
            driving_left: PERCENT_LASTS * rng.u32(40..=100),
            report_every,
            rng,
        }
    }

    /// The state that it would report now.
    pub(super) fn state(&self) -> VehicleState {
        // Six decimals are a tenth of a metre; more would only be noise.
        let rounded = |degrees: f64| (degrees * 1e6).round() / 1e6;
        let percent = self
            .driving_left
            .as_secs()
            .div_ceil(PERCENT_LASTS.as_secs());
        VehicleState {
            latitude: Latitude::from_f64(rounded(self.latitude)).expect("below NORTHERNMOST"),
            longitude: Longitude::from_f64(rounded(self.longitude))
                .expect("wrapped at 180 degrees"),
            running: Running::from(self.running),
            battery: Battery::new(percent).expect("charged to at most 100 %"),
        }
    }

    /// The interval between two reports; `None` for no reports.
    pub(super) fn report_every(&self) -> Option<Duration> {
        self.report_every
    }

    /// Executes a command, if the vehicle can, and returns the vehicle's answer.
    pub(super) fn answer(&mut self, action: Action) -> DeviceSentence {
        match action {
            Action::AskState => DeviceSentence::Fine(self.state()),
            Action::Run => self.turn(true),
            Action::Rest => self.turn(false),
            Action::KeepMePosted(interval) => {
                self.set_report_interval(Duration::from_secs(interval.seconds().into()));
                DeviceSentence::SureIWill
            }
            Action::Goodbye => DeviceSentence::SeeYa,
        }
    }

    /// Takes over the state that a typed sentence claims.
    pub(super) fn take_over(&mut self, sentence: &DeviceSentence) {
        match sentence {
            DeviceSentence::Report(state) | DeviceSentence::Fine(state) => {
                self.latitude = state.latitude.to_f64();
                self.longitude = state.longitude.to_f64();
                self.driving_left = PERCENT_LASTS * u32::from(state.battery.percent());
                self.running = state.running.is_running();
            }
            DeviceSentence::KeepMePosted(interval) => {
                self.set_report_interval(Duration::from_secs(interval.seconds().into()));
            }
            _ => {}
        }
    }

    /// Lets time pass: a running vehicle moves, and rests once its battery is empty.
    pub(super) fn advance(&mut self, by: Duration) {
        if !self.running {
            return;
        }
        let driven = by.min(self.driving_left);
        self.driving_left -= driven;
        self.running = !self.driving_left.is_zero();
        self.heading += (self.rng.f64() - 0.5) * TURN;
        let degrees = driven.as_secs_f64() * SPEED / METRES_PER_DEGREE;
        let shrunk = self.latitude.to_radians().cos().max(0.1);
        self.latitude += degrees * self.heading.cos();
        self.longitude += degrees * self.heading.sin() / shrunk;
        if self.latitude.abs() > NORTHERNMOST {
            self.latitude = self.latitude.clamp(-NORTHERNMOST, NORTHERNMOST);
            self.heading = PI - self.heading;
        }
        if self.longitude.abs() > 180.0 {
            self.longitude -= 360.0_f64.copysign(self.longitude);
        }
    }

    /// Turns the vehicle on or off. The answer is `Cannot` if it is so already, or if it should run with an empty
    /// battery.
    fn turn(&mut self, on: bool) -> DeviceSentence {
        if self.running == on || (on && self.driving_left.is_zero()) {
            return DeviceSentence::Cannot;
        }
        self.running = on;
        DeviceSentence::Done
    }

    fn set_report_interval(&mut self, interval: Duration) {
        self.report_every = Some(interval).filter(|interval| !interval.is_zero());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ReportInterval;
    use fastrand::Rng;
    use proptest::{collection::vec, prelude::*};

    fn vehicle(seed: u64) -> SimulatedVehicle {
        SimulatedVehicle::new(None, Rng::with_seed(seed))
    }

    #[test]
    fn it_executes_possible_commands_and_refuses_others() {
        let mut vehicle = vehicle(1);
        vehicle.running = false;
        for (command, answer, running) in [
            (Action::Run, DeviceSentence::Done, true),
            (Action::Run, DeviceSentence::Cannot, true),
            (Action::Rest, DeviceSentence::Done, false),
            (Action::Rest, DeviceSentence::Cannot, false),
        ] {
            assert_eq!(vehicle.answer(command), answer);
            assert_eq!(vehicle.state().running.is_running(), running);
        }
        assert_eq!(vehicle.answer(Action::Goodbye), DeviceSentence::SeeYa);
    }

    #[test]
    fn it_takes_over_the_report_interval() {
        let mut vehicle = vehicle(1);
        for (seconds, every) in [(10, Some(Duration::from_secs(10))), (0, None)] {
            let interval = ReportInterval::new(seconds).unwrap();
            assert_eq!(
                vehicle.answer(Action::KeepMePosted(interval)),
                DeviceSentence::SureIWill
            );
            assert_eq!(vehicle.report_every(), every);
        }
    }

    #[test]
    fn it_rests_when_its_battery_is_empty() {
        let mut vehicle = vehicle(1);
        vehicle.running = true;
        vehicle.advance(Duration::from_hours(24));
        let state = vehicle.state();
        assert_eq!(
            (state.battery.percent(), state.running.is_running()),
            (0, false)
        );
        assert_eq!(vehicle.answer(Action::Run), DeviceSentence::Cannot);
    }

    #[test]
    fn it_takes_over_the_state_of_a_typed_report() {
        let mut vehicle = vehicle(1);
        let state = VehicleState {
            latitude: Latitude::from_f64(-90.0).unwrap(),
            longitude: Longitude::from_f64(180.0).unwrap(),
            running: Running::Running,
            battery: Battery::new(7).unwrap(),
        };
        vehicle.take_over(&DeviceSentence::Report(state));
        assert_eq!(
            vehicle.answer(Action::AskState),
            DeviceSentence::Fine(state)
        );
        vehicle.advance(Duration::from_secs(1));
        assert_ne!(vehicle.state().latitude, state.latitude);
    }

    proptest! {
        #[test]
        fn a_running_vehicle_moves_at_its_speed_and_its_battery_never_rises(
            seed in any::<u64>(),
            steps in vec(1_u64..600_000, 1..50),
        ) {
            let mut vehicle = vehicle(seed);
            vehicle.running = true;
            for millis in steps {
                let before = vehicle.state();
                let step = Duration::from_millis(millis);
                vehicle.advance(step);
                let after = vehicle.state();
                prop_assert!(after.battery <= before.battery);
                let north = after.latitude.to_f64() - before.latitude.to_f64();
                prop_assert!(north.abs() * METRES_PER_DEGREE <= step.as_secs_f64() * SPEED + 0.2);
            }
        }

        #[test]
        fn a_resting_vehicle_stays_as_it_is(seed in any::<u64>(), millis in any::<u64>()) {
            let mut vehicle = vehicle(seed);
            vehicle.running = false;
            let before = vehicle.state();
            vehicle.advance(Duration::from_millis(millis));
            prop_assert_eq!(vehicle.state(), before);
        }
    }
}
