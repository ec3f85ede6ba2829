//! What lanes have to send next.

use std::collections::HashMap;

use sea_orm::{
    ColumnTrait, DbErr, EntityTrait, Order, QueryFilter, QuerySelect, QueryTrait, Select,
    sea_query::{Expr, ExprTrait, SubQueryStatement},
};

use super::{intent::Endpoint, lanes::KEYS_PER_SELECT};
use crate::{
    domain::Timestamp,
    store::{
        database::Transaction,
        entities::{webhook_lane, webhook_message},
        statements::padded,
    },
};

/// What a lane has to send next.
#[derive(Debug)]
pub(super) enum Next {
    Message(Box<webhook_message::Model>),
    /// Nothing before then.
    At(i64),
    Nothing,
}

/// What these lanes of an endpoint, as the database has them, have to send next: two statements for 512 of them, and one
/// more where the order does not matter and some have nothing that is due.
pub(super) async fn heads(
    db: &Transaction,
    endpoint: &Endpoint,
    devices: &[&str],
    now: Timestamp,
) -> Result<HashMap<String, Next>, DbErr> {
    let mut heads = HashMap::with_capacity(devices.len());
    for chunk in devices.chunks(KEYS_PER_SELECT) {
        let first = head_ids(endpoint, chunk, now)
            .into_tuple::<(String, Option<String>)>()
            .all(db)
            .await?;
        let ids: Vec<&str> = first.iter().filter_map(|(_, id)| id.as_deref()).collect();
        if !ids.is_empty() {
            let messages = webhook_message::Entity::find()
                .filter(webhook_message::Column::Id.is_in(padded(&ids)))
                .all(db)
                .await?;
            for message in messages {
                let next = Next::Message(Box::new(message.clone()));
                heads.insert(message.device_id, next);
            }
        }
        if endpoint.ordered {
            continue;
        }
        let idle: Vec<&str> = chunk
            .iter()
            .copied()
            .filter(|device| !heads.contains_key(*device))
            .collect();
        if !idle.is_empty() {
            let later = next_times(endpoint, &idle)
                .into_tuple::<(String, Option<i64>)>()
                .all(db)
                .await?;
            for (device, due) in later {
                heads.insert(device, due.map_or(Next::Nothing, Next::At));
            }
        }
    }
    Ok(heads)
}

/// For each lane the id of its lowest sequence; where the order does not matter, of the lowest that is not waiting for
/// another attempt. One look into an index for each.
pub(super) fn head_ids(
    endpoint: &Endpoint,
    devices: &[&str],
    now: Timestamp,
) -> Select<webhook_lane::Entity> {
    use webhook_message::Column as M;
    let mut first = pending(M::Id, M::Sequence);
    if !endpoint.ordered {
        first = first.filter(M::Due.lte(now.as_millis()));
    }
    of_lanes(endpoint, devices, first)
}

/// For each lane when the first of its messages is due.
fn next_times(endpoint: &Endpoint, devices: &[&str]) -> Select<webhook_lane::Entity> {
    use webhook_message::Column as M;
    of_lanes(endpoint, devices, pending(M::Due, M::Due))
}

fn of_lanes(
    endpoint: &Endpoint,
    devices: &[&str],
    wanted: Select<webhook_message::Entity>,
) -> Select<webhook_lane::Entity> {
    use webhook_lane::Column as L;
    let wanted = SubQueryStatement::SelectStatement(wanted.into_query());
    webhook_lane::Entity::find()
        .select_only()
        .column(L::DeviceId)
        .expr_as(Expr::SubQuery(None, Box::new(wanted)), "wanted")
        .filter(L::EndpointId.eq(endpoint.id.to_string()))
        .filter(L::DeviceId.is_in(padded(devices)))
}

/// A column of the first pending message of the lane around it, in the order of another one.
fn pending(
    column: webhook_message::Column,
    order: webhook_message::Column,
) -> Select<webhook_message::Entity> {
    use webhook_lane::{Column as L, Entity as Lane};
    use webhook_message::{Column as M, Entity as Message};
    let same = |message: M, lane: L| Expr::col((Message, message)).eq(Expr::col((Lane, lane)));
    let mut select = Message::find()
        .select_only()
        .column(column)
        .filter(same(M::EndpointId, L::EndpointId))
        .filter(same(M::DeviceId, L::DeviceId))
        .filter(M::State.eq(webhook_message::PENDING))
        .filter(Expr::col((Message, M::Sequence)).gt(Expr::col((Lane, L::DroppedThrough))))
        .limit(1);
    QuerySelect::query(&mut select).order_by((Message, order), Order::Asc);
    select
}
