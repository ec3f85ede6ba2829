//! Creation, change and deletion of endpoints.

use std::time::Duration;

use sea_orm::{ColumnTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, sea_query::Expr};
use uuid::Uuid;

use super::{
    backlog,
    endpoint::{Endpoint, EndpointPatch, NewEndpoint, SecretText, devices_column, set_breaker},
    endpoints::{bump_version, find, insert, mark_deleted, read},
    queues::{Release, release},
};
use crate::{
    domain::{DisabledReason, Timestamp},
    state::CircuitBreaker,
    store::{database::Transaction, entities::webhook_endpoint},
};

/// The highest number of endpoints: every event is compared with each of them.
const MAX_ENDPOINTS: u64 = 100;

/// Creates an endpoint; `None` if there are [`MAX_ENDPOINTS`] already.
pub(in crate::store) async fn create(
    db: &Transaction,
    endpoint: &NewEndpoint,
    now: Timestamp,
) -> Result<Option<Endpoint>, DbErr> {
    let existing = webhook_endpoint::Entity::find()
        .filter(webhook_endpoint::Column::DeletedAt.is_null())
        .count(db)
        .await?;
    if existing >= MAX_ENDPOINTS {
        return Ok(None);
    }
    insert(db, endpoint, false, now).await?;
    bump_version(db).await?;
    read(db, endpoint.id).await
}

/// Changes an endpoint; `None` if there is none with this id.
pub(in crate::store) async fn change(
    db: &Transaction,
    id: Uuid,
    patch: &EndpointPatch,
    now: Timestamp,
) -> Result<Option<Endpoint>, DbErr> {
    use webhook_endpoint::Column as C;
    let Some(row) = find(db, id).await? else {
        return Ok(None);
    };
    let mut update = webhook_endpoint::Entity::update_many()
        .col_expr(C::UpdatedAt, Expr::value(now.as_millis()))
        .filter(C::Id.eq(id.to_string()));
    if let Some(url) = &patch.url {
        update = update.col_expr(C::Url, Expr::value(url.clone()));
    }
    if let Some(events) = patch.events {
        update = update.col_expr(C::Events, Expr::value(i16::from(events.as_u8())));
    }
    if let Some(devices) = &patch.devices {
        let devices = devices.as_ref().map(devices_column);
        update = update.col_expr(C::Devices, Expr::value(devices));
    }
    if let Some(ordered) = patch.ordered {
        update = update.col_expr(C::Ordered, Expr::value(ordered));
    }
    if let Some(coalesce) = patch.coalesce {
        update = update.col_expr(C::Coalesce, Expr::value(coalesce));
    }
    let has_new_url = patch.url.as_ref().is_some_and(|url| *url != row.url);
    let resets_breaker = patch.enabled == Some(true) || has_new_url;
    if resets_breaker {
        update = set_breaker(update, &CircuitBreaker::default());
    }
    update = match patch.enabled {
        Some(true) => update
            .col_expr(C::DisabledAt, Expr::value(None::<i64>))
            .col_expr(C::DisabledReason, Expr::value(None::<String>)),
        Some(false) if row.disabled_at.is_none() => {
            let reason = DisabledReason::Operator.as_str();
            update
                .col_expr(C::DisabledAt, Expr::value(now.as_millis()))
                .col_expr(C::DisabledReason, Expr::value(reason))
        }
        _ => update,
    };
    update.exec(db).await?;
    if patch.ordered.is_some_and(|ordered| ordered != row.ordered) {
        release(db, id, Release::AllUnclaimed, now).await?;
    } else if resets_breaker {
        release(db, id, Release::WaitingForEndpoint, now).await?;
    }
    if resets_breaker {
        backlog::recover(db, id, now).await?;
    }
    bump_version(db).await?;
    read(db, id).await
}

/// Gives an endpoint a new secret; the previous one signs as well for `overlap`. `None` if there is none with this id.
pub(in crate::store) async fn rotate_secret(
    db: &Transaction,
    id: Uuid,
    secret: &SecretText,
    overlap: Duration,
    now: Timestamp,
) -> Result<Option<Endpoint>, DbErr> {
    use webhook_endpoint::Column as C;
    let Some(row) = find(db, id).await? else {
        return Ok(None);
    };
    let until = now.after(overlap).as_millis();
    webhook_endpoint::Entity::update_many()
        .col_expr(C::UpdatedAt, Expr::value(now.as_millis()))
        .col_expr(C::Secret, Expr::value(secret.0.clone()))
        .col_expr(C::PreviousSecret, Expr::value(row.secret))
        .col_expr(C::PreviousUntil, Expr::value(until))
        .filter(C::Id.eq(id.to_string()))
        .exec(db)
        .await?;
    bump_version(db).await?;
    read(db, id).await
}

/// Deletes an endpoint; false if there is none with this id.
pub(in crate::store) async fn delete(
    db: &Transaction,
    id: Uuid,
    now: Timestamp,
) -> Result<bool, DbErr> {
    if find(db, id).await?.is_none() {
        return Ok(false);
    }
    mark_deleted(db, &id.to_string(), now).await?;
    bump_version(db).await?;
    Ok(true)
}
