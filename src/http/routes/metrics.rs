//! `/metrics`: metrics in the text format of Prometheus, or in the `OpenMetrics` format for clients that ask for it.
//!
//! Counters are of this instance since its start. The metrics of webhooks' queues come from the database and are the same
//! on every instance.

use std::{fmt, sync::Arc};

use aide::{
    OperationOutput,
    axum::{ApiRouter, routing::get_with},
    generate::GenContext,
    openapi::{Operation, Response as ResponseDoc},
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use prometheus_client::{
    encoding::{EncodeLabelSet, prometheus_text, text},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::Gauge,
        info::Info,
    },
    registry::{Registry, Unit},
};
use schemars::json_schema;
use vehicle_gateway_macros::operation;

use crate::{
    http::{
        accept::preferences,
        openapi::{media, response},
        problem::{Problem, ProblemKind},
        state::ApiState,
    },
    telemetry,
    tls::TlsServer,
    webhooks::{EndpointState, WebhookAdmin},
};

/// The media type of the text format 0.0.4: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
const TEXT: &str = "text/plain";
/// The media type of `OpenMetrics`: <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
const OPEN_METRICS: &str = "application/openmetrics-text";
/// The version of `OpenMetrics`.
const OPEN_METRICS_VERSION: &str = "1.0.0";

pub(super) fn routes() -> ApiRouter<Arc<ApiState>> {
    ApiRouter::new().api_route("/metrics", get_with(get_metrics, get_metrics_operation))
}

/// Get metrics
///
/// Returns metrics in the text format of Prometheus, or in the `OpenMetrics` 1.0.0 format if the header `Accept` prefers
/// `application/openmetrics-text`. Counters are of this instance since its start. The metrics of webhooks' queues are the
/// same on every instance and absent while the database does not answer.
#[operation(tag = Server, scope = Metrics)]
async fn get_metrics(
    State(state): State<Arc<ApiState>>,
    request: HeaderMap,
) -> Result<MetricsText, Problem> {
    let mut registry = Registry::with_prefix("vehicle_gateway");
    let instance = Info::new([
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("instance", state.instance.name().to_owned()),
    ]);
    registry.register(
        "build",
        "The version and the name of this instance",
        instance,
    );
    let connections = gauge(i64::try_from(state.sessions.connections()).unwrap_or(i64::MAX));
    registry.register(
        "device_connections",
        "Device connections of this instance, logged in or not",
        connections,
    );
    let counts = state.webhooks.counters();
    for (name, help, counter) in [
        (
            "webhook_attempts_delivered",
            "Successful attempts to deliver a message",
            &counts.delivered,
        ),
        (
            "webhook_attempts_failed",
            "Failed attempts to deliver a message",
            &counts.failed,
        ),
        (
            "webhook_messages_given_up",
            "Messages whose last attempt failed",
            &counts.given_up,
        ),
    ] {
        registry.register(name, help, counter.clone());
    }
    registry.register(
        "log_lines_lost",
        "Log lines that were lost because standard error could not be written to or was read too slowly",
        ConstCounter::new(telemetry::lost_lines()),
    );
    registry.register(
        "database_lost_batches",
        "Batches that the database has lost after it had acknowledged them",
        ConstCounter::new(state.instance.lost_batches()),
    );
    register_tls(&mut registry, &state.tls);
    register_disk(&mut registry, state.instance.free_disk());
    let endpoints = state.webhooks.endpoints().await;
    let answers = gauge(endpoints.is_ok().into());
    registry.register(
        "database_answers",
        "1 if the database answered this request, else 0",
        answers,
    );
    register_endpoints(
        &mut registry,
        &state.webhooks,
        &endpoints.unwrap_or_default(),
    );
    let open_metrics = wants_open_metrics(&request);
    let mut text = String::new();
    let encoded = if open_metrics {
        text::encode(&mut text, &registry)
    } else {
        prometheus_text::encode(&mut text, &registry)
    };
    match encoded {
        Ok(()) => Ok(MetricsText { text, open_metrics }),
        // Writing to a `String` does not fail.
        Err(fmt::Error) => Err(Problem::new(ProblemKind::Internal)),
    }
}

/// The label of the metrics of one listener that speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    listener: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    listener: &'static str,
    reason: &'static str,
}

fn register_tls(registry: &mut Registry, servers: &[Arc<TlsServer>]) {
    let ends = Family::<ListenerLabel, Gauge>::default();
    let failed = Family::<FailureLabels, Counter>::default();
    for server in servers {
        let listener = server.listener().into();
        let seconds = server.ends().as_millis() / 1000;
        ends.get_or_create(&ListenerLabel { listener }).set(seconds);
        for (reason, count) in server.failed_handshakes() {
            let reason = reason.into();
            let labels = FailureLabels { listener, reason };
            failed.get_or_create(&labels).inc_by(count);
        }
    }
    registry.register_with_unit(
        "certificate_expiry_timestamp",
        "The end of the validity of the TLS certificate of a listener, in Unix time",
        Unit::Seconds,
        ends,
    );
    registry.register(
        "tls_handshakes_failed",
        "Connections to a listener that speaks TLS whose handshake failed",
        failed,
    );
}

/// The label of the metrics of one webhook.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookLabel {
    webhook: String,
}

fn register_endpoints(
    registry: &mut Registry,
    webhooks: &WebhookAdmin,
    endpoints: &[EndpointState],
) {
    let [pending, lag, disabled, expired] =
        [(); 4].map(|()| Family::<WebhookLabel, Gauge>::default());
    for state in endpoints {
        let label = WebhookLabel {
            webhook: state.endpoint.id.to_string(),
        };
        let messages = i64::try_from(state.pending).unwrap_or(i64::MAX);
        pending.get_or_create(&label).set(messages);
        let seconds = i64::try_from(webhooks.lag(state).as_secs()).unwrap_or(i64::MAX);
        lag.get_or_create(&label).set(seconds);
        let messages = i64::try_from(state.endpoint.expired).unwrap_or(i64::MAX);
        expired.get_or_create(&label).set(messages);
        let is_disabled = state.endpoint.disabled.is_some();
        disabled.get_or_create(&label).set(is_disabled.into());
    }
    registry.register(
        "webhook_pending_messages",
        "Messages to a webhook that are neither delivered nor failed",
        pending,
    );
    registry.register(
        "webhook_expired_messages",
        "Messages to a webhook that expired because too many were pending",
        expired,
    );
    registry.register_with_unit(
        "webhook_lag",
        "Age of the oldest pending message of a webhook",
        Unit::Seconds,
        lag,
    );
    registry.register(
        "webhook_disabled",
        "1 if the webhook is disabled, else 0",
        disabled,
    );
}

/// Registers nothing on a database server, whose disk is another host's, and if the free space cannot be read.
fn register_disk(registry: &mut Registry, free: Option<u64>) {
    if let Some(free) = free {
        registry.register_with_unit(
            "disk_free",
            "Free space of the disk with the database file, as last read",
            Unit::Bytes,
            gauge(i64::try_from(free).unwrap_or(i64::MAX)),
        );
    }
}

fn gauge(value: i64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}

/// Whether a client asks for `OpenMetrics`, and not rather for the text format.
fn wants_open_metrics(request: &HeaderMap) -> bool {
    let (mut open_metrics, mut text) = (0.0_f32, 0.0_f32);
    for range in preferences(request, header::ACCEPT) {
        let is_version = |ours| {
            range
                .version
                .as_deref()
                .is_none_or(|version| version == ours)
        };
        match range.value.as_str() {
            OPEN_METRICS if is_version(OPEN_METRICS_VERSION) => {
                open_metrics = open_metrics.max(range.weight);
            }
            TEXT if is_version("0.0.4") => text = text.max(range.weight),
            _ => {}
        }
    }
    open_metrics > 0.0 && open_metrics >= text
}

/// Metrics in one of the two formats.
struct MetricsText {
    text: String,
    open_metrics: bool,
}

impl IntoResponse for MetricsText {
    fn into_response(self) -> Response {
        let kind = if self.open_metrics {
            format!("{OPEN_METRICS}; version={OPEN_METRICS_VERSION}; charset=utf-8")
        } else {
            prometheus_text::CONTENT_TYPE.to_owned()
        };
        let headers = [
            (header::CONTENT_TYPE, kind),
            (header::VARY, "accept".to_owned()),
        ];
        (headers, self.text).into_response()
    }
}

impl OperationOutput for MetricsText {
    type Inner = String;

    fn inferred_responses(
        _: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        let text = media(json_schema!({ "type": "string" }));
        let mut metrics = response("The metrics.", TEXT, text.clone());
        metrics.content.insert(OPEN_METRICS.to_owned(), text);
        vec![(Some(StatusCode::OK.as_u16()), metrics)]
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn open_metrics_are_for_clients_that_ask_for_them() {
        for (accept, wanted) in [
            ("", false),
            ("*/*", false),
            ("text/plain", false),
            ("text/html,*/*;q=0.8", false),
            ("application/openmetrics-text", true),
            ("application/OpenMetrics-Text; version=1.0.0", true),
            ("application/openmetrics-text;version=\"1.0.0\"", true),
            ("application/openmetrics-text; version=0.0.1", false),
            ("application/openmetrics-text;q=0", false),
            ("text/plain, application/openmetrics-text;q=0.5", false),
            // Prometheus 2.42 and 3.0.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                true,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                 text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                true,
            ),
        ] {
            let accept_header = HeaderValue::from_static(accept);
            let request = HeaderMap::from_iter([(header::ACCEPT, accept_header)]);
            assert_eq!(wants_open_metrics(&request), wanted, "{accept}");
        }
    }
}
