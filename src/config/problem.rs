//! Problems of the settings, with what is needed to correct them.

use std::fmt;

/// One problem of the settings. Secrets in the shown values are masked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum ConfigProblem {
    /// A source that could not be read as a whole.
    #[error("{origin}: {reason}")]
    Source {
        /// The file, variable or flag.
        origin: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// A key that does not exist. Its value is not shown: it may belong to a misspelt secret.
    #[error("{key}: no such key, found in {origin}; {hint}")]
    UnknownKey {
        /// The key as it was written.
        key: String,
        /// The file, variable or flag.
        origin: String,
        /// The most similar key, or the page that lists the keys.
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
        /// The allowed values, in words.
        allowed: String,
    },
}

/// All problems of the settings; never empty. Displayed as one line for each problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblems(pub(super) Vec<ConfigProblem>);

impl ConfigProblems {
    /// The problems, in the order in which they are displayed.
    #[must_use]
    pub fn as_slice(&self) -> &[ConfigProblem] {
        &self.0
    }
}

impl fmt::Display for ConfigProblems {
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

impl std::error::Error for ConfigProblems {}
