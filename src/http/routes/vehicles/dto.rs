//! The JSON and the query of `/vehicles`.

use garde::Validate;
use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    api_model::{
        EXAMPLE_DEVICE_ID, Example, Rfc3339, VehicleDto, device_id_field, every_key_present,
    },
    domain::Vehicle,
    http::{
        extract::{FromQuery, QueryFields, QueryParameter},
        paging::{Limit, PageCursor, VehiclePosition},
        routes::device_id::validate_device_id,
    },
};

/// A vehicle to register.
#[derive(Debug, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewVehicle {
    /// The vehicle's id: a UUID, or any other name of the allowed characters.
    #[garde(custom(validate_device_id))]
    #[schemars(schema_with = "device_id_field")]
    pub(super) device_id: String,
}

impl Example for NewVehicle {
    fn example() -> Value {
        json!({ "deviceId": EXAMPLE_DEVICE_ID })
    }
}

/// The query of the list of vehicles.
#[derive(Debug)]
pub(super) struct VehicleQuery {
    pub(super) online: Option<bool>,
    pub(super) after: Option<VehiclePosition>,
    pub(super) limit: Limit,
}

impl FromQuery for VehicleQuery {
    fn parameters(_: &mut SchemaGenerator) -> Vec<QueryParameter> {
        vec![
            QueryParameter {
                name: "online",
                description: "Only vehicles that are online (`true`) or offline (`false`).",
                schema: json_schema!({ "type": "boolean" }),
            },
            Limit::parameter(),
            VehiclePosition::parameter(),
        ]
    }

    fn from_query(fields: &mut QueryFields) -> Self {
        Self {
            online: fields.take("online", |text| {
                text.parse().map_err(|_| "must be true or false")
            }),
            after: VehiclePosition::take(fields),
            limit: Limit::take(fields),
        }
    }
}

/// A vehicle's status. Values that are not known are null.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = every_key_present)]
pub(super) struct VehicleStatus {
    /// The vehicle's id.
    #[schemars(schema_with = "device_id_field")]
    device_id: String,
    /// Whether the vehicle is logged in, or still has time (`presence.offline_grace`) to log in again after its gateway
    /// instance stopped.
    online: bool,
    /// The last reported latitude, in degrees north of the equator.
    #[schemars(range(min = -90, max = 90))]
    latitude: Option<f64>,
    /// The last reported longitude, in degrees east of Greenwich.
    #[schemars(range(min = -180, max = 180))]
    longitude: Option<f64>,
    /// The last reported state of charge, in percent.
    #[schemars(range(min = 0, max = 100))]
    battery: Option<u8>,
    /// Whether the vehicle was turned on when it last reported.
    running: Option<bool>,
    /// The time of the last report.
    reported_at: Option<Rfc3339>,
    /// The time of the last heartbeat.
    last_heartbeat: Option<Rfc3339>,
}

impl From<Vehicle> for VehicleStatus {
    fn from(vehicle: Vehicle) -> Self {
        let VehicleDto {
            device_id,
            online,
            latitude,
            longitude,
            battery,
            running,
            reported_at,
            last_heartbeat,
            ..
        } = vehicle.into();
        Self {
            device_id,
            online,
            latitude,
            longitude,
            battery,
            running,
            reported_at,
            last_heartbeat,
        }
    }
}

impl Example for VehicleStatus {
    fn example() -> Value {
        json!({
            "deviceId": EXAMPLE_DEVICE_ID,
            "online": true,
            "latitude": 43.62152,
            "longitude": 1.435_03,
            "battery": 80,
            "running": true,
            "reportedAt": "2026-11-23T02:54:59.050Z",
            "lastHeartbeat": "2026-11-23T02:55:10.418Z",
        })
    }
}
