//! Other executables than the one under test: the next version, and some that do not work.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Background, Home, command};

/// The executable under test.
pub(crate) const MUSHER: &str = env!("CARGO_BIN_EXE_musher");

/// A build beside other runs of cargo waits for them; the runner would kill the test without a word of that.
const BUILD_LIMIT: Duration = Duration::from_secs(150);

/// The version after the one under test: another build, which speaks newer versions of everything. `cargo xtask test` has
/// built it and says where (MUSHER_TEST_NEXT); otherwise it is built here, and only the last two crates differ.
#[track_caller]
pub(crate) fn next() -> PathBuf {
    if let Some(path) = std::env::var_os("MUSHER_TEST_NEXT").map(PathBuf::from) {
        assert!(path.is_file(), "MUSHER_TEST_NEXT names {}, which is no file", path.display());
        return path;
    }
    let profile = Path::new(MUSHER).parent().unwrap();
    let words = ["build", "--quiet", "--package", "musher", "--bin", "musher-next", "--features", "next"];
    let said = words.join(" ");
    eprintln!("MUSHER_TEST_NEXT is not set: cargo {said}");
    let mut build = command("cargo");
    build.args(words);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    build.current_dir(env!("CARGO_MANIFEST_DIR")).arg("--target-dir").arg(profile.parent().unwrap());
    let mut build = Background::of(build);
    let Some(output) = build.wait_within(BUILD_LIMIT) else {
        panic!(
            "musher-next was not built within {BUILD_LIMIT:?}; another cargo may hold the directory of builds. \
             `cargo {said}` first, or set MUSHER_TEST_NEXT to the executable, as `cargo xtask test` does"
        );
    };
    assert!(output.code == Some(0), "cargo {said}: {output:?}");
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
