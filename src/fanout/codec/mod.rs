//! The bytes of messages between instances: JSON objects with an envelope that all share and a body for each type. The
//! `correlation` in the envelope is the random id of a request, which its answer repeats.
//!
//! Unknown fields are ignored, so that a later version may add some. Any other change needs a new type or, if that is
//! not enough, a higher `version`: instances that do not know it answer `unsupported`.

mod body;
mod scalar;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::message::{Notice, PeerAnswer, PeerRequest, ReplyAddress};
use crate::domain::{Action, DeviceId, IncarnationId};
use body::{MessageBody, TYPES};

const VERSION: u64 = 1;

/// The longest message of another instance, in bytes. The largest ones that instances send, notices of many sessions,
/// take about half of it.
const MAX_PEER_MESSAGE: usize = 1 << 20;
/// The longest message on the shared channel, in bytes: many times the longest command.
const MAX_CHANNEL_MESSAGE: usize = 64 << 10;

/// A decoded message that an instance sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DecodedMessage {
    /// The incarnation that sent it.
    pub(super) origin: IncarnationId,
    pub(super) message: PeerMessage,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PeerMessage {
    Request {
        correlation: Uuid,
        request: PeerRequest,
    },
    Answer {
        correlation: Uuid,
        reply: PeerReply,
    },
    Notice(Notice),
    /// A message of an instance to itself, which proves that the messages that it publishes arrive.
    Probe,
}

impl PeerMessage {
    fn kind(&self) -> MessageKind {
        match self {
            Self::Request { .. } => MessageKind::Request,
            Self::Answer { .. } => MessageKind::Answer,
            Self::Notice(_) => MessageKind::Notice,
            Self::Probe => MessageKind::Probe,
        }
    }
}

/// The reply to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PeerReply {
    Answer(PeerAnswer),
    /// The receiver could not decode the request.
    Unsupported,
    /// An answer that this instance cannot decode.
    Unreadable,
}

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum DecodeFault {
    NotJson,
    NoEnvelope,
    LaterVersion,
    UnknownType,
    BrokenBody,
    TooLarge,
}

impl DecodeFault {
    pub(super) const ALL: [Self; 6] = [
        Self::NotJson,
        Self::NoEnvelope,
        Self::LaterVersion,
        Self::UnknownType,
        Self::BrokenBody,
        Self::TooLarge,
    ];
    pub(super) const COUNT: usize = Self::ALL.len();
}

impl fmt::Display for DecodeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotJson => "not a JSON object",
            Self::NoEnvelope => "version, kind, type or origin is missing",
            Self::LaterVersion => "later version",
            Self::UnknownType => "unknown type",
            Self::BrokenBody => "fields do not match the type",
            Self::TooLarge => "too large",
        })
    }
}

/// Why a message cannot be decoded, and what could be read of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DecodeError {
    pub(super) fault: DecodeFault,
    pub(super) reason: String,
    pub(super) origin: Option<IncarnationId>,
    pub(super) reaction: Option<CodecReaction>,
}

/// What to do about a message that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CodecReaction {
    /// The message is a request: answer `unsupported`, so that its sender does not wait until the deadline.
    AnswerUnsupported(ReplyAddress),
    /// The message answers the request of this instance with this correlation: end the wait for an answer.
    EndRequest(Uuid),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum MessageKind {
    Request,
    Answer,
    Notice,
    Probe,
}

/// The fields that every message has.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    version: u64,
    kind: MessageKind,
    origin: IncarnationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation: Option<Uuid>,
    #[serde(flatten)]
    body: MessageBody,
}

pub(super) fn encode_request(
    origin: IncarnationId,
    correlation: Uuid,
    request: &PeerRequest,
) -> String {
    let kind = MessageKind::Request;
    encode(kind, origin, Some(correlation), request.into())
}

pub(super) fn encode_answer(
    origin: IncarnationId,
    correlation: Uuid,
    answer: &PeerAnswer,
) -> String {
    let kind = MessageKind::Answer;
    encode(kind, origin, Some(correlation), answer.into())
}

pub(super) fn encode_unsupported(origin: IncarnationId, correlation: Uuid) -> String {
    let body = MessageBody::Unsupported;
    encode(MessageKind::Answer, origin, Some(correlation), body)
}

pub(super) fn encode_notice(origin: IncarnationId, notice: &Notice) -> String {
    encode(MessageKind::Notice, origin, None, notice.into())
}

pub(super) fn encode_probe(origin: IncarnationId) -> String {
    encode(MessageKind::Probe, origin, None, MessageBody::Probe)
}

fn encode(
    kind: MessageKind,
    origin: IncarnationId,
    correlation: Option<Uuid>,
    body: MessageBody,
) -> String {
    let envelope = Envelope {
        version: VERSION,
        kind,
        origin,
        correlation,
        body,
    };
    serde_json::to_string(&envelope).expect("text, whole numbers and ids are always JSON")
}

/// Says that a message is too large to be parsed: as JSON values it may take thirty times its bytes.
fn refuse_larger_than(limit: usize, message: &[u8]) -> Result<(), String> {
    if message.len() > limit {
        return Err(format!(
            "has {} bytes, at most {limit} are read",
            message.len()
        ));
    }
    Ok(())
}

/// Decodes a message on the channel of one incarnation.
pub(super) fn decode(message: &[u8]) -> Result<DecodedMessage, DecodeError> {
    let unreadable = |fault, reason| DecodeError {
        fault,
        reason,
        origin: None,
        reaction: None,
    };
    refuse_larger_than(MAX_PEER_MESSAGE, message)
        .map_err(|reason| unreadable(DecodeFault::TooLarge, reason))?;
    let value: Value = serde_json::from_slice(message)
        .map_err(|error| unreadable(DecodeFault::NotJson, error.to_string()))?;
    let origin = uuid(&value, "origin").map(IncarnationId::from);
    let correlation = uuid(&value, "correlation");
    let kind = MessageKind::deserialize(&value["kind"]);
    let reaction = match (&kind, origin, correlation) {
        (Ok(MessageKind::Request), Some(origin), Some(correlation)) => {
            Some(CodecReaction::AnswerUnsupported(ReplyAddress {
                origin,
                correlation,
            }))
        }
        (Ok(MessageKind::Answer), _, Some(correlation)) => {
            Some(CodecReaction::EndRequest(correlation))
        }
        _ => None,
    };
    let wrong = |fault, reason| DecodeError {
        fault,
        reason,
        origin,
        reaction,
    };
    let (Some(version), Some(type_), Some(origin)) =
        (value["version"].as_u64(), value["type"].as_str(), origin)
    else {
        let reason = "needs version, type and origin".to_owned();
        return Err(wrong(DecodeFault::NoEnvelope, reason));
    };
    if version > VERSION {
        let reason = format!("version {version}");
        return Err(wrong(DecodeFault::LaterVersion, reason));
    }
    let kind = kind.map_err(|error| wrong(DecodeFault::NoEnvelope, error.to_string()))?;
    if !TYPES.contains(&type_) {
        let reason = format!("type {type_:?}");
        return Err(wrong(DecodeFault::UnknownType, reason));
    }
    let message = MessageBody::deserialize(&value)
        .map_err(|error| error.to_string())
        .and_then(|body| body.into_message(kind, correlation));
    match message {
        Ok(message) => Ok(DecodedMessage { origin, message }),
        Err(reason) => Err(wrong(DecodeFault::BrokenBody, reason)),
    }
}

fn uuid(value: &Value, key: &str) -> Option<Uuid> {
    value[key].as_str()?.parse().ok()
}

/// A command as a person or a program, not an instance, publishes it on the shared channel.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChannelCommandBody {
    #[serde(rename = "type")]
    type_: String,
    message: String,
    client_id: String,
}

/// Decodes a message on the shared channel: a command, or `None` for a message of an instance, which has a `version`.
/// Instances do not publish there yet; a later version may. The error says what is wrong with a command.
pub(super) fn decode_channel_command(message: &[u8]) -> Result<Option<(DeviceId, Action)>, String> {
    refuse_larger_than(MAX_CHANNEL_MESSAGE, message)?;
    let value: Value = serde_json::from_slice(message).map_err(|error| error.to_string())?;
    if value.get("version").is_some() {
        return Ok(None);
    }
    if !value.is_object() {
        return Err("must be a JSON object".to_owned());
    }
    let body = ChannelCommandBody::deserialize(&value).map_err(|error| error.to_string())?;
    if body.type_ != "command" {
        return Err("type must be command".to_owned());
    }
    let device_id =
        DeviceId::parse(&body.client_id).map_err(|error| format!("clientId: {error}"))?;
    let action = body
        .message
        .parse::<Action>()
        .map_err(|error| format!("message: {error}"))?;
    Ok(Some((device_id, action)))
}

#[cfg(test)]
mod tests;
