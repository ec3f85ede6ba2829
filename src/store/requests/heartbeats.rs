use crate::{
    domain::{SessionKey, Timestamp},
    state::BatchState,
    store::{
        PendingWrite, Store,
        write_request::{Touched, WriteRequest},
    },
};

struct Heartbeats(Vec<(SessionKey, Timestamp)>);

impl WriteRequest for Heartbeats {
    type Output = ();

    fn is_urgent(&self) -> bool {
        false
    }

    fn payload_bytes(&self) -> usize {
        size_of_val(self.0.as_slice())
    }

    fn touch<'a>(&'a self, touched: &mut Touched<'a>) {
        let sessions = self.0.iter().map(|(session, _)| session);
        touched
            .vehicles
            .extend(sessions.map(|session| &session.device_id));
    }

    fn apply(&self, state: &mut BatchState) -> Option<()> {
        for (session, at) in &self.0 {
            state.heartbeat(session, *at);
        }
        Some(())
    }
}

impl Store {
    /// Stores the times of sessions' last heartbeats; sessions that no longer hold their vehicle are left out.
    pub fn write_heartbeats(&self, beats: Vec<(SessionKey, Timestamp)>) -> PendingWrite<()> {
        self.writes.submit(Heartbeats(beats))
    }
}
