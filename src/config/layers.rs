//! The layers of the settings, from the embedded defaults to the flags, laid over one another.
//!
//! Each layer is cleaned of what is no setting before it is merged: an unknown key is then reported
//! from every layer, also where a later one would have hidden it, and a mistake in one layer cannot
//! wipe a whole section of the layers below.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use figment::{
    Error, Figment, Metadata, Profile, Provider,
    providers::{Format, Toml},
    util::nest,
    value::{Dict, Map, Value},
};

use super::{Problem, Sources, reader::describe};

/// The documented defaults; its keys are the keys there are.
pub(super) const DEFAULTS: &str = include_str!("../../config/gateway.toml");

const PREFIX: &str = "GATEWAY_";

/// How many typing mistakes are still taken for an attempt at a known key.
const MAX_TYPOS: usize = 3;

/// All layers as one.
pub(super) struct Merged {
    pub(super) figment: Figment,
    /// What is wrong with the layers themselves; the values are not looked at here.
    pub(super) problems: Vec<Problem>,
}

/// Whether a variable of this name is meant for us. Without `__` it is somebody else's: Kubernetes
/// sets `GATEWAY_PORT` for a service called `gateway`.
pub(super) fn names_a_setting(variable: &str) -> bool {
    variable
        .strip_prefix(PREFIX)
        .is_some_and(|path| path.contains("__"))
}

/// Reads every layer and lays it over those before it.
pub(super) fn merge(sources: &Sources) -> Merged {
    let mut merging = Merging {
        known: BTreeMap::new(),
        figment: Figment::new(),
        problems: Vec::new(),
    };
    merging.defaults();
    for file in &sources.files {
        merging.file(file);
    }
    merging.environment(&sources.environment);
    for text in &sources.overrides {
        merging.flag(text);
    }
    // Whole sources first, then unknown keys by name, whichever layer they are in.
    merging.problems.sort();
    Merged {
        figment: merging.figment,
        problems: merging.problems,
    }
}

/// One source of settings. The origin is what problems name it by.
struct Layer {
    origin: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// What a key of the defaults is.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Section,
    Setting,
}

struct Merging {
    known: BTreeMap<String, Kind>,
    figment: Figment,
    problems: Vec<Problem>,
}

impl Merging {
    fn defaults(&mut self) {
        let origin = "the embedded defaults";
        if let Some(values) = self.parse(DEFAULTS, origin) {
            list_keys(&values, "", &mut self.known);
            self.lay(origin.to_owned(), values);
        }
    }

    /// A file is read at exactly the path given; no parent folder is searched.
    fn file(&mut self, path: &Path) {
        let origin = format!("file {}", quote(&path.display().to_string()));
        match fs::read_to_string(path) {
            Ok(text) => {
                if let Some(values) = self.parse(&text, &origin) {
                    let values = self.keep_known(values, "", &origin);
                    self.lay(origin, values);
                }
            }
            Err(error) => self.problems.push(Problem::Source {
                origin,
                reason: format!("cannot be read: {error}"),
            }),
        }
    }

    fn environment(&mut self, variables: &[(String, String)]) {
        let variables: BTreeMap<_, _> = variables
            .iter()
            .filter(|(name, _)| names_a_setting(name))
            .map(|(name, value)| (name.as_str(), value))
            .collect();
        let mut keys = BTreeSet::new();
        for (name, value) in variables {
            let key = name[PREFIX.len()..].to_lowercase().replace("__", ".");
            let origin = format!("environment variable {}", quote(name));
            // Which of GATEWAY_LOG__FORMAT and GATEWAY_log__format should win, nobody can know.
            if keys.insert(key.clone()) {
                self.single(&key, value, origin);
            } else {
                self.problems.push(Problem::Source {
                    origin,
                    reason: format!("another variable sets {key} too"),
                });
            }
        }
    }

    fn flag(&mut self, text: &str) {
        match text.split_once('=') {
            Some((key, value)) => {
                let key = key.trim();
                self.single(key, value, format!("--set {}", quote(key)));
            }
            // The text is not repeated: it may be the value.
            None => self.problems.push(Problem::Source {
                origin: "--set".to_owned(),
                reason: "a flag without \"=\"; allowed: --set KEY=VALUE".to_owned(),
            }),
        }
    }

    /// A layer of one value. It stays text, so that a password of digits keeps its leading zeros.
    fn single(&mut self, key: &str, value: &str, origin: String) {
        match self.known.get(key) {
            Some(Kind::Setting) => {
                if let Value::Dict(_, values) = nest(key, value.into()) {
                    self.lay(origin, values);
                }
            }
            Some(Kind::Section) => self.not_a_section(key, &value.into(), &origin),
            None => self.unknown(&quote(key), &origin),
        }
    }

    fn lay(&mut self, origin: String, values: Dict) {
        let below = std::mem::take(&mut self.figment);
        self.figment = below.merge(Layer { origin, values });
    }

    fn parse(&mut self, text: &str, origin: &str) -> Option<Dict> {
        match <Toml as Format>::from_str(text) {
            Ok(values) => Some(values),
            Err(error) => {
                // Only the message and the place: the whole error shows the line, secrets and all.
                let place = error.span().map_or_else(String::new, |span| {
                    let before = text.get(..span.start).unwrap_or(text);
                    let line = before.matches('\n').count() + 1;
                    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
                    format!(" at line {line}, column {column}")
                });
                let message = error.message().trim().replace('\n', ", ");
                self.problems.push(Problem::Source {
                    origin: origin.to_owned(),
                    reason: format!("not valid TOML{place}: {message}"),
                });
                None
            }
        }
    }

    /// What of `values` is known; the rest becomes problems.
    fn keep_known(&mut self, values: Dict, section: &str, origin: &str) -> Dict {
        let mut kept = Dict::new();
        for (name, value) in values {
            let key = join(section, &name);
            match (self.known.get(&key), value) {
                (Some(Kind::Setting), value) => {
                    kept.insert(name, value);
                }
                (Some(Kind::Section), Value::Dict(tag, inner)) => {
                    let inner = self.keep_known(inner, &key, origin);
                    kept.insert(name, Value::Dict(tag, inner));
                }
                (Some(Kind::Section), value) => self.not_a_section(&key, &value, origin),
                // Naming each key tells more than the name of their section.
                (None, Value::Dict(_, inner)) if !inner.is_empty() => {
                    self.keep_known(inner, &key, origin);
                }
                (None, _) => self.unknown(&key, origin),
            }
        }
        kept
    }

    fn not_a_section(&mut self, key: &str, value: &Value, origin: &str) {
        self.problems.push(Problem::Value {
            key: key.to_owned(),
            origin: origin.to_owned(),
            found: describe(value),
            allowed: "a section with keys of its own".to_owned(),
        });
    }

    fn unknown(&mut self, key: &str, origin: &str) {
        let nearest = self
            .known
            .iter()
            .filter(|(_, kind)| **kind == Kind::Setting)
            .map(|(known, _)| (strsim::damerau_levenshtein(key, known), known))
            .min()
            .filter(|(typos, _)| *typos <= MAX_TYPOS);
        let hint = nearest.map_or_else(
            || "docs/configuration.md lists the keys".to_owned(),
            |(_, known)| format!("did you mean {known}?"),
        );
        self.problems.push(Problem::UnknownKey {
            key: key.to_owned(),
            origin: origin.to_owned(),
            hint,
        });
    }
}

fn list_keys(values: &Dict, section: &str, known: &mut BTreeMap<String, Kind>) {
    for (name, value) in values {
        let key = join(section, name);
        if let Value::Dict(_, inner) = value {
            list_keys(inner, &key, known);
            known.insert(key, Kind::Section);
        } else {
            known.insert(key, Kind::Setting);
        }
    }
}

/// The path of a name in a section. A name with a dot in it is quoted, as TOML has it: `"http.listen"`
/// at the top of a file is not `listen` in `[http]`.
fn join(section: &str, name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name = if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        format!("{name:?}")
    };
    if section.is_empty() {
        name
    } else {
        format!("{section}.{name}")
    }
}

/// A name as someone wrote it, on one line whatever they wrote.
fn quote(name: &str) -> String {
    if name.is_empty() || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        format!("{name:?}")
    } else {
        name.to_owned()
    }
}
