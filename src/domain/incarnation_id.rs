//! The id of an incarnation of a gateway process.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of an incarnation: a gateway process from its start until it ends or is declared dead.
///
/// Each incarnation has a row in the database. A process that was declared dead goes on as a new incarnation, and
/// nothing that it does under the old id is committed. The text, in JSON too, is that of a hyphenated lower-case UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IncarnationId(Uuid);

impl IncarnationId {
    /// A new random id.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The id as a UUID.
    #[must_use]
    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for IncarnationId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for IncarnationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for IncarnationId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_text_and_its_json_are_those_of_the_uuid() {
        let uuid = Uuid::from_u128(0x9180_af05_0219_4c88_8a95_3da8_6b13_0d43);
        let id = IncarnationId::from(uuid);
        assert_eq!(id.to_string(), "9180af05-0219-4c88-8a95-3da86b130d43");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(
            serde_json::to_value(id).unwrap(),
            serde_json::json!(id.to_string())
        );
    }
}
