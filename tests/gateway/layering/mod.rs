//! The crate's architecture, read from the text of `src/`: which top-level module may import which, and no circles.
//!
//! A circle is a set of modules of one folder of which each leads to each other one. A sub-folder counts as one module
//! with all files in it, so there are neither circles between files nor between folders nor between top-level modules.
//! A file and those below it (`store/mod.rs` and `store/clock.rs`) may use each other: a folder's `mod.rs` is its
//! front, declares the parts and often has the type that all of them are about.
//!
//! Limits of the analysis, which knows text and no types:
//! - It sees `use` and the paths in code that begin with `crate`, `self`, `super`, a child module or an imported module. A name
//!   that a `mod.rs` passes on by `use` is followed to the file that defines it, unless it is passed on by a glob.
//! - Methods and fields of a value tie files only where the type is named.
//! - Paths within macros of this crate and within inline modules other than those of tests are read as if they stood outside.
//! - Unit tests are left out: `tests.rs`, `…_tests.rs`, folders named `tests`, and inline modules under `#[cfg(test)]`.

mod circles;
mod graph;
mod rules;
mod source;

use std::{collections::BTreeSet, fs, path::Path};

use circles::{Circle, circles};
use graph::Crate;
use rules::{KNOWN_CIRCLES, MAY_IMPORT};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

fn read_sources(folder: &Path, into: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.join("Cargo.toml").exists() {
            // A crate of its own.
            continue;
        }
        if path.is_dir() {
            read_sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(SOURCES).unwrap().display().to_string();
            into.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

fn this_crate() -> Crate {
    let mut sources = Vec::new();
    read_sources(Path::new(SOURCES), &mut sources);
    let sources = sources.iter().map(|(name, source)| (&**name, &**source));
    Crate::new("vehicle_gateway", sources)
}

/// What contradicts a table of allowed imports.
fn table_violations(sources: &Crate, table: &[(&str, &[&str])]) -> BTreeSet<String> {
    let mut violations = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for path in sources.modules() {
        // `lib.rs` declares all of them.
        let Some(module) = path.first() else {
            continue;
        };
        seen.insert(module.as_str());
        let Some((_, allowed)) = table.iter().find(|(name, _)| name == module) else {
            violations.insert(format!("{module} is not in the table"));
            continue;
        };
        for import in sources.top_level_imports(path) {
            if import != *module && !allowed.contains(&&*import) {
                violations.insert(format!("{} must not import {import}", path.join("::")));
            }
        }
    }
    let stale = table.iter().filter(|(module, _)| !seen.contains(module));
    violations.extend(stale.map(|(module, _)| format!("{module} is in the table only")));
    violations
}

/// Circles that are not known, and known ones that are gone.
fn unexpected_circles(sources: &Crate, known: &[(&str, &str)]) -> Vec<String> {
    let found = circles(&sources.dependencies());
    let is_known = |circle: &&Circle| known.iter().any(|(name, _)| *name == circle.name());
    let new = found.iter().filter(|circle| !is_known(circle));
    let mut unexpected: Vec<String> = new.map(Circle::explain).collect();
    for (name, _) in known {
        if found.iter().all(|circle| circle.name() != *name) {
            unexpected.push(format!("{name} is no more: remove it from KNOWN_CIRCLES"));
        }
    }
    unexpected
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let violations = table_violations(&this_crate(), MAY_IMPORT);
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn there_are_no_circles_between_files_or_modules() {
    let unexpected = unexpected_circles(&this_crate(), KNOWN_CIRCLES);
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
}

#[test]
fn imports_beside_the_table_and_stale_rows_are_violations() {
    let sources = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::{b::B, c::C};"),
        ("b.rs", ""),
        ("c.rs", ""),
    ];
    let table: [(&str, &[&str]); 3] = [("a", &["b"]), ("b", &[]), ("d", &[])];
    let violations = table_violations(&Crate::new("example", sources), &table);
    let expected = [
        "a must not import c",
        "c is not in the table",
        "d is in the table only",
    ];
    assert!(violations.iter().eq(expected), "{violations:#?}");
}

#[test]
fn a_circle_must_be_known_and_a_known_one_must_be_there() {
    let sources = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "use crate::a::A;"),
    ];
    let sources = Crate::new("example", sources);
    let new = "{a, b}\n    a uses B of b\n    b uses A of a";
    assert_eq!(unexpected_circles(&sources, &[]), [new]);
    assert_eq!(
        unexpected_circles(&sources, &[("{a, b}", "a reason")]),
        [""; 0]
    );
    let gone = unexpected_circles(
        &sources,
        &[("{a, b}", "a reason"), ("c::{d, e}", "another")],
    );
    assert_eq!(gone, ["c::{d, e} is no more: remove it from KNOWN_CIRCLES"]);
}
