//! Redis: the program `redis-server`, and a client that publishes and subscribes.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use tempfile::TempDir;

use super::{PATIENCE, free_ports::free_port, process::send_signal, wait_until};

/// A running server; killed when dropped.
pub(crate) struct Redis {
    port: u16,
    options: Vec<String>,
    password: Option<&'static str>,
    /// The TLS port, and the folder of the certificate.
    encrypted: Option<(u16, TempDir)>,
    folder: TempDir,
    child: Mutex<Child>,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::start_as(None, &[])
    }

    /// A Redis Cluster of one node.
    pub(crate) fn cluster() -> Self {
        let bus = free_port().to_string();
        let mut options = vec!["--cluster-enabled", "yes", "--cluster-port", &bus];
        // A single node never learns its own address.
        options.extend(["--cluster-announce-ip", "127.0.0.1"]);
        let redis = Self::start_as(None, &options);
        let mut peer = redis.connect();
        peer.send(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
        assert_eq!(peer.line(), "+OK");
        wait_until("the cluster is ready", || {
            peer.send(&["CLUSTER", "INFO"]);
            peer.text().contains("cluster_state:ok").then_some(())
        });
        redis
    }

    /// With a password for the default user.
    pub(crate) fn with_password(password: &'static str) -> Self {
        Self::start_as(Some(password), &["--requirepass", password])
    }

    /// With a password for the default user, and without the command `HELLO`, as Redis 5.
    pub(crate) fn without_hello(password: &'static str) -> Self {
        let options = ["--requirepass", password, "--rename-command", "HELLO", "HI"];
        Self::start_as(Some(password), &options)
    }

    /// With a user that has these rights only.
    pub(crate) fn with_user(rules: &str) -> Self {
        let redis = Self::start();
        redis.operator().run(&format!("ACL SETUSER {rules}"));
        redis
    }

    /// A connection that changes the server; it stays when the password is changed.
    pub(crate) fn operator(&self) -> RedisOperator {
        RedisOperator(self.connect())
    }

    /// A sentinel that monitors this server under `name`, with further settings.
    pub(crate) fn sentinel_of(redis: &Self, name: &str, more: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("sentinel.conf");
        let port = free_port();
        let (log, server) = (folder.path().join("log"), redis.port);
        let settings = format!(
            "bind 127.0.0.1\nport {port}\nsentinel monitor {name} 127.0.0.1 {server} 1\n{}\n",
            more.join("\n")
        );
        fs::write(&file, settings).unwrap();
        let log = fs::File::create(log).unwrap();
        let child = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .stdin(Stdio::null())
            .stdout(log)
            .spawn()
            .unwrap();
        Self {
            port,
            options: Vec::new(),
            password: None,
            encrypted: None,
            folder,
            child: Mutex::new(child),
        }
    }

    /// A server with a TLS port; returns the file of the authority that signed its certificate, too.
    pub(crate) fn with_tls() -> (Self, PathBuf) {
        let folder = TempDir::new().unwrap();
        let file = |name: &str| folder.path().join(name);
        certify(folder.path());
        let port = free_port();
        let options = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", file("certificate").display().to_string()),
            ("--tls-key-file", file("key").display().to_string()),
            (
                "--tls-ca-cert-file",
                file("authority").display().to_string(),
            ),
            ("--tls-auth-clients", "no".to_owned()),
        ];
        let options: Vec<&str> = options
            .iter()
            .flat_map(|(name, value)| [*name, value])
            .collect();
        let mut redis = Self::start_as(None, &options);
        let authority = file("authority");
        redis.encrypted = Some((port, folder));
        (redis, authority)
    }

    fn start_as(password: Option<&'static str>, options: &[&str]) -> Self {
        let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
        let folder = TempDir::new().unwrap();
        // Another process may take the port first; then the server exits, and another port is tried.
        for _ in 0..5 {
            let port = free_port();
            if let Some(child) = spawn(&folder, port, &options) {
                return Self {
                    port,
                    options,
                    password,
                    encrypted: None,
                    folder,
                    child: Mutex::new(child),
                };
            }
        }
        let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        panic!("redis-server does not start: {log}");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(crate) fn url(&self) -> String {
        match self.password {
            Some(password) => format!("redis://:{password}@{}", self.address()),
            None => format!("redis://{}", self.address()),
        }
    }

    /// The URL of the TLS port.
    pub(crate) fn encrypted_url(&self) -> String {
        let (port, _) = self.encrypted.as_ref().unwrap();
        format!("rediss://127.0.0.1:{port}")
    }

    /// Sends SIGKILL and waits for the exit.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts the server again on the same port.
    pub(crate) fn restart(&self) {
        let child = wait_until("redis-server has its port again", || {
            spawn(&self.folder, self.port, &self.options)
        });
        *self.child.lock().unwrap() = child;
    }

    /// Stops the process without closing connections, until [`Redis::resume`].
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        send_signal(self.child.lock().unwrap().id(), name);
    }

    /// Publishes a message and returns the number of receivers.
    pub(crate) fn publish(&self, channel: &str, message: &str) -> u64 {
        let mut peer = self.connect();
        peer.send(&["PUBLISH", channel, message]);
        let receivers = peer.line();
        receivers.strip_prefix(':').unwrap().parse().unwrap()
    }

    /// Publishes these messages in one write.
    pub(crate) fn publish_all(&self, channel: &str, messages: &[String]) {
        let mut peer = self.connect();
        let publish = messages.iter().map(|message| ["PUBLISH", channel, message]);
        peer.send_all(publish);
        for _ in messages {
            assert_eq!(peer.line(), ":1", "one instance receives it");
        }
    }

    /// Closes the connections of all subscribers; they reconnect.
    pub(crate) fn disconnect_subscribers(&self) {
        let mut peer = self.connect();
        peer.send(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        peer.line();
    }

    /// The number of subscribers of a channel.
    pub(crate) fn subscriber_count(&self, channel: &str) -> u64 {
        let mut peer = self.connect();
        peer.send(&["PUBSUB", "NUMSUB", channel]);
        assert_eq!(peer.line(), "*2");
        peer.text();
        peer.line().strip_prefix(':').unwrap().parse().unwrap()
    }

    /// Subscribes to a channel.
    pub(crate) fn subscribe(&self, channel: &str) -> Subscription {
        let mut peer = self.connect();
        peer.send(&["SUBSCRIBE", channel]);
        assert_eq!(peer.line(), "*3");
        assert_eq!(peer.text(), "subscribe");
        assert_eq!(peer.text(), channel);
        assert_eq!(peer.line(), ":1");
        Subscription(peer)
    }

    fn connect(&self) -> RedisConnection {
        let mut peer = RedisConnection::connect(self.address()).unwrap();
        if let Some(password) = self.password {
            peer.send(&["AUTH", password]);
            assert_eq!(peer.line(), "+OK");
        }
        peer
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have exited already.
        let mut child = self.child.lock().unwrap();
        let _ended = child.kill();
        let _reaped = child.wait();
    }
}

/// Creates an authority, and a certificate of it for this host with its key.
fn certify(folder: &Path) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    fs::write(folder.join("authority"), pem).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &rcgen::Issuer::new(authority, authority_key))
        .unwrap();
    fs::write(folder.join("certificate"), certificate.pem()).unwrap();
    fs::write(folder.join("key"), key.serialize_pem()).unwrap();
}

/// Starts the server; `None` if it exited because the port is taken.
fn spawn(folder: &TempDir, port: u16, options: &[String]) -> Option<Child> {
    let log = fs::File::create(folder.path().join("log")).unwrap();
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(folder.path())
        .args(options)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("redis-server: {error}; run the tests by ./scripts/test"));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let up = wait_until("redis-server answers", || {
        if child.try_wait().unwrap().is_some() {
            return Some(false);
        }
        let mut peer = RedisConnection::connect(address).ok()?;
        peer.send(&["PING"]);
        // Any reply will do: it may ask for a password.
        (!peer.line().is_empty()).then_some(true)
    });
    up.then_some(child)
}

/// A connection of an operator.
pub(crate) struct RedisOperator(RedisConnection);

impl RedisOperator {
    /// Runs a command that must succeed.
    #[track_caller]
    pub(crate) fn run(&mut self, command: &str) {
        let words: Vec<&str> = command.split(' ').collect();
        self.0.send(&words);
        let reply = self.0.line();
        assert!(reply.starts_with(['+', ':']), "{command}: {reply}");
    }

    /// Closes all other connections.
    #[track_caller]
    pub(crate) fn close_others(&mut self) {
        self.run("CLIENT KILL TYPE pubsub");
        self.run("CLIENT KILL TYPE normal SKIPME yes");
    }
}

/// A subscription to one channel.
pub(crate) struct Subscription(RedisConnection);

impl Subscription {
    /// The next message.
    pub(crate) fn next(&mut self) -> String {
        assert_eq!(self.0.line(), "*3");
        assert_eq!(self.0.text(), "message");
        self.0.text();
        self.0.text()
    }
}

/// A client with the part of the protocol that tests need.
struct RedisConnection(BufReader<TcpStream>);

impl RedisConnection {
    fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn send(&mut self, words: &[&str]) {
        self.send_all([words]);
    }

    /// Several commands in one write.
    fn send_all<'a>(&mut self, commands: impl IntoIterator<Item = impl AsRef<[&'a str]>>) {
        let mut said = String::new();
        for words in commands {
            said.extend(["*", &words.as_ref().len().to_string(), "\r\n"]);
            for word in words.as_ref() {
                said.extend(["$", &word.len().to_string(), "\r\n", word, "\r\n"]);
            }
        }
        self.0.get_mut().write_all(said.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn text(&mut self) -> String {
        let length = self.line();
        let length: usize = length.strip_prefix('$').unwrap().parse().unwrap();
        let mut text = vec![0; length + 2];
        self.0.read_exact(&mut text).unwrap();
        text.truncate(length);
        String::from_utf8(text).unwrap()
    }
}
