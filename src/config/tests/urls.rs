//! URLs of the database and of Redis, and secrets in the wrong place.

use super::{secret_url, sources};

#[test]
fn an_unknown_parameter_of_a_database_url_is_refused_with_the_nearest() {
    for (url, hint) in [
        (
            "mysql://host/db?ssl_mode=REQUIRED",
            "did you mean ssl-mode?",
        ),
        ("mysql://host/db?tls=true", "for TLS: ssl-mode=…"),
        (
            "mariadb://host/db?ssl-mode=REQUIRED&sslca2=x",
            "did you mean sslca?",
        ),
        ("postgres://host/db?sslmod=require", "did you mean sslmode?"),
        ("postgres://host/db?ssl=true", "for TLS: sslmode=…"),
    ] {
        let lines = sources()
            .set(&format!("database.url={url}"))
            .problem_lines();
        assert!(lines.len() == 1 && lines[0].ends_with(hint), "{lines:?}");
    }
}

#[test]
fn a_database_url_names_a_file_or_a_server() {
    for good in [
        "sqlite://a.db",
        "sqlite:///var/lib/g.db",
        "sqlite://./a b/c:d.db",
        "mysql://host/db",
        "mysql://joe:s3/cr@et@host:3306/db?ssl-mode=REQUIRED",
        "postgres://[::1]:5432/db",
        "postgresql://joe@host/db",
        "mariadb://joe@host/db",
        "postgres://joe@host/db?sslmode=verify-full&sslrootcert=/ca.pem&options[search_path]=x",
    ] {
        let settings = sources().set(&format!("database.url={good}")).settings();
        assert_eq!(settings.database.url.as_str(), good);
    }
    for usual in [
        "sqlite:a.db",
        "sqlite://a.db?mode=rwc",
        "sqlite:a.db?mode=rwc",
    ] {
        let settings = sources().set(&format!("database.url={usual}")).settings();
        assert_eq!(settings.database.url.as_str(), "sqlite://a.db");
    }
    for bad in [
        "",
        "a.db",
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
        "mariadb://host",
        "mysql:host/db",
    ] {
        let lines = sources()
            .set(&format!("database.url={bad}"))
            .problem_lines();
        let allowed = format!("allowed: {}", secret_url::DATABASE);
        assert!(
            lines.len() == 1 && lines[0].ends_with(&allowed),
            "{lines:?}"
        );
    }
}

#[test]
fn a_redis_url_names_a_server_sentinel_or_cluster_and_needs_a_database_server() {
    let on_a_server = || sources().set("database.url=mysql://host/db");
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
        let lines = on_a_server()
            .set(&format!("redis.url={bad}"))
            .problem_lines();
        let allowed = format!("allowed: {}", secret_url::REDIS);
        assert!(
            lines.len() == 1 && lines[0].ends_with(&allowed),
            "{lines:?}"
        );
    }
    let lines = sources()
        .set("redis.url=redis://joe:s3cret@host")
        .problem_lines();
    assert_eq!(
        lines,
        [
            r#"redis.url: found "redis://joe:***@host" in --set redis.url; allowed: "" with a database in a file, which belongs to one instance; several need a database on a server"#
        ]
    );
}

#[test]
fn passwords_are_masked_wherever_settings_are_shown() {
    let lines = sources()
        .variable("GATEWAY_DATABASE__URL", "oracle://joe:s3cret@host/db")
        .problem_lines();
    assert!(lines[0].starts_with(r#"database.url: found "oracle://joe:***@host/db" in "#));

    let settings = sources()
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
fn a_password_in_the_place_of_a_key_or_a_file_is_masked() {
    let mut sources = sources().set("redis://:s3cret@host/?a=b");
    let misplaced = "database.url=mysql://joe:s3cret@host/db";
    sources.sources.files.push(misplaced.into());
    let lines = sources.problem_lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        assert!(line.contains("***") && !line.contains("s3cret"), "{line}");
    }
}

#[test]
fn a_server_elsewhere_without_a_verified_certificate_is_unverified() {
    for (key, url, expected) in [
        ("database", "sqlite://gateway.db", false),
        ("database", "mysql://joe:s3/cr@et@localhost:3306/db", false),
        ("database", "mariadb://127.9.0.1/db", false),
        ("database", "postgres://joe@[::1]:5432/db", false),
        ("database", "postgres://joe@%2Fvar%2Frun/db", false),
        ("database", "postgres://db.example/db?host=/run/pg", false),
        (
            "database",
            "mysql://db.example/db?socket=/run/my.sock",
            false,
        ),
        ("database", "mysql://db.example/db", true),
        ("database", "mysql://localhost.example/db", true),
        ("database", "mysql://localhost:s3@192.0.2.1/db", true),
        ("database", "postgres://[fd00::2]:5432/db", true),
        ("database", "postgres://localhost/db?host=db.example", true),
        ("database", "mysql://db.example/db?ssl-mode=REQUIRED", true),
        (
            "database",
            "mysql://db.example/db?ssl-mode=VERIFY_CA",
            false,
        ),
        (
            "database",
            "mysql://db.example/db?sslmode=VERIFY_IDENTITY&ssl-ca=/ca.pem",
            false,
        ),
        ("database", "postgres://db.example/db?sslmode=require", true),
        (
            "database",
            "postgres://db.example/db?sslmode=verify-full&sslmode=prefer",
            true,
        ),
        (
            "database",
            "postgres://db.example/db?sslmode=verify-ca",
            false,
        ),
        (
            "database",
            "postgres://db.example/db?ssl-mode=verify-full",
            false,
        ),
        ("redis", "", false),
        ("redis", "redis://:s3cret@localhost:6379", false),
        ("redis", "redis://localhost/1", false),
        ("redis", "redis://127.0.0.1:6379/1", false),
        ("redis", "redis://127.0.0.1/1", false),
        ("redis", "redis://[::1]/1", false),
        ("redis", "redis://cache.example/1", true),
        ("redis", "redis://joe:s3/cr@et@cache.example:6379", true),
        ("redis", "rediss://joe:s3cret@cache.example:6379", false),
        (
            "redis",
            "redis-sentinel://localhost?node=127.0.0.1:1",
            false,
        ),
        ("redis", "redis-sentinel://localhost?node=b.example:1", true),
        (
            "redis",
            "rediss-cluster://a.example?node=b.example:1",
            false,
        ),
    ] {
        let database = "database.url=mysql://localhost/db";
        let sources = sources().set(database).set(&format!("{key}.url={url}"));
        let settings = sources.settings();
        let parsed = match key {
            "redis" => &settings.redis.url,
            _ => &settings.database.url,
        };
        assert_eq!(parsed.is_unverified(), expected, "{url}");
    }
}
