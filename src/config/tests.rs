//! [`load`] as its callers use it: sources in, settings or problems out.

mod embedded;
mod tls;
mod urls;
mod webhooks;

use std::{fs, path::PathBuf, time::Duration};

use tempfile::TempDir;

use super::{ConfigProblems, Settings, Sources, load, secret_url};

/// Sources built from literals. Their files are in a temporary folder.
struct TestSources {
    folder: TempDir,
    sources: Sources,
}

fn sources() -> TestSources {
    TestSources {
        folder: tempfile::tempdir().unwrap(),
        sources: Sources::default(),
    }
}

impl TestSources {
    fn file(mut self, name: &str, text: &str) -> Self {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        self.sources.files.push(path);
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.into(), value.into()));
        self
    }

    fn set(mut self, flag: &str) -> Self {
        self.sources.overrides.push(flag.into());
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self) -> Settings {
        load(&self.sources).unwrap()
    }

    fn problems(&self) -> ConfigProblems {
        load(&self.sources).unwrap_err()
    }

    /// The displayed problems, without the folder in file names.
    fn problem_lines(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        let lines = self.problems().to_string().replace(&folder, "");
        lines.lines().map(str::to_owned).collect()
    }
}

#[test]
fn flags_override_environment_override_files_override_defaults() {
    let settings = sources()
        .file(
            "one.toml",
            "[device]\npipeline = 1\nmax_bad_sentences = 1\nsilence_timeout = '1s'\nwrite_timeout = '1s'",
        )
        .file(
            "two.toml",
            "[device]\nmax_bad_sentences = 2\nsilence_timeout = '2s'\nwrite_timeout = '2s'",
        )
        .variable("GATEWAY_DEVICE__SILENCE_TIMEOUT", "3s")
        .variable("GATEWAY_DEVICE__WRITE_TIMEOUT", "3s")
        .set("device.write_timeout=4s")
        .settings()
        .device;
    assert_eq!(settings.login_timeout, Duration::from_mins(1));
    assert_eq!(settings.pipeline, 1);
    assert_eq!(settings.max_bad_sentences, 2);
    assert_eq!(settings.silence_timeout, Duration::from_secs(3));
    assert_eq!(settings.write_timeout, Duration::from_secs(4));
}

#[test]
fn the_last_flag_wins_and_values_may_contain_an_equals_sign() {
    let settings = sources()
        .set("log.filter=warn")
        .set("log.filter=info,vehicle_gateway=debug")
        .settings();
    assert_eq!(settings.log.filter, "info,vehicle_gateway=debug");
}

#[test]
fn numbers_and_sizes_may_be_toml_numbers_or_text() {
    let settings = sources()
        .file(
            "g.toml",
            "device.max_blob = 2048\nhttp.max_body = '2 KiB'\ndevice.pipeline = '7'",
        )
        .variable("GATEWAY_DATABASE__READERS", "2")
        .settings();
    assert_eq!(settings.device.max_blob, 2048);
    assert_eq!(settings.http.max_body, 2048);
    assert_eq!(settings.device.pipeline, 7);
    assert_eq!(settings.database.readers, 2);
}

#[test]
fn all_problems_are_reported_at_once() {
    let lines = sources()
        .file(
            "g.toml",
            "[http]\nlisten = 'localhost:3000'\nheader_timeout = 10\nmax_connections = 2.0\n\
             [device]\nmax_sentence = '1 MiB'\npipeline = [1]\nlisten = 2026-01-01\n\
             [database]\nreaders = true\n",
        )
        .variable("GATEWAY_LOG__FORMAT", "pretty")
        .variable("GATEWAY_LOG__FILTER", "inof")
        .variable("GATEWAY_INSTANCE__ID", "a\nb")
        .set("retention.reports=90s")
        .set("shutdown.grace=")
        .problem_lines();
    assert_eq!(
        lines,
        [
            r#"instance.id: found "a\nb" in environment variable GATEWAY_INSTANCE__ID; allowed: 1 to 64 printable characters, or "" for the host name"#,
            r#"http.listen: found "localhost:3000" in file g.toml; allowed: an IP address and a port, such as 127.0.0.1:3000"#,
            "http.header_timeout: found 10 in file g.toml; allowed: a duration from 100ms to 5m",
            "http.max_connections: found 2.0 in file g.toml; allowed: a whole number from 1 to 1000000",
            "device.listen: found a table or a date in file g.toml; allowed: an IP address and a port, such as 127.0.0.1:3000",
            r#"device.max_sentence: found "1 MiB" in file g.toml; allowed: a size from 256 B to 64 KiB"#,
            "device.pipeline: found a list in file g.toml; allowed: a whole number from 1 to 1024",
            "database.readers: found true in file g.toml; allowed: a whole number from 1 to 64",
            r#"retention.reports: found "90s" in --set retention.reports; allowed: a duration from 1h to 3650d"#,
            r#"shutdown.grace: found "" in --set shutdown.grace; allowed: a duration from 0s to 10m"#,
            r#"log.format: found "pretty" in environment variable GATEWAY_LOG__FORMAT; allowed: human or json"#,
            r#"log.filter: found "inof" in environment variable GATEWAY_LOG__FILTER; allowed: LEVEL or TARGET=LEVEL, joined by commas"#,
        ]
    );
}

#[test]
fn unknown_keys_are_reported_with_a_suggestion_and_without_their_value() {
    let lines = sources()
        .file(
            "g.toml",
            "'http.listen' = 1\nzzz = 'hunter2'\n[device]\nsilence_timout = '9s'\n[htp]\nlisten = 1\n[empty]\n",
        )
        .variable("GATEWAY_DATABASE__PASSWORD", "hunter2")
        .variable("GATEWAY_HTTP__LISTN", "127.0.0.1:1")
        .set("log.formt=json")
        .set("http=5")
        .set("hunter2")
        .set("=")
        .problem_lines();
    assert_eq!(
        lines,
        [
            r#"--set: a flag without "="; allowed: --set KEY=VALUE"#,
            r#""": no such key, found in --set ""; docs/configuration.md lists the keys"#,
            r#""http.listen": no such key, found in file g.toml; did you mean http.listen?"#,
            "database.password: no such key, found in environment variable GATEWAY_DATABASE__PASSWORD; docs/configuration.md lists the keys",
            "device.silence_timout: no such key, found in file g.toml; did you mean device.silence_timeout?",
            "empty: no such key, found in file g.toml; docs/configuration.md lists the keys",
            "htp.listen: no such key, found in file g.toml; did you mean http.listen?",
            "http.listn: no such key, found in environment variable GATEWAY_HTTP__LISTN; did you mean http.listen?",
            "log.formt: no such key, found in --set log.formt; did you mean log.format?",
            "zzz: no such key, found in file g.toml; docs/configuration.md lists the keys",
            r#"http: found "5" in --set http; allowed: a section with keys of its own"#,
        ]
    );
}

#[test]
fn a_problem_is_reported_even_if_a_later_layer_hides_it() {
    let lines = sources()
        .file("one.toml", "http = 'off'")
        .file("two.toml", "[http]\nlisten = '127.0.0.1:1'")
        .problem_lines();
    let one = r#"http: found "off" in file one.toml; allowed: a section with keys of its own"#;
    assert_eq!(lines, [one]);
}

#[test]
fn variables_that_are_no_settings_are_ignored() {
    let settings = sources()
        .variable("GATEWAY_PORT", "tcp://10.0.0.1:80")
        .variable("GATEWAY_SERVICE_HOST", "10.0.0.1")
        .variable("GATEWAY_SERVICE_PORT_HTTP", "80")
        .variable("GATEWAY_HTTP_SERVICE_HOST", "10.0.0.1")
        .variable("GATEWAY_HTTP_PORT", "tcp://10.0.0.1:80")
        .variable("GATEWAY_DEVICE_PORT_4000_TCP_ADDR", "10.0.0.1")
        .variable("GATEWAY_REDIS_PORT", "tcp://10.0.0.1:6379")
        .variable("GATEWAY_", "")
        .variable("MY_GATEWAY_HTTP__LISTEN", "x")
        .variable("HTTP__LISTEN", "x")
        .settings();
    assert_eq!(settings, sources().settings());
}

#[test]
fn a_variable_that_is_nearly_a_setting_is_named_with_the_right_spelling() {
    for name in [
        "GATEWAY_HTTP_LISTEN",
        "GATEWAY_HTTPLISTEN",
        "GATEWAY_HTTP_LISTN",
        "gateway_http__listen",
    ] {
        let lines = sources().variable(name, "127.0.0.1:1").problem_lines();
        let one = format!(
            "environment variable {name}: sets nothing; did you mean GATEWAY_HTTP__LISTEN?"
        );
        assert_eq!(lines, [one]);
    }
    // An underscore within a name is single.
    let lines = sources()
        .variable("GATEWAY_STORE_COMMIT_TIMEOUT", "1s")
        .problem_lines();
    assert!(lines[0].ends_with("did you mean GATEWAY_STORE__COMMIT_TIMEOUT?"));
}

#[test]
fn two_variables_for_one_key_are_a_problem() {
    let lines = sources()
        .variable("GATEWAY_LOG__FORMAT", "json")
        .variable("GATEWAY_log__format", "human")
        .problem_lines();
    let one = "environment variable GATEWAY_log__format: another variable sets log.format too";
    assert_eq!(lines, [one]);
}

#[test]
fn missing_and_invalid_files_are_problems() {
    let mut sources = sources().file(
        "broken.toml",
        "[http]\nlisten = 'x'\n\n  url = 'mysql://joe:s3cret",
    );
    sources.sources.files.push(sources.path("missing.toml"));
    let lines = sources.set("device.max_blob=16 MiB").problem_lines();
    assert_eq!(
        lines,
        [
            "file broken.toml: not valid TOML at line 4, column 28: invalid literal string",
            "file missing.toml: cannot be read: No such file or directory (os error 2)",
        ],
        "no problem of a budget that the files may have set"
    );
}

#[test]
fn parent_folders_are_not_searched_for_a_file() {
    // `Cargo.toml` is found from `src` by tools that search upwards; tests run beside it.
    let mut sources = sources();
    sources.sources.files.push("src/Cargo.toml".into());
    let lines = sources.problem_lines();
    assert_eq!(
        lines,
        ["file src/Cargo.toml: cannot be read: No such file or directory (os error 2)"]
    );
}

#[test]
fn rules_between_settings_are_checked_once_each_is_valid() {
    let lines = sources()
        .file(
            "g.toml",
            "device.max_blob = '16 MiB'\nstore.queue = '8 MiB'",
        )
        .set("device.listen=127.0.0.1:3000")
        .set("device.login_timeout=200ms")
        .problem_lines();
    assert_eq!(
        lines,
        [
            r#"device.listen: found "127.0.0.1:3000" in --set device.listen; allowed: another address or port than http.listen"#,
            r#"device.greeting_delay: found "200ms" in the embedded defaults; allowed: less than device.login_timeout, 200ms"#,
            r#"device.buffer_budget: found "64 MiB" in the embedded defaults; allowed: at least 4 × device.max_blob + 64 KiB, 65600 KiB"#,
            r#"store.queue: found "8 MiB" in file g.toml; allowed: at least 2 × device.max_blob, 32 MiB"#,
        ]
    );
    let open = sources().set("http.listen=0.0.0.0:3000");
    let lines = open.problem_lines().join("\n");
    assert!(
        lines.contains("http.listen: found \"0.0.0.0:3000\""),
        "{lines}"
    );
    assert!(
        lines.contains("as long as http.auth is \"loopback\""),
        "{lines}"
    );
    let off = sources()
        .set("http.listen=0.0.0.0:3000")
        .set("http.auth=off");
    assert!(!off.settings().http.listen.ip().is_loopback());
    let lines = sources().set("device.max_blob=17 MiB").problem_lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let free_ports = sources()
        .set("http.listen=127.0.0.1:0")
        .set("device.listen=127.0.0.1:0");
    assert_eq!(free_ports.settings().device.listen.port(), 0);
}

#[test]
fn text_keeps_leading_zeros_and_toml_numbers_may_be_text() {
    let id = |sources: TestSources| sources.settings().instance.id;
    assert_eq!(
        id(sources().variable("GATEWAY_INSTANCE__ID", "0012")),
        "0012"
    );
    assert_eq!(id(sources().set("instance.id=1e5")), "1e5");
    assert_eq!(id(sources().file("g.toml", "instance.id = 12")), "12");
    assert_eq!(
        id(sources().variable("GATEWAY_INSTANCE__ID", "true")),
        "true"
    );
}

#[test]
fn the_instance_name_defaults_to_the_host_name() {
    let host = gethostname::gethostname().into_string().unwrap();
    assert_eq!(sources().settings().instance.id, host);
    for bad in [" a", "a ", " ", "a\tb", "\u{fffd}", &"ä".repeat(65)] {
        let lines = sources().set(&format!("instance.id={bad}")).problem_lines();
        assert_eq!(lines.len(), 1, "{bad:?}");
    }
    let longest = "ä".repeat(64);
    let settings = sources().set(&format!("instance.id={longest}")).settings();
    assert_eq!(settings.instance.id, longest);
}

#[test]
fn lists_look_the_same_in_files_environment_and_flags() {
    let list = r#"["10.1.2.3/8", "192.0.2.7", "2001:db8::/32", "::1"]"#;
    let key = "device.proxy_sources";
    for sources in [
        sources().file("g.toml", &format!("{key} = {list}")),
        sources().variable("GATEWAY_DEVICE__PROXY_SOURCES", list),
        sources().set(&format!("{key}={list}")),
    ] {
        let sources = sources.settings().device.proxy_sources;
        let lines: Vec<_> = sources.iter().map(ToString::to_string).collect();
        let networks = ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::1/128"];
        assert_eq!(lines, networks);
    }
}

#[test]
fn each_invalid_item_of_a_list_is_reported() {
    let allowed =
        r#"allowed: a list of IP addresses and networks, such as ["10.0.0.0/8", "192.0.2.7"]"#;
    let lines = sources()
        .file(
            "g.toml",
            "device.proxy_sources = ['balancer.example', '::1', '10.0.0.0/33', 10, '::ffff:10.0.0.1']",
        )
        .problem_lines();
    let found = [
        r#""balancer.example""#,
        r#""10.0.0.0/33""#,
        "10",
        r#""::ffff:10.0.0.1""#,
    ];
    let wanted =
        found.map(|found| format!("device.proxy_sources: found {found} in file g.toml; {allowed}"));
    assert_eq!(lines, wanted);
    for bad in ["", "10.0.0.0/8", "[]", "['::1']", r#"["::1""#, "[1]"] {
        let lines = sources()
            .set(&format!("device.proxy_sources={bad}"))
            .problem_lines();
        let wanted =
            format!("device.proxy_sources: found {bad:?} in --set device.proxy_sources; {allowed}");
        assert_eq!(lines, [wanted]);
    }
    let lines = sources()
        .file("g.toml", "device.proxy_sources = []")
        .problem_lines();
    assert!(
        lines[0].contains("found an empty list in file g.toml"),
        "{lines:?}"
    );
}

#[test]
fn a_log_filter_is_levels_and_targets_with_levels() {
    for good in [
        "warn",
        "OFF",
        "info,sqlx=warn",
        "a::b=trace,error",
        "[span{a}]=debug",
    ] {
        let settings = sources().set(&format!("log.filter={good}")).settings();
        assert_eq!(settings.log.filter, good);
    }
    for bad in [
        "",
        "inof",
        "info,sqlx",
        "info,",
        "sqlx=loud",
        "info;warn",
        "info, sqlx=warn",
    ] {
        let lines = sources().set(&format!("log.filter={bad}")).problem_lines();
        assert_eq!(lines.len(), 1, "{bad:?}");
    }
}

#[test]
fn the_effective_settings_read_back_to_the_same_settings() {
    let settings = sources()
        .set(r#"instance.id="north" \ ä"#)
        .set("log.format=json")
        .set("device.greeting_delay=0s")
        .set("store.commit_timeout=1500us")
        .set("store.commit_timeout=1m 30s 5ms")
        .set("http.max_body=1025")
        .set("http.listen=[::1]:0")
        .set("http.tls.certificate=a b.pem")
        .set("http.tls.key=/k\\")
        .set("device.tls.listen=[::]:4443")
        .set("device.tls.certificate=a")
        .set("device.tls.key=a")
        .set("device.tls.client_ca=b")
        .set("device.tls.require_client_certificate=true")
        .set("device.proxy_protocol=required")
        .set(r#"device.proxy_sources=["10.0.0.5", "fd00::/8"]"#)
        .settings();
    let toml = settings.to_toml_masked();
    assert_eq!(
        sources().file("g.toml", &toml).settings(),
        settings,
        "{toml}"
    );

    let keys = toml.lines().filter(|line| line.contains(" = ")).count();
    assert_eq!(keys, embedded::defaults().len(), "{toml}");
}
