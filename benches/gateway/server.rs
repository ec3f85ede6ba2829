//! A server in a process of its own, and what the operating system says of it.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait, Database, DbBackend, Statement};
use serde_json::Value;
use tempfile::TempDir;

use super::bare;

/// A log line for each login would measure the pipe's speed, not the gateway's.
const QUIET_LOG: &str = "log.filter=warn,vehicle_gateway::app=info";
/// With a line for each commit.
const LOG_WITH_COMMITS: &str =
    "log.filter=warn,vehicle_gateway::app=info,vehicle_gateway::store::writer=debug";

/// A build of the gateway.
pub(crate) struct Build {
    pub(crate) name: &'static str,
    binary: PathBuf,
}

impl Build {
    /// The build to compare with, if `VEHICLE_GATEWAY_BASELINE` names one, and this build.
    pub(crate) fn all() -> Vec<Self> {
        let baseline = std::env::var_os("VEHICLE_GATEWAY_BASELINE").map(|binary| Self {
            name: "baseline",
            binary: binary.into(),
        });
        baseline.into_iter().chain([Self::this()]).collect()
    }

    fn this() -> Self {
        Self {
            name: "gateway",
            binary: env!("CARGO_BIN_EXE_vehicle-gateway").into(),
        }
    }

    /// Starts it with its defaults, on a database of its own.
    pub(crate) fn start(&self) -> Server {
        Server::start(&self.binary, &[QUIET_LOG.to_owned()])
    }

    /// Starts it so that [`Server::commits`] counts. That costs a log line a commit.
    pub(crate) fn start_counting_commits(&self) -> Server {
        Server::start(&self.binary, &[LOG_WITH_COMMITS.to_owned()])
    }
}

pub(crate) struct Server {
    pub(crate) device: SocketAddr,
    /// Of the gateway; the reference has none.
    pub(crate) http: Option<SocketAddr>,
    pub(crate) started_in: Duration,
    child: Child,
    folder: TempDir,
    commits: Arc<AtomicU64>,
}

impl Server {
    /// The reference.
    pub(crate) fn bare() -> Self {
        let started = Instant::now();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(bare::SWITCH, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            device: line.trim().parse().unwrap(),
            http: None,
            started_in: started.elapsed(),
            child,
            folder: TempDir::new().unwrap(),
            commits: Arc::default(),
        }
    }

    /// The gateway with its defaults, on a database of its own.
    pub(crate) fn gateway() -> Self {
        Self::gateway_with(&[])
    }

    /// The gateway with further settings.
    pub(crate) fn gateway_with(settings: &[String]) -> Self {
        Self::start(Path::new(env!("CARGO_BIN_EXE_vehicle-gateway")), settings)
    }

    fn start(binary: &Path, settings: &[String]) -> Self {
        // Beside the build, not in a memory file system: the disk is part of what is measured.
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let started = Instant::now();
        let mut command = Command::new(binary);
        for setting in [
            "http.listen=127.0.0.1:0",
            "device.listen=127.0.0.1:0",
            "log.format=json",
        ] {
            command.args(["--set", setting]);
        }
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut child = command
            .current_dir(folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let [device, http] = loop {
            let line = lines.next().unwrap().unwrap();
            let line: Value = serde_json::from_str(&line).unwrap_or(Value::String(line));
            if line["message"] == "ready" {
                break ["device", "http"].map(|key| line[key].as_str().unwrap().parse().unwrap());
            }
        };
        let started_in = started.elapsed();
        let commits = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&commits);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.contains(r#""message":"batch""#) {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self {
            device,
            http: Some(http),
            started_in,
            child,
            folder,
            commits,
        }
    }

    /// How many transactions the gateway has committed, if it was started with a log line for each.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Where the gateway keeps what it stores, unless it was told otherwise.
    pub(crate) fn database_url(&self) -> String {
        let file = self.folder.path().join("vehicle-gateway.db");
        format!("sqlite://{}", file.display())
    }

    /// How many reports are stored.
    pub(crate) fn rows(&self) -> u64 {
        let url = self.database_url();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let database = Database::connect(url).await.unwrap();
                let count =
                    Statement::from_string(DbBackend::Sqlite, "SELECT count(*) FROM reports");
                let row = database.query_one_raw(count).await.unwrap().unwrap();
                u64::try_from(row.try_get_by_index::<i64>(0).unwrap()).unwrap()
            })
        })
        .join()
        .unwrap()
    }

    /// Processor time so far.
    pub(crate) fn cpu(&self) -> Duration {
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks: u64 = fields[11..=12]
            .iter()
            .map(|field| field.parse::<u64>().unwrap())
            .sum();
        Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND)
    }

    /// Resident memory in bytes.
    pub(crate) fn rss(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
