//! The files of certificates: at the start, when they change, and before certificates end.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::support::{
    Authority, Daemon, Identity, IdentityFiles, TlsStream, connect_tls, wait_until, write_secret,
};

const DAY: Duration = Duration::from_hours(24);
const EXCHANGED: &str = "TLS files exchanged";
const UNUSABLE: &str = "TLS files have changed and cannot be used";

/// A daemon whose API speaks HTTPS, and the files of its certificate.
struct Encrypted {
    authority: Authority,
    identity: Identity,
    files: IdentityFiles,
    daemon: Daemon,
}

impl Encrypted {
    fn start() -> Self {
        let authority = Authority::new();
        let identity = authority.issue();
        let builder = Daemon::builder();
        let files = identity.write_to(builder.folder().path());
        let daemon = builder.https(&files).start();
        Self {
            authority,
            identity,
            files,
            daemon,
        }
    }

    fn connect(&self) -> TlsStream {
        connect_tls(self.daemon.http, self.authority.client()).unwrap()
    }

    /// Whether a new connection gets this certificate.
    fn shows(&self, identity: &Identity) -> bool {
        let stream = self.connect();
        stream.conn.peer_certificates().unwrap()[0] == *identity.der()
    }

    /// The lines of the log with this beginning of a message.
    fn logged(&self, beginning: &str) -> usize {
        let log = self.daemon.log();
        let messages = log.iter().filter_map(|line| line["message"].as_str());
        messages.filter(|it| it.starts_with(beginning)).count()
    }
}

/// Asks for `/health` and reads the response; the connection stays open.
fn is_healthy(stream: &mut TlsStream) -> bool {
    let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut response = Vec::new();
    while !response.ends_with(b"}") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        response.extend(byte);
    }
    response.starts_with(b"HTTP/1.1 200 OK")
}

#[test]
fn a_renewed_certificate_is_used_while_connections_and_requests_go_on() {
    let gateway = Encrypted::start();
    let mut open = gateway.connect();
    assert!(is_healthy(&mut open));
    let stop = Arc::new(AtomicBool::new(false));
    let load = thread::spawn({
        let (stop, client) = (Arc::clone(&stop), gateway.authority.client());
        let address = gateway.daemon.http;
        move || {
            let mut requests = 0;
            while !stop.load(Ordering::Relaxed) {
                let mut stream = connect_tls(address, Arc::clone(&client)).unwrap();
                assert!(is_healthy(&mut stream));
                requests += 1;
            }
            requests
        }
    });
    let renewed = gateway.authority.issue();
    renewed.write_to(gateway.daemon.folder());
    gateway.daemon.logged_containing(EXCHANGED);
    assert!(gateway.shows(&renewed));
    stop.store(true, Ordering::Relaxed);
    assert!(load.join().unwrap() > 0);
    // The old connection, with the certificate that it began with.
    assert!(is_healthy(&mut open));
    assert_eq!(gateway.logged(UNUSABLE), 0);
}

#[test]
fn a_certificate_behind_a_symbolic_link_is_renewed_by_another_link() {
    // As Kubernetes mounts secrets: the files are links into a folder, which is a link that is exchanged.
    let builder = Daemon::builder();
    let folder = builder.folder();
    let folder = folder.path();
    let authority = Authority::new();
    let version = |name: &str| {
        let identity = authority.issue();
        fs::create_dir(folder.join(name)).unwrap();
        identity.write_to(&folder.join(name));
        identity
    };
    let first = version("1");
    symlink("1", folder.join("data")).unwrap();
    let files = IdentityFiles {
        certificate: folder.join("tls.crt"),
        key: folder.join("tls.key"),
    };
    symlink("data/certificate.pem", &files.certificate).unwrap();
    symlink("data/key.pem", &files.key).unwrap();
    let gateway = Encrypted {
        daemon: builder.https(&files).start(),
        identity: first,
        authority,
        files,
    };
    assert!(gateway.shows(&gateway.identity));
    let second = {
        let identity = gateway.authority.issue();
        let folder = gateway.daemon.folder();
        fs::create_dir(folder.join("2")).unwrap();
        identity.write_to(&folder.join("2"));
        symlink("2", folder.join("next")).unwrap();
        fs::rename(folder.join("next"), folder.join("data")).unwrap();
        identity
    };
    gateway.daemon.logged_containing(EXCHANGED);
    assert!(gateway.shows(&second));
}

#[test]
fn a_hangup_exchanges_certificates_at_once() {
    let gateway = Encrypted::start();
    let renewed = gateway.authority.issue();
    renewed.write_to(gateway.daemon.folder());
    gateway.daemon.signal("HUP");
    gateway
        .daemon
        .logged_containing("SIGHUP: reading TLS files");
    gateway.daemon.logged_containing(EXCHANGED);
    assert!(gateway.shows(&renewed));
}

#[test]
fn files_that_cannot_be_used_leave_the_certificate_from_before() {
    let gateway = Encrypted::start();
    let renewed = gateway.authority.issue();
    let (certificate, key) = (renewed.pem(), renewed.key_pem());
    let half = &certificate[..certificate.len() / 2];
    for (text, key, reason) in [
        (half, &*key, "is not complete"),
        ("", &key, "has no certificate in PEM"),
        (&certificate, "", "has no private key in PEM"),
        (
            &certificate,
            &gateway.identity.key_pem(),
            "is not the key of the certificate",
        ),
        (&"x".repeat(2 << 20), &key, "is larger than 1 MiB"),
    ] {
        fs::write(&gateway.files.certificate, text).unwrap();
        write_secret(&gateway.files.key, key);
        gateway.daemon.signal("HUP");
        wait_until(reason, || {
            let log = gateway.daemon.log();
            let warning = log.iter().rfind(|line| line["level"] == "WARN")?;
            let error = warning["error"].as_str()?;
            (error.starts_with("http.tls.") && error.contains(reason)).then_some(())
        });
        assert!(gateway.shows(&gateway.identity), "{reason}");
    }
    fs::remove_file(&gateway.files.key).unwrap();
    gateway.daemon.signal("HUP");
    gateway.daemon.logged_containing(UNUSABLE);
    assert!(gateway.shows(&gateway.identity));
    // Complete at last, without a signal.
    renewed.write_to(gateway.daemon.folder());
    gateway.daemon.logged_containing(EXCHANGED);
    assert!(gateway.shows(&renewed));
}

#[test]
fn unusable_files_are_warned_about_once_without_a_signal() {
    let gateway = Encrypted::start();
    fs::write(&gateway.files.certificate, "nothing of the kind").unwrap();
    gateway.daemon.logged_containing(UNUSABLE);
    // Another change shows that several looks have passed by then.
    let renewed = gateway.authority.issue();
    renewed.write_to(gateway.daemon.folder());
    gateway.daemon.logged_containing(EXCHANGED);
    assert_eq!(gateway.logged(UNUSABLE), 1);
}

/// The output of a start, and of `check-config`, with these files of a certificate.
#[track_caller]
fn refusals(certificate: &Path, key: &Path) -> [String; 2] {
    let files = IdentityFiles {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
    };
    let (status, at_start) = Daemon::builder().https(&files).run_to_failure();
    assert!(!status.success());
    let checked = Command::new(env!("CARGO_BIN_EXE_vehicle-gateway"))
        .arg("check-config")
        .args([
            "--set",
            &format!("http.tls.certificate={}", certificate.display()),
        ])
        .args(["--set", &format!("http.tls.key={}", key.display())])
        .output()
        .unwrap();
    assert!(!checked.status.success());
    [at_start, String::from_utf8(checked.stderr).unwrap()]
}

#[test]
fn files_that_cannot_be_used_are_refused_at_the_start_with_setting_and_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let authority = Authority::new();
    let good = authority.issue().write_to(folder.path());
    let missing = path("missing.pem");
    let garbage = path("garbage.pem");
    fs::write(
        &garbage,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let other_key = path("other.pem");
    write_secret(&other_key, &authority.issue().key_pem());
    for (certificate, key, bad, reason) in [
        (&missing, &good.key, "certificate", "No such file"),
        (&good.certificate, &missing, "key", "No such file"),
        (
            &folder.path().to_owned(),
            &good.key,
            "certificate",
            "is not a regular file",
        ),
        (&garbage, &good.key, "certificate", "cannot be read"),
        (
            &good.certificate,
            &good.certificate,
            "key",
            "no private key",
        ),
        (&good.certificate, &other_key, "key", "is not the key"),
    ] {
        let path = if bad == "key" { key } else { certificate };
        let told = format!("http.tls.{bad} = {}: ", path.display());
        for output in refusals(certificate, key) {
            assert!(output.contains(&told), "{told} in {output}");
            assert!(output.contains(reason), "{reason} in {output}");
            assert_eq!(output.lines().count(), 1, "{output}");
        }
    }
    for output in refusals(&missing, &missing) {
        assert!(output.contains("http.tls.certificate"), "{output}");
        assert!(output.contains("http.tls.key"), "{output}");
    }
}

#[test]
fn a_key_that_everybody_may_read_is_warned_about() {
    let builder = Daemon::builder();
    let files = Authority::new().issue().write_to(builder.folder().path());
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
    let daemon = builder.https(&files).start();
    let line = daemon.logged_containing("everybody on this host may read or write the private key");
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["file"], files.key.display().to_string());
}

#[test]
fn a_certificate_is_warned_about_14_days_before_its_end() {
    for (left, warned) in [(13, true), (15, false)] {
        let builder = Daemon::builder();
        let ends = SystemTime::now() + left * DAY;
        let authority = Authority::new();
        let identity = authority.issue_until(ends);
        let files = identity.write_to(builder.folder().path());
        let daemon = builder.https(&files).start();
        if warned {
            let line = daemon.logged_containing("the TLS certificate ends soon");
            assert_eq!(line["level"], "WARN");
            assert_eq!(line["listener"], "http");
        }
        let mut stream = connect_tls(daemon.http, authority.client()).unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).unwrap();
        let mut metrics = String::new();
        stream.read_to_string(&mut metrics).unwrap();
        let seconds = ends.duration_since(UNIX_EPOCH).unwrap().as_secs();
        let metric = format!(
            "vehicle_gateway_certificate_expiry_timestamp_seconds{{listener=\"http\"}} {seconds}"
        );
        assert!(metrics.lines().any(|line| line == metric), "{metrics}");
        let log = daemon.log();
        let warnings = log.iter().filter(|line| line["level"] == "WARN").count();
        assert_eq!(warnings, usize::from(warned), "{log:?}");
    }
}

#[test]
fn a_certificate_that_has_ended_does_not_keep_the_gateway_from_starting() {
    let now = SystemTime::now();
    for (begins, ends, message) in [
        (now - 2 * DAY, now - DAY, "the TLS certificate has ended"),
        (
            now + DAY,
            now + 2 * DAY,
            "the TLS certificate is not valid yet",
        ),
    ] {
        let builder = Daemon::builder();
        let identity = Authority::new().issue_from(begins, ends);
        let files = identity.write_to(builder.folder().path());
        let daemon = builder.https(&files).start();
        assert_eq!(daemon.logged_containing(message)["level"], "WARN");
        daemon.log_in("truck").ping();
    }
}
