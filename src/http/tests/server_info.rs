//! `/`.

use axum::{
    body::Body,
    http::{Request, header},
};

use super::Api;

#[tokio::test]
async fn the_root_is_html_for_browsers_and_json_otherwise() {
    let api = Api::new().await;
    let info = api.get("/").await;
    assert_eq!(info.json()["instance"]["name"], "<b>test");
    assert_eq!(info.json()["devicesConnected"], 0);
    let request = Request::get("/").header(header::ACCEPT, "text/html,*/*;q=0.8");
    let page = api.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(html.contains("&lt;b&gt;test"));
    assert!(!html.contains("://"));
}
