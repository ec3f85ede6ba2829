//! What each type of messages holds, and the way to and from the types of the rest of the gateway.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Kind, Message, Reply};
use crate::{
    domain::{Action, Broadcast, Command, DeviceId, InvalidAction, ReportInterval, Timestamp},
    fanout::message::{Answer, Notice, RemoteCommand, RemoteOutcome, Request, SessionOver},
};

/// Longer times are read as this: sums with it do not overflow a clock.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// What only one type of messages has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub(super) enum Body {
    Command(CommandRequest),
    Broadcast {
        message: String,
        timeout_millis: u64,
    },
    CommandOutcome(Outcome),
    BroadcastOutcome(Counts),
    Unsupported,
    SessionsOver {
        sessions: Vec<Over>,
    },
    Probe,
}

/// Every `type`.
pub(super) const TYPES: [&str; 7] = [
    "command",
    "broadcast",
    "command-outcome",
    "broadcast-outcome",
    "unsupported",
    "sessions-over",
    "probe",
];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CommandRequest {
    id: Uuid,
    device_id: String,
    message: String,
    timeout_millis: u64,
    /// Milliseconds since 1970, as all times here.
    expires_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_millis: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub(super) enum Outcome {
    Ended { command: CommandRecord },
    Desired { seconds: u64 },
    UnknownVehicle,
    Offline,
    TooMany,
    KeyReused,
    StoreUnavailable,
    Moved,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CommandRecord {
    id: Uuid,
    device_id: String,
    message: String,
    origin: String,
    state: String,
    created_at: i64,
    expires_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    late_reply: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    addressed: u64,
    done: u64,
    refused: u64,
    silent: u64,
    disconnected: u64,
    unsent: u64,
    unreachable_instances: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Over {
    device_id: String,
    through_epoch: i64,
    reason: String,
}

impl Body {
    pub(super) fn read(self, kind: Kind, correlation: Option<Uuid>) -> Result<Message, String> {
        let needed = correlation.ok_or("a correlation is missing");
        let message = match self {
            Self::Command(command) => Message::Request {
                correlation: needed?,
                request: Request::Command(command.read()?),
            },
            Self::Broadcast {
                message,
                timeout_millis,
            } => Message::Request {
                correlation: needed?,
                request: Request::Broadcast {
                    action: action(&message)?,
                    timeout: duration(timeout_millis),
                },
            },
            Self::CommandOutcome(outcome) => Message::Answer {
                correlation: needed?,
                reply: Reply::Answer(Answer::Command(outcome.read()?)),
            },
            Self::BroadcastOutcome(counts) => Message::Answer {
                correlation: needed?,
                reply: Reply::Answer(Answer::Broadcast(counts.into())),
            },
            Self::Unsupported => Message::Answer {
                correlation: needed?,
                reply: Reply::Unsupported,
            },
            Self::SessionsOver { sessions } => {
                let sessions = sessions.into_iter().map(Over::read);
                Message::Notice(Notice::SessionsOver(sessions.collect::<Result<_, _>>()?))
            }
            Self::Probe => Message::Probe,
        };
        let is_of_kind = match &message {
            Message::Request { .. } => kind == Kind::Request,
            Message::Answer { .. } => kind == Kind::Answer,
            Message::Notice(_) => kind == Kind::Notice,
            Message::Probe => kind == Kind::Probe,
        };
        if is_of_kind {
            Ok(message)
        } else {
            Err("the type is not of this kind".to_owned())
        }
    }
}

impl From<&Request> for Body {
    fn from(request: &Request) -> Self {
        match request {
            Request::Command(command) => Self::Command(command.into()),
            Request::Broadcast { action, timeout } => Self::Broadcast {
                message: action.to_string(),
                timeout_millis: millis(*timeout),
            },
        }
    }
}

impl From<&Answer> for Body {
    fn from(answer: &Answer) -> Self {
        match answer {
            Answer::Command(outcome) => Self::CommandOutcome(outcome.into()),
            Answer::Broadcast(counts) => Self::BroadcastOutcome((*counts).into()),
        }
    }
}

impl From<&Notice> for Body {
    fn from(notice: &Notice) -> Self {
        match notice {
            Notice::SessionsOver(sessions) => Self::SessionsOver {
                sessions: sessions.iter().map(Over::from).collect(),
            },
        }
    }
}

impl From<&RemoteCommand> for CommandRequest {
    fn from(command: &RemoteCommand) -> Self {
        Self {
            id: command.id,
            device_id: command.device_id.to_string(),
            message: command.action.to_string(),
            timeout_millis: millis(command.timeout),
            expires_at: command.expires_at.as_millis(),
            queue_millis: command.queue.map(millis),
            key: command.key.clone(),
        }
    }
}

impl CommandRequest {
    fn read(self) -> Result<RemoteCommand, String> {
        Ok(RemoteCommand {
            id: self.id,
            device_id: vehicle(&self.device_id)?,
            action: action(&self.message)?,
            timeout: duration(self.timeout_millis),
            expires_at: Timestamp::from_millis(self.expires_at),
            queue: self.queue_millis.map(duration),
            key: self.key,
        })
    }
}

impl From<&RemoteOutcome> for Outcome {
    fn from(outcome: &RemoteOutcome) -> Self {
        match outcome {
            RemoteOutcome::Ended(command) => Self::Ended {
                command: command.into(),
            },
            RemoteOutcome::Desired(interval) => Self::Desired {
                seconds: interval.seconds().into(),
            },
            RemoteOutcome::UnknownVehicle => Self::UnknownVehicle,
            RemoteOutcome::Offline => Self::Offline,
            RemoteOutcome::TooMany => Self::TooMany,
            RemoteOutcome::KeyReused => Self::KeyReused,
            RemoteOutcome::StoreUnavailable => Self::StoreUnavailable,
            RemoteOutcome::Moved => Self::Moved,
        }
    }
}

impl Outcome {
    fn read(self) -> Result<RemoteOutcome, String> {
        Ok(match self {
            Self::Ended { command } => RemoteOutcome::Ended(command.read()?),
            Self::Desired { seconds } => {
                let interval = ReportInterval::new(seconds).map_err(|error| error.to_string())?;
                RemoteOutcome::Desired(interval)
            }
            Self::UnknownVehicle => RemoteOutcome::UnknownVehicle,
            Self::Offline => RemoteOutcome::Offline,
            Self::TooMany => RemoteOutcome::TooMany,
            Self::KeyReused => RemoteOutcome::KeyReused,
            Self::StoreUnavailable => RemoteOutcome::StoreUnavailable,
            Self::Moved => RemoteOutcome::Moved,
        })
    }
}

impl From<&Command> for CommandRecord {
    fn from(command: &Command) -> Self {
        Self {
            id: command.id,
            device_id: command.device_id.to_string(),
            message: command.action.to_string(),
            origin: command.origin.as_str().to_owned(),
            state: command.state.as_str().to_owned(),
            created_at: command.created_at.as_millis(),
            expires_at: command.expires_at.as_millis(),
            sent_at: command.sent_at.map(Timestamp::as_millis),
            finished_at: command.finished_at.map(Timestamp::as_millis),
            reply: command.reply.clone(),
            late_reply: command.late_reply.clone(),
        }
    }
}

impl CommandRecord {
    fn read(self) -> Result<Command, String> {
        Ok(Command {
            id: self.id,
            device_id: vehicle(&self.device_id)?,
            action: action(&self.message)?,
            origin: self.origin.parse().map_err(|_| "unknown origin")?,
            state: self.state.parse().map_err(|_| "unknown state")?,
            created_at: Timestamp::from_millis(self.created_at),
            expires_at: Timestamp::from_millis(self.expires_at),
            sent_at: self.sent_at.map(Timestamp::from_millis),
            finished_at: self.finished_at.map(Timestamp::from_millis),
            reply: self.reply,
            late_reply: self.late_reply,
        })
    }
}

impl From<Broadcast> for Counts {
    fn from(counts: Broadcast) -> Self {
        Self {
            addressed: counts.addressed,
            done: counts.done,
            refused: counts.refused,
            silent: counts.silent,
            disconnected: counts.disconnected,
            unsent: counts.unsent,
            unreachable_instances: counts.unreachable_instances,
        }
    }
}

impl From<Counts> for Broadcast {
    fn from(counts: Counts) -> Self {
        Self {
            addressed: counts.addressed,
            done: counts.done,
            refused: counts.refused,
            silent: counts.silent,
            disconnected: counts.disconnected,
            unsent: counts.unsent,
            unreachable_instances: counts.unreachable_instances,
        }
    }
}

impl From<&SessionOver> for Over {
    fn from(over: &SessionOver) -> Self {
        Self {
            device_id: over.device_id.to_string(),
            through_epoch: over.through_epoch,
            reason: over.reason.as_str().to_owned(),
        }
    }
}

impl Over {
    fn read(self) -> Result<SessionOver, String> {
        Ok(SessionOver {
            device_id: vehicle(&self.device_id)?,
            through_epoch: self.through_epoch,
            reason: self.reason.parse().map_err(|_| "unknown reason")?,
        })
    }
}

pub(super) fn vehicle(text: &str) -> Result<DeviceId, String> {
    DeviceId::parse(text).map_err(|error| error.to_string())
}

pub(super) fn action(text: &str) -> Result<Action, String> {
    text.parse()
        .map_err(|error: InvalidAction| error.to_string())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn duration(millis: u64) -> Duration {
    Duration::from_millis(millis).min(LONGEST)
}
