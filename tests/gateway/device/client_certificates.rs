//! Certificates of vehicles, on the device port inside TLS.

use std::{
    fs,
    io::Read,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::ClientConfig;

use super::tls::failed;
use crate::support::{Authority, Builder, Daemon, Device, connect_tls, wait_until};

const DAY: Duration = Duration::from_hours(24);

/// The authority of the gateway, which is that of vehicles, too.
struct Fleet {
    authority: Authority,
    builder: Builder,
}

impl Fleet {
    fn new() -> Self {
        let authority = Authority::new();
        let builder = Daemon::builder();
        let folder = builder.folder();
        let files = authority.issue().write_to(folder.path());
        let vehicles = folder.path().join("vehicles.pem");
        fs::write(&vehicles, authority.pem()).unwrap();
        let builder = builder
            .device_tls(&files)
            .set(&format!("device.tls.client_ca={}", vehicles.display()));
        Self { authority, builder }
    }

    fn required(mut self) -> Self {
        self.builder = self
            .builder
            .set("device.tls.require_client_certificate=true");
        self
    }

    /// With this revocation list.
    fn with_list(mut self, list: &str) -> Self {
        let path = self.builder.folder().path().join("list.pem");
        fs::write(&path, list).unwrap();
        self.builder = self
            .builder
            .set(&format!("device.tls.client_crl={}", path.display()));
        self
    }

    fn start(self) -> (Daemon, Authority) {
        (self.builder.start(), self.authority)
    }
}

/// A device with this configuration that is logged in.
fn log_in(daemon: &Daemon, config: Arc<ClientConfig>, device_id: &str) -> Device {
    let stream = connect_tls(daemon.device_tls(), config).unwrap();
    Device::encrypted(stream).logged_in(device_id)
}

/// The alert with which the gateway refuses a client of this configuration. In TLS 1.3 it comes after the handshake, as
/// the client sees it.
#[track_caller]
fn refusal(daemon: &Daemon, config: Arc<ClientConfig>) -> String {
    let refused = connect_tls(daemon.device_tls(), config)
        .and_then(|mut stream| stream.read(&mut [0; 1]).map(drop));
    refused.unwrap_err().to_string()
}

#[test]
fn a_required_certificate_has_to_be_of_the_right_authority() {
    let (daemon, authority) = Fleet::new().required().start();
    let truck = authority.issue_vehicle("truck");
    log_in(&daemon, authority.client_with(&truck), "truck").ping();

    let alert = refusal(&daemon, authority.client());
    assert!(alert.contains("CertificateRequired"), "{alert}");
    assert_eq!(failed(&daemon, "no-certificate"), 1);

    let stranger = Authority::new().issue_vehicle("truck");
    let alert = refusal(&daemon, authority.client_with(&stranger));
    assert!(
        alert.contains("UnknownCA") || alert.contains("DecryptError"),
        "{alert}"
    );
    assert_eq!(failed(&daemon, "certificate-refused"), 1);
}

#[test]
fn a_certificate_that_is_not_required_has_to_be_valid_if_there_is_one() {
    let (daemon, authority) = Fleet::new().start();
    let truck = authority.issue_vehicle("truck");
    log_in(&daemon, authority.client_with(&truck), "truck").ping();
    log_in(&daemon, authority.client(), "van").ping();
    let stranger = Authority::new().issue_vehicle("truck");
    refusal(&daemon, authority.client_with(&stranger));
    assert_eq!(failed(&daemon, "certificate-refused"), 1);
    assert_eq!(failed(&daemon, "no-certificate"), 0);
}

#[test]
fn a_revoked_certificate_is_refused_from_the_next_connection_on() {
    let fleet = Fleet::new();
    let (truck, van) = (
        fleet.authority.issue_vehicle("truck"),
        fleet.authority.issue_vehicle("van"),
    );
    let ends = SystemTime::now() + DAY;
    let list = fleet.authority.revoke(&[&van], ends);
    let (daemon, authority) = fleet.with_list(&list).required().start();
    // One configuration for all connections of the truck: it would resume its TLS session if it could.
    let config = authority.client_with(&truck);
    let mut open = log_in(&daemon, Arc::clone(&config), "truck");
    let alert = refusal(&daemon, authority.client_with(&van));
    assert!(alert.contains("CertificateRevoked"), "{alert}");

    let list = authority.revoke(&[&van, &truck], ends);
    fs::write(daemon.folder().join("list.pem"), list).unwrap();
    daemon.logged_containing("TLS files exchanged");
    let alert = refusal(&daemon, config);
    assert!(alert.contains("CertificateRevoked"), "{alert}");
    assert_eq!(failed(&daemon, "certificate-refused"), 2);
    open.ping();
}

#[test]
fn another_authority_of_vehicles_is_used_from_the_next_connection_on() {
    let (daemon, authority) = Fleet::new().required().start();
    let next = Authority::new();
    let truck = authority.client_with(&next.issue_vehicle("truck"));
    refusal(&daemon, Arc::clone(&truck));
    let both = [authority.pem(), next.pem()].concat();
    fs::write(daemon.folder().join("vehicles.pem"), both).unwrap();
    daemon.logged_containing("TLS files exchanged");
    log_in(&daemon, truck, "truck").ping();
    let van = authority.issue_vehicle("van");
    log_in(&daemon, authority.client_with(&van), "van").ping();
}

#[test]
fn a_list_that_is_out_of_date_stays_in_use_with_a_warning() {
    let fleet = Fleet::new();
    let (truck, van) = (
        fleet.authority.issue_vehicle("truck"),
        fleet.authority.issue_vehicle("van"),
    );
    let list = fleet.authority.revoke(&[&van], SystemTime::now() - DAY);
    let (daemon, authority) = fleet.with_list(&list).required().start();
    let line = daemon.logged_containing("a revocation list should have been replaced by now");
    assert_eq!(line["level"], "WARN");
    log_in(&daemon, authority.client_with(&truck), "truck").ping();
    let alert = refusal(&daemon, authority.client_with(&van));
    assert!(alert.contains("CertificateRevoked"), "{alert}");
}

#[test]
fn an_authority_without_a_list_is_not_accepted_where_there_are_lists() {
    let fleet = Fleet::new();
    let list = Authority::new().revoke(&[], SystemTime::now() + DAY);
    let (daemon, authority) = fleet.with_list(&list).required().start();
    let truck = authority.issue_vehicle("truck");
    refusal(&daemon, authority.client_with(&truck));
    wait_until("it is counted", || {
        (failed(&daemon, "certificate-refused") == 1).then_some(())
    });
}

#[test]
fn files_of_authorities_and_lists_that_cannot_be_used_are_refused_at_the_start() {
    for (setting, text, reason) in [
        ("client_ca", "nothing", "has no certificate in PEM"),
        ("client_crl", "nothing", "has no revocation list in PEM"),
        (
            "client_crl",
            "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
            "has a revocation list that cannot be read",
        ),
    ] {
        let Fleet { builder, .. } = Fleet::new();
        let path = builder.folder().path().join("bad.pem");
        fs::write(&path, text).unwrap();
        let (status, output) = builder
            .set(&format!("device.tls.{setting}={}", path.display()))
            .run_to_failure();
        assert!(!status.success());
        let told = format!("device.tls.{setting} = {}: {reason}", path.display());
        assert!(output.contains(&told), "{output}");
        assert_eq!(output.lines().count(), 1, "{output}");
    }
}
