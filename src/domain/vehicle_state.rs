//! The state of a vehicle, in types that cannot be out of range.

use std::fmt;

/// A value that is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {allowed}")]
pub struct OutOfRange {
    /// The name of the value.
    pub what: &'static str,
    /// The range, in words.
    pub allowed: &'static str,
}

/// Decimal degrees from `-LIMIT` to `LIMIT`, rounded to 9 decimals (0.1 mm on the equator).
///
/// Stored as whole billionths, so that equality is exact, `-0` is 0, and a double-precision column gives back the
/// written value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Degrees<const LIMIT: i64>(i64);

/// Degrees north of the equator, -90 to 90.
pub type Latitude = Degrees<90>;
/// Degrees east of Greenwich, -180 to 180.
pub type Longitude = Degrees<180>;

const BILLION: i64 = 1_000_000_000;

impl<const LIMIT: i64> Degrees<LIMIT> {
    const OUT_OF_RANGE: OutOfRange = if LIMIT == 90 {
        OutOfRange {
            what: "latitude",
            allowed: "-90 to 90 degrees",
        }
    } else {
        OutOfRange {
            what: "longitude",
            allowed: "-180 to 180 degrees",
        }
    };

    /// From a sign, whole degrees and the digits after the dot (ASCII, any number of them).
    ///
    /// The value must be in range before it is rounded. Halves are rounded away from zero.
    pub fn from_digits(negative: bool, whole: u16, fraction: &[u8]) -> Result<Self, OutOfRange> {
        let mut billionths = i64::from(whole) * BILLION;
        let mut unit = BILLION;
        for digit in fraction.iter().take(9) {
            unit /= 10;
            billionths += i64::from(digit - b'0') * unit;
        }
        let rest = fraction.get(9..).unwrap_or_default();
        let beyond = rest.iter().any(|&digit| digit != b'0');
        if billionths > LIMIT * BILLION || (billionths == LIMIT * BILLION && beyond) {
            return Err(Self::OUT_OF_RANGE);
        }
        if rest.first().is_some_and(|&digit| digit >= b'5') {
            billionths += 1;
        }
        Ok(Self(if negative { -billionths } else { billionths }))
    }

    /// From a floating-point number of JSON or SQL.
    pub fn from_f64(degrees: f64) -> Result<Self, OutOfRange> {
        #[expect(clippy::cast_precision_loss, reason = "LIMIT is 90 or 180")]
        if degrees.is_nan() || degrees.abs() > LIMIT as f64 {
            return Err(Self::OUT_OF_RANGE);
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at most 180e9 by the check above"
        )]
        Ok(Self((degrees * 1e9).round() as i64))
    }

    /// The nearest double, which prints with the same 9 decimals.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "at most 180e9, below 2^53")]
        let billionths = self.0 as f64;
        billionths / 1e9
    }
}

impl<const LIMIT: i64> fmt::Display for Degrees<LIMIT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_f64(), f)
    }
}

impl<const LIMIT: i64> fmt::Debug for Degrees<LIMIT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// State of charge, 0 to 100 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Battery(u8);

impl Battery {
    /// Checks that `percent` is 0 to 100.
    pub fn new(percent: u64) -> Result<Self, OutOfRange> {
        match u8::try_from(percent) {
            Ok(percent @ 0..=100) => Ok(Self(percent)),
            _ => Err(OutOfRange {
                what: "battery",
                allowed: "a whole number from 0 to 100 (percent)",
            }),
        }
    }

    /// The charge in percent.
    #[must_use]
    pub fn percent(self) -> u8 {
        self.0
    }
}

/// Seconds between two reports: 10 to 3600, or 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReportInterval(u16);

impl ReportInterval {
    /// Checks that `seconds` is 0 or 10 to 3600.
    pub fn new(seconds: u64) -> Result<Self, OutOfRange> {
        match u16::try_from(seconds) {
            Ok(seconds @ (0 | 10..=3600)) => Ok(Self(seconds)),
            _ => Err(OutOfRange {
                what: "report interval",
                allowed: "10 to 3600 seconds, or 0 to stop the reports",
            }),
        }
    }

    /// The interval in seconds; 0 means no reports.
    #[must_use]
    pub fn seconds(self) -> u16 {
        self.0
    }
}

/// Whether a vehicle is turned on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Running {
    /// Turned off (`RESTING`).
    Resting,
    /// Turned on (`RUNNING`).
    Running,
}

impl Running {
    /// True for [`Running::Running`].
    #[must_use]
    pub fn is_running(self) -> bool {
        self == Self::Running
    }
}

impl From<bool> for Running {
    fn from(running: bool) -> Self {
        if running {
            Self::Running
        } else {
            Self::Resting
        }
    }
}

/// The state in a report, all of one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VehicleState {
    /// Degrees north.
    pub latitude: Latitude,
    /// Degrees east.
    pub longitude: Longitude,
    /// On or off.
    pub running: Running,
    /// State of charge.
    pub battery: Battery,
}

/// As in the sentences of vehicles: `I'M HERE <lat> <lon>, <RESTING|RUNNING> AND CHARGED AT <battery>%.`
impl fmt::Display for VehicleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            latitude,
            longitude,
            ..
        } = self;
        let running = match self.running {
            Running::Resting => "RESTING",
            Running::Running => "RUNNING",
        };
        let battery = self.battery.percent();
        write!(
            f,
            "I'M HERE {latitude} {longitude}, {running} AND CHARGED AT {battery}%."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn latitude(whole: u16, fraction: &str) -> Result<f64, OutOfRange> {
        Latitude::from_digits(false, whole, fraction.as_bytes()).map(Degrees::to_f64)
    }

    #[test]
    fn degrees_are_rounded_to_nine_decimals() {
        assert_eq!(latitude(43, "62152"), Ok(43.62152));
        assert_eq!(latitude(1, "0000000004999"), Ok(1.0));
        assert_eq!(latitude(1, "0000000005"), Ok(1.000_000_001));
        let negative = Latitude::from_digits(true, 1, b"0000000005").unwrap();
        assert_eq!(negative, Latitude::from_f64(-1.000_000_001).unwrap());
    }

    #[test]
    fn degrees_must_be_in_range_before_rounding() {
        assert_eq!(latitude(90, ""), Ok(90.0));
        assert!(latitude(90, "00000000001").is_err());
        assert!(latitude(999, "").is_err());
        assert!(Longitude::from_digits(true, 180, b"0").is_ok());
        let minus_zero = Latitude::from_digits(true, 0, b"0000000001").unwrap();
        assert_eq!(minus_zero.to_f64().to_bits(), 0.0_f64.to_bits());
        assert!(Latitude::from_f64(f64::NAN).is_err());
        assert!(Latitude::from_f64(f64::INFINITY).is_err());
    }

    #[test]
    fn battery_and_interval_check_their_ranges() {
        assert_eq!(Battery::new(100).unwrap().percent(), 100);
        assert!(Battery::new(101).is_err());
        assert!(Battery::new(256).is_err());
        for good in [0, 10, 3600] {
            assert!(ReportInterval::new(good).is_ok());
        }
        for bad in [1, 9, 3601, 65_546] {
            assert!(ReportInterval::new(bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn degrees_survive_a_double_column_and_their_text(billionths in -180_000_000_000_i64..=180_000_000_000) {
            let value = Degrees::<180>(billionths);
            prop_assert_eq!(Longitude::from_f64(value.to_f64()), Ok(value));
            let text = value.to_string();
            prop_assert_eq!(Longitude::from_f64(text.parse().unwrap()), Ok(value));
        }
    }
}
