//! How messages look on a channel: JSON objects, apart from the types that the rest of the gateway uses.
//!
//! Unknown fields are ignored, so that a later version may add some. What it changes otherwise has a new type
//! or, if that is not enough, a higher `version`: both are answered `unsupported` by those that do not know it.

mod body;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::message::{Answer, Asked, Notice, Request};
use crate::domain::{Action, DeviceId};
use body::{Body, TYPES};

const VERSION: u64 = 1;

/// A message of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    /// The life of the instance that sent it.
    pub(super) origin: Uuid,
    pub(super) message: Message,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Request {
        correlation: Uuid,
        request: Request,
    },
    Answer {
        correlation: Uuid,
        reply: Reply,
    },
    Notice(Notice),
    /// From an instance to itself: does what is published arrive?
    Probe,
}

/// What answers a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Answer(Answer),
    /// The request was not understood.
    Unsupported,
}

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    NotJson,
    NoEnvelope,
    LaterVersion,
    UnknownType,
    BrokenBody,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotJson => "it is no JSON object",
            Self::NoEnvelope => "it has no version, kind, type or origin",
            Self::LaterVersion => "its version is a later one",
            Self::UnknownType => "its type is unknown",
            Self::BrokenBody => "its fields are not those of its type",
        })
    }
}

/// A message that is not understood, and what is known of it nevertheless.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Undecodable {
    pub(super) fault: Fault,
    pub(super) reason: String,
    pub(super) origin: Option<Uuid>,
    pub(super) owed: Option<Owed>,
}

/// What is to be done about an [`Undecodable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owed {
    /// It is a request, whose sender should not wait in vain.
    Refusal(Asked),
    /// It answers this request, whose sender need not wait longer.
    Resolution(Uuid),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Request,
    Answer,
    Notice,
    Probe,
}

/// What all messages have.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    version: u64,
    kind: Kind,
    origin: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation: Option<Uuid>,
    #[serde(flatten)]
    body: Body,
}

pub(super) fn request(origin: Uuid, correlation: Uuid, request: &Request) -> String {
    write(Kind::Request, origin, Some(correlation), request.into())
}

pub(super) fn answer(origin: Uuid, correlation: Uuid, answer: &Answer) -> String {
    write(Kind::Answer, origin, Some(correlation), answer.into())
}

pub(super) fn unsupported(origin: Uuid, correlation: Uuid) -> String {
    write(Kind::Answer, origin, Some(correlation), Body::Unsupported)
}

pub(super) fn notice(origin: Uuid, notice: &Notice) -> String {
    write(Kind::Notice, origin, None, notice.into())
}

pub(super) fn probe(origin: Uuid) -> String {
    write(Kind::Probe, origin, None, Body::Probe)
}

fn write(kind: Kind, origin: Uuid, correlation: Option<Uuid>, body: Body) -> String {
    let written = Written {
        version: VERSION,
        kind,
        origin,
        correlation,
        body,
    };
    serde_json::to_string(&written).expect("text, whole numbers and ids are always JSON")
}

/// What another instance said, or what is wrong with it.
pub(super) fn decode(message: &[u8]) -> Result<Envelope, Undecodable> {
    let unknown = |fault, reason| Undecodable {
        fault,
        reason,
        origin: None,
        owed: None,
    };
    let value: Value = serde_json::from_slice(message)
        .map_err(|error| unknown(Fault::NotJson, error.to_string()))?;
    let origin = uuid(&value, "origin");
    let correlation = uuid(&value, "correlation");
    let kind = Kind::deserialize(&value["kind"]);
    let owed = match (&kind, origin, correlation) {
        (Ok(Kind::Request), Some(origin), Some(correlation)) => Some(Owed::Refusal(Asked {
            origin,
            correlation,
        })),
        (Ok(Kind::Answer), _, Some(correlation)) => Some(Owed::Resolution(correlation)),
        _ => None,
    };
    let wrong = |fault, reason| Undecodable {
        fault,
        reason,
        origin,
        owed,
    };
    let (Some(version), Some(type_), Some(origin)) =
        (value["version"].as_u64(), value["type"].as_str(), origin)
    else {
        let reason = "needs version, type and origin".to_owned();
        return Err(wrong(Fault::NoEnvelope, reason));
    };
    if version > VERSION {
        return Err(wrong(Fault::LaterVersion, format!("version {version}")));
    }
    let kind = kind.map_err(|error| wrong(Fault::NoEnvelope, error.to_string()))?;
    if !TYPES.contains(&type_) {
        return Err(wrong(Fault::UnknownType, format!("type {type_:?}")));
    }
    let read = Body::deserialize(&value)
        .map_err(|error| error.to_string())
        .and_then(|body| body.read(kind, correlation));
    match read {
        Ok(message) => Ok(Envelope { origin, message }),
        Err(reason) => Err(wrong(Fault::BrokenBody, reason)),
    }
}

fn uuid(value: &Value, key: &str) -> Option<Uuid> {
    value[key].as_str()?.parse().ok()
}

/// What people publish on the shared channel to command a vehicle.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spoken {
    #[serde(rename = "type")]
    type_: String,
    message: String,
    client_id: String,
}

/// A command as people publish it; `None` for a message of an instance, none of which are for all yet.
pub(super) fn decode_spoken(message: &[u8]) -> Result<Option<(DeviceId, Action)>, String> {
    let value: Value = serde_json::from_slice(message).map_err(|error| error.to_string())?;
    if value.get("version").is_some() {
        return Ok(None);
    }
    if !value.is_object() {
        return Err("must be a JSON object".to_owned());
    }
    let spoken = Spoken::deserialize(&value).map_err(|error| error.to_string())?;
    if spoken.type_ != "command" {
        return Err("type must be command".to_owned());
    }
    let device_id =
        body::vehicle(&spoken.client_id).map_err(|error| format!("clientId: {error}"))?;
    let action = body::action(&spoken.message).map_err(|error| format!("message: {error}"))?;
    Ok(Some((device_id, action)))
}

#[cfg(test)]
mod tests;
