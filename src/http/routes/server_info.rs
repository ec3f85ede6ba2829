//! `/`: version, instance and connections of this server.

use std::{fmt::Write as _, sync::Arc};

use aide::{
    OperationOutput,
    axum::{ApiRouter, routing::get_with},
    generate::GenContext,
    openapi::{Operation, Response as ResponseDoc},
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use schemars::{JsonSchema, json_schema};
use serde::Serialize;
use serde_json::{Value, json};
use vehicle_gateway_macros::operation;

use crate::{
    api_model::Example,
    domain::Timestamp,
    http::{
        accept::{Preference, preferences},
        json::Json,
        media_type::{HTML, JSON},
        openapi::{json_response, media},
        state::ApiState,
    },
};

const MILLIS_PER_SECOND: i64 = 1000;

pub(super) fn routes() -> ApiRouter<Arc<ApiState>> {
    ApiRouter::new().api_route("/", get_with(get_server_info, get_server_info_operation))
}

/// Get server information
///
/// Returns version, instance and the number of device connections: a page for browsers (`Accept: text/html`), JSON
/// otherwise.
#[operation(tag = Server, scope = Read)]
async fn get_server_info(
    State(state): State<Arc<ApiState>>,
    headers: HeaderMap,
) -> ServerInfoResponse {
    let instance = &state.instance;
    let age = Timestamp::now().as_millis() - instance.started_at().as_millis();
    ServerInfoResponse {
        base_path: prefers_html(&headers).then(|| state.base_path.clone()),
        info: ServerInfo {
            version: env!("CARGO_PKG_VERSION"),
            instance: InstanceInfo {
                id: instance.incarnation().as_uuid(),
                name: instance.name().to_owned(),
            },
            uptime_seconds: u64::try_from(age / MILLIS_PER_SECOND).unwrap_or_default(),
            devices_connected: state.sessions.connections() as u64,
        },
    }
}

/// Version, instance and connections of this server.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ServerInfo {
    /// The version of the gateway.
    version: &'static str,
    /// This instance of the gateway.
    instance: InstanceInfo,
    /// Seconds since the process started.
    uptime_seconds: u64,
    /// The number of device connections of this instance, logged in or not.
    devices_connected: u64,
}

/// An instance of the gateway.
#[derive(Debug, Serialize, JsonSchema)]
struct InstanceInfo {
    /// The id of this run of the process. It changes at every start, and if other instances have declared this one
    /// dead.
    id: uuid::Uuid,
    /// The permanent name: the setting `instance.id`.
    name: String,
}

impl Example for ServerInfo {
    fn example() -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "instance": { "id": "0e3c8b1e-5e06-4b0c-9d0f-3c1f8d4b7a52", "name": "gateway-1" },
            "uptimeSeconds": 86400,
            "devicesConnected": 1250,
        })
    }
}

/// A page for browsers, JSON otherwise.
struct ServerInfoResponse {
    /// The base path of the page's links; `None` if JSON is wanted.
    base_path: Option<String>,
    info: ServerInfo,
}

impl IntoResponse for ServerInfoResponse {
    fn into_response(self) -> Response {
        let mut response = if let Some(base_path) = &self.base_path {
            (
                [(
                    header::CONTENT_SECURITY_POLICY,
                    "default-src 'none'; style-src 'unsafe-inline'; \
                     frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
                )],
                Html(page(&self.info, base_path)),
            )
                .into_response()
        } else {
            Json(self.info).into_response()
        };
        let accept = header::HeaderValue::from_static("accept");
        response.headers_mut().insert(header::VARY, accept);
        response
    }
}

impl OperationOutput for ServerInfoResponse {
    type Inner = ServerInfo;

    fn inferred_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        let mut response = json_response::<ServerInfo>(ctx, "The server is running.");
        let page = media(json_schema!({ "type": "string" }));
        response.content.insert(HTML.to_owned(), page);
        vec![(Some(StatusCode::OK.as_u16()), response)]
    }
}

/// Whether the `Accept` header names HTML with at least the quality of every other type, and a higher quality than JSON.
fn prefers_html(headers: &HeaderMap) -> bool {
    let (mut html, mut json, mut other) = (0.0_f32, 0.0_f32, 0.0_f32);
    for Preference { value, weight, .. } in preferences(headers, header::ACCEPT) {
        match value.as_str() {
            HTML => html = weight,
            JSON => json = weight,
            _ => other = weight.max(other),
        }
    }
    html > json && html >= other
}

/// The page for browsers.
fn page(info: &ServerInfo, base_path: &str) -> String {
    let rows = [
        ("Version", info.version.to_owned()),
        ("Instance", info.instance.name.clone()),
        ("Instance id", info.instance.id.to_string()),
        ("Up for", format!("{} s", info.uptime_seconds)),
        ("Devices connected", info.devices_connected.to_string()),
    ];
    let mut page = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>vehicle-gateway</title>\n\
         <style>body{font:1rem/1.5 system-ui,sans-serif;margin:3rem auto;max-width:36rem;padding:0 1rem}\
         dt{font-weight:600}dd{margin:0 0 .75rem}</style>\n</head>\n<body>\n\
         <h1>vehicle-gateway</h1>\n<p>The server is up.</p>\n<dl>\n",
    );
    for (term, value) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "<dt>{term}</dt><dd>{}</dd>", escaped(&value));
    }
    page.push_str("</dl>\n<p>");
    let links = [
        ("docs", "API"),
        ("vehicles", "Vehicles"),
        ("ready", "Readiness"),
    ]
    .map(|(path, name)| format!("<a href=\"{base_path}/{path}\">{name}</a>"));
    page.push_str(&links.join(" · "));
    page.push_str("</p>\n</body>\n</html>\n");
    page
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_needs_a_higher_quality_than_json() {
        let prefers = |accept| {
            prefers_html(&HeaderMap::from_iter([(
                header::ACCEPT,
                header::HeaderValue::from_static(accept),
            )]))
        };
        assert!(prefers("text/html,application/xhtml+xml,*/*;q=0.8"));
        assert!(prefers("text/html"));
        assert!(!prefers("*/*"));
        assert!(!prefers("application/json, text/html;q=0.9"));
        assert!(!prefers("application/json, text/html"));
        assert!(!prefers("text/html;q=0"));
        assert!(!prefers("text/html;q=0.5, */*"));
        assert!(!prefers_html(&HeaderMap::new()));
    }

    #[test]
    fn an_instance_name_is_escaped() {
        let info = ServerInfo {
            version: "1",
            instance: InstanceInfo {
                id: uuid::Uuid::nil(),
                name: "<script src='//x'>&\"".to_owned(),
            },
            uptime_seconds: 1,
            devices_connected: 0,
        };
        let page = page(&info, "");
        assert!(!page.contains("<script"));
        assert!(page.contains("&lt;script src=&#39;//x&#39;&gt;&amp;&quot;"));
    }
}
