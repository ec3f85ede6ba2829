//! Reads. Lists are paged by key, so that a page is stable while rows are added.

use std::collections::BTreeSet;

use bytes::Bytes;
use sea_orm::{
    ColumnTrait, Condition, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use uuid::Uuid;

use super::{
    Store, StoreError,
    entities::{command, debug_blob, instance, report, vehicle},
};
use crate::domain::{
    Command, CommandState, DebugBlobInfo, DeviceId, Report, SessionKey, Timestamp, Vehicle,
};

/// A place in a history that runs from new to old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// When the entry was received.
    pub received_at: Timestamp,
    /// Its id, which tells entries of one millisecond apart.
    pub id: i64,
}

/// Which part of a vehicle's history to read, newest first.
#[derive(Debug, Clone, Copy)]
pub struct HistoryPage {
    /// Received at this time or later.
    pub from: Option<Timestamp>,
    /// Received before this time.
    pub to: Option<Timestamp>,
    /// Only what is older than this entry.
    pub older_than: Option<Position>,
    /// At most this many.
    pub limit: u64,
}

/// Which part of a vehicle's commands to read, newest first.
#[derive(Debug, Clone, Copy)]
pub struct CommandPage {
    /// Asked at this time or later.
    pub from: Option<Timestamp>,
    /// Asked before this time.
    pub to: Option<Timestamp>,
    /// Only what is older than the command with this id.
    pub older_than: Option<Uuid>,
    /// At most this many.
    pub limit: u64,
}

impl Store {
    /// A vehicle, unless it was never heard of or deleted.
    pub async fn vehicle(&self, device_id: &DeviceId) -> Result<Option<Vehicle>, StoreError> {
        let row = living(&self.reader, device_id).await?;
        row.map(Vehicle::try_from).transpose()
    }

    /// Vehicles in the order of their ids, from after `after` on.
    pub async fn vehicles(
        &self,
        online: Option<bool>,
        after: Option<&str>,
        limit: u64,
    ) -> Result<Vec<Vehicle>, StoreError> {
        use vehicle::Column as C;
        let mut query = vehicle::Entity::find().filter(C::DeletedAt.is_null());
        if let Some(online) = online {
            query = query.filter(C::Online.eq(online));
        }
        if let Some(after) = after {
            query = query.filter(C::DeviceId.gt(after));
        }
        let rows = query
            .order_by_asc(C::DeviceId)
            .limit(limit)
            .all(&self.reader)
            .await
            .map_err(StoreError::of_read)?;
        rows.into_iter().map(Vehicle::try_from).collect()
    }

    /// What a life of this process left behind that did not end well: vehicles that are online, or
    /// have a command under way; in the order of their ids.
    pub async fn abandoned_vehicles(&self) -> Result<Vec<DeviceId>, StoreError> {
        use command::Column as C;
        use vehicle::Column as V;
        let online = vehicle::Entity::find()
            .select_only()
            .column(V::DeviceId)
            .filter(V::Online.eq(true))
            .into_tuple();
        let busy = command::Entity::find()
            .select_only()
            .column(C::DeviceId)
            .filter(C::FinishedAt.is_null())
            .filter(C::State.ne(CommandState::Queued.as_str()))
            .into_tuple();
        let mut ids: BTreeSet<String> = BTreeSet::new();
        ids.extend(
            online
                .all(&self.reader)
                .await
                .map_err(StoreError::of_read)?,
        );
        ids.extend(busy.all(&self.reader).await.map_err(StoreError::of_read)?);
        ids.iter().map(|id| parse_id(id)).collect()
    }

    /// Sessions that this life holds, in the order of their vehicles' ids.
    pub async fn sessions_held_by(
        &self,
        life: Uuid,
        after: Option<&DeviceId>,
        limit: u64,
    ) -> Result<Vec<SessionKey>, StoreError> {
        use vehicle::Column as C;
        let rows: Vec<(String, i64)> = vehicle::Entity::find()
            .select_only()
            .columns([C::DeviceId, C::SessionEpoch])
            .filter(C::InstanceId.eq(life.to_string()))
            .filter(Condition::all().add_option(after.map(|after| C::DeviceId.gt(after.as_str()))))
            .order_by_asc(C::DeviceId)
            .limit(limit)
            .into_tuple()
            .all(&self.reader)
            .await
            .map_err(StoreError::of_read)?;
        rows.into_iter()
            .map(|(id, epoch)| {
                let device_id = parse_id(&id)?;
                Ok(SessionKey { device_id, epoch })
            })
            .collect()
    }

    /// The instances that are there; none on a file.
    pub async fn live_instances(&self) -> Result<Vec<Uuid>, StoreError> {
        let ids: Vec<String> = instance::Entity::find()
            .select_only()
            .column(instance::Column::Id)
            .filter(instance::Column::State.eq(instance::LIVE))
            .into_tuple()
            .all(&self.reader)
            .await
            .map_err(StoreError::of_read)?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// Vehicles that should have come back by `at`, the longest ago first.
    pub async fn expired_graces(
        &self,
        at: Timestamp,
        limit: u64,
    ) -> Result<Vec<DeviceId>, StoreError> {
        use vehicle::Column as C;
        let ids: Vec<String> = vehicle::Entity::find()
            .select_only()
            .column(C::DeviceId)
            .filter(C::OfflineDue.lte(at.as_millis()))
            .order_by_asc(C::OfflineDue)
            .limit(limit)
            .into_tuple()
            .all(&self.reader)
            .await
            .map_err(StoreError::of_read)?;
        ids.iter().map(|id| parse_id(id)).collect()
    }

    /// A command, unless its vehicle was deleted since.
    pub async fn command(
        &self,
        device_id: &DeviceId,
        id: Uuid,
    ) -> Result<Option<Command>, StoreError> {
        use command::Column as C;
        let Some(vehicle) = living(&self.reader, device_id).await? else {
            return Ok(None);
        };
        let row = command::Entity::find_by_id(id.to_string())
            .filter(C::DeviceId.eq(device_id.as_str()))
            .filter(C::CreatedAt.gt(vehicle.forget_through.unwrap_or(i64::MIN)))
            .one(&self.reader)
            .await
            .map_err(StoreError::of_read)?;
        row.map(Command::try_from).transpose()
    }

    /// Commands of a vehicle, newest first; `None` if there is no such vehicle.
    pub async fn commands(
        &self,
        device_id: &DeviceId,
        page: CommandPage,
    ) -> Result<Option<Vec<Command>>, StoreError> {
        use command::Column as C;
        let Some(vehicle) = living(&self.reader, device_id).await? else {
            return Ok(None);
        };
        let condition = Condition::all()
            .add(C::DeviceId.eq(device_id.as_str()))
            .add_option(
                vehicle
                    .forget_through
                    .map(|through| C::CreatedAt.gt(through)),
            )
            .add_option(page.from.map(|from| C::CreatedAt.gte(from.as_millis())))
            .add_option(page.to.map(|to| C::CreatedAt.lt(to.as_millis())))
            .add_option(page.older_than.map(|id| C::Id.lt(id.to_string())));
        let rows = command::Entity::find()
            .filter(condition)
            .order_by_desc(C::Id)
            .limit(page.limit)
            .all(&self.reader)
            .await
            .map_err(StoreError::of_read)?;
        rows.into_iter()
            .map(Command::try_from)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// Open commands whose time is over and that were not sent, or before `abandoned`; the longest ago first.
    pub async fn overdue_commands(
        &self,
        at: Timestamp,
        abandoned: Timestamp,
        limit: u64,
    ) -> Result<Vec<Command>, StoreError> {
        use command::Column as C;
        let is_nobodys = Condition::any()
            .add(C::SentAt.is_null())
            .add(C::SentAt.lt(abandoned.as_millis()));
        let rows = command::Entity::find()
            .filter(C::FinishedAt.is_null())
            .filter(C::ExpiresAt.lte(at.as_millis()))
            .filter(is_nobodys)
            .order_by_asc(C::ExpiresAt)
            .limit(limit)
            .all(&self.reader)
            .await
            .map_err(StoreError::of_read)?;
        let readable = rows.into_iter().filter_map(|row| {
            let id = row.id.clone();
            // Not of our making, and nothing that the others should wait for.
            Command::try_from(row)
                .inspect_err(|error| tracing::error!(%id, %error, "a command is left as it is"))
                .ok()
        });
        Ok(readable.collect())
    }

    /// Deleted lives whose history is still there: the vehicle and up to when to forget.
    pub async fn histories_to_purge(
        &self,
        limit: u64,
    ) -> Result<Vec<(DeviceId, Timestamp)>, StoreError> {
        use vehicle::Column as C;
        let marks: Vec<(String, i64)> = vehicle::Entity::find()
            .select_only()
            .columns([C::DeviceId, C::ForgetThrough])
            .filter(C::ForgetThrough.is_not_null())
            .order_by_asc(C::ForgetThrough)
            .limit(limit)
            .into_tuple()
            .all(&self.reader)
            .await
            .map_err(StoreError::of_read)?;
        marks
            .into_iter()
            .map(|(id, through)| Ok((parse_id(&id)?, Timestamp::from_millis(through))))
            .collect()
    }

    /// Reports of a vehicle, newest first; `None` if there is no such vehicle.
    pub async fn reports(
        &self,
        device_id: &DeviceId,
        page: HistoryPage,
    ) -> Result<Option<Vec<Report>>, StoreError> {
        use report::Column as C;
        let Some(vehicle) = living(&self.reader, device_id).await? else {
            return Ok(None);
        };
        let rows = report::Entity::find()
            .filter(C::DeviceId.eq(device_id.as_str()))
            .filter(page.condition(C::ReceivedAt, C::Id, vehicle.forget_through))
            .order_by_desc(C::ReceivedAt)
            .order_by_desc(C::Id)
            .limit(page.limit)
            .all(&self.reader)
            .await
            .map_err(StoreError::of_read)?;
        rows.into_iter()
            .map(Report::try_from)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// Debug blobs of a vehicle without their bytes, newest first; `None` if there is no such vehicle.
    pub async fn debug_blobs(
        &self,
        device_id: &DeviceId,
        page: HistoryPage,
    ) -> Result<Option<Vec<DebugBlobInfo>>, StoreError> {
        use debug_blob::Column as C;
        let Some(vehicle) = living(&self.reader, device_id).await? else {
            return Ok(None);
        };
        let rows: Vec<(i64, i64, i64)> = debug_blob::Entity::find()
            .select_only()
            .columns([C::Id, C::ReceivedAt, C::Size])
            .filter(C::DeviceId.eq(device_id.as_str()))
            .filter(page.condition(C::ReceivedAt, C::Id, vehicle.forget_through))
            .order_by_desc(C::ReceivedAt)
            .order_by_desc(C::Id)
            .limit(page.limit)
            .into_tuple()
            .all(&self.reader)
            .await
            .map_err(StoreError::of_read)?;
        let blobs = rows
            .into_iter()
            .map(|(id, received_at, size)| DebugBlobInfo {
                id,
                device_id: device_id.clone(),
                received_at: Timestamp::from_millis(received_at),
                size: size.unsigned_abs(),
            });
        Ok(Some(blobs.collect()))
    }

    /// The bytes of one debug blob.
    pub async fn debug_blob(
        &self,
        device_id: &DeviceId,
        id: i64,
    ) -> Result<Option<Bytes>, StoreError> {
        let Some(vehicle) = living(&self.reader, device_id).await? else {
            return Ok(None);
        };
        let row = debug_blob::Entity::find_by_id(id)
            .filter(debug_blob::Column::DeviceId.eq(device_id.as_str()))
            .filter(debug_blob::Column::ReceivedAt.gt(vehicle.forget_through.unwrap_or(i64::MIN)))
            .one(&self.reader)
            .await
            .map_err(StoreError::of_read)?;
        Ok(row.map(|row| Bytes::from(row.content)))
    }
}

impl HistoryPage {
    fn condition<C: ColumnTrait>(
        &self,
        received_at: C,
        id: C,
        forget_through: Option<i64>,
    ) -> Condition {
        Condition::all()
            .add_option(forget_through.map(|through| received_at.gt(through)))
            .add_option(self.from.map(|from| received_at.gte(from.as_millis())))
            .add_option(self.to.map(|to| received_at.lt(to.as_millis())))
            .add_option(self.older_than.map(|position| {
                let at = position.received_at.as_millis();
                // The first comparison alone lets the index find the place.
                Condition::all().add(received_at.lte(at)).add(
                    Condition::any()
                        .add(received_at.lt(at))
                        .add(id.lt(position.id)),
                )
            }))
    }
}

async fn living(
    reader: &DatabaseConnection,
    device_id: &DeviceId,
) -> Result<Option<vehicle::Model>, StoreError> {
    vehicle::Entity::find_by_id(device_id.as_str())
        .filter(vehicle::Column::DeletedAt.is_null())
        .one(reader)
        .await
        .map_err(StoreError::of_read)
}

fn parse_id(id: &str) -> Result<DeviceId, StoreError> {
    DeviceId::parse(id).map_err(|_| StoreError::Corrupt {
        table: "vehicles",
        column: "device_id",
    })
}
