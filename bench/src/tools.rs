//! What the bench runs: the release executable, Node, PM2 and wrk. What is missing is installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The version of PM2 that is compared with.
const PM2: &str = "pm2@7";

/// The version of gunicorn that is compared with.
const GUNICORN: &str = "gunicorn==23.0.0";

/// The version of oha that is compared with.
const OHA: &str = "1.16.0";

/// Paths of everything that is run.
pub(crate) struct Tools {
    pub(crate) musher: PathBuf,
    pub(crate) node: PathBuf,
    /// PM2's script, to be run by Node.
    pub(crate) pm2: PathBuf,
    pub(crate) wrk: PathBuf,
    pub(crate) oha: PathBuf,
    pub(crate) nginx: PathBuf,
    /// In a virtual environment.
    pub(crate) gunicorn: PathBuf,
    /// The app that is served.
    pub(crate) hello: PathBuf,
}

impl Tools {
    pub(crate) fn find(musher: Option<PathBuf>) -> Result<Tools> {
        let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
        let musher = match musher {
            Some(path) => path,
            None => std::env::current_exe()?.with_file_name("musher"),
        };
        ensure!(musher.is_file(), "{} is missing: `cargo build --release -p musher` makes it", musher.display());
        let node = in_path("node").context("Node is missing: install Node 18 or newer")?;
        let directory = bench.join("../target/bench-npm");
        let pm2 = directory.join("node_modules/pm2/bin/pm2");
        if !pm2.is_file() {
            eprintln!("installing {PM2} into {}", directory.display());
            std::fs::create_dir_all(&directory)?;
            let npm = ["install", "--no-audit", "--no-fund", "--loglevel=error", PM2];
            run(Command::new("npm").args(npm).current_dir(&directory))?;
        }
        let gunicorn = bench.join("../target/bench-venv/bin/gunicorn");
        if !gunicorn.is_file() {
            let venv = bench.join("../target/bench-venv");
            eprintln!("installing {GUNICORN} into {}", venv.display());
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
            let pip = ["install", "--quiet", "--disable-pip-version-check", GUNICORN];
            run(Command::new(venv.join("bin/pip")).args(pip))?;
        }
        for (program, package) in [("wrk", "wrk"), ("siege", "siege"), ("h2load", "nghttp2-client")] {
            if in_path(program).is_none() {
                eprintln!("installing {package} with apt-get");
                run(Command::new("apt-get").args(["install", "-y", "-q", package]))
                    .with_context(|| format!("{program} is missing, and apt-get cannot install it"))?;
            }
        }
        let wrk = in_path("wrk").context("wrk is missing")?;
        let oha = bench.join("../target/bench-oha");
        if !oha.join("bin/oha").is_file() {
            eprintln!("building oha {OHA} into {}", oha.display());
            let install = ["install", "--quiet", "--locked", "oha", "--version", OHA, "--root"];
            run(Command::new("cargo").args(install).arg(&oha))?;
        }
        Ok(Tools {
            musher,
            node,
            pm2: pm2.canonicalize()?,
            gunicorn: gunicorn.canonicalize()?,
            wrk,
            oha: oha.join("bin/oha").canonicalize()?,
            nginx: nginx(&bench.join("../target/bench-nginx"))?,
            hello: bench.join("apps/hello.cjs").canonicalize()?,
        })
    }

    /// Lines about the machine and the versions.
    pub(crate) fn describe(&self) -> Vec<String> {
        let first = |path: &str, key: &str| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split_once(':').map_or(line, |(_, value)| value).trim().to_owned()
        };
        let said = |command: &mut Command| {
            let output = command.stdin(Stdio::null()).output().ok();
            let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
            text.lines().next_back().unwrap_or_default().trim().to_owned()
        };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let pm2 = self.pm2.parent().and_then(Path::parent).map(|path| path.join("package.json"));
        let pm2 = pm2.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        let pm2: serde_json::Value = serde_json::from_str(&pm2).unwrap_or_default();
        vec![
            format!("{} cores, {}", cores, first("/proc/cpuinfo", "model name")),
            format!("{} of memory", first("/proc/meminfo", "MemTotal")),
            format!("Linux {}", first("/proc/sys/kernel/osrelease", "")),
            format!("Node {}", said(Command::new(&self.node).arg("--version"))),
            format!("PM2 {}", pm2["version"].as_str().unwrap_or("?")),
            said(Command::new(&self.gunicorn).arg("--version")),
            said(Command::new(&self.musher).arg("--version")),
        ]
    }
}

/// The system's nginx, or one that is unpacked into `directory` (its package would start a server).
fn nginx(directory: &Path) -> Result<PathBuf> {
    if let Some(path) = in_path("nginx") {
        return Ok(path);
    }
    let unpacked = directory.join("usr/sbin/nginx");
    if !unpacked.is_file() {
        eprintln!("unpacking nginx into {}", directory.display());
        std::fs::create_dir_all(directory)?;
        run(Command::new("sh")
            .args(["-c", "apt-get download -q nginx && dpkg -x nginx_*.deb ."])
            .current_dir(directory))
        .context("nginx is missing, and apt-get cannot fetch it")?;
    }
    Ok(unpacked.canonicalize()?)
}

/// Runs a command that has to succeed.
fn run(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().with_context(|| format!("{command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}
