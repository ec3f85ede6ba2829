use crate::{
    domain::{DeviceId, Timestamp},
    state::BatchState,
    store::{
        PendingWrite, Store,
        write_request::{Touched, WriteRequest},
    },
};

struct DeleteVehicle {
    device_id: DeviceId,
    at: Timestamp,
}

impl WriteRequest for DeleteVehicle {
    type Output = Option<i64>;

    fn is_urgent(&self) -> bool {
        true
    }

    fn touch<'a>(&'a self, touched: &mut Touched<'a>) {
        touched.vehicles.push(&self.device_id);
        touched.open_commands_of.push(&self.device_id);
    }

    fn apply(&self, state: &mut BatchState) -> Option<Option<i64>> {
        Some(state.delete(&self.device_id, self.at))
    }
}

impl Store {
    /// Deletes a vehicle and returns the epoch of its last session; `None` if there is no such vehicle. Its history is
    /// hidden at once and purged later.
    pub fn delete(&self, device_id: DeviceId, at: Timestamp) -> PendingWrite<Option<i64>> {
        self.writes.submit(DeleteVehicle { device_id, at })
    }
}
