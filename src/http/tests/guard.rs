//! Requests of web pages, and by other names.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};

use super::{Api, ApiResponse, HostNames, OPTIONS, TRUCK, open_to, router};

async fn from_page(api: &Api, method: Method, path: &str, headers: &[(&str, &str)]) -> ApiResponse {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    api.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing_and_asks_no_vehicle() {
    let api = Api::new().await;
    api.report(1).await;
    let foreign = [("host", "localhost:3000"), ("sec-fetch-site", "cross-site")];
    let foreign_origin = [
        ("host", "localhost:3000"),
        ("origin", "http://evil.example"),
    ];
    let own = [
        ("host", "localhost:3000"),
        ("sec-fetch-site", "same-origin"),
    ];
    let fetch_info = format!("/service/{TRUCK}/fetch-info");
    let vehicle = format!("/vehicles/{TRUCK}");
    for (method, path) in [
        (Method::GET, &fetch_info),
        (Method::POST, &format!("/service/{TRUCK}/turnOn")),
        (Method::POST, &"/service/broadcast".to_owned()),
        (Method::POST, &"/service/status-update".to_owned()),
        (Method::POST, &"/webhooks".to_owned()),
        (Method::DELETE, &vehicle),
    ] {
        for headers in [foreign, foreign_origin] {
            let answer = from_page(&api, method.clone(), path, &headers).await;
            assert_eq!(answer.problem(), (403, "cross-origin".into()), "{path}");
        }
        let answer = from_page(&api, method, path, &own).await;
        assert_ne!(answer.status, StatusCode::FORBIDDEN, "{path}");
    }
    // A link of another site may lead here, as to any page.
    let answer = from_page(&api, Method::GET, "/vehicles", &foreign).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn only_known_names_are_answered() {
    let mut api = Api::new().await;
    let called = |host| [("host", host)];
    for path in ["/vehicles", "/health", "/unknown", "/docs"] {
        let answer = from_page(&api, Method::GET, path, &called("fleet.example")).await;
        assert_eq!(
            answer.problem(),
            (421, "misdirected-request".into()),
            "{path}"
        );
    }
    let absolute = "http://fleet.example/vehicles";
    let answer = from_page(&api, Method::GET, absolute, &called("localhost")).await;
    assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST);
    let names = HostNames::only(&["fleet.example".to_owned()]);
    api.router = router(api.parts.api(Vec::new()), OPTIONS, open_to(names), "");
    for host in ["fleet.example", "fleet.example:8080", "localhost:3000"] {
        let answer = from_page(&api, Method::GET, "/vehicles", &called(host)).await;
        assert_eq!(answer.status, StatusCode::OK, "{host}");
    }
}

#[tokio::test]
async fn every_response_tells_browsers_what_not_to_do_with_it() {
    let api = Api::new().await;
    api.report(1).await;
    for path in [
        "/",
        "/docs",
        "/openapi.json",
        "/vehicles",
        "/metrics",
        "/unknown",
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        let resources = answer.header("cross-origin-resource-policy");
        assert_eq!(resources, "same-origin", "{path}");
        let content = answer.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(content.contains(part), "{path}: {content}");
        }
    }
}

#[tokio::test]
async fn head_of_fetch_info_asks_no_vehicle() {
    let api = Api::new().await;
    let path = format!("/service/{TRUCK}/fetch-info");
    let answer = api.call(Method::HEAD, &path).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.header("allow"), "GET");
}
