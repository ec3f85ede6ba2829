//! Where the database is, with its secrets kept from logs.

use std::fmt;

use serde::{Serialize, Serializer};

use super::units::mask;

/// Where the database is: `sqlite://` and the path of a file, or the URL of a server.
///
/// Whatever displays, logs or serialises it shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    const SQLITE: &str = "sqlite://";

    /// What [`parse`](Self::parse) takes.
    pub(super) const ALLOWED: &str = "sqlite://PATH of a file (no \"?\" or \"%\"), \
        mysql://USER:PASSWORD@HOST:PORT/DATABASE or postgres://USER:PASSWORD@HOST:PORT/DATABASE";

    /// What stands where a URL was refused.
    pub(super) fn none() -> Self {
        Self(String::new())
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let Some(path) = text.strip_prefix(Self::SQLITE) else {
            return is_server(text).then(|| Self(text.to_owned()));
        };
        // In memory nothing would be durable; "file:" would be read as a URI and could say so too.
        let file = !path.is_empty()
            && !path.ends_with('/')
            && !path.starts_with(':')
            && !path.starts_with("file:");
        // With these the drivers decode the path or take options from it: then two readers of this
        // URL could mean two files.
        let plain = !path.contains(['?', '%']);
        (file && plain).then(|| Self(text.to_owned()))
    }

    /// The URL for the database driver, with everything in it. Not for logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether this names a server and a database on it.
fn is_server(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let address = rest.split(['?', '#']).next().unwrap_or_default();
    // A password may hold a slash or an @; a host and the name of a database hold neither.
    let Some((authority, database)) = address.rsplit_once('/') else {
        return false;
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    ["mysql", "postgres", "postgresql"].contains(&scheme)
        && !host.is_empty()
        && !host.starts_with(':')
        && !database.is_empty()
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask(&self.0))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*mask(&self.0), f)
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
