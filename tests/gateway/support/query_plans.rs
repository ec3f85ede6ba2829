//! Query plans as database servers log them.

use std::fs;

use super::{Database, change};

/// The most rows that one step may read: a purge reads that many, everything else less.
const MOST_ROWS: f64 = 512.0;

impl Database {
    /// Lets the server log the plans of statements on new connections to this database.
    pub(crate) fn log_query_plans(&self, url: &str) {
        let Self::Server(server) = self else {
            // The unit tests of the store explain the statements for SQLite.
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

    /// Expects that no logged statement scanned any of these tables.
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
                let is_scan = if is_mysql {
                    // The number of rows that were read.
                    let rows: f64 = plan.split('\t').nth(9).unwrap().parse().unwrap_or(0.0);
                    rows > MOST_ROWS
                } else {
                    plan.contains("Seq Scan")
                };
                assert!(!is_scan, "{plan}");
            }
        }
    }
}

/// Whether this line is a step of a plan that reads the table.
fn is_step(line: &str, table: &str, is_mysql: bool) -> bool {
    if is_mysql {
        // # explain: id select_type table type possible_keys key key_len ref rows r_rows …
        let columns: Vec<&str> = line.split('\t').collect();
        let is_insert = columns.get(1) == Some(&"INSERT");
        // Counting an endpoint's pending messages reads all of their index, and none of the rows.
        let counts =
            columns.get(5) == Some(&"webhook_messages_log") && line.contains("Using index");
        line.starts_with("# explain:") && columns.get(2) == Some(&table) && !is_insert && !counts
    } else {
        line.contains("Scan") && line.contains(&format!(" on {table}"))
    }
}
