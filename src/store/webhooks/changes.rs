//! What people do to endpoints and messages.

use std::collections::BTreeSet;

use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, DbErr,
    EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::Expr,
};
use uuid::Uuid;

use super::{
    KnownEndpoints, NO_DEVICE,
    endpoints::{changed, devices},
    intent::{Disabled, Endpoint, EndpointChange, NewEndpoint, Retried, RetryStep, WebhookIntent},
    lanes::{Lanes, key},
    outbox::{new_id, new_message},
    verdicts::{Waiting, free_lanes},
};
use crate::{
    domain::Timestamp,
    store::{
        database::Transaction,
        entities::{webhook_endpoint, webhook_lane, webhook_message},
        statements::Texts,
    },
    webhook_payload::WebhookPayload,
};

/// Endpoints there can be: each costs every change of a vehicle a look.
const MOST_ENDPOINTS: u64 = 100;
/// Messages that one step of a retry takes.
const MESSAGES_PER_STEP: u64 = 500;

pub(super) async fn write(
    db: &Transaction,
    texts: &mut Texts,
    known: &KnownEndpoints,
    intent: &mut WebhookIntent,
    now: Timestamp,
) -> Result<(), DbErr> {
    match intent {
        WebhookIntent::Configure { endpoints, reply } => {
            reply.set(configure(db, endpoints, now).await?);
        }
        WebhookIntent::Create { endpoint, reply } => {
            reply.set(create(db, endpoint, now).await?);
        }
        WebhookIntent::Change {
            id,
            change: to,
            reply,
        } => {
            reply.set(change(db, *id, to, now).await?);
        }
        WebhookIntent::Delete { id, reply } => reply.set(delete(db, *id, now).await?),
        WebhookIntent::Test { id, reply } => {
            let endpoint = known.enabled_with(*id);
            reply.set(match endpoint {
                Some(endpoint) => test(db, texts, endpoint, now).await?,
                None => None,
            });
        }
        WebhookIntent::Retry {
            endpoint_id,
            id,
            reply,
        } => {
            let ids = [id.to_string()];
            let retried = retry(db, texts, *endpoint_id, &ids, now).await?;
            reply.set(retried > 0);
        }
        WebhookIntent::RetryFailed {
            endpoint_id,
            step,
            reply,
        } => {
            let retried = retry_failed(db, texts, *endpoint_id, *step, now);
            reply.set(retried.await?);
        }
        // The batch has done with them.
        WebhookIntent::Claim { .. } | WebhookIntent::Settle { .. } => {}
    }
    Ok(())
}

async fn find(db: &Transaction, id: Uuid) -> Result<Option<webhook_endpoint::Model>, DbErr> {
    webhook_endpoint::Entity::find_by_id(id.to_string())
        .filter(webhook_endpoint::Column::DeletedAt.is_null())
        .lock_exclusive()
        .one(db)
        .await
}

async fn insert(
    db: &Transaction,
    endpoint: &NewEndpoint,
    configured: bool,
    now: Timestamp,
) -> Result<(), DbErr> {
    webhook_endpoint::Entity::insert(endpoint.row(configured, now))
        .exec_without_returning(db)
        .await?;
    insert_lane(db, endpoint.id).await
}

/// The lane of tests. With the endpoint, for nothing else keeps two instances from making it at once.
async fn insert_lane(db: &Transaction, endpoint_id: Uuid) -> Result<(), DbErr> {
    let lane = webhook_lane::ActiveModel {
        endpoint_id: Set(endpoint_id.to_string()),
        device_id: Set(NO_DEVICE.to_owned()),
        last_sequence: Set(0),
        ..Default::default()
    };
    webhook_lane::Entity::insert(lane)
        .exec_without_returning(db)
        .await
        .map(drop)
}

async fn create(
    db: &Transaction,
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

async fn read(db: &Transaction, id: Uuid) -> Result<Option<Endpoint>, DbErr> {
    let row = find(db, id).await?;
    row.map(Endpoint::try_from)
        .transpose()
        .map_err(|error| DbErr::Type(error.to_string()))
}

/// On a file nobody else sends: what is claimed at the start was claimed by a life that is over.
async fn release_claims(db: &Transaction, now: Timestamp) -> Result<(), DbErr> {
    use webhook_lane::Column as L;
    if db.get_database_backend() != DbBackend::Sqlite {
        return Ok(());
    }
    webhook_lane::Entity::update_many()
        .col_expr(L::Claim, Expr::value(None::<String>))
        .col_expr(L::Due, Expr::value(now.as_millis()))
        .filter(L::Due.gt(now.as_millis()))
        .filter(L::Claim.is_not_null())
        .exec(db)
        .await
        .map(drop)
}

/// Makes these the configured ones. One that is there keeps how it fares, and whether somebody disabled it.
async fn configure(
    db: &Transaction,
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
    release_claims(db, now).await?;
    let wanted: BTreeSet<String> = endpoints.iter().map(|new| new.id.to_string()).collect();
    if there.is_empty() && wanted.is_empty() {
        return Ok(());
    }
    for new in endpoints {
        let row = webhook_endpoint::Entity::find_by_id(new.id.to_string())
            .lock_exclusive()
            .one(db)
            .await?;
        let Some(row) = row else {
            insert(db, new, true, now).await?;
            continue;
        };
        if row.deleted_at.is_some() && !has_lane(db, new.id).await? {
            // The purge was faster: it begins anew.
            insert_lane(db, new.id).await?;
        }
        webhook_endpoint::Entity::update_many()
            .col_expr(C::Url, Expr::value(new.url.clone()))
            .col_expr(C::Events, Expr::value(i16::from(new.events.as_u8())))
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

async fn has_lane(db: &Transaction, endpoint_id: Uuid) -> Result<bool, DbErr> {
    let id = (endpoint_id.to_string(), NO_DEVICE.to_owned());
    let lane = webhook_lane::Entity::find_by_id(id).one(db).await?;
    Ok(lane.is_some())
}

async fn change(
    db: &Transaction,
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
        update = update.col_expr(C::Events, Expr::value(i16::from(events.as_u8())));
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
    let is_fresh = change.enabled == Some(true) || is_new_address;
    if is_fresh {
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
    if change.ordered.is_some_and(|ordered| ordered != row.ordered) {
        free_lanes(db, id, Waiting::ForAnything, now).await?;
    } else if is_fresh {
        free_lanes(db, id, Waiting::ForTheEndpoint, now).await?;
    }
    changed(db).await?;
    read(db, id).await
}

async fn delete(db: &Transaction, id: Uuid, now: Timestamp) -> Result<bool, DbErr> {
    if find(db, id).await?.is_none() {
        return Ok(false);
    }
    remove(db, &id.to_string(), now).await?;
    changed(db).await?;
    Ok(true)
}

/// Its lanes and messages are purged later, in small steps.
async fn remove(db: &Transaction, id: &str, now: Timestamp) -> Result<(), DbErr> {
    use webhook_endpoint::Column as C;
    webhook_endpoint::Entity::update_many()
        .col_expr(C::DeletedAt, Expr::value(now.as_millis()))
        .filter(C::Id.eq(id))
        .exec(db)
        .await
        .map(drop)
}

async fn test(
    db: &Transaction,
    texts: &mut Texts,
    endpoint: &Endpoint,
    now: Timestamp,
) -> Result<Option<Uuid>, DbErr> {
    let key = key(endpoint.id, NO_DEVICE);
    let mut lanes = Lanes::read(db, [key.clone()].into()).await?;
    let Some(lane) = lanes.change(&key) else {
        return Ok(None);
    };
    lane.last_sequence += 1;
    lane.push(now.as_millis(), endpoint.ordered);
    let id = new_id(now);
    let payload = WebhookPayload::test(now, lane.last_sequence)?;
    let message = new_message(id, &key, lane.last_sequence, payload, now);
    webhook_message::Entity::insert(message.into_active_model().reset_all())
        .exec_without_returning(db)
        .await?;
    lanes.write(db, texts).await?;
    Ok(Some(id))
}

/// Lets these messages be sent again, finished or not, now and not after their next pause; how many there were.
async fn retry(
    db: &Transaction,
    texts: &mut Texts,
    endpoint_id: Uuid,
    ids: &[String],
    now: Timestamp,
) -> Result<u64, DbErr> {
    use webhook_message::Column as M;
    let these = || {
        webhook_message::Entity::find()
            .select_only()
            .filter(M::EndpointId.eq(endpoint_id.to_string()))
            .filter(M::Id.is_in(ids))
    };
    let devices: Vec<String> = these().column(M::DeviceId).into_tuple().all(db).await?;
    let keys = devices.iter().map(|device_id| key(endpoint_id, device_id));
    let mut lanes = Lanes::read(db, keys.collect()).await?;
    // Under the locks of their lanes nobody else changes them.
    let messages: Vec<(String, String, i64, i16)> = these()
        .columns([M::Id, M::DeviceId, M::Sequence, M::State])
        .into_tuple()
        .all(db)
        .await?;
    let (mut retried, mut finished) = (Vec::new(), Vec::new());
    for (id, device_id, sequence, state) in messages {
        let key = key(endpoint_id, &device_id);
        // Those of a deleted life of their vehicle are not sent any more.
        let is_wanted = lanes
            .get(&key)
            .is_some_and(|lane| sequence <= lane.last_sequence && sequence > lane.dropped_through);
        let Some(lane) = lanes.change(&key).filter(|_| is_wanted) else {
            continue;
        };
        if state != webhook_message::PENDING {
            lane.pending += 1;
            finished.push(id.clone());
        }
        lane.hurry(now.as_millis());
        retried.push(id);
    }
    if retried.is_empty() {
        return Ok(0);
    }
    let count = retried.len() as u64;
    webhook_message::Entity::update_many()
        .col_expr(M::Due, Expr::value(now.as_millis()))
        .filter(M::Id.is_in(retried))
        .exec(db)
        .await?;
    if !finished.is_empty() {
        webhook_message::Entity::update_many()
            .col_expr(M::State, Expr::value(webhook_message::PENDING))
            .col_expr(M::FinishedAt, Expr::value(None::<i64>))
            .col_expr(M::Attempts, Expr::value(0))
            .filter(M::Id.is_in(finished))
            .exec(db)
            .await?;
    }
    lanes.write(db, texts).await?;
    Ok(count)
}

/// Some of those that were given up in that time, the oldest first.
async fn retry_failed(
    db: &Transaction,
    texts: &mut Texts,
    endpoint_id: Uuid,
    step: RetryStep,
    now: Timestamp,
) -> Result<Retried, DbErr> {
    use webhook_message::Column as M;
    let mut failed = webhook_message::Entity::find()
        .select_only()
        .column(M::Id)
        .filter(M::EndpointId.eq(endpoint_id.to_string()))
        .filter(M::State.eq(webhook_message::FAILED))
        .filter(M::FinishedAt.gte(step.since.as_millis()))
        .filter(M::FinishedAt.lt(step.until.as_millis()))
        .order_by_asc(M::Id)
        .limit(MESSAGES_PER_STEP);
    if let Some(after) = step.after {
        failed = failed.filter(M::Id.gt(after.to_string()));
    }
    let failed: Vec<String> = failed.into_tuple().all(db).await?;
    let last = failed.last().and_then(|id| id.parse().ok());
    Ok(Retried {
        messages: retry(db, texts, endpoint_id, &failed, now).await?,
        last: last.filter(|_| failed.len() as u64 == MESSAGES_PER_STEP),
    })
}
