//! What programs of PM2 call besides the calls that are compared with PM2; and that all calls have the types they say.

use std::fs;

use serde_json::{Value, json};

use crate::node_module::{home, told};
use crate::support::apps::{app, tools};
use crate::support::{Background, command, free_port};

/// Answers each piece of its standard input with a line.
const LINES: &str = "process.stdin.on('data', (text) => console.log('got ' + JSON.stringify(String(text))));
process.send('ready');";

#[test]
fn what_programs_of_pm2_call_besides_is_there() {
    let home = home();
    home.write("lines.js", LINES);
    home.write(
        "eco.json",
        r#"{ "apps": [{ "name": "filed", "script": "lines.js" }, { "name": "no", "script": "talk.js" }] }"#,
    );
    fs::create_dir(home.app_directory().join("sub")).unwrap();
    home.write("sub/index.html", "served");
    let script = "
        const pm2 = require('musher');
        const path = require('path');
        const util = require('util');
        const said = { warnings: [] };
        process.on('warning', ({ name, message }) => said.warnings.push(`${name}: ${message}`));
        const failed = (promise) => promise.then(() => null, ({ code }) => code);
        const names = (list) => list.map(({ name, pm2_env }) => [name, pm2_env.status]);
        process.env.cron_restart = '* * * * *';
        (async () => {
          const sub = new pm2.custom({ cwd: 'sub' });
          const { pm2_home } = await pm2.connect();
          said.facts = [
            sub.cwd === path.resolve('sub'), pm2.cwd === process.cwd(), pm2.pm2_home === pm2_home,
            pm2.daemon_mode, new pm2.custom({ daemon_mode: false }).Client.daemon_mode,
          ];
          said.ping = await pm2.ping();
          said.report = (await pm2.report()).includes('musher');
          // Nobody looks at what becomes of these two.
          pm2.stop('nobody');
          pm2.start('nowhere.js');
          said.empty = await failed(pm2.dump());
          await pm2.dump(true);
          said.back = await pm2.resurrect();
          await pm2.clearDump();
          said.cleared = await failed(pm2.resurrect());

          // A script is found from where its caller is, a process file has its apps.
          const [one] = await sub.start({ script: './../lines.js', name: 'one', wait_ready: true, listen_timeout: 5000 });
          said.record = [one.pm2_env.wait_ready, one.pm2_env.listen_timeout, 'cron_restart' in one.pm2_env];
          said.restarted = names(await pm2.restart('./sub/../lines.js'));
          said.filed = names(await pm2.start('eco.json', { only: 'filed' }));
          said.stopped = names(await pm2.stop('eco.json'));
          said.deleted = names(await pm2.delete('eco.json'));
          said.left = names(await pm2.Client.executeRemote('getMonitorData'));
          said.called = names(await util.promisify(pm2.Client.executeRemote)('getMonitorData'));

          const bus = await pm2.launchBus();
          let heard;
          bus.on('log:out', ({ data }) => heard(data));
          const line = new Promise((resolve) => { heard = resolve; });
          await pm2.sendLineToStdin(one.pm_id, 'a', '!');
          said.line = await line;
          bus.off('log:out');
          bus.on('log:*', () => {});
          bus.off('log:*');
          said.listeners = bus.listenerCount('log:out');

          const served = await pm2.serve('sub', PORT, { name: 'files', spa: true });
          said.served = [served.some(({ name }) => name === 'files'), await (await fetch('http://127.0.0.1:PORT/any')).text()];
          await pm2.delete('files');
          await pm2.update();
          said.stop = names(await sub.stop('../lines.js'));
          await Promise.all([pm2.close(), sub.disconnect()]);
          console.log(JSON.stringify(said));
        })();";
    let said = told(&home, "besides.js", &script.replace("PORT", &free_port().to_string()));
    let expected = json!({
        "facts": [true, true, true, true, false],
        "ping": { "msg": "pong" },
        "report": true,
        "empty": "FAILED",
        "back": [],
        "cleared": "NO_SUCH_APP",
        "record": [true, 5000, false],
        "restarted": [["one", "online"]],
        "filed": [["filed", "online"]],
        "stopped": [["filed", "stopped"]],
        "deleted": [["filed", "stopped"]],
        "left": [["one", "online"]],
        "called": [["one", "online"]],
        "line": "got \"a!\"\n",
        "listeners": 0,
        "served": [true, "served"],
        "stop": [["one", "stopped"]],
    });
    for (what, expected) in expected.as_object().unwrap() {
        assert_eq!(&said[what], expected, "{what}: {said}");
    }
    let warnings: Vec<&str> = said["warnings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for word in ["nobody", "nowhere.js"] {
        let is_told = |warning: &&str| warning.starts_with("MusherWarning: ") && warning.contains(word);
        assert_eq!(warnings.iter().filter(|warning| is_told(warning)).count(), 1, "{word}: {warnings:?}");
    }
}

#[test]
fn a_program_is_the_terminal_of_a_worker_until_its_input_ends() {
    let home = home();
    home.write("lines.js", LINES);
    home.write(
        "attach.js",
        "const musher = require('musher');
        musher.attach('lines').finally(() => musher.disconnect());",
    );
    let said = told(
        &home,
        "terminal.js",
        "const musher = require('musher');
        const { spawn } = require('child_process');
        (async () => {
          await musher.start('lines.js', { name: 'lines' });
          const nobody = await musher.attach('nobody').catch(({ code }) => code);
          await musher.disconnect();
          const child = spawn(process.execPath, ['attach.js'], { stdio: ['pipe', 'pipe', 'inherit'] });
          const ended = new Promise((resolve) => child.on('close', resolve));
          let shown = '';
          const one = new Promise((resolve) => child.stdout.on('data', (text) => {
            shown += text;
            if (shown.includes('got')) resolve();
          }));
          child.stdin.write('one\\n');
          await one;
          child.stdin.end();
          console.log(JSON.stringify([nobody, shown, await ended]));
        })();",
    );
    assert_eq!(said, json!(["NO_SUCH_APP", "got \"one\\n\"\n", 0]));
}

#[test]
fn a_terminal_ends_with_the_daemon_and_shows_what_is_answered_to_the_last_line() {
    let home = home();
    home.write("lines.js", LINES);
    home.write(
        "attach.js",
        "const musher = require('musher');
        musher.attach('lines').finally(() => musher.disconnect());",
    );
    // What was read to its end, before.
    home.write(
        "late.js",
        "const musher = require('musher');
        process.stdin.resume().on('end', () => musher.attach('lines').finally(() => musher.disconnect()));",
    );
    home.write(
        "killed.js",
        "const musher = require('musher');
        (async () => {
          const bus = await musher.launchBus();
          const one = new Promise((resolve) => bus.on('log:out', resolve));
          const attached = musher.attach('lines');
          await one;
          await musher.killDaemon();
          await attached;
          console.log('over');
        })();",
    );
    let said = told(
        &home,
        "terminals.js",
        "const musher = require('musher');
        const { spawn } = require('child_process');
        // A whole input, or one that does not end; what was shown.
        const shown = async (file, text, end) => {
          const child = spawn(process.execPath, [file], { stdio: ['pipe', 'pipe', 'inherit'], timeout: 20000 });
          let all = '';
          child.stdout.on('data', (text) => { all += text; });
          child.stdin.on('error', () => {}).write(text);
          if (end) child.stdin.end();
          const code = await new Promise((resolve) => child.on('close', resolve));
          return [all, code];
        };
        (async () => {
          const said = {};
          await musher.start('lines.js', { name: 'lines' });
          // It waits only for so long: a machine with much to do may be slower.
          for (let n = 0; n < 10 && !said.last?.[0]; n += 1) said.last = await shown('attach.js', 'one\\n', true);
          said.late = await shown('late.js', 'one\\n', true);
          said.killed = await shown('killed.js', 'one\\n', false);
          await musher.disconnect();
          console.log(JSON.stringify(said));
        })();",
    );
    let got = "got \"one\\n\"\n";
    let expected = json!({ "last": [got, 0], "late": ["", 0], "killed": [format!("{got}over\n"), 0] });
    assert_eq!(said, expected);
    home.wait_gone();
}

#[test]
fn a_served_folder_is_kept_shut_by_either_spelling_and_ends_with_its_program() {
    let home = home();
    fs::create_dir(home.app_directory().join("sub")).unwrap();
    home.write("sub/index.html", "served");
    let script = "
        const { custom } = require('musher');
        const own = new custom({ daemon_mode: false });
        const failed = (promise) => promise.then(() => null, ({ code, message }) => [code, message]);
        const asked = async (port) => {
          const headers = { authorization: `Basic ${Buffer.from('ann:secret').toString('base64')}` };
          const answers = [{}, { headers }].map((options) => fetch(`http://127.0.0.1:${port}/`, options));
          return (await Promise.all(answers)).map(({ status }) => status);
        };
        (async () => {
          const said = {};
          await own.serve('sub', FIRST, { basicAuthUsername: 'ann', basicAuthPassword: 'secret' });
          said.first = await asked(FIRST);
          await own.serve('sub', SECOND, { basic_auth_username: 'ann', basic_auth_password: 'secret' });
          said.second = await asked(SECOND);
          said.half = await failed(own.serve('sub', SECOND, { name: 'half', basicAuthUsername: 'ann' }));
          said.unknown = await failed(own.serve('sub', SECOND, { name: 'unknown', basicAuthName: 'ann' }));
          said.names = (await own.list()).length;
          await own.disconnect();
          console.log(JSON.stringify(said));
        })();";
    let script = script.replace("FIRST", &free_port().to_string()).replace("SECOND", &free_port().to_string());
    let said = told(&home, "shut.js", &script);
    for (what, code, word) in [("half", "FAILED", "go together"), ("unknown", "USAGE", "basicAuthName")] {
        assert_eq!(said[what][0], code, "{said}");
        assert!(said[what][1].as_str().unwrap().contains(word), "{said}");
    }
    assert_eq!((&said["first"], &said["second"]), (&json!([401, 200]), &json!([401, 200])), "{said}");
    assert_eq!(said["names"], 2, "{said}");
    home.wait_gone();
}

#[test]
fn a_program_that_uses_every_call_has_the_types_of_the_package() {
    let home = home();
    let compiler = tools().join("types/node_modules");
    assert!(compiler.exists(), "{} is missing: `cargo xtask test` installs it", compiler.display());
    let sample = fs::read_to_string(app("types.ts")).unwrap();
    home.write("types.ts", &sample);
    let imported =
        sample.replace("import musher = require('musher');", "import musher, * as all from 'musher';\nvoid all;");
    assert_ne!(imported, sample);
    home.write("types.mts", &imported);

    let mut tsc = command(compiler.join("typescript/bin/tsc"));
    tsc.args(["--strict", "--noEmit", "--module", "node16", "--target", "es2022", "--lib", "es2022"]);
    tsc.args(["types.ts", "types.mts"]).current_dir(home.app_directory());
    let compiled = Background::of(tsc).wait();
    assert_eq!((compiled.code, compiled.out.as_str()), (Some(0), ""), "{compiled:?}");

    let names = told(&home, "names.js", "console.log(JSON.stringify(Object.keys(require('musher'))));");
    for name in names.as_array().unwrap().iter().filter_map(Value::as_str) {
        assert!(sample.contains(&format!("musher.{name}")), "{name} is not used by the sample");
    }
}
