use crate::{
    domain::{DeviceId, Timestamp},
    state::{BatchState, Registered},
    store::{
        PendingWrite, Store,
        write_request::{Touched, WriteRequest},
    },
};

struct RegisterVehicle {
    device_id: DeviceId,
    at: Timestamp,
}

impl WriteRequest for RegisterVehicle {
    type Output = Registered;

    fn is_urgent(&self) -> bool {
        true
    }

    fn touch<'a>(&'a self, touched: &mut Touched<'a>) {
        touched.vehicles.push(&self.device_id);
    }

    fn apply(&self, state: &mut BatchState) -> Option<Registered> {
        Some(state.register(&self.device_id, self.at))
    }
}

impl Store {
    /// Makes a vehicle before its first login; one that exists stays as it is.
    pub fn register(&self, device_id: DeviceId, at: Timestamp) -> PendingWrite<Registered> {
        self.writes.submit(RegisterVehicle { device_id, at })
    }
}
