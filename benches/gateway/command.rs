//! What a command over REST takes beyond what cannot be less: the vehicle's answer and two commits.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    REPORT, ROUNDS,
    server::{Build, Server},
};

/// Asked in turn, so that nobody waits for the distance of 20 ms that commands keep.
const VEHICLES: usize = 50;
const COMMANDS: usize = 2_000;
/// One vehicle that reports alone: each report is one commit and one exchange.
const REPORTS: usize = 1_000;

/// Over the instance that has the vehicle.
pub(crate) async fn command() {
    let builds = Build::all();
    let mut commands: Vec<Vec<Duration>> = builds.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (build, commands) in builds.iter().zip(&mut commands) {
            let server = build.start();
            let http = server.http.unwrap();
            let [times] = ask(server.device, [http]).await;
            println!(
                "command, {COMMANDS} one after another, {}: {times}",
                build.name
            );
            commands.push(times.command);
        }
    }
    let commands: Vec<Duration> = commands.into_iter().map(median).collect();
    if let [baseline, gateway] = commands[..] {
        let ratio = gateway.as_secs_f64() / baseline.as_secs_f64();
        println!("  gateway / baseline: p50 {ratio:.2}, medians of {ROUNDS} rounds");
    }
}

/// Over another instance than the one that has the vehicle, and over that one in turn: two gateways on a
/// server database and a Redis, which the environment names.
pub(crate) async fn remote() {
    let named = |name: &str| std::env::var(format!("VEHICLE_GATEWAY_BENCH_{name}"));
    let (Ok(database), Ok(redis)) = (named("DATABASE"), named("REDIS")) else {
        println!(
            "remote: not measured; it wants an empty database and a Redis, as URLs in \
             VEHICLE_GATEWAY_BENCH_DATABASE and VEHICLE_GATEWAY_BENCH_REDIS"
        );
        return;
    };
    let [here, remote] = ["here", "remote"].map(|name| {
        Server::gateway_with(&[
            format!("database.url={database}"),
            format!("redis.url={redis}"),
            format!("instance.id={name}"),
        ])
    });
    let asked = [&here, &remote].map(|server| server.http.unwrap());
    let [here, remote] = ask(here.device, asked).await;
    println!("command, {COMMANDS} one after another, over the vehicle's instance: {here}");
    println!("command, {COMMANDS} one after another, over another instance: {remote}");
}

/// Medians of one round.
pub(crate) struct Times {
    /// A command, from request to response.
    command: Duration,
    /// The vehicle's own answer.
    answer: Duration,
    /// A report's commit and exchange.
    commit: Duration,
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            command,
            answer,
            commit,
        } = *self;
        let beyond = command.saturating_sub(answer + 2 * commit);
        write!(
            f,
            "p50 {command:?}; the vehicle's own answer {answer:?}, a report's commit and exchange {commit:?}; \
             beyond one answer and two of those: {beyond:?}"
        )
    }
}

/// What commands take over each of these gateways to vehicles that are connected to one of them.
async fn ask<const GATEWAYS: usize>(
    device: SocketAddr,
    gateways: [SocketAddr; GATEWAYS],
) -> [Times; GATEWAYS] {
    let answers = Arc::new(Mutex::new(Vec::new()));
    for index in 0..VEHICLES {
        let stream = log_in(device, &format!("command-{index}")).await;
        tokio::spawn(obey(stream, Arc::clone(&answers)));
    }
    let mut reporter = log_in(device, "reporter").await;
    let client = reqwest::Client::new();
    let mut commits = Vec::new();
    let mut commands = gateways.map(|_| Vec::new());
    // In turn, so that all see the same disk.
    for index in 0..COMMANDS {
        if index % (COMMANDS / REPORTS) == 0 {
            let asked = Instant::now();
            reporter.write_all(REPORT.as_bytes()).await.unwrap();
            reporter
                .read_exact(&mut [0; b"OK, THANKS!\n".len()])
                .await
                .unwrap();
            commits.push(asked.elapsed());
        }
        let path = ["turnOn", "turnOff"][index % 2];
        for (turn, (http, commands)) in gateways.iter().zip(&mut commands).enumerate() {
            let vehicle = (index * GATEWAYS + turn) % VEHICLES;
            let url = format!("http://{http}/service/command-{vehicle}/{path}");
            let asked = Instant::now();
            let response = client.post(url).send().await.unwrap();
            assert_eq!(response.status(), 200);
            response.bytes().await.unwrap();
            commands.push(asked.elapsed());
        }
    }
    let answers = std::mem::take(&mut *answers.lock().unwrap());
    let [answer, commit] = [answers, commits].map(median);
    commands.map(|commands| Times {
        command: median(commands),
        answer,
        commit,
    })
}

async fn log_in(address: SocketAddr, id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let hello = format!("HELLO, I'M {id}!\n");
    stream.write_all(hello.as_bytes()).await.unwrap();
    stream
        .read_exact(&mut [0; b"HI, NICE TO MEET YOU!\n".len()])
        .await
        .unwrap();
    stream
}

/// Does what it is asked at once, and notes how long its answer took.
async fn obey(mut stream: TcpStream, answers: Arc<Mutex<Vec<Duration>>>) {
    let mut heard = [0; 64];
    while let Ok(1..) = stream.read(&mut heard).await {
        let asked = Instant::now();
        stream.write_all(b"DONE!\n").await.unwrap();
        answers.lock().unwrap().push(asked.elapsed());
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
