//! Vehicles and their history as operators see them: queries, registration, status updates, deletion.

use std::sync::Arc;

use uuid::Uuid;

use crate::{
    domain::{Command, DebugBlobInfo, DeviceId, DisconnectReason, Report, Vehicle, VehicleState},
    sessions::Registry,
    store::Store,
};

// The types of the store that the API needs: `http` does not import `store`.
pub use crate::store::{
    CommandPage, DebugBlobPiece, HistoryPage, Position, Registered, StoreError,
};

/// Why a vehicle or a part of its history is not there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VehicleError {
    /// The vehicle never logged in and was not registered, or is deleted.
    #[error("there is no vehicle with this id")]
    UnknownVehicle,
    /// The vehicle has no debug blob with this id.
    #[error("the vehicle has no debug blob with this id")]
    UnknownDebugBlob,
    /// The vehicle has no command with this id.
    #[error("the vehicle has no command with this id")]
    UnknownCommand,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The stored vehicles, with the latest heartbeats of those whose session is on this instance.
#[derive(Debug)]
pub struct Vehicles {
    store: Arc<Store>,
    registry: Arc<Registry>,
}

impl Vehicles {
    /// Reads `store`, and heartbeats from the sessions in `registry`.
    #[must_use]
    pub fn new(store: Arc<Store>, registry: Arc<Registry>) -> Self {
        Self { store, registry }
    }

    /// Returns a vehicle, with its latest heartbeat if its session is on this instance.
    pub async fn vehicle(&self, device_id: &DeviceId) -> Result<Vehicle, VehicleError> {
        let vehicle = self
            .store
            .vehicle(device_id)
            .await?
            .ok_or(VehicleError::UnknownVehicle)?;
        Ok(self.with_heartbeat(vehicle))
    }

    /// Lists up to `limit` vehicles with ids greater than `after`, by id.
    pub async fn vehicles(
        &self,
        online: Option<bool>,
        after: Option<&str>,
        limit: u64,
    ) -> Result<Vec<Vehicle>, VehicleError> {
        let vehicles = self.store.vehicles(online, after, limit).await?;
        Ok(vehicles
            .into_iter()
            .map(|vehicle| self.with_heartbeat(vehicle))
            .collect())
    }

    fn with_heartbeat(&self, mut vehicle: Vehicle) -> Vehicle {
        if let Some(session) = self.registry.session(&vehicle.device_id) {
            vehicle.last_heartbeat = vehicle.last_heartbeat.max(session.last_heartbeat());
        }
        vehicle
    }

    /// Lists reports of a vehicle, newest first.
    pub async fn reports(
        &self,
        device_id: &DeviceId,
        page: HistoryPage,
    ) -> Result<Vec<Report>, VehicleError> {
        self.store
            .reports(device_id, page)
            .await?
            .ok_or(VehicleError::UnknownVehicle)
    }

    /// Lists debug blobs of a vehicle without their content, newest first.
    pub async fn debug_blobs(
        &self,
        device_id: &DeviceId,
        page: HistoryPage,
    ) -> Result<Vec<DebugBlobInfo>, VehicleError> {
        self.store
            .debug_blobs(device_id, page)
            .await?
            .ok_or(VehicleError::UnknownVehicle)
    }

    /// Returns up to `length` bytes of the content of one debug blob, from the offset `from` on.
    pub async fn debug_blob_piece(
        &self,
        device_id: &DeviceId,
        id: i64,
        from: u64,
        length: u64,
    ) -> Result<DebugBlobPiece, VehicleError> {
        self.store
            .debug_blob_piece(device_id, id, from, length)
            .await?
            .ok_or(VehicleError::UnknownDebugBlob)
    }

    /// Lists commands of a vehicle, newest first.
    pub async fn commands(
        &self,
        device_id: &DeviceId,
        page: CommandPage,
    ) -> Result<Vec<Command>, VehicleError> {
        self.store
            .commands(device_id, page)
            .await?
            .ok_or(VehicleError::UnknownVehicle)
    }

    /// Returns one command of a vehicle.
    pub async fn command(&self, device_id: &DeviceId, id: Uuid) -> Result<Command, VehicleError> {
        self.store
            .command(device_id, id)
            .await?
            .ok_or(VehicleError::UnknownCommand)
    }

    /// Registers a vehicle ahead of its first login; an existing one is unchanged.
    pub async fn register(&self, device_id: DeviceId) -> Result<Registered, VehicleError> {
        Ok(self
            .store
            .settled(self.store.register(device_id, self.store.now()))
            .await?)
    }

    /// Stores a report that came over HTTP. Creates an unknown vehicle, and does not change `online`.
    pub async fn update_status(
        &self,
        device_id: DeviceId,
        state: VehicleState,
    ) -> Result<Vehicle, VehicleError> {
        let write = self.store.update_status(device_id, state, self.store.now());
        Ok(self.with_heartbeat(self.store.settled(write).await?))
    }

    /// Deletes a vehicle and closes its session, also if the caller stops waiting.
    pub async fn delete(&self, device_id: &DeviceId) -> Result<(), VehicleError> {
        let write = self.store.delete(device_id.clone(), self.store.now());
        let registry = Arc::clone(&self.registry);
        let device_id = device_id.clone();
        // A task of its own: a client that disconnects must not leave a session of a deleted vehicle.
        let deletion = tokio::spawn(async move {
            let deleted: Option<i64> = write.await?;
            if let Some(epoch) = deleted {
                registry.end_through(&device_id, epoch, DisconnectReason::Deleted);
            }
            Ok::<_, StoreError>(deleted)
        });
        let deleted = tokio::time::timeout(self.store.commit_wait(), deletion).await;
        match deleted {
            Ok(Ok(deleted)) => deleted?.map(drop).ok_or(VehicleError::UnknownVehicle),
            Ok(Err(_panicked)) => Err(StoreError::Closed.into()),
            Err(_elapsed) => Err(StoreError::Unavailable.into()),
        }
    }
}
