//! Requests that send a command to a vehicle.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use fastrand::Rng;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::http_clients::{ClientContext, send};
use crate::history::{
    payload::device_id,
    record::{CommandRequest, HttpResult},
};

/// How many commands with an idempotency key are kept to be requested again.
const MAX_REPEATABLE: usize = 20;

/// A command request, ready to be sent any number of times.
#[derive(Debug, Clone)]
pub(super) struct CommandSpec {
    device_id: String,
    /// The sentence that the device should receive.
    sentence: String,
    /// The last segment of `/service/{deviceId}/…`.
    path: &'static str,
    body: Value,
    idempotency_key: Option<String>,
}

impl ClientContext {
    pub(super) async fn request_commands(self: Arc<Self>, mut rng: Rng) {
        while !self.is_stopped() {
            let spec = self.choose_command(&mut rng);
            let address = self.choose_address(&mut rng);
            self.request_command(&spec, address).await;
            sleep(Duration::from_millis(rng.u64(5..250))).await;
        }
    }

    /// A new command, or a recent one with an idempotency key once more.
    fn choose_command(&self, rng: &mut Rng) -> CommandSpec {
        if rng.f32() < 0.12 {
            let repeatable = self.repeatable.lock().unwrap();
            if !repeatable.is_empty() {
                return repeatable[rng.usize(..repeatable.len())].clone();
            }
        }
        let mut body = json!({"timeoutSeconds": rng.u32(1..4)});
        if rng.f32() < 0.35 {
            body["queue"] = json!(true);
            body["ttlSeconds"] = json!(rng.u32(1..15));
        }
        let (path, sentence) = match rng.u32(..100) {
            0..25 => ("turnOn", "HEY YOU, RUN!".to_owned()),
            25..50 => ("turnOff", "HEY YOU, REST!".to_owned()),
            50..65 => {
                let seconds = rng.u32(10..=3600);
                body["seconds"] = json!(seconds);
                (
                    "frequency",
                    format!("KEEP ME POSTED EVERY {seconds} SECONDS."),
                )
            }
            65..78 => ("fetch-info", "HOW'S IT GOING?".to_owned()),
            78..88 => {
                body["message"] = json!("HOW'S IT GOING?");
                ("command", "HOW'S IT GOING?".to_owned())
            }
            88..97 => {
                body["message"] = json!("HEY YOU, RUN!");
                ("command", "HEY YOU, RUN!".to_owned())
            }
            _ => ("disconnect", "GOTTA GO.".to_owned()),
        };
        let has_key = path != "fetch-info" && rng.f32() < 0.25;
        let spec = CommandSpec {
            device_id: device_id(self.choose_vehicle(rng)),
            sentence,
            path,
            body,
            idempotency_key: has_key.then(|| format!("key-{:016x}", rng.u64(..))),
        };
        if spec.idempotency_key.is_some() {
            let mut repeatable = self.repeatable.lock().unwrap();
            repeatable.push_back(spec.clone());
            if repeatable.len() > MAX_REPEATABLE {
                repeatable.pop_front();
            }
        }
        spec
    }

    async fn request_command(&self, spec: &CommandSpec, address: SocketAddr) {
        let url = format!("http://{address}/service/{}/{}", spec.device_id, spec.path);
        let mut request = if spec.path == "fetch-info" {
            let seconds = &spec.body["timeoutSeconds"];
            self.client.get(format!("{url}?timeoutSeconds={seconds}"))
        } else {
            self.client.post(url).json(&spec.body)
        };
        if let Some(key) = &spec.idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        let from = self.clock.now();
        let result = send(request).await;
        let until = self.clock.now();
        let is_down = matches!(result, HttpResult::NoResponse(_));
        self.command_requests.lock().unwrap().push(CommandRequest {
            from,
            until,
            device_id: spec.device_id.clone(),
            sentence: spec.sentence.clone(),
            idempotency_key: spec.idempotency_key.clone(),
            result,
        });
        if is_down {
            sleep(Duration::from_millis(100)).await;
        }
    }
}
