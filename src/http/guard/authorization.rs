//! The key of a request, and whether it allows the operation. Decided before a byte of the body is read.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use aide::openapi::{OpenApi, PathItem};
use axum::{
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    access::{Keyring, Scope, WrongKeys, is_well_formed},
    http::{
        openapi::KEY,
        problem::{Problem, ProblemKind},
    },
};

/// Which keys requests need.
#[derive(Debug, Clone)]
pub enum Authorization {
    /// None.
    Off,
    /// One of these, with the scope of the operation.
    Required(Arc<Keyring>),
}

/// What is asked of requests: the scope that a key needs for each operation.
#[derive(Debug)]
pub(in crate::http) struct KeyCheck {
    keyring: Arc<Keyring>,
    wrong_keys: WrongKeys,
    /// By path and method. `None`: no key is needed.
    scopes: HashMap<String, HashMap<Method, Option<Scope>>>,
}

impl KeyCheck {
    /// What the document says of each operation.
    pub(in crate::http) fn new(keyring: Arc<Keyring>, document: &OpenApi) -> Self {
        let mut scopes: HashMap<String, HashMap<Method, Option<Scope>>> = HashMap::new();
        for (path, item) in document.paths.iter().flat_map(|paths| &paths.paths) {
            let of_path = scopes.entry(path.clone()).or_default();
            for (method, operation) in item.as_item().into_iter().flat_map(PathItem::iter) {
                let Ok(method) = method.to_uppercase().parse() else {
                    continue;
                };
                let security = &operation.security;
                let mut names = security.iter().filter_map(|it| it.get(KEY)).flatten();
                let scope = names.find_map(|name| name.parse().ok());
                // What names a scope that is not known is left out, and so needs a key.
                if scope.is_some() || security.is_empty() {
                    of_path.insert(method, scope);
                }
            }
        }
        Self {
            keyring,
            wrong_keys: WrongKeys::default(),
            scopes,
        }
    }

    /// What the operation of a request needs. What is no operation needs a key: else its answer would tell strangers
    /// which paths there are.
    fn needs(&self, request: &Request) -> Needs {
        let Some(path) = request.extensions().get::<MatchedPath>() else {
            return Needs::AnyKey;
        };
        let method = match *request.method() {
            Method::HEAD => Method::GET,
            ref method => method.clone(),
        };
        let of_path = self.scopes.get(path.as_str());
        match of_path.and_then(|of_path| of_path.get(&method)) {
            Some(Some(scope)) => Needs::Scope(*scope),
            Some(None) => Needs::Nothing,
            None => Needs::AnyKey,
        }
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        let scope = match self.needs(request) {
            Needs::Nothing => return Ok(()),
            Needs::AnyKey => None,
            Needs::Scope(scope) => Some(scope),
        };
        let Some(key) = bearer(request.headers()) else {
            return Err(Problem::new(ProblemKind::Unauthenticated));
        };
        let Some(known) = self.keyring.find(key) else {
            let address = request.extensions().get::<ConnectInfo<SocketAddr>>();
            // A connection has an address; requests without one are those of tests.
            let address = address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |it| it.0.ip());
            if self.wrong_keys.note(address, Instant::now()) {
                return Err(Problem::new(ProblemKind::TooManyWrongKeys));
            }
            let problem = Problem::new(ProblemKind::Unauthenticated);
            return Err(if is_well_formed(key) {
                problem.with_detail("No such key is known: it was mistyped in full, or taken away.")
            } else {
                problem.with_detail("This is no key: keys begin with vgk_ and have 66 characters.")
            });
        };
        match scope {
            Some(scope) if !known.scopes.contains(scope) => {
                Err(Problem::new(ProblemKind::MissingScope)
                    .with_detail(format!("The key {} has no scope {scope}.", known.name)))
            }
            _ => Ok(()),
        }
    }
}

enum Needs {
    Nothing,
    AnyKey,
    Scope(Scope),
}

/// Refuses a request whose key does not allow it.
pub(in crate::http) async fn check_key(
    State(check): State<Arc<KeyCheck>>,
    request: Request,
    next: Next,
) -> Response {
    let Err(problem) = check.check(&request) else {
        return next.run(request).await;
    };
    let is_unauthenticated = problem.kind() == ProblemKind::Unauthenticated;
    let mut response = problem.into_response();
    if is_unauthenticated {
        let scheme = HeaderValue::from_static("Bearer realm=\"vehicle-gateway\"");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, scheme);
    }
    response
}

/// The key of the header `Authorization: Bearer …` (RFC 6750). Two such headers are none.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
