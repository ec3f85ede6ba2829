//! What the endpoint is told in a history that is written by hand: what the story says, unless a test takes something away.

use crate::history::checker::timeline::{Story, TRUCK};
use crate::history::record::{Change, Delivery, MessageRow};

impl Story {
    /// In the batch of what was before a message is written, and it is delivered.
    pub(crate) fn tells(&mut self, writer: &str, kind: &str) -> &mut Self {
        let sequence = i64::try_from(self.history.messages.len()).unwrap() + 1;
        let id = format!("m{sequence}");
        let body = format!("{kind} {sequence}");
        self.history.messages.push(MessageRow {
            id: id.clone(),
            state: MessageRow::DELIVERED,
            body: body.clone(),
        });
        self.history.deliveries.push(Delivery {
            id: id.clone(),
            device_id: TRUCK.to_owned(),
            sequence,
            kind: kind.to_owned(),
            body,
        });
        let change = Change::Message {
            device_id: TRUCK.to_owned(),
            id,
            sequence,
            kind: kind.to_owned(),
        };
        self.note_now(writer, change)
    }

    /// What was written last is a message, and is taken back.
    pub(crate) fn untold(&mut self) -> &mut Self {
        let last = self.history.audit.pop();
        let is_message = last.is_some_and(|audit| matches!(audit.change, Change::Message { .. }));
        assert!(is_message);
        self.history.messages.pop();
        self.history.deliveries.pop();
        self
    }
}
