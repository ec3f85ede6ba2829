//! The `[webhooks]` section.

use std::time::Duration;

use super::sources;

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

#[test]
fn a_retry_schedule_begins_with_zero() {
    let settings = sources()
        .set(r#"webhooks.retry_schedule=["0s", "1h"]"#)
        .settings();
    let schedule = settings.webhooks.retry_schedule;
    assert_eq!(schedule, [Duration::ZERO, Duration::from_hours(1)]);
    let lines = sources()
        .set(r#"webhooks.retry_schedule=["5s", "1h"]"#)
        .problem_lines();
    assert_eq!(
        lines,
        [
            r#"webhooks.retry_schedule: found "[\"5s\", \"1h\"]" in --set webhooks.retry_schedule; allowed: a list of durations that begins with 0s, each up to 7d, such as ["0s", "5s", "5m"]"#
        ]
    );
}

#[test]
fn endpoint_urls_are_http_without_user_and_fragment() {
    let with = |url: &str| {
        let endpoint = format!(r#"[{{"url":"{url}","secret":"{SECRET}"}}]"#);
        sources().set(&format!("webhooks.endpoints={endpoint}"))
    };
    for good in ["https://a.example/", "http://127.0.0.1:9000/hooks?key=1"] {
        let settings = with(good).settings();
        assert_eq!(settings.webhooks.endpoints[0].url.as_str(), good);
    }
    for bad in [
        "a.example",
        "ftp://a.example/",
        "https://",
        "https://joe@a.example/",
        "https://joe:s3cret@a.example/",
        "https://a.example/#part",
        "https://a example/",
        "https://a.example:99999/",
    ] {
        let lines = with(bad).problem_lines();
        assert_eq!(lines.len(), 1, "{bad}: {lines:?}");
        assert!(
            lines[0].starts_with("webhooks.endpoints: found "),
            "{lines:?}"
        );
        assert!(!lines[0].contains("whsec_MDEy"), "{lines:?}");
    }
}

#[test]
fn the_path_and_the_query_of_a_webhook_are_masked_wherever_they_are_shown() {
    let endpoint = |url: &str| {
        let endpoint = format!(r#"[{{"url":"{url}","secret":"{SECRET}"}}]"#);
        format!("webhooks.endpoints={endpoint}")
    };
    for (url, shown) in [
        ("https://hook.example/", "https://hook.example/"),
        ("https://hook.example", "https://hook.example/"),
        (
            "https://hook.example:8443/s3cret",
            "https://hook.example:8443/***",
        ),
        ("http://10.0.0.1/?key=s3cret", "http://10.0.0.1/***"),
    ] {
        let settings = sources().set(&endpoint(url)).settings();
        for text in [settings.to_toml_masked(), format!("{settings:?}")] {
            assert!(text.contains(&format!("{shown:?}")), "{text}");
            assert!(!text.contains("s3cret"), "{text}");
        }
    }
}
