//! What HTTP clients sent and received, and what the webhook receiver got.

use super::{Marker, Moment};

/// The result of an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HttpResult {
    Response {
        status: u16,
        /// The problem type's last part, or the `status` of a command. Empty in the balancer's own errors.
        name: String,
        command_id: Option<String>,
        reply: Option<String>,
    },
    /// No response, with the client's error.
    NoResponse(String),
}

impl HttpResult {
    /// Whether this is an error of the balancer, which could not reach a gateway or lost its connection to it.
    pub(crate) fn is_from_balancer(&self) -> bool {
        matches!(self, Self::Response { status: 502..=504, name, .. } if name.is_empty())
    }
}

/// A request to send a command to a vehicle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandRequest {
    pub(crate) from: Moment,
    pub(crate) until: Moment,
    pub(crate) device_id: String,
    /// The sentence that the device should receive.
    pub(crate) sentence: String,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) result: HttpResult,
}

/// What a request about a vehicle asks for, other than a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VehicleAction {
    /// Store a report on the vehicle's behalf.
    Report(Marker),
    Delete,
}

/// A request about a vehicle that sends nothing to its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VehicleRequest {
    pub(crate) from: Moment,
    pub(crate) until: Moment,
    pub(crate) device_id: String,
    pub(crate) action: VehicleAction,
    pub(crate) result: HttpResult,
}

/// The `online` that `GET /vehicles/{deviceId}` returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PresenceReading {
    pub(crate) from: Moment,
    pub(crate) until: Moment,
    pub(crate) device_id: String,
    pub(crate) online: bool,
}

/// A webhook message as the receiver got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebhookDelivery {
    pub(crate) id: String,
    pub(crate) device_id: String,
    pub(crate) sequence: i64,
    pub(crate) kind: String,
    pub(crate) body: String,
}
