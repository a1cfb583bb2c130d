//! The figures of musher against PM2, Node's own cluster, gunicorn, and of `musher load` against other clients, measured in the same run.
//!
//! `musher-bench all [--quick] [--only musher|pm2|pm2-tuned|cluster|gunicorn] [--json FILE] [--musher PATH]`, or names of groups instead of `all`. Progress goes to
//! stderr, the table to stdout.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for people")]

mod arena;
mod figures;
mod report;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use arena::Contender;
use figures::{Bench, GROUPS, Group};
use report::Figures;
use tools::Tools;

struct Args {
    groups: Vec<&'static Group>,
    quick: bool,
    only: Option<Contender>,
    json: Option<PathBuf>,
    musher: Option<PathBuf>,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)).and_then(|args| run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Args> {
    let mut args = Args { groups: Vec::new(), quick: false, only: None, json: None, musher: None };
    while let Some(word) = words.next() {
        match word.as_str() {
            "all" => args.groups = GROUPS.iter().collect(),
            "--quick" => args.quick = true,
            "--only" => {
                args.only = Some(match words.next().as_deref() {
                    Some("musher") => Contender::Musher,
                    Some("pm2") => Contender::Pm2,
                    Some("pm2-tuned") => Contender::Pm2Tuned,
                    Some("cluster") => Contender::Cluster,
                    Some("gunicorn") => Contender::Gunicorn,
                    _ => bail!("--only needs musher, pm2, pm2-tuned, cluster or gunicorn"),
                });
            }
            "--json" => args.json = Some(path_after("--json", words.next())?),
            "--musher" => args.musher = Some(path_after("--musher", words.next())?),
            name => match GROUPS.iter().find(|group| group.name == name) {
                Some(group) => args.groups.push(group),
                None => bail!("unknown word {name:?}\n{}", usage()),
            },
        }
    }
    if args.groups.is_empty() {
        bail!("nothing to measure\n{}", usage());
    }
    Ok(args)
}

fn path_after(flag: &str, word: Option<String>) -> Result<PathBuf> {
    word.map(PathBuf::from).with_context(|| format!("{flag} needs a path"))
}

fn usage() -> String {
    let mut text =
        "usage: musher-bench all|GROUP... [--quick] [--only musher|pm2|pm2-tuned|cluster|gunicorn] [--json FILE] [--musher PATH]\n\ngroups:"
            .to_owned();
    for group in GROUPS {
        text.push_str(&format!("\n  {:12}{}", group.name, group.about));
    }
    text
}

fn run(args: &Args) -> Result<()> {
    let tools = Tools::find(args.musher.clone())?;
    let mut bench = Bench { tools: &tools, figures: Figures::default(), quick: args.quick, only: args.only };
    let mut failed = Vec::new();
    for group in &args.groups {
        if let Err(error) = group.run(&mut bench) {
            eprintln!("{}: {error:#}", group.name);
            failed.push(group.name);
        }
    }

    let machine = tools.describe();
    println!("{}\n", machine.join("; "));
    println!("{}", bench.figures.table());
    println!("How it was measured (medians above; the spread here):\n\n{}", bench.figures.methods());
    match bench.figures.lost() {
        behind if behind.is_empty() => println!("Everything that was demanded is reached."),
        behind => println!("Not reached:\n  {}", behind.join("\n  ")),
    }
    if let Some(path) = &args.json {
        let value = serde_json::json!({ "machine": machine, "quick": args.quick, "figures": bench.figures.to_json() });
        std::fs::write(path, format!("{value:#}\n")).with_context(|| path.display().to_string())?;
    }
    if !failed.is_empty() {
        bail!("these groups could not be measured: {}", failed.join(", "));
    }
    Ok(())
}
