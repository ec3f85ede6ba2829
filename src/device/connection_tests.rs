//! Unit tests of a connection over an in-memory stream that splits reads and writes, with a real store.

use std::{sync::Mutex, time::Duration};

use tempfile::TempDir;
use tokio::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter, DuplexStream, ReadBuf,
    duplex,
};
use uuid::Uuid;

use super::*;
use crate::{
    access::Keyring,
    app::{PartOptions, Parts},
    cluster::PresenceOptions,
    commands::CommandOptions,
    device::Budget,
    fanout::Fanout,
    protocol::Limits,
    store::{DatabaseAddress, HistoryPage, Store, StoreOptions},
    webhooks::{DeliveryCounters, UrlPolicy},
};

struct TestGateway {
    parts: Parts,
    options: Arc<DeviceOptions>,
    _folder: TempDir,
}

impl TestGateway {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let commit_timeout = Duration::from_secs(10);
        let store = Store::open(StoreOptions {
            database: DatabaseAddress {
                url: format!("sqlite://{}", folder.path().join("test.db").display()),
                shown: String::new(),
            },
            readers: 1,
            incarnation: Uuid::nil().into(),
            instance_name: "test".to_owned(),
            queue_bytes: 4 << 20,
            commit_timeout,
            lease: Duration::from_secs(15),
        });
        let commands = CommandOptions {
            queue: 4,
            timeout: commit_timeout,
        };
        let presence = PresenceOptions {
            lease: Duration::from_secs(15),
            offline_grace: Duration::from_secs(10),
        };
        let store = store.await.unwrap();
        let parts = Parts::new(
            Arc::new(store),
            Fanout::none(),
            PartOptions {
                instance_name: "test".to_owned(),
                commands,
                presence,
                url_policy: UrlPolicy {
                    allow_http: false,
                    allow_private: false,
                    allow_any_port: false,
                },
                delivery_counters: DeliveryCounters::default(),
                configured_keys: Keyring::default(),
            },
        );
        let options = Arc::new(DeviceOptions {
            limits: Limits {
                sentence: 4 << 10,
                blob: 64 << 10,
            },
            proxy_sources: None,
            max_connections: 10,
            max_bad_sentences: 3,
            pipeline: 4,
            greeting_delay: Duration::from_secs(10),
            login_timeout: Duration::from_secs(10),
            silence_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            blob_timeout: Duration::from_secs(10),
            commit_timeout,
            goodbye_timeout: Duration::from_secs(10),
            shutdown_goodbye_timeout: Duration::from_secs(10),
            answer_patience: Duration::from_secs(10),
            release_time: Duration::ZERO,
            budget: Budget::new(1 << 20),
        });
        Self {
            parts,
            options,
            _folder: folder,
        }
    }

    /// Serves the device on `stream`.
    fn serve<S>(&self, stream: S) -> impl Future<Output = ()> + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let handle = Arc::new(ConnectionHandle::default());
        let guard = self.parts.sessions.connect(Arc::clone(&handle));
        let sessions = Arc::clone(&self.parts.sessions);
        let commands = Arc::clone(&self.parts.commands);
        let options = Arc::clone(&self.options);
        let remote = "192.0.2.1:1".parse().unwrap();
        serve(stream, remote, sessions, commands, options, handle, guard)
    }
}

/// Sends `input` over a stream that holds `size` bytes each way, so that reads and writes are split there. Returns all
/// replies.
async fn converse(gateway: &TestGateway, size: usize, input: &[u8]) -> String {
    let (device, stream) = duplex(size);
    let serving = tokio::spawn(gateway.serve(stream));
    let (mut from, mut to) = tokio::io::split(device);
    let input = input.to_vec();
    let sending = tokio::spawn(async move {
        // The gateway may close before it has read everything.
        let _closed = to.write_all(&input).await;
        let _closed = to.shutdown().await;
    });
    let mut answers = String::new();
    from.read_to_string(&mut answers).await.unwrap();
    sending.await.unwrap();
    serving.await.unwrap();
    answers
}

const INPUT: &[u8] = b"PING.HELLO, I'M truck!\r\nREPORT. I'M HERE 1 2, RUNNING AND CHARGED AT 3%.\
    PING.nonsense\nWTF! 5\r\n\0\r\n\n!PING.KEEP ME POSTED EVERY 20 SECONDS.HELLO, I'M truck!GOTTA GO.PING.";
const REPLIES: &str = "I DON'T KNOW YOU!\nHI, NICE TO MEET YOU!\nOK, THANKS!\nPONG.\n\
    SERVER COULD NOT PROCESS THE RECEIVED MESSAGE.\nDAAAMN! ISSUE REPORTED ON JIRA\nPONG.\nSURE, I WILL!\n\
    HI, NICE TO MEET YOU!\nSEE YA!\n";

#[tokio::test]
async fn text_replies_do_not_depend_on_how_reads_and_writes_are_split() {
    let gateway = TestGateway::start().await;
    for size in [1, 2, 3, 7, 64, 4096] {
        assert_eq!(
            converse(&gateway, size, INPUT).await,
            REPLIES,
            "pieces of {size}"
        );
    }
    assert_eq!(gateway.parts.sessions.connections(), 0);
}

#[tokio::test]
async fn json_replies_do_not_depend_on_how_reads_and_writes_are_split() {
    let gateway = TestGateway::start().await;
    let input = br#" {"type":"message","message":"PING.","clientId":"truck"}{"message":"nonsense"}
        {"type":"message","message":"WTF! 2\n1,255"}garbage{"type":"message","message":"GOTTA GO."}"#;
    let answers = concat!(
        r#"{"type":"connected","message":"Connected to server","serverId":"00000000-0000-0000-0000-000000000000"}"#,
        "\n",
        r#"{"type":"reply","message":"PONG."}"#,
        "\n",
        r#"{"type":"reply","message":"SERVER COULD NOT PROCESS THE RECEIVED MESSAGE."}"#,
        "\n",
        r#"{"type":"reply","message":"DAAAMN! ISSUE REPORTED ON JIRA"}"#,
        "\n",
        r#"{"type":"reply","message":"SERVER COULD NOT PROCESS THE RECEIVED MESSAGE."}"#,
        "\n",
        r#"{"type":"reply","message":"SEE YA!"}"#,
        "\n",
    );
    for size in [1, 5, 4096] {
        assert_eq!(
            converse(&gateway, size, input).await,
            answers,
            "pieces of {size}"
        );
    }
}

#[tokio::test]
async fn a_full_pipeline_is_answered_in_order() {
    let gateway = TestGateway::start().await;
    let pair = "REPORT. I'M HERE 1 2, RUNNING AND CHARGED AT 3%.PING.";
    let input = format!("HELLO, I'M truck!{}", pair.repeat(50));
    let answers = converse(&gateway, 4096, input.as_bytes()).await;
    assert_eq!(
        answers,
        format!(
            "HI, NICE TO MEET YOU!\n{}",
            "OK, THANKS!\nPONG.\n".repeat(50)
        )
    );
}

#[tokio::test]
async fn a_full_pipeline_without_replies_is_handled() {
    let gateway = TestGateway::start().await;
    let fine = r#"{"type":"reply","message":"FINE. I'M HERE 1 2, RUNNING AND CHARGED AT 3%."}"#;
    let input = format!(
        r#"{{"message":"PING.","clientId":"truck"}}{}{{"message":"PING."}}"#,
        fine.repeat(50)
    );
    let answers = converse(&gateway, 1 << 16, input.as_bytes()).await;
    assert_eq!(answers.matches("PONG.").count(), 2);
    let device_id = DeviceId::parse("truck").unwrap();
    let page = HistoryPage {
        from: None,
        to: None,
        older_than: None,
        limit: 100,
    };
    let reports = gateway
        .parts
        .vehicles
        .reports(&device_id, page)
        .await
        .unwrap();
    assert_eq!(reports.len(), 50);
}

const PANIC: &[u8] = b"panic";

/// A stream that records each write, and panics when it reads [`PANIC`].
struct RecordingStream {
    stream: DuplexStream,
    writes: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl AsyncRead for RecordingStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        assert!(!buffer.filled().ends_with(PANIC), "requested by a test");
        read
    }
}

impl AsyncWrite for RecordingStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(length)) = written {
            let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
            self.writes.lock().unwrap().push((Instant::now(), text));
        }
        written
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[tokio::test]
async fn each_json_object_is_one_write_and_commands_follow_a_pause() {
    let gateway = TestGateway::start().await;
    let (mut device, stream) = duplex(4096);
    let writes = Arc::default();
    let recording = RecordingStream {
        stream,
        writes: Arc::clone(&writes),
    };
    let serving = tokio::spawn(gateway.serve(recording));
    let ping = r#"{"type":"message","message":"PING.","clientId":"truck"}"#;
    device.write_all(ping.repeat(3).as_bytes()).await.unwrap();
    let mut lines = BufReader::new(&mut device).lines();
    for _ in 0..4 {
        lines.next_line().await.unwrap().unwrap();
    }
    gateway
        .parts
        .sessions
        .release_connections(DisconnectReason::Shutdown, Duration::ZERO)
        .await;
    let goodbye = lines.next_line().await.unwrap().unwrap();
    assert!(goodbye.starts_with(r#"{"type":"command","message":"GOTTA GO.","serverId":"#));
    device
        .write_all(br#"{"type":"reply","message":"SEE YA!"}"#)
        .await
        .unwrap();
    drop(device);
    serving.await.unwrap();

    let writes: Vec<(Instant, String)> = std::mem::take(&mut writes.lock().unwrap());
    assert_eq!(writes.len(), 5);
    for (_, text) in &writes {
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.ends_with('\n'));
    }
    assert!(writes[4].0 - writes[3].0 >= Duration::from_millis(20));
    let device_id = DeviceId::parse("truck").unwrap();
    let vehicle = gateway.parts.vehicles.vehicle(&device_id).await.unwrap();
    assert_eq!(vehicle.disconnect_reason, Some(DisconnectReason::Shutdown));
}

#[tokio::test]
async fn replies_that_the_stream_holds_back_are_flushed() {
    let gateway = TestGateway::start().await;
    let (device, stream) = duplex(4096);
    // Holds what is written until it is flushed, as TLS may.
    let serving = tokio::spawn(gateway.serve(BufWriter::new(stream)));
    let (from, mut to) = tokio::io::split(device);
    let mut lines = BufReader::new(from).lines();
    for (said, reply) in [
        ("HELLO, I'M truck!", "HI, NICE TO MEET YOU!"),
        ("PING.", "PONG."),
        ("GOTTA GO.", "SEE YA!"),
    ] {
        to.write_all(said.as_bytes()).await.unwrap();
        let line = tokio::time::timeout(Duration::from_secs(10), lines.next_line());
        assert_eq!(line.await.unwrap().unwrap().as_deref(), Some(reply));
    }
    drop((lines, to));
    serving.await.unwrap();
}

#[tokio::test]
async fn a_panic_ends_the_connection_and_its_session() {
    let gateway = TestGateway::start().await;
    let (mut device, stream) = duplex(4096);
    let stream = RecordingStream {
        stream,
        writes: Arc::default(),
    };
    let serving = tokio::spawn(gateway.serve(stream));
    device.write_all(b"HELLO, I'M truck!").await.unwrap();
    let mut lines = BufReader::new(&mut device).lines();
    lines.next_line().await.unwrap().unwrap();
    lines.get_mut().write_all(PANIC).await.unwrap();
    assert_eq!(lines.next_line().await.unwrap(), None);
    serving.await.unwrap();
    assert_eq!(gateway.parts.sessions.connections(), 0);
    let device_id = DeviceId::parse("truck").unwrap();
    let vehicle = gateway.parts.vehicles.vehicle(&device_id).await.unwrap();
    assert!(!vehicle.online);
    assert_eq!(
        vehicle.disconnect_reason,
        Some(DisconnectReason::InternalError)
    );
}
