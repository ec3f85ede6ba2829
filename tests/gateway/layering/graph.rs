//! Which file uses which names of which other file.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{WrittenPath, code_only, declarations, paths_in_code};

/// The names of modules from the crate's root; empty for `lib.rs`.
pub(super) type ModulePath = Vec<String>;

/// How often a name may be passed on by `use` before the search gives up.
const MOST_REEXPORTS: usize = 10;

/// One file uses a name of another, and neither is an ancestor of the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Dependency {
    pub(super) from: ModulePath,
    pub(super) to: ModulePath,
    /// `itself` where the module is used by its own name.
    pub(super) name: String,
}

struct SourceFile {
    code: String,
    uses: Vec<WrittenPath>,
    child_modules: BTreeSet<String>,
}

/// All files of a crate, without those of unit tests.
pub(super) struct Crate {
    files: BTreeMap<ModulePath, SourceFile>,
    /// What the binary calls the library.
    name: &'static str,
}

/// What a path leads to: a module's file and the item in it, if it does not name the module itself.
struct Target {
    module: ModulePath,
    item: Option<String>,
}

impl Crate {
    /// Of files by their paths below `src`.
    pub(super) fn new<'a>(
        name: &'static str,
        sources: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let files = sources
            .into_iter()
            .filter(|(file, _)| !is_test_file(file))
            .map(|(file, source)| {
                let code = code_only(source);
                let (uses, child_modules) = declarations(&code);
                let file_content = SourceFile {
                    code,
                    uses,
                    child_modules,
                };
                (module_path(file), file_content)
            })
            .collect();
        Self { files, name }
    }

    pub(super) fn modules(&self) -> impl Iterator<Item = &ModulePath> {
        self.files.keys()
    }

    /// The top-level modules that a file names, whatever they pass on from others.
    pub(super) fn top_level_imports(&self, module: &ModulePath) -> BTreeSet<String> {
        let file = &self.files[module];
        let names = self
            .written_paths(module, file)
            .into_iter()
            .filter_map(|path| {
                let (base, rest) = self.start(module, &path.segments)?;
                let path = [base.as_slice(), rest].concat();
                path.into_iter().next()
            });
        let is_module = |name: &String| self.files.contains_key(std::slice::from_ref(name));
        names.filter(is_module).collect()
    }

    /// Every use of a name between two files of which neither is an ancestor of the other.
    pub(super) fn dependencies(&self) -> BTreeSet<Dependency> {
        let mut found = BTreeSet::new();
        for (from, file) in &self.files {
            for path in self.written_paths(from, file) {
                let Some(target) = self.resolve(from, &path.segments, MOST_REEXPORTS) else {
                    continue;
                };
                let to = target.module;
                if from.starts_with(&to) || to.starts_with(from) {
                    continue;
                }
                let name = target.item.unwrap_or_else(|| "itself".to_owned());
                found.insert(Dependency {
                    from: from.clone(),
                    to,
                    name,
                });
            }
        }
        found
    }

    fn written_paths(&self, module: &ModulePath, file: &SourceFile) -> Vec<WrittenPath> {
        let mut heads: BTreeSet<String> = ["crate", "super", "self", self.name]
            .map(str::to_owned)
            .into();
        heads.extend(file.child_modules.iter().cloned());
        let is_module = |path: &&WrittenPath| {
            let target = self.resolve(module, &path.segments, MOST_REEXPORTS);
            target.is_some_and(|target| target.item.is_none())
        };
        let used_modules = file.uses.iter().filter(is_module);
        heads.extend(used_modules.filter_map(|path| path.local_name.clone()));
        let mut paths = paths_in_code(&file.code, &heads);
        paths.extend(file.uses.iter().cloned());
        paths
    }

    /// The module at which a path begins, and the segments behind it; none for a path into another crate.
    fn start<'a>(
        &self,
        from: &ModulePath,
        segments: &'a [String],
    ) -> Option<(ModulePath, &'a [String])> {
        let (head, mut rest) = segments.split_first()?;
        let mut base = match head.as_str() {
            "crate" => ModulePath::new(),
            name if name == self.name => ModulePath::new(),
            "self" => from.clone(),
            "super" => parent(from)?,
            name if self.files[from].child_modules.contains(name) => {
                [from.as_slice(), std::slice::from_ref(head)].concat()
            }
            name => {
                let file = &self.files[from];
                let import = file.uses.iter().find(|path| {
                    path.local_name.as_deref() == Some(name) && path.segments[0] != name
                })?;
                let target = self.resolve(from, &import.segments, MOST_REEXPORTS)?;
                if target.item.is_some() {
                    return None;
                }
                target.module
            }
        };
        while let Some((segment, behind)) = rest.split_first()
            && segment == "super"
        {
            base = parent(&base)?;
            rest = behind;
        }
        Some((base, rest))
    }

    fn resolve(
        &self,
        from: &ModulePath,
        segments: &[String],
        most_reexports: usize,
    ) -> Option<Target> {
        let (mut module, mut rest) = self.start(from, segments)?;
        while let Some((segment, behind)) = rest.split_first() {
            let child = [module.as_slice(), std::slice::from_ref(segment)].concat();
            if !self.files.contains_key(&child) {
                break;
            }
            (module, rest) = (child, behind);
        }
        let file = self.files.get(&module)?;
        let Some(item) = rest.first() else {
            return Some(Target { module, item: None });
        };
        let reexport = file
            .uses
            .iter()
            .find(|path| path.local_name.as_ref() == Some(item));
        if let Some(reexport) = reexport
            && most_reexports > 0
            && module != *from
        {
            let path = [&reexport.segments, &rest[1..]].concat();
            let target = self.resolve(&module, &path, most_reexports - 1);
            if target.is_some() {
                return target;
            }
        }
        Some(Target {
            module,
            item: Some(item.clone()),
        })
    }
}

/// Unit tests put the parts together as they need them.
fn is_test_file(file: &str) -> bool {
    file.ends_with("tests.rs") || file.contains("tests/")
}

/// `main.rs` counts as a module of that name.
fn module_path(file: &str) -> ModulePath {
    let mut path: ModulePath = file
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if path
        .last()
        .is_some_and(|last| last == "mod" || last == "lib")
    {
        path.pop();
    }
    path
}

fn parent(module: &ModulePath) -> Option<ModulePath> {
    let (_, parent) = module.split_last()?;
    Some(parent.to_vec())
}

mod tests {
    use super::*;

    #[track_caller]
    fn expect_dependencies(sources: &[(&'static str, &'static str)], expected: &[&str]) {
        let found = Crate::new("the_crate", sources.iter().copied()).dependencies();
        let as_text =
            |it: &Dependency| format!("{} -> {} {}", it.from.join("::"), it.to.join("::"), it.name);
        assert_eq!(found.iter().map(as_text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn crate_self_and_super_lead_to_files() {
        expect_dependencies(
            &[
                ("lib.rs", "mod a; mod b;"),
                ("a/mod.rs", "mod c; mod d;"),
                (
                    "a/c.rs",
                    "use super::d::D; use crate::b::B; use super::super::b::Other;",
                ),
                ("a/d.rs", ""),
                ("b.rs", "fn f(_: crate::a::c::C) {}"),
            ],
            &[
                "a::c -> a::d D",
                "a::c -> b B",
                "a::c -> b Other",
                "b -> a::c C",
            ],
        );
    }

    #[test]
    fn a_name_that_is_passed_on_leads_to_the_file_that_has_it() {
        expect_dependencies(
            &[
                ("a/mod.rs", "mod c; mod d; pub use c::{C, Old as New};"),
                ("a/c.rs", ""),
                ("a/d.rs", "use super::{C, New};"),
                ("b.rs", "use crate::a; fn f() -> a::C {}"),
            ],
            &[
                "a::d -> a::c C",
                "a::d -> a::c Old",
                "b -> a itself",
                "b -> a::c C",
            ],
        );
    }

    #[test]
    fn parents_children_other_crates_and_tests_do_not_count() {
        expect_dependencies(
            &[
                (
                    "a/mod.rs",
                    "mod c; use c::C; use std::fmt; use http::Uri; struct Own;",
                ),
                ("a/c.rs", "use super::Own; use crate::a::Other;"),
                ("a/c_tests.rs", "use crate::b::B;"),
                ("b.rs", "#[cfg(test)] mod tests { use crate::a::Own; }"),
                ("http.rs", ""),
            ],
            &[],
        );
    }

    #[test]
    fn the_binary_names_the_library() {
        let sources = [
            ("lib.rs", "pub mod a; pub mod b;"),
            (
                "main.rs",
                "use the_crate::a; fn main() { the_crate::b::run(); }",
            ),
            ("a.rs", ""),
            ("b.rs", ""),
        ];
        let found = Crate::new("the_crate", sources);
        let imports = found.top_level_imports(&vec!["main".to_owned()]);
        assert_eq!(imports, BTreeSet::from(["a", "b"].map(str::to_owned)));
    }
}
