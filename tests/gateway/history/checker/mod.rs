//! The checker: compares what devices and clients saw with what was written to the database, and finds each violation
//! of an invariant. It knows the history only, so hand-written histories ([`timeline`]) test it.

mod command_matching;
mod command_model;
mod fault_windows;
mod invariants;
mod timeline;
mod tolerances;
mod vehicle_history;

use strum::VariantArray as _;

use super::record::{History, Moment};
pub(crate) use invariants::Invariant;
use invariants::{Check, Finding};

/// A violation of an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    /// The device id of the vehicle, or the incarnation, or `all`.
    pub(crate) subject: String,
    /// About when it happened, if the check knows.
    pub(crate) at: Option<Moment>,
    /// What the check found.
    pub(crate) what: String,
}

impl Violation {
    fn new(invariant: Invariant, subject: &str, finding: Finding) -> Self {
        Self {
            invariant,
            subject: subject.to_owned(),
            at: finding.at,
            what: finding.what,
        }
    }
}

/// Returns every violation in this history, the earliest first, and those without a time last.
pub(crate) fn check(history: &History) -> Vec<Violation> {
    let vehicles = vehicle_history::vehicle_histories(history);
    let mut violations = Vec::new();
    for &invariant in Invariant::VARIANTS {
        match invariant.check() {
            Check::Vehicle(check) => {
                for vehicle in vehicles.values() {
                    let findings = check(vehicle).into_iter();
                    violations.extend(
                        findings
                            .map(|finding| Violation::new(invariant, vehicle.device_id, finding)),
                    );
                }
            }
            Check::Run(check) => {
                let findings = check(history).into_iter();
                violations.extend(
                    findings.map(|(subject, finding)| Violation::new(invariant, &subject, finding)),
                );
            }
        }
    }
    violations.sort_by_key(|violation| violation.at.unwrap_or(Moment::MAX));
    violations
}
