//! The HTTP requests of a timeline.

use super::{DEVICE, Timeline};
use crate::history::record::{
    CommandRequest, HttpResult, PresenceReading, VehicleAction, VehicleRequest,
};

impl Timeline {
    /// A command request gets this response.
    pub(crate) fn respond(
        &mut self,
        sentence: &str,
        status: u16,
        name: &str,
        id: Option<&str>,
    ) -> &mut Self {
        self.respond_with_key(None, sentence, status, name, id)
    }

    /// A command request with an idempotency key gets this response, with the reply of the command if there is one.
    pub(crate) fn respond_with_key(
        &mut self,
        key: Option<&str>,
        sentence: &str,
        status: u16,
        name: &str,
        id: Option<&str>,
    ) -> &mut Self {
        let mut rows = self.history.command_rows.iter();
        let reply = rows
            .find(|row| Some(row.id.as_str()) == id)
            .and_then(|row| row.reply.clone());
        self.history.command_requests.push(CommandRequest {
            from: self.now - 10,
            until: self.now,
            device_id: DEVICE.to_owned(),
            sentence: sentence.to_owned(),
            idempotency_key: key.map(str::to_owned),
            result: HttpResult::Response {
                status,
                name: name.to_owned(),
                command_id: id.map(str::to_owned),
                reply,
            },
        });
        self
    }

    /// A report over HTTP or a deletion gets this response.
    pub(crate) fn respond_to_action(
        &mut self,
        action: VehicleAction,
        status: u16,
        name: &str,
    ) -> &mut Self {
        self.history.vehicle_requests.push(VehicleRequest {
            from: self.now - 10,
            until: self.now,
            device_id: DEVICE.to_owned(),
            action,
            result: HttpResult::Response {
                status,
                name: name.to_owned(),
                command_id: None,
                reply: None,
            },
        });
        self
    }

    /// REST returns this presence.
    pub(crate) fn read_presence(&mut self, online: bool) -> &mut Self {
        self.history.presence_readings.push(PresenceReading {
            from: self.now,
            until: self.now,
            device_id: DEVICE.to_owned(),
            online,
        });
        self
    }
}
