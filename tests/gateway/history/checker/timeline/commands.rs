//! The commands of a timeline.

use super::{DEVICE, Timeline};
use crate::history::{
    checker::command_model::is_end_state,
    record::{Change, CommandRow, ConnectionNumber, DeviceEvent},
};

impl Timeline {
    /// A creates a command in this state. It expires in two seconds.
    pub(crate) fn create_command(&mut self, id: &str, sentence: &str, state: &str) -> &mut Self {
        self.history.command_rows.push(CommandRow {
            id: id.to_owned(),
            device_id: DEVICE.to_owned(),
            sentence: sentence.to_owned(),
            state: String::new(),
            created_at: self.now,
            expires_at: self.now + 2_000,
            sent_at: None,
            finished_at: None,
            reply: None,
            late_reply: None,
        });
        self.set_command_state(id, state)
    }

    /// A writes a new state of a command.
    pub(crate) fn set_command_state(&mut self, id: &str, state: &str) -> &mut Self {
        self.batch += 1;
        self.set_command_state_in_batch("A", id, state)
    }

    /// Writes a new state of a command in the batch of the write before.
    pub(crate) fn set_command_state_in_batch(
        &mut self,
        incarnation: &str,
        id: &str,
        state: &str,
    ) -> &mut Self {
        let now = self.now + 10;
        let row = self.command_row(id);
        state.clone_into(&mut row.state);
        if state == "sent" {
            row.sent_at = Some(now);
        }
        if is_end_state(state) {
            row.finished_at = Some(now);
        }
        let change = Change::Command {
            device_id: DEVICE.to_owned(),
            id: id.to_owned(),
            sentence: row.sentence.clone(),
            state: state.to_owned(),
            sent: row.sent_at.is_some(),
            epoch: self.session.epoch,
        };
        self.write_in_batch(incarnation, change);
        if is_end_state(state) {
            self.publish(incarnation, "vehicle.command");
        }
        self
    }

    pub(crate) fn command_row(&mut self, id: &str) -> &mut CommandRow {
        let mut rows = self.history.command_rows.iter_mut();
        rows.find(|row| row.id == id).unwrap()
    }

    /// A writes the end state of a command, with the reply to it.
    pub(crate) fn end_command(&mut self, id: &str, state: &str, reply: &str) -> &mut Self {
        self.command_row(id).reply = Some(reply.to_owned());
        self.set_command_state(id, state)
    }

    /// The device receives a command.
    pub(crate) fn receive_command(
        &mut self,
        connection: ConnectionNumber,
        sentence: &str,
    ) -> &mut Self {
        let sentence = sentence.to_owned();
        let late = false;
        self.observe(connection, DeviceEvent::ReceivedCommand { sentence, late })
    }

    /// The device reads a command at the end of the run.
    pub(crate) fn receive_command_late(
        &mut self,
        connection: ConnectionNumber,
        sentence: &str,
    ) -> &mut Self {
        let sentence = sentence.to_owned();
        let late = true;
        self.observe(connection, DeviceEvent::ReceivedCommand { sentence, late })
    }

    /// The device replies to the `nth` command of its connection.
    pub(crate) fn send_reply(
        &mut self,
        connection: ConnectionNumber,
        nth: usize,
        sentence: &str,
    ) -> &mut Self {
        let sentence = sentence.to_owned();
        let marker = None;
        self.observe(
            connection,
            DeviceEvent::SentReply {
                nth,
                sentence,
                marker,
            },
        )
    }

    /// A whole command: it is sent, received as the `nth` of its connection, done, and its request gets a 200.
    pub(crate) fn run_command(
        &mut self,
        id: &str,
        connection: ConnectionNumber,
        nth: usize,
    ) -> &mut Self {
        const RUN: &str = "HEY YOU, RUN!";
        self.create_command(id, RUN, "sent")
            .receive_command(connection, RUN)
            .send_reply(connection, nth, "DONE!")
            .end_command(id, "done", "DONE!")
            .respond(RUN, 200, "done", Some(id))
    }
}
