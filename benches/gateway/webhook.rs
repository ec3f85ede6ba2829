//! What webhooks cost vehicles, and what a backlog costs webhooks.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, routing::post};
use sea_orm::{ConnectionTrait, Database};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};

use super::{DEVICES, ROUNDS, fleet::Fleet, server::Server};

/// How long a receiver hangs.
const HANG: Duration = Duration::from_mins(1);
/// How often each vehicle reports.
const EVERY: Duration = Duration::from_secs(1);
/// Lanes of the backlog, and what is delivered of it.
const LANES: usize = 1_000;
const DELIVERED: usize = 5_000;

/// Answers every message, or none while it hangs.
struct Receiver {
    address: SocketAddr,
    delivered: Arc<AtomicUsize>,
    hangs: Arc<AtomicBool>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            delivered: Arc::default(),
            hangs: Arc::default(),
        };
        let (delivered, hangs) = (Arc::clone(&receiver.delivered), Arc::clone(&receiver.hangs));
        let take = async move |_message: Bytes| {
            if hangs.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            delivered.fetch_add(1, Ordering::Relaxed);
        };
        let router = Router::new().route("/", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        receiver
    }

    fn endpoint(&self, events: &[&str]) -> Value {
        json!({
            "url": format!("http://{}/", self.address),
            "secret": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
            "events": events,
        })
    }

    fn delivered(&self) -> usize {
        self.delivered.load(Ordering::Relaxed)
    }

    async fn has(&self, count: usize) {
        while self.delivered() < count {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A thousand vehicles report each second, and each report is told to two receivers: what it is to them that one of these
/// hangs for a minute, in pairs of rounds with and without.
pub(crate) async fn hanging() {
    let mut p99s = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for hangs in [false, true] {
            p99s[usize::from(hangs)].push(minute(hangs).await);
        }
    }
    let [without, with] = p99s.map(|mut p99s| {
        p99s.sort_unstable();
        p99s[p99s.len() / 2]
    });
    println!(
        "webhook, {DEVICES} vehicles, one of two receivers hangs for {HANG:?}: p99 of a report {with:?}, without {without:?}, \
         ratio {:.2}",
        with.as_secs_f64() / without.as_secs_f64()
    );
}

async fn minute(hangs: bool) -> Duration {
    let [slow, quick] = [Receiver::start().await, Receiver::start().await];
    slow.hangs.store(hangs, Ordering::Relaxed);
    let endpoints = json!([slow.endpoint(&["battery"]), quick.endpoint(&["battery"])]);
    let server = Server::gateway_with(&[format!("webhooks.endpoints={endpoints}")]);
    let fleet = Fleet::connect(server.device, DEVICES, "webhook").await;
    let (memory, cpu) = (server.rss(), server.cpu());
    let measured = fleet.report_each(EVERY, HANG).await;
    let (grown, cpu) = (
        server.rss().saturating_sub(memory) >> 10,
        server.cpu().saturating_sub(cpu),
    );
    let told = quick.delivered();
    let reports = usize::try_from(measured.exchanges).unwrap();
    // The healthy one has all of it, whatever the other does.
    quick.has(reports).await;
    let (began, at_hang) = (Instant::now(), slow.delivered());
    slow.hangs.store(false, Ordering::Relaxed);
    slow.has(reports).await;
    let missing = reports - at_hang;
    println!(
        "  {}: {reports} reports, p50 {:?}, p99 {:?}; {told} told by then; {grown} KiB more, CPU {cpu:?}; \
         {missing} were missing at the other, and came in {:?}",
        if hangs { "hanging" } else { "well   " },
        measured.p50,
        measured.p99,
        began.elapsed()
    );
    measured.p99
}

/// What is delivered in a second of few pending messages, and of a hundred thousand.
pub(crate) async fn backlog() {
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (rates, each) in rates.iter_mut().zip([5, 100]) {
            rates.push(rate(each).await);
        }
    }
    let [few, many] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    });
    println!(
        "backlog, {DELIVERED} messages delivered: {few:.0}/s of {} pending, {many:.0}/s of {}, ratio {:.2}",
        5 * LANES,
        100 * LANES,
        many / few
    );
}

async fn rate(each: usize) -> f64 {
    let receiver = Receiver::start().await;
    let open = ["webhooks.allow_http=true", "webhooks.allow_private=true"];
    let server = Server::gateway_with(&open.map(str::to_owned));
    let client = reqwest::Client::new();
    let api = format!("http://{}/webhooks", server.http.unwrap());
    let made = client.post(&api).json(&receiver.endpoint(&["battery"]));
    let made: Value = made.send().await.unwrap().json().await.unwrap();
    let id = made["id"].as_str().unwrap();
    let switch = |on: bool| {
        let body = json!({ "enabled": on });
        client.patch(format!("{api}/{id}")).json(&body).send()
    };
    switch(false).await.unwrap();
    fill(&server.database_url(), id, each).await;
    let began = Instant::now();
    switch(true).await.unwrap();
    receiver.has(DELIVERED).await;
    DELIVERED as f64 / began.elapsed().as_secs_f64()
}

/// Makes so many messages of each lane pending.
async fn fill(url: &str, endpoint: &str, each: usize) {
    let database = Database::connect(url).await.unwrap();
    let now = jiff::Timestamp::now().as_millisecond();
    let messages = LANES * each;
    let body = "x".repeat(500);
    for statement in [
        "PRAGMA busy_timeout = 20000".to_owned(),
        format!(
            "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < {LANES}) \
             INSERT INTO webhook_lanes (endpoint_id, device_id, last_sequence, pending, due) \
             SELECT '{endpoint}', 'truck-' || (n % {LANES}), {each}, {each}, {now} FROM r"
        ),
        format!(
            "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < {messages}) \
             INSERT INTO webhook_messages \
             (id, endpoint_id, device_id, sequence, kind, state, body, created_at, due) \
             SELECT '01900000-0000-7000-8000-' || printf('%012d', n), '{endpoint}', 'truck-' || (n % {LANES}), \
             (n - 1) / {LANES} + 1, 'vehicle.updated', 0, '{body}', {now}, {now} FROM r"
        ),
    ] {
        database.execute_unprepared(&statement).await.unwrap();
    }
}
