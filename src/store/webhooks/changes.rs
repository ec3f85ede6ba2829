//! What people do to endpoints and messages.

use std::collections::BTreeSet;

use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, DatabaseTransaction, DbErr, EntityTrait,
    IntoActiveModel, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr,
};
use uuid::Uuid;

use super::{
    KnownEndpoints, NO_DEVICE, Render, Telling,
    endpoints::{changed, devices},
    intent::{Disabled, Endpoint, EndpointChange, NewEndpoint, WebhookIntent},
    outbox::new_message,
};
use crate::{
    domain::Timestamp,
    store::entities::{webhook_endpoint, webhook_lane, webhook_message},
};

/// Endpoints there can be: each costs every change of a vehicle a look.
const MOST_ENDPOINTS: u64 = 100;
/// Messages that one step of a retry takes.
const MESSAGES_PER_STEP: u64 = 500;

pub(super) async fn write(
    db: &DatabaseTransaction,
    known: &KnownEndpoints,
    intent: &mut WebhookIntent,
    now: Timestamp,
    render: Render,
) -> Result<(), DbErr> {
    match intent {
        WebhookIntent::Configure { endpoints, reply } => {
            reply.set(Ok(configure(db, endpoints, now).await?));
        }
        WebhookIntent::Create { endpoint, reply } => {
            reply.set(Ok(create(db, endpoint, now).await?));
        }
        WebhookIntent::Change {
            id,
            change: to,
            reply,
        } => {
            reply.set(Ok(change(db, *id, to, now).await?));
        }
        WebhookIntent::Delete { id, reply } => reply.set(Ok(delete(db, *id, now).await?)),
        WebhookIntent::Test { id, reply } => {
            let endpoint = known.enabled_with(*id);
            reply.set(Ok(match endpoint {
                Some(endpoint) => test(db, endpoint, now, render).await?,
                None => None,
            }));
        }
        WebhookIntent::Retry {
            endpoint_id,
            id,
            reply,
        } => {
            reply.set(Ok(retry(db, *endpoint_id, *id, now).await?));
        }
        WebhookIntent::RetryFailed {
            endpoint_id,
            since,
            reply,
        } => {
            reply.set(Ok(retry_failed(db, *endpoint_id, *since, now).await?));
        }
        // The batch has done with them.
        WebhookIntent::Claim { .. } | WebhookIntent::Settle { .. } => {}
    }
    Ok(())
}

async fn find(
    db: &DatabaseTransaction,
    id: Uuid,
) -> Result<Option<webhook_endpoint::Model>, DbErr> {
    webhook_endpoint::Entity::find_by_id(id.to_string())
        .filter(webhook_endpoint::Column::DeletedAt.is_null())
        .lock_exclusive()
        .one(db)
        .await
}

async fn insert(
    db: &DatabaseTransaction,
    endpoint: &NewEndpoint,
    configured: bool,
    now: Timestamp,
) -> Result<(), DbErr> {
    webhook_endpoint::Entity::insert(endpoint.row(configured, now))
        .exec_without_returning(db)
        .await?;
    // Here, for nothing else keeps two instances from making it at once.
    let lane = webhook_lane::ActiveModel {
        endpoint_id: Set(endpoint.id.to_string()),
        device_id: Set(NO_DEVICE.to_owned()),
        last_sequence: Set(0),
        ..Default::default()
    };
    webhook_lane::Entity::insert(lane)
        .exec_without_returning(db)
        .await?;
    Ok(())
}

async fn create(
    db: &DatabaseTransaction,
    endpoint: &NewEndpoint,
    now: Timestamp,
) -> Result<Option<Endpoint>, DbErr> {
    let there = webhook_endpoint::Entity::find()
        .filter(webhook_endpoint::Column::DeletedAt.is_null())
        .count(db)
        .await?;
    if there >= MOST_ENDPOINTS {
        return Ok(None);
    }
    insert(db, endpoint, false, now).await?;
    changed(db).await?;
    read(db, endpoint.id).await
}

async fn read(db: &DatabaseTransaction, id: Uuid) -> Result<Option<Endpoint>, DbErr> {
    let row = find(db, id).await?;
    row.map(Endpoint::try_from)
        .transpose()
        .map_err(|error| DbErr::Type(error.to_string()))
}

/// Makes these the configured ones. One that is there keeps how it fares, and whether somebody disabled it.
async fn configure(
    db: &DatabaseTransaction,
    endpoints: &[NewEndpoint],
    now: Timestamp,
) -> Result<(), DbErr> {
    use webhook_endpoint::Column as C;
    let there: Vec<String> = webhook_endpoint::Entity::find()
        .select_only()
        .column(C::Id)
        .filter(C::Configured.eq(true))
        .filter(C::DeletedAt.is_null())
        .into_tuple()
        .all(db)
        .await?;
    let wanted: BTreeSet<String> = endpoints.iter().map(|new| new.id.to_string()).collect();
    if there.is_empty() && wanted.is_empty() {
        return Ok(());
    }
    for new in endpoints {
        let row = webhook_endpoint::Entity::find_by_id(new.id.to_string())
            .lock_exclusive()
            .one(db)
            .await?;
        if row.is_none() {
            insert(db, new, true, now).await?;
            continue;
        }
        webhook_endpoint::Entity::update_many()
            .col_expr(C::Url, Expr::value(new.url.clone()))
            .col_expr(C::Events, Expr::value(i16::from(new.events.bits())))
            .col_expr(C::Devices, Expr::value(new.devices.as_ref().map(devices)))
            .col_expr(C::Secret, Expr::value(new.secret.0.clone()))
            .col_expr(C::Ordered, Expr::value(new.ordered))
            .col_expr(C::Coalesce, Expr::value(new.coalesce))
            .col_expr(C::Configured, Expr::value(true))
            .col_expr(C::DeletedAt, Expr::value(None::<i64>))
            .filter(C::Id.eq(new.id.to_string()))
            .exec(db)
            .await?;
    }
    for id in there.iter().filter(|id| !wanted.contains(*id)) {
        remove(db, id, now).await?;
    }
    changed(db).await
}

async fn change(
    db: &DatabaseTransaction,
    id: Uuid,
    change: &EndpointChange,
    now: Timestamp,
) -> Result<Option<Endpoint>, DbErr> {
    use webhook_endpoint::Column as C;
    let Some(row) = find(db, id).await? else {
        return Ok(None);
    };
    let mut update = webhook_endpoint::Entity::update_many()
        .col_expr(C::UpdatedAt, Expr::value(now.as_millis()))
        .filter(C::Id.eq(id.to_string()));
    if let Some(url) = &change.url {
        update = update.col_expr(C::Url, Expr::value(url.clone()));
    }
    if let Some(events) = change.events {
        update = update.col_expr(C::Events, Expr::value(i16::from(events.bits())));
    }
    if let Some(only) = &change.devices {
        update = update.col_expr(C::Devices, Expr::value(only.as_ref().map(devices)));
    }
    if let Some(ordered) = change.ordered {
        update = update.col_expr(C::Ordered, Expr::value(ordered));
    }
    if let Some(coalesce) = change.coalesce {
        update = update.col_expr(C::Coalesce, Expr::value(coalesce));
    }
    if let Some((secret, overlap)) = &change.secret {
        update = update
            .col_expr(C::Secret, Expr::value(secret.0.clone()))
            .col_expr(C::PreviousSecret, Expr::value(row.secret.clone()))
            .col_expr(
                C::PreviousUntil,
                Expr::value(now.after(*overlap).as_millis()),
            );
    }
    let is_new_address = change.url.as_ref().is_some_and(|url| *url != row.url);
    if change.enabled == Some(true) || is_new_address {
        update = update
            .col_expr(C::Failures, Expr::value(0))
            .col_expr(C::FailingSince, Expr::value(None::<i64>))
            .col_expr(C::PausedUntil, Expr::value(None::<i64>));
    }
    update = match change.enabled {
        Some(true) => update
            .col_expr(C::DisabledAt, Expr::value(None::<i64>))
            .col_expr(C::DisabledReason, Expr::value(None::<String>)),
        Some(false) if row.disabled_at.is_none() => update
            .col_expr(C::DisabledAt, Expr::value(now.as_millis()))
            .col_expr(C::DisabledReason, Expr::value(Disabled::Operator.as_str())),
        _ => update,
    };
    update.exec(db).await?;
    changed(db).await?;
    read(db, id).await
}

async fn delete(db: &DatabaseTransaction, id: Uuid, now: Timestamp) -> Result<bool, DbErr> {
    if find(db, id).await?.is_none() {
        return Ok(false);
    }
    remove(db, &id.to_string(), now).await?;
    changed(db).await?;
    Ok(true)
}

/// Its lanes and messages are purged later, in small steps.
async fn remove(db: &DatabaseTransaction, id: &str, now: Timestamp) -> Result<(), DbErr> {
    use webhook_endpoint::Column as C;
    webhook_endpoint::Entity::update_many()
        .col_expr(C::DeletedAt, Expr::value(now.as_millis()))
        .filter(C::Id.eq(id))
        .exec(db)
        .await
        .map(drop)
}

async fn test(
    db: &DatabaseTransaction,
    endpoint: &Endpoint,
    now: Timestamp,
    render: Render,
) -> Result<Option<Uuid>, DbErr> {
    let key = (endpoint.id.to_string(), NO_DEVICE.to_owned());
    let Some(mut lane) = lock(db, &key.0, NO_DEVICE).await? else {
        return Ok(None);
    };
    lane.last_sequence += 1;
    lane.push(now.as_millis(), endpoint.ordered);
    let id = Uuid::now_v7();
    let told = render(Telling::Test(now), lane.last_sequence);
    let message = new_message(id.to_string(), &key, lane.last_sequence, told, now);
    webhook_message::Entity::insert(message.into_active_model().reset_all())
        .exec_without_returning(db)
        .await?;
    save(db, lane).await?;
    Ok(Some(id))
}

async fn lock(
    db: &DatabaseTransaction,
    endpoint_id: &str,
    device_id: &str,
) -> Result<Option<webhook_lane::Model>, DbErr> {
    let id = (endpoint_id.to_owned(), device_id.to_owned());
    webhook_lane::Entity::find_by_id(id)
        .lock_exclusive()
        .one(db)
        .await
}

async fn save(db: &DatabaseTransaction, lane: webhook_lane::Model) -> Result<(), DbErr> {
    use webhook_lane::Column as L;
    webhook_lane::Entity::update_many()
        .col_expr(L::LastSequence, Expr::value(lane.last_sequence))
        .col_expr(L::Pending, Expr::value(lane.pending))
        .col_expr(L::Due, Expr::value(lane.due))
        .filter(L::EndpointId.eq(lane.endpoint_id))
        .filter(L::DeviceId.eq(lane.device_id))
        .exec(db)
        .await
        .map(drop)
}

/// Lets a finished message be sent again, now and not after its next pause. False if there is none.
async fn retry(
    db: &DatabaseTransaction,
    endpoint_id: Uuid,
    id: Uuid,
    now: Timestamp,
) -> Result<bool, DbErr> {
    use webhook_message::Column as M;
    let message = webhook_message::Entity::find_by_id(id.to_string())
        .filter(M::EndpointId.eq(endpoint_id.to_string()))
        .one(db)
        .await?;
    let Some(message) = message else {
        return Ok(false);
    };
    let Some(mut lane) = lock(db, &message.endpoint_id, &message.device_id).await? else {
        return Ok(false);
    };
    if message.sequence <= lane.dropped_through {
        return Ok(false);
    }
    let mut update = webhook_message::Entity::update_many()
        .col_expr(M::Due, Expr::value(now.as_millis()))
        .filter(M::Id.eq(&message.id));
    if message.state == webhook_message::PENDING {
        // As if its time had come.
        if lane.claim.is_none() && lane.due.is_some() {
            lane.due = Some(now.as_millis());
        }
    } else {
        update = update
            .col_expr(M::State, Expr::value(webhook_message::PENDING))
            .col_expr(M::FinishedAt, Expr::value(None::<i64>))
            .col_expr(M::Attempts, Expr::value(0));
        lane.push(now.as_millis(), true);
    }
    update.exec(db).await?;
    save(db, lane).await?;
    Ok(true)
}

/// The oldest of those that were given up since then.
async fn retry_failed(
    db: &DatabaseTransaction,
    endpoint_id: Uuid,
    since: Timestamp,
    now: Timestamp,
) -> Result<u64, DbErr> {
    use webhook_message::Column as M;
    let failed: Vec<String> = webhook_message::Entity::find()
        .select_only()
        .column(M::Id)
        .filter(M::EndpointId.eq(endpoint_id.to_string()))
        .filter(M::State.eq(webhook_message::FAILED))
        .filter(M::FinishedAt.gte(since.as_millis()))
        .order_by_asc(M::Id)
        .limit(MESSAGES_PER_STEP)
        .into_tuple()
        .all(db)
        .await?;
    let mut retried = 0;
    for id in failed.iter().filter_map(|id| id.parse().ok()) {
        retried += u64::from(retry(db, endpoint_id, id, now).await?);
    }
    Ok(retried)
}
