//! How a database finds what it is asked for, as it says itself of the statements that it gets.

use std::fs;

use super::{Database, change};

/// The most that a step of a purge reads, and more than anything else needs.
const MOST_ROWS: f64 = 512.0;

impl Database {
    /// From now on new connections to this database note how they do what they are told.
    pub(crate) fn log_query_plans(&self, url: &str) {
        let Self::Server(server) = self else {
            // A file says it of a statement that one shows it: see the unit tests of the store.
            return;
        };
        let name = url.rsplit('/').next().unwrap();
        let statements = if url.starts_with("mysql") {
            let file = server.folder().join("plans");
            vec![
                "ANALYZE TABLE webhook_lanes, webhook_messages".to_owned(),
                format!("SET GLOBAL slow_query_log_file = '{}'", file.display()),
                "SET GLOBAL log_slow_verbosity = 'query_plan,explain'".to_owned(),
                "SET GLOBAL long_query_time = 0".to_owned(),
                "SET GLOBAL slow_query_log = ON".to_owned(),
            ]
        } else {
            vec![
                "ANALYZE".to_owned(),
                format!("ALTER DATABASE {name} SET session_preload_libraries = 'auto_explain'"),
                format!("ALTER DATABASE {name} SET auto_explain.log_min_duration = 0"),
            ]
        };
        for statement in statements {
            change(url, &statement);
        }
    }

    /// Since then nobody has walked through any of these tables.
    #[track_caller]
    pub(crate) fn expect_indexes(&self, url: &str, tables: &[&str]) {
        let Self::Server(server) = self else {
            return;
        };
        let is_mysql = url.starts_with("mysql");
        let file = server.folder().join(if is_mysql { "plans" } else { "log" });
        let log = fs::read(file).unwrap();
        let log = String::from_utf8_lossy(&log);
        for table in tables {
            let plans: Vec<&str> = log
                .lines()
                .filter(|line| is_step(line, table, is_mysql))
                .collect();
            assert!(plans.len() > 10, "{table}: {plans:#?}");
            for plan in plans {
                let walks = if is_mysql {
                    // What was really read.
                    let rows: f64 = plan.split('\t').nth(9).unwrap().parse().unwrap_or(0.0);
                    rows > MOST_ROWS
                } else {
                    plan.contains("Seq Scan")
                };
                assert!(!walks, "{plan}");
            }
        }
    }
}

/// Whether this line is a step of a plan that looks into the table.
fn is_step(line: &str, table: &str, is_mysql: bool) -> bool {
    if is_mysql {
        // # explain: id select_type table type possible_keys key key_len ref rows r_rows …
        let columns: Vec<&str> = line.split('\t').collect();
        let is_insert = columns.get(1) == Some(&"INSERT");
        line.starts_with("# explain:") && columns.get(2) == Some(&table) && !is_insert
    } else {
        line.contains("Scan") && line.contains(&format!(" on {table}"))
    }
}
