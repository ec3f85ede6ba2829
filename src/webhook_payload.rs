//! Payloads of webhook messages as Standard Webhooks 1.0.0 defines them: `type`, `timestamp` and `data`.
//!
//! Pure: a payload is rendered by the transaction that stores its message, so this module knows neither the database
//! nor the network.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;

use crate::{
    api_model::{CommandDto, Rfc3339, VehicleDto},
    domain::{Event, EventKind, EventKinds, Timestamp, VehicleChange},
};

/// Debug blobs up to this many bytes are part of the payload; a larger one is represented by its path in the API.
const INLINE_BLOB_BYTES: usize = 12_000;

/// The type and the JSON body of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WebhookPayload {
    /// The message type, such as `vehicle.online`.
    pub(crate) message_type: &'static str,
    /// The JSON document that is signed and sent.
    pub(crate) body: String,
}

/// A payload could not be rendered as JSON.
#[derive(Debug, thiserror::Error)]
#[error("cannot render the payload of a webhook message: {0}")]
pub(crate) struct PayloadError(#[from] serde_json::Error);

impl WebhookPayload {
    /// Renders a vehicle event. `kinds` are the state changes that the message reports: those that the endpoint
    /// subscribes to, also of earlier events that were merged into this message. `sequence` is the message's number
    /// among those of the same endpoint and vehicle.
    pub(crate) fn event(
        event: &Event,
        kinds: EventKinds,
        sequence: i64,
    ) -> Result<Self, PayloadError> {
        let device_id = event.vehicle.device_id.to_string();
        let (message_type, details) = match &event.change {
            VehicleChange::Online => ("vehicle.online", Details::Online {}),
            VehicleChange::Offline(reason) => {
                let reason = reason.as_str();
                ("vehicle.offline", Details::Offline { reason })
            }
            VehicleChange::State(_) => {
                let changed = kinds.iter().map(EventKind::as_str).collect();
                ("vehicle.updated", Details::Updated { changed })
            }
            VehicleChange::DebugBlob { id, content } => {
                let is_small = content.len() <= INLINE_BLOB_BYTES;
                let blob = Blob {
                    id: *id,
                    size: content.len(),
                    content: is_small.then(|| STANDARD.encode(content)),
                    path: (!is_small).then(|| format!("/vehicles/{device_id}/debug-blobs/{id}")),
                };
                ("vehicle.debug_blob", Details::DebugBlob { blob })
            }
            VehicleChange::Command(command) => {
                let command = CommandDto::from((**command).clone());
                ("vehicle.command", Details::Command { command })
            }
        };
        let data = EventData {
            device_id,
            sequence,
            details,
            vehicle: event.vehicle.clone().into(),
        };
        Self::render(message_type, event.at, data)
    }

    /// Renders a test message, which concerns no vehicle.
    pub(crate) fn test(at: Timestamp, sequence: i64) -> Result<Self, PayloadError> {
        Self::render("webhook.test", at, TestData { sequence })
    }

    fn render(
        message_type: &'static str,
        timestamp: Timestamp,
        data: impl Serialize,
    ) -> Result<Self, PayloadError> {
        let body = serde_json::to_string(&PayloadEnvelope {
            r#type: message_type,
            timestamp: Rfc3339(timestamp),
            data,
        })?;
        Ok(Self { message_type, body })
    }
}

#[derive(Serialize)]
struct PayloadEnvelope<D> {
    r#type: &'static str,
    /// Time of the event.
    timestamp: Rfc3339,
    data: D,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventData {
    device_id: String,
    sequence: i64,
    #[serde(flatten)]
    details: Details,
    /// The vehicle after the event.
    vehicle: VehicleDto,
}

/// The members of `data` that depend on the message type.
#[derive(Serialize)]
#[serde(untagged)]
enum Details {
    Online {},
    Offline { reason: &'static str },
    Updated { changed: Vec<&'static str> },
    DebugBlob { blob: Blob },
    Command { command: CommandDto },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Blob {
    #[serde(rename = "blobId")]
    id: i64,
    size: usize,
    /// Base64, if the blob is small.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    /// Where the API has the blob, if it is large.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

#[derive(Serialize)]
struct TestData {
    sequence: i64,
}

#[cfg(test)]
mod tests {
    use serde::{Serializer, ser::Error};

    use super::*;

    #[test]
    fn a_test_message_holds_its_type_time_and_sequence() {
        let payload = WebhookPayload::test(Timestamp::from_millis(1_795_402_499_050), 7).unwrap();
        assert_eq!(payload.message_type, "webhook.test");
        assert_eq!(
            payload.body,
            r#"{"type":"webhook.test","timestamp":"2026-11-23T02:54:59.050Z","data":{"sequence":7}}"#
        );
    }

    struct Unserializable;

    impl Serialize for Unserializable {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(S::Error::custom("unserializable"))
        }
    }

    #[test]
    fn a_payload_that_cannot_be_rendered_is_an_error_not_an_empty_body() {
        let rendered =
            WebhookPayload::render("webhook.test", Timestamp::from_millis(0), Unserializable);
        assert!(rendered.is_err());
    }
}
