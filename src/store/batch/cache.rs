//! What the writer remembers from one batch to the next.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

use crate::{
    domain::DeviceId,
    state::{VehicleEntry, VehicleRecord},
    store::{
        database::{Transaction, unless_changed_by_others},
        statements::Texts,
        webhooks::EndpointCache,
    },
};

/// Vehicles as the last commit left them, so that a batch need not read what the batch before it wrote; statement
/// texts; and the webhook endpoints. Vehicles are kept on a file only, which this process alone writes. Should another
/// process write to it all the same, they are read again.
#[derive(Debug, Default)]
pub(in crate::store) struct BatchCache {
    vehicles: HashMap<DeviceId, VehicleRecord>,
    /// The last result of `PRAGMA data_version`: another value means that another connection wrote.
    data_version: Option<i64>,
    /// Whether other instances may write to this database at any time. Then no vehicle is kept.
    pub(super) is_shared: bool,
    pub(super) texts: Texts,
    pub(in crate::store) endpoints: EndpointCache,
}

impl BatchCache {
    /// With more vehicles than this, about 4 MiB, all are forgotten and read again.
    const MAX_VEHICLES: usize = 8_192;

    /// Forgets all rows: after an error it is unknown what is committed.
    pub(in crate::store) fn clear(&mut self) {
        self.vehicles.clear();
        self.data_version = None;
        self.endpoints.clear();
    }

    /// Makes sure, at the beginning of a transaction, that the kept vehicles are current. On a file, the transaction
    /// fails if another connection has written since they were kept; the caller clears the cache then, and the next
    /// attempt reads the rows again.
    pub(super) async fn check(&mut self, db: &Transaction) -> Result<(), DbErr> {
        self.is_shared = db.get_database_backend() != DbBackend::Sqlite;
        if self.is_shared {
            return Ok(());
        }
        if self.vehicles.len() > Self::MAX_VEHICLES {
            self.vehicles.clear();
        }
        if let Some(version) = self.data_version {
            return db.defer(unless_changed_by_others(version)).await;
        }
        let statement = Statement::from_string(DbBackend::Sqlite, "PRAGMA data_version");
        let row = db.query_one_raw(statement).await?;
        self.data_version = row.map(|row| row.try_get_by_index(0)).transpose()?;
        Ok(())
    }

    /// Takes a vehicle out of the cache, if it is kept.
    pub(super) fn take(&mut self, device_id: &DeviceId) -> Option<VehicleRecord> {
        self.vehicles.remove(device_id)
    }

    /// Keeps the vehicles of a batch that is committed.
    pub(super) fn keep(&mut self, entries: HashMap<DeviceId, VehicleEntry>) {
        if self.is_shared {
            return;
        }
        let known = entries
            .into_iter()
            .filter_map(|(id, entry)| Some((id, entry.record?)));
        self.vehicles.extend(known);
    }
}
