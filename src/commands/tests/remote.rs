//! Commands to vehicles of another instance: `a` gets the request, `b` holds the vehicle.

use super::*;
use crate::{
    commands::remote::{OWNER_TOLERANCE, REDIS_TOLERANCE},
    domain::{Action, Answer, DisconnectReason},
    fanout::memory::{Fate, Traffic, delivered, lost},
};

const SECOND: Duration = Duration::from_secs(1);

async fn two_nodes() -> (TestCluster, Node, Node, Vehicle) {
    let cluster = TestCluster::start();
    let (a, b) = (cluster.node("a").await, cluster.node("b").await);
    let vehicle = b.log_in().await;
    (cluster, a, b, vehicle)
}

impl TestCluster {
    /// Gives all messages of one kind this fate; others are delivered.
    fn set_fate(&self, of: Traffic, fate: Fate) {
        self.network.set_rule(move |traffic| {
            if traffic == of {
                fate.clone()
            } else {
                delivered()
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn the_owner_delivers_and_answers() {
    let (_cluster, a, _b, vehicle) = two_nodes().await;
    let started = Instant::now();
    let outcome = a.request(Action::Run, TIMEOUT);
    assert_eq!(vehicle.receive().await, Action::Run);
    vehicle.answer(Answer::Done).await;
    assert_state(outcome.await.unwrap(), CommandState::Done);
    assert_elapsed(started, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_outcome_of_a_lost_answer_is_read_from_the_store() {
    let (cluster, a, _b, vehicle) = two_nodes().await;
    cluster.set_fate(Traffic::Answer, lost());
    let started = Instant::now();
    let outcome = a.request(Action::Run, TIMEOUT);
    vehicle.receive().await;
    vehicle.answer(Answer::Done).await;
    assert_state(outcome.await.unwrap(), CommandState::Done);
    assert_elapsed(started, Duration::ZERO);
    vehicle.assert_nothing_written();
}

#[tokio::test(start_paused = true)]
async fn the_outcome_of_an_unreadable_answer_is_read_from_the_store() {
    let (cluster, a, _b, vehicle) = two_nodes().await;
    cluster.network.make_answers_unreadable();
    let started = Instant::now();
    let outcome = a.request(Action::Run, TIMEOUT);
    vehicle.receive().await;
    vehicle.answer(Answer::Done).await;
    assert_state(outcome.await.unwrap(), CommandState::Done);
    assert_elapsed(started, Duration::ZERO);
    vehicle.assert_nothing_written();
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_dies_after_the_claim_leaves_the_command_disconnected() {
    let (cluster, a, b, vehicle) = two_nodes().await;
    let outcome = a.request(Action::Run, TIMEOUT);
    vehicle.receive().await;
    cluster.network.kill(b.incarnation);
    sleep_millis(2_000).await;
    assert!(!outcome.is_finished(), "nothing has ended the command");
    let started = Instant::now();
    a.end_sessions_of(&b).await;
    assert_state(outcome.await.unwrap(), CommandState::Disconnected);
    assert_elapsed(started, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_the_owner_loses_by_dying_goes_to_the_next_owner() {
    let (cluster, a, b, vehicle) = two_nodes().await;
    let c = cluster.node("c").await;
    cluster.set_fate(Traffic::Request, lost());
    let outcome = a.request(Action::Run, TIMEOUT);
    sleep_millis(1_000).await;
    cluster.network.kill(b.incarnation);
    cluster.set_fate(Traffic::Request, delivered());
    let moved = c.log_in().await;
    assert_eq!(moved.receive().await, Action::Run);
    moved.answer(Answer::Done).await;
    assert_state(outcome.await.unwrap(), CommandState::Done);
    vehicle.assert_nothing_written();
}

#[tokio::test(start_paused = true)]
async fn a_command_finds_its_vehicle_although_the_notice_of_its_move_is_lost() {
    let cluster = TestCluster::start();
    let (a, b) = (cluster.node("a").await, cluster.node("b").await);
    let before = a.log_in().await;
    cluster.set_fate(Traffic::Notice, lost());
    let vehicle = b.log_in().await;
    sleep_millis(1_000).await;
    assert_eq!(before.closed(), None, "the notice was not lost");
    let outcome = a.request(Action::Run, TIMEOUT);
    assert_eq!(vehicle.receive().await, Action::Run);
    vehicle.answer(Answer::Done).await;
    assert_state(outcome.await.unwrap(), CommandState::Done);
    assert_eq!(before.closed(), Some(DisconnectReason::Superseded));
}

#[tokio::test(start_paused = true)]
async fn a_command_follows_a_vehicle_that_moves_twice() {
    let (cluster, a, b, first) = two_nodes().await;
    let c = cluster.node("c").await;
    cluster.set_fate(Traffic::Request, vec![SECOND]);
    let outcome = a.request(Action::Run, TIMEOUT);
    // Each request arrives just after the vehicle has left.
    sleep_millis(500).await;
    let second = c.log_in().await;
    sleep_millis(1_000).await;
    let third = b.log_in().await;
    assert_eq!(third.receive().await, Action::Run);
    third.answer(Answer::Done).await;
    assert_state(outcome.await.unwrap(), CommandState::Done);
    assert_eq!(a.stored_commands().await.len(), 1);
    for earlier in [first, second] {
        assert_eq!(earlier.closed(), Some(DisconnectReason::Superseded));
    }
}

#[tokio::test(start_paused = true)]
async fn a_vehicle_that_moves_to_the_requester_gets_the_command_there() {
    let (cluster, a, _b, first) = two_nodes().await;
    cluster.set_fate(Traffic::Request, vec![SECOND]);
    let outcome = a.request(Action::Run, TIMEOUT);
    sleep_millis(500).await;
    let second = a.log_in().await;
    assert_eq!(second.receive().await, Action::Run);
    second.answer(Answer::Done).await;
    assert_state(outcome.await.unwrap(), CommandState::Done);
    assert_eq!(a.stored_commands().await.len(), 1);
    assert_eq!(first.closed(), Some(DisconnectReason::Superseded));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_the_owner_has_stored_moves_with_its_vehicle() {
    let (_cluster, a, b, first) = two_nodes().await;
    let sent = b.request(Action::Rest, TIMEOUT);
    first.receive().await;
    // Stored by the owner, where it waits for the reply slot.
    let outcome = a.request(Action::Run, TIMEOUT);
    sleep_millis(500).await;
    let second = a.log_in().await;
    assert_state(sent.await.unwrap(), CommandState::Disconnected);
    assert_eq!(second.receive().await, Action::Run);
    second.answer(Answer::Done).await;
    assert_state(outcome.await.unwrap(), CommandState::Done);
    assert_eq!(a.stored_commands().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_owner_stops_waiting_when_the_requester_does() {
    let (cluster, a, _b, vehicle) = two_nodes().await;
    // Counted from its arrival, the time-out would end after the requester's.
    cluster.set_fate(Traffic::Request, vec![Duration::from_secs(4)]);
    let started = Instant::now();
    let outcome = a.request(Action::Run, TIMEOUT);
    vehicle.receive().await;
    assert_elapsed(started, Duration::from_secs(4));
    assert_state(outcome.await.unwrap(), CommandState::NoAnswer);
    assert_elapsed(started, TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_arrives_twice_is_one_command() {
    let (cluster, a, _b, vehicle) = two_nodes().await;
    let copies = vec![Duration::ZERO, Duration::ZERO, SECOND, 5 * SECOND];
    cluster.set_fate(Traffic::Request, copies);
    let outcome = a.request(Action::Run, TIMEOUT);
    vehicle.receive().await;
    sleep_millis(2_000).await;
    vehicle.assert_nothing_written();
    vehicle.answer(Answer::Done).await;
    assert_state(outcome.await.unwrap(), CommandState::Done);
    // The last copy arrives after the end.
    sleep(TIMEOUT).await;
    vehicle.assert_nothing_written();
    assert_eq!(a.stored_commands().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_arrives_after_its_deadline_is_not_executed() {
    let (cluster, a, _b, vehicle) = two_nodes().await;
    cluster.set_fate(Traffic::Request, vec![TIMEOUT + SECOND]);
    let started = Instant::now();
    let outcome = a.request(Action::Run, TIMEOUT).await.unwrap();
    assert_eq!(outcome, CommandOutcome::OwnerUnreachable);
    assert_elapsed(started, TIMEOUT);
    sleep(TIMEOUT).await;
    vehicle.assert_nothing_written();
    assert_eq!(a.stored_commands().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_its_requester_has_ended_is_not_written_later() {
    let (cluster, a, b, vehicle) = two_nodes().await;
    // Takes the slot, so that the remote command waits at the owner.
    let first = b.request(Action::Rest, TIMEOUT * 3);
    vehicle.receive().await;
    cluster.set_fate(Traffic::Answer, lost());
    let outcome = a.request(Action::Run, TIMEOUT).await.unwrap();
    assert_state(outcome, CommandState::Expired);
    vehicle.answer(Answer::Done).await;
    assert_state(first.await.unwrap(), CommandState::Done);
    sleep(TIMEOUT).await;
    vehicle.assert_nothing_written();
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_does_not_listen_is_unreachable_after_a_tolerance() {
    let (cluster, a, b, vehicle) = two_nodes().await;
    cluster.network.kill(b.incarnation);
    let started = Instant::now();
    let outcome = a.request(Action::Run, TIMEOUT).await.unwrap();
    assert_eq!(outcome, CommandOutcome::OwnerUnreachable);
    assert_elapsed(started, OWNER_TOLERANCE);
    vehicle.assert_nothing_written();
}

#[tokio::test(start_paused = true)]
async fn without_redis_another_instance_is_unreachable_after_a_tolerance() {
    let (_cluster, a, _b, vehicle) = two_nodes().await;
    a.fanout.close().await;
    let started = Instant::now();
    let outcome = a.request(Action::Run, TIMEOUT).await.unwrap();
    assert_eq!(outcome, CommandOutcome::FanOutUnavailable);
    assert_elapsed(started, REDIS_TOLERANCE);
    vehicle.assert_nothing_written();
    assert_eq!(a.stored_commands().await, []);
}
