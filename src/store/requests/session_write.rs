use crate::{
    domain::{SessionKey, Timestamp},
    state::{BatchState, SessionWrite, Written},
    store::{
        PendingWrite, Store,
        write_request::{Touched, WriteRequest},
    },
};

struct WriteSession {
    session: SessionKey,
    at: Timestamp,
    write: SessionWrite,
}

impl WriteRequest for WriteSession {
    type Output = Written;

    fn is_urgent(&self) -> bool {
        match self.write {
            SessionWrite::End { .. } | SessionWrite::Answer { .. } => true,
            SessionWrite::Report(_)
            | SessionWrite::DebugBlob(_)
            | SessionWrite::KeepMePosted(_) => false,
        }
    }

    fn payload_bytes(&self) -> usize {
        match &self.write {
            SessionWrite::DebugBlob(content) => content.len(),
            SessionWrite::End { .. }
            | SessionWrite::Answer { .. }
            | SessionWrite::Report(_)
            | SessionWrite::KeepMePosted(_) => 0,
        }
    }

    fn touch<'a>(&'a self, touched: &mut Touched<'a>) {
        let device_id = &self.session.device_id;
        touched.vehicles.push(device_id);
        match self.write {
            SessionWrite::End { .. } => touched.open_commands_of.push(device_id),
            SessionWrite::Answer { id, .. } => touched.commands.push(id),
            SessionWrite::Report(_)
            | SessionWrite::DebugBlob(_)
            | SessionWrite::KeepMePosted(_) => {}
        }
    }

    fn apply(&self, state: &mut BatchState) -> Option<Written> {
        Some(state.write_session(&self.session, self.at, &self.write))
    }
}

impl Store {
    /// Stores a session's write, unless the session no longer holds its vehicle.
    pub fn write(
        &self,
        session: SessionKey,
        at: Timestamp,
        write: SessionWrite,
    ) -> PendingWrite<Written> {
        self.writes.submit(WriteSession { session, at, write })
    }
}
