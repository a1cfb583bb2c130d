//! The command line.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use crate::schedule::Kind;
use crate::team::Tools;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) length: Duration,
    pub(crate) seed: u64,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) tools: Tools,
    /// The command that does the same again.
    pub(crate) replay: String,
}

pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Args> {
    let mut length = Duration::from_secs(120);
    let mut seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() % 100_000;
    let mut kinds = Kind::ALL.to_vec();
    let here = std::env::current_exe()?;
    let (mut musher, mut hyper) = (here.with_file_name("musher"), here.with_file_name("team-hyper"));
    let mut further = String::new();
    let mut user = None;
    let mut foreground = false;
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value\n{}", usage()));
        match word.as_str() {
            "--minutes" => length = Duration::from_secs_f64(value()?.parse::<f64>()?.clamp(0.0, 10_000.0) * 60.0),
            "--seconds" => length = Duration::from_secs(value()?.parse()?),
            "--seed" => seed = value()?.parse()?,
            "--musher" => musher = PathBuf::from(value()?),
            "--hyper" => hyper = PathBuf::from(value()?),
            "--user" => {
                let name = value()?;
                user = Some((id("-u", &name)?, id("-g", &name)?));
                further += &format!(" --user {name}");
            }
            "--foreground" => {
                foreground = true;
                further += " --foreground";
            }
            "--faults" => {
                let list = value()?;
                kinds = list.split(',').map(kind).collect::<Result<_>>()?;
                further += &format!(" --faults {list}");
            }
            _ => bail!("unknown word {word:?}\n{}", usage()),
        }
    }
    for path in [&musher, &hyper] {
        ensure!(path.is_file(), "{} is missing: `cargo xtask chaos` builds it", path.display());
    }
    let packages = std::env::var_os("MUSHER_TEST_TOOLS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/e2e"), PathBuf::from);
    let tools = Tools { musher: musher.canonicalize()?, hyper: hyper.canonicalize()?, packages, user, foreground };
    let replay = format!("cargo xtask chaos --seconds {} --seed {seed}{further}", length.as_secs());
    Ok(Args { length, seed, kinds, tools, replay })
}

/// What id(1) says of a user.
fn id(what: &str, user: &str) -> Result<u32> {
    let output = Command::new("id").arg(what).arg("--").arg(user).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().with_context(|| format!("there is no user {user:?}"))
}

fn kind(word: &str) -> Result<Kind> {
    let kind = Kind::ALL.into_iter().chain([Kind::Planted]).find(|kind| kind.word() == word.trim());
    kind.with_context(|| format!("there is no fault {word:?}\n{}", usage()))
}

fn usage() -> String {
    let mut text = "usage: cargo xtask chaos [--minutes N | --seconds N] [--seed S] [--faults A,B] [--user NAME]\n       [--foreground] [--musher PATH]\n\n\
                    --foreground: the team is one `musher run`, as in a container\n\n\
                    faults:"
        .to_owned();
    for kind in Kind::ALL.into_iter().chain([Kind::Planted]) {
        text.push_str(&format!("\n  {:18}{}", kind.word(), kind.about()));
    }
    text
}
