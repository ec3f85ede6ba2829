//! Reads of endpoints and messages.

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, Iterable, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait, Select,
    sea_query::{Expr, ExprTrait, SubQueryStatement},
};
use uuid::Uuid;

use super::{
    endpoint::{Endpoint, EndpointState, breaker_from_columns},
    endpoints,
    message::{MessagePage, StoredMessage},
};
use crate::{
    domain::{MessageState, Timestamp},
    store::{
        Store, StoreError,
        entities::{webhook_endpoint, webhook_lane, webhook_message},
    },
};

/// An endpoint with pending messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueEndpoint {
    /// The endpoint.
    pub id: Uuid,
    /// Whether its circuit breaker is not closed: then only one message may be in flight.
    pub only_probe: bool,
    /// From when on a message may be sent.
    pub due: Timestamp,
}

impl Store {
    /// Waits until a commit of this instance may have made a queue due.
    pub async fn webhooks_due(&self) {
        self.webhooks.notified().await;
    }

    /// Returns all endpoints, oldest first.
    pub async fn endpoints(&self) -> Result<Vec<Endpoint>, StoreError> {
        endpoints::all(&self.reader).await.map_err(StoreError::from)
    }

    /// Returns all endpoints with what is pending for them, oldest first.
    pub async fn endpoint_states(&self) -> Result<Vec<EndpointState>, StoreError> {
        let mut states = Vec::new();
        for endpoint in self.endpoints().await? {
            states.push(self.endpoint_state(endpoint).await?);
        }
        Ok(states)
    }

    /// Returns an endpoint with what is pending for it.
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
            .filter(M::State.eq(MessageState::Pending as i16))
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

    /// Returns an endpoint.
    pub async fn endpoint(&self, id: Uuid) -> Result<Option<Endpoint>, StoreError> {
        let row = webhook_endpoint::Entity::find_by_id(id.to_string())
            .filter(webhook_endpoint::Column::DeletedAt.is_null())
            .one(&self.reader)
            .await?;
        row.map(Endpoint::try_from).transpose()
    }

    /// Returns messages of an endpoint without their bodies, newest first.
    pub async fn messages(
        &self,
        endpoint_id: Uuid,
        page: MessagePage,
    ) -> Result<Vec<StoredMessage>, StoreError> {
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
        rows.into_iter().map(StoredMessage::try_from).collect()
    }

    /// Returns a message of an endpoint.
    pub async fn message(
        &self,
        endpoint_id: Uuid,
        id: Uuid,
    ) -> Result<Option<StoredMessage>, StoreError> {
        let row = webhook_message::Entity::find_by_id(id.to_string())
            .filter(webhook_message::Column::EndpointId.eq(endpoint_id.to_string()))
            .one(&self.reader)
            .await?;
        row.map(StoredMessage::try_from).transpose()
    }

    /// Returns enabled endpoints with pending messages: one SELECT, with one index lookup for each endpoint.
    pub async fn due_endpoints(&self) -> Result<Vec<DueEndpoint>, StoreError> {
        let rows = due_endpoints().into_tuple::<(String, i32, Option<i64>, Option<i64>)>();
        let rows = rows.all(&self.reader).await?;
        let now = self.now();
        let due = rows.into_iter().filter_map(|row| {
            let (id, failures, paused_until, due) = row;
            let breaker = breaker_from_columns(failures, None, paused_until);
            let due = Timestamp::from_millis(due?);
            Some(DueEndpoint {
                id: id.parse().ok()?,
                only_probe: failures > 0,
                due: breaker.pause_until(now).map_or(due, |until| until.max(due)),
            })
        });
        Ok(due.collect())
    }
}

/// When the next queue of the enclosing row's endpoint is due; NULL if it has nothing pending. One index lookup.
pub(super) fn next_due() -> Expr {
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
    Expr::SubQuery(None, Box::new(next))
}

pub(super) fn due_endpoints() -> Select<webhook_endpoint::Entity> {
    use webhook_endpoint::{Column as E, Entity as Endpoint};
    Endpoint::find()
        .select_only()
        .columns([E::Id, E::Failures, E::PausedUntil])
        .expr_as(next_due(), "next")
        .filter(E::DisabledAt.is_null())
        .filter(E::DeletedAt.is_null())
}
