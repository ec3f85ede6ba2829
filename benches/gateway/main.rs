//! The numbers that matter, as ratios to a bare tokio line server on the same machine in the same
//! run: `cargo bench`. Each of `ping`, `report`, `command`, `elsewhere`, `idle`,
//! `storm`, `start`, `webhook`, `backlog` can be named to run alone.
//!
//! The load is made by this process, the servers are processes of their own; all share the machine.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and stops when it cannot go on"
)]

mod bare;
mod command;
mod fleet;
mod server;
mod webhook;

use std::time::Duration;

use fleet::{Fleet, Measured};
use server::Server;

const DEVICES: usize = 1_000;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(5);
const REPORT: &str = "REPORT. I'M HERE 43.62152 11.4638716, RUNNING AND CHARGED AT 47%.\n";

fn main() {
    if std::env::var_os(bare::SWITCH).is_some() {
        return bare::serve();
    }
    // What the HTTP client wants before it asks anybody, even without TLS.
    rustls::crypto::ring::default_provider()
        .install_default()
        .unwrap();
    let named: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wanted = |name: &str| named.is_empty() || named.iter().any(|wanted| wanted == name);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    if wanted("start") {
        start();
    }
    if wanted("ping") {
        runtime.block_on(exchange("PING", "PING.\n", "PING.\n"));
    }
    if wanted("report") {
        runtime.block_on(exchange("REPORT", "PING.\n", REPORT));
    }
    if wanted("command") {
        runtime.block_on(command::command());
    }
    if wanted("elsewhere") {
        runtime.block_on(command::elsewhere());
    }
    if wanted("idle") {
        runtime.block_on(idle());
    }
    if wanted("storm") {
        runtime.block_on(storm());
    }
    if wanted("webhook") {
        runtime.block_on(webhook::hanging());
    }
    if wanted("backlog") {
        runtime.block_on(webhook::backlog());
    }
}

/// From the start of the process to both ports open, on a new database.
fn start() {
    let mut times: Vec<Duration> = (0..5).map(|_| Server::gateway().started_in).collect();
    times.sort();
    println!("start: both ports open after {:?} (median of 5)", times[2]);
}

/// A closed loop: each device says a sentence and waits for the answer, over and over.
async fn exchange(name: &str, bare_says: &'static str, gateway_says: &'static str) {
    let mut bare = Vec::new();
    let mut gateway = Vec::new();
    for _ in 0..ROUNDS {
        bare.push(round(&Server::bare(), bare_says).await);
        let server = Server::gateway();
        let before = (server.rows(), server.commits());
        let measured = round(&server, gateway_says).await;
        if gateway_says == REPORT {
            let stored = server.rows() - before.0;
            let a_commit = stored / (server.commits() - before.1).max(1);
            let thanked = measured.exchanges;
            println!("  {stored} reports stored, {thanked} thanked, {a_commit} a commit");
        }
        gateway.push(measured);
    }
    println!("{name}, {DEVICES} devices, {ROUNDS} × {ROUND:?}:");
    print("  bare   ", &bare);
    print("  gateway", &gateway);
    let ratio = |value: fn(&Measured) -> f64| median(&gateway, value) / median(&bare, value);
    println!(
        "  gateway / bare: messages {:.2}, p99 {:.2}, CPU a message {:.2}",
        ratio(Measured::rate),
        ratio(|measured| measured.p99.as_secs_f64()),
        ratio(Measured::cpu_per_message),
    );
}

async fn round(server: &Server, sentence: &'static str) -> Measured {
    let fleet = Fleet::connect(server.device, DEVICES, "bench").await;
    let cpu = server.cpu();
    let mut measured = fleet.exchange(sentence, ROUND).await;
    measured.cpu = server.cpu().saturating_sub(cpu);
    measured
}

fn print(who: &str, rounds: &[Measured]) {
    println!(
        "{who}: {:>8.0} messages/s, p50 {:>6.2} ms, p99 {:>6.2} ms, {:>5.2} µs CPU a message",
        median(rounds, Measured::rate),
        median(rounds, |measured| measured.p50.as_secs_f64() * 1e3),
        median(rounds, |measured| measured.p99.as_secs_f64() * 1e3),
        median(rounds, Measured::cpu_per_message) * 1e6,
    );
}

fn median(rounds: &[Measured], value: impl Fn(&Measured) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Memory of devices that are logged in and say nothing: what ten thousand more cost a server that
/// has been used.
async fn idle() {
    const IDLE: usize = 10_000;
    let mut per_device = Vec::new();
    for server in [Server::bare(), Server::gateway()] {
        let start = server.rss();
        drop(Fleet::connect(server.device, DEVICES, "warm").await);
        let warm = server.rss();
        let fleet = Fleet::connect(server.device, IDLE, "idle").await;
        // One exchange each, so that buffers have been used and given back.
        fleet.exchange_once("PING.\n").await;
        let full = server.rss();
        println!("  RSS: {start} at start, {warm} used, {full} with {IDLE} devices");
        per_device.push(full.saturating_sub(warm) as f64 / IDLE as f64);
    }
    let [bare, gateway] = per_device[..] else {
        return;
    };
    println!(
        "idle, {IDLE} devices: bare {:.2} KiB a device, gateway {:.2} KiB, difference {:.2} KiB",
        bare / 1024.0,
        gateway / 1024.0,
        (gateway - bare) / 1024.0
    );
}

/// Everyone comes back at once.
async fn storm() {
    const STORM: usize = 15_000;
    let server = Server::gateway();
    for round in ["first login", "reconnect"] {
        let started = std::time::Instant::now();
        let fleet = Fleet::connect(server.device, STORM, "storm").await;
        println!(
            "storm, {round} of {STORM} devices at once: all greeted after {:.2} s",
            started.elapsed().as_secs_f64()
        );
        drop(fleet);
    }
}
