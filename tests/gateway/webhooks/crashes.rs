//! Gateways that are killed or paused during deliveries.

use std::{env, thread};

use super::{POSITION, expect_every_move_delivered, position_report};
use crate::support::{
    Cluster, Daemon, Database, Device, Reaction, Receiver, hello, on_every_database,
    on_every_server, wait_until,
};

/// Reports of each vehicle in each run of its gateway.
const REPORTS: usize = 15;

on_every_database! {
    a_kill_neither_loses_nor_invents_messages,
}

on_every_server! {
    two_instances_share_deliveries_and_one_is_killed,
    the_deliveries_of_a_paused_instance_are_taken_over,
}

/// Sends reports with new positions until the gateway is gone; returns the number of the next one.
fn report_positions(device: &mut Device, from: usize) -> usize {
    for nth in from..from + REPORTS {
        if !device.try_say(&position_report(nth)) || device.line().is_none() {
            // It may have been stored.
            return nth + 1;
        }
    }
    from + REPORTS
}

/// Printed so that a failure shows it.
#[expect(clippy::print_stdout, reason = "the test runner keeps it")]
fn print_seed(seed: u64) {
    println!("SEED={seed} repeats these kills");
}

fn kill_over_deliveries(database: &Database, kills: usize) {
    let seed = env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    print_seed(seed);
    let mut random = fastrand::Rng::with_seed(seed);
    let vehicles: Vec<String> = (0..4).map(|index| format!("truck-{index}")).collect();
    let mut next = [1; 4];
    let receiver = Receiver::start(|_| 200);
    let mut daemon = Daemon::on(database)
        .set(&receiver.setting(POSITION))
        .set("webhooks.timeout=500ms")
        .start();
    for _ in 0..kills {
        let enough = receiver.count() + random.usize(1..vehicles.len() * REPORTS);
        let devices: Vec<Device> = vehicles.iter().map(|id| daemon.log_in(id)).collect();
        thread::scope(|scope| {
            let reporters: Vec<_> = devices
                .into_iter()
                .zip(next)
                .map(|(mut device, from)| {
                    scope.spawn(move || {
                        let next = report_positions(&mut device, from);
                        while device.line().is_some() {}
                        next
                    })
                })
                .collect();
            receiver.wait_for("some messages", |received| received.len() >= enough);
            daemon.signal("KILL");
            for (next, report_positions) in next.iter_mut().zip(reporters) {
                *next = report_positions.join().unwrap();
            }
        });
        daemon.wait();
        daemon = daemon.restart_builder().start();
    }
    expect_every_move_delivered(&receiver, |sql| daemon.query(sql), &vehicles);
}

fn a_kill_neither_loses_nor_invents_messages(database: &Database) {
    kill_over_deliveries(database, 3);
}

/// `KILLS=100` for a long run.
#[test]
fn long_many_kills_neither_lose_nor_invent_messages() {
    let kills = env::var("KILLS").map_or(20, |kills| kills.parse().unwrap());
    kill_over_deliveries(&Database::File, kills);
}

/// Two instances that send changes of position to this receiver.
fn pair(database: &Database, receiver: &Receiver, timeout: &str) -> Cluster {
    Cluster::start_with(
        database,
        2,
        &[
            &receiver.setting(POSITION),
            &format!("webhooks.timeout={timeout}"),
            r#"webhooks.retry_schedule=["0s", "20ms", "20ms", "20ms", "20ms"]"#,
        ],
    )
}

fn two_instances_share_deliveries_and_one_is_killed(database: &Database) {
    // Some attempts fail.
    let receiver = Receiver::start(|nth| match nth % 40 {
        7 => Reaction::Answer(404),
        17 => Reaction::Answer(500),
        27 => Reaction::Reset,
        _ => Reaction::Answer(200),
    });
    let mut cluster = pair(database, &receiver, "500ms");
    let vehicles: Vec<String> = (0..8).map(|index| format!("truck-{index}")).collect();
    let mut devices: Vec<Device> = vehicles
        .iter()
        .enumerate()
        .map(|(index, id)| cluster.log_in_at(index % 2, id))
        .collect();
    thread::scope(|scope| {
        for device in &mut devices {
            scope.spawn(|| report_positions(device, 1));
        }
        receiver.wait_for("some messages", |received| received.len() >= 30);
        cluster.kill(0);
    });
    // The vehicles of the killed instance continue at the other.
    for id in vehicles.iter().step_by(2) {
        report_positions(&mut cluster.log_in_at(1, id), 1 + REPORTS);
    }
    expect_every_move_delivered(&receiver, |sql| cluster.query(sql), &vehicles);
}

fn the_deliveries_of_a_paused_instance_are_taken_over(database: &Database) {
    // The first attempt is never answered.
    let receiver = Receiver::start(|nth| [Reaction::Silence, Reaction::Answer(200)][nth.min(1)]);
    let mut cluster = pair(database, &receiver, "2s");
    cluster.stop(1);
    let mut device = cluster.log_in_at(0, "truck");
    for nth in 1..=3 {
        device.say(&position_report(nth));
        device.expect("OK, THANKS!");
    }
    receiver.wait_for("a message", |received| received.len() == 1);
    cluster.pause(0);
    cluster.start_instance(1);
    let query = |sql: &str| cluster.query(sql);
    expect_every_move_delivered(&receiver, query, &["truck".to_owned()]);
    cluster.resume(0);
    cluster.instance(0).logged_containing("declared dead");
    // The late result of its attempt changes nothing: everything is delivered.
    wait_until("the resumed instance accepts vehicles", || {
        let mut device = cluster.connect_to(0);
        // It closes connections until its next incarnation has begun.
        let is_greeted = device.try_say(&hello("other")) && device.line().is_some();
        let is_thanked =
            is_greeted && device.try_say(&position_report(1)) && device.line().is_some();
        is_thanked.then_some(())
    });
    receiver.wait_for("the next message", |received| {
        received
            .iter()
            .any(|message| message.device_id() == "other")
    });
    let vehicles = ["truck", "other"].map(str::to_owned);
    expect_every_move_delivered(&receiver, query, &vehicles);
    // The unanswered message was sent twice, the others once.
    assert_eq!(receiver.count(), 5);
}
