//! The serialised form of single values, for `serde(with)`.

use std::time::Duration;

use crate::domain::Timestamp;

/// The longest duration that is read, ten years: longer ones are shortened to it, so that adding one to the time does
/// not overflow.
const LONGEST_DURATION: Duration = Duration::from_hours(10 * 365 * 24);

/// A value that is written as its text.
pub(super) mod text {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in super::super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(in super::super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// A value that is written as a whole number of milliseconds: a duration, or a time since 1970.
pub(super) trait Millis: Sized {
    type Number: serde::Serialize + for<'de> serde::Deserialize<'de>;

    fn to_millis(self) -> Self::Number;
    fn from_millis(number: Self::Number) -> Self;
}

impl Millis for Duration {
    type Number = u64;

    fn to_millis(self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }

    fn from_millis(millis: u64) -> Self {
        Self::from_millis(millis).min(LONGEST_DURATION)
    }
}

impl Millis for Timestamp {
    type Number = i64;

    fn to_millis(self) -> i64 {
        self.as_millis()
    }

    fn from_millis(millis: i64) -> Self {
        Self::from_millis(millis)
    }
}

pub(super) mod millis {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Millis;

    pub(in super::super) fn serialize<T: Millis + Copy, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.to_millis().serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, T: Millis, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        T::Number::deserialize(deserializer).map(T::from_millis)
    }
}

pub(super) mod optional_millis {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Millis;

    #[expect(clippy::ref_option, reason = "serde asks for this signature")]
    pub(in super::super) fn serialize<T: Millis + Copy, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(Millis::to_millis).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, T: Millis, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let number = Option::<T::Number>::deserialize(deserializer)?;
        Ok(number.map(T::from_millis))
    }
}

pub(super) mod interval {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::domain::ReportInterval;

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde asks for this signature"
    )]
    pub(in super::super) fn serialize<S: Serializer>(
        interval: &ReportInterval,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(interval.seconds())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<ReportInterval, D::Error> {
        ReportInterval::new(u64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
