//! Vehicles and their history as operators see them: queries, registration, status updates, deletion.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    domain::{Command, DebugBlobInfo, DeviceId, DisconnectReason, Report, Vehicle, VehicleState},
    sessions::Registry,
    store::Store,
};

// What the API needs of the store: it sees the rest of the gateway through here.
pub use crate::store::{CommandPage, HistoryPage, Position, Registered, StoreError};

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

/// The vehicles of all instances, with what this instance alone knows of those it holds.
#[derive(Debug)]
pub struct Vehicles {
    store: Arc<Store>,
    registry: Arc<Registry>,
}

impl Vehicles {
    /// The vehicles in `store`; `registry` has the sessions of this instance.
    #[must_use]
    pub fn new(store: Arc<Store>, registry: Arc<Registry>) -> Self {
        Self { store, registry }
    }

    /// A vehicle, with the heartbeat that this instance heard last if the session is here.
    pub async fn vehicle(&self, device_id: &DeviceId) -> Result<Vehicle, VehicleError> {
        let vehicle = self
            .store
            .vehicle(device_id)
            .await?
            .ok_or(VehicleError::UnknownVehicle)?;
        Ok(self.with_heartbeat(vehicle))
    }

    /// Up to `limit` vehicles in the order of their ids, from after the id `after` on.
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

    /// Reports of a vehicle, newest first.
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

    /// Debug blobs of a vehicle without their bytes, newest first.
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

    /// The bytes of one debug blob.
    pub async fn debug_blob_content(
        &self,
        device_id: &DeviceId,
        id: i64,
    ) -> Result<Bytes, VehicleError> {
        self.store
            .debug_blob(device_id, id)
            .await?
            .ok_or(VehicleError::UnknownDebugBlob)
    }

    /// Commands of a vehicle, newest first.
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

    /// One command.
    pub async fn command(&self, device_id: &DeviceId, id: Uuid) -> Result<Command, VehicleError> {
        self.store
            .command(device_id, id)
            .await?
            .ok_or(VehicleError::UnknownCommand)
    }

    /// Makes a vehicle ahead of its first login; one that exists stays as it is.
    pub async fn register(&self, device_id: DeviceId) -> Result<Registered, VehicleError> {
        Ok(self
            .store
            .settled(self.store.register(device_id, self.store.now()))
            .await?)
    }

    /// Stores a report that came over HTTP; an unknown vehicle is made, `online` stays as it is.
    pub async fn update_status(
        &self,
        device_id: DeviceId,
        state: VehicleState,
    ) -> Result<Vehicle, VehicleError> {
        let ticket = self.store.update_status(device_id, state, self.store.now());
        Ok(self.with_heartbeat(self.store.settled(ticket).await?))
    }

    /// Forgets a vehicle and closes its session, whether or not the caller waits for it.
    pub async fn delete(&self, device_id: &DeviceId) -> Result<(), VehicleError> {
        let ticket = self.store.delete(device_id.clone(), self.store.now());
        let registry = Arc::clone(&self.registry);
        let device_id = device_id.clone();
        // On its own: a caller who hangs up must not leave a session to a vehicle that is gone.
        let deletion = tokio::spawn(async move {
            let deleted: Option<i64> = ticket.await?;
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
