//! Redis is killed, hangs, and comes back.

use std::{collections::BTreeSet, net::TcpListener, time::Duration};

use tokio::time::Instant;
use vehicle_gateway::{
    domain::IncarnationId,
    fanout::{FanoutEvent, FanoutState, RequestError, SendError},
};

use super::{CHANNEL, Instance, Log, channel_of, incoming_session_over, session_over};
use crate::support::{PATIENCE, Redis, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn during_an_outage_sends_fail_at_once_and_recover_afterwards() {
    let redis = Redis::start();
    let (a, mut b) = (
        Instance::connected(&redis).await,
        Instance::connected(&redis).await,
    );
    redis.kill();
    let started = Instant::now();
    while a.ask(b.id, Duration::from_millis(100)).await != Err(RequestError::Unavailable) {}
    assert!(started.elapsed() < Duration::from_secs(1));
    b.wait_for_state(FanoutState::Down).await;
    // A message that fails now is not sent later.
    let sent = a.fanout.notify(b.id, &session_over(1)).await;
    assert_eq!(sent, Err(SendError::Unavailable));
    // The outage delays no change of the incarnation, either.
    let started = Instant::now();
    a.fanout.listen_as(a.id).await;
    assert!(started.elapsed() < Duration::from_secs(1));

    redis.restart();
    for instance in [&a, &b] {
        instance.wait_for_state(FanoutState::Up).await;
    }
    assert_eq!(b.next().await, FanoutEvent::MayHaveMissed);
    a.fanout.notify(b.id, &session_over(2)).await.unwrap();
    assert_eq!(b.next().await, incoming_session_over(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_may_start_after_the_gateway() {
    let redis = Redis::start();
    redis.kill();
    let mut a = Instance::new(&redis.url(), CHANNEL).await;
    assert_eq!(a.fanout.state(), FanoutState::Down);
    assert_eq!(
        a.ask(IncarnationId::random(), PATIENCE).await,
        Err(RequestError::Unavailable)
    );
    redis.restart();
    a.wait_for_state(FanoutState::Up).await;
    assert_eq!(a.next().await, FanoutEvent::MayHaveMissed);
    assert_eq!(redis.subscriber_count(&channel_of(a.id)), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_redis_is_detected_and_recovered_from() {
    let redis = Redis::start();
    let (a, mut b) = (
        Instance::connected(&redis).await,
        Instance::connected(&redis).await,
    );
    redis.pause();
    let started = Instant::now();
    let sent = a.fanout.notify(b.id, &session_over(1)).await;
    assert_eq!(sent, Err(SendError::Unconfirmed));
    b.wait_for_state(FanoutState::Down).await;
    a.wait_for_state(FanoutState::Down).await;
    assert!(
        started.elapsed() < Duration::from_secs(9),
        "{:?}",
        started.elapsed()
    );
    let sent = a.fanout.notify(b.id, &session_over(2)).await;
    assert_eq!(sent, Err(SendError::Unavailable));

    redis.resume();
    for instance in [&a, &b] {
        instance.wait_for_state(FanoutState::Up).await;
    }
    assert_eq!(b.next().await, FanoutEvent::MayHaveMissed);
    a.fanout.notify(b.id, &session_over(3)).await.unwrap();
    assert_eq!(b.next().await, incoming_session_over(3));
}

#[tokio::test]
async fn an_outage_is_logged_once_for_each_reason_without_the_password() {
    let (redis, log) = (Redis::with_password("open-sesame"), Log::default());
    let _following = log.follow();
    let a = Instance::connected(&redis).await;
    assert_eq!(log.lines("INFO").len(), 1, "{:?}", log.lines(""));
    redis.kill();
    a.wait_for_state(FanoutState::Down).await;
    // Some reconnects fail.
    let refusing = TcpListener::bind(redis.address()).unwrap();
    let refusing = tokio::task::spawn_blocking(move || {
        for _ in 0..3 {
            drop(refusing.accept().unwrap());
        }
    });
    refusing.await.unwrap();
    redis.restart();
    a.wait_for_state(FanoutState::Up).await;
    let (began, ends) = (log.lines("Redis is unavailable"), log.lines("INFO"));
    assert_eq!((began.len(), ends.len()), (1, 2), "{:?}", log.lines(""));
    assert!(began[0].contains("redis://shown"), "{began:?}");
    let warnings = log.lines("WARN");
    let reasons = warnings
        .iter()
        .filter_map(|line| line.split_once("reason="));
    let reasons: BTreeSet<_> = reasons.map(|(_, reason)| reason).collect();
    assert_eq!(reasons.len(), warnings.len(), "{warnings:?}");
    assert_eq!(log.lines("sesame"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_fanout_neither_receives_nor_waits() {
    let redis = Redis::start();
    let (a, b) = (
        Instance::connected(&redis).await,
        Instance::connected(&redis).await,
    );
    let started = Instant::now();
    let (asked, ()) = tokio::join!(a.ask(b.id, PATIENCE), a.fanout.close());
    assert!(started.elapsed() < PATIENCE, "it waited for the timeout");
    assert!(matches!(
        asked,
        Err(RequestError::NoAnswer | RequestError::Unavailable)
    ));
    assert_eq!(a.fanout.state(), FanoutState::Down);
    assert_eq!(a.ask(b.id, PATIENCE).await, Err(RequestError::Unavailable));
    // The same holds for a dropped fan-out.
    let id = b.id;
    drop(b);
    for id in [a.id, id] {
        wait_until("there is no subscriber", || {
            (redis.subscriber_count(&channel_of(id)) == 0).then_some(())
        });
    }
}
