//! Endpoints as the writer knows them.

use std::sync::Arc;

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
    sea_query::{Expr, ExprTrait},
};
use uuid::Uuid;

use super::intent::{Disabled, Endpoint, EndpointHealth, NewEndpoint, SecretText};
use crate::{
    domain::{DeviceId, EventKinds, Timestamp},
    store::{
        StoreError,
        entities::{webhook_endpoint, webhook_set},
    },
};

/// The endpoints as of some version of their set. Each batch asks which version it is, so that an endpoint that was
/// made through one instance is served by all from then on.
#[derive(Debug, Default)]
pub(in crate::store) struct KnownEndpoints {
    version: Option<i64>,
    all: Vec<Arc<Endpoint>>,
}

impl KnownEndpoints {
    /// They are not known any more.
    pub(in crate::store) fn clear(&mut self) {
        self.version = None;
    }

    /// Makes sure that they are those of this transaction. On a file nobody else changes them.
    ///
    /// `current` is the version of their set if the batch knows it already.
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

    /// What any of them wants to be told of.
    pub(in crate::store) fn wanted(&self) -> EventKinds {
        let kinds = self.enabled().map(|endpoint| endpoint.events);
        kinds.fold(EventKinds::empty(), |all, kinds| all | kinds)
    }

    /// How many want to be told of all vehicles.
    pub(in crate::store) fn told_of_everything(&self) -> usize {
        self.enabled()
            .filter(|endpoint| endpoint.devices.is_none())
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

    pub(super) fn enabled_with(&self, id: Uuid) -> Option<&Arc<Endpoint>> {
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

/// Makes every instance look at the endpoints again.
pub(super) async fn changed(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    use webhook_set::Column as C;
    webhook_set::Entity::update_many()
        .col_expr(C::Version, Expr::col(C::Version).add(1))
        .exec(db)
        .await
        .map(drop)
}

/// All endpoints, the oldest first. One that cannot be read is left out: it must not hold up the others.
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
                |error| tracing::error!(%id, %error, "an endpoint of webhooks is left out"),
            )
            .ok()
    });
    Ok(endpoints.collect())
}

fn corrupt(column: &'static str) -> StoreError {
    StoreError::Corrupt {
        table: "webhook_endpoints",
        column,
    }
}

impl TryFrom<webhook_endpoint::Model> for Endpoint {
    type Error = StoreError;

    fn try_from(row: webhook_endpoint::Model) -> Result<Self, StoreError> {
        let devices = row
            .devices
            .map(|devices| serde_json::from_str::<Vec<String>>(&devices))
            .transpose()
            .map_err(|_| corrupt("devices"))?
            .map(|devices| devices.iter().map(|id| DeviceId::parse(id)).collect())
            .transpose()
            .map_err(|_| corrupt("devices"))?;
        let disabled = row
            .disabled_at
            .map(|at| -> Result<_, StoreError> {
                let reason = row.disabled_reason.as_deref().unwrap_or_default();
                let reason: Disabled = reason.parse().map_err(|_| corrupt("disabled_reason"))?;
                Ok((Timestamp::from_millis(at), reason))
            })
            .transpose()?;
        let previous = row.previous_secret.map(SecretText);
        Ok(Self {
            id: row.id.parse().map_err(|_| corrupt("id"))?,
            url: row.url,
            events: u8::try_from(row.events)
                .map(EventKinds::from_u8_truncated)
                .map_err(|_| corrupt("events"))?,
            devices,
            secret: SecretText(row.secret),
            previous_secret: previous.zip(row.previous_until.map(Timestamp::from_millis)),
            ordered: row.ordered,
            coalesce: row.coalesce,
            configured: row.configured,
            disabled,
            created_at: Timestamp::from_millis(row.created_at),
            updated_at: Timestamp::from_millis(row.updated_at),
            health: EndpointHealth {
                failures: u32::try_from(row.failures).unwrap_or(0),
                failing_since: row.failing_since.map(Timestamp::from_millis),
                paused_until: row.paused_until.map(Timestamp::from_millis),
                last_error: row.last_error,
            },
        })
    }
}

impl NewEndpoint {
    /// The row of it, but for what a row has beside.
    pub(super) fn row(&self, configured: bool, now: Timestamp) -> webhook_endpoint::ActiveModel {
        webhook_endpoint::ActiveModel {
            id: Set(self.id.to_string()),
            url: Set(self.url.clone()),
            events: Set(i16::from(self.events.as_u8())),
            devices: Set(self.devices.as_ref().map(devices)),
            secret: Set(self.secret.0.clone()),
            previous_secret: Set(None),
            previous_until: Set(None),
            ordered: Set(self.ordered),
            coalesce: Set(self.coalesce),
            configured: Set(configured),
            disabled_at: Set(None),
            disabled_reason: Set(None),
            created_at: Set(now.as_millis()),
            updated_at: Set(now.as_millis()),
            failures: Set(0),
            failing_since: Set(None),
            paused_until: Set(None),
            last_error: Set(None),
            deleted_at: Set(None),
        }
    }
}

/// Device ids as a column holds them.
pub(super) fn devices<'a>(ids: impl IntoIterator<Item = &'a DeviceId>) -> String {
    let ids: Vec<&str> = ids.into_iter().map(DeviceId::as_str).collect();
    serde_json::Value::from(ids).to_string()
}
