//! A device connection for tests with many devices: asynchronous, in either dialect.

use std::{io, net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Dialect, cluster::proxy_header};

/// Limit for connecting and for each write.
const PATIENCE: Duration = Duration::from_secs(3);

/// A line from the gateway.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GatewayMessage {
    /// The `connected` object of the JSON dialect.
    Greeting,
    /// The answer to a sentence of the device.
    Reply(String),
    /// A command.
    Command(String),
}

/// A connection to the device port.
pub(crate) struct AsyncDevice {
    stream: TcpStream,
    received: Vec<u8>,
    dialect: Dialect,
    device_id: String,
    /// The address that the gateway stores for the device.
    pub(crate) address: SocketAddr,
}

impl AsyncDevice {
    /// Connects; with `pretend`, sends a PROXY header that names this device address.
    pub(crate) async fn connect(
        to: SocketAddr,
        pretend: Option<SocketAddr>,
        dialect: Dialect,
        device_id: &str,
    ) -> io::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(to)).await??;
        stream.set_nodelay(true)?;
        let mut line = Self {
            address: pretend.map_or_else(|| stream.local_addr(), Ok)?,
            stream,
            received: Vec::new(),
            dialect,
            device_id: device_id.to_owned(),
        };
        if let Some(device) = pretend {
            line.send(&proxy_header(device)).await?;
        }
        Ok(line)
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, self.stream.write_all(bytes)).await?
    }

    /// Sends a sentence that the gateway answers.
    pub(crate) async fn say(&mut self, sentence: &str) -> io::Result<()> {
        self.speak("message", sentence).await
    }

    /// Answers a command.
    pub(crate) async fn answer(&mut self, sentence: &str) -> io::Result<()> {
        self.speak("reply", sentence).await
    }

    /// Sends a debug blob.
    pub(crate) async fn dump(&mut self, content: &[u8]) -> io::Result<()> {
        let title = format!("WTF! {}\n", content.len());
        match self.dialect {
            Dialect::Text => self.send(&[title.as_bytes(), content].concat()).await,
            Dialect::Json => {
                let bytes: Vec<String> = content.iter().map(u8::to_string).collect();
                self.say(&(title + &bytes.join(","))).await
            }
        }
    }

    async fn speak(&mut self, kind: &str, sentence: &str) -> io::Result<()> {
        let said = match self.dialect {
            Dialect::Text => format!("{sentence}\n"),
            Dialect::Json => {
                json!({"type": kind, "message": sentence, "clientId": self.device_id}).to_string()
            }
        };
        self.send(said.as_bytes()).await
    }

    /// The next line from the gateway; `None` once the connection is closed. Safe to cancel.
    pub(crate) async fn hear(&mut self) -> Option<GatewayMessage> {
        loop {
            if let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Some(self.understand(&String::from_utf8_lossy(&line[..end])));
            }
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    fn understand(&self, line: &str) -> GatewayMessage {
        let text = match self.dialect {
            Dialect::Text => line.to_owned(),
            Dialect::Json => {
                let object: Value = serde_json::from_str(line).unwrap_or_default();
                let message = object["message"].as_str().unwrap_or(line).to_owned();
                match object["type"].as_str() {
                    Some("connected") => return GatewayMessage::Greeting,
                    Some("command") => return GatewayMessage::Command(message),
                    Some("reply") => return GatewayMessage::Reply(message),
                    _ => line.to_owned(),
                }
            }
        };
        let is_command = [
            "HOW'S IT GOING?",
            "KEEP ME POSTED ",
            "HEY YOU, ",
            "GOTTA GO.",
        ];
        if is_command.iter().any(|begin| text.starts_with(begin)) {
            GatewayMessage::Command(text)
        } else {
            GatewayMessage::Reply(text)
        }
    }

    /// Hands out the socket without closing it.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }
}
