//! What else is done to vehicles during a run: reports over HTTP, deletions, and commands that somebody publishes on the
//! channel that all instances share.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use fastrand::Rng;
use reqwest::RequestBuilder;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::history::payload::{id_of, state};
use crate::history::record::{Errand, Wish};
use crate::history::workload::http_clients::{Office, told};

impl Office {
    /// Reports for vehicles that cannot do it themselves.
    pub(crate) async fn report_on_and_on(self: Arc<Self>, mut rng: Rng) {
        while !self.is_over() {
            let vehicle = self.some_vehicle(&mut rng);
            let marker = self.next_marker();
            let url = format!("http://{}/service/status-update", self.some_place(&mut rng));
            let request = self.client.post(url).json(&state(vehicle, marker));
            self.run(vehicle, Wish::Report(marker), request).await;
            sleep(Duration::from_millis(rng.u64(20..300))).await;
        }
    }

    /// Deletes vehicles now and then. They come back with their next login, or with a report for them.
    pub(crate) async fn delete_on_and_on(self: Arc<Self>, mut rng: Rng) {
        while !self.is_over() {
            sleep(Duration::from_millis(rng.u64(300..1_500))).await;
            let vehicle = self.some_vehicle(&mut rng);
            let url = format!(
                "http://{}/vehicles/{}",
                self.some_place(&mut rng),
                id_of(vehicle)
            );
            self.run(vehicle, Wish::Delete, self.client.delete(url))
                .await;
        }
    }

    async fn run(&self, vehicle: usize, wish: Wish, request: RequestBuilder) {
        let from = self.clock.now();
        let told = told(request).await;
        self.errands.lock().unwrap().push(Errand {
            from,
            until: self.clock.now(),
            device_id: id_of(vehicle),
            wish,
            told,
        });
    }

    /// Publishes commands. Nobody is told what comes of them: their rows are judged.
    pub(crate) async fn publish_on_and_on(self: Arc<Self>, redis: SocketAddr, mut rng: Rng) {
        const SENTENCES: [&str; 3] = ["HEY YOU, RUN!", "HEY YOU, REST!", "HOW'S IT GOING?"];
        while !self.is_over() {
            let command = json!({
                "type": "command",
                "message": SENTENCES[rng.usize(..SENTENCES.len())],
                "clientId": id_of(self.some_vehicle(&mut rng)),
            });
            // Redis may be away, and then nobody hears it.
            let patience = Duration::from_secs(1);
            let _published = timeout(patience, publish(redis, &command.to_string())).await;
            sleep(Duration::from_millis(rng.u64(50..800))).await;
        }
    }
}

/// As `redis-cli PUBLISH` does.
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
