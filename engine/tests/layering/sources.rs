//! A crate's sources as the guards read them: every line but comments and unit tests, and what each file imports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// One file of a crate.
#[derive(Clone)]
pub(crate) struct File {
    /// Its path under `src`: `hub/mod.rs`.
    pub(crate) name: String,
    /// Its module: `hub`; empty for the crate's root.
    pub(crate) module: Vec<String>,
    /// Its text without comment lines and test modules.
    pub(crate) code: String,
}

/// All `.rs` files under a folder.
pub(crate) fn rust_files(under: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(under).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// The files of the crate in `folder` (beside this one's, or this one's own) but those of tests.
pub(crate) fn crate_files(folder: &str) -> Vec<File> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join("src");
    let mut paths = Vec::new();
    rust_files(&src, &mut paths);
    paths.sort();
    let name = |path: &Path| path.strip_prefix(&src).unwrap().to_string_lossy().replace('\\', "/");
    let is_test = |name: &str| {
        name.ends_with("tests.rs")
            || name.contains("tests/")
            || name.starts_with("testing/")
            || matches!(name, "testing.rs" | "hub/fault.rs")
    };
    let files = paths.iter().map(|path| (name(path), path)).filter(|(name, _)| !is_test(name));
    files.map(|(name, path)| File::new(&name, &fs::read_to_string(path).unwrap())).collect()
}

impl File {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let path = name.trim_end_matches(".rs").trim_end_matches("mod").trim_end_matches('/');
        let is_root = matches!(path, "lib" | "main");
        let module = path.split('/').filter(|_| !is_root).map(str::to_owned).collect();
        Self { name: name.to_owned(), module, code: code(text) }
    }

    /// Absolute paths that the file names: `hub::ring::Ring`, as parts.
    pub(crate) fn paths(&self) -> BTreeSet<Vec<String>> {
        let mut paths = BTreeSet::new();
        for tree in use_trees(&self.code) {
            expand(&[], &tree, &mut paths);
        }
        for (at, _) in self.code.match_indices("crate::").chain(self.code.match_indices("super::")) {
            let path: String = self.code[at..]
                .chars()
                .take_while(|&c| c.is_alphanumeric() || c == '_' || c == ':')
                .collect();
            let starts_here =
                !self.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            if starts_here {
                paths.insert(path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect());
            }
        }
        paths.into_iter().filter_map(|path| self.absolute(&path)).collect()
    }

    /// `None` for other crates, and for what is relative to this module: its own items and its children.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let mut module = match path.first()?.as_str() {
            "crate" => return Some(path[1..].to_vec()),
            "super" => self.module.clone(),
            _ => return None,
        };
        let up = path.iter().take_while(|part| *part == "super").count();
        module.truncate(module.len().saturating_sub(up));
        Some(module.into_iter().chain(path[up..].iter().cloned()).collect())
    }
}

/// Whether a line begins a module.
pub(crate) fn is_module(line: &str) -> bool {
    line.trim_start_matches("pub(crate) ").starts_with("mod ")
}

/// A file's lines without comments and without its test modules, wherever in the file they stand.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            let attributes: Vec<_> =
                std::iter::from_fn(|| lines.next_if(|line| line.starts_with("#["))).collect();
            if let Some(module) = lines.next_if(|line| is_module(line)) {
                // To the brace that closes it; `mod tests;` has none.
                let _ = module.ends_with('{').then(|| lines.by_ref().find(|line| *line == "}"));
                continue;
            }
            attributes.iter().for_each(|line| code.extend([line, "\n"]));
        } else if !line.trim_start().starts_with("//") {
            code.extend([line, "\n"]);
        }
    }
    code
}

/// What stands between each `use` and its semicolon, without white space.
fn use_trees(code: &str) -> Vec<String> {
    let starts = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("pub").map_or(line, |rest| match rest.strip_prefix('(') {
            Some(rest) => rest.split_once(')').map_or(rest, |(_, rest)| rest),
            None => rest,
        });
        line.trim_start().strip_prefix("use ").map(str::to_owned)
    };
    let mut trees = Vec::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let Some(mut tree) = starts(line) else { continue };
        while !tree.contains(';') {
            let Some(more) = lines.next() else { break };
            tree += more;
        }
        let tree = tree.split(';').next().unwrap_or_default().replace(" as ", "@");
        trees.push(tree.chars().filter(|c| !c.is_whitespace()).collect());
    }
    trees
}

/// The paths of a tree such as `crate::{hub::{A,B},key::C}`.
fn expand(before: &[String], tree: &str, paths: &mut BTreeSet<Vec<String>>) {
    let (head, braces) = tree.split_once('{').map_or((tree, None), |(head, rest)| (head, Some(rest)));
    let head = head.split('@').next().unwrap_or_default();
    let parts = head.split("::").filter(|part| !part.is_empty() && *part != "*").map(str::to_owned);
    let path: Vec<_> = before.iter().cloned().chain(parts).collect();
    let Some(inner) = braces.and_then(|rest| rest.strip_suffix('}')) else {
        paths.insert(path);
        return;
    };
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&path, &inner[start..at], paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    if start < inner.len() {
        expand(&path, &inner[start..], paths);
    }
}

/// Which file imports from which other, by name. What the root re-exports counts as imported from where it lives.
pub(crate) fn imports(files: &[File]) -> BTreeMap<String, BTreeSet<String>> {
    let by_module: BTreeMap<_, _> =
        files.iter().map(|file| (file.module.clone(), file.name.clone())).collect();
    let re_exports = re_exports(files);
    let target = |path: &[String]| {
        let path = match path.first().and_then(|name| re_exports.get(name)) {
            Some(home) if !by_module.contains_key(&path[..1]) => home.clone(),
            _ => path.to_vec(),
        };
        (1..=path.len()).rev().find_map(|length| by_module.get(&path[..length])).cloned()
    };
    let of = |file: &File| {
        let targets = file.paths().iter().filter_map(|path| target(path)).collect::<BTreeSet<_>>();
        targets.into_iter().filter(|name| *name != file.name).collect()
    };
    files.iter().map(|file| (file.name.clone(), of(file))).collect()
}

/// The modules behind the names that the crate's root re-exports.
fn re_exports(files: &[File]) -> BTreeMap<String, Vec<String>> {
    let Some(root) = files.iter().find(|file| file.module.is_empty()) else { return BTreeMap::new() };
    let mut paths = BTreeSet::new();
    use_trees(&root.code).iter().for_each(|tree| expand(&[], tree, &mut paths));
    paths.into_iter().filter_map(|path| Some((path.last()?.clone(), path))).collect()
}

/// Files that import each other in a circle, parent and child modules apart: each circle once.
pub(crate) fn circles(files: &[File]) -> Vec<BTreeSet<String>> {
    let modules: BTreeMap<_, _> = files.iter().map(|file| (file.name.clone(), &file.module)).collect();
    let is_family =
        |a: &str, b: &str| modules[a].starts_with(modules[b]) || modules[b].starts_with(modules[a]);
    let mut arrows = imports(files);
    for (from, to) in &mut arrows {
        to.retain(|to| !is_family(from, to));
    }
    let reached = |from: &String| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(next) = open.pop() {
            for to in &arrows[next] {
                if reached.insert(to.clone()) {
                    open.push(to);
                }
            }
        }
        reached
    };
    let reached: BTreeMap<_, _> = arrows.keys().map(|from| (from, reached(from))).collect();
    let on_circle = reached.iter().filter(|(from, to)| to.contains(**from));
    let circle = |from: &String, to: &BTreeSet<String>| {
        to.iter().filter(|to| reached[to].contains(from)).cloned().collect()
    };
    on_circle.map(|(from, to)| circle(from, to)).collect::<BTreeSet<BTreeSet<_>>>().into_iter().collect()
}
