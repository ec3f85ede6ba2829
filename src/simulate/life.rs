//! A device's life: connect, talk, and when that ends try again, until it says goodbye.

use std::time::Duration;

use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    backoff::Backoff,
    connection::converse,
    device::{Device, Ended, Lines, next_line},
    tally::Event,
    terminal::understand,
};
use crate::domain::DeviceSentence;

/// How long the way to the gateway may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Lives until the device says goodbye: because `stop` tells it to, or because it was typed.
pub(super) async fn live(
    mut device: Device,
    address: &str,
    mut lines: Lines,
    stop: &CancellationToken,
) {
    let mut backoff = Backoff::default();
    while let Some(connected) = stop.run_until_cancelled(connect(address)).await {
        let why = match connected {
            Ok(stream) => {
                let (logged_in, ended) = converse(&mut device, stream, &mut lines, stop).await;
                if logged_in {
                    backoff = Backoff::default();
                }
                let why = ended.to_string();
                match ended {
                    Ended::Goodbye => return,
                    Ended::ToldToGo => device.tally.count(Event::ToldToGo),
                    Ended::Refused => device.tally.trouble(Event::Refused, &why),
                    Ended::Closed | Ended::Broken(_) | Ended::NoAnswer => {
                        device.tally.trouble(Event::Lost, &why);
                    }
                }
                why
            }
            Err(why) => {
                device.tally.trouble(Event::Refused, &why);
                why
            }
        };
        let pause = backoff.pause(&mut device.rng);
        device.note(&format_args!(
            "{why}; trying again in {:.1} s",
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
    // A sentence leaves at once; without it all works, only slower.
    let _slower = stream.set_nodelay(true);
    Ok(stream)
}

/// Waits for a goodbye among what is typed while there is nobody to talk to.
async fn goodbye_typed(device: &Device, lines: &mut Lines) {
    loop {
        let line = next_line(lines).await;
        match understand(&line, &device.id, device.vehicle.state()) {
            Ok(Some(DeviceSentence::Goodbye)) => return,
            Ok(None) => {}
            Ok(Some(_)) => device.note(&"not said: not connected"),
            Err(hint) => device.note(&hint),
        }
    }
}
