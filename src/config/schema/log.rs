//! `[log]`: log records.

use serde::Serialize;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use crate::config::reader::SettingsReader;

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogSettings {
    /// The format of a record.
    pub format: LogFormat,
    /// The directives of the [`EnvFilter`] that selects records.
    pub filter: String,
}

/// The format of log records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text a record.
    #[default]
    Human,
    /// One JSON object on one line a record.
    Json,
}

impl LogSettings {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Self {
        let allowed = "LEVEL or TARGET=LEVEL, joined by commas";
        Self {
            format: reader.choice(
                "log.format",
                &[("human", LogFormat::Human), ("json", LogFormat::Json)],
            ),
            filter: reader.parsed("log.filter", allowed, String::new(), parse_filter),
        }
    }
}

/// Checks filter directives. A bare word must be a level: `EnvFilter` would take any other word for a
/// target, so that "inof" would silence the whole gateway.
fn parse_filter(text: &str) -> Option<String> {
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let bare_words_are_levels = text
        .split(',')
        .all(|directive| directive.contains(['=', '[']) || is_level(directive));
    (bare_words_are_levels && EnvFilter::try_new(text).is_ok()).then(|| text.to_owned())
}
