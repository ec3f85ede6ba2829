//! Many concurrent commands: none is lost, none is sent twice, the order is kept.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use reqwest::Client;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::Notify,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::support::{Daemon, PATIENCE, hello};

/// Long enough for the last command: commands to one vehicle are 20 ms apart.
const WAIT_SECONDS: u64 = 60;

/// A vehicle that answers every command with `DONE!`, once `begin` is notified. Returns the commands.
async fn obey(address: SocketAddr, id: String, begin: Arc<Notify>) -> JoinHandle<Vec<String>> {
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    stream.write_all(hello(&id).as_bytes()).await.unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    assert_eq!(line, "HI, NICE TO MEET YOU!\n");
    tokio::spawn(async move {
        begin.notified().await;
        let mut received = Vec::new();
        loop {
            let mut line = String::new();
            let read = stream.read_line(&mut line).await.unwrap();
            match line.trim_end() {
                "GOTTA GO." | "" => {
                    assert!(read == 0 || stream.write_all(b"SEE YA!").await.is_ok());
                    return received;
                }
                command => received.push(command.to_owned()),
            }
            stream.write_all(b"DONE!").await.unwrap();
        }
    })
}

async fn turn(client: Client, url: String, running: bool) -> (u16, Value) {
    let body = json!({ "running": running, "timeoutSeconds": WAIT_SECONDS });
    let response = client.post(url).json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn client() -> Client {
    Client::builder()
        .timeout(Duration::from_secs(WAIT_SECONDS))
        .build()
        .unwrap()
}

#[test]
fn one_vehicle_gets_each_command_once_in_order_up_to_the_queue_limit() {
    const BOUND: usize = 200;
    const BEYOND: usize = 49;
    let daemon = Daemon::builder()
        .set(&format!("commands.queue={BOUND}"))
        .start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (refused, received) = runtime.block_on(async {
        let begin = Arc::new(Notify::new());
        let vehicle = obey(daemon.device, "truck".to_owned(), Arc::clone(&begin)).await;
        let client = client();
        let mut requests = JoinSet::new();
        // One is sent, as many as fit into the queue, and some more.
        for index in 0..=BOUND + BEYOND {
            let url = daemon.url("/service/truck/turnOnOrOff");
            requests.spawn(turn(client.clone(), url, index % 3 == 0));
        }
        // The vehicle begins to answer once all commands beyond the queue are rejected.
        let mut refused = 0;
        let mut done = 0;
        while let Some(answer) = timeout(PATIENCE, requests.join_next()).await.unwrap() {
            match answer.unwrap() {
                (429, _) => refused += 1,
                (status, body) => {
                    assert_eq!((status, &body["status"]), (200, &json!("done")));
                    done += 1;
                }
            }
            if refused + done == BEYOND {
                begin.notify_one();
            }
        }
        assert_eq!(done, BOUND + 1);
        daemon.signal("TERM");
        (refused, vehicle.await.unwrap())
    });
    assert_eq!(refused, BEYOND);
    assert_eq!(received.len(), BOUND + 1);
    let mut daemon = daemon;
    daemon.wait();
    let pending = daemon.query("SELECT message FROM commands ORDER BY id");
    assert_eq!(received, pending, "in the order of the queue");
    let states = daemon.query("SELECT DISTINCT state FROM commands");
    assert_eq!(states, ["done"]);
}

#[test]
fn many_vehicles_get_each_command_once() {
    const VEHICLES: usize = 500;
    const EACH: usize = 4;
    let daemon = Daemon::builder().set("http.max_connections=2100").start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let received: Vec<Vec<String>> = runtime.block_on(async {
        let mut vehicles = Vec::new();
        for index in 0..VEHICLES {
            let begin = Arc::new(Notify::new());
            begin.notify_one();
            vehicles.push(obey(daemon.device, format!("truck-{index}"), begin).await);
        }
        let client = client();
        let mut requests = JoinSet::new();
        for index in 0..VEHICLES * EACH {
            let path = format!("/service/truck-{}/turnOnOrOff", index % VEHICLES);
            requests.spawn(turn(client.clone(), daemon.url(&path), index % 3 == 0));
        }
        while let Some(answer) = requests.join_next().await {
            assert_eq!(answer.unwrap().0, 200);
        }
        daemon.signal("TERM");
        let mut received = Vec::new();
        for vehicle in vehicles {
            received.push(vehicle.await.unwrap());
        }
        received
    });
    assert!(received.iter().all(|received| received.len() == EACH));
    let mut daemon = daemon;
    daemon.wait();
    let states = daemon.query("SELECT DISTINCT state FROM commands");
    assert_eq!(states, ["done"]);
    let counts = daemon.query("SELECT count(*) FROM commands GROUP BY device_id");
    assert_eq!(counts, vec![EACH.to_string(); VEHICLES]);
}
