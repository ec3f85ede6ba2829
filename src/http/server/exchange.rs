//! One request and its response on a connection, and whether the connection may go on after it.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, HttpBody},
    http::{HeaderValue, Request, Response, header},
    response::IntoResponse,
};
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use tower::Service;

use super::{host, lingering::Incomplete};
use crate::http::{
    problem::{Problem, ProblemKind},
    routes::is_health_check,
};

/// The longest rest of a request's body, in bytes, for which the connection is kept: hyper discards it if it has it
/// already, and closes the connection else.
const SMALL_REST: u64 = 4 << 10;

/// The requests that a connection is for; all others are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    All,
    /// On a reserved connection.
    HealthChecks,
    /// On a connection without TLS where only HTTPS is spoken.
    Nothing,
}

/// Answers a request, and keeps `incomplete` up to date.
pub(super) async fn exchange(
    mut router: Router,
    admission: Admission,
    request: Request<Incoming>,
    incomplete: Incomplete,
) -> Result<Response<Body>, Infallible> {
    let length = request.body().size_hint().exact();
    incomplete.set(!request.body().is_end_stream());
    let request = request.map(|body| {
        Body::new(RequestBody {
            body,
            incomplete: incomplete.clone(),
        })
    });
    let admitted = host::check(request.version(), request.headers())
        .and_then(|()| admission.admit(request.uri().path()));
    let mut response = match admitted {
        Ok(()) => router.call(request).await?,
        Err(problem) => problem.into_response(),
    };
    if incomplete.get() && length.is_none_or(|length| length > SMALL_REST) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    Ok(response)
}

impl Admission {
    fn admit(self, path: &str) -> Result<(), Problem> {
        match self {
            Self::All => Ok(()),
            Self::HealthChecks if is_health_check(path) => Ok(()),
            Self::HealthChecks => Err(Problem::new(ProblemKind::RequestTimeout).with_detail(
                "All connections are in use (http.max_connections), and only health checks are answered. The request was \
                 not carried out. Try again later.",
            )),
            Self::Nothing => Err(Problem::new(ProblemKind::MisdirectedRequest).with_detail(
                "Only HTTPS is spoken here: use https:// in the URL. The request was not carried out. If it had a key, \
                 others may have read it.",
            )),
        }
    }
}

/// A request's body, which notes its end.
struct RequestBody {
    body: Incoming,
    incomplete: Incomplete,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.incomplete.set(false);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
