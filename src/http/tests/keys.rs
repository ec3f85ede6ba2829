//! Requests when keys are required.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Method, Request, StatusCode, header},
};
use enumset::EnumSet;
use serde_json::Value;

use super::{AccessRules, Api, ApiResponse, Authorization, HostNames, OPTIONS, router};
use crate::{
    access::{ApiKey, ConfiguredKey, KeyHash, Keyring, NewKey, PresentedKey, Scope, Scopes},
    domain::Timestamp,
};

/// An API with a key for each scope, one for all, and one that is not known.
struct Guarded {
    api: Api,
    keys: BTreeMap<&'static str, NewKey>,
    all: NewKey,
    /// Keys that are refused, each with the reason.
    refused: [(NewKey, &'static str); 3],
}

impl Guarded {
    async fn new() -> Self {
        let known = |key: &NewKey, scopes: Scopes| {
            let key_of_settings = ConfiguredKey {
                name: "test".to_owned(),
                scopes,
                expires_at: None,
            };
            (KeyHash::of(key.as_str()), key_of_settings)
        };
        let all = NewKey::generate().unwrap();
        let keys: BTreeMap<&str, NewKey> = EnumSet::<Scope>::all()
            .iter()
            .map(|scope| (scope.as_str(), NewKey::generate().unwrap()))
            .collect();
        let of_scopes = keys
            .iter()
            .map(|(scope, key)| known(key, scope.parse::<Scope>().unwrap().into()));
        let keyring = Keyring::configured(of_scopes.chain([known(&all, Scopes::all())]));
        let mut api = Api::with_keys(keyring).await;
        let access = AccessRules {
            authorization: Authorization::Required,
            hosts: HostNames::any(),
        };
        api.router = router(api.parts.api(Vec::new()), OPTIONS, access, "");
        let unknown = NewKey::generate().unwrap();
        let ended = Timestamp::now().before(Duration::from_hours(1));
        let expired = store_key(&api, |key| key.expires_at = Some(ended)).await;
        let revoked = store_key(&api, |key| key.revoked_at = Some(ended)).await;
        Self {
            api,
            keys,
            all,
            refused: [
                (unknown, "No such key"),
                (expired, "has expired"),
                (revoked, "was revoked"),
            ],
        }
    }

    fn unknown(&self) -> &NewKey {
        &self.refused[0].0
    }

    async fn call(&self, method: &Method, path: &str, authorization: Option<&str>) -> ApiResponse {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        self.api.send(request.body(Body::empty()).unwrap()).await
    }

    async fn with_key(&self, method: &Method, path: &str, key: &NewKey) -> ApiResponse {
        self.api.send(with_key(method, path, key)).await
    }
}

fn with_key(method: &Method, path: &str, key: &NewKey) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    let request = request.header(header::AUTHORIZATION, format!("Bearer {}", key.as_str()));
    request.body(Body::empty()).unwrap()
}

/// Stores a key with all scopes, changed like this.
async fn store_key(api: &Api, change: impl FnOnce(&mut ApiKey)) -> NewKey {
    let secret = NewKey::generate().unwrap();
    let PresentedKey { id, hash } = PresentedKey::parse(secret.as_str()).unwrap();
    let mut key = ApiKey {
        id,
        name: "stored".to_owned(),
        hash,
        previous: None,
        scopes: Scopes::all(),
        has_unknown_scopes: false,
        created_at: Timestamp::from_millis(0),
        created_by: None,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    };
    change(&mut key);
    assert!(api.parts.store.create_key(key).await.unwrap());
    secret
}

/// Method and path of every operation of the document, with values in the place of parameters, and the scopes that its
/// key needs; `None` if it needs no key.
fn operations() -> Vec<(Method, String, Option<Vec<String>>)> {
    let document: Value = serde_json::from_str(&super::super::openapi()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let path = path
            .replace("{deviceId}", "truck")
            .replace("{blobId}", "1")
            .replace("{keyId}", "000000000000");
        let id = "01890000-0000-7000-8000-000000000001";
        let path = ["{commandId}", "{webhookId}", "{messageId}"]
            .iter()
            .fold(path, |path, parameter| path.replace(parameter, id));
        assert!(!path.contains('{'), "{path}");
        for (method, operation) in item.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let needed = operation["security"].get(0);
            let scopes = needed.map(|it| serde_json::from_value(it["key"].clone()).unwrap());
            operations.push((method, path.clone(), scopes));
        }
    }
    operations
}

#[tokio::test]
async fn every_operation_needs_a_key_with_its_scope() {
    let guarded = Guarded::new().await;
    let mut open = Vec::new();
    let mut calls = 0;
    for (method, path, scopes) in operations() {
        let what = format!("{method} {path}");
        let Some(scopes) = scopes else {
            let answer = guarded.call(&method, &path, None).await;
            assert!(![401, 403].contains(&answer.status.as_u16()), "{what}");
            open.push(path);
            continue;
        };
        let answer = guarded.call(&method, &path, None).await;
        assert_eq!(answer.problem(), (401, "unauthenticated".into()), "{what}");
        for (of_key, key) in &guarded.keys {
            let answer = guarded.with_key(&method, &path, key).await;
            let Some(scope) = scopes.first() else {
                // Every key allows it.
                assert_eq!(answer.status, StatusCode::OK, "{what}");
                continue;
            };
            if of_key == scope {
                assert!(![401, 403].contains(&answer.status.as_u16()), "{what}");
            } else {
                assert_eq!(answer.problem(), (403, "missing-scope".into()), "{what}");
                let detail = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(detail.contains(&format!("no scope {scope}")), "{detail}");
            }
        }
        for (number, (key, reason)) in guarded.refused.iter().enumerate() {
            // Each from an address that has not tried many wrong ones.
            let address = SocketAddr::from(([192, 0, 2, u8::try_from(number).unwrap()], 5000));
            let mut request = with_key(&method, &path, key);
            request.extensions_mut().insert(ConnectInfo(address));
            let answer = guarded.api.send(request).await;
            if calls < 10 {
                assert_eq!(answer.problem(), (401, "unauthenticated".into()), "{what}");
                let detail = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(detail.contains(reason), "{detail}");
            } else {
                assert_eq!(
                    answer.problem(),
                    (429, "too-many-wrong-keys".into()),
                    "{what}"
                );
            }
        }
        calls += 1;
    }
    assert_eq!(open, ["/health", "/ready", "/ready/balancer"]);
}

#[tokio::test]
async fn what_is_no_operation_needs_a_key() {
    let guarded = Guarded::new().await;
    for (method, path, status) in [
        (Method::GET, "/unknown", StatusCode::NOT_FOUND),
        (Method::POST, "/unknown", StatusCode::NOT_FOUND),
        (Method::DELETE, "/vehicles", StatusCode::METHOD_NOT_ALLOWED),
        (Method::OPTIONS, "/vehicles", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let answer = guarded.call(&method, path, None).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        let answer = guarded.with_key(&method, path, &guarded.all).await;
        assert_eq!(answer.status, status, "{method} {path}");
    }
    let answer = guarded.call(&Method::HEAD, "/vehicles", None).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_wrong_key_is_told_from_none_and_how_to_send_one_is_said() {
    let guarded = Guarded::new().await;
    let key = guarded.all.as_str();
    for (authorization, detail) in [
        (None, "needs a key"),
        (Some(format!("Basic {key}")), "needs a key"),
        (Some(key.to_owned()), "needs a key"),
        (Some("Bearer secret".to_owned()), "66 characters"),
        (Some(format!("Bearer {}", &key[..65])), "66 characters"),
        (
            Some(format!("Bearer {}", guarded.unknown().as_str())),
            "No such key",
        ),
    ] {
        let answer = guarded
            .call(&Method::GET, "/vehicles", authorization.as_deref())
            .await;
        assert_eq!(answer.problem(), (401, "unauthenticated".into()));
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(body.contains(detail), "{body}");
        assert!(!body.contains(&key[..20]), "{body}");
    }
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let authorization = format!("{scheme} {key}");
        let answer = guarded
            .call(&Method::GET, "/vehicles", Some(&authorization))
            .await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    let twice = Request::get("/vehicles")
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .header(header::AUTHORIZATION, format!("Bearer {key}"));
    let answer = guarded.api.send(twice.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_address_with_many_wrong_keys_is_told_so_and_right_ones_pass() {
    let guarded = Guarded::new().await;
    let from = |host: u8, key: &NewKey| {
        let mut request = with_key(&Method::GET, "/vehicles", key);
        let address = SocketAddr::from(([192, 0, 2, host], 5000));
        request.extensions_mut().insert(ConnectInfo(address));
        request
    };
    for number in 0..12 {
        let answer = guarded.api.send(from(1, guarded.unknown())).await;
        let expected = if number < 10 { 401 } else { 429 };
        assert_eq!(answer.status.as_u16(), expected, "{number}");
    }
    let answer = guarded.api.send(from(1, &guarded.all)).await;
    assert_eq!(answer.status, StatusCode::OK);
    let answer = guarded.api.send(from(2, guarded.unknown())).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}
