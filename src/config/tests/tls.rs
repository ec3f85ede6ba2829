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

#[test]
fn the_settings_of_the_encrypted_device_port_belong_together() {
    const LISTEN: &str = "device.tls.listen=0.0.0.0:4443";
    const CERTIFICATE: &str = "device.tls.certificate=a";
    const KEY: &str = "device.tls.key=b";
    const AUTHORITY: &str = "device.tls.client_ca=c";
    const LIST: &str = "device.tls.client_crl=d";
    const REQUIRED: &str = "device.tls.require_client_certificate=true";
    let set = |settings: &[&str]| {
        let sources = settings
            .iter()
            .fold(sources(), |sources, setting| sources.set(setting));
        match crate::config::load(&sources.sources) {
            Ok(settings) => {
                assert!(settings.device.tls.listen.is_some());
                Vec::new()
            }
            Err(problems) => problems
                .as_slice()
                .iter()
                .map(|problem| problem.to_string().split(':').next().unwrap().to_owned())
                .collect(),
        }
    };
    for (settings, refused) in [
        (&[LISTEN, CERTIFICATE, KEY][..], &[][..]),
        (&[LISTEN, CERTIFICATE, KEY, AUTHORITY], &[]),
        (&[LISTEN, CERTIFICATE, KEY, AUTHORITY, LIST, REQUIRED], &[]),
        (&[LISTEN], &["device.tls.certificate"]),
        (&[LISTEN, CERTIFICATE], &["device.tls.key"]),
        (&[LISTEN, KEY], &["device.tls.certificate"]),
        (&[CERTIFICATE, KEY], &["device.tls.listen"]),
        (&[LISTEN, CERTIFICATE, KEY, LIST], &["device.tls.client_ca"]),
        (
            &[LISTEN, CERTIFICATE, KEY, REQUIRED],
            &["device.tls.client_ca"],
        ),
        (&[AUTHORITY], &["device.tls.certificate"]),
        (
            &[LISTEN, CERTIFICATE, KEY, "device.listen=0.0.0.0:4443"],
            &["device.tls.listen"],
        ),
        (
            &[CERTIFICATE, KEY, "device.tls.listen=127.0.0.1:3000"],
            &["device.tls.listen"],
        ),
        (
            &[CERTIFICATE, KEY, "device.tls.listen=localhost:4443"],
            &["device.tls.listen"],
        ),
    ] {
        assert_eq!(set(settings), refused, "{settings:?}");
    }
}
