//! Where messages go, and where nobody gets them to.

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
    EMPTY, PATIENCE, Receiver, delivery, failed, listener, nobody_connected, options, sender,
    sender_of_names,
};
use crate::webhooks::{Lookup, Outcome, Rules, Sender, SenderOptions, check};

#[tokio::test]
async fn nobody_connects_to_an_address_that_is_not_public() {
    let (listener, address) = listener().await;
    let port = address.port();
    let sender = sender(PATIENCE);
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0",
        "[::ffff:127.0.0.1]",
        "localhost",
    ] {
        let attempt = sender
            .send(&delivery(format!("http://{host}:{port}/"), false))
            .await;
        let (_, is_endpoint, error) = failed(&attempt);
        assert!(is_endpoint);
        assert!(
            error.ends_with(", which webhooks must not reach"),
            "{error}"
        );
    }
    nobody_connected(listener).await;
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_once_it_was_checked_leads_nowhere() {
    let (listener, address) = listener().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let lookup = Lookup::new(move |_name| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        let address: IpAddr = if first { [1, 1, 1, 1] } else { [127, 0, 0, 1] }.into();
        async move { Ok(vec![address]) }
    });
    let options = SenderOptions {
        lookup: lookup.clone(),
        ..options(PATIENCE)
    };
    let url = format!("http://hook.test:{}/", address.port());
    let target = check(&url, options.rules).unwrap();
    target.check_addresses(&lookup).await.unwrap();
    let attempt = Sender::new(&options)
        .unwrap()
        .send(&delivery(url, false))
        .await;
    assert_eq!(
        failed(&attempt),
        (
            None,
            true,
            "hook.test resolves to 127.0.0.1, a loopback address, which webhooks must not reach"
        )
    );
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    nobody_connected(listener).await;
}

#[tokio::test]
async fn an_endpoint_of_the_settings_may_be_anywhere_but_lends_its_connection_to_no_other() {
    let receiver = Receiver::that_says(EMPTY).await;
    let url = format!("http://hook.test:{}/", receiver.address.port());
    let sender = sender_of_names();
    let attempt = sender.send(&delivery(&url, true)).await;
    assert_eq!(attempt.outcome, Outcome::Delivered);
    let attempt = sender.send(&delivery(&url, false)).await;
    assert!(failed(&attempt).2.contains("a loopback address"));
    assert_eq!(receiver.heads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn where_private_addresses_are_allowed_every_endpoint_may_have_one() {
    let receiver = Receiver::that_says(EMPTY).await;
    let sender = Sender::new(&SenderOptions {
        rules: Rules::TRUSTED,
        ..options(PATIENCE)
    })
    .unwrap();
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{}/", receiver.address.port());
        let attempt = sender.send(&delivery(url, false)).await;
        assert_eq!(attempt.outcome, Outcome::Delivered, "{host}");
    }
}

#[tokio::test]
async fn the_rules_of_today_hold_for_endpoints_of_yesterday() {
    let (listener, address) = listener().await;
    let sender = Sender::new(&SenderOptions {
        rules: Rules {
            allow_http: false,
            allow_private: true,
        },
        ..options(PATIENCE)
    })
    .unwrap();
    let attempt = sender
        .send(&delivery(format!("http://{address}"), false))
        .await;
    assert!(failed(&attempt).2.contains("webhooks.allow_http"));
    nobody_connected(listener).await;
}

#[tokio::test]
async fn a_name_that_nobody_knows_does_not_resolve() {
    let lookup = Lookup::new(async |_name| Err(std::io::Error::other("no such name")));
    let sender = Sender::new(&SenderOptions {
        lookup,
        ..options(PATIENCE)
    });
    let attempt = sender
        .unwrap()
        .send(&delivery("https://hook.test/", false))
        .await;
    assert_eq!(
        failed(&attempt),
        (None, true, "the name does not resolve: no such name")
    );
}

/// Where the test below is, and whether it is the one that is run in an environment with a proxy.
const PROXIED: (&str, &str) = (
    "webhooks::tests::places::the_proxies_of_the_environment_are_not_asked",
    "VEHICLE_GATEWAY_TEST_PROXIED",
);

#[tokio::test]
async fn the_proxies_of_the_environment_are_not_asked() {
    let (test, mark) = PROXIED;
    if env::var_os(mark).is_some() {
        let receiver = Receiver::that_says(EMPTY).await;
        let url = format!("http://hook.test:{}/", receiver.address.port());
        let attempt = sender_of_names().send(&delivery(url, true)).await;
        assert_eq!(attempt.outcome, Outcome::Delivered);
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
    nobody_connected(proxy).await;
}
