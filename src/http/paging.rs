//! Lists in pages. A cursor names the last entry of a page by its key, so that entries which come
//! or go meanwhile neither repeat nor hide others.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use schemars::{JsonSchema, json_schema};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    describe::Example,
    extract::{FromQuery, QueryFields, QueryParameter},
};
use crate::{
    domain::{DeviceId, Timestamp},
    vehicles::{CommandPage, HistoryPage, Position},
};

const DEFAULT_LIMIT: u16 = 100;
const MAX_LIMIT: u16 = 1000;

/// One page of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "{T}Page", transform = crate::resource::every_key_present)]
pub(super) struct Page<T> {
    /// The entries.
    items: Vec<T>,
    /// Pass it as `cursor` to get the next page; null when there are no more.
    next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A list that is one page.
    pub(super) fn all(items: Vec<T>) -> Self {
        Self {
            items,
            next_cursor: None,
        }
    }

    /// A page from `entries`, of which [`Limit::plus_one`] were asked for: if the last one came, there is
    /// a next page.
    pub(super) fn new<E>(
        mut entries: Vec<E>,
        limit: Limit,
        cursor: impl FnOnce(&E) -> String,
        item: impl FnMut(E) -> T,
    ) -> Self {
        let more = entries.len() > limit.entries();
        entries.truncate(limit.entries());
        Self {
            next_cursor: entries.last().filter(|_| more).map(cursor),
            items: entries.into_iter().map(item).collect(),
        }
    }
}

impl<T: Example> Example for Page<T> {
    fn example() -> Value {
        json!({ "items": [T::example()], "nextCursor": null })
    }
}

/// How many entries a page holds at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit(u16);

impl Limit {
    fn entries(self) -> usize {
        self.0.into()
    }

    /// What to ask the store for, so that it shows whether there is more.
    pub(super) fn plus_one(self) -> u64 {
        u64::from(self.0) + 1
    }

    pub(super) fn parameter() -> QueryParameter {
        QueryParameter {
            name: "limit",
            description: "How many entries the page may hold.",
            schema: json_schema!({ "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT }),
        }
    }

    pub(super) fn take(fields: &mut QueryFields) -> Self {
        let limit = fields.take_whole_number(
            "limit",
            1..=MAX_LIMIT,
            "must be a whole number from 1 to 1000",
        );
        Self(limit.unwrap_or(DEFAULT_LIMIT))
    }
}

const INVALID_CURSOR: &str = "must be the nextCursor of a page of this list";

/// The query of the list of vehicles.
#[derive(Debug)]
pub(super) struct VehicleQuery {
    pub(super) online: Option<bool>,
    /// Only vehicles whose ids come after this text.
    pub(super) after: Option<String>,
    pub(super) limit: Limit,
}

impl FromQuery for VehicleQuery {
    fn parameters() -> Vec<QueryParameter> {
        vec![
            QueryParameter {
                name: "online",
                description: "Only vehicles that are online (`true`) or offline (`false`).",
                schema: json_schema!({ "type": "boolean" }),
            },
            Limit::parameter(),
            cursor_parameter("^dmVo(?:[A-Za-z0-9_-]{4}){1,22}$"),
        ]
    }

    fn from_query(fields: &mut QueryFields) -> Self {
        Self {
            online: fields.take("online", |text| {
                text.parse().map_err(|_| "must be true or false")
            }),
            after: fields.take("cursor", |text| decode_vehicle(text).ok_or(INVALID_CURSOR)),
            limit: Limit::take(fields),
        }
    }
}

/// What cursors of this list begin with, so that one of another list is not taken for one.
const VEHICLE_TAG: &[u8; 3] = b"veh";

/// The cursor of a page that ends with this vehicle: tag and id, with spaces up to whole groups of
/// base64. So the document can say exactly which texts are cursors.
pub(super) fn encode_vehicle(device_id: &DeviceId) -> String {
    let mut bytes = [VEHICLE_TAG, device_id.as_str().as_bytes()].concat();
    bytes.resize(bytes.len().next_multiple_of(3), b' ');
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode_vehicle(cursor: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let padded = bytes.strip_prefix(VEHICLE_TAG)?;
    let whole = !padded.is_empty() && padded.len().is_multiple_of(3);
    let fits = padded.len() <= DeviceId::MAX_LEN.next_multiple_of(3);
    let id = padded
        .iter()
        .copied()
        .take_while(|&byte| DeviceId::is_id_byte(byte));
    (whole && fits).then(|| id.map(char::from).collect())
}

/// The query of a vehicle's history: reports, debug blobs, commands.
#[derive(Debug)]
pub(super) struct HistoryQuery<P> {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    older_than: Option<P>,
    pub(super) limit: Limit,
}

impl HistoryQuery<Position> {
    /// What to ask the store for: one entry more than the page holds.
    pub(super) fn page(&self) -> HistoryPage {
        HistoryPage {
            from: self.from,
            to: self.to,
            older_than: self.older_than,
            limit: self.limit.plus_one(),
        }
    }
}

impl HistoryQuery<CommandPosition> {
    /// What to ask the store for: one entry more than the page holds.
    pub(super) fn page(&self) -> CommandPage {
        CommandPage {
            from: self.from,
            to: self.to,
            older_than: self.older_than.map(|CommandPosition(id)| id),
            limit: self.limit.plus_one(),
        }
    }
}

impl<P: Cursor> FromQuery for HistoryQuery<P> {
    fn parameters() -> Vec<QueryParameter> {
        vec![
            instant_parameter(
                "from",
                "Only entries of this time or later (RFC 3339; a `+` is written `%2B`).",
            ),
            instant_parameter(
                "to",
                "Only entries from before this time (RFC 3339; a `+` is written `%2B`).",
            ),
            Limit::parameter(),
            cursor_parameter(P::PATTERN),
        ]
    }

    fn from_query(fields: &mut QueryFields) -> Self {
        Self {
            from: fields.take("from", parse_instant),
            to: fields.take("to", parse_instant),
            older_than: take_cursor(fields),
            limit: Limit::take(fields),
        }
    }
}

/// The cursor in the query, for the document.
pub(super) fn cursor_parameter(pattern: &str) -> QueryParameter {
    QueryParameter {
        name: "cursor",
        description: "The `nextCursor` of the page before; the other parameters as they were.",
        schema: json_schema!({ "type": "string", "pattern": pattern }),
    }
}

/// Where the page before ended, if this is not the first.
pub(super) fn take_cursor<P: Cursor>(fields: &mut QueryFields) -> Option<P> {
    fields.take("cursor", |text| P::decode(text).ok_or(INVALID_CURSOR))
}

/// An instant in the query, for the document.
pub(super) fn instant_parameter(name: &'static str, description: &'static str) -> QueryParameter {
    QueryParameter {
        name,
        description,
        schema: json_schema!({
            "type": "string",
            "format": "date-time",
            "examples": ["2026-11-23T00:00:00Z"],
        }),
    }
}

/// A place in a history, as text.
pub(super) trait Cursor: Sized {
    /// Exactly the texts that [`Cursor::decode`] takes.
    const PATTERN: &str;

    /// The cursor of a page that ends here.
    fn encode(&self) -> String;

    fn decode(cursor: &str) -> Option<Self>;
}

/// Time and id, eight bytes each.
impl Cursor for Position {
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

/// A place in the list of commands: the command with this id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CommandPosition(pub(super) Uuid);

/// Tells the cursor from those of the other histories, which have as many bytes without it.
const COMMAND_TAG: &[u8; 3] = b"cmd";

impl Cursor for CommandPosition {
    const PATTERN: &str = "^Y21k[A-Za-z0-9_-]{21}[AQgw]$";

    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode([COMMAND_TAG, self.0.as_bytes().as_slice()].concat())
    }

    fn decode(cursor: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let id = bytes.strip_prefix(COMMAND_TAG)?;
        Uuid::from_slice(id).ok().map(Self)
    }
}

/// An instant as RFC 3339 writes it, rounded up to the next millisecond: entries have whole ones,
/// so that neither `>= from` nor `< to` lets another entry in or out.
pub(super) fn parse_instant(text: &str) -> Result<Timestamp, &'static str> {
    if text.contains(' ') {
        return Err("must be an RFC 3339 timestamp; a + in it is written %2B");
    }
    if !has_rfc_3339_shape(text) {
        return Err("must be an RFC 3339 timestamp such as 2026-11-23T02:54:59.050Z");
    }
    let instant: jiff::Timestamp = text
        .parse()
        .map_err(|_| "must be an existing instant of the years 0000 to 9999")?;
    let millis = instant.as_nanosecond().div_euclid(1_000_000)
        + i128::from(instant.as_nanosecond().rem_euclid(1_000_000) != 0);
    i64::try_from(millis)
        .map(Timestamp::from_millis)
        .map_err(|_| "must be an instant of the years 0000 to 9999")
}

/// jiff reads more of ISO 8601 than RFC 3339 has: it alone would take what the document excludes.
fn has_rfc_3339_shape(text: &str) -> bool {
    let shaped = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(byte, like)| match like {
                b'0' => byte.is_ascii_digit(),
                b'T' => byte.eq_ignore_ascii_case(like),
                b'+' => matches!(byte, b'+' | b'-'),
                _ => byte == like,
            })
    };
    let Some((date_time, rest)) = text
        .as_bytes()
        .split_at_checked("0000-00-00T00:00:00".len())
    else {
        return false;
    };
    let offset = match rest {
        [b'.', fraction @ ..] => {
            let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
        _ => rest,
    };
    shaped(date_time, b"0000-00-00T00:00:00")
        && (offset.eq_ignore_ascii_case(b"Z") || shaped(offset, b"+00:00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rfc_3339_is_an_instant_and_parts_of_milliseconds_are_rounded_up() {
        let millis = |text| parse_instant(text).map(Timestamp::as_millis);
        assert_eq!(millis("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(millis("1970-01-01t01:00:00.0009+01:00"), Ok(1));
        assert_eq!(millis("1969-12-31T23:59:59.9995z"), Ok(0));
        for bad in [
            "",
            "now",
            "1970-01-01",
            "1970-01-01 00:00:00Z",
            "1970-01-01T00:00:00",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00Z",
            "19700101T000000Z",
            "1970-02-30T00:00:00Z",
            "1970-01-01T00:00:00Z[UTC]",
            "1970-01-01T00:00:00 01:00",
            "1970-01-01T00:00:00é",
        ] {
            assert!(millis(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cursor_names_its_entry_and_anything_else_is_refused() {
        let position = Position {
            received_at: Timestamp::from_millis(1_795_402_499_050),
            id: 7,
        };
        assert_eq!(Position::decode(&position.encode()), Some(position));
        let command = CommandPosition(Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0001));
        assert_eq!(CommandPosition::decode(&command.encode()), Some(command));
        assert_eq!(Position::decode(&command.encode()), None);
        assert_eq!(CommandPosition::decode(&position.encode()), None);
        for id in ["a", "no", "two", "truck-17", &"x".repeat(64)] {
            let cursor = encode_vehicle(&DeviceId::parse(id).unwrap());
            assert_eq!(decode_vehicle(&cursor).as_deref(), Some(id));
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
            "Y21kAAAAAAAAAAAAAAAAAAAAAB",
        ] {
            assert_eq!(CommandPosition::decode(bad), None, "{bad}");
            assert_eq!(Position::decode(bad), None, "{bad}");
            assert_eq!(decode_vehicle(bad), None, "{bad}");
        }
    }
}
