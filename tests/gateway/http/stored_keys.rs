//! Keys in a database that several instances use.

use std::time::{Duration, Instant};

use reqwest::{Method, blocking::Client};
use serde_json::{Value, json};

use super::keys::{get_with, new_key};
use crate::support::{Daemon, Database, Redis, change, on_every_server, query, wait_until};

on_every_server! {
    a_new_key_is_known_to_all_instances_at_once,
    a_revoked_key_is_refused_by_all_instances_within_five_seconds,
    known_keys_are_accepted_while_the_database_is_away,
    a_key_with_scopes_that_this_version_does_not_know_is_not_rotated,
}

/// Instances on one database that require keys, and a key that may do everything.
struct Instances {
    daemons: [Daemon; 2],
    admin: String,
    _redis: Option<Redis>,
}

impl Instances {
    fn start(database: &Database, redis: Option<Redis>) -> Self {
        let (admin, table) = new_key("admin", "read,command,keys");
        let url = database.new_url().unwrap();
        let daemons = ["a", "b"].map(|name| {
            let mut builder = Daemon::builder()
                .on_url(&url)
                .set(&format!("instance.id={name}"))
                .set("http.auth=required")
                .set(&format!("http.keys={}", json!([table])));
            if let Some(redis) = &redis {
                builder = builder.set(&format!("redis.url={}", redis.url()));
            }
            builder.start()
        });
        Self {
            daemons,
            admin,
            _redis: redis,
        }
    }

    /// Makes a request to the first instance with the key that may do everything.
    fn administer(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let request = Client::new().request(method, self.daemons[0].url(path));
        let mut request = request.bearer_auth(&self.admin);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().unwrap();
        assert!(answer.status().is_success(), "{path}: {answer:?}");
        answer.json().unwrap_or_default()
    }

    fn new_key(&self) -> Value {
        let body = json!({ "name": "dispatch", "scopes": ["read"] });
        self.administer(Method::POST, "/keys", Some(&body))
    }

    /// The status with which each instance answers a request with this key.
    fn statuses(&self, key: &Value) -> [u16; 2] {
        let key = key.as_str().unwrap();
        self.daemons
            .each_ref()
            .map(|daemon| get_with(daemon, "/vehicles", key).status().as_u16())
    }
}

fn a_new_key_is_known_to_all_instances_at_once(database: &Database) {
    let instances = Instances::start(database, None);
    for _ in 0..20 {
        let made = instances.new_key();
        assert_eq!(instances.statuses(&made["key"]), [200, 200]);
        let path = format!("/keys/{}/rotate", made["id"].as_str().unwrap());
        let rotated = instances.administer(Method::POST, &path, None);
        assert_eq!(instances.statuses(&rotated["key"]), [200, 200]);
    }
}

fn a_revoked_key_is_refused_by_all_instances_within_five_seconds(database: &Database) {
    for redis in [None, Some(Redis::start())] {
        let instances = Instances::start(database, redis);
        let made = instances.new_key();
        assert_eq!(instances.statuses(&made["key"]), [200, 200]);
        let path = format!("/keys/{}", made["id"].as_str().unwrap());
        let asked = Instant::now();
        instances.administer(Method::DELETE, &path, None);
        assert_eq!(instances.statuses(&made["key"])[0], 401);
        wait_until("the other instance refuses the key", || {
            (instances.statuses(&made["key"])[1] == 401).then_some(())
        });
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

fn known_keys_are_accepted_while_the_database_is_away(database: &Database) {
    let instances = Instances::start(database, None);
    let made = instances.new_key();
    let key = made["key"].as_str().unwrap();
    assert_eq!(instances.statuses(&made["key"]), [200, 200]);
    database.server().kill();
    for daemon in &instances.daemons {
        let own = get_with(daemon, "/keys/self", key);
        assert_eq!(own.status(), 200);
        // Nobody can know whether another instance has just made it.
        let (unknown, _) = new_key("unknown", "read");
        let refused = get_with(daemon, "/keys/self", &unknown);
        assert_eq!(refused.status(), 503);
    }
    database.server().restart();
    wait_until("the keys are read again", || {
        let (unknown, _) = new_key("unknown", "read");
        let refused = get_with(&instances.daemons[1], "/keys/self", &unknown);
        (refused.status() != 503).then_some(())
    });
}

fn a_key_with_scopes_that_this_version_does_not_know_is_not_rotated(database: &Database) {
    let instances = Instances::start(database, None);
    let made = instances.new_key();
    let url = instances.daemons[0].database_url();
    change(&url, "UPDATE api_keys SET scopes = 'read,later'");
    let id = made["id"].as_str().unwrap();
    let rotate = Client::new().post(instances.daemons[0].url(&format!("/keys/{id}/rotate")));
    let refused = rotate.bearer_auth(&instances.admin).send().unwrap();
    assert_eq!(refused.status(), 403);
    assert!(refused.text().unwrap().contains("does not know"));
    assert_eq!(instances.statuses(&made["key"]), [200, 200]);
    instances.administer(Method::DELETE, &format!("/keys/{id}"), None);
    assert_eq!(query(&url, "SELECT scopes FROM api_keys"), ["read,later"]);
}

#[test]
fn no_secret_of_a_key_is_in_the_database_or_the_log() {
    let (admin, table) = new_key("admin", "read,keys");
    let daemon = Daemon::builder()
        .set("http.auth=required")
        .set("log.filter=debug")
        .set(&format!("http.keys={}", json!([table])))
        .start();
    let create = |path: &str, body: &Value| {
        let request = Client::new().post(daemon.url(path)).bearer_auth(&admin);
        request.json(body).send().unwrap().json::<Value>().unwrap()
    };
    let made = create("/keys", &json!({ "name": "dispatch", "scopes": ["read"] }));
    let path = format!("/keys/{}/rotate", made["id"].as_str().unwrap());
    let rotated = create(&path, &json!({}));
    let secrets = [&made, &rotated].map(|it| it["key"].as_str().unwrap());
    for key in secrets {
        assert_eq!(get_with(&daemon, "/vehicles", key).status(), 200);
    }
    let url = format!("sqlite://{}", daemon.database().display());
    let stored = query(
        &url,
        "SELECT id || name || hash || previous_hash FROM api_keys",
    );
    assert_eq!(stored.len(), 1);
    for key in secrets.into_iter().chain([admin.as_str()]) {
        let secret = key.rsplit('_').next().unwrap();
        assert!(!stored[0].contains(secret));
        let log = daemon.log();
        assert!(log.iter().all(|line| !line.to_string().contains(secret)));
    }
}
