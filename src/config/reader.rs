//! Reads settings from the merged layers: each call checks one value and collects its problem.

use std::{fmt::Display, net::SocketAddr, ops::RangeInclusive, time::Duration};

use figment::{
    Figment,
    value::{Dict, Value},
};

use super::{
    layers::Merged,
    problem::ConfigProblem,
    units::{format_duration, format_size, parse_duration, parse_size},
    value::{describe, scalar},
};

/// Reads settings by key. An invalid value becomes a problem and the caller gets a placeholder of the right type, which
/// is never used: with problems there are no settings.
pub(super) struct SettingsReader<'a> {
    figment: &'a Figment,
    /// Whether every source could be read. If one could not, rules between settings are not checked: the source may
    /// have changed the values that break them.
    sources_read: bool,
    problems: Vec<ConfigProblem>,
}

impl<'a> SettingsReader<'a> {
    pub(super) fn new(merged: &'a Merged) -> Self {
        Self {
            figment: &merged.figment,
            sources_read: !merged
                .problems
                .iter()
                .any(|problem| matches!(problem, ConfigProblem::Source { .. })),
            problems: Vec::new(),
        }
    }

    pub(super) fn into_problems(self) -> Vec<ConfigProblem> {
        self.problems
    }

    /// A duration within `range`.
    pub(super) fn duration(&mut self, key: &str, range: RangeInclusive<Duration>) -> Duration {
        let allowed = format!(
            "a duration from {} to {}",
            format_duration(*range.start()),
            format_duration(*range.end())
        );
        self.parsed(key, allowed, *range.start(), |text| {
            parse_duration(text).filter(|duration| range.contains(duration))
        })
    }

    /// A whole number within `range`.
    pub(super) fn count(&mut self, key: &str, range: RangeInclusive<u64>) -> usize {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        self.parsed(key, allowed, 0, |text| {
            let count = text.parse().ok().filter(|count| range.contains(count))?;
            usize::try_from(count).ok()
        })
    }

    /// A number of bytes within `range`.
    pub(super) fn bytes(&mut self, key: &str, range: RangeInclusive<u64>) -> usize {
        let allowed = format!(
            "a size from {} to {}",
            format_size(*range.start()),
            format_size(*range.end())
        );
        self.parsed(key, allowed, 0, |text| {
            let bytes = parse_size(text).filter(|bytes| range.contains(bytes))?;
            usize::try_from(bytes).ok()
        })
    }

    /// An IP address and a port. Names are refused: what they resolve to may be several addresses.
    pub(super) fn socket_address(&mut self, key: &str) -> SocketAddr {
        self.parsed(
            key,
            "an IP address and a port, such as 127.0.0.1:3000",
            SocketAddr::from(([0, 0, 0, 0], 0)),
            |text| text.parse().ok(),
        )
    }

    /// Like [`Self::socket_address`], or empty for none.
    pub(super) fn socket_address_or_none(&mut self, key: &str) -> Option<SocketAddr> {
        self.parsed(
            key,
            "\"\" for no such port, or an IP address and a port, such as 0.0.0.0:4443",
            None,
            |text| {
                if text.is_empty() {
                    Some(None)
                } else {
                    text.parse().ok().map(Some)
                }
            },
        )
    }

    /// The path of a file, which is not looked at here; empty for none.
    pub(super) fn file(&mut self, key: &str) -> String {
        self.parsed(key, "\"\", or the path of a file", String::new(), |text| {
            Some(text.to_owned())
        })
    }

    /// One of `choices`, by the name beside it.
    pub(super) fn choice<T: Copy + Default>(&mut self, key: &str, choices: &[(&str, T)]) -> T {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let allowed = match names.split_last() {
            Some((last, others)) if !others.is_empty() => {
                format!("{} or {last}", others.join(", "))
            }
            _ => names.concat(),
        };
        self.parsed(key, allowed, T::default(), |text| {
            let (_, choice) = choices.iter().find(|(name, _)| *name == text)?;
            Some(*choice)
        })
    }

    /// A list of at least one value, each parsed from text. In the environment and in flags a list is written as in a
    /// file.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        allowed: impl Display,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let parsed = self.list_or_none(key, &allowed, parse);
        if parsed.is_empty() && !self.is_refused(key) {
            self.refuse(key, allowed);
        }
        parsed
    }

    /// Like [`Self::list`], for a list that may be empty.
    pub(super) fn list_or_none<T>(
        &mut self,
        key: &str,
        allowed: impl Display,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let items = match self.figment.find_value(key) {
            Ok(Value::Array(_, items)) => Some(items),
            Ok(Value::String(_, text)) => serde_json::from_str::<Vec<String>>(&text)
                .ok()
                .map(|items| items.into_iter().map(Value::from).collect()),
            _ => None,
        };
        let Some(items) = items else {
            self.refuse(key, &allowed);
            return Vec::new();
        };
        let mut parsed = Vec::new();
        for item in &items {
            match item.as_str().and_then(&parse) {
                Some(value) => parsed.push(value),
                None => self.refuse_found(key, describe(item), &allowed),
            }
        }
        parsed
    }

    /// `true` or `false`.
    pub(super) fn switch(&mut self, key: &str) -> bool {
        self.choice(key, &[("true", true), ("false", false)])
    }

    /// A list of tables, which may be empty. In the environment and in flags it is written in JSON.
    pub(super) fn tables<T>(
        &mut self,
        key: &str,
        allowed: impl Display,
        parse: impl Fn(&Dict) -> Option<T>,
    ) -> Vec<T> {
        let items = match self.figment.find_value(key) {
            Ok(Value::Array(_, items)) => Some(items),
            Ok(Value::String(_, text)) => serde_json::from_str::<Vec<Dict>>(&text)
                .ok()
                .map(|tables| tables.into_iter().map(Value::from).collect()),
            _ => None,
        };
        let Some(items) = items else {
            // The value is not shown: it may hold secrets.
            self.refuse_found(key, "no list of tables".to_owned(), &allowed);
            return Vec::new();
        };
        let mut parsed = Vec::new();
        for (index, item) in items.iter().enumerate() {
            if let Some(value) = item.as_dict().and_then(&parse) {
                parsed.push(value);
            } else {
                let found = format!("something else as number {}", index + 1);
                self.refuse_found(key, found, &allowed);
            }
        }
        parsed
    }

    /// Any value that `parse` accepts; a number or a boolean is parsed as its text. Control characters and bytes that
    /// were not UTF-8 are allowed in no setting.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        allowed: impl Display,
        fallback: T,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> T {
        let parsed = self.figment.find_value(key).ok().and_then(|value| {
            let text = scalar(&value)?;
            let clean = !text.contains(|c: char| c.is_control() || c == '\u{fffd}');
            clean.then_some(text).as_deref().and_then(parse)
        });
        parsed.unwrap_or_else(|| {
            self.refuse(key, allowed);
            fallback
        })
    }

    /// Checks a rule between settings: refuses `key` unless the rule `holds`. Reports nothing if `key` or one of
    /// `others` is invalid by itself, or if a source could not be read: that has to be corrected first.
    pub(super) fn together(
        &mut self,
        key: &str,
        others: &[&str],
        holds: bool,
        allowed: impl Display,
    ) {
        let is_reported = self.is_refused(key) || others.iter().any(|other| self.is_refused(other));
        if !holds && self.sources_read && !is_reported {
            self.refuse(key, allowed);
        }
    }

    /// Checks that two paths of files are both given, or neither is.
    pub(super) fn together_or_none(
        &mut self,
        (one, one_file): (&str, &str),
        (other, other_file): (&str, &str),
    ) {
        for (key, file, given, given_file) in [
            (one, one_file, other, other_file),
            (other, other_file, one, one_file),
        ] {
            self.together(
                key,
                &[given],
                !file.is_empty() || given_file.is_empty(),
                format!("the path of a file as long as {given} is set"),
            );
        }
    }

    /// Whether a value of this key was refused.
    fn is_refused(&self, key: &str) -> bool {
        let is_about = |problem: &ConfigProblem| match problem {
            ConfigProblem::Value { key: bad, .. } => bad == key,
            _ => false,
        };
        self.problems.iter().any(is_about)
    }

    fn refuse(&mut self, key: &str, allowed: impl Display) {
        let value = self.figment.find_value(key).ok();
        let found = value.map_or_else(|| "nothing".to_owned(), |value| describe(&value));
        self.refuse_found(key, found, allowed);
    }

    fn refuse_found(&mut self, key: &str, found: String, allowed: impl Display) {
        let value = self.figment.find_value(key).ok();
        let origin = value.and_then(|value| self.figment.get_metadata(value.tag()));
        self.problems.push(ConfigProblem::Value {
            key: key.to_owned(),
            origin: origin.map_or_else(|| "any source".to_owned(), |from| from.name.to_string()),
            found,
            allowed: allowed.to_string(),
        });
    }
}
