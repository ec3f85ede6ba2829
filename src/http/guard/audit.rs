//! Notes every request that changes something or speaks to a vehicle.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use aide::{
    OperationInput,
    openapi::{OpenApi, PathItem},
};
use axum::{
    extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State},
    http::{Method, Response, StatusCode, header, request::Parts},
    middleware::Next,
    response::IntoResponse,
};
use uuid::Uuid;

use super::{peer_address::peer_address, request_id::RequestId};
use crate::{
    access::{Caller, Scope, mask_keys},
    audit::{Audit, AuditRecord},
    domain::DeviceId,
    http::{
        openapi::KEY,
        problem::{Problem, ProblemKind},
    },
};

/// The longest path that is kept, in characters.
const MAX_PATH: usize = 255;

/// The operations whose requests are recorded, by path and method, with their ids: those that change something or speak
/// to a vehicle.
#[derive(Debug)]
pub(in crate::http) struct AuditedOperations {
    audit: Arc<Audit>,
    operations: HashMap<String, HashMap<Method, String>>,
}

impl AuditedOperations {
    /// The operations of the document whose method is not safe, and those of which `waiting` tells by their path that
    /// they wait for a vehicle. Reports on behalf of vehicles are left out: they are many, and are history themselves.
    pub(in crate::http) fn new(
        audit: Arc<Audit>,
        document: &OpenApi,
        waiting: impl Fn(&str) -> bool,
    ) -> Self {
        let mut operations: HashMap<String, HashMap<Method, String>> = HashMap::new();
        for (path, item) in document.paths.iter().flat_map(|paths| &paths.paths) {
            for (method, operation) in item.as_item().into_iter().flat_map(PathItem::iter) {
                let needs = |scope: Scope| {
                    let mut named = operation.security.iter().filter_map(|it| it.get(KEY));
                    named.any(|scopes| scopes.iter().any(|name| name == scope.as_str()))
                };
                if (method == "get" && !waiting(path)) || needs(Scope::Ingest) {
                    continue;
                }
                if let (Ok(method), Some(id)) =
                    (method.to_uppercase().parse(), &operation.operation_id)
                {
                    let of_path = operations.entry(path.clone()).or_default();
                    of_path.insert(method, id.clone());
                }
            }
        }
        Self { audit, operations }
    }

    /// The id of a request's operation, if it is noted.
    fn operation(&self, request: &Request) -> Option<&str> {
        let path = request.extensions().get::<MatchedPath>()?;
        let id = self.operations.get(path.as_str())?.get(request.method())?;
        Some(id)
    }
}

/// The vehicle of a request that names it in its body. The handler says which it is.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct AuditSubject(Arc<OnceLock<DeviceId>>);

impl AuditSubject {
    /// Notes the vehicle that the request is about.
    pub(in crate::http) fn set(&self, device_id: &DeviceId) {
        self.0.get_or_init(|| device_id.clone());
    }
}

impl<S: Sync> FromRequestParts<S> for AuditSubject {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

impl OperationInput for AuditSubject {}

/// A request that is under way. It is noted when this is dropped: if that is before the response, the client is gone,
/// and what it asked for may have been done.
struct Noted<'a> {
    operations: &'a AuditedOperations,
    record: AuditRecord,
    subject: AuditSubject,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        let mut record = self.record.clone();
        record.device_id = record.device_id.or_else(|| self.subject.0.get().cloned());
        // Together, so that ids ascend with these times.
        record.id = Uuid::now_v7();
        record.at = self.operations.audit.now();
        self.operations.audit.record(record);
    }
}

impl<'a> Noted<'a> {
    async fn new(operations: &'a AuditedOperations, request: &mut Request) -> Option<Self> {
        let operation = operations.operation(request)?.to_owned();
        let subject = AuditSubject::default();
        let extensions = request.extensions_mut();
        extensions.insert(subject.clone());
        let address = peer_address(extensions);
        let caller = extensions.get::<Caller>();
        let key_id = caller.and_then(Caller::id).cloned();
        let key_name = caller.and_then(Caller::name).map(str::to_owned);
        let request_id = extensions.get::<RequestId>().map(RequestId::to_string);
        let record = AuditRecord {
            // Set when the request ends, as is the time.
            id: Uuid::nil(),
            at: operations.audit.now(),
            key_id,
            key_name,
            address: address.to_string(),
            operation,
            method: request.method().to_string(),
            path: kept_path(request.uri().path()),
            device_id: device_id(request).await,
            status: None,
            problem: None,
            request_id: request_id.unwrap_or_default(),
        };
        Some(Self {
            operations,
            record,
            subject,
        })
    }

    fn finish<B>(mut self, response: &Response<B>) {
        self.record.status = Some(response.status().as_u16());
        let problem = response.extensions().get::<ProblemKind>();
        self.record.problem = problem.map(|kind| kind.name().to_owned());
        // The path of what was created says more than that of its list.
        let created = response.headers().get(header::LOCATION);
        let created = created.filter(|_| response.status() == StatusCode::CREATED);
        if let Some(created) = created.and_then(|path| path.to_str().ok()) {
            self.record.path = kept_path(created);
        }
    }
}

/// What is kept of a path. A key in it, where only its id belongs, is not for who reads the audit trail.
fn kept_path(path: &str) -> String {
    mask_keys(path).chars().take(MAX_PATH).collect()
}

/// The vehicle in the path of a request.
async fn device_id(request: &mut Request) -> Option<DeviceId> {
    let (mut parts, body) = std::mem::take(request).into_parts();
    let parameters = RawPathParams::from_request_parts(&mut parts, &()).await;
    *request = Request::from_parts(parts, body);
    let parameters = parameters.ok()?;
    let (_, text) = parameters.iter().find(|(name, _)| *name == "deviceId")?;
    DeviceId::parse(text).ok()
}

/// Notes a request of such an operation when it ends.
pub(in crate::http) async fn note_in_audit(
    State(operations): State<Arc<AuditedOperations>>,
    mut request: Request,
    next: Next,
) -> impl IntoResponse {
    let Some(noted) = Noted::new(&operations, &mut request).await else {
        return next.run(request).await;
    };
    let response = next.run(request).await;
    noted.finish(&response);
    response
}
