//! The Node package: pm2's API from outside, and what a worker has of it inside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::apps::{app, nodes, pm2};
use crate::support::{Background, Home, Output, ask, command, free_port, wait_equal, wait_until};

pub(crate) fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/node").canonicalize().unwrap()
}

/// A home whose programs can say `require('musher')`.
pub(crate) fn home() -> Home {
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
pub(crate) fn told(home: &Home, name: &str, text: &str) -> Value {
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
        // A reload of PM2 waits so long for workers to listen, which these do not.
        command.env("MODULE", module).env("SCRIPT", script).env("PM2_GRACEFUL_LISTEN_TIMEOUT", "200");
        Background::of(command)
    };
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench-npm/node_modules/pm2");
    let (their_home, our_home) = (pm2(), home());
    let theirs = transcript(&their_home, &installed);
    let ours = transcript(&our_home, &package());
    let (theirs, ours) = (theirs.wait().succeeded().json(), ours.wait().succeeded().json());
    let lines = |value: &Value| value.as_array().unwrap().iter().map(Value::to_string).collect::<Vec<_>>();
    assert_eq!(lines(&ours), lines(&theirs));
}

#[test]
fn errors_have_a_code_and_a_hint_and_a_program_ends_when_it_disconnects() {
    let home = home();
    home.write(
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
        await musher.set('a:b', 1);
        said.set = [await musher.get('a:b'), await musher.get('a')];
        await musher.unset('a:b');
        said.unset = await musher.get('a:b');
        said.env = await failed(musher.env('nobody'));
        said.absent = await failed(musher.install('x'));
        said.destroy = await failed(musher.destroy());
        const own = new musher.custom({ independent: true });
        const { pm2_home } = await own.connect();
        said.others = await own.list();
        await own.destroy();
        said.left = (await import('fs')).existsSync(pm2_home);
        const elsewhere = new musher.custom({ musher_home: '/proc/nowhere' });
        said.elsewhere = await failed(elsewhere.list());
        process.env.MUSHER_BIN = '/nowhere/musher';
        said.executable = await failed(new musher.custom().list());
        console.log(JSON.stringify(said));
        disconnect();",
    );
    for version in nodes() {
        let said = Background::of(node_command(&home, &version, "errors.mjs")).wait().succeeded().json();
        assert_eq!((&said["empty"], &said["left"]), (&Value::Array(Vec::new()), &Value::Bool(false)), "{said}");
        assert_eq!((&said["set"], &said["unset"]), (&serde_json::json!(["1", { "b": "1" }]), &Value::Null), "{said}");
        for (what, code, word) in [
            ("missing", "BAD_SPEC", "missing.js"),
            ("env", "NO_SUCH_APP", "nobody"),
            ("unknown", "NO_SUCH_APP", "nobody"),
            ("id", "NO_SUCH_APP", "id 7"),
            ("packet", "USAGE", "object"),
            ("number", "BAD_SPEC", "7.5"),
            ("signal", "USAGE", "SIGNOPE"),
            ("elsewhere", "ENVIRONMENT", "nowhere"),
            ("absent", "USAGE", "install"),
            ("destroy", "USAGE", "independent"),
            ("executable", "NO_EXECUTABLE", "/nowhere/musher"),
        ] {
            let error = &said[what];
            assert_eq!((&error[0], &error[1]), (&Value::Bool(true), &Value::from(code)), "{what}: {said}");
            assert!(error[2].as_str().unwrap().contains(word), "{what}: {said}");
        }
        assert!(said["executable"][3].as_str().unwrap().contains("MUSHER_BIN"), "{said}");
    }
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
          { name: 'talk', script: 'talk.js', cron_restart: '0 3 * * *', env_blue: { COLOUR: 'blue' } },
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
    assert!(said.contains(r#"["warning","MusherWarning","#) && said.contains("cron_restart"), "{said}");
    // Each in its turn; one that the supervisor had in hand when it was killed may come twice.
    let numbers: Vec<u64> = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok().filter(|line| line[0] == "heard"))
        .filter_map(|line| line[1]["data"]["n"].as_u64())
        .collect();
    assert!(numbers.len() >= 2 && numbers.is_sorted(), "{numbers:?}");
}

/// What a worker of `team.js` has told.
fn lines(home: &Home, slot: &str) -> Vec<Value> {
    let text = fs::read_to_string(home.app_directory().join(format!("told-{slot}"))).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How often a worker has told this.
fn times(home: &Home, slot: &str, word: &str) -> usize {
    lines(home, slot).iter().filter(|line| line[0] == word).count()
}

/// The number of visits that a worker was told last.
fn visits(home: &Home, slot: &str) -> Option<u64> {
    lines(home, slot).iter().rev().find(|line| line[0] == "visits").and_then(|line| line[1].as_u64())
}

#[test]
fn workers_share_messages_and_a_state_that_survives_kills_and_reloads() {
    let home = home();
    let port = free_port();
    let web = home.variable("PORT", port.to_string());
    web.ok(["start", "team.js", "--name", "web", "-i", "3"]);
    let count = |times: u64| (0..times).map(|_| ask(port, "/count").parse().unwrap()).collect::<Vec<u64>>();
    assert_eq!(count(10), (1..=10).collect::<Vec<u64>>());
    for slot in ["0", "1", "2"] {
        wait_equal("every worker is told of every change", &Some(10), || visits(&web, slot));
        assert_eq!(times(&web, slot, "visits"), 10);
    }
    assert_eq!(ask(port, "/say"), r#"{"workers":3,"missed":0}"#);
    for slot in ["0", "1", "2"] {
        wait_equal("every worker hears it", &1, || times(&web, slot, "heard"));
        let heard = lines(&web, slot).into_iter().find(|line| line[0] == "heard").unwrap();
        assert_eq!(heard[1]["text"], "ä\n");
        assert_eq!(heard[1]["from"].as_str().unwrap().parse::<u64>().unwrap(), heard[2].as_u64().unwrap());
    }

    // Many at once, while the supervisor is killed: each counts once.
    let killed = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&killed);
    let counting = std::thread::spawn(move || {
        let mut counted = Vec::new();
        while !over.load(Ordering::Relaxed) {
            counted.push(ask(port, "/count").parse::<u64>().unwrap());
        }
        counted
    });
    web.kill_supervisor();
    web.status();
    web.kill_keeper();
    web.status();
    killed.store(true, Ordering::Relaxed);
    let counted = counting.join().unwrap();
    let last = 10 + counted.len() as u64;
    assert_eq!(counted, (11..=last).collect::<Vec<u64>>());
    assert_eq!(count(1), [last + 1]);
    for slot in ["0", "1", "2"] {
        wait_equal("those who watched are still told", &Some(last + 1), || visits(&web, slot));
    }

    // A reload: what is shared stays, the old workers finish what they have, and are waited for.
    web.ok(["reload", "web"]);
    assert_eq!(count(1), [last + 2]);
    for slot in ["0", "1", "2"] {
        wait_equal("it finished", &1, || times(&web, slot, "has drained"));
    }
    web.ok(["stop", "web"]);
    web.ok(["start", "web"]);
    assert_eq!(count(1), [1], "a team that is stopped forgets");
}

#[test]
fn programs_by_themselves_share_as_well_and_finish_at_the_stop_signal() {
    let home = home();
    home.write(
        "team.toml",
        "[[app]]\nname = \"jobs\"\nscript = \"team.js\"\ninstances = 2\ncluster = false\nready = \"message\"\n",
    );
    home.ok(["start", "team.toml"]);
    home.ok(["restart", "jobs"]);
    for slot in ["0", "1"] {
        assert_eq!(times(&home, slot, "has drained"), 1, "slot {slot}: {:?}", lines(&home, slot));
    }
    home.ok(["stop", "jobs"]);
    assert_eq!(times(&home, "0", "has drained"), 2);
    assert!(home.daemon_log().lines().all(|line| !line.contains("killed")), "{}", home.daemon_log());

    // One that does not read misses what finds no room, and is told; nobody waits for it.
    home.ok(["start", "jobs"]);
    let before = times(&home, "1", "heard");
    home.ok(["send", "jobs", "--slot", "1", r#"{"block": "go on"}"#]);
    wait_until("it blocks", || times(&home, "1", "blocks") == 1);
    home.ok(["send", "jobs", "--slot", "0", r#"{"flood": 9}"#]);
    wait_until("all were sent", || times(&home, "0", "flooded") == 1);
    home.write("go on", "");
    wait_until("it is told what it missed", || times(&home, "1", "missed") == 1);
    let number = |slot: &str, word: &str| {
        lines(&home, slot).into_iter().find(|line| line[0] == word).and_then(|line| line[1].as_u64()).unwrap()
    };
    let missed = number("1", "missed");
    assert_eq!(number("0", "flooded"), missed);
    assert!(missed >= 4, "{missed} of 9 found no room in 4 MiB");
    wait_equal("the others were heard", &9, || times(&home, "1", "heard") - before + usize::try_from(missed).unwrap());
}

#[test]
fn without_musher_everything_works_in_the_process_and_in_nodes_own_cluster() {
    let home = home();
    home.write(
        "own-cluster.js",
        "const cluster = require('cluster');
        const musher = require('musher');
        if (cluster.isPrimary) {
          musher.on('message', (message, from) => {
            console.log(JSON.stringify([message.heard, from.slot > 0]));
            if (message.heard === 3) for (const worker of Object.values(cluster.workers)) worker.disconnect();
          });
          for (let n = 0; n < 3; n += 1) cluster.fork();
        } else {
          musher.onDrain(async () => {
            await new Promise((resolve) => setTimeout(resolve, 20));
            console.log('drained');
          });
          (async () => {
            const all = new Promise((resolve) => musher.state.watch('n', (n) => n === 3 && resolve()));
            const heard = await musher.state.update('n', (n = 0) => n + 1);
            await all;
            if (heard === 3) await musher.broadcast({ heard });
          })();
        }",
    );
    assert_eq!(node(&home, "own-cluster.js").succeeded().out, "[3,true]\ndrained\ndrained\ndrained\n");

    home.write(
        "alone.mjs",
        "import musher, { state, broadcast, onDrain, isWorker } from 'musher';
        const told = [];
        musher.on('message', (message, from) => told.push(message, from.slot));
        await state.watch((value, key) => told.push([key, value]));
        await state.set('a', { b: 1 });
        await state.update('a', ({ b }) => ({ b: b + 1 }));
        await state.delete('a');
        const big = await state.set('a', 'x'.repeat(1 << 17)).catch(({ code }) => code);
        const bad = await state.set('a', undefined).catch((error) => error.constructor.name);
        told.push(await broadcast(['b']), await state.get('a'), big, bad, isWorker, await state.entries());
        await new Promise(setImmediate);
        onDrain(async () => {
          await new Promise((resolve) => setTimeout(resolve, 20));
          console.log(JSON.stringify(told));
        });
        setTimeout(() => {}, 60000);
        process.kill(process.pid, 'SIGTERM');",
    );
    for version in nodes() {
        let said = Background::of(node_command(&home, &version, "alone.mjs")).wait();
        assert_eq!(said.code, None, "the signal has its effect: {said:?}");
        let told = said.json().to_string();
        for part in [
            r#"["a",{"b":1}],["a",{"b":2}],["a",null]"#,
            r#""TOO_LARGE","TypeError",false,{}"#,
            r#"{"missed":0,"workers":1}"#,
            r#"["b"],0"#,
        ] {
            assert!(told.contains(part), "{version:?}: no {part} in {told}");
        }
    }
}

/// The files that the README shows, by their names.
fn examples() -> Vec<(String, String)> {
    let readme = fs::read_to_string(package().join("README.md")).unwrap();
    let blocks = readme.split("```js\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let named = blocks
        .filter_map(|(text, _)| Some((text.strip_prefix("// ")?.split_once('\n')?.0.to_owned(), text.to_owned())));
    named.collect()
}

#[test]
fn the_examples_of_the_readme_run_as_they_stand() {
    let home = home();
    for (name, text) in examples() {
        home.write(&name, &text);
    }
    let said = node(&home, "control.js").succeeded();
    assert_eq!(said.out, "0 web true online\n1 web true online\n3 workers\n", "{said:?}");
    let said = node(&home, "bus.js").succeeded().out;
    // What it wrote comes by another stream than that it is gone.
    for line in ["echo says 2", "online echo 0", "start echo 0", "exit echo 0", "delete echo 0"] {
        assert!(said.lines().any(|said| said == line), "no {line:?} in {said}");
    }
    let port = free_port();
    let home = home.variable("PORT", port.to_string());
    home.ok(["start", "server.js", "--name", "web"]);
    assert_eq!(ask(port, "/"), "visit 1, worker 0\n");
    home.run(["send", "web", "no JSON"]).failed(2, &["not JSON", "quotes"]);
    home.run(["send", "wep", "1"]).failed(4, &["did you mean \"web\"?"]);
    home.run(["send", "web", "--slot", "7", "1"]).failed(1, &["slot 7"]);
    let sent = home.ok(["send", "web", "--slot", "0", r#"{"milestone": 5}"#]);
    assert!(sent.err.contains("sent to 1 worker of web"), "{sent:?}");
}

#[test]
fn what_is_published_is_the_module_its_types_and_its_licences() {
    let home = home();
    let mut npm = node_command(&home, Path::new("npm"), "pack");
    npm.args(["--dry-run", "--json", "--loglevel=error"]).current_dir(package());
    let packed = Background::of(npm).wait().succeeded().json();
    let files = packed[0]["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap());
    let mut files: Vec<&str> = files.collect();
    files.sort_unstable();
    let lib = ["attach", "bus", "connection", "control", "drain", "error", "link", "team", "worker"];
    let lib: Vec<String> = lib.iter().map(|name| format!("lib/{name}.js")).collect();
    let mut expected =
        vec!["LICENSE-APACHE", "LICENSE-MIT", "README.md", "index.d.mts", "index.d.ts", "index.js", "index.mjs"];
    expected.extend(lib.iter().map(String::as_str));
    expected.push("package.json");
    assert_eq!(files, expected);
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        let ours = fs::read(package().join("../..").join(licence)).unwrap();
        assert_eq!(fs::read(package().join(licence)).unwrap(), ours, "{licence}");
    }
    let version = fs::read_to_string(package().join("package.json")).unwrap();
    assert!(version.contains(&format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"))), "{version}");

    // Everything that there is has a type, for both ways of loading it.
    let names = told(
        &home,
        "names.mjs",
        "import musher, * as all from 'musher';
        console.log(JSON.stringify([Object.keys(musher), Object.keys(all)]));",
    );
    let words = |list: &Value| list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    let (own, all): (Vec<String>, Vec<String>) = (words(&names[0]), words(&names[1]));
    let types = fs::read_to_string(package().join("index.d.ts")).unwrap();
    let for_import = fs::read_to_string(package().join("index.d.mts")).unwrap();
    for name in own {
        assert!(all.contains(&name), "{name} cannot be imported by its name");
        let typed = [format!(" {name}("), format!(" {name}:"), format!(" {name}?:")];
        assert!(typed.iter().any(|form| types.contains(form)), "{name} has no type");
        assert!(for_import.contains(&format!("typeof musher.{name};")), "{name} has no type for import");
    }
}
