//! The settings as their callers meet them: sources in, settings or problems out.

mod embedded;
mod webhooks;

use std::{fs, path::PathBuf, time::Duration};

use tempfile::TempDir;

use super::{Problems, Settings, Sources, load, secret_url};

/// Sources made of literals; the folder lives as long as they do.
struct Given {
    folder: TempDir,
    sources: Sources,
}

fn given() -> Given {
    Given {
        folder: tempfile::tempdir().unwrap(),
        sources: Sources::default(),
    }
}

impl Given {
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

    fn problems(&self) -> Problems {
        load(&self.sources).unwrap_err()
    }

    /// The problems as they are displayed, with the folder taken out of file names.
    fn told(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        let told = self.problems().to_string().replace(&folder, "");
        told.lines().map(str::to_owned).collect()
    }
}

#[test]
fn flags_win_over_the_environment_over_later_files_over_earlier_files_over_defaults() {
    let settings = given()
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
fn the_last_of_two_flags_wins_and_a_value_may_hold_an_equals_sign() {
    let settings = given()
        .set("log.filter=warn")
        .set("log.filter=info,vehicle_gateway=debug")
        .settings();
    assert_eq!(settings.log.filter, "info,vehicle_gateway=debug");
}

#[test]
fn a_number_and_a_size_may_be_written_as_toml_numbers_or_as_text() {
    let settings = given()
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
fn all_problems_are_told_at_once_each_with_key_source_found_and_allowed() {
    let told = given()
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
        .told();
    assert_eq!(
        told,
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
fn unknown_keys_of_every_layer_are_told_with_the_key_that_was_meant_but_without_their_value() {
    let told = given()
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
        .told();
    assert_eq!(
        told,
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
fn a_key_is_told_even_where_a_later_layer_hides_it() {
    let told = given()
        .file("one.toml", "http = 'off'")
        .file("two.toml", "[http]\nlisten = '127.0.0.1:1'")
        .told();
    let one = r#"http: found "off" in file one.toml; allowed: a section with keys of its own"#;
    assert_eq!(told, [one]);
}

#[test]
fn variables_that_name_no_setting_are_ignored() {
    let settings = given()
        .variable("GATEWAY_PORT", "tcp://10.0.0.1:80")
        .variable("GATEWAY_SERVICE_HOST", "10.0.0.1")
        .variable("GATEWAY_", "")
        .variable("MY_GATEWAY_HTTP__LISTEN", "x")
        .variable("HTTP__LISTEN", "x")
        .settings();
    assert_eq!(settings, given().settings());
}

#[test]
fn two_variables_for_one_key_are_a_problem() {
    let told = given()
        .variable("GATEWAY_LOG__FORMAT", "json")
        .variable("GATEWAY_log__format", "human")
        .told();
    let one = "environment variable GATEWAY_log__format: another variable sets log.format too";
    assert_eq!(told, [one]);
}

#[test]
fn a_missing_file_is_a_problem_and_so_is_one_that_is_no_toml() {
    let mut given = given().file(
        "broken.toml",
        "[http]\nlisten = 'x'\n\n  url = 'mysql://joe:s3cret",
    );
    given.sources.files.push(given.path("missing.toml"));
    let told = given.set("device.max_blob=16 MiB").told();
    assert_eq!(
        told,
        [
            "file broken.toml: not valid TOML at line 4, column 28: invalid literal string",
            "file missing.toml: cannot be read: No such file or directory (os error 2)",
        ],
        "and nothing about a budget that the files may have set"
    );
}

#[test]
fn a_file_is_not_searched_for_in_parent_folders() {
    // `Cargo.toml` is found from `src` by tools that search upwards; tests run beside it.
    let mut given = given();
    given.sources.files.push("src/Cargo.toml".into());
    let told = given.told();
    assert_eq!(
        told,
        ["file src/Cargo.toml: cannot be read: No such file or directory (os error 2)"]
    );
}

#[test]
fn settings_that_do_not_go_together_are_told_unless_one_is_wrong_by_itself() {
    let told = given()
        .file(
            "g.toml",
            "device.max_blob = '16 MiB'\nstore.queue = '8 MiB'",
        )
        .set("device.listen=127.0.0.1:3000")
        .set("device.login_timeout=200ms")
        .told();
    assert_eq!(
        told,
        [
            r#"device.listen: found "127.0.0.1:3000" in --set device.listen; allowed: another address or port than http.listen"#,
            r#"device.greeting_delay: found "200ms" in the embedded defaults; allowed: less than device.login_timeout, 200ms"#,
            r#"device.buffer_budget: found "64 MiB" in the embedded defaults; allowed: at least 4 × device.max_blob + 64 KiB, 65600 KiB"#,
            r#"store.queue: found "8 MiB" in file g.toml; allowed: at least 2 × device.max_blob, 32 MiB"#,
        ]
    );
    let told = given().set("device.max_blob=17 MiB").told();
    assert_eq!(told.len(), 1, "{told:?}");
    let free_ports = given()
        .set("http.listen=127.0.0.1:0")
        .set("device.listen=127.0.0.1:0");
    assert_eq!(free_ports.settings().device.listen.port(), 0);
}

#[test]
fn a_file_of_sqlite_and_a_database_on_a_server_are_databases() {
    for good in [
        "sqlite://a.db",
        "sqlite:///var/lib/g.db",
        "sqlite://./a b/c:d.db",
        "mysql://host/db",
        "mysql://joe:s3/cr@et@host:3306/db?ssl-mode=REQUIRED",
        "postgres://[::1]:5432/db",
        "postgresql://joe@host/db",
    ] {
        let settings = given().set(&format!("database.url={good}")).settings();
        assert_eq!(settings.database.url.as_str(), good);
    }
    for bad in [
        "",
        "a.db",
        "sqlite:a.db",
        "sqlite://",
        "sqlite:///",
        "sqlite://dir/",
        "sqlite::memory:",
        "sqlite://:memory:",
        "sqlite://file::memory:",
        "sqlite://a.db?mode=memory",
        "sqlite://a%20b.db",
        "mysql://",
        "mysql://host",
        "mysql://host/",
        "mysql:///db",
        "mysql://joe:s3cret@/db",
        "mysql://:3306/db",
        "mariadb://host/db",
        "mysql:host/db",
    ] {
        let told = given().set(&format!("database.url={bad}")).told();
        let allowed = format!("allowed: {}", secret_url::DATABASE);
        assert!(told.len() == 1 && told[0].ends_with(&allowed), "{told:?}");
    }
}

#[test]
fn redis_may_be_one_server_a_sentinel_or_a_cluster_but_not_beside_a_file() {
    let on_a_server = || given().set("database.url=mysql://host/db");
    for good in [
        "",
        "redis://host",
        "rediss://joe:s3/cr@et@host:6379",
        "redis-sentinel://a:26379?node=b:26379&sentinelServiceName=main",
        "rediss-cluster://[::1]:6379?node=b:6379",
    ] {
        let settings = on_a_server().set(&format!("redis.url={good}")).settings();
        assert_eq!(settings.redis.url.as_str(), good);
        assert_eq!(settings.redis.url.is_none(), good.is_empty());
    }
    for bad in [
        "host",
        "redis:host",
        "redis://",
        "redis://:6379",
        "redis://joe@",
        "http://host",
        "redis-unix://a",
    ] {
        let told = on_a_server().set(&format!("redis.url={bad}")).told();
        let allowed = format!("allowed: {}", secret_url::REDIS);
        assert!(told.len() == 1 && told[0].ends_with(&allowed), "{told:?}");
    }
    let told = given().set("redis.url=redis://joe:s3cret@host").told();
    assert_eq!(
        told,
        [
            r#"redis.url: found "redis://joe:***@host" in --set redis.url; allowed: "" with a database in a file, which belongs to one instance; several need a database on a server"#
        ]
    );
}

#[test]
fn passwords_are_masked_in_problems_and_wherever_settings_are_shown() {
    let told = given()
        .variable("GATEWAY_DATABASE__URL", "mariadb://joe:s3cret@host/db")
        .told();
    assert!(told[0].starts_with(r#"database.url: found "mariadb://joe:***@host/db" in "#));

    let settings = given()
        .set("database.url=sqlite://joe:s3cret@host.db")
        .settings();
    assert_eq!(
        settings.database.url.as_str(),
        "sqlite://joe:s3cret@host.db"
    );
    for shown in [
        settings.to_toml_masked(),
        format!("{settings:?}"),
        settings.database.url.to_string(),
    ] {
        assert!(shown.contains("sqlite://joe:***@host.db"), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[test]
fn text_of_digits_keeps_its_leading_zeros_and_a_toml_number_may_be_text() {
    let id = |given: Given| given.settings().instance.id;
    assert_eq!(id(given().variable("GATEWAY_INSTANCE__ID", "0012")), "0012");
    assert_eq!(id(given().set("instance.id=1e5")), "1e5");
    assert_eq!(id(given().file("g.toml", "instance.id = 12")), "12");
    assert_eq!(id(given().variable("GATEWAY_INSTANCE__ID", "true")), "true");
}

#[test]
fn the_instance_is_called_like_the_host_unless_it_has_a_name() {
    let host = gethostname::gethostname().into_string().unwrap();
    assert_eq!(given().settings().instance.id, host);
    for bad in [" a", "a ", " ", "a\tb", "\u{fffd}", &"ä".repeat(65)] {
        let told = given().set(&format!("instance.id={bad}")).told();
        assert_eq!(told.len(), 1, "{bad:?}");
    }
    let longest = "ä".repeat(64);
    let settings = given().set(&format!("instance.id={longest}")).settings();
    assert_eq!(settings.instance.id, longest);
}

#[test]
fn a_list_is_written_the_same_in_a_file_in_the_environment_and_in_a_flag() {
    let list = r#"["10.1.2.3/8", "192.0.2.7", "2001:db8::/32", "::1"]"#;
    let key = "device.proxy_sources";
    for given in [
        given().file("g.toml", &format!("{key} = {list}")),
        given().variable("GATEWAY_DEVICE__PROXY_SOURCES", list),
        given().set(&format!("{key}={list}")),
    ] {
        let sources = given.settings().device.proxy_sources;
        let told: Vec<_> = sources.iter().map(ToString::to_string).collect();
        let networks = ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::1/128"];
        assert_eq!(told, networks);
    }
}

#[test]
fn each_wrong_item_of_a_list_is_told_and_so_is_what_is_no_list_or_empty() {
    let allowed =
        r#"allowed: a list of IP addresses and networks, such as ["10.0.0.0/8", "192.0.2.7"]"#;
    let told = given()
        .file(
            "g.toml",
            "device.proxy_sources = ['balancer.example', '::1', '10.0.0.0/33', 10, '::ffff:10.0.0.1']",
        )
        .told();
    let found = [
        r#""balancer.example""#,
        r#""10.0.0.0/33""#,
        "10",
        r#""::ffff:10.0.0.1""#,
    ];
    let wanted =
        found.map(|found| format!("device.proxy_sources: found {found} in file g.toml; {allowed}"));
    assert_eq!(told, wanted);
    for bad in ["", "10.0.0.0/8", "[]", "['::1']", r#"["::1""#, "[1]"] {
        let told = given().set(&format!("device.proxy_sources={bad}")).told();
        let wanted =
            format!("device.proxy_sources: found {bad:?} in --set device.proxy_sources; {allowed}");
        assert_eq!(told, [wanted]);
    }
    let told = given().file("g.toml", "device.proxy_sources = []").told();
    assert!(
        told[0].contains("found an empty list in file g.toml"),
        "{told:?}"
    );
}

#[test]
fn a_filter_is_levels_and_targets_with_levels() {
    for good in [
        "warn",
        "OFF",
        "info,sqlx=warn",
        "a::b=trace,error",
        "[span{a}]=debug",
    ] {
        let settings = given().set(&format!("log.filter={good}")).settings();
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
        let told = given().set(&format!("log.filter={bad}")).told();
        assert_eq!(told.len(), 1, "{bad:?}");
    }
}

#[test]
fn the_effective_settings_read_back_to_the_same_settings() {
    let settings = given()
        .set(r#"instance.id="north" \ ä"#)
        .set("log.format=json")
        .set("device.greeting_delay=0s")
        .set("store.commit_timeout=1500us")
        .set("store.commit_timeout=1m 30s 5ms")
        .set("http.max_body=1025")
        .set("http.listen=[::1]:0")
        .set("device.proxy_protocol=required")
        .set(r#"device.proxy_sources=["10.0.0.5", "fd00::/8"]"#)
        .settings();
    let toml = settings.to_toml_masked();
    assert_eq!(given().file("g.toml", &toml).settings(), settings, "{toml}");

    let keys = toml.lines().filter(|line| line.contains(" = ")).count();
    assert_eq!(keys, embedded::defaults().len(), "{toml}");
}
