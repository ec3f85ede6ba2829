//! Starting, observing and stopping the daemon.

use std::{
    fs::File,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
};

use reqwest::blocking::{Client, Response};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    Database, DatabaseProxy, Device, IdentityFiles, PATIENCE,
    daemon_log::{Log, LogReader},
    free_ports, install_tls_provider,
    process::send_signal,
    wait_until,
};

/// Configures a daemon before its start.
pub(crate) struct Builder {
    folder: Arc<TempDir>,
    settings: Vec<String>,
    wrapper: Option<String>,
    log_reader: LogReader,
    /// A database on a server; `None` for a file in the folder.
    database_url: Option<String>,
    /// Device and HTTP port; 0 for any free port.
    ports: [u16; 2],
}

impl Builder {
    /// Adds a setting, as `key=value`.
    pub(crate) fn set(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    /// Has the API speak HTTPS with this certificate.
    pub(crate) fn https(self, files: &IdentityFiles) -> Self {
        self.set(&format!(
            "http.tls.certificate={}",
            files.certificate.display()
        ))
        .set(&format!("http.tls.key={}", files.key.display()))
    }

    /// Has a device port inside TLS, with this certificate.
    pub(crate) fn device_tls(self, files: &IdentityFiles) -> Self {
        self.set("device.tls.listen=127.0.0.1:0")
            .set(&format!(
                "device.tls.certificate={}",
                files.certificate.display()
            ))
            .set(&format!("device.tls.key={}", files.key.display()))
    }

    /// The URL of the database on a server.
    pub(crate) fn database_url(&self) -> &str {
        self.database_url.as_deref().unwrap()
    }

    /// Uses this database.
    pub(crate) fn on_url(mut self, url: &str) -> Self {
        self.database_url = Some(url.to_owned());
        self
    }

    /// Listens on these ports for devices and for HTTP, at every start.
    pub(crate) fn at(mut self, ports: [u16; 2]) -> Self {
        self.ports = ports;
        self
    }

    /// Reaches its database through the proxy that `network` starts for its URL.
    pub(crate) fn through_proxy(
        mut self,
        network: impl FnOnce(&str) -> DatabaseProxy,
    ) -> (Self, DatabaseProxy) {
        let url = self.database_url.take().unwrap();
        let proxy = network(&url);
        self.database_url = Some(proxy.url(&url));
        (self, proxy)
    }

    /// Starts the daemon from a shell that first runs this script.
    pub(crate) fn after_shell(mut self, shell: &str) -> Self {
        self.wrapper = Some(shell.to_owned());
        self
    }

    /// Has the log read like this.
    pub(crate) fn log_reader(mut self, reader: LogReader) -> Self {
        self.log_reader = reader;
        self
    }

    /// Another daemon on the same folder and database with the same settings.
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            folder: Arc::clone(&self.folder),
            settings: self.settings.clone(),
            wrapper: None,
            log_reader: LogReader::of_this_run(),
            database_url: self.database_url.clone(),
            ports: self.ports,
        }
    }

    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_vehicle-gateway");
        let mut command = match &self.wrapper {
            None => Command::new(binary),
            Some(shell) => {
                let mut command = Command::new("sh");
                command
                    .args(["-c", &format!("{shell}; exec \"$@\""), "sh"])
                    .arg(binary);
                command
            }
        };
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        let [device, http] = self.ports;
        for setting in [
            format!("http.listen=127.0.0.1:{http}"),
            format!("device.listen=127.0.0.1:{device}"),
            "log.format=json".to_owned(),
            "device.max_connections=1000".to_owned(),
        ] {
            command.args(["--set", &setting]);
        }
        if let Some(url) = &self.database_url {
            command.args(["--set", &format!("database.url={url}")]);
        }
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command
    }

    /// Starts the daemon and waits until both ports are open.
    #[track_caller]
    pub(crate) fn start(self) -> Daemon {
        let mut child = self.command().stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Log::default());
        Arc::clone(&log).follow(child.stderr.take().unwrap(), self.log_reader);
        let ready = log.wait_for("ready", |line| line["message"] == "ready");
        let address = |key: &str| ready[key].as_str().unwrap().parse().unwrap();
        let addresses = [address("device"), address("http")];
        let id = ready["id"].as_str().unwrap().to_owned();
        let device_tls = ready.get("device_tls").map(|_| address("device_tls"));
        let mut daemon = self.started(child, log, addresses, id);
        daemon.device_tls = device_tls;
        daemon
    }

    /// Starts the daemon with its log in this file, and waits until its ports are open.
    #[track_caller]
    pub(crate) fn start_with_log_in(self, path: &str) -> Daemon {
        self.start_with_stderr(File::options().append(true).open(path).unwrap())
    }

    /// Starts the daemon with its log on a pipe that nobody reads, and waits until its ports are open.
    #[track_caller]
    pub(crate) fn start_with_closed_log(self) -> Daemon {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        self.start_with_stderr(writer)
    }

    #[track_caller]
    fn start_with_stderr(self, stderr: impl Into<Stdio>) -> Daemon {
        let [device, http] = free_ports();
        let builder = self.at([device, http]);
        let child = builder.command().stderr(stderr).spawn().unwrap();
        let addresses = [device, http].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        wait_until("the HTTP port is open", || {
            TcpStream::connect(addresses[1]).ok()
        });
        builder.started(child, Arc::default(), addresses, String::new())
    }

    fn started(
        self,
        child: Child,
        log: Arc<Log>,
        [device, http]: [SocketAddr; 2],
        id: String,
    ) -> Daemon {
        install_tls_provider();
        Daemon {
            device,
            http,
            device_tls: None,
            id,
            client: Client::builder().timeout(PATIENCE).build().unwrap(),
            child,
            log,
            builder: self,
        }
    }

    /// The folder that the daemon works in; removed with the last builder and daemon of it.
    pub(crate) fn folder(&self) -> Arc<TempDir> {
        Arc::clone(&self.folder)
    }

    /// Runs a daemon that is expected to fail at its start; returns the exit status and standard error.
    pub(crate) fn run_to_failure(self) -> (ExitStatus, String) {
        let output = self.command().output().unwrap();
        (output.status, String::from_utf8(output.stderr).unwrap())
    }
}

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    pub(crate) device: SocketAddr,
    pub(crate) http: SocketAddr,
    /// The device port inside TLS.
    device_tls: Option<SocketAddr>,
    /// The `serverId` that devices see.
    pub(crate) id: String,
    pub(super) client: Client,
    child: Child,
    log: Arc<Log>,
    builder: Builder,
}

impl Daemon {
    /// A daemon in a folder of its own.
    pub(crate) fn builder() -> Builder {
        Builder {
            folder: Arc::new(TempDir::new().unwrap()),
            settings: Vec::new(),
            wrapper: None,
            log_reader: LogReader::of_this_run(),
            database_url: None,
            ports: [0, 0],
        }
    }

    /// A daemon in a folder of its own, with a new database on `database`.
    pub(crate) fn on(database: &Database) -> Builder {
        Builder {
            database_url: database.new_url(),
            ..Self::builder()
        }
    }

    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::builder().start()
    }

    /// The URL of the database.
    pub(crate) fn database_url(&self) -> String {
        let file = || format!("sqlite://{}", self.database().display());
        self.builder.database_url.clone().unwrap_or_else(file)
    }

    /// The database file.
    pub(crate) fn database(&self) -> PathBuf {
        self.builder.folder.path().join("vehicle-gateway.db")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.builder.folder.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The address of the device port inside TLS.
    pub(crate) fn device_tls(&self) -> SocketAddr {
        self.device_tls.unwrap()
    }

    /// A device that is connected and not logged in.
    pub(crate) fn connect(&self) -> Device {
        Device::connect(self.device)
    }

    /// A text device that is logged in.
    #[track_caller]
    pub(crate) fn log_in(&self, device_id: &str) -> Device {
        self.connect().logged_in(device_id)
    }

    /// A text device that is logged in; `None` if the gateway closed the connection instead.
    pub(crate) fn try_log_in(&self, device_id: &str) -> Option<Device> {
        let mut device = self.connect();
        device.say(&super::hello(device_id));
        device.line().map(|_greeting| device)
    }

    /// The number of device connections that the gateway holds.
    pub(crate) fn connection_count(&self) -> u64 {
        self.json("/")["devicesConnected"].as_u64().unwrap()
    }

    /// The number of files that the process has open.
    #[cfg(target_os = "linux")]
    pub(crate) fn open_files(&self) -> u64 {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        open.count().try_into().unwrap()
    }

    /// The resident memory of the process, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let output = Command::new("ps")
            .args(["-o", "rss=", "-p", &self.pid().to_string()])
            .output()
            .unwrap();
        let kib = String::from_utf8(output.stdout).unwrap();
        kib.trim().parse::<u64>().unwrap() * 1024
    }

    /// Limits the number of files that the process may open.
    #[cfg(target_os = "linux")]
    pub(crate) fn limit_open_files(&self, files: u64) {
        self.limit(rlimit::Resource::NOFILE, files);
    }

    /// Removes the limit that `ulimit -f` set at the start.
    #[cfg(target_os = "linux")]
    pub(crate) fn lift_file_size_limit(&self) {
        self.limit(rlimit::Resource::FSIZE, rlimit::INFINITY);
    }

    #[cfg(target_os = "linux")]
    fn limit(&self, resource: rlimit::Resource, limit: u64) {
        let pid = self.pid().try_into().unwrap();
        rlimit::prlimit(pid, resource, Some((limit, limit)), None).unwrap();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().unwrap()
    }

    /// The JSON of a GET that must succeed.
    #[track_caller]
    pub(crate) fn json(&self, path: &str) -> Value {
        let response = self.get(path);
        assert_eq!(response.status(), 200, "{path}");
        response.json().unwrap()
    }

    pub(crate) fn vehicle(&self, device_id: &str) -> Value {
        self.json(&format!("/vehicles/{device_id}"))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        self.client.post(self.url(path)).json(body).send().unwrap()
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Response {
        self.client.patch(self.url(path)).json(body).send().unwrap()
    }

    pub(crate) fn delete(&self, path: &str) -> Response {
        self.client.delete(self.url(path)).send().unwrap()
    }

    /// Waits until the vehicle is offline, and returns it.
    #[track_caller]
    pub(crate) fn wait_until_offline(&self, device_id: &str) -> Value {
        super::wait_until("the vehicle is offline", || {
            Some(self.vehicle(device_id)).filter(|vehicle| vehicle["online"] == false)
        })
    }

    /// The one column that `sql` selects from the database, as text.
    pub(crate) fn query(&self, sql: &str) -> Vec<String> {
        super::query(&self.database_url(), sql)
    }

    /// Waits for a log line with this message.
    #[track_caller]
    pub(crate) fn logged(&self, message: &str) -> Value {
        self.log
            .wait_for(message, |line| line["message"] == message)
    }

    /// Waits for a log line whose message contains this.
    #[track_caller]
    pub(crate) fn logged_containing(&self, part: &str) -> Value {
        self.log.wait_for(part, |line| {
            line["message"]
                .as_str()
                .is_some_and(|message| message.contains(part))
        })
    }

    /// Waits for a log line with this text in this field.
    #[track_caller]
    pub(crate) fn logged_with(&self, field: &str, text: &str) -> Value {
        self.log.wait_for(text, |line| line[field] == text)
    }

    /// Waits for the log line of the end of this vehicle's session.
    #[track_caller]
    pub(crate) fn logged_disconnect(&self, device_id: &str) -> Value {
        self.log.wait_for("vehicle disconnected", |line| {
            line["message"] == "vehicle disconnected" && line["device_id"] == device_id
        })
    }

    /// Has a log reader that pauses read on.
    pub(crate) fn resume_log(&self) {
        self.log.resume();
    }

    /// The log so far.
    #[track_caller]
    pub(crate) fn log(&self) -> Vec<Value> {
        self.log.lines()
    }

    /// The log, also after the daemon's end.
    pub(super) fn shared_log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        send_signal(self.pid(), name);
    }

    /// Waits for the exit of the process.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        super::wait_until("the daemon exits", || self.child.try_wait().unwrap())
    }

    /// Sends SIGKILL and starts the same daemon again on the same folder.
    #[track_caller]
    pub(crate) fn kill_and_restart(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.restart_builder().start()
    }

    /// A builder for another start on the same folder with the same settings.
    pub(crate) fn restart_builder(&self) -> Builder {
        self.builder.duplicate()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have exited already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
