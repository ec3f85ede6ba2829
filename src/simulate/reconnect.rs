//! Runs one device: connects it, and reconnects it with a backoff, until it says goodbye.

use std::time::Duration;

use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    connection::converse,
    device::{ConnectionEnd, SimulatedDevice, TypedLines, next_line},
    tally::Tallied,
    typed::parse_line,
};
use crate::{backoff::Backoff, domain::DeviceSentence};

/// The longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The pauses between attempts to connect.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

/// Runs until the device says goodbye: because `stop` is cancelled, or because a goodbye was typed.
pub(super) async fn run_device(
    mut device: SimulatedDevice,
    address: &str,
    mut lines: TypedLines,
    stop: &CancellationToken,
) {
    let mut backoff = BACKOFF;
    while let Some(connected) = stop.run_until_cancelled(connect(address)).await {
        let reason = match connected {
            Ok(stream) => {
                let (logged_in, ended) = converse(&mut device, stream, &mut lines, stop).await;
                if logged_in {
                    backoff.reset();
                }
                let reason = ended.to_string();
                match ended {
                    ConnectionEnd::Goodbye => return,
                    ConnectionEnd::DisconnectedByGateway => {
                        device.tally.count(Tallied::DisconnectedByGateway);
                    }
                    ConnectionEnd::LoginRefused => {
                        device.tally.count_failure(Tallied::Refused, &reason);
                    }
                    ConnectionEnd::Closed | ConnectionEnd::Lost(_) | ConnectionEnd::NoAnswer => {
                        device.tally.count_failure(Tallied::Lost, &reason);
                    }
                }
                reason
            }
            Err(reason) => {
                device.tally.count_failure(Tallied::Refused, &reason);
                reason
            }
        };
        let pause = backoff.next_pause_with_jitter(&mut device.rng);
        device.note(&format_args!(
            "{reason}; trying again in {:.1} s",
            pause.as_secs_f64()
        ));
        let until = Instant::now() + pause;
        tokio::select! {
            () = stop.cancelled() => return,
            () = goodbye_typed(&device, &mut lines) => return,
            () = sleep_until(until) => {}
        }
    }
}

async fn connect(address: &str) -> Result<TcpStream, String> {
    let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(format!("cannot connect to {address}: {error}")),
        Err(_elapsed) => return Err(format!("cannot connect to {address}: no answer")),
    };
    // If the option cannot be set, small writes are only delayed.
    let _ignored = stream.set_nodelay(true);
    Ok(stream)
}

/// Waits for a typed goodbye while the device is not connected.
async fn goodbye_typed(device: &SimulatedDevice, lines: &mut TypedLines) {
    loop {
        let line = next_line(lines).await;
        match parse_line(&line, &device.id, device.vehicle.state()) {
            Ok(Some(DeviceSentence::Goodbye)) => return,
            Ok(None) => {}
            Ok(Some(_)) => device.note(&"not sent: not connected"),
            Err(hint) => device.note(&hint),
        }
    }
}
