//! A connection whose device stopped reading and left it open: the gateway has to close it.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::fleet::{FleetVehicle, Phase};
use crate::{
    history::record::{ConnectionNumber, DeviceEvent},
    support::{AsyncDevice, GatewayMessage},
};

/// How long the read at the end waits for the close. The run is quiet by then, so the gateway has closed already.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct AbandonedConnection {
    pub(super) device: AsyncDevice,
    pub(super) connection: ConnectionNumber,
}

impl AbandonedConnection {
    /// Waits for the end of the run; then records the commands that arrived meanwhile, and whether the gateway has
    /// closed the connection.
    pub(super) async fn read_at_end(mut self, vehicle: Arc<FleetVehicle>) {
        let mut phase = vehicle.phase.clone();
        // An error means that the fleet was dropped, which also ends the run.
        let counted = phase.wait_for(|phase| *phase == Phase::Count).await;
        drop(counted);
        let until = Instant::now() + CLOSE_TIMEOUT;
        loop {
            let event = match timeout_at(until, self.device.hear()).await {
                Err(_elapsed) => DeviceEvent::OpenAtEnd,
                Ok(None) => DeviceEvent::ClosedByPeer,
                Ok(Some(GatewayMessage::Command(sentence))) => DeviceEvent::ReceivedCommand {
                    sentence,
                    late: true,
                },
                Ok(Some(_)) => continue,
            };
            let is_last = matches!(event, DeviceEvent::OpenAtEnd | DeviceEvent::ClosedByPeer);
            vehicle.observe(self.connection, event);
            if is_last {
                return;
            }
        }
    }
}
