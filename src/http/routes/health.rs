//! `/health`, `/ready`, `/ready/balancer`: whether the process is alive, can work and accepts new connections.

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
use vehicle_gateway_macros::operation;

use crate::{
    api_model::{Example, every_key_present},
    http::{
        json::Json,
        openapi::json_response,
        problem::{Problem, ProblemKind},
        state::ApiState,
    },
    instance::FanoutState,
};

const HEALTH: &str = "/health";
const READINESS: &str = "/ready";
const BALANCER_READINESS: &str = "/ready/balancer";

/// Whether this is the path of a health check.
pub(in crate::http) fn is_health_check(path: &str) -> bool {
    [HEALTH, READINESS, BALANCER_READINESS].contains(&path)
}

pub(super) fn routes() -> ApiRouter<Arc<ApiState>> {
    ApiRouter::new()
        .api_route(HEALTH, get_with(get_health, get_health_operation))
        .api_route(READINESS, get_with(get_readiness, get_readiness_operation))
        .api_route(
            BALANCER_READINESS,
            get_with(get_balancer_readiness, get_balancer_readiness_operation),
        )
}

/// Check liveness
///
/// Returns 200 as long as the process responds, whatever the state of its dependencies.
#[operation(tag = Server, scope = none)]
async fn get_health() -> Json<Liveness> {
    Json(Liveness {
        status: AlwaysUp::Up,
    })
}

/// Check readiness
///
/// Checks the server's dependencies. Returns 503 while the store's check fails, and while the server drains before it
/// stops. Redis does not affect the status.
#[operation(tag = Server, scope = none)]
async fn get_readiness(State(state): State<Arc<ApiState>>) -> ReadinessResponse {
    let timeout = state.options.readiness_timeout();
    let checked = match tokio::time::timeout(timeout, state.instance.check_store()).await {
        Ok(checked) => checked,
        Err(_elapsed) => Err("the database does not answer a read".to_owned()),
    };
    let store = match checked {
        Ok(()) => CheckStatus::Up,
        Err(_) => CheckStatus::Down,
    };
    let (status, reason) = match checked {
        checked if state.instance.is_draining() => {
            let stopping = "the server is shutting down".to_owned();
            (
                ReadinessStatus::Draining,
                Some(checked.err().unwrap_or(stopping)),
            )
        }
        Ok(()) => (ReadinessStatus::Ready, None),
        Err(reason) => (ReadinessStatus::Unready, Some(reason)),
    };
    let redis = match state.instance.fanout_state() {
        FanoutState::None => None,
        FanoutState::Up => Some(CheckStatus::Up),
        FanoutState::Down => Some(CheckStatus::Down),
    };
    ReadinessResponse(Readiness {
        status,
        reason,
        checks: Checks {
            store,
            redis,
            redis_reason: state.instance.fanout_outage(),
        },
    })
}

/// Check readiness for a load balancer
///
/// For the health check of a load balancer. Returns 404 from the moment the server begins to stop: new connections
/// belong on another server, existing ones continue. Returns 200 otherwise, also while the database is unavailable,
/// because a failure that all servers share must not disconnect every vehicle. Returns 404 again if the database has
/// been unavailable for long and other servers may still reach it.
#[operation(tag = Server, scope = none, problems = [Draining])]
async fn get_balancer_readiness(
    State(state): State<Arc<ApiState>>,
) -> Result<Json<BalancerReadiness>, BalancerProblem> {
    let instance = &state.instance;
    if instance.is_draining() || instance.is_cut_off() {
        return Err(BalancerProblem);
    }
    let status = AlwaysReady::Ready;
    Ok(Json(BalancerReadiness { status }))
}

/// Whether the process is alive.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Health")]
struct Liveness {
    /// Always `up`.
    status: AlwaysUp,
}

/// The status of a process that is alive.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HealthStatus")]
enum AlwaysUp {
    Up,
}

impl Example for Liveness {
    fn example() -> Value {
        json!({ "status": "up" })
    }
}

/// Whether the server can work.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(transform = every_key_present)]
struct Readiness {
    /// `unready` while a check fails; `draining` while the server drains before it stops.
    status: ReadinessStatus,
    /// Why the server is not ready, for people; null if it is.
    reason: Option<String>,
    /// The state of each dependency.
    checks: Checks,
}

/// Whether the server can work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum ReadinessStatus {
    Ready,
    Unready,
    Draining,
}

/// The state of each dependency.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = every_key_present)]
struct Checks {
    /// Whether the database commits and answers.
    store: CheckStatus,
    /// Whether other instances can be reached; null if Redis is not configured. It does not affect readiness.
    redis: Option<CheckStatus>,
    /// Why other instances cannot be reached, for people; null while they can, and if Redis is not configured.
    redis_reason: Option<String>,
}

/// Whether a dependency works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum CheckStatus {
    Up,
    Down,
}

impl Example for Readiness {
    fn example() -> Value {
        json!({ "status": "ready", "reason": null, "checks": { "store": "up", "redis": null, "redisReason": null } })
    }
}

/// 200 if the server is ready, else 503.
struct ReadinessResponse(Readiness);

impl IntoResponse for ReadinessResponse {
    fn into_response(self) -> Response {
        let status = match self.0.status {
            ReadinessStatus::Ready => StatusCode::OK,
            ReadinessStatus::Unready | ReadinessStatus::Draining => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, Json(self.0)).into_response()
    }
}

impl OperationOutput for ReadinessResponse {
    type Inner = Readiness;

    fn inferred_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        let ready = json_response::<Readiness>(ctx, "The server is ready.");
        let mut unready = json_response::<Readiness>(ctx, "A check fails, or the server drains.");
        for content in unready.content.values_mut() {
            content.example = Some(json!({
                "status": "unready",
                "reason": "the database cannot commit: (code: 13) database or disk is full",
                "checks": { "store": "down", "redis": null, "redisReason": null },
            }));
        }
        vec![
            (Some(StatusCode::OK.as_u16()), ready),
            (Some(StatusCode::SERVICE_UNAVAILABLE.as_u16()), unready),
        ]
    }
}

/// The server accepts new connections.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Wanted")]
struct BalancerReadiness {
    /// Always `ready`; otherwise the response is 404.
    status: AlwaysReady,
}

/// The status of a server that accepts new connections.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "WantedStatus")]
enum AlwaysReady {
    Ready,
}

impl Example for BalancerReadiness {
    fn example() -> Value {
        json!({ "status": "ready" })
    }
}

/// The 404 of a server that accepts no new connections. Unlike [`Problem`], it adds none of the database's problems to
/// the document, because this operation does not use the database.
struct BalancerProblem;

impl IntoResponse for BalancerProblem {
    fn into_response(self) -> Response {
        Problem::new(ProblemKind::Draining).into_response()
    }
}

impl OperationOutput for BalancerProblem {
    type Inner = Self;
}
