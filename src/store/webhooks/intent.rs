//! What the writer is asked to do about webhooks, and what it is about.

use std::{
    collections::BTreeSet,
    fmt,
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use sea_orm::DbErr;
use strum::{Display, EnumString, FromRepr, IntoStaticStr, VariantNames};
use uuid::Uuid;

use crate::{
    domain::{DeviceId, EventKinds, Timestamp},
    state::BatchState,
    store::{
        StoreError,
        entities::webhook_message,
        write_request::{BASE_BYTES, BatchTransaction, PendingRequest, Phase, Reply, Touched},
    },
};

/// A secret as text. Never shown by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// Where messages go.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Its id.
    pub id: Uuid,
    /// Its URL.
    pub url: String,
    /// What it is told of.
    pub events: EventKinds,
    /// Of which vehicles; of all if none are named.
    pub devices: Option<BTreeSet<DeviceId>>,
    /// Signs its messages.
    pub secret: SecretText,
    /// Signs them, too, until then.
    pub previous_secret: Option<(SecretText, Timestamp)>,
    /// Whether a message waits until the one before it, of the same vehicle, is delivered or given up.
    pub ordered: bool,
    /// Whether changes of a vehicle's state that were not sent yet become one message.
    pub coalesce: bool,
    /// It was made by the settings, and is changed there.
    pub configured: bool,
    /// Since when and why it gets nothing.
    pub disabled: Option<(Timestamp, Disabled)>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// How it fares.
    pub health: EndpointHealth,
}

/// How an endpoint fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointHealth {
    /// How often it has failed since it last succeeded; several at once count as one.
    pub failures: u32,
    /// Since when it fails.
    pub failing_since: Option<Timestamp>,
    /// Until when nothing is sent to it.
    pub paused_until: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// Why an endpoint is disabled. Its text is its name in the database and in REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum Disabled {
    /// An operator disabled it.
    Operator,
    /// It answered 410.
    Gone,
    /// It failed for longer than `webhooks.disable_after`.
    Failing,
}

impl Disabled {
    /// The reason's name in the database and in REST.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// An endpoint to make.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEndpoint {
    /// Its id.
    pub id: Uuid,
    /// Its URL.
    pub url: String,
    /// What it is told of.
    pub events: EventKinds,
    /// Of which vehicles; of all if none are named.
    pub devices: Option<BTreeSet<DeviceId>>,
    /// Signs its messages.
    pub secret: SecretText,
    /// See [`Endpoint::ordered`].
    pub ordered: bool,
    /// See [`Endpoint::coalesce`].
    pub coalesce: bool,
}

/// What is to be different with an endpoint; none stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EndpointChange {
    /// Its URL.
    pub url: Option<String>,
    /// What it is told of.
    pub events: Option<EventKinds>,
    /// Of which vehicles; `Some(None)`: of all.
    pub devices: Option<Option<BTreeSet<DeviceId>>>,
    /// See [`Endpoint::ordered`].
    pub ordered: Option<bool>,
    /// See [`Endpoint::coalesce`].
    pub coalesce: Option<bool>,
    /// Whether it gets anything.
    pub enabled: Option<bool>,
    /// A new secret, and for how long the last one signs beside it.
    pub secret: Option<(SecretText, Duration)>,
}

/// How far a message has come. Its text is its name in REST, its number is its value in the database.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, FromRepr, IntoStaticStr, VariantNames,
)]
#[repr(i16)]
#[strum(serialize_all = "kebab-case")]
pub enum MessageState {
    /// The message is still to be delivered.
    Pending = webhook_message::PENDING,
    /// The endpoint has the message.
    Delivered = webhook_message::DELIVERED,
    /// The gateway gave the message up.
    Failed = webhook_message::FAILED,
}

impl MessageState {
    /// The state's name in REST.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A message and how its delivery went.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its id, the same at every attempt.
    pub id: Uuid,
    /// About which vehicle; none if it is a test.
    pub device_id: Option<DeviceId>,
    /// Its place among those of its endpoint and vehicle.
    pub sequence: i64,
    /// Its type.
    pub kind: String,
    /// How far it has come.
    pub state: MessageState,
    /// Its body.
    pub body: String,
    /// When it was made, or changed last before it was sent.
    pub created_at: Timestamp,
    /// When it is sent next, while it is pending.
    pub due: Timestamp,
    /// How often it was sent.
    pub attempts: u32,
    /// When it was sent last.
    pub attempted_at: Option<Timestamp>,
    /// When it was delivered or given up.
    pub finished_at: Option<Timestamp>,
    /// How the last attempt went.
    pub last: Attempt,
}

/// How an attempt went, as it is kept with the message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempt {
    /// The status of the answer.
    pub status: Option<u16>,
    /// How long it took.
    pub took: Option<Duration>,
    /// The first bytes of the answer.
    pub answer: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
}

/// Which messages that were given up are to be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryStep {
    /// Those that were given up at this time or later,
    pub since: Timestamp,
    /// and before this one: what fails again meanwhile is not among them.
    pub until: Timestamp,
    /// Newer than this one; all if there is none.
    pub after: Option<Uuid>,
}

/// What a step of sending again has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retried {
    /// So many are sent again.
    pub messages: u64,
    /// The last it looked at, if there may be more.
    pub last: Option<Uuid>,
}

/// Which message of which claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageKey {
    /// Of which endpoint.
    pub endpoint_id: Uuid,
    /// Of which vehicle; empty for tests.
    pub device_id: String,
    /// Its id.
    pub id: Uuid,
    /// The claim of its lane.
    pub claim: Uuid,
}

/// A message that is claimed to be sent.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Which.
    pub key: MessageKey,
    /// Where it goes.
    pub endpoint: Arc<Endpoint>,
    /// Its place among those of its endpoint and vehicle.
    pub sequence: i64,
    /// Its body.
    pub body: String,
    /// How often it was sent.
    pub attempts: u32,
    /// It is sent before its time, since its endpoint works again: if that fails, it costs none of its attempts.
    pub is_early: bool,
}

/// How much more may be sent to an endpoint at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimable {
    /// Which.
    pub endpoint_id: Uuid,
    /// So many lanes.
    pub lanes: u64,
}

/// What came of a message that was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// Which.
    pub key: MessageKey,
    /// Where it was sent.
    pub endpoint: Arc<Endpoint>,
    /// See [`Outgoing::is_early`].
    pub is_early: bool,
    /// What came of it.
    pub outcome: Outcome,
    /// How the attempt went.
    pub attempt: Attempt,
    /// For how long the next message of the lane is claimed, if it is wanted.
    pub go_on: Option<Duration>,
}

/// What came of sending a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The endpoint has it.
    Delivered,
    /// It is given up.
    GivenUp {
        /// The trouble is the endpoint's, and not this message's.
        is_endpoint: bool,
        /// How long the endpoint asked to be left alone.
        pause: Option<Duration>,
    },
    /// It is to be sent again after this time.
    Again {
        /// After how long.
        after: Duration,
        /// The trouble is the endpoint's, and not this message's.
        is_endpoint: bool,
        /// How long the endpoint asked to be left alone.
        pause: Option<Duration>,
    },
    /// The endpoint wants nothing any more.
    Gone,
}

/// What to do about webhooks, with the place where the outcome goes.
pub(in crate::store) enum WebhookIntent {
    /// Those of the settings, which are the only ones that are configured.
    Configure {
        endpoints: Vec<NewEndpoint>,
        reply: Reply<()>,
    },
    /// None if there are too many.
    Create {
        endpoint: Box<NewEndpoint>,
        reply: Reply<Option<Endpoint>>,
    },
    Change {
        id: Uuid,
        change: Box<EndpointChange>,
        reply: Reply<Option<Endpoint>>,
    },
    Delete {
        id: Uuid,
        reply: Reply<bool>,
    },
    /// The id of the message; none if there is no such endpoint or it is disabled.
    Test {
        id: Uuid,
        reply: Reply<Option<Uuid>>,
    },
    /// Sends a message that was given up or delivered once more.
    Retry {
        endpoint_id: Uuid,
        id: Uuid,
        reply: Reply<bool>,
    },
    /// Sends some of those that were given up once more.
    RetryFailed {
        endpoint_id: Uuid,
        step: RetryStep,
        reply: Reply<Retried>,
    },
    Claim {
        endpoints: Vec<Claimable>,
        /// Then somebody else may claim what was not settled.
        lasts: Duration,
        reply: Reply<Vec<Outgoing>>,
    },
    /// The next message of the lane.
    Settle {
        settled: Box<Settled>,
        /// An endpoint that fails for so long is disabled.
        disable_after: Duration,
        reply: Reply<Option<Outgoing>>,
    },
}

impl PendingRequest for WebhookIntent {
    fn weight(&self) -> usize {
        BASE_BYTES
            + match self {
                Self::Configure { endpoints, .. } => endpoints.len() * 1024,
                Self::Claim { endpoints, .. } => endpoints.len() * 64,
                Self::Create { .. } | Self::Change { .. } | Self::Settle { .. } => 2048,
                _ => 0,
            }
    }

    fn is_urgent(&self) -> bool {
        true
    }

    fn phase(&self) -> Option<Phase> {
        None
    }

    fn touch<'a>(&'a self, _touched: &mut Touched<'a>) {}

    fn apply(&mut self, _state: &mut BatchState) {}

    fn execute<'a>(
        &'a mut self,
        _transaction: &'a mut BatchTransaction<'_>,
    ) -> Pin<Box<dyn Future<Output = Result<(), DbErr>> + Send + 'a>> {
        Box::pin(ready(Ok(())))
    }

    fn as_webhook(&mut self) -> Option<&mut WebhookIntent> {
        Some(self)
    }

    fn complete(self: Box<Self>) {
        match *self {
            Self::Configure { reply, .. } => reply.send(),
            Self::Create { reply, .. } | Self::Change { reply, .. } => reply.send(),
            Self::Delete { reply, .. } | Self::Retry { reply, .. } => reply.send(),
            Self::Test { reply, .. } => reply.send(),
            Self::RetryFailed { reply, .. } => reply.send(),
            Self::Claim { reply, .. } => reply.send(),
            Self::Settle { reply, .. } => reply.send(),
        }
    }

    fn reject(self: Box<Self>, error: StoreError) {
        match *self {
            Self::Configure { reply, .. } => reply.fail(error),
            Self::Create { reply, .. } | Self::Change { reply, .. } => reply.fail(error),
            Self::Delete { reply, .. } | Self::Retry { reply, .. } => reply.fail(error),
            Self::Test { reply, .. } => reply.fail(error),
            Self::RetryFailed { reply, .. } => reply.fail(error),
            Self::Claim { reply, .. } => reply.fail(error),
            Self::Settle { reply, .. } => reply.fail(error),
        }
    }
}
