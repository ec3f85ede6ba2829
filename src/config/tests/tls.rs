//! Settings of TLS.

use super::sources;

#[test]
fn a_certificate_and_its_key_are_set_together() {
    let both = sources()
        .set("http.tls.certificate=/etc/tls/chain.pem")
        .variable("GATEWAY_HTTP__TLS__KEY", "key.pem")
        .settings();
    assert!(both.http.tls.is_on());
    assert_eq!(both.http.tls.certificate, "/etc/tls/chain.pem");
    assert_eq!(both.http.tls.key, "key.pem");
    assert!(!sources().settings().http.tls.is_on());
    let lines = sources().set("http.tls.certificate=a").problem_lines();
    assert_eq!(
        lines,
        [
            "http.tls.key: found \"\" in the embedded defaults; allowed: the path of a file as long as http.tls.certificate is set"
        ]
    );
    let lines = sources().set("http.tls.key=a").problem_lines();
    assert_eq!(
        lines,
        [
            "http.tls.certificate: found \"\" in the embedded defaults; allowed: the path of a file as long as http.tls.key is set"
        ]
    );
}
