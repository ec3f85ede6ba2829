//! Redis answers and refuses: what it says is the reason, in the log and at `/ready`.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, interval, timeout};
use vehicle_gateway::fanout::FanoutState;

use super::{CHANNEL, Instance, Log};
use crate::support::{Daemon, Database, PATIENCE, Redis, RedisOperator, wait_until};

/// The rights that a user of the gateway needs.
const RIGHTS: &str = "+subscribe +unsubscribe +publish +ping +hello +info +client +cluster";

/// A Redis with a user that may do this only, and the URL with the password of the user.
fn with_user(rules: &str) -> (Redis, String) {
    let redis = Redis::with_user(&format!("gateway on >open-sesame {rules}"));
    let url = format!("redis://gateway:open-sesame@{}", redis.address());
    (redis, url)
}

/// Waits until the fan-out is down for a reason with this text, and a warning says so. Returns the warnings.
async fn refused(instance: &Instance, log: &Log, text: &str) -> Vec<String> {
    let is_told = || {
        let outage = instance.fanout.outage();
        outage.is_some_and(|outage| outage.contains(text))
            && log.lines("WARN").iter().any(|line| line.contains(text))
    };
    let mut ticks = interval(Duration::from_millis(10));
    let asked = timeout(PATIENCE, async {
        while !is_told() {
            ticks.tick().await;
        }
    });
    let outage = || instance.fanout.outage();
    asked
        .await
        .unwrap_or_else(|_| panic!("not {text}: {:?} {:?}", outage(), log.lines("")));
    assert_eq!(instance.fanout.state(), FanoutState::Down);
    assert_eq!(log.lines("sesame"), [""; 0]);
    log.lines("WARN")
}

#[tokio::test]
async fn what_redis_answers_at_the_start_is_the_reason() {
    let password = || Redis::with_password("open-sesame");
    let at = |redis: &Redis, user: &str| format!("redis://{user}{}", redis.address());
    let wrong = password();
    let none = password();
    let wrong_url = at(&wrong, ":close-sesame@");
    let none_url = at(&none, "");
    let full = Redis::start();
    let full_url = full.url();
    let mut last_connection = full.operator();
    last_connection.run("CONFIG SET maxclients 1");
    let stale = Redis::start();
    let stale_url = stale.url();
    stale
        .operator()
        .run("CONFIG SET replica-serve-stale-data no");
    stale.operator().run("REPLICAOF 127.0.0.1 1");
    let old = Redis::without_hello("open-sesame");
    let old_url = old.url();
    let without = |right| {
        let rights = RIGHTS.replace(right, "");
        with_user(&format!("&{CHANNEL}* {rights}"))
    };
    let cases = [
        ((wrong, wrong_url), "WRONGPASS"),
        ((none, none_url), "NOAUTH"),
        ((full, full_url), "ERR max number of clients reached"),
        ((stale, stale_url), "MASTERDOWN"),
        // It repeats the arguments, of which the password is one.
        ((old, old_url), "ERR unknown command 'HELLO'"),
        (without("+subscribe"), "run the 'subscribe' command"),
        (without("+publish"), "run the 'publish' command"),
        (without("+ping"), "run the 'ping' command"),
        (with_user(&format!("&another {RIGHTS}")), "NOPERM"),
    ];
    for ((_redis, url), text) in cases {
        let log = Log::default();
        let _following = log.follow();
        let instance = Instance::new(&url, CHANNEL).await;
        let warnings = refused(&instance, &log, text).await;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
    }
}

#[tokio::test]
async fn a_password_that_was_changed_is_the_reason_after_the_loss_of_the_connection() {
    let (redis, log) = (Redis::with_password("open-sesame"), Log::default());
    let _following = log.follow();
    let instance = Instance::connected(&redis).await;
    assert_eq!(instance.fanout.outage(), None);
    let mut operator = redis.operator();
    operator.run("CONFIG SET requirepass another");
    operator.close_others();
    let warnings = refused(&instance, &log, "WRONGPASS").await;
    assert!(warnings.len() <= 2, "{warnings:?}");
    operator.run("CONFIG SET requirepass open-sesame");
    instance.wait_for_state(FanoutState::Up).await;
    assert_eq!(instance.fanout.outage(), None);
    // A second time is logged again.
    operator.run("CONFIG SET requirepass another");
    operator.close_others();
    wait_for_lines(&log, "WRONGPASS", 2).await;
}

async fn wait_for_lines(log: &Log, with: &str, count: usize) {
    let mut ticks = interval(Duration::from_millis(10));
    let waiting = timeout(PATIENCE, async {
        while log.lines(with).len() < count {
            ticks.tick().await;
        }
    });
    let all = || log.lines("");
    waiting
        .await
        .unwrap_or_else(|_| panic!("not {count} lines with {with}: {:?}", all()));
}

#[tokio::test]
async fn a_right_that_is_taken_away_is_the_reason_at_once() {
    type Change = fn(&mut RedisOperator);
    let cases: [(Change, &str); 2] = [
        (
            |operator| operator.run("ACL SETUSER gateway -publish"),
            "NOPERM",
        ),
        // Redis closes the connections of subscribers that lose their channel.
        (
            |operator| operator.run("ACL SETUSER gateway resetchannels"),
            "NOPERM",
        ),
    ];
    for (take_away, text) in cases {
        let (redis, url) = with_user(&format!("&{CHANNEL}* {RIGHTS}"));
        let log = Log::default();
        let _following = log.follow();
        let instance = Instance::new(&url, CHANNEL).await;
        instance.wait_for_state(FanoutState::Up).await;
        let since = Instant::now();
        let mut operator = redis.operator();
        take_away(&mut operator);
        refused(&instance, &log, text).await;
        // Less than the silence after which a connection counts as dead.
        assert!(since.elapsed() < Duration::from_secs(6));
        operator.run(&format!("ACL SETUSER gateway &{CHANNEL}* +publish"));
        instance.wait_for_state(FanoutState::Up).await;
    }
}

#[tokio::test]
async fn what_a_sentinel_answers_is_the_reason() {
    let redis = Redis::start();
    let settings = ["requirepass abracadabra"];
    let sentinel = Redis::sentinel_of(&redis, "fleet", &settings);
    for (parameter, text) in [
        ("", "NOAUTH"),
        ("&sentinelPassword=open-sesame", "WRONGPASS"),
    ] {
        let log = Log::default();
        let _following = log.follow();
        let address = sentinel.address();
        let url = format!("redis-sentinel://{address}?sentinelServiceName=fleet{parameter}");
        let instance = Instance::new(&url, CHANNEL).await;
        refused(&instance, &log, text).await;
    }
}

/// Waits until `/ready` has this text as the reason why Redis is down, and checks the rest of it.
#[track_caller]
fn wait_for_reason(daemon: &Daemon, text: &str) {
    wait_until("the reason is at /ready", || {
        let response = daemon.get("/ready");
        assert_eq!(response.status(), 200);
        let ready: Value = response.json().unwrap();
        assert_eq!(ready["reason"], Value::Null);
        let reason = ready["checks"]["redisReason"].as_str()?;
        assert_eq!(ready["checks"]["redis"], "down");
        assert!(!reason.contains("sesame"), "{reason}");
        reason.contains(text).then_some(())
    });
}

#[test]
fn the_log_and_readiness_have_the_answer_of_redis() {
    let redis = Redis::with_password("open-sesame");
    let mut operator = redis.operator();
    operator.run("CONFIG SET requirepass another");
    let database = Database::mariadb();
    let daemon = Daemon::on(&database)
        .set(&format!("redis.url={}", redis.url()))
        .start();
    let line = daemon.logged_containing("Redis is unavailable");
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.starts_with("WRONGPASS"), "{reason}");
    wait_for_reason(&daemon, "WRONGPASS");

    operator.run("CONFIG SET requirepass open-sesame");
    daemon.logged("Redis is connected");
    let ready = daemon.json("/ready");
    assert_eq!(ready["checks"]["redisReason"], Value::Null, "{ready}");

    operator.run("ACL SETUSER default -publish");
    wait_for_reason(&daemon, "NOPERM");
    let log = daemon.log();
    let mut reasons = log.iter().filter_map(|line| line["reason"].as_str());
    assert!(
        reasons.any(|reason| reason.contains("run the 'publish' command")),
        "{log:?}"
    );
    assert!(!format!("{:?}", daemon.log()).contains("sesame"));
}
