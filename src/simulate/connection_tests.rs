//! Unit tests of a connection over an in-memory stream, with paused time.

use fastrand::Rng;
use tokio::io::AsyncBufReadExt;
use tokio::{
    io::{BufReader, DuplexStream, ReadHalf, WriteHalf, duplex, split},
    sync::mpsc,
    task::JoinHandle,
};

use super::*;
use crate::{
    domain::{Battery, DeviceId, VehicleState},
    simulate::{tally::Tally, vehicle::SimulatedVehicle},
};

const FOREVER: Duration = Duration::from_hours(1);

/// The gateway's end of the connection, driven by the test.
struct GatewayEnd {
    hears: BufReader<ReadHalf<DuplexStream>>,
    says: WriteHalf<DuplexStream>,
    device: JoinHandle<(bool, ConnectionEnd)>,
    tally: Arc<Tally>,
    stop: CancellationToken,
    type_line: mpsc::Sender<String>,
}

impl GatewayEnd {
    async fn say(&mut self, text: &str) {
        self.says.write_all(text.as_bytes()).await.unwrap();
        self.says.write_all(b"\n").await.unwrap();
    }

    /// The next line; empty once the device has closed.
    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.hears.read_line(&mut line);
        timeout(FOREVER, read).await.unwrap().unwrap();
        line.trim_end().to_owned()
    }

    async fn expect(&mut self, sentence: &str) {
        assert_eq!(self.line().await, sentence);
    }

    async fn ended(self) -> (bool, ConnectionEnd) {
        timeout(FOREVER, self.device).await.unwrap().unwrap()
    }
}

fn device(tally: &Arc<Tally>) -> SimulatedDevice {
    let mut vehicle = SimulatedVehicle::new(None, Rng::with_seed(1));
    let state = VehicleState {
        running: false.into(),
        battery: Battery::new(50).unwrap(),
        ..vehicle.state()
    };
    vehicle.take_over(&DeviceSentence::Report(state));
    SimulatedDevice {
        id: DeviceId::parse("truck").unwrap(),
        dialect: Dialect::Text,
        vehicle,
        heartbeat: Some(Duration::from_mins(1)),
        staggered: false,
        rng: Rng::with_seed(1),
        tally: Arc::clone(tally),
        screen: None,
        known: false,
        moved: Instant::now(),
    }
}

fn connect(change: impl FnOnce(&mut SimulatedDevice)) -> GatewayEnd {
    let (near, far) = duplex(4096);
    let (hears, says) = split(far);
    let (tally, stop) = (Arc::default(), CancellationToken::new());
    let (type_line, lines) = mpsc::channel(4);
    let mut device = device(&tally);
    change(&mut device);
    let ending = stop.clone();
    GatewayEnd {
        hears: BufReader::new(hears),
        says,
        device: tokio::spawn(async move {
            converse(&mut device, near, &mut Some(lines), &ending).await
        }),
        tally,
        stop,
        type_line,
    }
}

async fn log_in(change: impl FnOnce(&mut SimulatedDevice)) -> GatewayEnd {
    let mut gateway = connect(change);
    gateway.expect("HELLO, I'M truck!").await;
    gateway.say("HI, NICE TO MEET YOU!").await;
    gateway
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_sent_every_minute() {
    let mut gateway = log_in(|_| {}).await;
    let since = Instant::now();
    for minutes in 1..=3 {
        gateway.expect("PING.").await;
        assert_eq!(since.elapsed().as_secs(), minutes * 60);
        gateway.say("PONG.").await;
    }
    assert_eq!(gateway.tally.counts().of(Tallied::PingAnswered), 2);
}

#[tokio::test(start_paused = true)]
async fn reports_follow_the_interval_of_the_gateway() {
    let mut gateway = log_in(|device| device.heartbeat = None).await;
    gateway.say("KEEP ME POSTED EVERY 10 SECONDS.").await;
    gateway.expect("SURE, I WILL!").await;
    let since = Instant::now();
    for times in 1..=3 {
        assert!(gateway.line().await.starts_with("REPORT. I'M HERE "));
        assert_eq!(since.elapsed().as_secs(), times * 10);
        gateway.say("OK, THANKS!").await;
    }
    gateway.say("KEEP ME POSTED EVERY 0 SECONDS.").await;
    gateway.expect("SURE, I WILL!").await;
    let silent = timeout(Duration::from_mins(10), gateway.line()).await;
    assert!(silent.is_err(), "{silent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_running_vehicle_moves_and_discharges() {
    let mut gateway = log_in(|device| device.heartbeat = None).await;
    gateway.say("HOW'S IT GOING?").await;
    let before = gateway.line().await;
    gateway.say("HEY YOU, RUN!").await;
    gateway.expect("DONE!").await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    gateway.say("HOW'S IT GOING?").await;
    let after = gateway.line().await;
    assert!(before.ends_with("RESTING AND CHARGED AT 50%."), "{before}");
    assert!(after.ends_with("RUNNING AND CHARGED AT 40%."), "{after}");
    assert_ne!(before.split(',').next(), after.split(',').next());
}

#[tokio::test(start_paused = true)]
async fn the_first_heartbeats_of_a_fleet_are_spread() {
    let mut first = Vec::new();
    for seed in 0..8 {
        let mut gateway = log_in(|device| {
            device.staggered = true;
            device.rng = Rng::with_seed(seed);
        })
        .await;
        let since = Instant::now();
        gateway.expect("PING.").await;
        assert!(since.elapsed() <= Duration::from_mins(1));
        first.push(since.elapsed());
    }
    first.sort();
    first.dedup();
    assert_eq!(first.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_missing_answer_ends_the_connection() {
    let mut gateway = connect(|_| {});
    gateway.expect("HELLO, I'M truck!").await;
    assert!(matches!(
        gateway.ended().await,
        (false, ConnectionEnd::NoAnswer)
    ));

    let mut gateway = log_in(|_| {}).await;
    gateway.expect("PING.").await;
    assert!(matches!(
        gateway.ended().await,
        (true, ConnectionEnd::NoAnswer)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_refused_login_is_not_a_lost_connection() {
    let mut gateway = connect(|_| {});
    gateway.expect("HELLO, I'M truck!").await;
    gateway
        .say("SERVER COULD NOT PROCESS THE RECEIVED MESSAGE.")
        .await;
    assert!(matches!(
        gateway.ended().await,
        (false, ConnectionEnd::LoginRefused)
    ));

    let gateway = log_in(|_| {}).await;
    let GatewayEnd {
        hears,
        says,
        device,
        ..
    } = gateway;
    drop((hears, says));
    assert!(matches!(
        device.await.unwrap(),
        (true, ConnectionEnd::Closed)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_waits_for_outstanding_answers_with_a_deadline() {
    for answered in [true, false] {
        let mut gateway = log_in(|_| {}).await;
        gateway.expect("PING.").await;
        gateway.stop.cancel();
        gateway.expect("GOTTA GO.").await;
        let tally = Arc::clone(&gateway.tally);
        if answered {
            gateway.say("PONG.").await;
            gateway.say("SEE YA!").await;
        }
        assert!(matches!(
            gateway.ended().await,
            (true, ConnectionEnd::Goodbye)
        ));
        let counts = tally.counts();
        for event in [Tallied::PingAnswered, Tallied::GoodbyeAnswered] {
            assert_eq!(counts.of(event), u64::from(answered));
        }
        assert_eq!(counts.online(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_text_device_accepts_the_json_greeting() {
    let mut gateway = connect(|_| {});
    gateway
        .say(r#"{"type":"connected","message":"Connected to server","serverId":"1582521b-27a7-4089-b6be-f70ed9dc800d"}"#)
        .await;
    gateway.expect("HELLO, I'M truck!").await;
    gateway.say("HI, NICE TO MEET YOU!").await;
    gateway.type_line.send("PING".to_owned()).await.unwrap();
    gateway.expect("PING.").await;
    assert_eq!(gateway.tally.counts().of(Tallied::Unexpected), 0);
}

#[tokio::test(start_paused = true)]
async fn a_json_device_logs_in_without_a_greeting_in_the_end() {
    let gateway = connect(|device| device.dialect = Dialect::Json);
    let GatewayEnd { mut hears, .. } = gateway;
    let mut heard = [0; 12];
    hears.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, br#"{"type":"mes"#);
}

#[tokio::test(start_paused = true)]
async fn unexpected_input_is_counted_and_ignored() {
    let mut gateway = log_in(|_| {}).await;
    gateway.say("POTATO").await;
    gateway.say("PONG.").await;
    gateway.expect("PING.").await;
    assert_eq!(gateway.tally.counts().of(Tallied::Unexpected), 2);
}
