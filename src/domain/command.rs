//! Commands to vehicles: actions, answers, and how far a command has come.

use std::{fmt, str::FromStr};

use strum::{Display, EnumString, IntoStaticStr, VariantArray, VariantNames};
use uuid::Uuid;

use super::{DeviceId, OutOfRange, ReportInterval, Timestamp, VehicleState};

/// What a command asks a vehicle to do. Its text is the sentence of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// `HOW'S IT GOING?`: send the state now.
    AskState,
    /// `KEEP ME POSTED EVERY <s> SECONDS.`: report at this interval.
    KeepMePosted(ReportInterval),
    /// `HEY YOU, RUN!`: turn on.
    Run,
    /// `HEY YOU, REST!`: turn off.
    Rest,
    /// `GOTTA GO.`: end the session.
    Goodbye,
}

impl Action {
    /// The kind of answer that the action expects.
    #[must_use]
    pub fn answer_kind(self) -> AnswerKind {
        match self {
            Self::AskState => AnswerKind::Fine,
            Self::KeepMePosted(_) => AnswerKind::Sure,
            Self::Run | Self::Rest => AnswerKind::Done,
            Self::Goodbye => AnswerKind::SeeYa,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AskState => f.write_str("HOW'S IT GOING?"),
            Self::KeepMePosted(interval) => {
                write!(f, "KEEP ME POSTED EVERY {} SECONDS.", interval.seconds())
            }
            Self::Run => f.write_str("HEY YOU, RUN!"),
            Self::Rest => f.write_str("HEY YOU, REST!"),
            Self::Goodbye => f.write_str("GOTTA GO."),
        }
    }
}

/// Text that is not an [`Action`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAction {
    /// The text is none of the sentences.
    #[error(
        "must be one of 'HOW'S IT GOING?', 'KEEP ME POSTED EVERY <s> SECONDS.', 'HEY YOU, RUN!', 'HEY YOU, REST!', 'GOTTA GO.'"
    )]
    Unknown,
    /// The interval is out of its range.
    #[error("the report interval must be {}", .0.allowed)]
    Interval(OutOfRange),
}

impl FromStr for Action {
    type Err = InvalidAction;

    fn from_str(text: &str) -> Result<Self, InvalidAction> {
        let fixed = [Self::AskState, Self::Run, Self::Rest, Self::Goodbye];
        if let Some(action) = fixed.into_iter().find(|action| action.to_string() == text) {
            return Ok(action);
        }
        let seconds = text
            .strip_prefix("KEEP ME POSTED EVERY ")
            .and_then(|rest| rest.strip_suffix(" SECONDS."))
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .filter(|digits| (1..=20).contains(&digits.len()))
            .ok_or(InvalidAction::Unknown)?;
        // A number that does not fit into 64 bits is out of range, too.
        ReportInterval::new(seconds.parse().unwrap_or(u64::MAX))
            .map(Self::KeepMePosted)
            .map_err(InvalidAction::Interval)
    }
}

/// A kind of answer. Each action expects one kind, and several actions may expect the same one. Answers carry no id, so
/// at most one command of each kind may be unanswered at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, VariantArray)]
pub enum AnswerKind {
    /// `FINE. …`
    Fine,
    /// `SURE, I WILL!`
    Sure,
    /// `DONE!` or `I CAN'T, SORRY.`
    Done,
    /// `SEE YA!`
    SeeYa,
}

/// The answer of a vehicle to an [`Action`]. Its text is the sentence of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// `FINE. …`: the current state.
    Fine(VehicleState),
    /// `SURE, I WILL!`: the interval is accepted.
    Sure,
    /// `DONE!`: turned on or off.
    Done,
    /// `I CAN'T, SORRY.`: not turned on or off.
    Cannot,
    /// `SEE YA!`: the session may end.
    SeeYa,
}

impl Answer {
    /// The kind of the answer.
    #[must_use]
    pub fn kind(self) -> AnswerKind {
        match self {
            Self::Fine(_) => AnswerKind::Fine,
            Self::Sure => AnswerKind::Sure,
            Self::Done | Self::Cannot => AnswerKind::Done,
            Self::SeeYa => AnswerKind::SeeYa,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fine(state) => write!(f, "FINE. {state}"),
            Self::Sure => f.write_str("SURE, I WILL!"),
            Self::Done => f.write_str("DONE!"),
            Self::Cannot => f.write_str("I CAN'T, SORRY."),
            Self::SeeYa => f.write_str("SEE YA!"),
        }
    }
}

/// How far a command has come. A command begins as `created` or `queued`, usually becomes `sent`, and ends in one of
/// the other states, which are final. Without having been `sent` it ends in one of the last three. The text of a state
/// is its name in the database and in REST.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
    VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum CommandState {
    /// On its way to the vehicle's connection.
    Created,
    /// Waits for the vehicle's next login.
    Queued,
    /// Claimed by the vehicle's session: it is written, or about to be. Never claimed twice.
    Sent,
    /// The vehicle answered yes.
    Done,
    /// The vehicle answered no.
    Refused,
    /// Written, and not answered in time.
    NoAnswer,
    /// The session that claimed the command ended before an answer came.
    Disconnected,
    /// Its deadline passed before it was written. It never will be.
    Expired,
    /// A newer command replaced it before it was written. It never will be.
    Superseded,
    /// The vehicle went offline or was deleted before it was written. It never will be.
    Cancelled,
}

impl CommandState {
    /// The state's name in the database and in REST.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether the command can still become `sent`.
    #[must_use]
    pub fn is_unsent(self) -> bool {
        matches!(self, Self::Created | Self::Queued)
    }

    /// Whether the state never changes again.
    #[must_use]
    pub fn is_final(self) -> bool {
        !self.is_unsent() && self != Self::Sent
    }
}

/// Where a command comes from. Its text is its name in the database and in REST.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
    VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum CommandOrigin {
    /// A REST request for this vehicle.
    Api,
    /// A REST request for every connected vehicle.
    Broadcast,
    /// A login of a vehicle whose desired report interval is set.
    Login,
    /// A message for this vehicle on the shared Redis channel.
    Channel,
}

impl CommandOrigin {
    /// The origin's name in the database and in REST.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A command and its progress so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its id, a UUID of version 7: ascending in the order of creation.
    pub id: Uuid,
    /// The vehicle that it is for.
    pub device_id: DeviceId,
    /// What the vehicle is asked to do.
    pub action: Action,
    /// Where it comes from.
    pub origin: CommandOrigin,
    /// How far it has come.
    pub state: CommandState,
    /// When it was created.
    pub created_at: Timestamp,
    /// The time from which on it is never written.
    pub expires_at: Timestamp,
    /// When the session claimed it, right before it was written.
    pub sent_at: Option<Timestamp>,
    /// When it reached its final state.
    pub finished_at: Option<Timestamp>,
    /// The answer of the vehicle, if it came in time.
    pub reply: Option<String>,
    /// The answer of the vehicle, if it came after the final state.
    pub late_reply: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_parsed_from_its_sentence_only() {
        let every = |seconds| Action::KeepMePosted(ReportInterval::new(seconds).unwrap());
        for action in [
            Action::AskState,
            every(0),
            every(3600),
            Action::Run,
            Action::Rest,
            Action::Goodbye,
        ] {
            assert_eq!(action.to_string().parse(), Ok(action));
        }
        assert_eq!("KEEP ME POSTED EVERY 0060 SECONDS.".parse(), Ok(every(60)));
        for bad in [
            "",
            "RUN",
            "hey you, run!",
            "HEY YOU, RUN!\n",
            "PONG.",
            "DONE!",
            "KEEP ME POSTED EVERY  SECONDS.",
            "KEEP ME POSTED EVERY -10 SECONDS.",
        ] {
            assert_eq!(bad.parse::<Action>(), Err(InvalidAction::Unknown), "{bad}");
        }
        for seconds in ["9", "3601", "99999999999999999999"] {
            let text = format!("KEEP ME POSTED EVERY {seconds} SECONDS.");
            assert!(
                matches!(text.parse::<Action>(), Err(InvalidAction::Interval(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn states_and_origins_have_the_names_of_the_database_and_rest() {
        assert_eq!(
            <CommandState as VariantNames>::VARIANTS.join(" "),
            "created queued sent done refused no-answer disconnected expired superseded cancelled"
        );
        for state in <CommandState as VariantArray>::VARIANTS {
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
        assert_eq!(
            <CommandOrigin as VariantNames>::VARIANTS.join(" "),
            "api broadcast login channel"
        );
        for origin in <CommandOrigin as VariantArray>::VARIANTS {
            assert_eq!(origin.as_str().parse(), Ok(*origin));
        }
        assert!("sending".parse::<CommandState>().is_err());
    }
}
