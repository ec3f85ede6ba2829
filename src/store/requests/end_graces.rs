use super::DEVICE_ID_BYTES;
use crate::{
    domain::{DeviceId, Timestamp},
    state::BatchState,
    store::{
        PendingWrite, Store,
        write_request::{Touched, WriteRequest},
    },
};

struct EndGraces {
    devices: Vec<DeviceId>,
    at: Timestamp,
}

impl WriteRequest for EndGraces {
    type Output = ();

    fn is_urgent(&self) -> bool {
        true
    }

    fn payload_bytes(&self) -> usize {
        self.devices.len() * DEVICE_ID_BYTES
    }

    fn touch<'a>(&'a self, touched: &mut Touched<'a>) {
        touched.vehicles.extend(&self.devices);
    }

    fn apply(&self, state: &mut BatchState) -> Option<()> {
        for device_id in &self.devices {
            state.end_grace(device_id, self.at);
        }
        Some(())
    }
}

impl Store {
    /// Sets those of `devices` offline whose grace is over at `at` and that have not logged in again.
    pub fn end_graces(&self, devices: Vec<DeviceId>, at: Timestamp) -> PendingWrite<()> {
        self.writes.submit(EndGraces { devices, at })
    }
}
