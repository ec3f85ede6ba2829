//! Payloads that encode a marker: what is stored for a vehicle is recognised by its values alone.

use serde_json::{Value, json};

use super::record::Marker;

/// The first marker of reports over HTTP. Devices use smaller ones.
pub(super) const FIRST_HTTP_MARKER: Marker = 500_000_000;
/// The length of the header with which each debug blob begins, in bytes.
pub(super) const BLOB_HEADER: usize = 23;

/// The device id of the vehicle with this number.
pub(super) fn device_id(vehicle: usize) -> String {
    format!("truck-{vehicle}")
}

fn vehicle_number(device_id: &str) -> Option<usize> {
    device_id.strip_prefix("truck-")?.parse().ok()
}

/// The values of a report as a device sends them. The nine decimals of the longitude are the marker.
pub(super) fn report_values(vehicle: usize, marker: Marker) -> String {
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

/// The same values as the body of a report over HTTP.
pub(super) fn report_body(vehicle: usize, marker: Marker) -> Value {
    let degrees = |text: String| -> f64 { text.parse().unwrap() };
    json!({
        "deviceId": device_id(vehicle),
        "latitude": degrees(format!("{}.{:03}", vehicle / 1000, vehicle % 1000)),
        "longitude": degrees(format!("{}.{marker:09}", marker % 180)),
        "battery": marker % 101,
        "running": marker % 2 == 0,
    })
}

/// The marker of these stored values; `None` if a value is missing, or if they are not those of one report.
pub(super) fn marker_of_report(
    device_id: &str,
    (latitude, longitude): (Option<f64>, Option<f64>),
    (battery, running): (Option<i16>, Option<bool>),
) -> Option<Marker> {
    let vehicle = vehicle_number(device_id)?;
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

/// The debug blob with this marker: a header, and arbitrary bytes after it. One in 16 is large.
pub(super) fn blob(vehicle: usize, marker: Marker) -> Vec<u8> {
    let mut content = format!("blob {marker:09} of {vehicle:05}").into_bytes();
    let more = if marker % 16 == 0 {
        20_000
    } else {
        marker * 37 % 700
    };
    content.extend((0..more).map(|nth| u8::try_from((marker + nth * 31) % 256).unwrap()));
    content
}

/// The marker of this blob, if every byte of it is as that vehicle's device sent it.
pub(super) fn marker_of_blob(device_id: &str, content: &[u8]) -> Option<Marker> {
    let header = std::str::from_utf8(content.get(..BLOB_HEADER)?).ok()?;
    let marker = marker_of_blob_header(device_id, header, content.len().try_into().ok()?)?;
    (content == blob(vehicle_number(device_id)?, marker)).then_some(marker)
}

/// The marker of a blob with this header and length.
pub(super) fn marker_of_blob_header(device_id: &str, header: &str, length: i64) -> Option<Marker> {
    let marker: Marker = header.get(5..14)?.parse().ok()?;
    let expected = blob(vehicle_number(device_id)?, marker);
    let is_it =
        expected.starts_with(header.as_bytes()) && usize::try_from(length) == Ok(expected.len());
    is_it.then_some(marker)
}

mod tests {
    use super::*;

    #[test]
    fn only_the_whole_blob_of_this_vehicle_has_its_marker() {
        for marker in [1, 16, FIRST_HTTP_MARKER] {
            let mut content = blob(7, marker);
            assert_eq!(marker_of_blob("truck-7", &content), Some(marker));
            assert_eq!(marker_of_blob("truck-8", &content), None);
            content.push(0);
            assert_eq!(marker_of_blob("truck-7", &content), None);
        }
    }

    #[test]
    fn only_the_whole_values_of_this_vehicle_have_their_marker() {
        let place = (Some(0.007), Some(16.000_000_016));
        let state = (Some(16), Some(true));
        assert_eq!(marker_of_report("truck-7", place, state), Some(16));
        assert_eq!(marker_of_report("truck-8", place, state), None);
        assert_eq!(
            marker_of_report("truck-7", place, (Some(17), state.1)),
            None
        );
        assert_eq!(marker_of_report("truck-7", place, (None, state.1)), None);
    }
}
