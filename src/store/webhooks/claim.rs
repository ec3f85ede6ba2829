//! Claims of what is due.
//!
//! Cost of one for each endpoint: one SELECT that locks lanes, two that find their messages, one write for each 128 lanes;
//! and one SELECT for all endpoints together.

use std::{sync::Arc, time::Duration};

use sea_orm::{
    ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{LockBehavior, LockType},
};
use uuid::Uuid;

use super::{
    KnownEndpoints,
    heads::{Next, heads},
    intent::{Claimable, Endpoint, MessageKey, Outgoing},
    lanes::write_rows,
    verdicts::healths,
};
use crate::{
    domain::Timestamp,
    store::{
        database::Transaction,
        entities::{webhook_lane, webhook_message},
        statements::Texts,
    },
};

/// Lanes that one batch claims at most: whoever reports meanwhile waits for it.
const MOST_LANES: u64 = 256;

/// Claims lanes that are due, with the next message of each.
pub(super) async fn claim(
    db: &Transaction,
    texts: &mut Texts,
    known: &KnownEndpoints,
    wanted: &[Claimable],
    lasts: Duration,
    now: Timestamp,
) -> Result<Vec<Outgoing>, DbErr> {
    let token = Uuid::new_v4();
    let until = now.after(lasts).as_millis();
    let mut left = MOST_LANES;
    let mut claimed = Vec::new();
    let healths = healths(db, wanted.iter().map(|it| it.endpoint_id)).await?;
    for Claimable { endpoint_id, lanes } in wanted {
        let health = healths
            .get(endpoint_id)
            .filter(|health| !health.is_paused(now));
        let (Some(endpoint), Some(health)) = (known.enabled_with(*endpoint_id), health) else {
            continue;
        };
        // Whether one that failed works again is tried with one message.
        let most = if health.failures > 0 { 1 } else { *lanes };
        let mut lanes = due_lanes(endpoint.id, now, most.min(left))
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .all(db)
            .await?;
        left -= lanes.len() as u64;
        let devices: Vec<&str> = lanes.iter().map(|lane| &*lane.device_id).collect();
        let mut next = heads(db, endpoint, &devices, now).await?;
        for lane in &mut lanes {
            lane.blocked = false;
            match next.remove(&lane.device_id).unwrap_or(Next::Nothing) {
                Next::Message(message) => {
                    claimed.extend(take(endpoint, lane, *message, token, until, now));
                }
                Next::At(due) => lane.due = Some(due),
                // What was counted is not there.
                Next::Nothing => (lane.claim, lane.due, lane.pending) = (None, None, 0),
            }
        }
        write_rows(db, texts, &lanes.iter().collect::<Vec<_>>()).await?;
        if left == 0 {
            break;
        }
    }
    Ok(claimed)
}

/// The lanes of an endpoint whose time has come, the one that waits longest first.
pub(super) fn due_lanes(
    endpoint_id: Uuid,
    now: Timestamp,
    most: u64,
) -> Select<webhook_lane::Entity> {
    use webhook_lane::Column as L;
    webhook_lane::Entity::find()
        .filter(L::EndpointId.eq(endpoint_id.to_string()))
        .filter(L::Due.lte(now.as_millis()))
        .order_by_asc(L::Due)
        .limit(most)
}

/// The lane's next message is claimed until then.
pub(super) fn take(
    endpoint: &Arc<Endpoint>,
    lane: &mut webhook_lane::Model,
    message: webhook_message::Model,
    claim: Uuid,
    until: i64,
    now: Timestamp,
) -> Option<Outgoing> {
    let id = message.id.parse().ok()?;
    if lane.open_message.as_deref() == Some(&*message.id) {
        lane.open_message = None;
    }
    lane.claim = Some(claim.to_string());
    lane.due = Some(until);
    Some(Outgoing {
        key: MessageKey {
            endpoint_id: endpoint.id,
            device_id: message.device_id,
            id,
            claim,
        },
        endpoint: Arc::clone(endpoint),
        sequence: message.sequence,
        body: message.body,
        attempts: u32::try_from(message.attempts).unwrap_or(0),
        is_early: message.due > now.as_millis(),
    })
}
