//! Requests about a vehicle that send nothing to its device: reports on its behalf, and deletions.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use reqwest::RequestBuilder;
use tokio::time::sleep;

use super::http_clients::{ClientContext, send};
use crate::history::{
    payload::{device_id, report_body},
    record::{VehicleAction, VehicleRequest},
};

impl ClientContext {
    /// Reports on behalf of vehicles until the clients are stopped.
    pub(super) async fn report(self: Arc<Self>, mut rng: Rng) {
        while !self.is_stopped() {
            let vehicle = self.choose_vehicle(&mut rng);
            let marker = self.next_marker();
            let address = self.choose_address(&mut rng);
            let url = format!("http://{address}/service/status-update");
            let request = self.client.post(url).json(&report_body(vehicle, marker));
            self.request(vehicle, VehicleAction::Report(marker), request)
                .await;
            sleep(Duration::from_millis(rng.u64(20..300))).await;
        }
    }

    /// Deletes a vehicle every second or so. The next login, or the next report on its behalf, creates it again.
    pub(super) async fn delete_vehicles(self: Arc<Self>, mut rng: Rng) {
        while !self.is_stopped() {
            sleep(Duration::from_millis(rng.u64(300..1_500))).await;
            let vehicle = self.choose_vehicle(&mut rng);
            let address = self.choose_address(&mut rng);
            let url = format!("http://{address}/vehicles/{}", device_id(vehicle));
            let request = self.client.delete(url);
            self.request(vehicle, VehicleAction::Delete, request).await;
        }
    }

    async fn request(&self, vehicle: usize, action: VehicleAction, request: RequestBuilder) {
        let from = self.clock.now();
        let result = send(request).await;
        self.vehicle_requests.lock().unwrap().push(VehicleRequest {
            from,
            until: self.clock.now(),
            device_id: device_id(vehicle),
            action,
            result,
        });
    }
}
