//! Times of deliveries that lie too far ahead, because the clock was set back after they were set.

use std::time::Duration;

use sea_orm::{
    ColumnTrait, Condition, DbErr, EntityTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, LockBehavior, LockType},
};
use uuid::Uuid;

use crate::{
    domain::{MessageState, Timestamp},
    store::{
        Store, StoreError,
        database::Transaction,
        entities::{webhook_lane, webhook_message},
    },
};

/// Queues that one step corrects at most.
const QUEUES_PER_STEP: u64 = 500;

/// How far ahead times of deliveries may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueLimits {
    /// The longest time until a retry.
    pub retry: Duration,
    /// The longest time that a claim lasts.
    pub claim: Duration,
}

/// Makes queues of an endpoint due, with their messages, whose retry is further ahead than any may be, and bounds
/// claims of queues. Returns how many queues it found: 0 if there are no more, or only locked ones.
pub(in crate::store) async fn correct(
    db: &Transaction,
    endpoint_id: Uuid,
    limits: DueLimits,
    now: Timestamp,
) -> Result<u64, DbErr> {
    use webhook_lane::Column as L;
    use webhook_message::Column as M;
    let id = endpoint_id.to_string();
    let mut corrected = 0;
    // An attempt may be under way under the claim.
    let new_ends = [(true, now.after(limits.claim)), (false, now)];
    for (claimed, due) in new_ends {
        let devices: Vec<String> = webhook_lane::Entity::find()
            .select_only()
            .column(L::DeviceId)
            .filter(too_far(endpoint_id, claimed, limits, now))
            .limit(QUEUES_PER_STEP)
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .into_tuple()
            .all(db)
            .await?;
        if devices.is_empty() {
            continue;
        }
        corrected += devices.len() as u64;
        webhook_lane::Entity::update_many()
            .col_expr(L::Due, Expr::value(due.as_millis()))
            .filter(L::EndpointId.eq(&id))
            .filter(L::DeviceId.is_in(&devices))
            .exec(db)
            .await?;
        webhook_message::Entity::update_many()
            .col_expr(M::Due, Expr::value(now.as_millis()))
            .filter(M::EndpointId.eq(&id))
            .filter(M::DeviceId.is_in(&devices))
            .filter(M::State.eq(MessageState::Pending as i16))
            .filter(M::Due.gt(now.furthest_ahead(limits.retry).as_millis()))
            .exec(db)
            .await?;
    }
    Ok(corrected)
}

/// The queues of an endpoint whose time is further ahead than it may be: the claimed ones, or the others.
fn too_far(endpoint_id: Uuid, claimed: bool, limits: DueLimits, now: Timestamp) -> Condition {
    use webhook_lane::Column as L;
    let (is_kind, limit) = if claimed {
        (L::Claim.is_not_null(), limits.claim)
    } else {
        (L::Claim.is_null(), limits.retry)
    };
    Condition::all()
        .add(L::EndpointId.eq(endpoint_id.to_string()))
        .add(L::Due.gt(now.furthest_ahead(limit).as_millis()))
        .add(is_kind)
}

impl Store {
    /// The endpoints with queues whose times are further ahead than `limits`. Two small reads for each endpoint.
    pub async fn endpoints_due_too_far(
        &self,
        limits: DueLimits,
        now: Timestamp,
    ) -> Result<Vec<Uuid>, StoreError> {
        let mut found = Vec::new();
        for endpoint in self.endpoints().await? {
            for claimed in [true, false] {
                let queue: Option<String> = webhook_lane::Entity::find()
                    .select_only()
                    .column(webhook_lane::Column::DeviceId)
                    .filter(too_far(endpoint.id, claimed, limits, now))
                    .limit(1)
                    .into_tuple()
                    .one(&self.reader)
                    .await?;
                if queue.is_some() {
                    found.push(endpoint.id);
                    break;
                }
            }
        }
        Ok(found)
    }
}
