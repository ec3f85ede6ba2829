use uuid::Uuid;

use crate::{
    domain::{SessionKey, Timestamp},
    state::{BatchState, Claimed},
    store::{
        PendingWrite, Store,
        write_request::{Touched, WriteRequest},
    },
};

struct ClaimCommand {
    id: Uuid,
    session: SessionKey,
    at: Timestamp,
}

impl WriteRequest for ClaimCommand {
    type Output = Claimed;

    fn is_urgent(&self) -> bool {
        true
    }

    fn touch<'a>(&'a self, touched: &mut Touched<'a>) {
        touched.vehicles.push(&self.session.device_id);
        touched.commands.push(self.id);
    }

    fn apply(&self, state: &mut BatchState) -> Option<Claimed> {
        Some(state.claim(self.id, &self.session, self.at))
    }
}

impl Store {
    /// Claims a command for a session, which alone may write it from then on. A command is claimed at most once, and
    /// only before it expires.
    pub fn claim(&self, id: Uuid, session: SessionKey, at: Timestamp) -> PendingWrite<Claimed> {
        self.writes.submit(ClaimCommand { id, session, at })
    }
}
