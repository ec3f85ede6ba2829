//! Who makes a request.

use std::sync::Arc;

use aide::OperationInput;
use axum::{extract::FromRequestParts, http::request::Parts};

use crate::{
    access::Caller,
    http::{
        problem::{Problem, ProblemKind},
        state::ApiState,
    },
};

/// Extracts the caller that the check of keys has identified. Fails for an operation that needs no key.
impl FromRequestParts<Arc<ApiState>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<ApiState>) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Problem::new(ProblemKind::Unauthenticated))
    }
}

/// The check of keys is documented with the operation's scope.
impl OperationInput for Caller {}
