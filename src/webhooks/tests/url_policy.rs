//! URL and IP policy at the moment of connecting.

use std::{
    env,
    net::IpAddr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::receiver::{
    EMPTY, PATIENCE, Receiver, client, client_for_names, failed, listener, no_connection_was_made,
    options, request_to,
};
use crate::{
    domain::{AttemptOutcome, FailureCause},
    webhooks::{Resolver, UrlPolicy, WebhookClient, WebhookClientOptions},
};

#[tokio::test]
async fn no_connection_is_made_to_a_private_address() {
    let (listener, address) = listener().await;
    let port = address.port();
    let client = client(PATIENCE);
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0",
        "[::ffff:127.0.0.1]",
        "localhost",
    ] {
        let attempt = client
            .send(&request_to(format!("http://{host}:{port}/"), false))
            .await;
        let (_, cause, error) = failed(&attempt);
        assert_eq!(cause, FailureCause::Endpoint);
        assert!(
            error.ends_with(", which webhooks must not reach"),
            "{error}"
        );
    }
    no_connection_was_made(listener).await;
}

#[tokio::test]
async fn a_name_is_checked_again_when_it_is_connected_to() {
    let (listener, address) = listener().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let resolver = Resolver::new(move |_name| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        let address: IpAddr = if first { [1, 1, 1, 1] } else { [127, 0, 0, 1] }.into();
        async move { Ok(vec![address]) }
    });
    let options = WebhookClientOptions {
        resolver: resolver.clone(),
        ..options(PATIENCE)
    };
    let url = format!("http://hook.test:{}/", address.port());
    let allowed = options.policy.check(&url).unwrap();
    allowed.check_host(&resolver).await.unwrap();
    let attempt = WebhookClient::new(&options)
        .unwrap()
        .send(&request_to(url, false))
        .await;
    assert_eq!(
        failed(&attempt),
        (
            None,
            FailureCause::Endpoint,
            "hook.test resolves to a loopback address, which webhooks must not reach"
        )
    );
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    no_connection_was_made(listener).await;
}

#[tokio::test]
async fn a_trusted_connection_is_not_used_for_other_endpoints() {
    let receiver = Receiver::answering(EMPTY).await;
    let url = format!("http://hook.test:{}/", receiver.address.port());
    let client = client_for_names();
    let attempt = client.send(&request_to(&url, true)).await;
    assert_eq!(attempt.outcome, AttemptOutcome::Delivered);
    let attempt = client.send(&request_to(&url, false)).await;
    assert!(failed(&attempt).2.contains("a loopback address"));
    assert_eq!(receiver.heads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_policy_can_allow_private_addresses() {
    let receiver = Receiver::answering(EMPTY).await;
    let client = WebhookClient::new(&WebhookClientOptions {
        policy: UrlPolicy::TRUSTED,
        ..options(PATIENCE)
    })
    .unwrap();
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{}/", receiver.address.port());
        let attempt = client.send(&request_to(url, false)).await;
        assert_eq!(attempt.outcome, AttemptOutcome::Delivered, "{host}");
    }
}

#[tokio::test]
async fn a_stricter_policy_applies_to_existing_endpoints() {
    let (listener, address) = listener().await;
    let client = WebhookClient::new(&WebhookClientOptions {
        policy: UrlPolicy {
            allow_http: false,
            allow_private: true,
            allow_any_port: false,
        },
        ..options(PATIENCE)
    })
    .unwrap();
    let attempt = client
        .send(&request_to(format!("http://{address}"), false))
        .await;
    assert!(failed(&attempt).2.contains("webhooks.allow_http"));
    no_connection_was_made(listener).await;
}

#[tokio::test]
async fn an_unknown_name_does_not_resolve() {
    let resolver = Resolver::new(async |_name| Err(std::io::Error::other("no such name")));
    let client = WebhookClient::new(&WebhookClientOptions {
        resolver,
        ..options(PATIENCE)
    });
    let attempt = client
        .unwrap()
        .send(&request_to("https://hook.test/", false))
        .await;
    assert_eq!(
        failed(&attempt),
        (
            None,
            FailureCause::Endpoint,
            "the name does not resolve: no such name"
        )
    );
}

/// The path of the test below, and the variable that marks its run in an environment with a proxy.
const PROXIED: (&str, &str) = (
    "webhooks::tests::url_policy::proxies_of_the_environment_are_ignored",
    "VEHICLE_GATEWAY_TEST_PROXIED",
);

#[tokio::test]
async fn proxies_of_the_environment_are_ignored() {
    let (test, mark) = PROXIED;
    if env::var_os(mark).is_some() {
        let receiver = Receiver::answering(EMPTY).await;
        let url = format!("http://hook.test:{}/", receiver.address.port());
        let attempt = client_for_names().send(&request_to(url, true)).await;
        assert_eq!(attempt.outcome, AttemptOutcome::Delivered);
        return;
    }
    let (proxy, address) = listener().await;
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test]).env(mark, "1");
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(name, format!("http://{address}"));
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
    no_connection_was_made(proxy).await;
}
