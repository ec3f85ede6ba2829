use crate::{
    domain::{DeviceId, Timestamp, Vehicle, VehicleState},
    state::BatchState,
    store::{
        PendingWrite, Store,
        write_request::{Touched, WriteRequest},
    },
};

struct UpdateStatus {
    device_id: DeviceId,
    state: VehicleState,
    at: Timestamp,
}

impl WriteRequest for UpdateStatus {
    type Output = Vehicle;

    fn is_urgent(&self) -> bool {
        false
    }

    fn touch<'a>(&'a self, touched: &mut Touched<'a>) {
        touched.vehicles.push(&self.device_id);
    }

    fn apply(&self, state: &mut BatchState) -> Option<Vehicle> {
        Some(state.update_status(&self.device_id, self.at, &self.state))
    }
}

impl Store {
    /// Stores a report that came without a session, over REST, and makes the vehicle if it is new.
    pub fn update_status(
        &self,
        device_id: DeviceId,
        state: VehicleState,
        at: Timestamp,
    ) -> PendingWrite<Vehicle> {
        self.writes.submit(UpdateStatus {
            device_id,
            state,
            at,
        })
    }
}
