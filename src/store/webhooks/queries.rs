//! Reads of endpoints and messages.

use sea_orm::{
    ColumnTrait, DbBackend, EntityTrait, Iterable, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait, Select,
    sea_query::{Expr, ExprTrait, SubQueryStatement},
};
use std::time::Duration;
use uuid::Uuid;

use super::{
    endpoints,
    intent::{
        Attempt, Claimable, Endpoint, EndpointChange, Message, MessageState, NewEndpoint, Outgoing,
        Retried, RetryStep, Settled, WebhookIntent,
    },
};
use crate::{
    domain::{DeviceId, Timestamp},
    store::{
        PendingWrite, Store, StoreError,
        entities::{webhook_endpoint, webhook_lane, webhook_message},
        write_request::Reply,
    },
};

/// An endpoint and what waits for it.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointState {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Messages that are not delivered yet.
    pub pending: u64,
    /// When the oldest of them was made.
    pub oldest_pending: Option<Timestamp>,
}

/// An endpoint for which something is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueEndpoint {
    /// Which.
    pub id: Uuid,
    /// Its last attempt failed: whether it works again is tried with one message.
    pub fails: bool,
    /// From when on something may be sent to it.
    pub due: Timestamp,
}

/// Which messages of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessagePage {
    /// Those that have come so far.
    pub state: MessageState,
    /// Older than this one; all if there is none.
    pub before: Option<Uuid>,
    /// At most so many.
    pub limit: u64,
}

impl Store {
    /// Makes these the endpoints of the settings.
    pub fn configure_endpoints(&self, endpoints: Vec<NewEndpoint>) -> PendingWrite<()> {
        self.webhook(|reply| WebhookIntent::Configure { endpoints, reply })
    }

    /// Makes an endpoint; none if there are too many.
    pub fn create_endpoint(&self, endpoint: NewEndpoint) -> PendingWrite<Option<Endpoint>> {
        let endpoint = Box::new(endpoint);
        self.webhook(|reply| WebhookIntent::Create { endpoint, reply })
    }

    /// Changes an endpoint, and returns it; none if there is none.
    pub fn change_endpoint(
        &self,
        id: Uuid,
        change: EndpointChange,
    ) -> PendingWrite<Option<Endpoint>> {
        let change = Box::new(change);
        self.webhook(|reply| WebhookIntent::Change { id, change, reply })
    }

    /// Forgets an endpoint and all that is pending for it; false if there is none.
    pub fn delete_endpoint(&self, id: Uuid) -> PendingWrite<bool> {
        self.webhook(|reply| WebhookIntent::Delete { id, reply })
    }

    /// Sends a message about nothing, and returns its id; none if there is no such endpoint or it is disabled.
    pub fn test_endpoint(&self, id: Uuid) -> PendingWrite<Option<Uuid>> {
        self.webhook(|reply| WebhookIntent::Test { id, reply })
    }

    /// Lets a message be sent again now; false if there is none.
    pub fn retry_message(&self, endpoint_id: Uuid, id: Uuid) -> PendingWrite<bool> {
        self.webhook(|reply| WebhookIntent::Retry {
            endpoint_id,
            id,
            reply,
        })
    }

    /// Lets some messages be sent again that were given up.
    pub fn retry_failed_messages(
        &self,
        endpoint_id: Uuid,
        step: RetryStep,
    ) -> PendingWrite<Retried> {
        self.webhook(|reply| WebhookIntent::RetryFailed {
            endpoint_id,
            step,
            reply,
        })
    }

    /// Claims messages that are due, for so long.
    pub fn claim_messages(
        &self,
        endpoints: Vec<Claimable>,
        lasts: Duration,
    ) -> PendingWrite<Vec<Outgoing>> {
        self.webhook(|reply| WebhookIntent::Claim {
            endpoints,
            lasts,
            reply,
        })
    }

    /// Notes what came of a message, and returns the next of its lane if it is wanted. An endpoint that has failed for
    /// `disable_after` gets nothing more.
    pub fn settle_message(
        &self,
        settled: Settled,
        disable_after: Duration,
    ) -> PendingWrite<Option<Outgoing>> {
        let settled = Box::new(settled);
        self.webhook(|reply| WebhookIntent::Settle {
            settled,
            disable_after,
            reply,
        })
    }

    fn webhook<T: Send + 'static>(
        &self,
        intent: impl FnOnce(Reply<T>) -> WebhookIntent,
    ) -> PendingWrite<T> {
        let (reply, receiver) = Reply::channel();
        self.writes
            .submit_pending(Box::new(intent(reply)), receiver)
    }

    /// Resolves when a commit from now on may have made something due for delivery.
    pub async fn webhooks_due(&self) {
        self.webhooks.notified().await;
    }

    /// All endpoints, the oldest first.
    pub async fn endpoints(&self) -> Result<Vec<Endpoint>, StoreError> {
        endpoints::all(&self.reader).await.map_err(StoreError::from)
    }

    /// All endpoints with what waits for them, the oldest first.
    pub async fn endpoint_states(&self) -> Result<Vec<EndpointState>, StoreError> {
        let mut states = Vec::new();
        for endpoint in self.endpoints().await? {
            states.push(self.endpoint_state(endpoint).await?);
        }
        Ok(states)
    }

    /// What waits for an endpoint.
    pub async fn endpoint_state(&self, endpoint: Endpoint) -> Result<EndpointState, StoreError> {
        use webhook_lane::Column as L;
        use webhook_message::Column as M;
        let id = endpoint.id.to_string();
        // A sum of integers is a decimal on servers.
        let integer = match self.reader.get_database_backend() {
            DbBackend::MySql => "SIGNED",
            _ => "BIGINT",
        };
        let pending: Option<Option<i64>> = webhook_lane::Entity::find()
            .select_only()
            .column_as(Expr::col(L::Pending).sum().cast_as(integer), "pending")
            .filter(L::EndpointId.eq(&id))
            .filter(L::Due.is_not_null())
            .into_tuple()
            .one(&self.reader)
            .await?;
        let oldest: Option<i64> = webhook_message::Entity::find()
            .select_only()
            .column(M::CreatedAt)
            .filter(M::EndpointId.eq(&id))
            .filter(M::State.eq(webhook_message::PENDING))
            .order_by_asc(M::Id)
            .into_tuple()
            .one(&self.reader)
            .await?;
        Ok(EndpointState {
            endpoint,
            pending: u64::try_from(pending.flatten().unwrap_or(0)).unwrap_or(0),
            oldest_pending: oldest.map(Timestamp::from_millis),
        })
    }

    /// One endpoint.
    pub async fn endpoint(&self, id: Uuid) -> Result<Option<Endpoint>, StoreError> {
        let row = webhook_endpoint::Entity::find_by_id(id.to_string())
            .filter(webhook_endpoint::Column::DeletedAt.is_null())
            .one(&self.reader)
            .await?;
        row.map(Endpoint::try_from).transpose()
    }

    /// Messages of an endpoint without their bodies, the newest first.
    pub async fn messages(
        &self,
        endpoint_id: Uuid,
        page: MessagePage,
    ) -> Result<Vec<Message>, StoreError> {
        use webhook_message::Column as M;
        // Bodies may be large, and a list does not show them.
        let columns = webhook_message::Column::iter().filter(|column| !matches!(column, M::Body));
        let mut query = webhook_message::Entity::find()
            .select_only()
            .columns(columns)
            .expr_as(Expr::value(""), "body")
            .filter(M::EndpointId.eq(endpoint_id.to_string()))
            .filter(M::State.eq(page.state as i16))
            .order_by_desc(M::Id)
            .limit(page.limit);
        if let Some(before) = page.before {
            query = query.filter(M::Id.lt(before.to_string()));
        }
        let rows = query.all(&self.reader).await?;
        rows.into_iter().map(Message::try_from).collect()
    }

    /// One message of an endpoint.
    pub async fn message(
        &self,
        endpoint_id: Uuid,
        id: Uuid,
    ) -> Result<Option<Message>, StoreError> {
        let row = webhook_message::Entity::find_by_id(id.to_string())
            .filter(webhook_message::Column::EndpointId.eq(endpoint_id.to_string()))
            .one(&self.reader)
            .await?;
        row.map(Message::try_from).transpose()
    }

    /// Endpoints for which something is pending, and that get it: one SELECT, which looks into an index for each.
    pub async fn due_endpoints(&self) -> Result<Vec<DueEndpoint>, StoreError> {
        let rows = due_endpoints().into_tuple::<(String, i32, Option<i64>, Option<i64>)>();
        let rows = rows.all(&self.reader).await?;
        let due = rows.into_iter().filter_map(|row| {
            let (id, failures, paused_until, due) = row;
            Some(DueEndpoint {
                id: id.parse().ok()?,
                fails: failures > 0,
                due: Timestamp::from_millis(Ord::max(due?, paused_until.unwrap_or(i64::MIN))),
            })
        });
        Ok(due.collect())
    }
}

pub(super) fn due_endpoints() -> Select<webhook_endpoint::Entity> {
    use webhook_endpoint::{Column as E, Entity as Endpoint};
    use webhook_lane::{Column as L, Entity as Lane};
    let next = Lane::find()
        .select_only()
        .column(L::Due)
        .filter(Expr::col((Lane, L::EndpointId)).eq(Expr::col((Endpoint, E::Id))))
        .filter(L::Due.is_not_null())
        .order_by_asc(L::Due)
        .limit(1);
    let next = SubQueryStatement::SelectStatement(next.into_query());
    Endpoint::find()
        .select_only()
        .columns([E::Id, E::Failures, E::PausedUntil])
        .expr_as(Expr::SubQuery(None, Box::new(next)), "next")
        .filter(E::DisabledAt.is_null())
        .filter(E::DeletedAt.is_null())
}

fn corrupt(column: &'static str) -> StoreError {
    StoreError::Corrupt {
        table: "webhook_messages",
        column,
    }
}

impl TryFrom<webhook_message::Model> for Message {
    type Error = StoreError;

    fn try_from(row: webhook_message::Model) -> Result<Self, StoreError> {
        let device_id = match row.device_id.as_str() {
            super::NO_DEVICE => None,
            id => Some(DeviceId::parse(id).map_err(|_| corrupt("device_id"))?),
        };
        let state = MessageState::from_repr(row.state);
        let status = row.status.map(u16::try_from).transpose();
        Ok(Self {
            id: row.id.parse().map_err(|_| corrupt("id"))?,
            device_id,
            sequence: row.sequence,
            kind: row.kind,
            state: state.ok_or_else(|| corrupt("state"))?,
            body: row.body,
            created_at: Timestamp::from_millis(row.created_at),
            due: Timestamp::from_millis(row.due),
            attempts: u32::try_from(row.attempts).map_err(|_| corrupt("attempts"))?,
            attempted_at: row.attempted_at.map(Timestamp::from_millis),
            finished_at: row.finished_at.map(Timestamp::from_millis),
            last: Attempt {
                status: status.map_err(|_| corrupt("status"))?,
                took: row
                    .took_ms
                    .and_then(|millis| u64::try_from(millis).ok())
                    .map(Duration::from_millis),
                answer: row.answer,
                error: row.error,
            },
        })
    }
}
