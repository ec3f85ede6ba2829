//! How much memory responses may take that clients have not read yet.

use std::sync::Arc;

use axum::{
    body::{Body, HttpBody},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{Problem, ProblemKind};

/// The budget of all responses together, in KiB.
const BUDGET_KIB: u32 = 64 << 10;
/// Responses of up to this many bytes are not counted: as many as there are connections fit beside the budget.
const FREE: u64 = 64 << 10;

/// The bytes of responses that may be in memory and not read by their clients.
#[derive(Debug, Clone)]
pub(crate) struct UnreadBudget(Arc<Semaphore>);

impl Default for UnreadBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET_KIB as usize)))
    }
}

impl UnreadBudget {
    /// Takes `bytes` of the budget, if they are free.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<Reservation, Problem> {
        let permit = Arc::clone(&self.0).try_acquire_many_owned(kib(bytes));
        let permit = permit.map_err(|_| Problem::new(ProblemKind::UnreadResponses))?;
        Ok(Reservation {
            _permit: Arc::new(permit),
        })
    }

    /// Takes `bytes` of the budget, as soon as they are free. Never `None`: that would be a closed budget.
    pub(crate) async fn wait(&self, bytes: u64) -> Option<Reservation> {
        let permit = Arc::clone(&self.0).acquire_many_owned(kib(bytes)).await;
        Some(Reservation {
            _permit: Arc::new(permit.ok()?),
        })
    }
}

/// At most the whole budget, so that a larger response is possible.
fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024))
        .unwrap_or(u32::MAX)
        .min(BUDGET_KIB)
}

/// A part of the budget. It is free again when all bytes that it holds are sent or dropped.
#[derive(Debug, Clone)]
pub(crate) struct Reservation {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Reservation {
    /// These bytes, which keep the reservation for as long as they are in memory.
    pub(crate) fn hold(&self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held {
            bytes,
            _reservation: self.clone(),
        })
    }
}

struct Held {
    bytes: Bytes,
    _reservation: Reservation,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Marks a response whose bytes all responses share: they are in memory anyway.
#[derive(Debug, Clone, Copy)]
pub(super) struct SharedBytes;

/// Counts large responses against the budget, and answers 503 instead of one that does not fit.
pub(super) async fn count_unread(
    State(budget): State<UnreadBudget>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    let is_shared = response.extensions().get::<SharedBytes>().is_some();
    let size = response.body().size_hint().exact();
    let Some(size) = size.filter(|size| *size > FREE && !is_shared) else {
        return response;
    };
    match budget.reserve(size) {
        Ok(reservation) => response.map(|body| {
            Body::new(body.map_frame(move |frame| frame.map_data(|bytes| reservation.hold(bytes))))
        }),
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::StatusCode, middleware, routing::get};
    use tower::ServiceExt;

    use super::*;

    async fn status(router: &Router, path: &str) -> (StatusCode, Body) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        (response.status(), response.into_body())
    }

    #[tokio::test]
    async fn large_responses_that_nobody_reads_are_limited_together() {
        const LARGE: usize = 8 << 20;
        let router = Router::new()
            .route("/large", get(async || vec![7_u8; LARGE]))
            .route("/small", get(async || vec![7_u8; 64 << 10]))
            .layer(middleware::from_fn_with_state(
                UnreadBudget::default(),
                count_unread,
            ));
        let mut unread = Vec::new();
        for _ in 0..8 {
            let (answer, body) = status(&router, "/large").await;
            assert_eq!(answer, StatusCode::OK);
            unread.push(body);
        }
        assert_eq!(status(&router, "/large").await.0, 503);
        assert_eq!(status(&router, "/small").await.0, 200);
        // Bytes that are on their way count until they are gone.
        let sent = unread.pop().unwrap().collect().await.unwrap().to_bytes();
        assert_eq!(sent.len(), LARGE);
        assert_eq!(status(&router, "/large").await.0, 503);
        drop(sent);
        assert_eq!(status(&router, "/large").await.0, 200);
        drop(unread);
    }
}
