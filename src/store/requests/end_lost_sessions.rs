use super::DEVICE_ID_BYTES;
use crate::{
    domain::{DeviceId, Timestamp},
    state::{BatchState, LostSessions},
    store::{
        PendingWrite, Store,
        write_request::{Touched, WriteRequest},
    },
};

struct EndLostSessions {
    devices: Vec<DeviceId>,
    lost: LostSessions,
    at: Timestamp,
}

impl WriteRequest for EndLostSessions {
    type Output = ();

    fn is_urgent(&self) -> bool {
        true
    }

    fn payload_bytes(&self) -> usize {
        self.devices.len() * DEVICE_ID_BYTES
    }

    fn touch<'a>(&'a self, touched: &mut Touched<'a>) {
        touched.vehicles.extend(&self.devices);
        touched.open_commands_of.extend(&self.devices);
    }

    fn apply(&self, state: &mut BatchState) -> Option<()> {
        for device_id in &self.devices {
            state.end_lost_session(device_id, &self.lost, self.at);
        }
        Some(())
    }
}

impl Store {
    /// Ends the sessions of `devices`, as far as `lost` covers them, and the commands that they had under way.
    pub fn end_lost_sessions(
        &self,
        devices: Vec<DeviceId>,
        lost: LostSessions,
        at: Timestamp,
    ) -> PendingWrite<()> {
        self.writes.submit(EndLostSessions { devices, lost, at })
    }
}
