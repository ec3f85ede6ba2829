//! `/keys`: the keys of the API that are in the database.

mod dto;
mod path;
mod request;

use std::sync::Arc;

use aide::axum::{
    ApiRouter,
    routing::{get_with, post_with},
};
use axum::{extract::State, response::NoContent};
use vehicle_gateway_macros::operation;

use super::created::Created;
use crate::{
    access::{Caller, KeyId},
    http::{
        extract::{JsonBody, OptionalJsonBody, Path},
        json::Json,
        paging::Page,
        problem::Problem,
        state::ApiState,
    },
};
use dto::{KeyDto, MadeKey, OwnKeyDto};
use request::{NewKeyRequest, RotationRequest};

pub(super) fn routes() -> ApiRouter<Arc<ApiState>> {
    ApiRouter::new()
        .api_route(
            "/keys",
            get_with(list_keys, list_keys_operation).post_with(create_key, create_key_operation),
        )
        .api_route("/keys/self", get_with(get_own_key, get_own_key_operation))
        .api_route(
            "/keys/{keyId}",
            get_with(get_key, get_key_operation).delete_with(revoke_key, revoke_key_operation),
        )
        .api_route(
            "/keys/{keyId}/rotate",
            post_with(rotate_key, rotate_key_operation),
        )
}

/// List keys
///
/// Returns all keys of the database in one page, oldest first. At most 1,000 of them are good. Keys that have expired
/// stay in the list for 30 days. Keys of the settings are not among them.
#[operation(tag = Keys, scope = Keys, problems = [UnreadResponses])]
async fn list_keys(State(state): State<Arc<ApiState>>) -> Result<Json<Page<KeyDto>>, Problem> {
    let keys = state.keys.list().await?;
    Ok(Json(Page::all(
        keys.into_iter().map(KeyDto::from).collect(),
    )))
}

/// Create a key
///
/// The response contains the key, which is not shown again: the gateway stores its hash. A key cannot give more scopes
/// than it has, nor a longer life. All instances accept the key at once, unless
/// many wrong keys came from the address of its client: then within 2 seconds.
#[operation(tag = Keys, scope = Keys, problems = [MissingScope, TooManyKeys])]
async fn create_key(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    JsonBody(body): JsonBody<NewKeyRequest>,
) -> Result<Created<MadeKey>, Problem> {
    let made = state.keys.create(&caller, body.into()).await?;
    Ok(Created {
        location: format!("/keys/{}", made.0.id),
        body: made.into(),
    })
}

/// Get the own key
///
/// Returns what the key of this request allows. Every key may ask.
#[operation(tag = Keys, scope = any)]
async fn get_own_key(caller: Caller) -> Result<Json<OwnKeyDto>, Problem> {
    Ok(Json(caller.into()))
}

/// Get a key
///
/// Returns a key of the database, also one that has expired.
#[operation(tag = Keys, scope = Keys)]
async fn get_key(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<KeyId>,
) -> Result<Json<KeyDto>, Problem> {
    Ok(Json(state.keys.get(&id).await?.into()))
}

/// Revoke a key
///
/// The key is refused from now on: by this instance at once, by the others within 5 seconds. A key of the settings is
/// revoked by removing its lines.
#[operation(tag = Keys, scope = Keys)]
async fn revoke_key(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Path(id): Path<KeyId>,
) -> Result<NoContent, Problem> {
    state.keys.revoke(&caller, &id).await?;
    Ok(NoContent)
}

/// Rotate a key
///
/// Gives the key a new secret, which is not shown again; id, name and scopes stay. The secret before is accepted for
/// `overlap` as well, so that clients can switch at any time. Your own key must have all scopes of the key.
#[operation(tag = Keys, scope = Keys, problems = [MissingScope, KeyExpired])]
async fn rotate_key(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Path(id): Path<KeyId>,
    OptionalJsonBody(body): OptionalJsonBody<RotationRequest>,
) -> Result<Json<MadeKey>, Problem> {
    let rotated = state.keys.rotate(&caller, &id, body.overlap()).await?;
    Ok(Json(rotated.into()))
}
