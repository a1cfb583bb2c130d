//! The commands of the first pages, run as they are written.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use crate::support::apps::{app, tool};
use crate::support::{Background, Home, command, free_port};

/// The `$` lines of the blocks of a page.
fn lines(page: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = read_to_string(root.join(page)).unwrap();
    let blocks = text.split("```console\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect()
}

/// A directory with all that the first pages start.
fn ground() -> Home {
    let home = Home::new();
    home.write("server.js", &format!("require('http').createServer((q, s) => s.end('hi')).listen({});", free_port()));
    home.write("worker.py", "import time\ntime.sleep(1000)\n");
    let server = home.write("my-server", "#!/bin/sh\nexec sleep 1000\n");
    assert!(command("chmod").arg("755").arg(server).status().unwrap().success());
    home.write("app.py", &read_to_string(app("wsgi.py")).unwrap());
    home.write("team.toml", "[[app]]\nname = \"team\"\nscript = \"worker.py\"\n");
    home.write("musher.toml", "[[app]]\nname = \"mine\"\nscript = \"worker.py\"\n");
    home.write("dist/index.html", "home");
    let gunicorn = PathBuf::from(tool("venv/bin/gunicorn"));
    let own = PathBuf::from(env!("CARGO_BIN_EXE_musher"));
    let path = [own.parent(), gunicorn.parent()].map(|directory| directory.unwrap().display().to_string()).join(":");
    home.variable("GUNICORN_CMD_ARGS", format!("--bind 127.0.0.1:{}", free_port()))
        .variable("PATH", format!("{path}:{}", std::env::var("PATH").unwrap()))
}

/// Runs a line in a shell. Without a terminal nothing goes on for ever.
fn run(home: &Home, line: &str) {
    let mut shell = command("bash");
    let model = home.command(["list"]);
    shell.args(["-c", line]).current_dir(home.app_directory());
    for (key, value) in model.get_envs() {
        match value {
            Some(value) => shell.env(key, value),
            None => shell.env_remove(key),
        };
    }
    Background::of(shell).wait().succeeded();
}

#[test]
fn the_commands_of_the_start_page_run_as_they_are_written() {
    let home = ground();
    let lines = lines("docs/guide/start.md");
    assert!(lines.len() > 15, "{lines:?}");
    for line in lines.iter().filter(|line| line.starts_with("musher ")) {
        run(&home, line);
    }
}

#[test]
fn the_commands_of_the_first_page_run_as_they_are_written() {
    let home = ground();
    let lines = lines("README.md");
    for line in lines.iter().filter(|line| line.starts_with("musher ")) {
        run(&home, line);
    }
    assert!(!home.pids("web").is_empty());
}
