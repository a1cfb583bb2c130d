//! The programs under test, and where the interpreters and packages for them are.

use std::path::{Path, PathBuf};

use super::{Home, command};

/// A program in `tests/apps`.
pub(crate) fn app(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps").join(name).display().to_string()
}

/// What `cargo xtask test` installed from npm and PyPI.
pub(crate) fn tools() -> PathBuf {
    std::env::var_os("MUSHER_TEST_TOOLS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/e2e"), PathBuf::from)
}

/// A file of the installed tools.
#[track_caller]
pub(crate) fn tool(path: &str) -> String {
    let tool = tools().join(path);
    assert!(tool.exists(), "{} is missing: `cargo xtask test` installs it", tool.display());
    tool.display().to_string()
}

/// PM2, with a home of its own, to compare with.
#[track_caller]
pub(crate) fn pm2() -> Home {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench-npm/node_modules/pm2/bin/pm2");
    assert!(script.exists(), "{} is missing: `cargo xtask test` installs it", script.display());
    let home = Home::new().executable(script.canonicalize().unwrap());
    let directory = home.directory().join("pm2");
    home.variable("PM2_HOME", directory.display().to_string()).variable("PM2_DISABLE_VERSION_CHECK", "1")
}

/// The server of `examples/hyper`, built beside the executable under test.
#[track_caller]
pub(crate) fn hyper() -> String {
    let server = Path::new(env!("CARGO_BIN_EXE_musher")).with_file_name("team-hyper");
    assert!(server.exists(), "{} is missing: `cargo build -p team-hyper` makes it", server.display());
    server.display().to_string()
}

/// A server of `examples/cluster`, built beside the executable under test.
#[track_caller]
pub(crate) fn rust_worker(name: &str) -> String {
    let server = Path::new(env!("CARGO_BIN_EXE_musher")).with_file_name(name);
    assert!(server.exists(), "{} is missing: `cargo build -p cluster-rust` makes it", server.display());
    server.display().to_string()
}

/// The Node versions to test on: MUSHER_TEST_NODES (a list as in PATH), or those of the installed tools.
pub(crate) fn nodes() -> Vec<PathBuf> {
    if let Some(list) = std::env::var_os("MUSHER_TEST_NODES") {
        return std::env::split_paths(&list).collect();
    }
    ["node18", "node20", "node22", "node24"]
        .iter()
        .map(|name| PathBuf::from(tool(&format!("node_modules/{name}/bin/node"))))
        .collect()
}

/// The major version of a Node executable.
pub(crate) fn node_major(node: &Path) -> u32 {
    let output = command(node).arg("--version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.trim_start_matches('v').split('.').next().unwrap().parse().unwrap()
}

/// Copies a program that imports packages to where it finds them.
pub(crate) fn with_packages(home: &Home, name: &str) -> String {
    let directory = home.app_directory();
    for file in [name, "answer.cjs"] {
        std::fs::copy(app(file), directory.join(file)).unwrap();
    }
    std::os::unix::fs::symlink(tool("node_modules"), directory.join("node_modules")).unwrap();
    directory.join(name).display().to_string()
}
