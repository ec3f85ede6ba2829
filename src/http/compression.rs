//! Compression of responses that are made for each request.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, HttpBody},
    middleware,
    response::Response,
};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tower_http::{
    CompressionLevel,
    compression::{
        CompressionLayer, Predicate,
        predicate::{NotForContentType, SizeAbove},
    },
};

use super::media_type::OCTET_STREAM;

/// Responses of at least this many bytes are compressed.
const COMPRESS_ABOVE: u16 = 1024;

/// Compresses responses for clients that take gzip.
pub(super) fn compress<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    let compressed = SizeAbove::new(COMPRESS_ABOVE).and(NotForContentType::const_new(OCTET_STREAM));
    let layer = CompressionLayer::new()
        // A page of 1,000 vehicles takes a third of the time, and is some percent larger.
        .quality(CompressionLevel::Fastest)
        .compress_when(compressed);
    router
        .layer(layer)
        .layer(middleware::map_response(async |response: Response| {
            response.map(take_turns)
        }))
}

/// Lets other tasks run between the pieces of a body that is made while it is sent.
fn take_turns(body: Body) -> Body {
    if body.size_hint().exact().is_some() {
        return body;
    }
    Body::new(TakeTurns { body, rest: false })
}

struct TakeTurns {
    body: Body,
    /// Whether other tasks run next.
    rest: bool,
}

impl HttpBody for TakeTurns {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if std::mem::take(&mut self.rest) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.rest = matches!(frame, Poll::Ready(Some(Ok(_))));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        http::{Request, header},
        routing::get,
    };
    use tower::ServiceExt;

    use super::*;

    /// The largest page of vehicles is about 500 KB.
    fn page() -> String {
        let rows = (0..5_000_u64).map(|row| {
            let noise = row.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            format!("{{\"deviceId\":\"{noise:016x}\",\"online\":true,\"latitude\":{row}.5,\"longitude\":null,\"battery\":47}},")
        });
        rows.collect()
    }

    #[tokio::test]
    async fn a_large_response_is_compressed_in_turns_with_other_tasks() {
        let router = compress(Router::<()>::new().route("/", get(async || page())));
        let request = Request::get("/").header(header::ACCEPT_ENCODING, "gzip");
        let response = router.oneshot(request.body(Body::empty()).unwrap());
        let response = response.await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
        let mut body = response.into_body();
        let mut context = Context::from_waker(std::task::Waker::noop());
        let (mut turns, mut size) = (0, 0);
        loop {
            match Pin::new(&mut body).poll_frame(&mut context) {
                Poll::Ready(Some(frame)) => size += frame.unwrap().into_data().unwrap().len(),
                Poll::Ready(None) => break,
                Poll::Pending => turns += 1,
            }
        }
        assert!(size < page().len() / 2, "{size}");
        assert!(turns >= size / (16 << 10), "{turns} turns for {size} bytes");
    }
}
