//! Authentication, sentinels, a cluster, and no Redis at all.

use std::time::Duration;

use tokio::time::Instant;
use vehicle_gateway::{
    domain::IncarnationId,
    fanout::{Fanout, FanoutEvent, FanoutOptions, FanoutState, RequestError, SendError},
};

use super::{CHANNEL, Instance, command, incoming_session_over, session_over};
use crate::support::{PATIENCE, Redis};

/// Two instances that are connected to this URL, of which one has received a notice of the other.
async fn talking_pair(url: &str) -> (Instance, Instance) {
    let (a, mut b) = (
        Instance::new(url, CHANNEL).await,
        Instance::new(url, CHANNEL).await,
    );
    for instance in [&a, &b] {
        instance.wait_for_state(FanoutState::Up).await;
    }
    assert_eq!(b.next().await, FanoutEvent::MayHaveMissed);
    a.fanout.notify(b.id, &session_over(1)).await.unwrap();
    assert_eq!(b.next().await, incoming_session_over(1));
    (a, b)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_authenticates() {
    let redis = Redis::with_password("open-sesame");
    let mut a = Instance::connected(&redis).await;
    let b = Instance::connected(&redis).await;
    b.fanout.notify(a.id, &session_over(1)).await.unwrap();
    assert_eq!(a.next().await, incoming_session_over(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rights_of_a_user_suffice() {
    let rights = "+subscribe +unsubscribe +publish +ping +hello +info +client +cluster";
    let redis = Redis::with_user(&format!("gateway on >open-sesame &{CHANNEL}* {rights}"));
    let url = format!("redis://gateway:open-sesame@{}", redis.address());
    talking_pair(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_locates_redis() {
    let redis = Redis::start();
    let sentinel = Redis::sentinel_of(&redis, "fleet", &[]);
    let url = format!(
        "redis-sentinel://{}?sentinelServiceName=fleet",
        sentinel.address()
    );
    let (_a, b) = talking_pair(&url).await;
    redis.kill();
    b.wait_for_state(FanoutState::Down).await;
    redis.restart();
    b.wait_for_state(FanoutState::Up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_may_have_a_password_of_its_own() {
    let redis = Redis::with_password("open-sesame");
    let of_redis = "sentinel auth-pass fleet open-sesame";
    for (settings, parameter) in [
        (&[of_redis][..], ""),
        (
            &[of_redis, "requirepass abracadabra"],
            "&sentinelPassword=abracadabra",
        ),
    ] {
        let sentinel = Redis::sentinel_of(&redis, "fleet", settings);
        let address = sentinel.address();
        let url =
            format!("redis-sentinel://:open-sesame@{address}?sentinelServiceName=fleet{parameter}");
        Instance::new(&url, CHANNEL)
            .await
            .wait_for_state(FanoutState::Up)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_url_is_rejected_without_revealing_its_secrets() {
    for url in [
        "redis://:open-sesame@",
        "redis://:open-sesame@localhost:99999",
        "redis://:open-sesame@localhost/first",
        "redis-sentinel://:open-sesame@localhost",
        "open-sesame",
    ] {
        let options = FanoutOptions {
            url: url.to_owned(),
            shown: "redis://shown".to_owned(),
            channel: CHANNEL.to_owned(),
        };
        assert!(!format!("{options:?}").contains("sesame"));
        let error = Fanout::connect(options).expect_err(url);
        assert!(!format!("{error} {error:?}").contains("sesame"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_cluster_delivers_but_does_not_count_subscribers() {
    let redis = Redis::cluster();
    let url = redis.url().replace("redis:", "redis-cluster:");
    let (a, b) = talking_pair(&url).await;
    let soon = Duration::from_millis(300);
    assert_eq!(
        a.ask(IncarnationId::random(), soon).await,
        Err(RequestError::NoAnswer)
    );
    redis.kill();
    b.wait_for_state(FanoutState::Down).await;
    redis.restart();
    b.wait_for_state(FanoutState::Up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_every_send_is_unavailable() {
    let fanout = Fanout::none();
    fanout.listen_as(IncarnationId::random()).await;
    assert_eq!(fanout.state(), FanoutState::None);
    let deadline = Instant::now() + PATIENCE;
    let answer = fanout
        .request(IncarnationId::random(), &command(), deadline)
        .await;
    assert_eq!(answer, Err(RequestError::Unavailable));
    let sent = fanout
        .notify(IncarnationId::random(), &session_over(1))
        .await;
    assert_eq!(sent, Err(SendError::Unavailable));
    fanout.close().await;
}
