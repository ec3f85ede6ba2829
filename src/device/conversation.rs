//! The conversation with one device, as a state machine: the reaction to each sentence.
//!
//! It knows no socket, clock or store, so that every rule of the protocol can be tested by itself.

use bytes::Bytes;

use crate::{
    domain::{
        Answer, DeviceId, DeviceSentence, DisconnectReason, GatewaySentence, ReportInterval,
        VehicleState,
    },
    protocol::DeviceMessage,
};

/// What the connection has to do after a sentence.
#[derive(Debug, PartialEq)]
pub(super) enum Reaction {
    /// Match the answer with the command that waits for it. Without such a command a `FINE.` is a report, and the
    /// others are ignored.
    Answer {
        answer: Answer,
        /// Whether an unsolicited `FINE.` is acknowledged with `OK, THANKS!`, like a report.
        thank_if_unsolicited: bool,
    },
    /// Reply.
    Reply(GatewaySentence),
    /// Reply, then close the connection.
    ReplyAndClose(GatewaySentence, DisconnectReason),
    /// Record a heartbeat and reply.
    Heartbeat(GatewaySentence),
    /// Store a login. Nothing else may be handled before [`Conversation::logged_in`].
    LogIn(Box<LoginRequest>),
    /// Store the record; once it is committed, send the reply, if there is one.
    Store(Record, Option<GatewaySentence>),
}

impl Reaction {
    /// Whether the sentence was invalid or came before the login.
    pub(super) fn is_bad(&self) -> bool {
        let (Self::Reply(answer) | Self::ReplyAndClose(answer, _)) = self else {
            return false;
        };
        matches!(answer, GatewaySentence::Bad | GatewaySentence::DontKnowYou)
    }
}

/// A login to store.
#[derive(Debug, PartialEq)]
pub(super) struct LoginRequest {
    pub(super) device_id: DeviceId,
    /// The message to handle after the login: the first of a JSON device that skipped `HELLO`. None after a `HELLO`,
    /// which is answered by a greeting.
    pub(super) first_message: Option<DeviceMessage>,
}

/// What is stored of a sentence.
#[derive(Debug, PartialEq)]
pub(super) enum Record {
    Report(VehicleState),
    DebugBlob(Bytes),
    KeepMePosted(ReportInterval),
}

#[derive(Debug)]
enum ConversationState {
    /// No login yet.
    Anonymous,
    /// The login is being stored.
    LoggingIn,
    /// The vehicle is logged in.
    LoggedIn(DeviceId),
}

/// The conversation with one device.
#[derive(Debug)]
pub(super) struct Conversation {
    state: ConversationState,
    bad_in_a_row: u32,
    max_bad: u32,
}

impl Conversation {
    pub(super) fn new(max_bad: u32) -> Self {
        Self {
            state: ConversationState::Anonymous,
            bad_in_a_row: 0,
            max_bad,
        }
    }

    /// Reacts to input that is no sentence.
    pub(super) fn on_bad_input(&mut self) -> Reaction {
        self.bad(GatewaySentence::Bad)
    }

    /// Reacts to the beginning of an HTTP request or a TLS handshake. A web page can have a browser send a request here, and
    /// its body could be sentences: so nothing after it is read before the login.
    pub(super) fn on_foreign_protocol(&mut self) -> Reaction {
        match self.state {
            ConversationState::Anonymous => {
                Reaction::ReplyAndClose(GatewaySentence::Bad, DisconnectReason::TooManyBadSentences)
            }
            ConversationState::LoggingIn | ConversationState::LoggedIn(_) => self.on_bad_input(),
        }
    }

    /// Reacts to a sentence.
    pub(super) fn on_message(&mut self, message: DeviceMessage) -> Reaction {
        let reaction = match &self.state {
            ConversationState::Anonymous => self.before_login(message),
            // The caller must not pass a message before the login is stored; if it does, refusing the message is
            // harmless.
            ConversationState::LoggingIn => return self.on_bad_input(),
            ConversationState::LoggedIn(id) => {
                let id = id.clone();
                self.after_login(&id, message)
            }
        };
        if !reaction.is_bad() {
            self.bad_in_a_row = 0;
        }
        reaction
    }

    /// Notes that the login of `device_id` is stored: the following messages are those of a vehicle that is logged in.
    pub(super) fn logged_in(&mut self, device_id: DeviceId) {
        self.state = ConversationState::LoggedIn(device_id);
    }

    fn before_login(&mut self, message: DeviceMessage) -> Reaction {
        let DeviceMessage {
            sentence,
            client_id,
            is_reply,
        } = &message;
        match (sentence, client_id) {
            (DeviceSentence::Goodbye, _) => {
                Reaction::ReplyAndClose(GatewaySentence::SeeYa, DisconnectReason::Goodbye)
            }
            (DeviceSentence::Hello(id), Some(client_id)) if id != client_id => self.on_bad_input(),
            (DeviceSentence::Hello(id), _) => {
                let device_id = id.clone();
                self.log_in(device_id, None)
            }
            (sentence, Some(client_id)) if opens_exchange(sentence, *is_reply == Some(true)) => {
                let device_id = client_id.clone();
                self.log_in(device_id, Some(message))
            }
            _ => self.bad(GatewaySentence::DontKnowYou),
        }
    }

    fn log_in(&mut self, device_id: DeviceId, first_message: Option<DeviceMessage>) -> Reaction {
        self.state = ConversationState::LoggingIn;
        Reaction::LogIn(Box::new(LoginRequest {
            device_id,
            first_message,
        }))
    }

    fn after_login(&mut self, device_id: &DeviceId, message: DeviceMessage) -> Reaction {
        let DeviceMessage {
            sentence,
            client_id,
            is_reply,
        } = message;
        if client_id.is_some_and(|client_id| client_id != *device_id) {
            return self.on_bad_input();
        }
        match sentence {
            DeviceSentence::Hello(id) if id == *device_id => {
                Reaction::Reply(GatewaySentence::Greeting)
            }
            DeviceSentence::Hello(_) => self.on_bad_input(),
            DeviceSentence::Ping => Reaction::Heartbeat(GatewaySentence::Pong),
            DeviceSentence::Report(state) => {
                Reaction::Store(Record::Report(state), Some(GatewaySentence::Thanks))
            }
            DeviceSentence::Fine(state) => match is_reply {
                // The type of its envelope is `message`: it answers no command.
                Some(false) => {
                    Reaction::Store(Record::Report(state), Some(GatewaySentence::Thanks))
                }
                is_reply => Reaction::Answer {
                    answer: Answer::Fine(state),
                    thank_if_unsolicited: is_reply.is_none(),
                },
            },
            DeviceSentence::DebugBlob(content) => Reaction::Store(
                Record::DebugBlob(content),
                Some(GatewaySentence::BlobReported),
            ),
            DeviceSentence::KeepMePosted(interval) => Reaction::Store(
                Record::KeepMePosted(interval),
                Some(GatewaySentence::SureIWill),
            ),
            DeviceSentence::Goodbye => {
                Reaction::ReplyAndClose(GatewaySentence::SeeYa, DisconnectReason::Goodbye)
            }
            DeviceSentence::Done => answer(Answer::Done),
            DeviceSentence::Cannot => answer(Answer::Cannot),
            DeviceSentence::SureIWill => answer(Answer::Sure),
            DeviceSentence::SeeYa => answer(Answer::SeeYa),
        }
    }

    fn bad(&mut self, answer: GatewaySentence) -> Reaction {
        self.bad_in_a_row += 1;
        if self.bad_in_a_row >= self.max_bad {
            Reaction::ReplyAndClose(answer, DisconnectReason::TooManyBadSentences)
        } else {
            Reaction::Reply(answer)
        }
    }
}

fn answer(answer: Answer) -> Reaction {
    Reaction::Answer {
        answer,
        thank_if_unsolicited: false,
    }
}

/// Whether this message logs a JSON device in that skipped `HELLO`. Answers and `GOTTA GO.` do not.
fn opens_exchange(sentence: &DeviceSentence, is_reply: bool) -> bool {
    match sentence {
        DeviceSentence::Hello(_)
        | DeviceSentence::Ping
        | DeviceSentence::Report(_)
        | DeviceSentence::DebugBlob(_)
        | DeviceSentence::KeepMePosted(_) => true,
        DeviceSentence::Fine(_) => !is_reply,
        DeviceSentence::Goodbye
        | DeviceSentence::Done
        | DeviceSentence::Cannot
        | DeviceSentence::SureIWill
        | DeviceSentence::SeeYa => false,
    }
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
