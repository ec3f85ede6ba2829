//! The body of each type of message: the serialised form of the types in `message` and `domain`.
//!
//! The forms describe types that are defined elsewhere (`serde(remote)`), so that a message is read directly into those
//! types. Instances of different versions exchange these bytes during an upgrade: a field may be added, none changed.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    MessageKind, PeerMessage, PeerReply,
    scalar::{interval, millis, optional_millis, text},
};
use crate::{
    domain::{
        Action, Broadcast, Command, CommandOrigin, CommandOutcome, CommandState, DeviceId,
        DisconnectReason, ReportInterval, Timestamp,
    },
    fanout::message::{EndedSessions, Notice, PeerAnswer, PeerRequest, RemoteCommand},
};

/// The body of a message: its type, and the fields that only this type has.
#[derive(Debug, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub(super) enum MessageBody {
    Command(#[serde(with = "RemoteCommandForm")] RemoteCommand),
    Broadcast {
        #[serde(with = "text")]
        message: Action,
        #[serde(with = "millis")]
        timeout_millis: Duration,
    },
    CommandOutcome(#[serde(with = "CommandOutcomeForm")] CommandOutcome),
    BroadcastOutcome(#[serde(with = "BroadcastForm")] Broadcast),
    Unsupported,
    SessionsOver {
        sessions: Vec<EndedSessionsItem>,
    },
    Probe,
}

/// The values of the field `type`.
pub(super) const TYPES: [&str; 7] = [
    "command",
    "broadcast",
    "command-outcome",
    "broadcast-outcome",
    "unsupported",
    "sessions-over",
    "probe",
];

#[derive(Serialize, Deserialize)]
#[serde(remote = "RemoteCommand", rename_all = "camelCase")]
struct RemoteCommandForm {
    id: Uuid,
    #[serde(with = "text")]
    device_id: DeviceId,
    #[serde(rename = "message", with = "text")]
    action: Action,
    #[serde(rename = "timeoutMillis", with = "millis")]
    timeout: Duration,
    #[serde(with = "millis")]
    expires_at: Timestamp,
    #[serde(
        rename = "queueMillis",
        with = "optional_millis",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    queue: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(
        with = "optional_millis",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    vehicle_since: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "CommandOutcome", tag = "outcome", rename_all = "kebab-case")]
enum CommandOutcomeForm {
    #[serde(rename = "ended")]
    Recorded {
        #[serde(with = "CommandForm")]
        command: Command,
    },
    Desired {
        #[serde(rename = "seconds", with = "interval")]
        interval: ReportInterval,
    },
    UnknownVehicle,
    Offline,
    TooMany,
    KeyReused,
    Moved,
    StoreUnavailable,
    // Earlier versions do not know these outcomes, so each is written as the nearest one that they know.
    #[serde(rename(serialize = "moved"), skip_deserializing)]
    FanOutUnavailable,
    #[serde(rename(serialize = "moved"), skip_deserializing)]
    OwnerUnreachable,
    #[serde(rename(serialize = "store-unavailable"), skip_deserializing)]
    StoreFailed,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Command", rename_all = "camelCase")]
struct CommandForm {
    id: Uuid,
    #[serde(with = "text")]
    device_id: DeviceId,
    #[serde(rename = "message", with = "text")]
    action: Action,
    #[serde(with = "text")]
    origin: CommandOrigin,
    #[serde(with = "text")]
    state: CommandState,
    #[serde(with = "millis")]
    created_at: Timestamp,
    #[serde(with = "millis")]
    expires_at: Timestamp,
    #[serde(
        with = "optional_millis",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    sent_at: Option<Timestamp>,
    #[serde(
        with = "optional_millis",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    finished_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    late_reply: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Broadcast", rename_all = "camelCase")]
struct BroadcastForm {
    addressed: u64,
    done: u64,
    refused: u64,
    silent: u64,
    disconnected: u64,
    unsent: u64,
    unreachable_instances: u64,
}

/// [`EndedSessions`] as an element of a list: `serde(with)` can be given for a field, but not for the elements of a
/// `Vec`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct EndedSessionsItem(#[serde(with = "EndedSessionsForm")] EndedSessions);

#[derive(Serialize, Deserialize)]
#[serde(remote = "EndedSessions", rename_all = "camelCase")]
struct EndedSessionsForm {
    #[serde(with = "text")]
    device_id: DeviceId,
    through_epoch: i64,
    #[serde(with = "text")]
    reason: DisconnectReason,
}

impl MessageBody {
    /// The message with this body. Fails if the envelope lacks a `correlation` that the message needs, or has another
    /// `kind`.
    pub(super) fn into_message(
        self,
        kind: MessageKind,
        correlation: Option<Uuid>,
    ) -> Result<PeerMessage, String> {
        let request = |request| {
            Some(PeerMessage::Request {
                correlation: correlation?,
                request,
            })
        };
        let answer = |reply| {
            Some(PeerMessage::Answer {
                correlation: correlation?,
                reply,
            })
        };
        let message = match self {
            Self::Command(command) => request(PeerRequest::Command(command)),
            Self::Broadcast {
                message,
                timeout_millis,
            } => request(PeerRequest::Broadcast {
                action: message,
                timeout: timeout_millis,
            }),
            Self::CommandOutcome(outcome) => {
                answer(PeerReply::Answer(PeerAnswer::Command(outcome)))
            }
            Self::BroadcastOutcome(counts) => {
                answer(PeerReply::Answer(PeerAnswer::Broadcast(counts)))
            }
            Self::Unsupported => answer(PeerReply::Unsupported),
            Self::SessionsOver { sessions } => {
                let sessions = sessions.into_iter().map(|item| item.0).collect();
                Some(PeerMessage::Notice(Notice::SessionsEnded(sessions)))
            }
            Self::Probe => Some(PeerMessage::Probe),
        };
        let message = message.ok_or("a correlation is missing")?;
        if message.kind() == kind {
            Ok(message)
        } else {
            Err("the type is not of this kind".to_owned())
        }
    }
}

impl From<&PeerRequest> for MessageBody {
    fn from(request: &PeerRequest) -> Self {
        match request {
            PeerRequest::Command(command) => Self::Command(command.clone()),
            PeerRequest::Broadcast { action, timeout } => Self::Broadcast {
                message: *action,
                timeout_millis: *timeout,
            },
        }
    }
}

impl From<&PeerAnswer> for MessageBody {
    fn from(answer: &PeerAnswer) -> Self {
        match answer {
            PeerAnswer::Command(outcome) => Self::CommandOutcome(outcome.clone()),
            PeerAnswer::Broadcast(counts) => Self::BroadcastOutcome(*counts),
        }
    }
}

impl From<&Notice> for MessageBody {
    fn from(notice: &Notice) -> Self {
        match notice {
            Notice::SessionsEnded(sessions) => Self::SessionsOver {
                sessions: sessions.iter().cloned().map(EndedSessionsItem).collect(),
            },
        }
    }
}
