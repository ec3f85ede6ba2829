//! Database servers, each with a data folder and a port of its own.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use tempfile::TempDir;

use super::{
    HeldConnections,
    free_ports::free_port,
    process::{child_processes, try_send_signal},
};

/// The kind of database that a test runs on.
#[derive(Clone, Default)]
pub(crate) enum Database {
    /// A file in the daemon's folder.
    #[default]
    File,
    /// A server.
    Server(Arc<Server>),
}

impl Database {
    pub(crate) fn mariadb() -> Self {
        Self::Server(Arc::new(Server::start(Kind::MariaDb)))
    }

    pub(crate) fn postgres() -> Self {
        Self::Server(Arc::new(Server::start(Kind::Postgres)))
    }

    /// A `MariaDB` server that may have a standby.
    pub(crate) fn mariadb_primary() -> Self {
        let options = "[mariadbd]\nserver-id=1\nlog-bin=changes\n";
        Self::Server(Arc::new(Server::start_with(Kind::MariaDb, options)))
    }

    /// The URL of a new database on the server; `None` for a file.
    pub(crate) fn new_url(&self) -> Option<String> {
        match self {
            Self::Server(server) => Some(server.new_database()),
            Self::File => None,
        }
    }

    /// The server; panics for a file.
    #[track_caller]
    pub(crate) fn server(&self) -> &Server {
        match self {
            Self::Server(server) => server,
            Self::File => panic!("a file has no server"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    MariaDb,
    Postgres,
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    pub(super) kind: Kind,
    folder: TempDir,
    pub(super) port: u16,
    databases: AtomicU32,
    child: Mutex<Child>,
}

impl Server {
    fn start(kind: Kind) -> Self {
        Self::start_with(kind, "")
    }

    /// Starts a server on new data with more options, as lines of an option file of `MariaDB`.
    pub(super) fn start_with(kind: Kind, options: &str) -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("options"), options).unwrap();
        copy(&kind.template(), &folder.path().join("data"));
        kind.give(folder.path());
        Self::start_in(kind, folder)
    }

    /// Starts a server on the data in this folder.
    pub(super) fn start_in(kind: Kind, folder: TempDir) -> Self {
        // Another process may take the port first; then the server exits, and another port is tried.
        let mut tries = 0;
        let (port, child) = loop {
            let port = free_port();
            let mut child = kind.spawn(folder.path(), port);
            if kind.is_up(&mut child, port) {
                break (port, child);
            }
            tries += 1;
            assert!(
                tries < 5,
                "the server does not start: {}",
                log(folder.path())
            );
        };
        Self {
            kind,
            folder,
            port,
            databases: AtomicU32::new(0),
            child: Mutex::new(child),
        }
    }

    fn new_database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("gateway_{number}");
        super::change(
            &self.kind.own_url(self.port),
            &format!("CREATE DATABASE {name}"),
        );
        self.kind.url(self.port, &name)
    }

    /// Another URL of a database, for a user that may not write on a primary that refuses writes.
    pub(crate) fn url_of_ordinary_user(&self, url: &str) -> String {
        if self.kind == Kind::Postgres {
            return url.to_owned();
        }
        let (_, database) = url.rsplit_once('/').unwrap();
        let user = "gateway@localhost, gateway@127.0.0.1";
        self.change(&format!("CREATE USER IF NOT EXISTS {user}"));
        self.change(&format!("GRANT ALL ON {database}.* TO {user}"));
        url.replace("//root@", "//gateway@")
    }

    /// Another URL of a database, for a user who has all rights on it and for whom the server has ten connections.
    pub(crate) fn url_of_limited_user(&self, url: &str) -> String {
        if self.kind == Kind::MariaDb {
            self.change("SET GLOBAL max_connections = 10");
            let url = self.url_of_ordinary_user(url);
            // The server counts the connections of users with a limit only.
            self.limit_user(50);
            return url;
        }
        let (_, database) = url.rsplit_once('/').unwrap();
        self.change("CREATE ROLE fleet LOGIN CONNECTION LIMIT 10");
        self.change(&format!("ALTER DATABASE {database} OWNER TO fleet"));
        url.replace("//gateway@", "//fleet@")
    }

    /// Sets how many connections the server has for the user of [`Self::url_of_limited_user`]; at least one on
    /// `MariaDB`.
    pub(crate) fn limit_user(&self, connections: u32) {
        if self.kind == Kind::Postgres {
            return self.change(&format!("ALTER ROLE fleet CONNECTION LIMIT {connections}"));
        }
        for host in ["localhost", "127.0.0.1"] {
            self.change(&format!(
                "ALTER USER gateway@{host} WITH MAX_USER_CONNECTIONS {connections}"
            ));
        }
    }

    /// Ends all sessions of the user of [`Self::url_of_limited_user`] and has no connection for him, until the result
    /// is dropped and [`Self::limit_user`] is called.
    pub(crate) fn refuse_connections(&self, url: &str) -> HeldConnections {
        match self.kind {
            Kind::MariaDb => {
                let held = HeldConnections::take_one(url);
                self.limit_user(1);
                self.change(&format!(
                    "BEGIN NOT ATOMIC FOR c IN (SELECT id FROM information_schema.processlist \
                     WHERE user = 'gateway' AND id NOT IN ({})) DO KILL c.id; END FOR; END",
                    held.id()
                ));
                held
            }
            Kind::Postgres => {
                self.limit_user(0);
                self.change(END_SESSIONS);
                HeldConnections::default()
            }
        }
    }

    /// Lets the user of [`Self::url_of_limited_user`] in again, or lets him in no longer and ends his sessions.
    pub(crate) fn let_limited_user_in(&self, is_let_in: bool) {
        match (self.kind, is_let_in) {
            (Kind::MariaDb, _) => {
                let password = if is_let_in { "" } else { "another" };
                for host in ["localhost", "127.0.0.1"] {
                    self.change(&format!(
                        "ALTER USER gateway@{host} IDENTIFIED BY '{password}'"
                    ));
                }
                if !is_let_in {
                    self.change("KILL USER gateway");
                }
            }
            (Kind::Postgres, true) => self.change("ALTER ROLE fleet LOGIN"),
            (Kind::Postgres, false) => {
                self.change("ALTER ROLE fleet NOLOGIN");
                self.change(END_SESSIONS);
            }
        }
    }

    pub(super) fn change(&self, sql: &str) {
        super::change(&self.kind.own_url(self.port), sql);
    }

    pub(super) fn query(&self, sql: &str) -> Vec<String> {
        super::query(&self.kind.own_url(self.port), sql)
    }

    /// The URL of the database that another server of the same cluster has under `url`.
    pub(crate) fn url_like(&self, url: &str) -> String {
        let (_, database) = url.rsplit_once('/').unwrap();
        self.kind.url(self.port, database)
    }

    /// Sends SIGKILL and waits for the exit.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts the server again on the same folder and port. After a kill the old sessions of `PostgreSQL` end by
    /// themselves within moments, and until then a new server refuses to start.
    pub(crate) fn restart(&self) {
        let child = super::wait_until("the server starts again", || {
            let mut child = self.kind.spawn(self.folder.path(), self.port);
            if self.kind.is_up(&mut child, self.port) {
                return Some(child);
            }
            let log = log(self.folder.path());
            assert!(
                log.contains("pre-existing shared memory block"),
                "the server does not start again: {log}"
            );
            None
        });
        *self.child.lock().unwrap() = child;
    }

    /// Stops the server's processes, without closing connections, until [`Server::resume`].
    pub(crate) fn stall(&self) {
        self.signal("STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    /// The folder with the server's data and log.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.lock().unwrap().id();
        // PostgreSQL has a process for each connection.
        let children = child_processes(pid);
        for pid in std::iter::once(pid.to_string()).chain(children) {
            // It may have exited already.
            let _is_running = try_send_signal(&pid, name);
        }
    }
}

/// Ends the sessions of the limited user of `PostgreSQL`.
const END_SESSIONS: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'fleet'";

impl Drop for Server {
    fn drop(&mut self) {
        self.signal("KILL");
        let _reaped = self.child.lock().unwrap().wait();
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::MariaDb => "mariadb",
            Self::Postgres => "postgres",
        }
    }

    fn url(self, port: u16, database: &str) -> String {
        let (scheme, user) = match self {
            Self::MariaDb => ("mysql", "root"),
            Self::Postgres => ("postgres", "gateway"),
        };
        format!("{scheme}://{user}@127.0.0.1:{port}/{database}")
    }

    /// The URL of a database that always exists.
    fn own_url(self, port: u16) -> String {
        let database = match self {
            Self::MariaDb => "mysql",
            Self::Postgres => "postgres",
        };
        self.url(port, database)
    }

    /// A data folder as it is before the first start, created once for all tests.
    fn template(self) -> PathBuf {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(self.name());
        let ready = folder.join("ready");
        let lock = fs::File::create(folder.with_extension("lock")).unwrap();
        lock.lock().unwrap();
        if !ready.exists() {
            let _nothing = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            let data = folder.join("data");
            let output = match self {
                Self::MariaDb => Command::new("mariadb-install-db")
                    .args(["--no-defaults", "--auth-root-authentication-method=normal"])
                    .args(["--skip-test-db", "--innodb-log-file-size=8M"])
                    .args(["--user", &user()])
                    .arg(format!("--datadir={}", data.display()))
                    .output(),
                Self::Postgres => {
                    // Created where the server's user may write, then copied.
                    let made = TempDir::new().unwrap();
                    self.give(made.path());
                    let output = as_server_user("initdb")
                        .args(["--auth=trust", "--username=gateway", "--no-locale"])
                        .args(["--encoding=UTF8", "--no-sync"])
                        .arg(format!("--pgdata={}", made.path().join("data").display()))
                        .output();
                    copy(&made.path().join("data"), &data);
                    output
                }
            };
            let output = output.unwrap();
            assert!(
                output.status.success(),
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            fs::write(ready, "").unwrap();
        }
        folder.join("data")
    }

    fn spawn(self, folder: &Path, port: u16) -> Child {
        let data = folder.join("data");
        let log = fs::File::create(folder.join("log")).unwrap();
        let mut command = match self {
            Self::MariaDb => {
                let mut command = Command::new("mariadbd");
                command
                    .arg(format!(
                        "--defaults-file={}",
                        folder.join("options").display()
                    ))
                    .arg("--bind-address=127.0.0.1")
                    .args(["--user", &user()])
                    .args(["--innodb-buffer-pool-size=64M", "--innodb-log-file-size=8M"])
                    .arg(format!("--datadir={}", data.display()))
                    .arg(format!("--socket={}", folder.join("socket").display()))
                    .arg(format!("--pid-file={}", folder.join("pid").display()))
                    .arg(format!("--port={port}"));
                command
            }
            Self::Postgres => {
                let mut command = as_server_user("postgres");
                command
                    .args(["-c", "listen_addresses=127.0.0.1"])
                    .args(["-p", &port.to_string()])
                    .arg("-D")
                    .arg(&data)
                    .arg("-k")
                    .arg(folder);
                command
            }
        };
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error}; run the tests by ./scripts/test", self.name())
            })
    }

    /// Waits until the server accepts connections; false if it exited instead.
    fn is_up(self, child: &mut Child, port: u16) -> bool {
        super::wait_until("the database server answers", || {
            if child.try_wait().unwrap().is_some() {
                return Some(false);
            }
            // The client tries for long to connect to a port that is closed.
            let is_open = TcpStream::connect(("127.0.0.1", port)).is_ok();
            (is_open && super::is_reachable(&self.own_url(port))).then_some(true)
        })
    }

    /// Makes the server's user the owner of this folder.
    pub(super) fn give(self, folder: &Path) {
        if self == Self::Postgres && is_root() {
            let status = Command::new("chown")
                .args(["-R", "postgres"])
                .arg(folder)
                .status()
                .unwrap();
            assert!(status.success());
        }
    }
}

/// Creates the data folder of a new `MariaDB` server.
pub(super) fn mariadb_data(folder: &Path) {
    copy(&Kind::MariaDb.template(), folder);
}

/// `PostgreSQL` does not run as root.
pub(super) fn as_server_user(program: &str) -> Command {
    if is_root() {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=postgres",
            "--regid=postgres",
            "--clear-groups",
            program,
        ]);
        command
    } else {
        Command::new(program)
    }
}

fn is_root() -> bool {
    user() == "root"
}

pub(super) fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("-R")
        .args([from, to])
        .status()
        .unwrap();
    assert!(status.success());
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}
