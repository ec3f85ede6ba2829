//! The key of a request, and whether it allows the operation. Decided before a byte of the body is read.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use aide::openapi::{OpenApi, PathItem};
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::peer_address::peer_address;
use crate::{
    access::{Caller, KeyRefusal, PresentedKey, Scope, WrongKeys},
    http::{
        openapi::{KEY, NeededKey},
        problem::{Problem, ProblemKind},
    },
    keys::Keys,
    log_throttle::LogThrottle,
};

/// The least time between two log lines about wrong keys.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

static WRONG_KEYS: LogThrottle = LogThrottle::every(LOG_INTERVAL, |requests| {
    tracing::warn!(requests, "requests with wrong keys refused");
});

/// Whether requests need keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorization {
    /// None does.
    Off,
    /// Each needs one with the scope of its operation.
    Required,
}

/// What is asked of requests: the scope that a key needs for each operation.
#[derive(Debug)]
pub(in crate::http) struct KeyCheck {
    keys: Arc<Keys>,
    wrong_keys: WrongKeys,
    /// By path and method.
    needed: HashMap<String, HashMap<Method, NeededKey>>,
}

impl KeyCheck {
    /// What the document says of each operation.
    pub(in crate::http) fn new(keys: Arc<Keys>, document: &OpenApi) -> Self {
        let mut needed: HashMap<String, HashMap<Method, NeededKey>> = HashMap::new();
        for (path, item) in document.paths.iter().flat_map(|paths| &paths.paths) {
            let of_path = needed.entry(path.clone()).or_default();
            for (method, operation) in item.as_item().into_iter().flat_map(PathItem::iter) {
                let Ok(method) = method.to_uppercase().parse() else {
                    continue;
                };
                let security = &operation.security;
                let mut names = security.iter().filter_map(|it| it.get(KEY)).flatten();
                let scope: Option<Scope> = names.find_map(|name| name.parse().ok());
                let key = match scope {
                    Some(scope) => NeededKey::With(scope),
                    None if security.is_empty() => NeededKey::None,
                    None => NeededKey::Any,
                };
                of_path.insert(method, key);
            }
        }
        Self {
            keys,
            wrong_keys: WrongKeys::default(),
            needed,
        }
    }

    /// What the operation of a request needs. What is no operation needs a key: else its answer would tell strangers
    /// which paths there are.
    fn needs(&self, request: &Request) -> NeededKey {
        let Some(path) = request.extensions().get::<MatchedPath>() else {
            return NeededKey::Any;
        };
        let method = match *request.method() {
            Method::HEAD => Method::GET,
            ref method => method.clone(),
        };
        let of_path = self.needed.get(path.as_str());
        let needed = of_path.and_then(|of_path| of_path.get(&method)).copied();
        needed.unwrap_or(NeededKey::Any)
    }

    /// Who makes a request that needs `needs`, with this key and from this address; `None` where no key is needed.
    async fn check(
        &self,
        needs: NeededKey,
        key: Option<String>,
        address: IpAddr,
    ) -> Result<Option<Caller>, Problem> {
        let scope = match needs {
            NeededKey::None => return Ok(None),
            NeededKey::Any => None,
            NeededKey::With(scope) => Some(scope),
        };
        let key = key.ok_or(ProblemKind::Unauthenticated)?;
        let caller = self.identify(&key, address).await?;
        match scope {
            Some(scope) if !caller.may(scope) => {
                let name = caller.name().unwrap_or_default();
                Err(Problem::new(ProblemKind::MissingScope)
                    .with_detail(format!("The key {name} has no scope {scope}.")))
            }
            _ => Ok(Some(caller)),
        }
    }

    /// Who presents this key. A wrong one costs a read of the database at most: none if its form is wrong, or if its
    /// address has tried too many.
    async fn identify(&self, key: &str, address: IpAddr) -> Result<Caller, Problem> {
        let Some(key) = PresentedKey::parse(key) else {
            let detail =
                "This is no key, or was mistyped: keys begin with vgk_ and have 66 characters.";
            return Err(self.refuse(address, detail));
        };
        let refusal = match self.keys.identify(&key) {
            Ok(caller) => return Ok(caller),
            Err(KeyRefusal::Unknown) if !self.wrong_keys.is_over(address, Instant::now()) => {
                match self.keys.look_up(&key).await? {
                    Ok(caller) => return Ok(caller),
                    Err(refusal) => refusal,
                }
            }
            Err(refusal) => refusal,
        };
        let detail = match refusal {
            KeyRefusal::Unknown => {
                "No such key is known: it belongs to another gateway, or was removed."
            }
            KeyRefusal::Expired => "The key has expired.",
            KeyRefusal::Revoked => "The key was revoked.",
            KeyRefusal::Rotated => {
                "The key was rotated: only its new secret is accepted, as the rotation returned it."
            }
        };
        Err(self.refuse(address, detail))
    }

    fn refuse(&self, address: IpAddr, detail: &'static str) -> Problem {
        if let Some(requests) = WRONG_KEYS.admit() {
            tracing::warn!(requests, last = %address, reason = detail, "requests with wrong keys refused");
        } else {
            tracing::debug!(%address, reason = detail, "request with a wrong key refused");
        }
        if self.wrong_keys.note(address, Instant::now()) {
            return Problem::new(ProblemKind::TooManyWrongKeys);
        }
        Problem::new(ProblemKind::Unauthenticated).with_detail(detail)
    }
}

/// Refuses a request whose key does not allow it, and notes the caller in all others.
pub(in crate::http) async fn check_key(
    State(check): State<Arc<KeyCheck>>,
    mut request: Request,
    next: Next,
) -> Response {
    let needs = check.needs(&request);
    let key = bearer(request.headers()).map(str::to_owned);
    let address = peer_address(request.extensions());
    let problem = match check.check(needs, key, address).await {
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            return next.run(request).await;
        }
        Err(problem) => problem,
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
