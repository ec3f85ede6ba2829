//! The webhook messages of a timeline.

use super::{DEVICE, Timeline};
use crate::history::record::{Change, MessageRow, WebhookDelivery};

impl Timeline {
    /// Writes a message in the batch of the write before, and delivers it.
    pub(crate) fn publish(&mut self, incarnation: &str, kind: &str) -> &mut Self {
        let sequence = i64::try_from(self.history.message_rows.len()).unwrap() + 1;
        let id = format!("m{sequence}");
        let body = format!("{kind} {sequence}");
        self.history.message_rows.push(MessageRow {
            id: id.clone(),
            state: MessageRow::DELIVERED,
            body: body.clone(),
        });
        self.history.deliveries.push(WebhookDelivery {
            id: id.clone(),
            device_id: DEVICE.to_owned(),
            sequence,
            kind: kind.to_owned(),
            body,
        });
        let change = Change::Message {
            device_id: DEVICE.to_owned(),
            id,
            sequence,
            kind: kind.to_owned(),
        };
        self.write_at_once(incarnation, change)
    }

    /// Takes the message back that was written last.
    pub(crate) fn retract_message(&mut self) -> &mut Self {
        let last = self.history.audit.pop();
        let is_message = last.is_some_and(|entry| matches!(entry.change, Change::Message { .. }));
        assert!(is_message, "the last write is no message");
        self.history.message_rows.pop();
        self.history.deliveries.pop();
        self
    }
}
