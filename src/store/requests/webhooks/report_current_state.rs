use uuid::Uuid;

use crate::{
    domain::DeviceId,
    state::BatchState,
    store::{
        PendingWrite, Store,
        write_request::{Touched, WriteRequest},
    },
};

/// Bytes that a device id takes in the queue of write requests.
const ID_BYTES: usize = 64;

struct ReportCurrentState {
    endpoint_id: Uuid,
    devices: Vec<DeviceId>,
}

impl WriteRequest for ReportCurrentState {
    type Output = ();

    fn is_urgent(&self) -> bool {
        false
    }

    fn payload_bytes(&self) -> usize {
        self.devices.len() * ID_BYTES
    }

    fn touch<'a>(&'a self, touched: &mut Touched<'a>) {
        touched.vehicles.extend(&self.devices);
    }

    fn apply(&self, state: &mut BatchState) -> Option<()> {
        for device_id in &self.devices {
            state.report_current_state(device_id, self.endpoint_id);
        }
        Some(())
    }
}

impl Store {
    /// Tells one endpoint the state of these vehicles as it is then.
    pub fn report_current_state(
        &self,
        endpoint_id: Uuid,
        devices: Vec<DeviceId>,
    ) -> PendingWrite<()> {
        self.writes.submit(ReportCurrentState {
            endpoint_id,
            devices,
        })
    }
}
