//! Process files and command lines into valid specs.
//!
//! Each step is a type and each step happens once: bytes → [`tree`] (values with their places, whatever the syntax) →
//! [`raw`] (typed as written; unknown keys refused) → [`AppSpec`] (paths absolute, programs found, checked). Flags are
//! turned into the same tree, so that `--instances` and `instances` cannot disagree about what is valid. Faults are
//! collected on the way and reported together, each with its line and column.
//!
//! This module refuses to talk to the supervisor and to decide what changes: a plan is made from specs elsewhere.

mod decode;
mod decode_app;
mod decode_health;
mod decode_logs;
mod decode_times;
mod deploy;
mod fault;
mod flags;
mod keys;
pub(crate) mod namesake;
mod pm2;
mod post_update;
mod program;
mod raw;
#[cfg(test)]
pub(crate) mod reference;
mod resolve;
#[cfg(test)]
mod tests;
mod tree;
mod values;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use musher_core::spec::AppSpec;

pub(crate) use deploy::{Deployment, deployment};
pub(crate) use fault::ConfigError;
pub(crate) use flags::Flags;
pub(crate) use post_update::post_update;
pub(crate) use program::version as node_version;
pub(crate) use resolve::inherited;
pub(crate) use tree::Syntax;
#[cfg(test)]
pub(crate) use values::words;

use fault::{Faults, Origin, did_you_mean, nearest};

/// The names of process files that are looked for when none is given, in this order.
pub(crate) const DEFAULT_FILES: [&str; 8] = [
    "musher.toml",
    "musher.yaml",
    "musher.yml",
    "musher.json",
    "ecosystem.config.js",
    "ecosystem.config.cjs",
    "ecosystem.config.mjs",
    "ecosystem.config.ts",
];

/// What an app takes over from where it is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// The caller's working directory.
    pub(crate) cwd: PathBuf,
    /// The caller's environment; variables that are not UTF-8 are left out.
    pub(crate) env: BTreeMap<String, String>,
    /// What `instances = "max"` stands for.
    pub(crate) cores: u32,
    /// The time zone of schedules that name none.
    pub(crate) zone: String,
    /// Called as `pm2`: what is not given has PM2's default also where musher has a better one, as scripts expect it.
    pub(crate) as_pm2: bool,
}

impl Surroundings {
    /// Those of this process.
    ///
    /// # Errors
    ///
    /// The working directory is gone.
    pub(crate) fn current() -> std::io::Result<Surroundings> {
        let utf8 = |text: std::ffi::OsString| text.into_string().ok();
        let env = std::env::vars_os().filter_map(|(name, value)| Some((utf8(name)?, utf8(value)?))).collect();
        Ok(Surroundings {
            cwd: std::env::current_dir()?,
            zone: zone_of(&env),
            as_pm2: false,
            env,
            cores: std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1)),
        })
    }
}

/// The time zone that TZ names, else that of the machine, by what its file is a link to; else UTC.
pub(crate) fn zone_of(env: &BTreeMap<String, String>) -> String {
    let known = |name: &str| musher_core::schedule::is_zone(name).then(|| name.to_owned());
    let named = env.get("TZ").and_then(|name| known(name.strip_prefix(':').unwrap_or(name)));
    let linked = || {
        let target = std::fs::read_link("/etc/localtime").ok()?;
        let (_, name) = target.to_str()?.split_once("zoneinfo/")?;
        known(name)
    };
    named.or_else(linked).unwrap_or_else(|| "UTC".to_owned())
}

/// What a process file describes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loaded {
    /// Its apps.
    pub(crate) specs: Vec<AppSpec>,
    /// What of a file of PM2 is not the same here, each a sentence.
    pub(crate) notes: Vec<String>,
}

/// What a command line changes about a process file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// Only the apps of these names; empty: all.
    pub(crate) only: Vec<String>,
    /// Put over every app that is taken.
    pub(crate) flags: Flags,
}

impl Overrides {
    /// The environment of PM2's files that `--env NAME` names: the last one.
    fn environment(&self) -> Option<&str> {
        self.flags.env.iter().rev().map(String::as_str).find(|word| !word.contains('='))
    }
}

/// What `musher start` says about one app.
#[derive(Clone, Debug, Default)]
pub(crate) struct StartArgs {
    /// A script; or, after `--`, a command: looked up in PATH.
    pub(crate) program: String,
    /// Whether `program` is a command.
    pub(crate) command: bool,
    /// The arguments of the program.
    pub(crate) args: Vec<String>,
    /// Everything else.
    pub(crate) flags: Flags,
}

/// The name of standard input.
const STDIN: &str = "-";

/// Whether `musher start` takes this for a process file: by its extension, or because it is standard input.
pub(crate) fn is_process_file(path: &Path) -> bool {
    path == Path::new(STDIN) || Syntax::of(path).is_some()
}

/// The process file that stands for a directory.
pub(crate) fn find_in(directory: &Path) -> Option<PathBuf> {
    DEFAULT_FILES.iter().map(|name| directory.join(name)).find(|path| path.is_file())
}

/// The apps of a process file; `-` is standard input.
///
/// # Errors
///
/// Everything that is wrong with it, all at once.
pub(crate) fn from_file(path: &Path, overrides: &Overrides, around: &Surroundings) -> Result<Loaded, ConfigError> {
    let mut faults = Faults::default();
    let (bytes, syntax) = bytes_of(path, around, &mut faults).ok_or_else(|| {
        let faults = std::mem::take(&mut faults);
        faults.into_error(Some(path))
    })?;
    let base = base_of(path, around);
    from_bytes(&bytes, syntax, &base, overrides, around, faults).map_err(|faults| faults.into_error(Some(path)))
}

/// Apps that a command line of PM2 describes, in the form of its process files.
///
/// # Errors
///
/// Everything that is wrong with them, all at once.
pub(crate) fn from_described(json: &str, overrides: &Overrides, around: &Surroundings) -> Result<Loaded, ConfigError> {
    let faults = Faults::default();
    from_bytes(json.as_bytes(), Syntax::Program, &around.cwd, overrides, around, faults)
        .map_err(|faults| faults.into_error(None))
}

/// A process file of PM2 as a musher.toml, and what is not the same there.
///
/// # Errors
///
/// Everything that is wrong with it, all at once.
pub(crate) fn convert(
    path: &Path,
    overrides: &Overrides,
    around: &Surroundings,
) -> Result<(String, Vec<String>), ConfigError> {
    let mut faults = Faults::default();
    let base = base_of(path, around);
    let mut notes = pm2::Notes::default();
    let tree = bytes_of(path, around, &mut faults)
        .and_then(|(bytes, syntax)| tree_of(&bytes, syntax, &base, overrides, around, &mut faults, &mut notes));
    let Some((tree, _)) = tree else { return Err(faults.into_error(Some(path))) };
    // What is printed can be started.
    let apps = decode::apps(&tree, &mut faults);
    resolve::specs(&apps, &base, around, &mut faults);
    faults.into_result(Some(path))?;
    Ok((pm2::toml(&tree), notes.into_list()))
}

/// Whether a musher.toml has the keys and the kinds of values that one may have; its files need not exist.
#[cfg(test)]
pub(crate) fn keys_are_right(text: &str) -> Result<(), ConfigError> {
    let mut faults = Faults::default();
    if let Some(root) = tree::parse(text.as_bytes(), Syntax::Toml, &mut faults) {
        decode::apps(&root, &mut faults);
    }
    faults.into_result(None)
}

/// What the paths of a file are relative to.
fn base_of(path: &Path, around: &Surroundings) -> PathBuf {
    if path == Path::new(STDIN) {
        return around.cwd.clone();
    }
    around.cwd.join(path).parent().unwrap_or(&around.cwd).components().collect()
}

/// What a file says, as text in the syntax that it is in.
fn bytes_of(path: &Path, around: &Surroundings, faults: &mut Faults) -> Option<(Vec<u8>, Syntax)> {
    let absolute = around.cwd.join(path);
    let from_stdin = path == Path::new(STDIN);
    let syntax = if from_stdin { Some(Syntax::Json) } else { Syntax::of(path) };
    let Some(syntax) = syntax else {
        // That there is no such file, or a directory, is the nearer fault.
        if let Err((message, hint)) = read(&absolute) {
            faults.add(Origin::Whole, "", message).hint(hint);
            return None;
        }
        let ends = "a process file ends with .toml, .yaml, .yml, .json or .config.js (.cjs, .mjs, .ts)";
        faults.add(Origin::Whole, "", ends);
        return None;
    };
    let bytes = match syntax {
        Syntax::Program if absolute.is_file() => pm2::evaluate(&absolute, around),
        _ if from_stdin => limited(std::io::stdin().lock()).map_err(|error| (error.to_string(), String::new())),
        _ => read(&absolute),
    };
    match bytes {
        Ok(bytes) => Some((bytes, syntax)),
        Err((message, hint)) => {
            faults.add(Origin::Whole, "", message).hint(hint);
            None
        }
    }
}

/// The app of a command line.
///
/// # Errors
///
/// Everything that is wrong with it, all at once.
pub(crate) fn from_command(start: &StartArgs, around: &Surroundings) -> Result<AppSpec, ConfigError> {
    let mut faults = Faults::default();
    let node = flags::app(start, around);
    let app = decode::app(&node, &mut faults);
    let specs = resolve::specs(app.as_slice(), &around.cwd, around, &mut faults);
    faults.into_result(None)?;
    specs.into_iter().next().ok_or_else(|| {
        let mut faults = Faults::default();
        faults.add(Origin::Whole, "", "there is nothing to start");
        faults.into_error(None)
    })
}

/// The tree of a musher.toml, and whether it was one of PM2.
fn tree_of(
    bytes: &[u8],
    syntax: Syntax,
    base: &Path,
    overrides: &Overrides,
    around: &Surroundings,
    faults: &mut Faults,
    notes: &mut pm2::Notes,
) -> Option<(tree::Node, bool)> {
    let (mut strict, mut lenient) = (Faults::default(), Faults::default());
    let relaxed = || {
        let root = (syntax == Syntax::Json).then(|| tree::parse_relaxed(bytes, &mut lenient)).flatten();
        root.filter(pm2::is_one)
    };
    let mut root = match tree::parse(bytes, syntax, &mut strict).or_else(relaxed) {
        Some(root) => root,
        None => {
            faults.extend(strict.or_further(lenient));
            return None;
        }
    };
    if syntax == Syntax::Program {
        pm2::place_by_app(&mut root);
    }
    let is_pm2 = syntax == Syntax::Program || (syntax != Syntax::Toml && pm2::is_one(&root));
    if is_pm2 {
        let context = pm2::Context { base, environment: overrides.environment(), around };
        root = pm2::translate(&root, &context, faults, notes);
    }
    Some((root, is_pm2))
}

fn from_bytes(
    bytes: &[u8],
    syntax: Syntax,
    base: &Path,
    overrides: &Overrides,
    around: &Surroundings,
    mut faults: Faults,
) -> Result<Loaded, Faults> {
    let mut notes = pm2::Notes::default();
    let tree = tree_of(bytes, syntax, base, overrides, around, &mut faults, &mut notes);
    let Some((mut root, is_pm2)) = tree else { return Err(faults) };
    let mut flags = overrides.flags.clone();
    if is_pm2 {
        // There, a word alone names an environment.
        flags.env.retain(|variable| variable.contains('='));
    }
    flags.put_over(&mut root, around);
    let mut apps = decode::apps(&root, &mut faults);
    let all: Vec<String> = apps.iter().filter_map(resolve::name_of).collect();
    for name in overrides.only.iter().filter(|name| !all.contains(name)) {
        let fault = faults.add(Origin::Flag("--only"), "", format!("there is no app {name:?} in the file"));
        let near = did_you_mean(&nearest(name, all.iter().map(String::as_str)));
        fault.hint(if near.is_empty() { format!("it has {}", all.join(", ")) } else { near });
    }
    if !overrides.only.is_empty() {
        apps.retain(|app| resolve::name_of(app).is_none_or(|name| overrides.only.contains(&name)));
    }
    if is_pm2 {
        name_apart(&mut apps, &mut notes);
    }
    if overrides.flags.name.is_some() && apps.len() > 1 {
        faults.add(Origin::Flag("--name"), "", format!("{} apps cannot have one name", apps.len()));
    } else {
        let specs = resolve::specs(&apps, base, around, &mut faults);
        if faults.is_empty() {
            return Ok(Loaded { specs, notes: notes.into_list() });
        }
    }
    Err(faults)
}

/// PM2 takes several apps of one name.
fn name_apart(apps: &mut [raw::RawApp], notes: &mut pm2::Notes) {
    let mut taken: Vec<String> = Vec::new();
    for app in apps {
        let Some(name) = resolve::name_of(app) else { continue };
        let own = namesake::free(&name, |name| taken.iter().any(|other| other == name));
        if own != name {
            app.name = Some(own.clone());
        }
        if taken.contains(&name) {
            notes.add(format!("a second app is called {name}: to musher it is {own}"));
        }
        taken.push(own);
    }
}

fn read(path: &Path) -> Result<Vec<u8>, (String, String)> {
    let said = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => ("there is no such file".to_owned(), program::similar_files(path)),
        ErrorKind::IsADirectory => ("this is a directory".to_owned(), String::new()),
        _ => (error.to_string(), String::new()),
    };
    let file = std::fs::File::open(path).map_err(said)?;
    limited(file).map_err(said)
}

/// One byte more than allowed, so that the limit is noticed; never a whole /dev/zero.
fn limited(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(tree::MAX_FILE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
