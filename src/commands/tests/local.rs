//! Commands to vehicles of the instance that gets the request.

use super::*;
use crate::{
    commands::delivery::LATE_ANSWER_HOLD,
    domain::{Action, Answer},
};

async fn one_node() -> (TestCluster, Node, Vehicle) {
    let cluster = TestCluster::start();
    let node = cluster.node("a").await;
    let vehicle = node.log_in().await;
    (cluster, node, vehicle)
}

#[tokio::test(start_paused = true)]
async fn the_answer_is_the_outcome() {
    let (_cluster, node, vehicle) = one_node().await;
    for (answer, state) in [
        (Answer::Done, CommandState::Done),
        (Answer::Cannot, CommandState::Refused),
    ] {
        let outcome = node.request(Action::Run, TIMEOUT);
        assert_eq!(vehicle.receive().await, Action::Run);
        vehicle.answer(answer).await;
        assert_state(outcome.await.unwrap(), state);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_command_ends_at_its_deadline() {
    let (_cluster, node, vehicle) = one_node().await;
    let started = Instant::now();
    let outcome = node.request(Action::Run, TIMEOUT);
    vehicle.receive().await;
    assert_state(outcome.await.unwrap(), CommandState::NoAnswer);
    assert_elapsed(started, TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn after_an_unanswered_command_its_kind_is_held() {
    let (_cluster, node, vehicle) = one_node().await;
    let started = Instant::now();
    let first = node.request(Action::Run, TIMEOUT);
    vehicle.receive().await;
    first.await.unwrap();
    let second = node.request(Action::Rest, LATE_ANSWER_HOLD * 2);
    // Another kind is not held.
    let other = node.request(Action::AskState, LATE_ANSWER_HOLD * 2);
    assert_eq!(vehicle.receive().await, Action::AskState);
    assert_eq!(vehicle.receive().await, Action::Rest);
    assert_elapsed(started, TIMEOUT + LATE_ANSWER_HOLD);
    vehicle.answer(Answer::Done).await;
    assert_state(second.await.unwrap(), CommandState::Done);
    other.abort();
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_no_answer_to_the_next_command() {
    let (_cluster, node, vehicle) = one_node().await;
    let first = node.request(Action::Run, TIMEOUT);
    vehicle.receive().await;
    let first = recorded(first.await.unwrap());
    let second = node.request(Action::Rest, TIMEOUT);
    sleep_millis(100).await;
    vehicle.answer(Answer::Done).await;
    assert_eq!(vehicle.receive().await, Action::Rest);
    vehicle.answer(Answer::Cannot).await;
    assert_state(second.await.unwrap(), CommandState::Refused);
    let stored = node.stored_commands().await;
    let late = stored.iter().find(|command| command.id == first.id);
    let late = late.unwrap();
    assert_eq!(late.state, CommandState::NoAnswer);
    assert_eq!(late.late_reply.as_deref(), Some("DONE!"));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_waits_ends_at_its_deadline_unwritten() {
    let (_cluster, node, vehicle) = one_node().await;
    let first = node.request(Action::Run, TIMEOUT * 3);
    vehicle.receive().await;
    let started = Instant::now();
    let second = node.request(Action::Rest, TIMEOUT);
    assert_state(second.await.unwrap(), CommandState::Expired);
    assert_elapsed(started, TIMEOUT);
    vehicle.answer(Answer::Done).await;
    assert_state(first.await.unwrap(), CommandState::Done);
    sleep(TIMEOUT).await;
    vehicle.assert_nothing_written();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_too_slow_writes_the_command_never() {
    let (_cluster, node, vehicle) = one_node().await;
    let outcome = node.request(Action::Run, TIMEOUT);
    assert_state(outcome.await.unwrap(), CommandState::Expired);
    vehicle.assert_nothing_written();
}

#[tokio::test(start_paused = true)]
async fn a_lost_session_ends_what_it_was_asked_and_cancels_what_waits() {
    let (_cluster, node, vehicle) = one_node().await;
    let sent = node.request(Action::Run, TIMEOUT);
    vehicle.receive().await;
    let waiting = node.request(Action::Rest, TIMEOUT);
    sleep_millis(100).await;
    let started = Instant::now();
    vehicle.disconnect().await;
    assert_state(sent.await.unwrap(), CommandState::Disconnected);
    assert_state(waiting.await.unwrap(), CommandState::Cancelled);
    assert_elapsed(started, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_waits_moves_to_the_next_session_in_order() {
    let (_cluster, node, old) = one_node().await;
    let sent = node.request(Action::Run, TIMEOUT);
    old.receive().await;
    let waiting: Vec<_> = [Action::Rest, Action::Run, Action::Rest]
        .map(|action| node.request(action, TIMEOUT))
        .into();
    sleep_millis(100).await;
    let new = node.log_in().await;
    assert_state(sent.await.unwrap(), CommandState::Disconnected);
    for action in [Action::Rest, Action::Run, Action::Rest] {
        assert_eq!(new.receive().await, action);
        new.answer(Answer::Done).await;
    }
    for outcome in waiting {
        assert_state(outcome.await.unwrap(), CommandState::Done);
    }
}
