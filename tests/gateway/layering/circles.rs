//! Circles of dependencies.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{Dependency, ModulePath};

/// Modules of one folder of which each leads to each other one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Circle {
    folder: ModulePath,
    members: BTreeSet<String>,
    /// Those that tie the members to each other.
    dependencies: Vec<Dependency>,
}

impl Circle {
    /// `folder::{member, member}`.
    pub(super) fn name(&self) -> String {
        let members: Vec<&str> = self.members.iter().map(String::as_str).collect();
        let mut path = self.folder.clone();
        path.push(format!("{{{}}}", members.join(", ")));
        path.join("::")
    }

    /// The name, and a line for each two files with the names that one uses of the other.
    pub(super) fn explain(&self) -> String {
        let mut ties: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
        for Dependency { from, to, name } in &self.dependencies {
            let files = (from.join("::"), to.join("::"));
            ties.entry(files).or_default().push(name);
        }
        let mut lines = vec![self.name()];
        for ((from, to), names) in ties {
            lines.push(format!("    {from} uses {} of {to}", names.join(", ")));
        }
        lines.join("\n")
    }
}

/// All circles between the modules of a folder, for each folder, where a module stands for all files below it.
pub(super) fn circles(dependencies: &BTreeSet<Dependency>) -> Vec<Circle> {
    let mut by_folder: BTreeMap<ModulePath, Vec<&Dependency>> = BTreeMap::new();
    for dependency in dependencies {
        let (folder, _, _) = ends(dependency);
        by_folder.entry(folder).or_default().push(dependency);
    }
    by_folder
        .into_iter()
        .flat_map(|(folder, dependencies)| circles_of_folder(&folder, &dependencies))
        .collect()
}

/// The folder that both files share, and their modules in it.
fn ends(dependency: &Dependency) -> (ModulePath, &str, &str) {
    let Dependency { from, to, .. } = dependency;
    let shared = from.iter().zip(to).take_while(|(one, other)| one == other);
    let depth = shared.count();
    (from[..depth].to_vec(), &from[depth], &to[depth])
}

fn circles_of_folder(folder: &ModulePath, dependencies: &[&Dependency]) -> Vec<Circle> {
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for dependency in dependencies {
        let (_, from, to) = ends(dependency);
        edges.entry(from).or_default().insert(to);
    }
    let reachable: BTreeMap<&str, BTreeSet<&str>> = edges
        .keys()
        .map(|&module| (module, reachable_from(module, &edges)))
        .collect();
    let leads_to = |from: &str, to: &str| reachable.get(from).is_some_and(|all| all.contains(to));
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    for &module in edges.keys() {
        if !leads_to(module, module) || done.contains(module) {
            continue;
        }
        let members: BTreeSet<&str> = edges
            .keys()
            .copied()
            .filter(|other| leads_to(module, other) && leads_to(other, module))
            .collect();
        done.extend(members.iter().copied());
        let ties = |dependency: &&Dependency| {
            let (_, from, to) = ends(dependency);
            members.contains(from) && members.contains(to)
        };
        let dependencies = dependencies.iter().copied().filter(ties).cloned().collect();
        found.push(Circle {
            folder: folder.clone(),
            members: members.into_iter().map(str::to_owned).collect(),
            dependencies,
        });
    }
    found
}

fn reachable_from<'a>(
    start: &str,
    edges: &BTreeMap<&'a str, BTreeSet<&'a str>>,
) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = vec![start];
    while let Some(module) = next.pop() {
        for &neighbour in edges.get(module).into_iter().flatten() {
            if reached.insert(neighbour) {
                next.push(neighbour);
            }
        }
    }
    reached
}

mod tests {
    use super::*;

    fn dependencies(lines: &[&str]) -> BTreeSet<Dependency> {
        let path = |text: &str| text.split("::").map(str::to_owned).collect();
        let parse = |line: &&str| {
            let (from, to) = line.split_once(" -> ").unwrap();
            Dependency {
                from: path(from),
                to: path(to),
                name: "Name".to_owned(),
            }
        };
        lines.iter().map(parse).collect()
    }

    #[track_caller]
    fn expect_circles(lines: &[&str], expected: &[&str]) {
        let found = circles(&dependencies(lines));
        assert_eq!(found.iter().map(Circle::name).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_chain_is_no_circle() {
        expect_circles(&["a -> b", "b -> c", "a -> c", "d::x -> a"], &[]);
    }

    #[test]
    fn files_that_use_each_other_are_a_circle_of_their_folder() {
        expect_circles(
            &["a::x -> a::y", "a::y -> a::z", "a::z -> a::x", "a::x -> b"],
            &["a::{x, y, z}"],
        );
    }

    #[test]
    fn folders_are_a_circle_though_no_files_are() {
        expect_circles(&["a::x -> b::x", "b::y -> a::y"], &["{a, b}"]);
    }

    #[test]
    fn two_circles_of_one_folder_are_told_apart() {
        expect_circles(
            &["a -> b", "b -> a", "b -> c", "c -> d", "d -> c"],
            &["{a, b}", "{c, d}"],
        );
    }

    #[test]
    fn a_circle_is_explained_by_the_names_that_tie_it() {
        let found = circles(&dependencies(&[
            "a::x -> a::y",
            "a::y -> a::x",
            "a::y -> a::z",
        ]));
        let expected = "a::{x, y}\n    a::x uses Name of a::y\n    a::y uses Name of a::x";
        assert_eq!(found[0].explain(), expected);
    }
}
