//! Whether this server lives, can work, and wants new connections: `/health`, `/ready`, `/ready/balancer`.

use std::sync::Arc;

use aide::{
    OperationOutput,
    axum::{ApiRouter, routing::get_with},
    generate::GenContext,
    openapi::{Operation, Response as ResponseDoc},
};
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Shared,
    body::Json,
    describe::{self, Example, json_response},
    kind::Kind,
    problem::Problem,
};
use crate::instance::FanoutState;

const TAG: &str = "Server";

pub(super) fn routes() -> ApiRouter<Arc<Shared>> {
    ApiRouter::new()
        .api_route(
            "/health",
            get_with(get_health, |op| {
                op.id("get_health").tag(TAG).summary("Check whether the process is alive").description(
                    "Answers 200 as long as the process can answer at all, whatever it depends on.",
                )
            }),
        )
        .api_route(
            "/ready",
            get_with(get_readiness, |op| {
                op.id("get_readiness").tag(TAG).summary("Check whether the server can do its work").description(
                    "Checks what the server depends on. 503 while a check fails, and while the server \
                     drains before it stops.",
                )
            }),
        )
        .api_route(
            "/ready/balancer",
            get_with(get_balancer_readiness, |op| {
                op.id("get_balancer_readiness").tag(TAG).summary("Check whether to send new connections here")
                    .description(
                        "For the health check of a balancer. 404 from the moment the server begins to stop: new \
                         connections go elsewhere, those that are there live on. 200 otherwise, also while the \
                         database is away, because a trouble that all servers share must not cut every vehicle; \
                         but 404 again when it has been away for long and others may reach it.",
                    )
            }),
        )
}

/// Whether the process is alive.
#[derive(Debug, Serialize, JsonSchema)]
struct Health {
    /// Always `up`: a process that is not does not answer.
    status: Up,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
enum Up {
    Up,
}

impl Example for Health {
    fn example() -> Value {
        json!({ "status": "up" })
    }
}

async fn get_health() -> Json<Health> {
    Json(Health { status: Up::Up })
}

/// Whether the server can do its work.
#[derive(Debug, Serialize, JsonSchema)]
struct Readiness {
    /// `unready` while a check fails; `draining` while the server finishes before it stops.
    status: ReadinessStatus,
    /// What the server depends on.
    checks: Checks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
enum ReadinessStatus {
    Ready,
    Unready,
    Draining,
}

/// A check for each thing that the server depends on.
#[derive(Debug, Serialize, JsonSchema)]
struct Checks {
    /// Whether the database commits and answers.
    store: CheckStatus,
    /// Whether other instances can be reached; null if Redis is not configured. The server is ready without.
    redis: Option<CheckStatus>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
enum CheckStatus {
    Up,
    Down,
}

impl Example for Readiness {
    fn example() -> Value {
        json!({ "status": "ready", "checks": { "store": "up", "redis": null } })
    }
}

async fn get_readiness(State(state): State<Arc<Shared>>) -> ReadinessReply {
    // A store that hangs is to be reported here, before the request itself is given up.
    let patience = state.options.request_timeout / 2;
    let store = match tokio::time::timeout(patience, state.instance.check_store()).await {
        Ok(Ok(())) => CheckStatus::Up,
        Ok(Err(_)) | Err(_) => CheckStatus::Down,
    };
    let status = match store {
        _ if state.instance.is_draining() => ReadinessStatus::Draining,
        CheckStatus::Up => ReadinessStatus::Ready,
        CheckStatus::Down => ReadinessStatus::Unready,
    };
    let redis = match state.instance.fanout_state() {
        FanoutState::None => None,
        FanoutState::Up => Some(CheckStatus::Up),
        FanoutState::Down => Some(CheckStatus::Down),
    };
    ReadinessReply(Readiness {
        status,
        checks: Checks { store, redis },
    })
}

struct ReadinessReply(Readiness);

impl IntoResponse for ReadinessReply {
    fn into_response(self) -> Response {
        let status = match self.0.status {
            ReadinessStatus::Ready => StatusCode::OK,
            ReadinessStatus::Unready | ReadinessStatus::Draining => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, Json(self.0)).into_response()
    }
}

impl OperationOutput for ReadinessReply {
    type Inner = Readiness;

    fn inferred_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        let ready = json_response::<Readiness>(ctx, "The server can do its work.");
        let mut unready = json_response::<Readiness>(ctx, "It cannot, or it is about to stop.");
        for media in unready.content.values_mut() {
            media.example =
                Some(json!({ "status": "draining", "checks": { "store": "up", "redis": null } }));
        }
        vec![
            (Some(StatusCode::OK.as_u16()), ready),
            (Some(StatusCode::SERVICE_UNAVAILABLE.as_u16()), unready),
        ]
    }
}

/// Whether new connections are wanted.
#[derive(Debug, Serialize, JsonSchema)]
struct Wanted {
    /// Always `ready`: a server that is about to stop answers 404.
    status: AlwaysReady,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
enum AlwaysReady {
    Ready,
}

impl Example for Wanted {
    fn example() -> Value {
        json!({ "status": "ready" })
    }
}

async fn get_balancer_readiness(State(state): State<Arc<Shared>>) -> BalancerReply {
    let instance = &state.instance;
    BalancerReply(!instance.is_draining() && !instance.is_cut_off())
}

/// True if new connections are wanted.
struct BalancerReply(bool);

impl IntoResponse for BalancerReply {
    fn into_response(self) -> Response {
        if self.0 {
            let status = AlwaysReady::Ready;
            Json(Wanted { status }).into_response()
        } else {
            Problem::new(Kind::Draining).into_response()
        }
    }
}

impl OperationOutput for BalancerReply {
    type Inner = Wanted;

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        describe::problems(ctx, operation, &[Kind::Draining]);
        let wanted = json_response::<Wanted>(ctx, "New connections are wanted.");
        vec![(Some(StatusCode::OK.as_u16()), wanted)]
    }
}
