//! The invariants that every run must keep, whatever faults it has. Each file checks one, or two that belong together.
//!
//! To add one: write its check in a file of its own with timelines that keep and that violate it, then add a variant
//! here and a line to the table in `tests/gateway/history/README.md`.

mod acknowledged_data;
mod command_lifecycle;
mod command_replies;
mod command_responses;
mod connection_count;
mod consecutive_epochs;
mod dead_incarnations;
mod deletion;
mod error_responses;
mod expected_sentences;
mod fenced_writes;
mod grace_period;
mod idempotency_keys;
mod online_vehicles;
mod presence_events;
mod presence_readings;
mod queued_commands;
mod response_time;
mod vehicle_state;
mod webhook_deliveries;
mod webhook_messages;

use strum::{EnumMessage, IntoStaticStr, VariantArray};

use super::vehicle_history::VehicleHistory;
use crate::history::record::{History, Moment};

/// An invariant of the gateway. The documentation of a variant is its statement in reports and in the README; its id
/// there is the name in kebab case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumMessage, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Invariant {
    /// What a gateway acknowledged was committed before the acknowledgement, as exactly one row.
    AcknowledgedData,
    /// A vehicle's row has the values of its last stored report, and the interval that its device stated last.
    VehicleState,
    /// The committed logins of a vehicle get the epochs 1, 2, 3 and so on, also over deletions.
    ConsecutiveEpochs,
    /// A session writes only while the vehicle's row names its incarnation and its epoch.
    FencedWrites,
    /// Nothing of an incarnation is committed after it was declared dead.
    DeadIncarnations,
    /// The vehicles with a live connection are online at the end, and no vehicle stays with a dead incarnation.
    OnlineVehicles,
    /// The instances hold exactly the connections that are alive at the end.
    ConnectionCount,
    /// A vehicle whose session ended with its instance goes offline when the grace period is over, not before.
    GracePeriod,
    /// Online and offline messages alternate, each in the batch that changed the vehicle's presence.
    PresenceEvents,
    /// The presence that REST returns is one that the database had during the request.
    PresenceReadings,
    /// A command is written at most once, after `sent` was committed and before it expires, and has one end.
    CommandLifecycle,
    /// The HTTP response to a command request is the command's end state, and what got a 503 is not written later.
    CommandResponses,
    /// An idempotency key makes one command until its vehicle is deleted; a request without one makes its own.
    IdempotencyKeys,
    /// The reply that a command's row has is the one that the device sent to this command.
    CommandReplies,
    /// A queued command is never written after a newer one of its kind exists.
    QueuedCommands,
    /// Each change makes one message in its own batch, numbered 1, 2, 3 and so on for each vehicle.
    WebhookMessages,
    /// Every message is delivered with its stored body, the first deliveries in order of sequence.
    WebhookDeliveries,
    /// A vehicle is deleted exactly when a client asked for it, and its open commands end with it.
    Deletion,
    /// A request that fails or gets no response does so because of a fault at that time.
    ErrorResponses,
    /// A device receives only sentences that the protocol allows at that point.
    ExpectedSentences,
    /// A device gets its reply or a close within the commit timeout, unless its instance is suspended or down.
    ResponseTime,
}

/// The check of an invariant.
pub(super) enum Check {
    /// Checks the history of one vehicle.
    Vehicle(fn(&VehicleHistory<'_>) -> Vec<Finding>),
    /// Checks the whole run. Each finding comes with its subject.
    Run(fn(&History) -> Vec<(String, Finding)>),
}

/// Something that violates an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// About when it happened; `None` if it concerns the end of the run, or the run as a whole.
    pub(super) at: Option<Moment>,
    pub(super) what: String,
}

impl Finding {
    fn new(at: impl Into<Option<Moment>>, what: String) -> Self {
        Self {
            at: at.into(),
            what,
        }
    }
}

impl Invariant {
    pub(crate) fn id(self) -> &'static str {
        self.into()
    }

    pub(crate) fn statement(self) -> &'static str {
        self.get_documentation().unwrap_or_default()
    }

    pub(super) fn check(self) -> Check {
        match self {
            Self::AcknowledgedData => Check::Vehicle(acknowledged_data::check),
            Self::VehicleState => Check::Vehicle(vehicle_state::check),
            Self::ConsecutiveEpochs => Check::Vehicle(consecutive_epochs::check),
            Self::FencedWrites => Check::Vehicle(fenced_writes::check),
            Self::DeadIncarnations => Check::Run(dead_incarnations::check),
            Self::OnlineVehicles => Check::Vehicle(online_vehicles::check),
            Self::ConnectionCount => Check::Run(connection_count::check),
            Self::GracePeriod => Check::Vehicle(grace_period::check),
            Self::PresenceEvents => Check::Vehicle(presence_events::check),
            Self::PresenceReadings => Check::Vehicle(presence_readings::check),
            Self::CommandLifecycle => Check::Vehicle(command_lifecycle::check),
            Self::CommandResponses => Check::Vehicle(command_responses::check),
            Self::IdempotencyKeys => Check::Vehicle(idempotency_keys::check),
            Self::CommandReplies => Check::Vehicle(command_replies::check),
            Self::QueuedCommands => Check::Vehicle(queued_commands::check),
            Self::WebhookMessages => Check::Vehicle(webhook_messages::check),
            Self::WebhookDeliveries => Check::Vehicle(webhook_deliveries::check),
            Self::Deletion => Check::Vehicle(deletion::check),
            Self::ErrorResponses => Check::Vehicle(error_responses::check),
            Self::ExpectedSentences => Check::Vehicle(expected_sentences::check),
            Self::ResponseTime => Check::Vehicle(response_time::check),
        }
    }
}

mod tests {
    use std::{fs, path::Path};

    use strum::VariantArray;

    use super::Invariant;

    #[test]
    fn the_readme_lists_each_invariant_with_its_statement() {
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/history/README.md");
        let readme = fs::read_to_string(readme).unwrap();
        let rows: Vec<&str> = readme
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        let expected: Vec<String> = Invariant::VARIANTS
            .iter()
            .map(|invariant| format!("| `{}` | {} |", invariant.id(), invariant.statement()))
            .collect();
        assert_eq!(rows, expected);
    }
}
