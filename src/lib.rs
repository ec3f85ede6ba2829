//! Gateway between connected vehicles and fleet software: vehicles on TCP, the fleet's software on REST and webhooks,
//! one or several instances on one database.
//!
//! # The way of a report
//!
//! 1. `device` accepts the connection of a vehicle and reads its bytes.
//! 2. `protocol` decodes them into a sentence of `domain`, in text or JSON.
//! 3. `device::conversation` decides what the sentence calls for: here, to store a report and then to reply.
//! 4. `sessions` knows which vehicle the connection belongs to, and hands the report to the store.
//! 5. `store` applies many requests in one transaction. The transaction changes the row of the vehicle, inserts the
//!    report, and inserts a message for each webhook endpoint that subscribes to the change.
//! 6. After the commit the device gets `OK, THANKS!`, and the dispatcher of `webhooks` sends the messages.
//!
//! # The way of a command
//!
//! 1. `http` receives the request and calls `commands`.
//! 2. `commands` finds the session of the vehicle. If another instance holds it, `fanout` carries the command there.
//! 3. The command is stored and claimed before it reaches the connection, so that it is written at most once.
//! 4. The connection writes the sentence. The answer of the vehicle is matched with the command, stored, and returned
//!    to the request.
//!
//! # The modules
//!
//! | Module | What it does |
//! |---|---|
//! | `domain` | the vocabulary: ids, vehicles, commands, events. Pure types that every module may use |
//! | `protocol` | bytes to sentences and back. Pure |
//! | `device` | the port for vehicles |
//! | `sessions` | the connections and sessions of this instance |
//! | `commands` | commands to vehicles, here and on other instances |
//! | `vehicles` | queries and changes of vehicles and their history |
//! | `state` | the rules of vehicles, sessions, commands and webhook delivery: what a write makes of the rows it touches. Pure |
//! | `store` | the database: one writer, many readers |
//! | `webhooks`, `webhook_payload` | endpoints, payloads, signing, sending |
//! | `http`, `api_model` | the REST API and its JSON |
//! | `fanout` | messages between instances, over Redis |
//! | `cluster`, `peers` | the other instances: which are alive, and what they ask of this one |
//! | `instance`, `maintenance` | this instance: its identity and readiness, its periodic work |
//! | `app` | puts the parts together, starts them and shuts them down |
//! | `config` | the settings |
//! | `health` | asks a running gateway whether it is healthy |
//! | `supervision` | ends the process when a task that it cannot work without has panicked |
//! | `tls` | TLS of clients and listeners |
//! | `telemetry`, `signals`, `backoff`, `pacing`, `log_throttle`, `outage_reasons`, `steady_time` | small parts that others use |
//! | `simulate` | simulated vehicles, a client of the device port |
//!
//! Modules import each other in one direction only; `tests/gateway/layering` has the table of what each may import.
//! `docs/architecture.md` follows a report and a command file by file, says what happens when an instance dies, and
//! lists tasks, queues and bounds; `CONTRIBUTING.md` has steps for common changes.
#![cfg_attr(
    test,
    expect(
        clippy::unwrap_used,
        clippy::panic,
        reason = "a test that cannot go on should stop"
    )
)]

pub mod access;
mod api_model;
pub mod app;
pub mod audit;
mod backoff;
pub mod cluster;
pub mod commands;
pub mod config;
mod device;
pub mod domain;
pub mod explain;
pub mod fanout;
pub mod health;
pub mod http;
pub mod instance;
pub mod keys;
mod log_throttle;
pub mod maintenance;
mod outage_reasons;
mod pacing;
pub mod peers;
pub mod protocol;
pub mod sessions;
mod signals;
pub mod simulate;
mod state;
mod steady_time;
pub mod store;
pub mod supervision;
pub mod telemetry;
mod tls;
pub mod vehicles;
mod webhook_payload;
pub mod webhooks;
