//! Other executables than the one under test: the next version, and some that do not work.

use std::path::{Path, PathBuf};

use super::{Home, command};

/// The executable under test.
pub(crate) const MUSHER: &str = env!("CARGO_BIN_EXE_musher");

/// The version after the one under test: another build, which speaks newer versions of everything. Built when it is first
/// needed; only the last two crates differ.
#[track_caller]
pub(crate) fn next() -> PathBuf {
    if let Some(path) = std::env::var_os("MUSHER_TEST_NEXT") {
        return path.into();
    }
    let profile = Path::new(MUSHER).parent().unwrap();
    let mut build = command("cargo");
    build.args(["build", "--quiet", "--package", "musher", "--bin", "musher-next", "--features", "next"]);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    build.current_dir(env!("CARGO_MANIFEST_DIR")).arg("--target-dir").arg(profile.parent().unwrap());
    let output = build.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    profile.join("musher-next")
}

/// An executable that does what its name says, and everything else as the executable under test.
#[track_caller]
pub(crate) fn faulty(home: &Home, name: &str) -> PathBuf {
    let path = home.directory().join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps/faulty.rs");
    let mut build = command("rustc");
    build.args(["--edition", "2024", "-C", "opt-level=0", "-o"]).arg(&path).arg(source).env("MUSHER", MUSHER);
    let output = build.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}
