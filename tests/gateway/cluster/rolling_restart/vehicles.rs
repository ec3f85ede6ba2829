//! Vehicles that report all the time, answer commands, and reconnect at once.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use fastrand::Rng;
use tokio::{task::JoinSet, time::sleep};

use super::{Row, VEHICLES, id_of};
use crate::support::{AsyncDevice, Cluster, Dialect, GatewayMessage, hello};

/// The observations of a vehicle. Its reports are numbered from 1.
#[derive(Debug, Clone, Default)]
struct Seen {
    reported: u32,
    acknowledged: BTreeSet<u32>,
    /// The number of times that each command arrived.
    received: BTreeMap<String, usize>,
    /// Unexpected lines.
    strange: Vec<String>,
}

/// All vehicles, until this is dropped.
pub(super) struct Fleet {
    seen: Vec<Arc<Mutex<Seen>>>,
    _tasks: JoinSet<()>,
}

impl Fleet {
    pub(super) fn start(balancer: SocketAddr, rng: &mut Rng) -> Self {
        let mut tasks = JoinSet::new();
        let seen = (0..VEHICLES).map(|number| {
            let seen = Arc::default();
            tasks.spawn(live(balancer, number, Arc::clone(&seen), rng.fork()));
            seen
        });
        Self {
            seen: seen.collect(),
            _tasks: tasks,
        }
    }

    /// The number of acknowledgements of each vehicle.
    pub(super) fn acknowledgements(&self) -> Vec<usize> {
        let acknowledgements = |seen: &Arc<Mutex<Seen>>| seen.lock().unwrap().acknowledged.len();
        self.seen.iter().map(acknowledgements).collect()
    }

    /// Compares the observations with the database. The vehicles still run meanwhile.
    pub(super) fn check(&self, cluster: &Cluster, commands: &BTreeMap<String, Row>) {
        let all = self.seen.iter().map(|seen| seen.lock().unwrap().clone());
        let before: Vec<Seen> = all.collect();
        let rows = cluster.query(
            "SELECT CONCAT(device_id, ' ', longitude) FROM reports WHERE latitude = 1 ORDER BY id",
        );
        let mut stored: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        for row in &rows {
            let (id, longitude) = row.split_once(' ').unwrap();
            let is_new = stored.entry(id).or_default().insert(number_of(longitude));
            assert!(is_new, "{row} is stored twice");
        }
        for (number, seen) in before.iter().enumerate() {
            let id = id_of(number);
            assert_eq!(seen.strange, [""; 0], "{id}");
            let stored = &stored[&*id];
            let lost: Vec<_> = seen.acknowledged.difference(stored).collect();
            assert_eq!(lost, [&0; 0], "{id}: acknowledged and not stored");
            let reported = self.seen[number].lock().unwrap().reported;
            assert!(
                stored.last() <= Some(&reported),
                "{id}: stored and never sent"
            );
            seen.compare_outcomes(&id, commands);
        }
    }
}

impl Seen {
    /// Expects that each command arrived at most once for each row that was sent, and at least once for each that is
    /// done.
    fn compare_outcomes(&self, id: &str, commands: &BTreeMap<String, Row>) {
        for sentence in ["HEY YOU, RUN!", "HEY YOU, REST!", "HOW'S IT GOING?"] {
            let received = self.received.get(sentence).copied().unwrap_or_default();
            let pending = || {
                let rows = commands.values();
                rows.filter(|row| row.device_id == id && row.message == sentence)
            };
            let sent = pending().filter(|row| row.is_sent).count();
            let done = pending().filter(|row| row.state == "done").count();
            assert!(
                (done..=sent).contains(&received),
                "{id} received {sentence} {received} times: {sent} were sent, {done} done"
            );
        }
    }
}

/// The longitude that encodes a report number, in millionths of a degree.
fn longitude(report: u32) -> String {
    format!("{}.{:06}", report / 1_000_000, report % 1_000_000)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it was such a number before"
)]
fn number_of(longitude: &str) -> u32 {
    (longitude.parse::<f64>().unwrap() * 1e6).round() as u32
}

async fn live(balancer: SocketAddr, number: usize, seen: Arc<Mutex<Seen>>, mut rng: Rng) {
    let (id, dialect) = (id_of(number), Dialect::BOTH[number % 2]);
    loop {
        if let Ok(mut line) = AsyncDevice::connect(balancer, None, dialect, &id).await
            && line.say(&hello(&id)).await.is_ok()
        {
            stay(&mut line, &seen, &mut rng).await;
        }
        // Without a gateway the balancer refuses at once.
        sleep(Duration::from_millis(20)).await;
    }
}

/// Reports and answers until either side closes.
async fn stay(line: &mut AsyncDevice, seen: &Mutex<Seen>, rng: &mut Rng) {
    let mut waiting = VecDeque::new();
    loop {
        let pause = Duration::from_millis(rng.u64(20..100));
        let said = tokio::select! {
            said = line.hear() => said,
            () = sleep(pause) => {
                let report = {
                    let mut seen = seen.lock().unwrap();
                    seen.reported += 1;
                    seen.reported
                };
                waiting.push_back(report);
                let place = longitude(report);
                let report = format!("REPORT. I'M HERE 1 {place}, RUNNING AND CHARGED AT 3%.");
                if line.say(&report).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let sentence = match said {
            None => return,
            Some(GatewayMessage::Greeting) => continue,
            Some(GatewayMessage::Command(sentence)) => sentence,
            Some(GatewayMessage::Reply(reply)) => {
                let mut seen = seen.lock().unwrap();
                match reply.as_str() {
                    // Replies come in the order of the reports.
                    "OK, THANKS!" => seen.acknowledged.extend(waiting.pop_front()),
                    "HI, NICE TO MEET YOU!" => {}
                    _ => seen.strange.push(reply),
                }
                continue;
            }
        };
        let answer = match sentence.as_str() {
            "GOTTA GO." => "SEE YA!",
            "HOW'S IT GOING?" => "FINE. I'M HERE 2 2, RUNNING AND CHARGED AT 3%.",
            _ => "DONE!",
        };
        *seen.lock().unwrap().received.entry(sentence).or_default() += 1;
        if line.answer(answer).await.is_err() {
            return;
        }
    }
}
