use sea_orm::{ActiveValue::Set, DbErr, EntityTrait};

use crate::store::{
    PendingWrite, Store, StoreError,
    entities::last_use::{ActiveModel, Entity},
    write_request::{BatchTransaction, Phase, WriteRequest},
};

/// The id of the only row.
const ID: i16 = 1;

/// An instance that sends webhooks from a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseUse {
    /// The name of the instance.
    pub instance: String,
    /// The name of its host.
    pub host: String,
}

struct NoteUse(DatabaseUse);

impl WriteRequest for NoteUse {
    type Output = ();

    const PHASE: Option<Phase> = Some(Phase::Administration);

    fn is_urgent(&self) -> bool {
        true
    }

    fn payload_bytes(&self) -> usize {
        self.0.instance.len() + self.0.host.len()
    }

    async fn execute(&self, transaction: &mut BatchTransaction<'_>) -> Result<Option<()>, DbErr> {
        let db = transaction.db;
        Entity::delete_by_id(ID).exec(db).await?;
        let row = ActiveModel {
            id: Set(ID),
            instance: Set(self.0.instance.clone()),
            host: Set(self.0.host.clone()),
        };
        Entity::insert(row).exec_without_returning(db).await?;
        Ok(Some(()))
    }
}

impl Store {
    /// Which instance sent webhooks from this database last; `None` if none was noted.
    pub async fn last_use(&self) -> Result<Option<DatabaseUse>, StoreError> {
        let row = Entity::find_by_id(ID).one(&self.reader).await?;
        Ok(row.map(|row| DatabaseUse {
            instance: row.instance,
            host: row.host,
        }))
    }

    /// Notes that this instance sends webhooks from this database.
    pub fn note_use(&self, own: DatabaseUse) -> PendingWrite<()> {
        self.writes.submit(NoteUse(own))
    }
}
