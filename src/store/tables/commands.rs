//! The table `commands`.

use std::collections::BTreeSet;

use sea_orm::{
    ColumnTrait, Condition, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::Value,
};
use uuid::Uuid;

use super::{KEYS_PER_SELECT, idempotency_keys, purge, vehicles};
use crate::{
    domain::{Command, DeviceId, Timestamp},
    state::CommandSet,
    store::{
        Store, StoreError,
        database::Transaction,
        entities::command::{Column, Entity, Model},
        statements::{Texts, padded, upsert},
        write_request::Touched,
    },
};

/// A part of a vehicle's commands, newest first.
#[derive(Debug, Clone, Copy)]
pub struct CommandPage {
    /// Submitted at this time or later.
    pub from: Option<Timestamp>,
    /// Submitted before this time.
    pub to: Option<Timestamp>,
    /// Only what is older than the command with this id.
    pub older_than: Option<Uuid>,
    /// At most this many commands.
    pub limit: u64,
}

/// Reads the commands that a batch touches, and its idempotency keys. A batch that touches none, as nearly all are,
/// reads nothing.
pub(in crate::store) async fn read(
    db: &Transaction,
    touched: &Touched<'_>,
) -> Result<CommandSet, DbErr> {
    let mut commands = CommandSet::default();
    let mut named: BTreeSet<String> = touched.commands.iter().map(Uuid::to_string).collect();
    for (device_id, key) in &touched.idempotency_keys {
        if let Some(key) = idempotency_keys::read(db, device_id, key).await? {
            named.insert(key.command_id.to_string());
            commands.add_key(key);
        }
    }
    let devices = touched.open_commands_of.iter().map(|id| id.as_str());
    let devices: Vec<&str> = devices.collect::<BTreeSet<_>>().into_iter().collect();
    for chunk in devices.chunks(KEYS_PER_SELECT) {
        let open = Entity::find()
            .filter(Column::DeviceId.is_in(padded(chunk)))
            .filter(Column::FinishedAt.is_null());
        add(&mut commands, open.all(db).await?);
    }
    let named: Vec<String> = named.into_iter().collect();
    for chunk in named.chunks(KEYS_PER_SELECT) {
        let found = Entity::find().filter(Column::Id.is_in(padded(chunk)));
        add(&mut commands, found.all(db).await?);
    }
    Ok(commands)
}

fn add(commands: &mut CommandSet, rows: Vec<Model>) {
    for command in rows.into_iter().filter_map(readable) {
        commands.add(command);
    }
}

/// The command of a row; `None` if the row is corrupt. Such a row is left alone, so that it does not block the writes
/// of others.
fn readable(row: Model) -> Option<Command> {
    let id = row.id.clone();
    Command::try_from(row)
        .inspect_err(|error| tracing::error!(%id, %error, "ignored a command whose row is corrupt"))
        .ok()
}

/// Writes the commands that a batch changed, and the idempotency keys that it added.
pub(in crate::store) async fn write(
    db: &Transaction,
    texts: &mut Texts,
    commands: &CommandSet,
) -> Result<(), DbErr> {
    // The key first.
    const COLUMNS: [Column; 11] = [
        Column::Id,
        Column::DeviceId,
        Column::Message,
        Column::Origin,
        Column::State,
        Column::CreatedAt,
        Column::ExpiresAt,
        Column::SentAt,
        Column::FinishedAt,
        Column::Reply,
        Column::LateReply,
    ];
    let mut changed: Vec<&Command> = commands.changed().collect();
    changed.sort_unstable_by_key(|command| command.id);
    upsert::<Entity, _, _>(db, texts, &changed, &COLUMNS, 1, |command| -> [Value; 11] {
        [
            command.id.to_string().into(),
            command.device_id.as_str().into(),
            command.action.to_string().into(),
            command.origin.as_str().into(),
            command.state.as_str().into(),
            command.created_at.as_millis().into(),
            command.expires_at.as_millis().into(),
            command.sent_at.map(Timestamp::as_millis).into(),
            command.finished_at.map(Timestamp::as_millis).into(),
            command.reply.as_deref().into(),
            command.late_reply.as_deref().into(),
        ]
    })
    .await?;
    idempotency_keys::write(db, texts, &commands.new_keys).await
}

/// Deletes some finished commands that were created before `before`, in milliseconds since 1970. Returns how many, 0 if
/// there are no more.
pub(in crate::store) async fn purge_before(db: &Transaction, before: i64) -> Result<u64, DbErr> {
    let columns = [Column::CreatedAt, Column::FinishedAt];
    let oldest: Vec<(String, i64, Option<i64>)> =
        purge::oldest::<Entity, _>(db, Column::Id, &columns).await?;
    let expired = oldest
        .into_iter()
        .filter(|(_, created_at, finished_at)| *created_at < before && finished_at.is_some())
        .map(|(id, ..)| id);
    purge::delete::<Entity, _>(db, Column::Id, expired.collect()).await
}

/// Deletes some commands of a deleted vehicle that were created up to `through`, in milliseconds since 1970. Returns
/// how many were found, 0 if there are no more.
pub(in crate::store) async fn purge_deleted(
    db: &Transaction,
    device_id: &str,
    through: i64,
) -> Result<u64, DbErr> {
    let is_deleted = Condition::all()
        .add(Column::DeviceId.eq(device_id))
        .add(Column::CreatedAt.lte(through));
    let ids: Vec<String> = purge::of_deleted::<Entity, _>(db, &[Column::Id], is_deleted).await?;
    let found = ids.len() as u64;
    purge::delete::<Entity, _>(db, Column::Id, ids).await?;
    Ok(found)
}

impl Store {
    /// A command, unless its vehicle was deleted since.
    pub async fn command(
        &self,
        device_id: &DeviceId,
        id: Uuid,
    ) -> Result<Option<Command>, StoreError> {
        let Some(vehicle) = vehicles::existing(&self.reader, device_id).await? else {
            return Ok(None);
        };
        let row = Entity::find_by_id(id.to_string())
            .filter(Column::DeviceId.eq(device_id.as_str()))
            .filter(Column::CreatedAt.gt(vehicle.forget_through.unwrap_or(i64::MIN)))
            .one(&self.reader)
            .await?;
        row.map(Command::try_from).transpose()
    }

    /// Commands of a vehicle, newest first; `None` if there is no such vehicle.
    pub async fn commands(
        &self,
        device_id: &DeviceId,
        page: CommandPage,
    ) -> Result<Option<Vec<Command>>, StoreError> {
        let Some(vehicle) = vehicles::existing(&self.reader, device_id).await? else {
            return Ok(None);
        };
        let after_deletion = vehicle.forget_through;
        let condition = Condition::all()
            .add(Column::DeviceId.eq(device_id.as_str()))
            .add_option(after_deletion.map(|through| Column::CreatedAt.gt(through)))
            .add_option(
                page.from
                    .map(|from| Column::CreatedAt.gte(from.as_millis())),
            )
            .add_option(page.to.map(|to| Column::CreatedAt.lt(to.as_millis())))
            .add_option(page.older_than.map(|id| Column::Id.lt(id.to_string())));
        let rows = Entity::find()
            .filter(condition)
            .order_by_desc(Column::Id)
            .limit(page.limit)
            .all(&self.reader)
            .await?;
        rows.into_iter()
            .map(Command::try_from)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// Open commands that expired at `at` or before and that were not sent, or were sent before `abandoned`; those that
    /// expired first come first.
    pub async fn overdue_commands(
        &self,
        at: Timestamp,
        abandoned: Timestamp,
        limit: u64,
    ) -> Result<Vec<Command>, StoreError> {
        let has_no_session = Condition::any()
            .add(Column::SentAt.is_null())
            .add(Column::SentAt.lt(abandoned.as_millis()));
        let rows = Entity::find()
            .filter(Column::FinishedAt.is_null())
            .filter(Column::ExpiresAt.lte(at.as_millis()))
            .filter(has_no_session)
            .order_by_asc(Column::ExpiresAt)
            .limit(limit)
            .all(&self.reader)
            .await?;
        Ok(rows.into_iter().filter_map(readable).collect())
    }
}
