//! What messages say: bodies by Standard Webhooks 1.0.0 (`type`, `timestamp`, `data`).

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;

use crate::{
    domain::{Event, EventKind, EventKinds, Occurrence, Timestamp},
    resource::{Command, Rfc3339, Vehicle},
    store::Telling,
};

/// Crash dumps up to this many bytes are in the message; of larger ones it says where they are.
const INLINE_BLOB: usize = 12_000;

#[derive(Serialize)]
struct Body<D> {
    r#type: &'static str,
    /// When it happened.
    timestamp: Rfc3339,
    data: D,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    device_id: String,
    sequence: i64,
    #[serde(flatten)]
    more: More,
    /// After it.
    vehicle: Vehicle,
}

/// What is told beside the vehicle.
#[derive(Serialize)]
#[serde(untagged)]
enum More {
    Nothing {},
    Offline { reason: &'static str },
    Updated { changed: Vec<&'static str> },
    DebugBlob { blob: Blob },
    Command { command: Command },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Blob {
    #[serde(rename = "blobId")]
    id: i64,
    size: usize,
    /// In base64, if it is small.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    /// Else where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

#[derive(Serialize)]
struct TestData {
    sequence: i64,
}

/// The type and the body of a message.
#[must_use]
pub fn render(telling: Telling<'_>, sequence: i64) -> (&'static str, String) {
    match telling {
        Telling::Event(event, kinds) => render_event(event, kinds, sequence),
        Telling::Test(at) => json("webhook.test", at, TestData { sequence }),
    }
}

fn render_event(event: &Event, kinds: EventKinds, sequence: i64) -> (&'static str, String) {
    let device_id = event.vehicle.device_id.to_string();
    let (kind, more) = match &event.what {
        Occurrence::Online => ("vehicle.online", More::Nothing {}),
        Occurrence::Offline(reason) => {
            let reason = reason.as_str();
            ("vehicle.offline", More::Offline { reason })
        }
        Occurrence::Updated(_) => {
            let changed = kinds.iter().map(EventKind::as_str).collect();
            ("vehicle.updated", More::Updated { changed })
        }
        Occurrence::DebugBlob { id, content } => {
            let is_small = content.len() <= INLINE_BLOB;
            let blob = Blob {
                id: *id,
                size: content.len(),
                content: is_small.then(|| STANDARD.encode(content)),
                path: (!is_small).then(|| format!("/vehicles/{device_id}/debug-blobs/{id}")),
            };
            ("vehicle.debug_blob", More::DebugBlob { blob })
        }
        Occurrence::Command(command) => {
            let command = Command::from((**command).clone());
            ("vehicle.command", More::Command { command })
        }
    };
    let data = Data {
        device_id,
        sequence,
        more,
        vehicle: event.vehicle.clone().into(),
    };
    json(kind, event.at, data)
}

fn json(kind: &'static str, at: Timestamp, data: impl Serialize) -> (&'static str, String) {
    let body = Body {
        r#type: kind,
        timestamp: Rfc3339(at),
        data,
    };
    // Texts, numbers and lists of them: there is nothing that could fail.
    (kind, serde_json::to_string(&body).unwrap_or_default())
}
