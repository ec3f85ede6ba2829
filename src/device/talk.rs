//! The conversation with one device: what each sentence calls for. Knows no socket, clock or store,
//! so every rule about who may say what and when can be tested by itself.

use bytes::Bytes;

use crate::{
    domain::{
        Answer, DeviceId, DeviceSentence, DisconnectReason, GatewaySentence, ReportInterval,
        VehicleState,
    },
    protocol::Message,
};

/// What a sentence calls for.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Credit this to the command that it answers. If nothing was asked a `FINE.` is a report, and the
    /// others are nothing.
    Answer {
        answer: Answer,
        /// Whether the device is thanked for such a report.
        thanked_if_unasked: bool,
    },
    /// Say this.
    Say(GatewaySentence),
    /// Say this, then close.
    Part(GatewaySentence, DisconnectReason),
    /// Note a sign of life and say this.
    Heartbeat(GatewaySentence),
    /// Store a login. Nothing more is to be handled before [`Talk::logged_in`] or
    /// [`Talk::login_failed`].
    LogIn(Box<LogIn>),
    /// Store this; once it is committed, say the sentence, if there is one.
    Store(Record, Option<GatewaySentence>),
}

impl Step {
    /// Whether the sentence was not understood, or came from a stranger.
    pub(super) fn is_bad(&self) -> bool {
        let (Self::Say(answer) | Self::Part(answer, _)) = self else {
            return false;
        };
        matches!(answer, GatewaySentence::Bad | GatewaySentence::DontKnowYou)
    }
}

/// A login to store.
#[derive(Debug, PartialEq)]
pub(super) struct LogIn {
    pub(super) device_id: DeviceId,
    /// What to handle once logged in: the sentence of a device that skipped `HELLO`. None after a
    /// `HELLO`, which is greeted instead.
    pub(super) then: Option<Message>,
}

/// What a device tells that is kept.
#[derive(Debug, PartialEq)]
pub(super) enum Record {
    Report(VehicleState),
    DebugBlob(Bytes),
    KeepMePosted(ReportInterval),
}

#[derive(Debug)]
enum Who {
    Stranger,
    LoggingIn,
    Vehicle(DeviceId),
}

/// The state of a conversation.
#[derive(Debug)]
pub(super) struct Talk {
    who: Who,
    bad_in_a_row: u32,
    max_bad: u32,
}

impl Talk {
    pub(super) fn new(max_bad: u32) -> Self {
        Self {
            who: Who::Stranger,
            bad_in_a_row: 0,
            max_bad,
        }
    }

    /// What follows from input that is no sentence.
    pub(super) fn on_bad(&mut self) -> Step {
        self.bad(GatewaySentence::Bad)
    }

    /// What follows from a sentence.
    pub(super) fn on_message(&mut self, message: Message) -> Step {
        let step = match &self.who {
            Who::Stranger => self.on_stranger(message),
            // The caller promised to wait; refusing is the harmless way out.
            Who::LoggingIn => return self.on_bad(),
            Who::Vehicle(id) => {
                let id = id.clone();
                self.on_vehicle(&id, message)
            }
        };
        if !step.is_bad() {
            self.bad_in_a_row = 0;
        }
        step
    }

    /// The login is stored: from now on `device_id` speaks.
    pub(super) fn logged_in(&mut self, device_id: DeviceId) {
        self.who = Who::Vehicle(device_id);
    }

    fn on_stranger(&mut self, message: Message) -> Step {
        let Message {
            sentence,
            client_id,
            is_reply,
        } = &message;
        match (sentence, client_id) {
            (DeviceSentence::Goodbye, _) => {
                Step::Part(GatewaySentence::SeeYa, DisconnectReason::Goodbye)
            }
            (DeviceSentence::Hello(id), Some(client_id)) if id != client_id => self.on_bad(),
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

    fn log_in(&mut self, device_id: DeviceId, then: Option<Message>) -> Step {
        self.who = Who::LoggingIn;
        Step::LogIn(Box::new(LogIn { device_id, then }))
    }

    fn on_vehicle(&mut self, device_id: &DeviceId, message: Message) -> Step {
        let Message {
            sentence,
            client_id,
            is_reply,
        } = message;
        if client_id.is_some_and(|client_id| client_id != *device_id) {
            return self.on_bad();
        }
        match sentence {
            DeviceSentence::Hello(id) if id == *device_id => Step::Say(GatewaySentence::Greeting),
            DeviceSentence::Hello(_) => self.on_bad(),
            DeviceSentence::Ping => Step::Heartbeat(GatewaySentence::Pong),
            DeviceSentence::Report(state) => {
                Step::Store(Record::Report(state), Some(GatewaySentence::Thanks))
            }
            DeviceSentence::Fine(state) => match is_reply {
                // It says of itself that it answers nothing.
                Some(false) => Step::Store(Record::Report(state), Some(GatewaySentence::Thanks)),
                is_reply => Step::Answer {
                    answer: Answer::Fine(state),
                    thanked_if_unasked: is_reply.is_none(),
                },
            },
            DeviceSentence::DebugBlob(content) => Step::Store(
                Record::DebugBlob(content),
                Some(GatewaySentence::BlobReported),
            ),
            DeviceSentence::KeepMePosted(interval) => Step::Store(
                Record::KeepMePosted(interval),
                Some(GatewaySentence::SureIWill),
            ),
            DeviceSentence::Goodbye => {
                Step::Part(GatewaySentence::SeeYa, DisconnectReason::Goodbye)
            }
            DeviceSentence::Done => answer(Answer::Done),
            DeviceSentence::Cannot => answer(Answer::Cannot),
            DeviceSentence::SureIWill => answer(Answer::Sure),
            DeviceSentence::SeeYa => answer(Answer::SeeYa),
        }
    }

    fn bad(&mut self, answer: GatewaySentence) -> Step {
        self.bad_in_a_row += 1;
        if self.bad_in_a_row >= self.max_bad {
            Step::Part(answer, DisconnectReason::TooManyBadSentences)
        } else {
            Step::Say(answer)
        }
    }
}

fn answer(answer: Answer) -> Step {
    Step::Answer {
        answer,
        thanked_if_unasked: false,
    }
}

/// Whether a JSON device that skipped `HELLO` logs in by saying this: an answer does not.
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
#[path = "talk_tests.rs"]
mod tests;
