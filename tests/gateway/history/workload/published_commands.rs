//! Commands that a back-end publishes on the Redis channel that all instances share. The publisher gets no result: the
//! checker judges the rows of these commands, and what devices received.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use fastrand::Rng;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::http_clients::ClientContext;
use crate::history::payload::device_id;

/// How long one publication may take. Redis may be down or suspended, and the command is lost then.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);

impl ClientContext {
    pub(super) async fn publish_commands(self: Arc<Self>, mut rng: Rng) {
        const SENTENCES: [&str; 3] = ["HEY YOU, RUN!", "HEY YOU, REST!", "HOW'S IT GOING?"];
        while !self.is_stopped() {
            let command = json!({
                "type": "command",
                "message": SENTENCES[rng.usize(..SENTENCES.len())],
                "clientId": device_id(self.choose_vehicle(&mut rng)),
            })
            .to_string();
            let published = publish(self.addresses.redis, &command);
            let _lost_or_published = timeout(PUBLISH_TIMEOUT, published).await;
            sleep(Duration::from_millis(rng.u64(50..800))).await;
        }
    }
}

/// Publishes a message as `redis-cli PUBLISH` does.
async fn publish(redis: SocketAddr, message: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(redis).await?;
    stream.write_all(b"*3\r\n").await?;
    for part in ["PUBLISH", "VehicleServers", message] {
        let part = format!("${}\r\n{part}\r\n", part.len());
        stream.write_all(part.as_bytes()).await?;
    }
    stream.read_u8().await?;
    Ok(())
}
