//! Signatures, verified by the public libraries that receivers use.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::json;
use standardwebhooks::Webhook;

use super::ALLOW_TEST_RECEIVERS;
use crate::support::{Daemon, Received, Receiver, change, node, report, tool};

/// Verifies each message with this secret.
type Verifier = fn(&str, &[Received]) -> Vec<bool>;

const VERIFIERS: [(&str, Verifier); 3] = [
    ("crates.io", in_rust),
    ("PyPI", |secret, messages| {
        by_script(tool("python").arg(script("verify.py")), secret, messages)
    }),
    ("npm", |secret, messages| {
        by_script(&mut node(script("verify.js")), secret, messages)
    }),
];

fn script(name: &str) -> String {
    format!("{}/tests/verifiers/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn in_rust(secret: &str, messages: &[Received]) -> Vec<bool> {
    let verifier = Webhook::new(secret).unwrap();
    let accepts = |message: &Received| {
        let mut headers = http::HeaderMap::new();
        for (name, value) in message.headers() {
            headers.insert(name, value.parse().unwrap());
        }
        verifier.verify(message.raw.as_bytes(), &headers).is_ok()
    };
    messages.iter().map(accepts).collect()
}

/// Runs a script that prints one line for each message.
fn by_script(command: &mut Command, secret: &str, messages: &[Received]) -> Vec<bool> {
    let mut script = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut questions = script.stdin.take().unwrap();
    for message in messages {
        let headers: serde_json::Map<_, _> = message
            .headers()
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .into_iter()
            .collect();
        let question = json!({ "secret": secret, "headers": headers, "body": message.raw });
        writeln!(questions, "{question}").unwrap();
    }
    drop(questions);
    let output = script.wait_with_output().unwrap();
    assert!(output.status.success());
    let answers = String::from_utf8(output.stdout).unwrap();
    answers
        .lines()
        .map(|line| match line {
            "accepted" => true,
            "refused" => false,
            other => panic!("{other}"),
        })
        .collect()
}

#[test]
fn public_libraries_verify_messages_before_during_and_after_a_rotation() {
    let receiver = Receiver::start(|_| 200);
    let daemon = Daemon::builder()
        .set(ALLOW_TEST_RECEIVERS[0])
        .set(ALLOW_TEST_RECEIVERS[1])
        .start();
    let made = daemon.post("/webhooks", &json!({ "url": receiver.url() }));
    let made: serde_json::Value = made.json().unwrap();
    let path = format!("/webhooks/{}", made["id"].as_str().unwrap());
    let old = made["secret"].as_str().unwrap();
    receiver.accept_secret(old);

    // Every type of message, one of them with bytes that are not text.
    let mut device = daemon.log_in("truck");
    device.say(&report(3));
    device.expect("OK, THANKS!");
    device.say("WTF! 4\n\x00\u{e4}\n\n");
    device.expect("DAAAMN! ISSUE REPORTED ON JIRA");
    let pending = daemon.start_command("truck/turnOff", &json!({}));
    device.expect("HEY YOU, REST!");
    device.say("DONE!");
    assert_eq!(pending.response().outcome(), (200, "done"));
    let before = receiver.wait_for_delivered(5).len();

    let rotated = daemon.post(&format!("{path}/rotate-secret"), &json!({}));
    let rotated: serde_json::Value = rotated.json().unwrap();
    let new = rotated["secret"].as_str().unwrap();
    receiver.accept_secret(new);
    device.say(&report(4));
    device.expect("OK, THANKS!");
    assert_eq!(
        daemon.post(&format!("{path}/test"), &json!({})).status(),
        202
    );
    let during = receiver.wait_for_delivered(before + 2).len();

    // A day later.
    change(
        &daemon.database_url(),
        "UPDATE webhook_endpoints SET previous_until = 1",
    );
    let daemon = daemon.kill_and_restart();
    let after = daemon.log_in("truck");
    let messages = receiver.wait_for_delivered(during + 1);
    drop(after);

    let kinds: std::collections::BTreeSet<&str> = messages.iter().map(Received::kind).collect();
    assert!(kinds.contains("webhook.test") && kinds.contains("vehicle.debug_blob"));
    let count = messages.len();
    let knows_old: Vec<bool> = (0..count).map(|nth| nth < during).collect();
    let knows_new: Vec<bool> = (0..count).map(|nth| nth >= before).collect();
    for (library, verify) in VERIFIERS {
        assert_eq!(verify(old, &messages), knows_old, "{library}, old secret");
        assert_eq!(verify(new, &messages), knows_new, "{library}, new secret");
        let other = verify(Receiver::SECRET, &messages);
        assert_eq!(other, vec![false; count], "{library}, another secret");
    }
}
