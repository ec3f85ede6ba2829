//! `/metrics`: metrics in the `OpenMetrics` format.
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
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::ConstCounter, family::Family, gauge::Gauge, info::Info},
    registry::{Registry, Unit},
};
use schemars::json_schema;
use vehicle_gateway_macros::operation;

use crate::{
    http::{
        openapi::{media, response},
        problem::{Problem, ProblemKind},
        state::ApiState,
    },
    telemetry,
    webhooks::{EndpointState, WebhookAdmin},
};

/// The media type of `OpenMetrics` 1.0.0: <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
const MEDIA_TYPE: &str = "application/openmetrics-text";

pub(super) fn routes() -> ApiRouter<Arc<ApiState>> {
    ApiRouter::new().api_route("/metrics", get_with(get_metrics, get_metrics_operation))
}

/// Get metrics
///
/// Returns metrics in the `OpenMetrics` 1.0.0 format, for Prometheus and others. Counters are of this instance since its
/// start. The metrics of webhooks' queues are the same on every instance and absent while the database does not answer.
#[operation(tag = Server)]
async fn get_metrics(State(state): State<Arc<ApiState>>) -> Result<MetricsText, Problem> {
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
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => Ok(MetricsText(text)),
        // Writing to a `String` does not fail.
        Err(fmt::Error) => Err(Problem::new(ProblemKind::Internal)),
    }
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

fn gauge(value: i64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}

/// Metrics in the `OpenMetrics` format.
struct MetricsText(String);

impl IntoResponse for MetricsText {
    fn into_response(self) -> Response {
        let kind = format!("{MEDIA_TYPE}; version=1.0.0; charset=utf-8");
        ([(header::CONTENT_TYPE, kind)], self.0).into_response()
    }
}

impl OperationOutput for MetricsText {
    type Inner = String;

    fn inferred_responses(
        _: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        let text = media(json_schema!({ "type": "string" }));
        let metrics = response("The metrics.", MEDIA_TYPE, text);
        vec![(Some(StatusCode::OK.as_u16()), metrics)]
    }
}
