//! The reports, debug blobs and intervals of a timeline.

use super::{DEVICE, Timeline};
use crate::history::record::{
    Change, ConnectionNumber, DeviceEvent, Marker, StoredKind, StoredRow,
};

impl Timeline {
    pub(crate) fn send_report(
        &mut self,
        connection: ConnectionNumber,
        marker: Marker,
    ) -> &mut Self {
        self.observe(connection, DeviceEvent::SentReport(marker))
    }

    pub(crate) fn send_blob(&mut self, connection: ConnectionNumber, marker: Marker) -> &mut Self {
        self.observe(connection, DeviceEvent::SentBlob(marker))
    }

    pub(crate) fn acknowledge(
        &mut self,
        connection: ConnectionNumber,
        marker: Marker,
    ) -> &mut Self {
        self.observe(connection, DeviceEvent::Acknowledged(marker))
    }

    /// The device sends its report interval, and the gateway stores and acknowledges it.
    pub(crate) fn send_interval(
        &mut self,
        connection: ConnectionNumber,
        seconds: u32,
    ) -> &mut Self {
        self.observe(connection, DeviceEvent::SentInterval(seconds));
        self.acknowledged_interval = Some(i64::from(seconds));
        self.observe(connection, DeviceEvent::IntervalAcknowledged(seconds))
    }

    /// A stores a report while the vehicle's row has this epoch.
    pub(crate) fn store_report(&mut self, marker: Marker, epoch: i64) -> &mut Self {
        self.store_report_by("A", marker, epoch)
    }

    pub(crate) fn store_report_by(
        &mut self,
        incarnation: &str,
        marker: Marker,
        epoch: i64,
    ) -> &mut Self {
        self.batch += 1;
        self.store_report_in_batch(incarnation, marker, epoch)
    }

    /// Stores a report in the batch of the write before.
    pub(crate) fn store_report_in_batch(
        &mut self,
        incarnation: &str,
        marker: Marker,
        epoch: i64,
    ) -> &mut Self {
        self.marker = Some(marker);
        self.store_in_batch(StoredKind::Report, incarnation, marker, epoch)
    }

    /// Stores a report or a debug blob in the batch of the write before.
    pub(crate) fn store_in_batch(
        &mut self,
        kind: StoredKind,
        incarnation: &str,
        marker: Marker,
        epoch: i64,
    ) -> &mut Self {
        let id = i64::try_from(self.history.stored_rows.len()).unwrap();
        let device_id = DEVICE.to_owned();
        let marker = Some(marker);
        self.history.stored_rows.push(StoredRow {
            kind,
            id,
            device_id: device_id.clone(),
            marker,
        });
        let change = Change::Stored {
            device_id,
            kind,
            id,
            epoch,
            marker,
        };
        self.write_in_batch(incarnation, change);
        if kind == StoredKind::Blob {
            self.publish(incarnation, "vehicle.debug_blob");
        }
        self
    }

    /// Makes the vehicle's row show this report as its last.
    pub(crate) fn set_row_report(&mut self, marker: Marker) -> &mut Self {
        self.marker = Some(marker);
        self
    }

    /// Removes the stored reports and debug blobs.
    pub(crate) fn purge(&mut self) -> &mut Self {
        self.history.stored_rows.clear();
        self
    }
}
