//! Keeps the configurations of listeners like their files, and warns before certificates end.
//!
//! Files are compared by their contents, so that it does not matter how they are exchanged: rewritten, renamed, or by a
//! symbolic link that points elsewhere. Contents are used once two looks in a row have found them, because files may be
//! looked at while they are written, and a certificate before its key; at SIGHUP they are used at once.

use std::{panic::resume_unwind, sync::Arc, time::Duration};

use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::{
    files::{Contents, Digest, TlsErrors},
    server::TlsServer,
};
use crate::{domain::Timestamp, signals::Hangups};

/// The interval of looks at the files: a few small reads.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long before its end a certificate is warned about. Certificates of 90 days are commonly renewed after 60.
const WARN_BEFORE: Duration = Duration::from_hours(24 * 14);
/// The interval of warnings about one certificate.
const WARN_EVERY: Duration = Duration::from_hours(24);

/// Follows the files of the listeners, for ever.
pub(crate) async fn keep_current(servers: Vec<Arc<TlsServer>>, mut hangups: Hangups) {
    let mut followers: Vec<Follower> = servers.into_iter().map(Follower::new).collect();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_asked_for = tokio::select! {
            _ = looks.tick(), if !followers.is_empty() => false,
            () = hangups.next() => true,
        };
        if is_asked_for {
            if followers.is_empty() {
                tracing::info!("SIGHUP ignored: settings are read at the start only");
                continue;
            }
            tracing::info!("SIGHUP: reading TLS files again; settings are read at the start only");
        }
        // The files may be on a file system that hangs.
        let looking = spawn_blocking(move || {
            for follower in &mut followers {
                follower.look(is_asked_for);
                follower.warn_about_validity(Timestamp::now());
            }
            followers
        });
        followers = match looking.await {
            Ok(followers) => followers,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime is shutting down.
                Err(_cancelled) => return,
            },
        };
    }
}

/// What a look found in the files.
#[derive(Debug, Clone, PartialEq)]
enum Found {
    Contents(Digest),
    Unreadable(String),
}

impl Found {
    fn new(read: &Result<Contents, TlsErrors>) -> Self {
        match read {
            Ok(contents) => Self::Contents(contents.digest()),
            Err(errors) => Self::Unreadable(errors.to_string()),
        }
    }
}

/// Follows the files of one listener.
struct Follower {
    server: Arc<TlsServer>,
    /// What the last look found.
    found: Found,
    /// What was used last, or could not be used.
    tried: Found,
    certificate: ValidityWarnings,
    lists: ValidityWarnings,
}

impl Follower {
    fn new(server: Arc<TlsServer>) -> Self {
        let used = Found::Contents(server.current().digest);
        Self {
            server,
            found: used.clone(),
            tried: used,
            certificate: ValidityWarnings::default(),
            lists: ValidityWarnings::default(),
        }
    }

    /// Looks at the files, and uses what is new in them.
    fn look(&mut self, at_once: bool) {
        let read = self.server.files.read();
        let before = std::mem::replace(&mut self.found, Found::new(&read));
        let is_settled = self.found == before;
        if self.found == Found::Contents(self.server.current().digest) {
            self.tried = self.found.clone();
            return;
        }
        if !at_once && (!is_settled || self.found == self.tried) {
            return;
        }
        self.tried = self.found.clone();
        let listener = self.server.listener();
        match read.and_then(|contents| self.server.files.load(&contents)) {
            Ok(loaded) => {
                let ends = loaded.ends;
                self.server.exchange(loaded);
                tracing::info!(%listener, %ends, "TLS files exchanged: new connections use what is in them");
            }
            Err(error) => {
                tracing::warn!(%listener, %error, "TLS files have changed and cannot be used: those from before stay in use");
            }
        }
    }

    fn warn_about_validity(&mut self, now: Timestamp) {
        let (begins, ends, lists_end) = {
            let current = self.server.current();
            (current.begins, current.ends, current.lists_end)
        };
        let listener = self.server.listener();
        if let Some(ends) = lists_end
            && now >= ends
            && self.lists.due(ends, ends, now).is_some()
        {
            tracing::warn!(%listener, %ends, "a revocation list should have been replaced by now: certificates that were revoked since then are accepted");
        }
        let Some(validity) = self.certificate.due(begins, ends, now) else {
            return;
        };
        match validity {
            Validity::NotYet => {
                tracing::warn!(%listener, %begins, "the TLS certificate is not valid yet: clients refuse it");
            }
            Validity::EndsSoon => {
                tracing::warn!(%listener, %ends, "the TLS certificate ends soon: renew it");
            }
            Validity::Ended => {
                tracing::warn!(%listener, %ends, "the TLS certificate has ended: clients refuse it");
            }
        }
    }
}

/// A certificate that is worth a warning.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Validity {
    NotYet,
    EndsSoon,
    Ended,
}

/// Decides when to warn about a certificate: once a day, and at once about another certificate or for another reason.
#[derive(Debug, Default)]
struct ValidityWarnings {
    /// The last warning: about a certificate that ends then, why, and when.
    last: Option<(Timestamp, Validity, Timestamp)>,
}

impl ValidityWarnings {
    /// What to warn of now, if it is time to.
    fn due(&mut self, begins: Timestamp, ends: Timestamp, now: Timestamp) -> Option<Validity> {
        let validity = if now < begins {
            Validity::NotYet
        } else if now >= ends {
            Validity::Ended
        } else if ends.since(now) < WARN_BEFORE {
            Validity::EndsSoon
        } else {
            return None;
        };
        // Of the two differences one is zero; the other way round, the clock was set back.
        let is_recent = |at: Timestamp| now.since(at) < WARN_EVERY && at.since(now) < WARN_EVERY;
        if let Some((about, why, at)) = self.last
            && (about, why) == (ends, validity)
            && is_recent(at)
        {
            return None;
        }
        self.last = Some((ends, validity, now));
        Some(validity)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::tls::{ListenerName, TlsFiles};

    fn write_certificate(folder: &Path) {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        fs::write(folder.join("certificate"), certificate.pem()).unwrap();
        fs::write(folder.join("key"), key.serialize_pem()).unwrap();
    }

    #[test]
    fn what_two_looks_in_a_row_have_found_is_used() {
        let folder = tempfile::tempdir().unwrap();
        write_certificate(folder.path());
        let files = TlsFiles {
            listener: ListenerName::Http,
            certificate: folder.path().join("certificate"),
            key: folder.path().join("key"),
            clients: None,
            protocols: Vec::new(),
        };
        let server = Arc::new(TlsServer::open(files).unwrap());
        let mut follower = Follower::new(Arc::clone(&server));
        let in_use = || server.current().digest;
        let first = in_use();
        write_certificate(folder.path());
        follower.look(false);
        assert_eq!(in_use(), first);
        // It changes again, in the midst of writing as it seems.
        write_certificate(folder.path());
        follower.look(false);
        assert_eq!(in_use(), first);
        follower.look(false);
        let second = in_use();
        assert_ne!(second, first);
        write_certificate(folder.path());
        follower.look(true);
        assert_ne!(in_use(), second, "asked for");
        // Incomplete for good.
        let third = in_use();
        fs::write(folder.path().join("certificate"), "").unwrap();
        for _ in 0..3 {
            follower.look(false);
        }
        assert_eq!(in_use(), third);
    }

    const DAY: i64 = 24 * 60 * 60;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_certificate_is_warned_about_once_a_day_from_14_days_before_its_end() {
        let (begins, ends) = (at(0), at(90 * DAY));
        let mut warnings = ValidityWarnings::default();
        for (now, due) in [
            (-1, Some(Validity::NotYet)),
            (0, None),
            (76 * DAY, None),
            (76 * DAY + 1, Some(Validity::EndsSoon)),
            (76 * DAY + 3, None),
            (77 * DAY, None),
            (77 * DAY + 1, Some(Validity::EndsSoon)),
            (90 * DAY - 1, Some(Validity::EndsSoon)),
            (90 * DAY, Some(Validity::Ended)),
            (91 * DAY - 1, None),
            (91 * DAY, Some(Validity::Ended)),
            // The clock was set back.
            (90 * DAY - 1, Some(Validity::EndsSoon)),
            (80 * DAY, Some(Validity::EndsSoon)),
        ] {
            assert_eq!(warnings.due(begins, ends, at(now)), due, "{now}");
        }
    }

    #[test]
    fn another_certificate_is_warned_about_at_once() {
        let mut warnings = ValidityWarnings::default();
        for (ends, due) in [
            (10 * DAY, Some(Validity::EndsSoon)),
            (10 * DAY, None),
            (11 * DAY, Some(Validity::EndsSoon)),
            (90 * DAY, None),
            (11 * DAY, None),
        ] {
            assert_eq!(warnings.due(at(0), at(ends), at(DAY)), due, "{ends}");
        }
    }
}
