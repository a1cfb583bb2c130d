//! What the end-to-end tests need beside a Rust toolchain, installed below `target/` when it is missing, or as packages
//! of the system.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use crate::run::{Run, Task, has, root};

/// Node 18 to 24, Express, Fastify, PM2 and TypeScript from npm; gunicorn and uvicorn from PyPI; siege, openssl and curl from the
/// distribution.
pub(crate) fn install() -> Task {
    // The tests look below the repository, wherever cargo builds.
    let tools = root().join("target/e2e");
    fs::create_dir_all(&tools).map_err(|error| format!("{}: {error}", tools.display()))?;
    let apps = root().join("crates/musher/tests/apps");
    let missing: Vec<&str> = ["siege", "openssl", "curl"].into_iter().filter(|program| !has(program)).collect();
    if !missing.is_empty() {
        apt(&missing)?;
    }
    npm(&apps, &tools)?;
    pm2()?;
    types(&tools.join("types"))?;
    systemd();
    python(&apps, &tools)
}

/// systemd, for the tests of the unit: the program, which does not have to be what runs this machine. Where it cannot be
/// had the tests say that they are skipped.
fn systemd() {
    if !Path::new("/lib/systemd/systemd").exists()
        && let Err(error) = apt(&["systemd"])
    {
        println!("no systemd, so the tests that need one are skipped: {error}");
    }
}

/// The node executables of every version that was installed, as a list like PATH.
pub(crate) fn nodes() -> OsString {
    let modules = root().join("target/e2e/node_modules");
    let nodes = ["node18", "node20", "node22", "node24"].map(|name| modules.join(name).join("bin/node"));
    std::env::join_paths(nodes.into_iter().filter(|node| node.exists())).unwrap_or_default()
}

fn npm(apps: &Path, tools: &Path) -> Task {
    let lock = "package-lock.json";
    if tools.join("npm-is-complete").exists() && same(&apps.join(lock), &tools.join(lock)) {
        return Ok(());
    }
    if !has("npm") {
        return Err("the end-to-end tests need Node and npm (nodejs.org, or your distribution's packages)".into());
    }
    let _ = fs::remove_file(tools.join("npm-is-complete"));
    for name in ["package.json", lock] {
        fs::copy(apps.join(name), tools.join(name)).map_err(|error| format!("{name}: {error}"))?;
    }
    Run::new("npm").args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).within(tools).go()?;
    mark(&tools.join("npm-is-complete"))
}

/// What outputs are compared with; the bench has it, too.
fn pm2() -> Task {
    let directory = root().join("target/bench-npm");
    if directory.join("node_modules/pm2/bin/pm2").exists() {
        return Ok(());
    }
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    Run::new("npm").args(["install", "--no-audit", "--no-fund", "--loglevel=error", "pm2@7"]).within(&directory).go()
}

/// What compiles programs that use the types of the Node package.
fn types(directory: &Path) -> Task {
    if directory.join("node_modules/typescript/bin/tsc").exists() {
        return Ok(());
    }
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    // Without a file of its own npm would take the directory above.
    fs::write(directory.join("package.json"), "{ \"private\": true }\n").map_err(|error| error.to_string())?;
    let words = ["install", "--no-audit", "--no-fund", "--loglevel=error", "typescript@5.9.3"];
    Run::new("npm").args(words).within(directory).go()
}

fn python(apps: &Path, tools: &Path) -> Task {
    let list = "requirements.txt";
    if tools.join("pip-is-complete").exists() && same(&apps.join(list), &tools.join(list)) {
        return Ok(());
    }
    let _ = fs::remove_file(tools.join("pip-is-complete"));
    if !has("python3") {
        apt(&["python3", "python3-venv"])?;
    }
    let venv = || Run::new("python3").args(["-m", "venv", "--clear", "venv"]).within(tools);
    if venv().go().is_err() {
        // Debian and Ubuntu keep it in a package of its own.
        apt(&["python3-venv"])?;
        venv().go()?;
    }
    fs::copy(apps.join(list), tools.join(list)).map_err(|error| format!("{list}: {error}"))?;
    let pip = ["install", "--quiet", "--disable-pip-version-check", "-r", list];
    Run::new(tools.join("venv/bin/pip")).args(pip).within(tools).go()?;
    mark(&tools.join("pip-is-complete"))
}

/// Installs packages where that is possible without asking; says what to install elsewhere.
fn apt(packages: &[&str]) -> Task {
    let root = fs::metadata("/proc/self").is_ok_and(|of| std::os::unix::fs::MetadataExt::uid(&of) == 0);
    if !root || !has("apt-get") {
        return Err(format!("please install {}", packages.join(" and ")));
    }
    Run::new("apt-get").args(["update", "-q"]).go()?;
    let install = ["install", "-q", "-y", "--no-install-recommends"];
    Run::new("apt-get").args(install).args(packages.iter().copied()).env("DEBIAN_FRONTEND", "noninteractive").go()
}

fn same(one: &Path, other: &Path) -> bool {
    matches!((fs::read(one), fs::read(other)), (Ok(one), Ok(other)) if one == other)
}

fn mark(path: &Path) -> Task {
    fs::write(path, "").map_err(|error| format!("{}: {error}", path.display()))
}
