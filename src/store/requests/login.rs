use std::net::SocketAddr;

use crate::{
    domain::{DeviceId, Timestamp},
    state::{BatchState, Login},
    store::{
        PendingWrite, Store,
        write_request::{Touched, WriteRequest},
    },
};

struct LogIn {
    device_id: DeviceId,
    remote: SocketAddr,
    at: Timestamp,
}

impl WriteRequest for LogIn {
    type Output = Login;

    fn is_urgent(&self) -> bool {
        true
    }

    fn touch<'a>(&'a self, touched: &mut Touched<'a>) {
        touched.vehicles.push(&self.device_id);
        touched.open_commands_of.push(&self.device_id);
    }

    fn apply(&self, state: &mut BatchState) -> Option<Login> {
        Some(state.log_in(&self.device_id, self.remote, self.at))
    }
}

impl Store {
    /// Stores a login: the vehicle, made if it is new, gets the next epoch and is online.
    pub fn log_in(
        &self,
        device_id: DeviceId,
        remote: SocketAddr,
        at: Timestamp,
    ) -> PendingWrite<Login> {
        self.writes.submit(LogIn {
            device_id,
            remote,
            at,
        })
    }
}
