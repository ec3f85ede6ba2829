//! Merges the layers of the settings, from the embedded defaults to the flags.
//!
//! Unknown keys are removed from each layer before it is merged: so they are reported from every layer, even where a
//! later layer would have hidden them, and a mistake in one layer cannot remove a whole section of the layers below.

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

use super::{Sources, problem::ConfigProblem, units::mask, value::describe};

/// The embedded defaults. Their keys are all the keys there are.
pub(super) const DEFAULTS: &str = include_str!("../../config/gateway.toml");

const PREFIX: &str = "GATEWAY_";

/// The largest edit distance at which an unknown key is taken for a misspelt known one.
const MAX_TYPOS: usize = 3;

/// The merged layers.
pub(super) struct Merged {
    pub(super) figment: Figment,
    /// Problems of whole sources and of keys. `reader` checks the values later.
    pub(super) problems: Vec<ConfigProblem>,
}

/// Whether an environment variable of this name is a setting. Names without `__` are not: Kubernetes
/// sets `GATEWAY_PORT` for a service called `gateway`.
pub(super) fn names_a_setting(variable: &str) -> bool {
    variable
        .strip_prefix(PREFIX)
        .is_some_and(|path| path.contains("__"))
}

/// Whether an environment variable of this name is a setting, or may be meant to be one.
pub(super) fn resembles_a_setting(variable: &str) -> bool {
    let prefix = variable.get(..PREFIX.len());
    prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(PREFIX))
}

/// The name of the environment variable that sets this key.
fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// Reads every layer and merges it over those before it.
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
    // Whole sources first, then unknown keys by name, in any layer.
    merging.problems.sort();
    Merged {
        figment: merging.figment,
        problems: merging.problems,
    }
}

/// The settings of one source. Problems name the source by its origin.
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

/// Whether a key of the defaults is a section or a setting.
#[derive(Clone, Copy, PartialEq)]
enum KeyKind {
    Section,
    Setting,
}

struct Merging {
    known: BTreeMap<String, KeyKind>,
    figment: Figment,
    problems: Vec<ConfigProblem>,
}

impl Merging {
    fn defaults(&mut self) {
        let origin = "the embedded defaults";
        if let Some(values) = self.parse(DEFAULTS, origin) {
            collect_keys(&values, "", &mut self.known);
            self.push_layer(origin.to_owned(), values);
        }
    }

    /// A file is read at exactly the path given; no parent folder is searched.
    fn file(&mut self, path: &Path) {
        // A value that was given as a file by mistake may hold a password.
        let origin = format!("file {}", quote(&mask(&path.display().to_string())));
        match fs::read_to_string(path) {
            Ok(text) => {
                if let Some(values) = self.parse(&text, &origin) {
                    let values = self.keep_known(values, "", &origin);
                    self.push_layer(origin, values);
                }
            }
            Err(error) => self.problems.push(ConfigProblem::Source {
                origin,
                reason: format!("cannot be read: {error}"),
            }),
        }
    }

    fn environment(&mut self, variables: &[(String, String)]) {
        for (name, _) in variables {
            self.near_miss(name);
        }
        let variables: BTreeMap<_, _> = variables
            .iter()
            .filter(|(name, _)| names_a_setting(name))
            .map(|(name, value)| (name.as_str(), value))
            .collect();
        let mut keys = BTreeSet::new();
        for (name, value) in variables {
            let key = name[PREFIX.len()..].to_lowercase().replace("__", ".");
            let origin = format!("environment variable {}", quote(name));
            // Case does not matter after the prefix: neither GATEWAY_LOG__FORMAT nor GATEWAY_log__format has
            // precedence.
            if keys.insert(key.clone()) {
                self.single(&key, value, origin);
            } else {
                self.problems.push(ConfigProblem::Source {
                    origin,
                    reason: format!("another variable sets {key} too"),
                });
            }
        }
    }

    /// Reports a variable that sets nothing and is spelt nearly as one that does: with other underscores, or a prefix
    /// in small letters, or one wrong letter. Others are those of somebody else.
    fn near_miss(&mut self, name: &str) {
        if names_a_setting(name) || !resembles_a_setting(name) {
            return;
        }
        let letters = |text: &str| text.to_lowercase().replace(['_', '.'], "");
        let written = letters(&name[PREFIX.len()..]);
        let nearest = self
            .known
            .iter()
            .filter(|(_, kind)| **kind == KeyKind::Setting)
            .map(|(key, _)| (strsim::damerau_levenshtein(&written, &letters(key)), key))
            .min()
            .filter(|(typos, _)| *typos <= 1);
        if let Some((_, key)) = nearest {
            self.problems.push(ConfigProblem::Source {
                origin: format!("environment variable {}", quote(name)),
                reason: format!("sets nothing; did you mean {}?", variable_of(key)),
            });
        }
    }

    fn flag(&mut self, text: &str) {
        match text.split_once('=') {
            Some((key, value)) => {
                let key = key.trim();
                // A URL that was given without its key may have a "=", too.
                self.single(key, value, format!("--set {}", quote(&mask(key))));
            }
            // The text is not shown: it may be a secret value.
            None => self.problems.push(ConfigProblem::Source {
                origin: "--set".to_owned(),
                reason: "a flag without \"=\"; allowed: --set KEY=VALUE".to_owned(),
            }),
        }
    }

    /// Merges a layer of one value. The value stays text, so that a password of digits keeps its leading zeros.
    fn single(&mut self, key: &str, value: &str, origin: String) {
        match self.known.get(key) {
            Some(KeyKind::Setting) => {
                if let Value::Dict(_, values) = nest(key, value.into()) {
                    self.push_layer(origin, values);
                }
            }
            Some(KeyKind::Section) => self.not_a_section(key, &value.into(), &origin),
            None => self.unknown(&quote(&mask(key)), &origin),
        }
    }

    fn push_layer(&mut self, origin: String, values: Dict) {
        let below = std::mem::take(&mut self.figment);
        self.figment = below.merge(Layer { origin, values });
    }

    fn parse(&mut self, text: &str, origin: &str) -> Option<Dict> {
        match <Toml as Format>::from_str(text) {
            Ok(values) => Some(values),
            Err(error) => {
                // Only the message and the position: the whole error would show the line with its secrets.
                let place = error.span().map_or_else(String::new, |span| {
                    let before = text.get(..span.start).unwrap_or(text);
                    let line = before.matches('\n').count() + 1;
                    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
                    format!(" at line {line}, column {column}")
                });
                let message = error.message().trim().replace('\n', ", ");
                self.problems.push(ConfigProblem::Source {
                    origin: origin.to_owned(),
                    reason: format!("not valid TOML{place}: {message}"),
                });
                None
            }
        }
    }

    /// The known keys of `values`. The others become problems.
    fn keep_known(&mut self, values: Dict, section: &str, origin: &str) -> Dict {
        let mut kept = Dict::new();
        for (name, value) in values {
            let key = join(section, &name);
            match (self.known.get(&key), value) {
                (Some(KeyKind::Setting), value) => {
                    kept.insert(name, value);
                }
                (Some(KeyKind::Section), Value::Dict(tag, inner)) => {
                    let inner = self.keep_known(inner, &key, origin);
                    kept.insert(name, Value::Dict(tag, inner));
                }
                (Some(KeyKind::Section), value) => self.not_a_section(&key, &value, origin),
                // Each key is reported, because that is more helpful than the name of their section.
                (None, Value::Dict(_, inner)) if !inner.is_empty() => {
                    self.keep_known(inner, &key, origin);
                }
                (None, _) => self.unknown(&key, origin),
            }
        }
        kept
    }

    fn not_a_section(&mut self, key: &str, value: &Value, origin: &str) {
        self.problems.push(ConfigProblem::Value {
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
            .filter(|(_, kind)| **kind == KeyKind::Setting)
            .map(|(known, _)| (strsim::damerau_levenshtein(key, known), known))
            .min()
            .filter(|(typos, _)| *typos <= MAX_TYPOS);
        let hint = nearest.map_or_else(
            || "docs/configuration.md lists the keys".to_owned(),
            |(_, known)| format!("did you mean {known}?"),
        );
        self.problems.push(ConfigProblem::UnknownKey {
            key: key.to_owned(),
            origin: origin.to_owned(),
            hint,
        });
    }
}

fn collect_keys(values: &Dict, section: &str, known: &mut BTreeMap<String, KeyKind>) {
    for (name, value) in values {
        let key = join(section, name);
        if let Value::Dict(_, inner) = value {
            collect_keys(inner, &key, known);
            known.insert(key, KeyKind::Section);
        } else {
            known.insert(key, KeyKind::Setting);
        }
    }
}

/// The path of a name in a section. A name that contains a dot is quoted as in TOML: `"http.listen"`
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

/// The name of a key or a section on one line, quoted if it is empty or holds white space or control characters.
fn quote(name: &str) -> String {
    if name.is_empty() || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        format!("{name:?}")
    } else {
        name.to_owned()
    }
}
