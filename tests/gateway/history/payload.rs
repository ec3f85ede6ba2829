//! What is stored of a vehicle during a run, made from a number that is used once, and the number that it stands for.

use serde_json::{Value, json};

use crate::history::record::Marker;

/// Whoever reports over HTTP for vehicles has numbers of its own, from here on.
pub(crate) const OVER_HTTP: Marker = 500_000_000;
/// The length of what a debug blob begins with.
pub(crate) const TITLE: usize = 23;

/// The id of a vehicle by its number.
pub(crate) fn id_of(vehicle: usize) -> String {
    format!("truck-{vehicle}")
}

fn number_of(device_id: &str) -> Option<usize> {
    device_id.strip_prefix("truck-")?.parse().ok()
}

/// The values of a report that stand for this number. They are told apart by nine decimals.
pub(crate) fn values(vehicle: usize, marker: Marker) -> String {
    format!(
        "I'M HERE {}.{:03} {}.{:09}, {} AND CHARGED AT {}%.",
        vehicle / 1000,
        vehicle % 1000,
        marker % 180,
        marker,
        if marker % 2 == 0 {
            "RUNNING"
        } else {
            "RESTING"
        },
        marker % 101
    )
}

/// The same, to be told over HTTP.
pub(crate) fn state(vehicle: usize, marker: Marker) -> Value {
    let degrees = |text: String| -> f64 { text.parse().unwrap() };
    json!({
        "deviceId": id_of(vehicle),
        "latitude": degrees(format!("{}.{:03}", vehicle / 1000, vehicle % 1000)),
        "longitude": degrees(format!("{}.{marker:09}", marker % 180)),
        "battery": marker % 101,
        "running": marker % 2 == 0,
    })
}

/// The number for which these values stand; `None` if there are none, or if they do not fit together.
pub(crate) fn marker_of_state(
    device_id: &str,
    (latitude, longitude): (Option<f64>, Option<f64>),
    (battery, running): (Option<i16>, Option<bool>),
) -> Option<Marker> {
    let vehicle = number_of(device_id)?;
    #[expect(clippy::cast_possible_truncation, reason = "they have nine decimals")]
    let billionths = |degrees: f64| (degrees * 1e9).round() as i64;
    let marker = billionths(longitude?).rem_euclid(1_000_000_000);
    let expected = (
        i64::try_from(vehicle).ok()? * 1_000_000,
        marker % 180 * 1_000_000_000 + marker,
        i16::try_from(marker % 101).ok()?,
        marker % 2 == 0,
    );
    let is_whole = (
        billionths(latitude?),
        billionths(longitude?),
        battery?,
        running?,
    ) == expected;
    is_whole.then_some(marker)
}

/// The debug blob that stands for this number: of any bytes, mostly small.
pub(crate) fn dump(vehicle: usize, marker: Marker) -> Vec<u8> {
    let mut content = format!("dump {marker:09} of {vehicle:05}").into_bytes();
    let more = if marker % 16 == 0 {
        20_000
    } else {
        marker * 37 % 700
    };
    content.extend((0..more).map(|nth| u8::try_from((marker + nth * 31) % 256).unwrap()));
    content
}

/// The number for which a debug blob of this vehicle stands.
pub(crate) fn marker_of_dump(device_id: &str, content: &[u8]) -> Option<Marker> {
    let title = std::str::from_utf8(content.get(..TITLE)?).ok()?;
    let marker = marker_of_title(device_id, title, content.len().try_into().ok()?)?;
    (content == dump(number_of(device_id)?, marker)).then_some(marker)
}

/// The same by what it begins with and its length.
pub(crate) fn marker_of_title(device_id: &str, title: &str, size: i64) -> Option<Marker> {
    let marker: Marker = title.get(5..14)?.parse().ok()?;
    let expected = dump(number_of(device_id)?, marker);
    let is_it =
        expected.starts_with(title.as_bytes()) && usize::try_from(size) == Ok(expected.len());
    is_it.then_some(marker)
}

mod tests {
    use super::*;

    #[test]
    fn a_dump_stands_for_its_number_alone() {
        for marker in [1, 16, OVER_HTTP] {
            let mut content = dump(7, marker);
            assert_eq!(marker_of_dump("truck-7", &content), Some(marker));
            assert_eq!(marker_of_dump("truck-8", &content), None);
            content.push(0);
            assert_eq!(marker_of_dump("truck-7", &content), None);
        }
    }
}
