//! Cursors: the key of a page's last entry, as text.
//!
//! A page begins after a key and not at an offset, so that entries which are added or deleted between two pages neither
//! repeat nor hide others. Tags keep the cursor of one list from being taken for that of another.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use schemars::json_schema;
use uuid::Uuid;

use crate::{
    domain::{DeviceId, Timestamp},
    http::extract::{QueryFields, QueryParameter},
    vehicles::Position,
};

/// The key of a page's last entry, as text.
pub(crate) trait PageCursor: Sized {
    /// Matches exactly the texts that [`PageCursor::decode`] accepts.
    const PATTERN: &str;

    /// The cursor of the page after this entry.
    fn encode(&self) -> String;

    /// The entry after which the page begins.
    fn decode(cursor: &str) -> Option<Self>;

    /// The query parameter `cursor`.
    fn parameter() -> QueryParameter {
        QueryParameter {
            name: "cursor",
            description: "The `nextCursor` of the previous page. The other parameters must be unchanged.",
            schema: json_schema!({ "type": "string", "pattern": Self::PATTERN }),
        }
    }

    /// Takes the query parameter `cursor`; `None` for the first page.
    fn take(fields: &mut QueryFields) -> Option<Self> {
        fields.take("cursor", |text| {
            Self::decode(text).ok_or("must be the nextCursor of a page of this list")
        })
    }
}

/// The key of a report or a debug blob: time and id, eight bytes each.
impl PageCursor for Position {
    const PATTERN: &str = "^[A-Za-z0-9_-]{21}[AQgw]$";

    fn encode(&self) -> String {
        let bytes = [self.received_at.as_millis(), self.id].map(i64::to_be_bytes);
        URL_SAFE_NO_PAD.encode(bytes.as_flattened())
    }

    fn decode(cursor: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (received_at, id) = bytes.split_first_chunk()?;
        Some(Self {
            received_at: Timestamp::from_millis(i64::from_be_bytes(*received_at)),
            id: i64::from_be_bytes(id.try_into().ok()?),
        })
    }
}

/// The key of a command: its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommandPosition(pub(crate) Uuid);

impl CommandPosition {
    const TAG: &[u8] = b"cmd";
}

impl PageCursor for CommandPosition {
    const PATTERN: &str = "^Y21k[A-Za-z0-9_-]{21}[AQgw]$";

    fn encode(&self) -> String {
        encode_uuid(Self::TAG, self.0)
    }

    fn decode(cursor: &str) -> Option<Self> {
        decode_uuid(Self::TAG, cursor).map(Self)
    }
}

/// The key of an audit record: its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AuditPosition(pub(crate) Uuid);

impl AuditPosition {
    const TAG: &[u8] = b"aud";
}

impl PageCursor for AuditPosition {
    const PATTERN: &str = "^YXVk[A-Za-z0-9_-]{21}[AQgw]$";

    fn encode(&self) -> String {
        encode_uuid(Self::TAG, self.0)
    }

    fn decode(cursor: &str) -> Option<Self> {
        decode_uuid(Self::TAG, cursor).map(Self)
    }
}

/// The key of a webhook message: its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessagePosition(pub(crate) Uuid);

impl MessagePosition {
    const TAG: &[u8] = b"msg";
}

impl PageCursor for MessagePosition {
    const PATTERN: &str = "^bXNn[A-Za-z0-9_-]{21}[AQgw]$";

    fn encode(&self) -> String {
        encode_uuid(Self::TAG, self.0)
    }

    fn decode(cursor: &str) -> Option<Self> {
        decode_uuid(Self::TAG, cursor).map(Self)
    }
}

fn encode_uuid(tag: &[u8], id: Uuid) -> String {
    URL_SAFE_NO_PAD.encode([tag, id.as_bytes().as_slice()].concat())
}

fn decode_uuid(tag: &[u8], cursor: &str) -> Option<Uuid> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    Uuid::from_slice(bytes.strip_prefix(tag)?).ok()
}

/// The key of a vehicle: its id. A forged cursor may hold a text that is not a valid id; the page then begins where
/// that text would be in the order of ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VehiclePosition(pub(crate) String);

impl VehiclePosition {
    const TAG: &[u8] = b"veh";
}

/// The id is padded with spaces to whole groups of base64, so that a pattern can match exactly the valid cursors.
impl PageCursor for VehiclePosition {
    const PATTERN: &str = "^dmVo(?:[A-Za-z0-9_-]{4}){1,22}$";

    fn encode(&self) -> String {
        let mut bytes = [Self::TAG, self.0.as_bytes()].concat();
        bytes.resize(bytes.len().next_multiple_of(3), b' ');
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn decode(cursor: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let padded = bytes.strip_prefix(Self::TAG)?;
        let whole = !padded.is_empty() && padded.len().is_multiple_of(3);
        let fits = padded.len() <= DeviceId::MAX_LEN.next_multiple_of(3);
        let id = padded
            .iter()
            .copied()
            .take_while(|&byte| DeviceId::is_id_byte(byte));
        (whole && fits).then(|| Self(id.map(char::from).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_decodes_to_its_entry_and_other_texts_are_rejected() {
        let position = Position {
            received_at: Timestamp::from_millis(1_795_402_499_050),
            id: 7,
        };
        assert_eq!(Position::decode(&position.encode()), Some(position));
        let command = CommandPosition(Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0001));
        assert_eq!(CommandPosition::decode(&command.encode()), Some(command));
        let message = MessagePosition(Uuid::from_u128(7));
        assert_eq!(MessagePosition::decode(&message.encode()), Some(message));
        assert_eq!(Position::decode(&command.encode()), None);
        assert_eq!(CommandPosition::decode(&position.encode()), None);
        assert_eq!(MessagePosition::decode(&command.encode()), None);
        for id in ["a", "no", "two", "truck-17", &"x".repeat(64)] {
            let vehicle = VehiclePosition(id.to_owned());
            assert_eq!(VehiclePosition::decode(&vehicle.encode()), Some(vehicle));
        }
        for bad in [
            "",
            "a",
            "garbage",
            "not-a-cursor",
            "!!!",
            "dHJ1Y2s=",
            "dmVo",
            "dmVoYQ",
            "Y21k",
            "bXNn",
            "Y21kAAAAAAAAAAAAAAAAAAAAAB",
        ] {
            assert_eq!(CommandPosition::decode(bad), None, "{bad}");
            assert_eq!(MessagePosition::decode(bad), None, "{bad}");
            assert_eq!(Position::decode(bad), None, "{bad}");
            assert_eq!(VehiclePosition::decode(bad), None, "{bad}");
        }
        let of_commands = "Y21kAAAAAAAAAAAAAAAAAAAAAA";
        assert_eq!(MessagePosition::decode(of_commands), None);
    }
}
