//! The Node package: pm2's API from outside, and what a worker has of it inside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::apps::{app, pm2};
use crate::support::{Background, Home, Output, command, wait_until};

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/node").canonicalize().unwrap()
}

/// A home whose programs can say `require('musher')`.
fn home() -> Home {
    let home = Home::new();
    let modules = home.app_directory().join("node_modules");
    fs::create_dir(&modules).unwrap();
    std::os::unix::fs::symlink(package(), modules.join("musher")).unwrap();
    for program in ["talk.js", "team.js"] {
        fs::copy(app(program), home.app_directory().join(program)).unwrap();
    }
    home
}

/// A Node program that a user of this home starts by hand.
fn node_command(home: &Home, node: &Path, file: &str) -> Command {
    let model = home.command(["list"]);
    let mut command = command(node);
    for (key, value) in model.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    let directory = home.app_directory();
    command.arg(file).current_dir(directory).env("MUSHER_BIN", env!("CARGO_BIN_EXE_musher")).stdin(Stdio::null());
    command
}

#[track_caller]
fn node(home: &Home, file: &str) -> Output {
    Background::of(node_command(home, Path::new("node"), file)).wait()
}

/// Runs a script, which prints one JSON document.
#[track_caller]
fn told(home: &Home, name: &str, text: &str) -> Value {
    home.write(name, text);
    node(home, name).succeeded().json()
}

#[test]
fn the_same_calls_get_the_same_answers_as_from_pm2() {
    let transcript = |home: &Home, module: &Path| {
        fs::copy(app("talk.js"), home.app_directory().join("talk.js")).unwrap();
        fs::copy(app("calls.js"), home.app_directory().join("calls.js")).unwrap();
        let script = home.app_directory().join("talk.js").canonicalize().unwrap();
        let mut command = node_command(home, Path::new("node"), "calls.js");
        command.env("MODULE", module).env("SCRIPT", script);
        Background::of(command).wait().succeeded().json()
    };
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench-npm/node_modules/pm2");
    let theirs = transcript(&pm2(), &installed);
    let ours = transcript(&home(), &package());
    let lines = |value: &Value| value.as_array().unwrap().iter().map(Value::to_string).collect::<Vec<_>>();
    assert_eq!(lines(&ours), lines(&theirs));
}

#[test]
fn errors_have_a_code_and_a_hint_and_a_program_ends_when_it_disconnects() {
    let home = home();
    let said = told(
        &home,
        "errors.mjs",
        "import musher, { list, start, disconnect, MusherError } from 'musher';
        import cjs from 'musher';
        const failed = async (promise) => {
          try { await promise; } catch (error) {
            return [error instanceof MusherError && error instanceof Error, error.code, error.message, error.hint ?? null];
          }
        };
        const said = {
          empty: await list(),
          missing: await failed(start({ script: 'missing.js', name: 'x' })),
          unknown: await failed(musher.stop('nobody')),
          id: await failed(musher.sendDataToProcessId(7, { data: 1 })),
          packet: await failed(musher.sendDataToProcessId(7, 'text')),
          number: await failed(musher.start(7.5)),
          signal: await failed(musher.sendSignalToProcessName('SIGNOPE', 'x')),
        };
        const elsewhere = new musher.custom({ musher_home: '/proc/nowhere' });
        said.elsewhere = await failed(elsewhere.list());
        process.env.MUSHER_BIN = '/nowhere/musher';
        said.executable = await failed(new musher.custom().list());
        console.log(JSON.stringify(said));
        disconnect();",
    );
    assert_eq!(said["empty"], Value::Array(Vec::new()), "{said}");
    for (what, code, word) in [
        ("missing", "BAD_SPEC", "missing.js"),
        ("unknown", "NO_SUCH_APP", "nobody"),
        ("id", "NO_SUCH_APP", "id 7"),
        ("packet", "USAGE", "object"),
        ("number", "BAD_SPEC", "7.5"),
        ("signal", "USAGE", "SIGNOPE"),
        ("elsewhere", "ENVIRONMENT", "nowhere"),
        ("executable", "NO_EXECUTABLE", "/nowhere/musher"),
    ] {
        let error = &said[what];
        assert_eq!((&error[0], &error[1]), (&Value::Bool(true), &Value::from(code)), "{what}: {said}");
        assert!(error[2].as_str().unwrap().contains(word), "{what}: {said}");
    }
    assert!(said["executable"][3].as_str().unwrap().contains("MUSHER_BIN"), "{said}");
}

#[test]
fn a_daemon_without_a_daemon_ends_with_its_program_however_that_ends() {
    let home = home();
    home.write(
        "alone.js",
        "const pm2 = require('musher');
        pm2.connect(true, (error) => {
          if (error) throw error;
          pm2.start({ script: 'talk.js', name: 'talk' }, (error, apps) => {
            console.log(error || apps[0].pm2_env.status);
            require('fs').writeFileSync('started', '');
          });
        });",
    );
    let program = Background::of(node_command(&home, Path::new("node"), "alone.js"));
    wait_until("it has started", || home.app_directory().join("started").exists());
    home.wait_online("talk", 1);
    // It is killed: nothing of it can say goodbye.
    program.stop();
    home.wait_gone();
}

#[test]
fn a_process_file_is_started_by_its_name_and_the_bus_goes_on_over_a_killed_supervisor() {
    let home = home();
    home.write(
        "ecosystem.config.js",
        "module.exports = { apps: [
          { name: 'talk', script: 'talk.js', watch: true, env_blue: { COLOUR: 'blue' } },
          { name: 'other', script: 'talk.js' },
        ] };",
    );
    home.write(
        "bus.js",
        "const musher = require('musher');
        const { createInterface } = require('readline');
        process.on('warning', (warning) => console.log(JSON.stringify(['warning', warning.name, warning.message])));
        (async () => {
          const bus = await musher.launchBus();
          bus.on('process:msg', ({ data, process }) => data && console.log(JSON.stringify(['heard', data.heard, process.name])));
          bus.on('log:*', (stream, { data }) => console.log(JSON.stringify([stream, data])));
          const apps = await musher.start('ecosystem.config.js', { env: 'blue', only: 'talk' });
          console.log(JSON.stringify(['started', apps.map((app) => [app.name, app.pm2_env.COLOUR])]));
          bus.on('own:kind', () => require('fs').writeFileSync('heard', ''));
          let n = 0;
          const again = async () => {
            n += 1;
            await musher.sendDataToProcessId(0, { data: { n } });
            if (!require('fs').existsSync('over')) setTimeout(again, 20);
            else musher.disconnect();
          };
          again();
        })();",
    );
    let program = Background::of(node_command(&home, Path::new("node"), "bus.js"));
    let heard = home.app_directory().join("heard");
    wait_until("a message came and went", || heard.exists());
    fs::remove_file(&heard).unwrap();
    home.kill_supervisor();
    wait_until("messages come and go again", || heard.exists());
    home.write("over", "");
    let said = program.wait().succeeded().out;
    assert!(said.contains(r#"["started",[["talk","blue"]]]"#), "{said}");
    assert!(said.contains(r#"["out","to out\n"]"#) && said.contains(r#"["err","to err\n"]"#), "{said}");
    assert!(said.contains(r#"["warning","MusherWarning","#) && said.contains("watch"), "{said}");
    // Each in its turn; one that the supervisor had in hand when it was killed may come twice.
    let numbers: Vec<u64> = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok().filter(|line| line[0] == "heard"))
        .filter_map(|line| line[1]["data"]["n"].as_u64())
        .collect();
    assert!(numbers.len() >= 2 && numbers.is_sorted(), "{numbers:?}");
}
