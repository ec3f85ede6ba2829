//! Keys in the database.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use serde_json::{Value, json};

use super::{AccessRules, Api, ApiResponse, Authorization, HostNames, OPTIONS, router};
use crate::{
    access::{ApiKey, Caller, KeyHash, KeyId, NewKey, Scopes},
    domain::Timestamp,
};

impl Api {
    /// Requires keys from now on.
    pub(super) fn require_keys(&mut self) {
        let access = AccessRules {
            authorization: Authorization::Required,
            hosts: HostNames::any(),
        };
        self.router = router(self.parts.api(Vec::new()), OPTIONS, access, "");
    }

    /// Makes a request with a JSON body, if it is not null, and a key.
    async fn call_with(&self, key: &Value, method: Method, path: &str, body: Value) -> ApiResponse {
        let authorization = format!("Bearer {}", key.as_str().unwrap());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, authorization);
        let (request, body) = if body.is_null() {
            (request, Body::empty())
        } else {
            let request = request.header(header::CONTENT_TYPE, "application/json");
            (request, Body::from(body.to_string()))
        };
        self.send(request.body(body).unwrap()).await
    }

    async fn own_key(&self, key: &Value) -> ApiResponse {
        self.call_with(key, Method::GET, "/keys/self", Value::Null)
            .await
    }
}

#[tokio::test]
async fn a_new_key_is_shown_once_and_allows_its_scopes() {
    let mut api = Api::new().await;
    let body = json!({ "name": "dispatch", "scopes": ["command", "read", "read"] });
    let made = api.post("/keys", body).await;
    assert_eq!(made.status, StatusCode::CREATED);
    assert_eq!(made.header("cache-control"), "no-store");
    let mut key = made.json();
    let secret = key.as_object_mut().unwrap().remove("key").unwrap();
    assert_eq!(key["scopes"], json!(["read", "command"]));
    assert_eq!(key["createdBy"], Value::Null);
    let path = format!("/keys/{}", key["id"].as_str().unwrap());
    assert_eq!(made.header("location"), path);
    assert_eq!(api.get(&path).await.json(), key);
    assert_eq!(api.get("/keys").await.json()["items"], json!([key]));

    api.require_keys();
    let own = api.own_key(&secret).await.json();
    assert_eq!(
        own,
        json!({ "id": key["id"], "name": "dispatch", "scopes": ["read", "command"], "expiresAt": null })
    );
    let vehicles = api.call_with(&secret, Method::GET, "/vehicles", Value::Null);
    assert_eq!(vehicles.await.status, StatusCode::OK);
    let keys = api.call_with(&secret, Method::GET, "/keys", Value::Null);
    assert_eq!(keys.await.problem(), (403, "missing-scope".into()));
}

#[tokio::test]
async fn without_keys_the_own_key_has_no_name_and_all_scopes() {
    let api = Api::new().await;
    let own = api.get("/keys/self").await.json();
    assert_eq!([&own["id"], &own["name"]], [&Value::Null, &Value::Null]);
    let all = json!(["read", "metrics", "ingest", "command", "manage", "keys"]);
    assert_eq!(own["scopes"], all);
}

#[tokio::test]
async fn a_key_gives_no_more_than_it_has() {
    let mut api = Api::new().await;
    let of = |made: ApiResponse| made.json()["key"].clone();
    let create = |name: &str, scopes: Value| json!({ "name": name, "scopes": scopes });
    let deputy = of(api
        .post("/keys", create("deputy", json!(["read", "keys"])))
        .await);
    let chief = api
        .post("/keys", create("chief", json!(["manage", "keys"])))
        .await
        .json();
    api.require_keys();
    let more = create("more", json!(["read", "command", "manage"]));
    let refused = api.call_with(&deputy, Method::POST, "/keys", more).await;
    assert_eq!(refused.problem(), (403, "missing-scope".into()));
    let detail = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(detail.contains("allows: command, manage."), "{detail}");
    // A rotation would show a key that allows more.
    let path = format!("/keys/{}/rotate", chief["id"].as_str().unwrap());
    let refused = api
        .call_with(&deputy, Method::POST, &path, Value::Null)
        .await;
    assert_eq!(refused.problem(), (403, "missing-scope".into()));
    let made = api
        .call_with(
            &deputy,
            Method::POST,
            "/keys",
            create("same", json!(["read"])),
        )
        .await;
    assert_eq!(made.json()["createdBy"], "deputy");
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_and_gone() {
    let mut api = Api::new().await;
    let key = |name: &str| json!({ "name": name, "scopes": ["read", "keys"] });
    let admin = api.post("/keys", key("admin")).await.json()["key"].clone();
    let made = api.post("/keys", key("lost")).await.json();
    api.require_keys();
    assert_eq!(api.own_key(&made["key"]).await.status, StatusCode::OK);
    let path = format!("/keys/{}", made["id"].as_str().unwrap());
    let revoked = api.call_with(&admin, Method::DELETE, &path, Value::Null);
    assert_eq!(revoked.await.status, StatusCode::NO_CONTENT);
    let refused = api.own_key(&made["key"]).await;
    assert_eq!(refused.problem(), (401, "unauthenticated".into()));
    assert!(String::from_utf8_lossy(&refused.body).contains("was revoked"));
    let rotate = format!("{path}/rotate");
    for (method, path) in [
        (Method::GET, &path),
        (Method::DELETE, &path),
        (Method::POST, &rotate),
    ] {
        let answer = api.call_with(&admin, method, path, Value::Null).await;
        assert_eq!(answer.problem(), (404, "unknown-key".into()));
    }
    let listed = api
        .call_with(&admin, Method::GET, "/keys", Value::Null)
        .await;
    assert_eq!(listed.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_expired_key_is_shown_and_cannot_be_rotated() {
    let api = Api::new().await;
    let id = KeyId::random().unwrap();
    let secret = NewKey::with_id(&id).unwrap();
    let expired = ApiKey {
        id: id.clone(),
        name: "old".to_owned(),
        hash: KeyHash::of(secret.as_str()),
        previous: None,
        scopes: Scopes::all(),
        has_unknown_scopes: false,
        created_at: Timestamp::from_millis(0),
        created_by: None,
        expires_at: Some(Timestamp::from_millis(1)),
        revoked_at: None,
        last_used_at: None,
    };
    assert!(api.parts.store.create_key(expired).await.unwrap());
    let path = format!("/keys/{id}");
    let shown = api.get(&path).await.json();
    assert_eq!(shown["expiresAt"], "1970-01-01T00:00:00.001Z");
    let rotated = api.post(&format!("{path}/rotate"), json!({})).await;
    assert_eq!(rotated.problem(), (409, "key-expired".into()));
    // It ended long ago.
    let purge = crate::store::Purge::EndedKeys(Timestamp::from_millis(2));
    assert_eq!(api.parts.store.purge(purge).await.unwrap(), 1);
    assert_eq!(api.get(&path).await.problem(), (404, "unknown-key".into()));
}

#[tokio::test]
async fn both_secrets_of_a_rotated_key_are_accepted_for_the_overlap() {
    let mut api = Api::new().await;
    let key = json!({ "name": "dispatch", "scopes": ["read", "keys"] });
    let made = api.post("/keys", key).await.json();
    api.require_keys();
    let path = format!("/keys/{}/rotate", made["id"].as_str().unwrap());
    let rotate = async |key: &Value, body: Value| {
        let rotated = api.call_with(key, Method::POST, &path, body).await;
        assert_eq!(rotated.status, StatusCode::OK);
        rotated.json()
    };
    let second = rotate(&made["key"], Value::Null).await;
    assert_ne!(second["key"], made["key"]);
    assert_eq!(second["id"], made["id"]);
    assert!(second["previousSecretUntil"].is_string());
    for key in [&made["key"], &second["key"]] {
        assert_eq!(api.own_key(key).await.status, StatusCode::OK);
    }
    let third = rotate(&second["key"], json!({ "overlap": "0s" })).await;
    assert_eq!(third["previousSecretUntil"], Value::Null);
    for (key, status) in [
        (&made["key"], 401),
        (&second["key"], 401),
        (&third["key"], 200),
    ] {
        assert_eq!(api.own_key(key).await.status.as_u16(), status);
    }
}

#[tokio::test]
async fn a_bad_request_about_keys_is_told_what_would_be_right() {
    let api = Api::new().await;
    for (body, place, detail) in [
        (
            json!({ "name": "", "scopes": ["read"] }),
            "/name",
            "1 to 64",
        ),
        (
            json!({ "name": " a", "scopes": ["read"] }),
            "/name",
            "1 to 64",
        ),
        (
            json!({ "name": "a\nb", "scopes": ["read"] }),
            "/name",
            "1 to 64",
        ),
        (json!({ "name": "a", "scopes": [] }), "/scopes", ""),
        (
            json!({ "name": "a", "scopes": ["all"] }),
            "/scopes/0",
            "read, metrics, ingest",
        ),
        (
            json!({ "name": "a", "scopes": ["read"], "expiresAt": "2020-01-01T00:00:00Z" }),
            "/expiresAt",
            "in the future",
        ),
        (
            json!({ "name": "a", "scopes": ["read"], "expiresAt": "tomorrow" }),
            "/expiresAt",
            "RFC 3339",
        ),
    ] {
        let answer = api.post("/keys", body.clone()).await;
        assert_eq!(answer.problem(), (422, "invalid-body".into()), "{body}");
        assert!(
            answer.places().contains(place),
            "{body}: {:?}",
            answer.places()
        );
        let told = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(told.contains(detail), "{told}");
    }
    let id = KeyId::random().unwrap();
    let unknown = format!("/keys/{id}");
    assert_eq!(
        api.get(&unknown).await.problem(),
        (404, "unknown-key".into())
    );
    let deleted = api.call(Method::DELETE, &unknown).await;
    assert_eq!(deleted.problem(), (404, "unknown-key".into()));
    let rotate = format!("{unknown}/rotate");
    let rotated = api.post(&rotate, json!({ "overlap": "1h" })).await;
    assert_eq!(rotated.problem(), (404, "unknown-key".into()));
    for overlap in ["100d", "1h 30m", "1", "h", "", "-1s", "1.5h", "1000h"] {
        let rotated = api.post(&rotate, json!({ "overlap": overlap })).await;
        assert_eq!(rotated.problem(), (422, "invalid-body".into()), "{overlap}");
    }
    // The key itself in the path would be in every log on its way.
    let whole = format!("/keys/{}", NewKey::generate().unwrap().as_str());
    assert_eq!(
        api.get(&whole).await.problem(),
        (400, "invalid-parameter".into())
    );
}

#[tokio::test]
async fn the_last_use_of_a_key_is_noted() {
    let mut api = Api::new().await;
    let key = json!({ "name": "dispatch", "scopes": ["read", "keys"] });
    let made = api.post("/keys", key).await.json();
    api.require_keys();
    let path = format!("/keys/{}", made["id"].as_str().unwrap());
    let last_use = async || {
        let shown = api.call_with(&made["key"], Method::GET, &path, Value::Null);
        shown.await.json()["lastUsedAt"].clone()
    };
    assert_eq!(last_use().await, Value::Null);
    api.parts.keys.store_uses().await;
    let first = last_use().await;
    assert!(first.as_str() >= made["createdAt"].as_str(), "{first}");
}

#[tokio::test]
async fn idempotency_keys_are_those_of_their_caller() {
    let mut api = Api::new().await;
    api.post("/vehicles", json!({ "deviceId": "truck" })).await;
    let key = |name: &str| json!({ "name": name, "scopes": ["command"] });
    let mut callers = Vec::new();
    for name in ["a", "b"] {
        callers.push(api.post("/keys", key(name)).await.json()["key"].clone());
    }
    api.require_keys();
    let queue = async |caller: &Value| {
        let request = Request::post("/service/truck/turnOn")
            .header(
                header::AUTHORIZATION,
                format!("Bearer {}", caller.as_str().unwrap()),
            )
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", "1");
        let body = Body::from(json!({ "queue": true, "ttlSeconds": 60 }).to_string());
        let queued = api.send(request.body(body).unwrap()).await;
        assert_eq!(queued.status, StatusCode::ACCEPTED);
        queued.json()["commandId"].clone()
    };
    let [a, b] = [&callers[0], &callers[1]];
    let first = queue(a).await;
    assert_eq!(queue(a).await, first);
    let other = queue(b).await;
    assert_ne!(other, first);
    assert_eq!(queue(b).await, other);
}

#[tokio::test]
async fn a_key_that_expires_gives_none_that_is_good_for_longer() {
    let mut api = Api::new().await;
    let [soon, later] = ["2090-01-01T00:00:00.000Z", "2090-01-01T00:00:00.001Z"];
    let key =
        |expires_at: Value| json!({ "name": "a", "scopes": ["keys"], "expiresAt": expires_at });
    let deputy = api.post("/keys", key(json!(soon))).await.json();
    let chief = api.post("/keys", key(Value::Null)).await.json();
    api.require_keys();
    let deputy_key = &deputy["key"];
    for (expires_at, status) in [(Value::Null, 403), (json!(later), 403), (json!(soon), 201)] {
        let made = api.call_with(deputy_key, Method::POST, "/keys", key(expires_at));
        assert_eq!(made.await.status.as_u16(), status);
    }
    for (key, status) in [(&chief, 403), (&deputy, 200)] {
        let path = format!("/keys/{}/rotate", key["id"].as_str().unwrap());
        let rotated = api.call_with(deputy_key, Method::POST, &path, Value::Null);
        assert_eq!(rotated.await.status.as_u16(), status);
    }
    let never = api
        .call_with(
            &chief["key"],
            Method::POST,
            "/keys",
            key(json!("9999-12-31T23:59:59Z")),
        )
        .await;
    assert!(never.places().contains("/expiresAt"));
}

#[tokio::test]
async fn a_key_that_is_revoked_while_its_owner_sends_a_body_makes_none() {
    let mut api = Api::new().await;
    let key = json!({ "name": "thief", "scopes": ["keys"] });
    let made = api.post("/keys", key.clone()).await.json();
    api.require_keys();
    let id = KeyId::parse(made["id"].as_str().unwrap()).unwrap();
    let (send, receive) = tokio::sync::oneshot::channel();
    let body = futures_util::stream::once(async move {
        Ok::<_, std::io::Error>(bytes::Bytes::from(receive.await.unwrap_or_default()))
    });
    let request = Request::post("/keys")
        .header(
            header::AUTHORIZATION,
            format!("Bearer {}", made["key"].as_str().unwrap()),
        )
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from_stream(body))
        .unwrap();
    let revoking = async {
        api.parts
            .keys
            .revoke(&Caller::without_key(), &id)
            .await
            .unwrap();
        send.send(key.to_string()).unwrap();
    };
    // The first of the two is polled first: it passes the check of keys, and waits for its body.
    let (answer, ()) = tokio::join!(api.send(request), revoking);
    assert_eq!(answer.problem(), (401, "unauthenticated".into()));
    assert_eq!(api.parts.store.api_keys().await.unwrap().len(), 1);
}

#[tokio::test]
async fn keys_that_have_ended_take_no_room() {
    let api = Api::new().await;
    let create = |index: usize, expires_at| {
        let id = KeyId::random().unwrap();
        let key = ApiKey {
            hash: KeyHash::of(&index.to_string()),
            id,
            name: "key".to_owned(),
            previous: None,
            scopes: Scopes::all(),
            has_unknown_scopes: false,
            created_at: Timestamp::from_millis(0),
            created_by: None,
            expires_at,
            revoked_at: None,
            last_used_at: None,
        };
        api.parts.store.create_key(key)
    };
    let ended = Some(Timestamp::from_millis(1));
    let create_all = async |count: usize, expires_at| {
        let indices: Vec<usize> = (0..count).collect();
        for some in indices.chunks(250) {
            let writes: Vec<_> = some
                .iter()
                .map(|index| create(*index, expires_at))
                .collect();
            for write in writes {
                assert!(write.await.unwrap());
            }
        }
    };
    create_all(2_005, ended).await;
    assert_eq!(api.parts.store.api_keys().await.unwrap().len(), 2_000);
    create_all(1_000, None).await;
    let more = api
        .post("/keys", json!({ "name": "more", "scopes": ["read"] }))
        .await;
    assert_eq!(more.problem(), (409, "too-many-keys".into()));
}
