//! The `deviceId` of request bodies.

use crate::{
    domain::{DeviceId, InvalidDeviceId},
    http::problem::Problem,
};

/// Parses the `deviceId` of a body.
pub(super) fn parse_device_id(text: &str) -> Result<DeviceId, Problem> {
    DeviceId::parse(text).map_err(|error| Problem::invalid_field("/deviceId", error.to_string()))
}

/// Validates the `deviceId` of a body together with its other fields.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that garde requires"
)]
pub(super) fn validate_device_id(device_id: &str, (): &()) -> garde::Result {
    DeviceId::parse(device_id)
        .map(drop)
        .map_err(|InvalidDeviceId| garde::Error::new(InvalidDeviceId))
}
