//! What operators ask: vehicles, their history, registration, deletion.

use std::sync::Arc;

use bytes::Bytes;

use super::{COMMIT_SLACK, Service, ServiceError};
use crate::{
    domain::{DebugBlobInfo, DeviceId, DisconnectReason, Report, Vehicle, VehicleState},
    store::{HistoryPage, Registered, StoreError},
};

impl Service {
    /// A vehicle, with the heartbeat that this instance heard last if the session is here.
    pub async fn vehicle(&self, device_id: &DeviceId) -> Result<Vehicle, ServiceError> {
        let vehicle = self
            .store
            .vehicle(device_id)
            .await?
            .ok_or(ServiceError::UnknownVehicle)?;
        Ok(self.with_heartbeat(vehicle))
    }

    /// Up to `limit` vehicles in the order of their ids, from after the id `after` on.
    pub async fn vehicles(
        &self,
        online: Option<bool>,
        after: Option<&str>,
        limit: u64,
    ) -> Result<Vec<Vehicle>, ServiceError> {
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
    ) -> Result<Vec<Report>, ServiceError> {
        self.store
            .reports(device_id, page)
            .await?
            .ok_or(ServiceError::UnknownVehicle)
    }

    /// Debug blobs of a vehicle without their bytes, newest first.
    pub async fn debug_blobs(
        &self,
        device_id: &DeviceId,
        page: HistoryPage,
    ) -> Result<Vec<DebugBlobInfo>, ServiceError> {
        self.store
            .debug_blobs(device_id, page)
            .await?
            .ok_or(ServiceError::UnknownVehicle)
    }

    /// The bytes of one debug blob.
    pub async fn debug_blob_content(
        &self,
        device_id: &DeviceId,
        id: i64,
    ) -> Result<Bytes, ServiceError> {
        self.store
            .debug_blob(device_id, id)
            .await?
            .ok_or(ServiceError::UnknownDebugBlob)
    }

    /// Makes a vehicle ahead of its first login; one that exists stays as it is.
    pub async fn register(&self, device_id: DeviceId) -> Result<Registered, ServiceError> {
        Ok(self
            .settled(self.store.register(device_id, self.store.now()))
            .await?)
    }

    /// Stores a report that came over HTTP; an unknown vehicle is made, `online` stays as it is.
    pub async fn update_status(
        &self,
        device_id: DeviceId,
        state: VehicleState,
    ) -> Result<Vehicle, ServiceError> {
        let ticket = self.store.update_status(device_id, state, self.store.now());
        Ok(self.with_heartbeat(self.settled(ticket).await?))
    }

    /// Forgets a vehicle and closes its session, whether or not the caller waits for it.
    pub async fn delete(&self, device_id: &DeviceId) -> Result<(), ServiceError> {
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
        let deleted = tokio::time::timeout(self.commit_timeout + COMMIT_SLACK, deletion).await;
        match deleted {
            Ok(Ok(deleted)) => deleted?.map(drop).ok_or(ServiceError::UnknownVehicle),
            Ok(Err(_panicked)) => Err(StoreError::Closed.into()),
            Err(_elapsed) => Err(StoreError::Unavailable.into()),
        }
    }
}
