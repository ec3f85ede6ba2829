//! Requests, answers and notices between instances.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};
use vehicle_gateway::{
    domain::{Action, Broadcast, DeviceId, IncarnationId},
    fanout::{FanoutEvent, FanoutState, Notice, PeerAnswer, PeerRequest, RequestError, SendError},
};

use super::{
    Instance, answer_to, channel_of, command, done_answer, incoming_session_over, session_over,
};
use crate::support::{PATIENCE, Redis, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn instances_exchange_requests_and_answers() {
    let redis = Redis::start();
    let (mut a, mut b) = (
        Instance::connected(&redis).await,
        Instance::connected(&redis).await,
    );
    let request = command();
    let deadline = Instant::now() + PATIENCE;
    let (asked, answered) = (a.fanout.request(b.id, &request, deadline), async {
        let (asked, received) = b.next_request().await;
        assert_eq!((asked.origin(), received), (a.id, request.clone()));
        b.fanout.answer(&asked, &answer_to(&request)).await
    });
    let (answer, sent) = tokio::join!(asked, answered);
    assert_eq!((answer.unwrap(), sent), (answer_to(&request), Ok(())));

    let request = PeerRequest::Broadcast {
        action: Action::Rest,
        timeout: Duration::from_secs(10),
    };
    let counts = PeerAnswer::Broadcast(Broadcast {
        addressed: 3,
        done: 1,
        unsent: 2,
        ..Broadcast::default()
    });
    let (asked, answered) = (b.fanout.request(a.id, &request, deadline), async {
        let (asked, received) = a.next_request().await;
        assert_eq!(received, request);
        a.fanout.answer(&asked, &counts).await
    });
    let (answer, sent) = tokio::join!(asked, answered);
    assert_eq!((answer, sent), (Ok(counts), Ok(())));
}

#[tokio::test(flavor = "multi_thread")]
async fn late_and_duplicate_answers_are_ignored() {
    let redis = Redis::start();
    let (a, mut b) = (
        Instance::connected(&redis).await,
        Instance::connected(&redis).await,
    );
    let late = Duration::from_millis(300);
    assert_eq!(a.ask(b.id, late).await, Err(RequestError::NoAnswer));
    let (first, _) = b.next_request().await;
    b.fanout.answer(&first, &done_answer()).await.unwrap();

    let request = command();
    let (asked, answered) = (
        a.fanout.request(b.id, &request, Instant::now() + PATIENCE),
        async {
            let (asked, _) = b.next_request().await;
            for _ in 0..3 {
                b.fanout.answer(&first, &done_answer()).await.unwrap();
                let answer = answer_to(&request);
                b.fanout.answer(&asked, &answer).await.unwrap();
            }
        },
    );
    let (answer, ()) = tokio::join!(asked, answered);
    assert_eq!(answer, Ok(answer_to(&request)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_type_is_unreadable() {
    let redis = Redis::start();
    let (a, mut b) = (
        Instance::connected(&redis).await,
        Instance::connected(&redis).await,
    );
    let (answer, ()) = tokio::join!(a.ask(b.id, PATIENCE), async {
        let (asked, _) = b.next_request().await;
        let counts = PeerAnswer::Broadcast(Broadcast::default());
        b.fanout.answer(&asked, &counts).await.unwrap();
    });
    assert_eq!(answer, Err(RequestError::UnreadableAnswer));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_does_not_subscribe_is_unreachable() {
    let redis = Redis::start();
    let a = Instance::connected(&redis).await;
    let gone = IncarnationId::random();
    assert_eq!(a.ask(gone, PATIENCE).await, Err(RequestError::NotListening));
    let sent = a.fanout.notify(gone, &session_over(1)).await;
    assert_eq!(sent, Err(SendError::NotListening));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_ignores_its_own_messages() {
    let redis = Redis::start();
    let (mut a, b) = (
        Instance::connected(&redis).await,
        Instance::connected(&redis).await,
    );
    a.fanout.notify(a.id, &session_over(1)).await.unwrap();
    let broken = json!({"version": 1, "kind": "notice", "type": "?", "origin": a.id});
    redis.publish(&channel_of(a.id), &broken.to_string());
    b.fanout.notify(a.id, &session_over(2)).await.unwrap();
    assert_eq!(a.next().await, incoming_session_over(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_arrives_completely() {
    const BURST: i64 = 5_000;
    let redis = Redis::start();
    let (a, mut b) = (
        Instance::connected(&redis).await,
        Instance::connected(&redis).await,
    );
    let (fanout, to) = (Arc::new(a.fanout), b.id);
    let received = tokio::spawn(async move {
        let mut received = BTreeSet::new();
        for _ in 0..BURST {
            match b.next().await {
                FanoutEvent::Notice(Notice::SessionsEnded(over)) => {
                    received.insert(over[0].through_epoch)
                }
                other => panic!("no notice: {other:?}"),
            };
        }
        received
    });
    let mut sends = JoinSet::new();
    for epoch in 0..BURST {
        let fanout = Arc::clone(&fanout);
        sends.spawn(async move { fanout.notify(to, &session_over(epoch)).await });
    }
    for sent in sends.join_all().await {
        sent.unwrap();
    }
    assert!(received.await.unwrap().into_iter().eq(0..BURST));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_receiver_learns_of_missed_notices_and_delays_no_answers() {
    let redis = Redis::start();
    let (a, mut b) = (
        Instance::connected(&redis).await,
        Instance::connected(&redis).await,
    );
    let (mut kept, mut missed) = (0, false);
    for epoch in 0..4_200 {
        a.fanout.notify(b.id, &session_over(epoch)).await.unwrap();
    }
    // Its request is answered though the notices are not yet read.
    let (mut c, deadline) = (Instance::connected(&redis).await, Instant::now() + PATIENCE);
    let request = command();
    let (answer, ()) = tokio::join!(b.fanout.request(c.id, &request, deadline), async {
        let (asked, _) = c.next_request().await;
        let answer = answer_to(&request);
        c.fanout.answer(&asked, &answer).await.unwrap();
    });
    assert_eq!(answer, Ok(answer_to(&request)));
    while !missed {
        match b.next().await {
            FanoutEvent::Notice(_) => kept += 1,
            other => missed = other == FanoutEvent::MayHaveMissed,
        }
    }
    assert_eq!(kept, 4_096);
    a.fanout.notify(b.id, &session_over(-1)).await.unwrap();
    assert_eq!(b.next().await, incoming_session_over(-1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_incarnation_receives_only_its_own_messages() {
    let redis = Redis::start();
    let (a, mut b) = (
        Instance::connected(&redis).await,
        Instance::connected(&redis).await,
    );
    let (old, new) = (b.id, IncarnationId::random());
    let started = Instant::now();
    let (asked, ()) = tokio::join!(b.ask(a.id, PATIENCE), b.fanout.listen_as(new));
    assert_eq!(asked, Err(RequestError::NoAnswer));
    assert!(started.elapsed() < PATIENCE, "it waited for the timeout");
    a.fanout.notify(new, &session_over(2)).await.unwrap();
    assert_eq!(b.next().await, incoming_session_over(2));
    wait_until("the old incarnation is unsubscribed", || {
        (redis.subscriber_count(&channel_of(old)) == 0).then_some(())
    });
    assert_eq!(redis.subscriber_count(&channel_of(new)), 1);
    assert_eq!(b.fanout.state(), FanoutState::Up);
    // The same holds after a reconnect.
    redis.kill();
    b.wait_for_state(FanoutState::Down).await;
    redis.restart();
    b.wait_for_state(FanoutState::Up).await;
    assert_eq!(redis.subscriber_count(&channel_of(old)), 0);
    assert_eq!(redis.subscriber_count(&channel_of(new)), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_incarnation_sends_under_its_own_id() {
    let redis = Redis::start();
    let (a, b) = (
        Instance::connected(&redis).await,
        Instance::connected(&redis).await,
    );
    let new = IncarnationId::random();
    a.fanout.listen_as(new).await;
    let mut channel = redis.subscribe(&channel_of(b.id));
    a.fanout.notify(b.id, &session_over(1)).await.unwrap();
    let origin = loop {
        let message: Value = serde_json::from_str(&channel.next()).unwrap();
        if message["type"] == "sessions-over" {
            break message["origin"].clone();
        }
    };
    assert_eq!(origin, json!(new));
}

#[tokio::test(flavor = "multi_thread")]
async fn fleets_with_different_channels_are_isolated() {
    let redis = Redis::start();
    let mut a = Instance::connected_on(&redis, "north").await;
    let mut b = Instance::connected_on(&redis, "south").await;
    assert_eq!(a.ask(b.id, PATIENCE).await, Err(RequestError::NotListening));
    let spoken = |vehicle: &str| {
        json!({"type": "command", "message": "GOTTA GO.", "clientId": vehicle}).to_string()
    };
    redis.publish("north", &spoken("n"));
    redis.publish("south", &spoken("s"));
    for (instance, vehicle) in [(&mut a, "n"), (&mut b, "s")] {
        let spoken = FanoutEvent::ChannelCommand {
            device_id: DeviceId::parse(vehicle).unwrap(),
            action: Action::Goodbye,
        };
        assert_eq!(instance.next().await, spoken);
    }
}
