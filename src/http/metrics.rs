//! `/metrics`: numbers for whoever watches many gateways.
//!
//! Counts are of this instance since its start; what waits is the database's, the same through every instance.

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
    metrics::{family::Family, gauge::Gauge, info::Info},
    registry::{Registry, Unit},
};
use schemars::json_schema;

use super::{Shared, describe::media, kind::Kind, problem::Problem};
use crate::webhooks::{EndpointState, WebhookAdmin};

/// <https://prometheus.io/docs/specs/om/open_metrics_spec/>, 1.0.0.
const MEDIA_TYPE: &str = "application/openmetrics-text";

pub(super) fn routes() -> ApiRouter<Arc<Shared>> {
    ApiRouter::new().api_route(
        "/metrics",
        get_with(get_metrics, |op| {
            op.id("get_metrics").tag("Server").summary("Get metrics").description(
                "Numbers by OpenMetrics 1.0.0, for Prometheus and others. Counts are of this instance since its \
                 start. What waits for webhooks is the same through every instance, and left out while the \
                 database does not answer.",
            )
        }),
    )
}

async fn get_metrics(State(state): State<Arc<Shared>>) -> Result<Metrics, Problem> {
    let mut registry = Registry::with_prefix("vehicle_gateway");
    let instance = Info::new([
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("instance", state.instance.name().to_owned()),
    ]);
    registry.register("build", "What runs here", instance);
    let connections = gauge(i64::try_from(state.sessions.connections()).unwrap_or(i64::MAX));
    registry.register(
        "device_connections",
        "Device connections that this instance holds, logged in or not",
        connections,
    );
    let counts = state.webhooks.counts();
    for (name, help, counter) in [
        (
            "webhook_attempts_delivered",
            "Attempts to deliver a message that were answered with success",
            &counts.delivered,
        ),
        (
            "webhook_attempts_failed",
            "Attempts to deliver a message that were not",
            &counts.failed,
        ),
        (
            "webhook_messages_given_up",
            "Messages that were given up after their last attempt",
            &counts.given_up,
        ),
    ] {
        registry.register(name, help, counter.clone());
    }
    let endpoints = state.webhooks.endpoints().await;
    let answers = gauge(endpoints.is_ok().into());
    registry.register(
        "database_answers",
        "1 if the database answered for these numbers, else 0",
        answers,
    );
    for_endpoints(
        &mut registry,
        &state.webhooks,
        &endpoints.unwrap_or_default(),
    );
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => Ok(Metrics(text)),
        // Nothing fails that is written to a text.
        Err(fmt::Error) => Err(Problem::new(Kind::Internal)),
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Webhook {
    webhook: String,
}

fn for_endpoints(registry: &mut Registry, webhooks: &WebhookAdmin, endpoints: &[EndpointState]) {
    let [pending, lag, disabled] = [(); 3].map(|()| Family::<Webhook, Gauge>::default());
    for state in endpoints {
        let of = Webhook {
            webhook: state.endpoint.id.to_string(),
        };
        let waits = i64::try_from(state.pending).unwrap_or(i64::MAX);
        pending.get_or_create(&of).set(waits);
        let seconds = i64::try_from(webhooks.lag(state).as_secs()).unwrap_or(i64::MAX);
        lag.get_or_create(&of).set(seconds);
        let is_disabled = state.endpoint.disabled.is_some();
        disabled.get_or_create(&of).set(is_disabled.into());
    }
    registry.register(
        "webhook_pending_messages",
        "Messages to a webhook that are neither delivered nor given up",
        pending,
    );
    registry.register_with_unit(
        "webhook_lag",
        "Age of the oldest of them",
        Unit::Seconds,
        lag,
    );
    registry.register(
        "webhook_disabled",
        "1 if the webhook gets nothing, else 0",
        disabled,
    );
}

fn gauge(value: i64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}

struct Metrics(String);

impl IntoResponse for Metrics {
    fn into_response(self) -> Response {
        let kind = format!("{MEDIA_TYPE}; version=1.0.0; charset=utf-8");
        ([(header::CONTENT_TYPE, kind)], self.0).into_response()
    }
}

impl OperationOutput for Metrics {
    type Inner = String;

    fn inferred_responses(
        _: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        let mut response = ResponseDoc {
            description: "The numbers.".to_owned(),
            ..ResponseDoc::default()
        };
        let text = media(json_schema!({ "type": "string" }));
        response.content.insert(MEDIA_TYPE.to_owned(), text);
        vec![(Some(StatusCode::OK.as_u16()), response)]
    }
}
