//! The routes: a file or folder for each resource, with its handlers and its DTOs.
//!
//! Handlers extract, call the use case and convert the result.

mod audit;
mod commands;
mod created;
mod debug_blobs;
mod device_id;
mod docs;
mod health;
mod keys;
mod metrics;
mod reports;
mod server_info;
mod status_update;
mod vehicles;
mod webhooks;

use std::sync::Arc;

use aide::axum::ApiRouter;

use super::state::ApiState;

pub(super) use health::is_health_check;

/// The operations that the gateway answers without a vehicle.
pub(crate) fn prompt() -> ApiRouter<Arc<ApiState>> {
    ApiRouter::new()
        .merge(vehicles::routes())
        .merge(reports::routes())
        .merge(debug_blobs::routes())
        .merge(commands::log_routes())
        .merge(status_update::routes())
        .merge(webhooks::routes())
        .merge(keys::routes())
        .merge(audit::routes())
        .merge(server_info::routes())
        .merge(health::routes())
        .merge(metrics::routes())
        .merge(docs::routes())
}

/// The operations that wait for a vehicle's answer.
pub(crate) fn waiting() -> ApiRouter<Arc<ApiState>> {
    commands::routes()
}
