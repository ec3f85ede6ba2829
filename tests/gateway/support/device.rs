//! A device on a real socket.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::{GREETING, PATIENCE, TlsStream, hello};

/// The envelope of a JSON device.
pub(crate) fn json(message: &str, client_id: &str) -> String {
    json!({"type": "message", "message": message, "clientId": client_id}).to_string()
}

/// One connection to the device port, or to the one inside TLS.
pub(crate) struct Device {
    stream: Transport,
    received: Vec<u8>,
}

enum Transport {
    Plain(TcpStream),
    Encrypted(Box<TlsStream>),
}

impl Transport {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Encrypted(stream) => &stream.sock,
        }
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Encrypted(stream) => stream.read(buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Encrypted(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Encrypted(stream) => stream.flush(),
        }
    }
}

impl Device {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::from_stream(TcpStream::connect(address).unwrap())
    }

    /// A device with a small receive buffer, so that the gateway's writes block soon.
    pub(crate) fn connect_with_small_buffer(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::from_stream(socket.into())
    }

    /// A device on an open connection.
    pub(crate) fn from_stream(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::on(Transport::Plain(stream))
    }

    /// A device inside TLS.
    pub(crate) fn encrypted(stream: TlsStream) -> Self {
        Self::on(Transport::Encrypted(Box::new(stream)))
    }

    fn on(stream: Transport) -> Self {
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Logs in as a text device.
    #[track_caller]
    pub(crate) fn logged_in(mut self, device_id: &str) -> Self {
        self.say(&hello(device_id));
        self.expect(GREETING);
        self
    }

    /// Sends a heartbeat and expects its answer: everything before it was processed and answered as expected.
    #[track_caller]
    pub(crate) fn ping(&mut self) {
        self.say("PING.");
        self.expect("PONG.");
    }

    /// The underlying socket, for what a well-behaved device would not do.
    pub(crate) fn stream(&self) -> &TcpStream {
        self.stream.socket()
    }

    #[track_caller]
    pub(crate) fn say(&mut self, text: &str) {
        self.send(text.as_bytes());
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends text; false if the gateway has closed.
    pub(crate) fn try_say(&mut self, text: &str) -> bool {
        self.try_send(text.as_bytes())
    }

    /// Sends bytes; false if the gateway has closed.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends as much as fits into the socket buffers at once.
    pub(crate) fn send_what_fits(&mut self, mut bytes: &[u8]) {
        self.stream().set_nonblocking(true).unwrap();
        while let Ok(written @ 1..) = self.stream.write(bytes) {
            bytes = &bytes[written..];
        }
        self.stream().set_nonblocking(false).unwrap();
    }

    /// Closes the sending direction only; inside TLS by its farewell.
    pub(crate) fn half_close(&mut self) {
        match &mut self.stream {
            Transport::Plain(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Transport::Encrypted(stream) => {
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            }
        }
    }

    /// The next line from the gateway; `None` once it has closed.
    #[track_caller]
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.take_line() {
                return Some(line);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    assert_eq!(self.received, b"", "the gateway closed within a sentence");
                    return None;
                }
                Ok(read) => self.received.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no line within {PATIENCE:?}: {error}"),
            }
        }
    }

    /// The first complete line of the received bytes.
    fn take_line(&mut self) -> Option<String> {
        let end = self.received.iter().position(|&byte| byte == b'\n')?;
        let line: Vec<u8> = self.received.drain(..=end).collect();
        Some(String::from_utf8(line[..end].to_vec()).unwrap())
    }

    /// The next line, without a timeout; `None` at the end of the connection, also by an error.
    pub(crate) fn line_or_end(&mut self) -> Option<String> {
        self.stream().set_read_timeout(None).unwrap();
        loop {
            if let Some(line) = self.take_line() {
                return Some(line);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.received.extend_from_slice(&chunk[..read]),
            }
        }
    }

    /// Expects this sentence as the next line.
    #[track_caller]
    pub(crate) fn expect(&mut self, sentence: &str) {
        assert_eq!(self.line().as_deref(), Some(sentence));
    }

    /// Expects these bytes next, with or without a line end.
    #[track_caller]
    pub(crate) fn expect_prefix(&mut self, text: &str) {
        while self.received.len() < text.len() {
            let mut chunk = [0; 4096];
            let read = self.stream.read(&mut chunk).unwrap();
            assert_ne!(read, 0, "closed before: {text}");
            self.received.extend_from_slice(&chunk[..read]);
        }
        let part: Vec<u8> = self.received.drain(..text.len()).collect();
        assert_eq!(String::from_utf8_lossy(&part), text);
    }

    /// The next line as JSON.
    #[track_caller]
    pub(crate) fn object(&mut self) -> Value {
        let line = self.line().expect("the gateway closed");
        serde_json::from_str(&line).unwrap()
    }

    /// Expects a JSON reply with this message.
    #[track_caller]
    pub(crate) fn expect_reply(&mut self, message: &str) {
        assert_eq!(
            self.line(),
            Some(format!(r#"{{"type":"reply","message":"{message}"}}"#))
        );
    }

    /// Expects that nothing arrives for this long.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self, length: Duration) {
        assert_eq!(self.received, b"");
        self.stream().set_read_timeout(Some(length)).unwrap();
        let received = self.stream.read(&mut [0; 1]);
        assert!(
            received.as_ref().is_err_and(|error| matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::TimedOut
            )),
            "expected silence: {received:?}"
        );
        self.stream().set_read_timeout(Some(PATIENCE)).unwrap();
    }

    /// Expects that the gateway closes without another line.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        assert_eq!(self.line(), None);
    }
}
