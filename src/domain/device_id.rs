//! The id of a vehicle.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use uuid::Uuid;

/// The id of a vehicle: 1 to 64 characters of `A-Z a-z 0-9 . _ : -`, but not `.` or `..`.
///
/// A UUID is the same id in upper and lower case and is stored in lower case; every other id is case-sensitive. A clone
/// shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(Arc<str>);

/// Text that cannot be a [`DeviceId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a device id is 1 to 64 characters of A-Z a-z 0-9 . _ : - and is not '.' or '..'")]
pub struct InvalidDeviceId;

impl DeviceId {
    /// The longest id, in characters (all of them ASCII).
    pub const MAX_LEN: usize = 64;

    /// Parses `text`. A UUID is converted to lower case.
    pub fn parse(text: &str) -> Result<Self, InvalidDeviceId> {
        if text.is_empty()
            || text.len() > Self::MAX_LEN
            || text == "."
            || text == ".."
            || !text.bytes().all(Self::is_id_byte)
        {
            return Err(InvalidDeviceId);
        }
        // Devices write UUIDs with hyphens; 32 bare hex digits are an id of another kind and stay as they are.
        if text.len() == 36
            && text.bytes().any(|byte| byte.is_ascii_uppercase())
            && Uuid::try_parse(text).is_ok()
        {
            return Ok(Self(text.to_ascii_lowercase().into()));
        }
        Ok(Self(text.into()))
    }

    /// Whether `byte` may stand in an id.
    #[must_use]
    pub fn is_id_byte(byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-')
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeviceId {
    type Err = InvalidDeviceId;

    fn from_str(text: &str) -> Result<Self, InvalidDeviceId> {
        Self::parse(text)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Borrow<str> for DeviceId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_1_to_64_allowed_characters() {
        for good in ["a", "A.b_c:d-9", "__proto__", "...", &"x".repeat(64)] {
            assert_eq!(DeviceId::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            ".",
            "..",
            "a b",
            "a!",
            "ä",
            "a/b",
            "a\n",
            &"x".repeat(65),
        ] {
            assert_eq!(DeviceId::parse(bad), Err(InvalidDeviceId), "{bad:?}");
        }
    }

    #[test]
    fn only_uuids_are_case_insensitive() {
        let upper = DeviceId::parse("9180AF05-0219-4C88-8A95-3DA86B130D43").unwrap();
        assert_eq!(upper.as_str(), "9180af05-0219-4c88-8a95-3da86b130d43");
        assert_ne!(DeviceId::parse("Truck-1"), DeviceId::parse("truck-1"));
        let not_hyphenated = "9180AF0502194C888A953DA86B130D43";
        assert_eq!(
            DeviceId::parse(not_hyphenated).unwrap().as_str(),
            not_hyphenated
        );
    }
}
