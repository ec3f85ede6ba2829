//! Two gateways behind `HAProxy` with the settings of `haproxy.cfg`.
//!
//! These tests are about the balancer, so each gateway has a database of its own.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use reqwest::blocking::{Client, Response};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::support::{Balancer, Daemon, Device, PATIENCE, ports, wait_until};

/// A gateway that expects to be behind a balancer. Its drain outlasts every test.
fn behind_a_balancer() -> Daemon {
    Daemon::builder()
        .set("device.proxy_protocol=required")
        .set("shutdown.drain_delay=10m")
        .start()
}

/// Two gateways behind the balancer.
fn two_gateways() -> ([Daemon; 2], Balancer) {
    let daemons = [(), ()].map(|()| behind_a_balancer());
    let balancer = Balancer::in_front_of(&[&daemons[0], &daemons[1]]);
    (daemons, balancer)
}

/// A vehicle that is logged in through the balancer.
#[track_caller]
fn log_in(balancer: &Balancer, device_id: &str) -> Device {
    balancer.connect().logged_in(device_id)
}

/// Logs in one vehicle at each gateway: the balancer alternates. Returns them in the order of the gateways.
#[track_caller]
fn one_at_each(balancer: &Balancer, daemons: &[Daemon; 2]) -> [Device; 2] {
    let devices = ["first", "second"].map(|device_id| log_in(balancer, device_id));
    if daemons[0].get("/vehicles/first").status() == 200 {
        devices
    } else {
        let [first, second] = devices;
        [second, first]
    }
}

fn client() -> Client {
    Client::builder().timeout(PATIENCE).build().unwrap()
}

fn get(balancer: &Balancer, path: &str) -> Response {
    let url = format!("http://{}{path}", balancer.api);
    client().get(url).send().unwrap()
}

fn post(balancer: &Balancer, path: &str) -> Response {
    let url = format!("http://{}{path}", balancer.api);
    client().post(url).send().unwrap()
}

/// The id of the gateway that answers the next request.
fn answering_instance(balancer: &Balancer) -> String {
    let server: Value = get(balancer, "/").json().unwrap();
    server["instance"]["id"].as_str().unwrap().to_owned()
}

fn vehicle_count(daemon: &Daemon) -> usize {
    daemon.json("/vehicles")["items"].as_array().unwrap().len()
}

#[test]
fn balancing_alternates_instances_and_preserves_device_addresses() {
    let (daemons, balancer) = two_gateways();
    for index in 0..4 {
        let device_id = format!("truck-{index}");
        let device = log_in(&balancer, &device_id);
        let own = device.stream().local_addr().unwrap().to_string();
        let path = format!("/vehicles/{device_id}");
        let owner = daemons
            .iter()
            .find(|daemon| daemon.get(&path).status() == 200);
        assert_eq!(owner.unwrap().vehicle(&device_id)["remoteAddress"], own);
    }
    assert_eq!(daemons.each_ref().map(vehicle_count), [2, 2]);
    let mut answered = [(); 4].map(|()| answering_instance(&balancer));
    assert_ne!(answered[0], answered[1]);
    answered.sort();
    assert_eq!(answered[0], answered[1]);
    assert_eq!(answered[2], answered[3]);
}

#[test]
fn health_checks_log_no_warnings() {
    let (daemons, balancer) = two_gateways();
    // By the time it sees the drain it has checked both ports of both gateways.
    daemons[0].signal("TERM");
    balancer.logged("Server devices/gateway-1 is stopping");
    balancer.logged("Server api/gateway-1 is stopping");
    for daemon in &daemons {
        for line in daemon.log() {
            assert!(line["level"] == "INFO", "{line}");
        }
    }
}

#[test]
fn a_draining_gateway_keeps_its_connections_and_gets_no_new_ones() {
    let (daemons, balancer) = two_gateways();
    let [mut at_first, _at_second] = one_at_each(&balancer, &daemons);
    daemons[0].signal("TERM");
    balancer.logged("Server devices/gateway-1 is stopping");
    balancer.logged("Server api/gateway-1 is stopping");
    for index in 0..4 {
        log_in(&balancer, &format!("truck-{index}"));
        assert_eq!(answering_instance(&balancer), daemons[1].id);
    }
    assert_eq!(daemons.each_ref().map(vehicle_count), [1, 5]);
    at_first.ping();
}

#[test]
fn a_crashed_gateway_is_skipped_at_once() {
    let (mut daemons, balancer) = two_gateways();
    let [mut at_first, mut at_second] = one_at_each(&balancer, &daemons);
    daemons[0].signal("KILL");
    daemons[0].wait();
    at_first.expect_closed();
    for index in 0..4 {
        log_in(&balancer, &format!("truck-{index}"));
        assert_eq!(answering_instance(&balancer), daemons[1].id);
    }
    at_second.ping();
}

#[test]
fn a_request_lost_in_a_crash_is_not_retried_on_another_gateway() {
    let (daemons, balancer) = two_gateways();
    let [mut at_first, _at_second] = one_at_each(&balancer, &daemons);
    let device_id = if daemons[0].get("/vehicles/first").status() == 200 {
        "first"
    } else {
        "second"
    };
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            // The other gateway does not know the vehicle.
            wait_until("the first gateway gets the request", || {
                let answer = post(&balancer, &format!("/service/{device_id}/turnOn"));
                Some(answer).filter(|answer| answer.status() != 404)
            })
        });
        at_first.expect("HEY YOU, RUN!");
        daemons[0].signal("KILL");
        asking.join().unwrap()
    });
    assert_eq!(answer.status(), 502);
    let problem: Value = answer.json().unwrap();
    assert_eq!(problem["title"], json!("Bad Gateway"));
}

#[test]
fn only_the_devices_of_a_hanging_gateway_are_disconnected() {
    let (daemons, balancer) = two_gateways();
    let [mut at_first, mut at_second] = one_at_each(&balancer, &daemons);
    daemons[0].signal("STOP");
    at_first.expect_closed();
    log_in(&balancer, "truck-0");
    log_in(&balancer, "truck-1");
    at_second.ping();
}

#[test]
fn a_recovered_gateway_gets_its_share_again() {
    let (daemons, balancer) = two_gateways();
    daemons[0].signal("STOP");
    balancer.logged("Server devices/gateway-1 is DOWN");
    daemons[0].signal("CONT");
    balancer.logged("Server devices/gateway-1 is UP");
    one_at_each(&balancer, &daemons);
    assert_eq!(daemons.each_ref().map(vehicle_count), [1, 1]);
}

#[test]
fn without_a_gateway_the_balancer_answers_with_a_problem() {
    let (mut daemons, balancer) = two_gateways();
    for daemon in &mut daemons {
        daemon.signal("KILL");
        daemon.wait();
    }
    let answer = wait_until("the balancer sees both down", || {
        Some(get(&balancer, "/health")).filter(|answer| answer.status() == 503)
    });
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: Value = answer.json().unwrap();
    assert_eq!(problem["status"], json!(503));
}

#[test]
fn the_balancer_takes_what_fits_where_few_files_may_be_open() {
    let daemon = behind_a_balancer();
    let balancer = Balancer::with_open_files(&[ports(&daemon)], 400);
    log_in(&balancer, "truck").ping();
    assert_eq!(get(&balancer, "/health").status(), 200);
}

/// A client that sends a head and this much of a body, and nothing more.
fn slow_client(balancer: &Balancer, sent: usize) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(balancer.api).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "POST /service/status-update HTTP/1.1\r\nHost: localhost\r\n\
                Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&b" ".repeat(sent)).unwrap();
    BufReader::new(stream)
}

#[test]
fn slow_bodies_mark_no_gateway_down_and_cut_no_device() {
    // What the balancer holds back, and what is too long for that.
    const BODIES: [(usize, usize); 2] = [(300, 10), (1200, 20_000)];
    rlimit::increase_nofile_limit(4096).unwrap();
    let daemon = behind_a_balancer();
    let balancer = Balancer::with_open_files(&[ports(&daemon)], 4096);
    let mut devices: Vec<Device> = (0..50)
        .map(|index| log_in(&balancer, &format!("truck-{index}")))
        .collect();
    let mut slow = Vec::new();
    for (clients, sent) in BODIES {
        slow.extend((0..clients).map(|_| slow_client(&balancer, sent)));
    }
    // By the time the last one is given up, a gateway whose checks wait has failed three of them.
    for client in &mut slow {
        let mut status = String::new();
        client.read_line(&mut status).unwrap();
        assert!(
            status.contains(" 408 ") || status.contains(" 503 "),
            "{status}"
        );
    }
    let log = balancer.log();
    assert!(!log.contains("is DOWN"), "{log}");
    for device in &mut devices {
        device.ping();
    }
    drop(slow);
    wait_until("the API answers again", || {
        Some(get(&balancer, "/health")).filter(|answer| answer.status() == 200)
    });
}

/// A port at which every request is answered with 200, until it neither accepts nor refuses connections any more: like
/// the address of a container that is gone.
#[cfg(target_os = "linux")]
struct Vanishing {
    listener: TcpListener,
    answered: Arc<AtomicUsize>,
    is_gone: Arc<AtomicBool>,
    answering: JoinHandle<()>,
}

#[cfg(target_os = "linux")]
impl Vanishing {
    fn start() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).unwrap();
        // A short queue, so that it is soon full.
        socket.listen(1).unwrap();
        let listener = TcpListener::from(socket);
        let answered = Arc::<AtomicUsize>::default();
        let is_gone = Arc::<AtomicBool>::default();
        let answering = {
            let (listener, answered) = (listener.try_clone().unwrap(), Arc::clone(&answered));
            let is_gone = Arc::clone(&is_gone);
            std::thread::spawn(move || answer_all(&listener, &answered, &is_gone))
        };
        Self {
            listener,
            answered,
            is_gone,
            answering,
        }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    fn wait_for_checks(&self) {
        wait_until("the balancer's checks are answered", || {
            (self.answered.load(SeqCst) >= 2).then_some(())
        });
    }

    /// Returns what has to stay open for as long as the port swallows connections.
    fn vanish(self) -> (TcpListener, Vec<TcpStream>) {
        self.is_gone.store(true, SeqCst);
        let address = self.listener.local_addr().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200));
        let last = connect().unwrap();
        self.answering.join().unwrap();
        let mut queue = vec![last];
        // What does not fit into the queue is dropped.
        while let Ok(queued) = connect() {
            queue.push(queued);
        }
        (self.listener, queue)
    }
}

#[cfg(target_os = "linux")]
fn answer_all(listener: &TcpListener, answered: &AtomicUsize, is_gone: &AtomicBool) {
    for stream in listener.incoming() {
        if is_gone.load(SeqCst) {
            return;
        }
        let mut stream = BufReader::new(stream.unwrap());
        // Only checks have a head: a first connection of the test itself closes at once.
        let head: Vec<String> = (&mut stream)
            .lines()
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .collect();
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        if !head.is_empty() && stream.get_mut().write_all(response).is_ok() {
            answered.fetch_add(1, SeqCst);
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_gateway_that_vanishes_is_skipped_after_two_requests_and_none_fails() {
    let daemon = behind_a_balancer();
    let vanishing = Vanishing::start();
    let gone = [vanishing.port(); 2];
    let balancer = Balancer::with_open_files(&[gone, ports(&daemon)], 1000);
    vanishing.wait_for_checks();
    let _open = vanishing.vanish();
    for _ in 0..4 {
        let asked = Instant::now();
        assert_eq!(answering_instance(&balancer), daemon.id);
        let took = asked.elapsed();
        assert!(took < Duration::from_millis(2500), "{took:?}");
    }
    let log = balancer.log();
    assert!(log.contains("Server api/gateway-1 is DOWN"), "{log}");
    let asked = Instant::now();
    for index in 0..2 {
        log_in(&balancer, &format!("truck-{index}"));
    }
    let took = asked.elapsed();
    assert!(took < Duration::from_millis(2500), "{took:?}");
}
