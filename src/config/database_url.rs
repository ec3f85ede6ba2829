//! Where the database is, with its secrets kept from logs.

use std::{fmt, path::Path};

use serde::{Serialize, Serializer};

use super::units::mask;

/// Where the database is: `sqlite://` and the path of a file.
///
/// Whatever displays, logs or serialises it shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    const SQLITE: &str = "sqlite://";

    /// What [`parse`](Self::parse) takes.
    pub(super) const ALLOWED: &str = "sqlite://PATH of a file \
        (no \"?\" or \"%\"; mysql:// and postgres:// are not supported by this version)";

    /// What stands where a URL was refused.
    pub(super) fn none() -> Self {
        Self(String::new())
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let path = text.strip_prefix(Self::SQLITE)?;
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

    /// The database file, absolute or relative to the working directory.
    #[must_use]
    pub fn file(&self) -> &Path {
        Path::new(self.0.strip_prefix(Self::SQLITE).unwrap_or(&self.0))
    }
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
