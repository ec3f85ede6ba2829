//! The next message of delivery queues.

use std::collections::HashMap;

use sea_orm::{
    ColumnTrait, DbErr, EntityTrait, Order, QueryFilter, QuerySelect, QueryTrait, Select,
    sea_query::{Expr, ExprTrait, SubQueryStatement},
};

use super::{endpoint::Endpoint, queues::KEYS_PER_SELECT};
use crate::{
    domain::{MessageState, Timestamp},
    store::{
        database::Transaction,
        entities::{webhook_lane, webhook_message},
        statements::padded,
    },
};

/// The next message of a queue.
#[derive(Debug)]
pub(super) enum NextMessage {
    /// This message may be sent now.
    Message(Box<webhook_message::Model>),
    /// No message may be sent before this time.
    At(Timestamp),
    /// There is no pending message.
    Nothing,
}

/// Reads the next messages of those queues of an endpoint whose column `device_id` is one of `devices`, and returns
/// them by that column: two statements for 512 queues, and one more if the endpoint is unordered and some queues have
/// no message that is due.
pub(super) async fn next_messages(
    db: &Transaction,
    endpoint: &Endpoint,
    devices: &[&str],
    now: Timestamp,
) -> Result<HashMap<String, NextMessage>, DbErr> {
    let mut found = HashMap::with_capacity(devices.len());
    for chunk in devices.chunks(KEYS_PER_SELECT) {
        let first = next_ids(endpoint, chunk, now)
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
                let next = NextMessage::Message(Box::new(message.clone()));
                found.insert(message.device_id, next);
            }
        }
        if endpoint.ordered {
            continue;
        }
        let idle: Vec<&str> = chunk
            .iter()
            .copied()
            .filter(|device| !found.contains_key(*device))
            .collect();
        if !idle.is_empty() {
            let later = next_times(endpoint, &idle)
                .into_tuple::<(String, Option<i64>)>()
                .all(db)
                .await?;
            for (device, due) in later {
                let next = due.map(Timestamp::from_millis);
                found.insert(device, next.map_or(NextMessage::Nothing, NextMessage::At));
            }
        }
    }
    Ok(found)
}

/// For each queue the id of its pending message with the lowest sequence number; if the endpoint is unordered, of those
/// that are due. One index lookup for each queue.
pub(super) fn next_ids(
    endpoint: &Endpoint,
    devices: &[&str],
    now: Timestamp,
) -> Select<webhook_lane::Entity> {
    use webhook_message::Column as M;
    let mut first = pending(M::Id, M::Sequence);
    if !endpoint.ordered {
        first = first.filter(M::Due.lte(now.as_millis()));
    }
    of_queues(endpoint, devices, first)
}

/// For each queue the earliest time at which one of its messages is due.
fn next_times(endpoint: &Endpoint, devices: &[&str]) -> Select<webhook_lane::Entity> {
    use webhook_message::Column as M;
    of_queues(endpoint, devices, pending(M::Due, M::Due))
}

fn of_queues(
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

/// A column of the first pending message of the enclosing row's queue, in the order of another column.
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
        .filter(M::State.eq(MessageState::Pending as i16))
        .filter(Expr::col((Message, M::Sequence)).gt(Expr::col((Lane, L::DroppedThrough))))
        .limit(1);
    QuerySelect::query(&mut select).order_by((Message, order), Order::Asc);
    select
}
