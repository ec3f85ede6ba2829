//! A vehicle in either dialect, and the commands that operators send to it.

use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use super::{Daemon, Device, hello, json as envelope};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Text,
    Json,
}

impl Dialect {
    pub(crate) const BOTH: [Self; 2] = [Self::Text, Self::Json];
}

/// A vehicle that is logged in.
pub(crate) struct Vehicle {
    pub(crate) device: Device,
    id: String,
    dialect: Dialect,
}

impl Vehicle {
    #[track_caller]
    pub(crate) fn log_in(daemon: &Daemon, id: &str, dialect: Dialect) -> Self {
        let mut vehicle = Self {
            device: daemon.connect(),
            id: id.to_owned(),
            dialect,
        };
        match dialect {
            Dialect::Text => vehicle.device.say(&hello(id)),
            Dialect::Json => {
                vehicle.device.say(&envelope(&hello(id), id));
                assert_eq!(vehicle.device.object()["type"], "connected");
            }
        }
        vehicle.expect_reply("HI, NICE TO MEET YOU!");
        vehicle
    }

    /// Expects this command next.
    #[track_caller]
    pub(crate) fn expect_command(&mut self, sentence: &str) {
        self.expect("command", sentence);
    }

    /// Expects this reply next.
    #[track_caller]
    pub(crate) fn expect_reply(&mut self, sentence: &str) {
        self.expect("reply", sentence);
    }

    #[track_caller]
    fn expect(&mut self, kind: &str, sentence: &str) {
        match self.dialect {
            Dialect::Text => self.device.expect(sentence),
            Dialect::Json => {
                let object = self.device.object();
                assert_eq!([&object["type"], &object["message"]], [kind, sentence]);
            }
        }
    }

    /// Sends a sentence that the gateway answers.
    pub(crate) fn send_message(&mut self, sentence: &str) {
        self.send("message", sentence);
    }

    /// Answers a command.
    pub(crate) fn reply(&mut self, sentence: &str) {
        self.send("reply", sentence);
    }

    fn send(&mut self, kind: &str, sentence: &str) {
        let said = match self.dialect {
            Dialect::Text => sentence.to_owned(),
            Dialect::Json => {
                json!({ "type": kind, "message": sentence, "clientId": self.id }).to_string()
            }
        };
        self.device.say(&said);
    }

    /// Expects that no line is left unread: the gateway answers in order.
    #[track_caller]
    pub(crate) fn expect_nothing_more(&mut self) {
        self.send_message("PING.");
        self.expect_reply("PONG.");
    }
}

/// The API's response to a command.
#[derive(Debug)]
pub(crate) struct CommandResponse {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) location: Option<String>,
}

impl CommandResponse {
    /// The HTTP status, and the problem type or the status of the command.
    pub(crate) fn outcome(&self) -> (u16, &str) {
        let name = self.body["type"].as_str().map(|name| {
            name.strip_prefix("urn:vehicle-gateway:problem:")
                .unwrap_or(name)
        });
        (
            self.status,
            name.or(self.body["status"].as_str()).unwrap_or_default(),
        )
    }

    pub(crate) fn command_id(&self) -> &str {
        self.body["commandId"].as_str().unwrap_or_default()
    }
}

/// A request whose response is pending.
pub(crate) struct PendingResponse(JoinHandle<CommandResponse>);

impl PendingResponse {
    #[track_caller]
    pub(crate) fn response(self) -> CommandResponse {
        self.0.join().unwrap()
    }
}

impl Daemon {
    /// Posts to `/service/…` and waits for the response.
    #[track_caller]
    pub(crate) fn send_command(&self, path: &str, body: &Value) -> CommandResponse {
        self.start_command(path, body).response()
    }

    /// Posts to `/service/…` without waiting for the response.
    pub(crate) fn start_command(&self, path: &str, body: &Value) -> PendingResponse {
        self.start_command_with_key(path, body, None)
    }

    /// Posts to `/service/…` with an idempotency key, without waiting for the response.
    pub(crate) fn start_command_with_key(
        &self,
        path: &str,
        body: &Value,
        key: Option<&str>,
    ) -> PendingResponse {
        let mut request = self
            .client
            .post(self.url(&format!("/service/{path}")))
            .json(body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        PendingResponse(thread::spawn(move || {
            let response = request.send().unwrap();
            let location = response.headers().get("location");
            let location = location.map(|path| path.to_str().unwrap().to_owned());
            CommandResponse {
                status: response.status().as_u16(),
                location,
                body: response.json().unwrap(),
            }
        }))
    }

    /// The states of a vehicle's commands, oldest first.
    #[track_caller]
    pub(crate) fn command_states(&self, device_id: &str) -> Vec<String> {
        let log = self.json(&format!("/vehicles/{device_id}/commands?limit=1000"));
        let items = log["items"].as_array().unwrap();
        let states = items.iter().rev().map(|item| &item["status"]);
        states
            .map(|state| state.as_str().unwrap().to_owned())
            .collect()
    }

    /// The record of a command.
    #[track_caller]
    pub(crate) fn command_record(&self, device_id: &str, id: &str) -> Value {
        self.json(&format!("/vehicles/{device_id}/commands/{id}"))
    }

    /// Waits until the vehicle's commands, oldest first, have these states.
    #[track_caller]
    pub(crate) fn wait_for_command_states(&self, device_id: &str, states: &[&str]) {
        super::wait_until(&format!("{device_id}: {states:?}"), || {
            (self.command_states(device_id) == states).then_some(())
        });
    }
}
