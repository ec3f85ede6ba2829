//! Turns merged values into checked ones, one call a setting, and collects what is wrong.

use std::{fmt::Display, net::SocketAddr, ops::RangeInclusive, time::Duration};

use figment::{
    Figment,
    value::{Dict, Value},
};

use super::{
    Problem,
    layers::Merged,
    units::{format_duration, format_size, mask, parse_duration, parse_size},
};

/// Reads settings by key. A setting that is not allowed becomes a problem, and the caller gets some
/// value of the right type to go on with: it is never used, because then there are no settings.
pub(super) struct Reader<'a> {
    figment: &'a Figment,
    /// A source that could not be read may hold what is missing from a combination of settings.
    sources_read: bool,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(merged: &'a Merged) -> Self {
        Self {
            figment: &merged.figment,
            sources_read: !merged
                .problems
                .iter()
                .any(|problem| matches!(problem, Problem::Source { .. })),
            problems: Vec::new(),
        }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
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

    /// One of `choices`, by the name beside it.
    pub(super) fn choice<T: Copy + Default>(&mut self, key: &str, choices: &[(&str, T)]) -> T {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        self.parsed(key, names.join(" or "), T::default(), |text| {
            let (_, choice) = choices.iter().find(|(name, _)| *name == text)?;
            Some(*choice)
        })
    }

    /// One or more values that can be made of text by `parse`. In the environment and in flags, which are
    /// text, a list is written as in a file.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        allowed: impl Display,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let items = match self.figment.find_value(key) {
            Ok(Value::Array(_, items)) => items,
            Ok(Value::String(_, text)) => serde_json::from_str::<Vec<String>>(&text)
                .map(|items| items.into_iter().map(Value::from).collect())
                .unwrap_or_default(),
            _ => Vec::new(),
        };
        if items.is_empty() {
            self.refuse(key, &allowed);
        }
        let mut parsed = Vec::new();
        for item in &items {
            match item.as_str().and_then(&parse) {
                Some(value) => parsed.push(value),
                None => self.refuse_found(key, describe(item), &allowed),
            }
        }
        parsed
    }

    /// Whether something is on.
    pub(super) fn switch(&mut self, key: &str) -> bool {
        self.choice(key, &[("true", true), ("false", false)])
    }

    /// Tables, none or more, each of which `parse` can make something of. In the environment and in flags, which are
    /// text, they are written in JSON.
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
            // It may hold secrets.
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

    /// Any value that can be made of text by `parse`; a number or a truth value is taken for its text.
    /// Control characters and bytes that were not UTF-8 are in no setting.
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

    /// Refuses `key` unless it `holds` together with `others`. Nothing is said if one of them is
    /// wrong by itself, or if a source is missing: that has to be put right first.
    pub(super) fn together(
        &mut self,
        key: &str,
        others: &[&str],
        holds: bool,
        allowed: impl Display,
    ) {
        let reported = |problem: &Problem| match problem {
            Problem::Value { key: bad, .. } => bad == key || others.contains(&bad.as_str()),
            _ => false,
        };
        if !holds && self.sources_read && !self.problems.iter().any(reported) {
            self.refuse(key, allowed);
        }
    }

    fn refuse(&mut self, key: &str, allowed: impl Display) {
        let value = self.figment.find_value(key).ok();
        let found = value.map_or_else(|| "nothing".to_owned(), |value| describe(&value));
        self.refuse_found(key, found, allowed);
    }

    fn refuse_found(&mut self, key: &str, found: String, allowed: impl Display) {
        let value = self.figment.find_value(key).ok();
        let origin = value.and_then(|value| self.figment.get_metadata(value.tag()));
        self.problems.push(Problem::Value {
            key: key.to_owned(),
            origin: origin.map_or_else(|| "any source".to_owned(), |from| from.name.to_string()),
            found,
            allowed: allowed.to_string(),
        });
    }
}

/// The value as text, if it is a single one.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Char(_, character) => Some(character.to_string()),
        Value::Bool(_, truth) => Some(truth.to_string()),
        Value::Num(_, number) => number
            .to_u128()
            .map(|number| number.to_string())
            .or_else(|| number.to_i128().map(|number| number.to_string()))
            // Debug keeps the dot of 3.0: that is not a whole number.
            .or_else(|| number.to_f64().map(|number| format!("{number:?}"))),
        Value::Empty(..) | Value::Dict(..) | Value::Array(..) => None,
    }
}

/// The value as a problem shows it: text quoted and on one line, secrets masked.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{:?}", mask(text)),
        Value::Empty(..) => "nothing".to_owned(),
        Value::Dict(..) => "a table or a date".to_owned(),
        Value::Array(_, items) if items.is_empty() => "an empty list".to_owned(),
        Value::Array(..) => "a list".to_owned(),
        value => scalar(value).unwrap_or_default(),
    }
}
