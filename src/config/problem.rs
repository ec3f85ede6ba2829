//! What can be wrong with the settings, told so that it can be put right.

use std::fmt;

/// One mistake in the settings. Secrets in what was found are masked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Problem {
    /// A source that could not be read as a whole.
    #[error("{origin}: {reason}")]
    Source {
        /// The file, variable or flag.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A key that is no setting. Its value is not shown: it may be a misspelt secret.
    #[error("{key}: no such key, found in {origin}; {hint}")]
    UnknownKey {
        /// The key as it was written.
        key: String,
        /// The file, variable or flag.
        origin: String,
        /// The key that was probably meant, or where the keys are listed.
        hint: String,
    },
    /// A value that is not allowed.
    #[error("{key}: found {found} in {origin}; allowed: {allowed}")]
    Value {
        /// The key.
        key: String,
        /// The file, variable or flag, or the embedded defaults.
        origin: String,
        /// The value, quoted if it is text.
        found: String,
        /// What would do.
        allowed: String,
    },
}

/// All that is wrong with the settings; never empty. Displayed as one line for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub(super) Vec<Problem>);

impl Problems {
    /// The problems, in the order in which they are displayed.
    #[must_use]
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
