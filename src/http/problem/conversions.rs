//! Errors of the use cases as problems.

use std::error::Error;

use super::{Problem, kind::ProblemKind};
use crate::{
    access::Scope,
    commands::BroadcastError,
    http::failure_log,
    keys::KeyError,
    vehicles::{StoreError, VehicleError},
    webhooks::EndpointError,
};

impl From<VehicleError> for Problem {
    fn from(error: VehicleError) -> Self {
        match error {
            VehicleError::UnknownVehicle => Self::new(ProblemKind::UnknownVehicle),
            VehicleError::UnknownDebugBlob => Self::new(ProblemKind::UnknownDebugBlob),
            VehicleError::UnknownCommand => Self::new(ProblemKind::UnknownCommand),
            VehicleError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable | StoreError::Fenced | StoreError::Closed => {
                Self::new(ProblemKind::StoreUnavailable)
            }
            error => internal(&error),
        }
    }
}

impl From<BroadcastError> for Problem {
    fn from(error: BroadcastError) -> Self {
        match error {
            BroadcastError::UnderWay => Self::new(ProblemKind::BroadcastUnderWay),
            BroadcastError::Store(error) => error.into(),
        }
    }
}

impl From<EndpointError> for Problem {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::Unknown => Self::new(ProblemKind::UnknownWebhook),
            EndpointError::UnknownMessage => Self::new(ProblemKind::UnknownMessage),
            EndpointError::Configured => Self::new(ProblemKind::WebhookConfigured),
            EndpointError::Disabled => Self::new(ProblemKind::WebhookDisabled),
            EndpointError::TooMany => Self::new(ProblemKind::TooManyWebhooks),
            EndpointError::Url(error) => Self::invalid_field("/url", error.to_string()),
            EndpointError::Secret(error) => Self::invalid_field("/secret", error.to_string()),
            EndpointError::NoSecret(error) => internal(&error),
            EndpointError::Store(error) => error.into(),
        }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Unknown => Self::new(ProblemKind::UnknownKey),
            KeyError::Expired => Self::new(ProblemKind::KeyExpired),
            KeyError::TooMany => Self::new(ProblemKind::TooManyKeys),
            KeyError::NotAllowed(scopes) => {
                let scopes: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
                Self::new(ProblemKind::MissingScope).with_detail(format!(
                    "Your key does not have what the other key allows: {}. A key cannot give more than it has.",
                    scopes.join(", ")
                ))
            }
            KeyError::OutlivesCaller(end) => Self::new(ProblemKind::MissingScope).with_detail(
                format!("Your key expires at {end}. It cannot give a key that is good for longer."),
            ),
            KeyError::UnknownScopes => Self::new(ProblemKind::MissingScope).with_detail(
                "The key has scopes that this version of the gateway does not know. Rotate it through a newer instance.",
            ),
            KeyError::CallerEnded => Self::new(ProblemKind::Unauthenticated)
                .with_detail("Your key has expired or was revoked."),
            KeyError::ExpiresInThePast => {
                Self::invalid_field("/expiresAt", "must be in the future")
            }
            KeyError::ExpiresTooLate => {
                Self::invalid_field("/expiresAt", "must be before 9999-12-30T22:00:00Z")
            }
            KeyError::NoSecret(error) => internal(&error),
            KeyError::Store(error) => error.into(),
        }
    }
}

/// An error whose details are for the log alone.
fn internal(error: &dyn Error) -> Problem {
    failure_log::request_failed(error);
    Problem::new(ProblemKind::Internal)
}
