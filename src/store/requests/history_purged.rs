use crate::{
    domain::{DeviceId, Timestamp},
    state::BatchState,
    store::{
        PendingWrite, Store,
        write_request::{Touched, WriteRequest},
    },
};

struct HistoryPurged {
    device_id: DeviceId,
    through: Timestamp,
}

impl WriteRequest for HistoryPurged {
    type Output = ();

    fn is_urgent(&self) -> bool {
        false
    }

    fn touch<'a>(&'a self, touched: &mut Touched<'a>) {
        touched.vehicles.push(&self.device_id);
    }

    fn apply(&self, state: &mut BatchState) -> Option<()> {
        state.history_purged(&self.device_id, self.through);
        Some(())
    }
}

impl Store {
    /// Notes that the history of a deleted vehicle is purged up to this time.
    pub fn mark_history_purged(&self, device_id: DeviceId, through: Timestamp) -> PendingWrite<()> {
        self.writes.submit(HistoryPurged { device_id, through })
    }
}
