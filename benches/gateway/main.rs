//! The numbers that matter, as ratios to a bare tokio line server on the same machine in the same
//! run: `cargo bench`. Each of `ping`, `report`, `open`, `command`, `remote`, `idle`,
//! `storm`, `start`, `webhook`, `backlog` can be named to run alone.
//!
//! `VEHICLE_GATEWAY_BASELINE=<another build's binary>` measures that build in turn with this one.
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
use server::{Build, Server};

const DEVICES: usize = 1_000;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(5);
const OPEN_DEVICES: usize = 5_000;
const OPEN_EVERY: Duration = Duration::from_secs(5);
const OPEN_ROUND: Duration = Duration::from_secs(20);
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
    if wanted("open") {
        runtime.block_on(open());
    }
    if wanted("command") {
        runtime.block_on(command::command());
    }
    if wanted("remote") {
        runtime.block_on(command::remote());
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
    let builds = Build::all();
    let mut bare = Vec::new();
    let mut measured: Vec<Vec<Measured>> = builds.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        bare.push(round(&Server::bare(), bare_says).await);
        for (build, measured) in builds.iter().zip(&mut measured) {
            let server = build.start();
            let before = server.rows();
            let round = round(&server, gateway_says).await;
            if gateway_says == REPORT {
                let (stored, thanked) = (server.rows() - before, round.exchanges);
                println!(
                    "  {}: {stored} reports stored, {thanked} thanked",
                    build.name
                );
            }
            measured.push(round);
        }
    }
    println!("{name}, {DEVICES} devices, {ROUNDS} × {ROUND:?}:");
    print("bare", &bare);
    for (build, measured) in builds.iter().zip(&measured) {
        print(build.name, measured);
    }
    for (build, measured) in builds.iter().zip(&measured) {
        print_ratios(&format!("{} / bare", build.name), measured, &bare);
    }
    if let [baseline, gateway] = &measured[..] {
        print_ratios("gateway / baseline", gateway, baseline);
    }
}

async fn round(server: &Server, sentence: &'static str) -> Measured {
    let fleet = Fleet::connect(server.device, DEVICES, "bench").await;
    let cpu = server.cpu();
    let mut measured = fleet.exchange(sentence, ROUND).await;
    measured.cpu = server.cpu().saturating_sub(cpu);
    measured
}

/// An open loop: vehicles report by the clock and not by the answer, a thousand reports a second in
/// all, as a fleet does. What a report costs then is what an idle machine pays.
async fn open() {
    let builds = Build::all();
    let mut measured: Vec<Vec<Measured>> = builds.iter().map(|_| Vec::new()).collect();
    for build in &builds {
        let server = build.start_counting_commits();
        open_round(&server).await;
        let a_commit = server.rows() as f64 / server.commits().max(1) as f64;
        println!(
            "  {}: {a_commit:.1} reports a commit, logins included",
            build.name
        );
    }
    for _ in 0..ROUNDS {
        for (build, measured) in builds.iter().zip(&mut measured) {
            measured.push(open_round(&build.start()).await);
        }
    }
    println!(
        "REPORT, open loop: {OPEN_DEVICES} devices every {OPEN_EVERY:?}, {ROUNDS} × {OPEN_ROUND:?}:"
    );
    for (build, measured) in builds.iter().zip(&measured) {
        print(build.name, measured);
    }
    if let [baseline, gateway] = &measured[..] {
        print_ratios("gateway / baseline", gateway, baseline);
    }
}

async fn open_round(server: &Server) -> Measured {
    let fleet = Fleet::connect(server.device, OPEN_DEVICES, "open").await;
    let cpu = server.cpu();
    let mut measured = fleet.report_each(OPEN_EVERY, OPEN_ROUND).await;
    measured.cpu = server.cpu().saturating_sub(cpu);
    measured
}

fn print_ratios(what: &str, of: &[Measured], to: &[Measured]) {
    let ratio = |value: fn(&Measured) -> f64| median(of, value) / median(to, value);
    println!(
        "  {what}: messages {:.2}, p50 {:.2}, p99 {:.2}, CPU a message {:.2}",
        ratio(Measured::rate),
        ratio(|measured| measured.p50.as_secs_f64()),
        ratio(|measured| measured.p99.as_secs_f64()),
        ratio(Measured::cpu_per_message),
    );
}

fn print(who: &str, rounds: &[Measured]) {
    println!(
        "  {who:<8}: {:>8.0} messages/s, p50 {:>6.2} ms, p99 {:>6.2} ms, {:>5.2} µs CPU a message",
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
    let builds = Build::all();
    let gateways = builds.iter().map(|build| (build.name, build.start()));
    for (who, server) in std::iter::once(("bare", Server::bare())).chain(gateways) {
        let at_start = server.rss();
        drop(Fleet::connect(server.device, DEVICES, "warm").await);
        let warm = server.rss();
        let fleet = Fleet::connect(server.device, IDLE, "idle").await;
        // One exchange each, so that buffers have been used and given back.
        fleet.exchange_once("PING.\n").await;
        let full = server.rss();
        println!("  {who}: RSS {at_start} at start, {warm} used, {full} with {IDLE} devices");
        per_device.push((who, full.saturating_sub(warm) as f64 / IDLE as f64));
    }
    let [(_, bare), gateways @ ..] = &per_device[..] else {
        return;
    };
    for (who, cost) in gateways {
        println!(
            "idle, {IDLE} devices: {who} {:.2} KiB a device, {:.2} KiB more than bare",
            cost / 1024.0,
            (cost - bare) / 1024.0
        );
    }
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
