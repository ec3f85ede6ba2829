//! Messages of later versions, malformed ones, and commands that operators publish.

use serde_json::{Value, json};
use uuid::Uuid;
use vehicle_gateway::{
    domain::{Action, IncarnationId},
    fanout::{FanoutEvent, FanoutState, RequestError},
};

use super::{CHANNEL, Instance, Log, channel_of, device, incoming_session_over, session_over};
use crate::support::{PATIENCE, Redis};

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_later_versions_are_answered_with_unsupported() {
    let redis = Redis::start();
    let a = Instance::connected(&redis).await;
    let later = IncarnationId::random();
    let mut answers = redis.subscribe(&channel_of(later));
    let requests = [
        json!({"version": 1, "type": "self-destruct"}),
        json!({"version": 2, "type": "broadcast"}),
        json!({"version": 1, "type": "broadcast", "message": "HEY YOU, FLY!", "timeoutMillis": 1}),
    ];
    for mut request in requests {
        let correlation = Uuid::new_v4();
        request["kind"] = json!("request");
        request["origin"] = json!(later);
        request["correlation"] = json!(correlation);
        redis.publish(&channel_of(a.id), &request.to_string());
        let answer: Value = serde_json::from_str(&answers.next()).unwrap();
        assert_eq!(
            answer,
            json!({
                "version": 1, "kind": "answer", "type": "unsupported", "origin": a.id,
                "correlation": correlation,
            })
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_answer_ends_the_wait() {
    let redis = Redis::start();
    let a = Instance::connected(&redis).await;
    for (version, type_, error) in [
        (1, "unsupported", RequestError::Unsupported),
        (1, "maybe", RequestError::UnreadableAnswer),
        (2, "command-outcome", RequestError::UnreadableAnswer),
    ] {
        let other = IncarnationId::random();
        let mut requests = redis.subscribe(&channel_of(other));
        let (answer, ()) = tokio::join!(a.ask(other, PATIENCE), async {
            let request: Value = tokio::task::spawn_blocking(move || {
                serde_json::from_str(&requests.next()).unwrap()
            })
            .await
            .unwrap();
            let answer = json!({
                "version": version, "kind": "answer", "type": type_, "origin": other,
                "correlation": request["correlation"],
            });
            redis.publish(&channel_of(a.id), &answer.to_string());
        });
        assert_eq!(answer, Err(error), "{version} {type_}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_messages_are_dropped_and_others_still_arrive() {
    let redis = Redis::start();
    let (a, mut b) = (
        Instance::connected(&redis).await,
        Instance::connected(&redis).await,
    );
    let huge = "[".repeat(1 << 20);
    let broken = [
        "",
        "{",
        "null",
        "[]",
        "{}",
        "\u{1b}[31m",
        r#"{"version":1}"#,
        &huge,
    ];
    for channel in [CHANNEL.to_owned(), channel_of(b.id)] {
        for message in broken {
            assert!(redis.publish(&channel, message) > 0);
        }
    }
    a.fanout.notify(b.id, &session_over(1)).await.unwrap();
    assert_eq!(b.next().await, incoming_session_over(1));
    assert_eq!(b.fanout.state(), FanoutState::Up);
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_command_vehicles_through_the_shared_channel() {
    let redis = Redis::start();
    let (mut a, mut b) = (
        Instance::connected(&redis).await,
        Instance::connected(&redis).await,
    );
    for wrong in [
        r#"{"type":"command","message":"HEY YOU, FLY!","clientId":"truck-19"}"#,
        r#"{"type":"command","message":"HEY YOU, RUN!","clientId":"truck 19"}"#,
        r#"{"type":"order","message":"HEY YOU, RUN!","clientId":"truck-19"}"#,
        r#"{"type":"command","message":"HEY YOU, RUN!"}"#,
        "HEY YOU, RUN!",
    ] {
        assert_eq!(redis.publish(CHANNEL, wrong), 2);
    }
    let right = r#"{"type":"command","message":"HEY YOU, RUN!","clientId":"truck-19"}"#;
    redis.publish(CHANNEL, right);
    for instance in [&mut a, &mut b] {
        let spoken = FanoutEvent::ChannelCommand {
            device_id: device(),
            action: Action::Run,
        };
        assert_eq!(instance.next().await, spoken);
    }
}

#[tokio::test]
async fn malformed_messages_are_logged_once_with_a_valid_example() {
    let (redis, log) = (Redis::start(), Log::default());
    let _following = log.follow();
    let mut a = Instance::connected(&redis).await;
    for _ in 0..3 {
        redis.publish(CHANNEL, "HEY YOU,\nRUN!");
        redis.publish(&channel_of(a.id), "{");
    }
    let right = r#"{"type":"command","message":"HEY YOU, RUN!","clientId":"truck-19"}"#;
    redis.publish(CHANNEL, right);
    assert!(matches!(a.next().await, FanoutEvent::ChannelCommand { .. }));
    let warnings = log.lines("WARN");
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let shared: Vec<_> = log.lines("shared channel");
    assert!(shared[0].contains(r#"{"type":"command","message":"HEY YOU, RUN!""#));
    assert!(shared[0].contains("HEY YOU,\\nRUN!"), "{shared:?}");
}
