//! A connection that its device left open without listening: the gateway has to close it.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::history::record::{Connection, Event};
use crate::history::workload::fleet::{Phase, Vehicle};
use crate::support::{AsyncDevice, GatewayMessage};

/// How long the gateway has to close a connection on which nobody listens, once all is quiet.
const CLOSE: Duration = Duration::from_secs(5);

/// A connection on which nobody listens.
pub(crate) struct Forgotten {
    pub(crate) line: AsyncDevice,
    pub(crate) connection: Connection,
}

impl Forgotten {
    /// At the end of the run: what came meanwhile, and whether the gateway has closed it.
    pub(crate) async fn wait_for_the_close(mut self, vehicle: Arc<Vehicle>) {
        let mut phase = vehicle.phase.clone();
        // The run is over when nobody is left who could tell.
        let over = phase.wait_for(|phase| *phase == Phase::Count).await;
        drop(over);
        let until = Instant::now() + CLOSE;
        loop {
            let heard = timeout_at(until, self.line.hear()).await;
            let event = match heard {
                Err(_elapsed) => Event::StillOpen,
                Ok(None) => Event::Closed,
                Ok(Some(GatewayMessage::Command(sentence))) => Event::Heard {
                    sentence,
                    late: true,
                },
                Ok(Some(_)) => continue,
            };
            let is_last = matches!(event, Event::StillOpen | Event::Closed);
            vehicle.note(self.connection, event);
            if is_last {
                return;
            }
        }
    }
}
