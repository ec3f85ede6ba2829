//! Decodes received messages and routes them: answers to their requests, requests and notices to the receiver of
//! events.

use std::sync::Arc;

use tokio::sync::mpsc::{self, error::TrySendError};
use tracing::debug;
use uuid::Uuid;

use super::{
    codec::{self, CodecReaction, DecodeError, DecodedMessage, PeerMessage, PeerReply},
    drop_log,
    message::{FanoutEvent, ReplyAddress},
    participant::Participant,
};
use crate::domain::IncarnationId;

/// Routes the messages that one connection receives. Never waits: an event for which there is no room is dropped, and
/// reported as [`FanoutEvent::MayHaveMissed`] later.
pub(super) struct Inbox {
    participant: Arc<Participant>,
    events: mpsc::Sender<FanoutEvent>,
    /// Receives the addresses of requests that cannot be decoded, which are to be answered `unsupported`.
    unsupported: mpsc::Sender<ReplyAddress>,
    /// Whether messages were lost since the last [`FanoutEvent::MayHaveMissed`].
    has_missed: bool,
}

/// Whether a received message was a probe, which this incarnation sent to itself, or any other message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    FromPeer,
    OwnProbe,
}

impl Inbox {
    /// An inbox for a subscription that has just begun. Earlier messages are lost, so its first event is
    /// [`FanoutEvent::MayHaveMissed`].
    pub(super) fn new(
        participant: Arc<Participant>,
        events: mpsc::Sender<FanoutEvent>,
        unsupported: mpsc::Sender<ReplyAddress>,
    ) -> Self {
        Self {
            participant,
            events,
            unsupported,
            has_missed: true,
        }
    }

    /// Notes that the transport has lost so many messages.
    pub(super) fn note_missed(&mut self, messages: u64) {
        drop_log::unread_messages(messages);
        self.has_missed = true;
    }

    /// Sends [`FanoutEvent::MayHaveMissed`] as soon as there is room for an event. Never returns if no messages were
    /// lost. Cancel-safe.
    pub(super) async fn report_missed(&mut self) {
        if !self.has_missed {
            return std::future::pending().await;
        }
        // Without a receiver nobody needs the report.
        let room = self.events.reserve().await;
        self.has_missed = false;
        if let Ok(room) = room {
            room.send(FanoutEvent::MayHaveMissed);
        }
    }

    /// Routes a message on the shared channel, to which all instances subscribe.
    pub(super) fn receive_on_shared_channel(&mut self, message: &[u8]) {
        match codec::decode_channel_command(message) {
            Ok(Some((device_id, action))) => {
                self.hand_on(FanoutEvent::ChannelCommand { device_id, action });
            }
            Ok(None) => debug!("message of an instance on the shared channel ignored"),
            Err(reason) => {
                drop_log::shared_channel_message(&reason, message);
            }
        }
    }

    /// Routes a message on the channel of this incarnation. One from this incarnation itself is ignored, if it is no
    /// probe.
    pub(super) fn receive(&mut self, incarnation: IncarnationId, message: &[u8]) -> Received {
        match codec::decode(message) {
            Ok(DecodedMessage { origin, message }) if origin == incarnation => {
                if message == PeerMessage::Probe {
                    return Received::OwnProbe;
                }
            }
            Ok(DecodedMessage { origin, message }) => self.route(origin, message),
            Err(error) if error.origin == Some(incarnation) => {}
            Err(error) => self.react(&error, message),
        }
        Received::FromPeer
    }

    fn route(&mut self, origin: IncarnationId, message: PeerMessage) {
        match message {
            PeerMessage::Request {
                correlation,
                request,
            } => {
                let reply_to = ReplyAddress {
                    origin,
                    correlation,
                };
                self.hand_on(FanoutEvent::Request(reply_to, request));
            }
            PeerMessage::Answer { correlation, reply } => self.resolve(correlation, reply),
            PeerMessage::Notice(notice) => self.hand_on(FanoutEvent::Notice(notice)),
            PeerMessage::Probe => debug!(%origin, "probe of another instance ignored"),
        }
    }

    fn react(&self, error: &DecodeError, message: &[u8]) {
        let log = &self.participant.drop_log;
        log.peer_message(error.fault, &error.reason, message);
        match error.reaction {
            Some(CodecReaction::AnswerUnsupported(reply_to)) => self.answer_unsupported(reply_to),
            Some(CodecReaction::EndRequest(correlation)) => {
                self.resolve(correlation, PeerReply::Unreadable);
            }
            None => {}
        }
    }

    fn answer_unsupported(&self, reply_to: ReplyAddress) {
        if self.unsupported.try_send(reply_to).is_err() {
            debug!(to = %reply_to.origin, "unsupported request not answered: too many wait for that answer");
        }
    }

    fn resolve(&self, correlation: Uuid, reply: PeerReply) {
        if !self.participant.pending.resolve(correlation, reply) {
            debug!(%correlation, "late or unsolicited answer ignored");
        }
    }

    fn hand_on(&mut self, event: FanoutEvent) {
        match self.events.try_send(event) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                drop_log::unhandled_message();
                self.has_missed = true;
            }
            Err(TrySendError::Closed(_)) => debug!("message dropped: nothing receives events"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::Mutex,
    };

    use super::*;

    /// The log at `info` and above.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn floods_of_messages_give_a_line_a_minute() {
        let command = br#"{"type":"command","message":"HEY YOU, RUN!","clientId":"truck-19"}"#;
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
        let _following = tracing::subscriber::set_default(subscriber.finish());
        let (events, mut received) = mpsc::channel(1);
        let (unsupported, _) = mpsc::channel(1);
        let mut inbox = Inbox::new(Arc::default(), events, unsupported);
        for _ in 0..100 {
            inbox.report_missed().await;
            assert_eq!(received.recv().await, Some(FanoutEvent::MayHaveMissed));
            for _ in 0..3 {
                inbox.receive_on_shared_channel(command);
                inbox.receive_on_shared_channel(b"{");
            }
            inbox.note_missed(7);
            assert!(received.recv().await.is_some());
        }
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        // One for each kind.
        assert_eq!(text.lines().count(), 3, "{text}");
    }
}
