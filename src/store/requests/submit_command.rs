use crate::{
    state::{BatchState, NewCommand, Submitted},
    store::{
        PendingWrite, Store,
        write_request::{Touched, WriteRequest},
    },
};

/// Bytes of texts that a command holds at most beside itself: its vehicle's id (64), and an idempotency key (128) with
/// its request (160).
const TEXT_BYTES: usize = 64 + 128 + 160;

struct SubmitCommand(NewCommand);

impl WriteRequest for SubmitCommand {
    type Output = Submitted;

    fn is_urgent(&self) -> bool {
        true
    }

    fn payload_bytes(&self) -> usize {
        size_of::<NewCommand>() + TEXT_BYTES
    }

    fn touch<'a>(&'a self, touched: &mut Touched<'a>) {
        let new = &self.0;
        touched.vehicles.push(&new.device_id);
        touched.open_commands_of.push(&new.device_id);
        if new.vehicle_since.is_some() {
            touched.commands.push(new.id);
        }
        if let Some(key) = &new.key {
            touched.idempotency_keys.push((&new.device_id, &key.key));
        }
    }

    fn apply(&self, state: &mut BatchState) -> Option<Submitted> {
        Some(state.submit(&self.0))
    }
}

impl Store {
    /// Stores a command, unless [`Submitted`] names a reason not to.
    pub fn submit(&self, command: NewCommand) -> PendingWrite<Submitted> {
        self.writes.submit(SubmitCommand(command))
    }
}
