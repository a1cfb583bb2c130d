//! The house's own rules, checked by machine: who may depend on whom, how long files are, what is called how.

#![expect(clippy::unwrap_used, reason = "these are tests, also where they are functions of their own")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// About 500. A file of code that is longer wants a reason, and its reason a line in `LONG_FILES`.
const MAX_LINES: usize = 550;
/// Tests and tables may be longer.
const MAX_TEST_LINES: usize = 800;

/// Long files, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[(
    "crates/musher/src/config/keys.rs",
    "the one table of the keys of a process file: what each takes, its default, what it means, and its other names",
)];

/// Which crates of ours a crate may depend on. The order is the architecture's: nothing below points up.
const MAY_DEPEND: &[(&str, &[&str])] = &[
    ("musher-core", &[]),
    ("musher-process", &["musher-core"]),
    ("musher-cluster", &["musher-core", "musher-process"]),
    ("musher-api", &["musher-core"]),
    ("musher-supervisor", &["musher-core", "musher-process", "musher-cluster", "musher-api"]),
    ("musher-load", &["musher-process"]),
    ("musher-serve", &["musher-cluster"]),
    (
        "musher",
        &[
            "musher-core",
            "musher-process",
            "musher-cluster",
            "musher-api",
            "musher-supervisor",
            "musher-load",
            "musher-serve",
        ],
    ),
    // What measures the product does not stand on it.
    ("musher-bench", &[]),
    ("musher-demo", &["musher-bench"]),
    ("musher-chaos", &["musher-bench"]),
    ("cluster-rust", &["musher-cluster"]),
    ("team-hyper", &[]),
    ("team-rust", &[]),
    ("xtask", &[]),
];

/// What the pure core must not be able to reach.
const CORE_HAS_NO: &[&str] = &["tokio", "rustix", "libc", "rand", "mio", "tracing"];

/// Module names that say nothing.
const NAMELESS: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc", "manager", "stuff"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Package name to the names of its dependencies, tests' left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let all = package["dependencies"].as_array().unwrap();
            let normal = all.iter().filter(|dependency| dependency["kind"].as_str() != Some("dev"));
            (name(package), normal.map(name).collect())
        })
        .collect()
}

#[test]
fn crates_depend_only_downwards() {
    let dependencies = dependencies();
    for (package, uses) in &dependencies {
        let Some((_, allowed)) = MAY_DEPEND.iter().find(|(name, _)| name == package) else {
            panic!("{package} is new: say in xtask/tests/tidy.rs what it may depend on");
        };
        let ours = uses.iter().filter(|name| dependencies.contains_key(*name));
        for name in ours {
            assert!(allowed.contains(&name.as_str()), "{package} must not depend on {name}");
        }
    }
}

#[test]
fn the_core_reaches_no_clock_no_network_and_no_chance() {
    for banned in CORE_HAS_NO {
        assert!(!dependencies()["musher-core"].contains(*banned), "musher-core must not depend on {banned}");
    }
    // Time zones and dates, but nothing that tells the time.
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let chrono = manifest.lines().find(|line| line.starts_with("chrono = ")).unwrap();
    assert_eq!(chrono, "chrono = { version = \"0.4\", default-features = false }", "chrono without its clock");
}

#[test]
fn files_end_before_the_reader_is_tired() {
    let mut long = Vec::new();
    for path in sources() {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        if LONG_FILES.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let is_test = name.contains("/tests/") || name.ends_with("tests.rs") || name.starts_with("bench/");
        // Tests at the end of a file do not count as its code.
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(&text).lines().count();
        let limit = if is_test { MAX_TEST_LINES } else { MAX_LINES };
        if code > limit {
            long.push(format!("{name}: {code} lines, at most {limit}"));
        }
    }
    assert!(long.is_empty(), "split these files by what they own:\n{}", long.join("\n"));
}

#[test]
fn files_begin_with_what_they_own() {
    let bare: Vec<String> = sources()
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs") && !fs::read_to_string(path).unwrap().starts_with("//!"))
        .map(|path| path.strip_prefix(root()).unwrap().display().to_string())
        .collect();
    assert!(bare.is_empty(), "these files have no header that says what they own:\n{}", bare.join("\n"));
}

#[test]
fn module_names_say_what_is_in_them() {
    for path in sources() {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(!NAMELESS.contains(&stem), "{}: a name that says nothing", path.display());
    }
}

#[test]
fn the_commands_of_the_readme_exist() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).output().unwrap();
    let tasks = String::from_utf8(output.stdout).unwrap();
    let named: BTreeSet<&str> = readme
        .split("cargo xtask ")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_lowercase()).next())
        .filter(|word| !word.is_empty())
        .collect();
    assert!(named.contains("demo") && named.contains("test"), "{named:?}");
    for task in named {
        assert!(
            tasks.contains(&format!("cargo xtask {task} ")),
            "README.md names cargo xtask {task}, which is no task"
        );
    }
}

#[test]
fn every_page_is_listed() {
    let list = fs::read_to_string(root().join("docs/README.md")).unwrap();
    for place in ["guide", "reference", "design"] {
        for page in fs::read_dir(root().join("docs").join(place)).unwrap() {
            let name = page.unwrap().file_name().into_string().unwrap();
            assert!(list.contains(&format!("({place}/{name})")), "docs/README.md does not name docs/{place}/{name}");
        }
    }
}

#[test]
fn links_between_our_pages_lead_somewhere() {
    let mut broken = Vec::new();
    for page in files(root(), "md") {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
                continue;
            }
            if !page.parent().unwrap().join(path).exists() {
                broken.push(format!("{}: {target}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

/// The Rust files of the workspace.
fn sources() -> Vec<PathBuf> {
    files(root(), "rs")
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with('.') || ["target", "node_modules"].contains(&name) || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|other| other == extension) {
            found.push(path);
        }
    }
    found
}
