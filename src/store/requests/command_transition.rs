use uuid::Uuid;

use crate::{
    domain::{Command, DeviceId, Timestamp},
    state::{BatchState, CommandTransition},
    store::{
        PendingWrite, Store,
        write_request::{Touched, WriteRequest},
    },
};

struct ChangeCommand {
    device_id: DeviceId,
    id: Uuid,
    transition: CommandTransition,
    at: Timestamp,
}

impl WriteRequest for ChangeCommand {
    type Output = Option<Command>;

    fn is_urgent(&self) -> bool {
        true
    }

    fn touch<'a>(&'a self, touched: &mut Touched<'a>) {
        touched.vehicles.push(&self.device_id);
        touched.commands.push(self.id);
        // Of the commands that wait for the login already, an older one is superseded by this one, and a newer one
        // supersedes it.
        if matches!(self.transition, CommandTransition::Queue(_)) {
            touched.open_commands_of.push(&self.device_id);
        }
    }

    fn apply(&self, state: &mut BatchState) -> Option<Option<Command>> {
        Some(state.transition(&self.device_id, self.id, self.transition, self.at))
    }
}

impl Store {
    /// Makes a transition of a command, if the command is still in a state that [`CommandTransition`] allows it from.
    /// Returns the command as it is afterwards, changed or not; `None` if there is no such command.
    pub fn finish(
        &self,
        device_id: DeviceId,
        id: Uuid,
        transition: CommandTransition,
        at: Timestamp,
    ) -> PendingWrite<Option<Command>> {
        self.writes.submit(ChangeCommand {
            device_id,
            id,
            transition,
            at,
        })
    }
}
