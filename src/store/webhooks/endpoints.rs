//! The table of endpoints, and the endpoints that the writer keeps in memory.

use std::sync::Arc;

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
    sea_query::{Expr, ExprTrait},
};
use uuid::Uuid;

use super::{
    endpoint::{Endpoint, NewEndpoint},
    queues::QueueKey,
};
use crate::{
    domain::{EventKinds, Timestamp},
    store::{
        database::Transaction,
        entities::{webhook_endpoint, webhook_lane, webhook_set},
    },
};

/// All endpoints, as of a version in the table `webhook_set`. On a server each batch reads the version, so that every
/// instance notices a change that was made through another one.
#[derive(Debug, Default)]
pub(in crate::store) struct EndpointCache {
    version: Option<i64>,
    all: Vec<Arc<Endpoint>>,
}

impl EndpointCache {
    /// Makes the next [`Self::check`] read the endpoints again.
    pub(in crate::store) fn clear(&mut self) {
        self.version = None;
    }

    /// Reads the endpoints if the version has changed. On a file only once, since no other process changes endpoints
    /// there.
    ///
    /// `current` is the version, if the batch has read it already.
    pub(in crate::store) async fn check(
        &mut self,
        db: &impl ConnectionTrait,
        current: Option<i64>,
    ) -> Result<(), DbErr> {
        if self.version.is_some() && db.get_database_backend() == DbBackend::Sqlite {
            return Ok(());
        }
        let version = match current {
            Some(version) => version,
            None => version(db).await?,
        };
        if self.version == Some(version) {
            return Ok(());
        }
        self.version = None;
        self.all = all(db).await?.into_iter().map(Arc::new).collect();
        self.version = Some(version);
        Ok(())
    }

    /// The kinds of events that become messages to any enabled endpoint.
    pub(in crate::store) fn subscribed(&self) -> EventKinds {
        let kinds = self.enabled().map(|endpoint| endpoint.stored_events());
        kinds.fold(EventKinds::empty(), |all, kinds| all | kinds)
    }

    /// Number of enabled endpoints that get messages about all vehicles, apart from those that are behind.
    pub(in crate::store) fn subscribed_to_all_vehicles(&self) -> usize {
        self.enabled()
            .filter(|endpoint| endpoint.devices.is_none() && !endpoint.backlog.is_behind())
            .count()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.all.iter()
    }

    pub(super) fn enabled(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.all
            .iter()
            .filter(|endpoint| endpoint.disabled.is_none())
    }

    pub(in crate::store) fn enabled_with(&self, id: Uuid) -> Option<&Arc<Endpoint>> {
        self.enabled().find(|endpoint| endpoint.id == id)
    }
}

async fn version(db: &impl ConnectionTrait) -> Result<i64, DbErr> {
    let version = webhook_set::Entity::find_by_id(1_i16)
        .select_only()
        .column(webhook_set::Column::Version)
        .into_tuple()
        .one(db)
        .await?;
    version.ok_or_else(|| DbErr::Custom("table webhook_set is empty".to_owned()))
}

/// Counts up the version, so that every instance reads the endpoints again before its next batch.
pub(super) async fn bump_version(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    use webhook_set::Column as C;
    webhook_set::Entity::update_many()
        .col_expr(C::Version, Expr::col(C::Version).add(1))
        .exec(db)
        .await
        .map(drop)
}

/// Reads all endpoints, oldest first. One whose row is corrupt is left out, so that it does not block the others.
pub(super) async fn all(db: &impl ConnectionTrait) -> Result<Vec<Endpoint>, DbErr> {
    let rows = webhook_endpoint::Entity::find()
        .filter(webhook_endpoint::Column::DeletedAt.is_null())
        .order_by_asc(webhook_endpoint::Column::CreatedAt)
        .order_by_asc(webhook_endpoint::Column::Id)
        .all(db)
        .await?;
    let endpoints = rows.into_iter().filter_map(|row| {
        let id = row.id.clone();
        Endpoint::try_from(row)
            .inspect_err(
                |error| tracing::error!(%id, %error, "webhook endpoint ignored: its row is corrupt"),
            )
            .ok()
    });
    Ok(endpoints.collect())
}

/// Finds an endpoint and locks its row.
pub(super) async fn find(
    db: &Transaction,
    id: Uuid,
) -> Result<Option<webhook_endpoint::Model>, DbErr> {
    webhook_endpoint::Entity::find_by_id(id.to_string())
        .filter(webhook_endpoint::Column::DeletedAt.is_null())
        .lock_exclusive()
        .one(db)
        .await
}

/// Reads an endpoint and locks its row.
pub(super) async fn read(db: &Transaction, id: Uuid) -> Result<Option<Endpoint>, DbErr> {
    let row = find(db, id).await?;
    row.map(Endpoint::try_from)
        .transpose()
        .map_err(|error| DbErr::Type(error.to_string()))
}

/// Inserts an endpoint and its queue of test messages.
pub(super) async fn insert(
    db: &Transaction,
    endpoint: &NewEndpoint,
    configured: bool,
    now: Timestamp,
) -> Result<(), DbErr> {
    webhook_endpoint::Entity::insert(endpoint.row(configured, now))
        .exec_without_returning(db)
        .await?;
    insert_test_queue(db, endpoint.id).await
}

/// Inserts the queue of test messages. It is created with its endpoint: other queues are created under the lock of
/// their vehicle, which keeps two instances from creating one at once, but this queue has no vehicle.
pub(super) async fn insert_test_queue(db: &Transaction, endpoint_id: Uuid) -> Result<(), DbErr> {
    let key = QueueKey::of_tests(endpoint_id);
    let queue = webhook_lane::ActiveModel {
        endpoint_id: Set(key.endpoint_id.to_string()),
        device_id: Set(key.device().to_owned()),
        last_sequence: Set(0),
        ..Default::default()
    };
    webhook_lane::Entity::insert(queue)
        .exec_without_returning(db)
        .await
        .map(drop)
}

/// Marks an endpoint as deleted. Its queues and messages are purged later, in small steps.
pub(super) async fn mark_deleted(db: &Transaction, id: &str, now: Timestamp) -> Result<(), DbErr> {
    use webhook_endpoint::Column as C;
    webhook_endpoint::Entity::update_many()
        .col_expr(C::DeletedAt, Expr::value(now.as_millis()))
        .filter(C::Id.eq(id))
        .exec(db)
        .await
        .map(drop)
}
