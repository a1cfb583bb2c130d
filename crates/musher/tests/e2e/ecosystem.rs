//! PM2's process files, evaluated by the user's Node: what a program is given is what PM2 gives it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::apps::{app, pm2, tool};
use crate::support::{Home, wait_equal, wait_until};

const FILE: &str = r#"
const os = require('os');
console.log('a process file may say what it likes', os.hostname().length > 0);
module.exports = {
  apps: [
    { name: 'team', script: './tell.js', instances: 2, args: '--port 1 "a b"', node_args: '--max-old-space-size=200',
      env: { APP: 'team', PORT: 4000, WHO: 'me', OBJECT: { a: [1] } }, env_production: { WHO: 'all' },
      increment_var: 'PORT', instance_var: 'NO', filter_env: ['SECRET_'] },
    { name: 'single', script: 'tell.js', args: ['x y', '$HOME'], env: { APP: 'single' } },
    { name: 'below', script: 'tell.js', cwd: './below', env: { APP: 'below' }, exec_mode: 'fork', instances: 2 },
    { name: 'line', script: 'node tell.js in a shell && true', env: { APP: 'line' } },
    { name: 'bare', script: 'node', args: 'tell.js bare', env: { APP: 'bare' } },
  ],
};
"#;

/// The files and directories that the process file speaks of.
fn prepared(home: Home) -> Home {
    let directory = home.app_directory();
    for place in [directory.clone(), directory.join("below")] {
        fs::create_dir_all(&place).unwrap();
        fs::copy(app("tell.js"), place.join("tell.js")).unwrap();
    }
    fs::create_dir(directory.join("told")).unwrap();
    home.write("ecosystem.config.js", FILE);
    home.variable("TOLD", directory.join("told").display().to_string())
        .variable("BASE", directory.canonicalize().unwrap().display().to_string())
        .variable("SECRET_KEY", "of the shell")
}

/// What was told, by worker.
fn told(home: &Home) -> BTreeMap<String, String> {
    let files = fs::read_dir(home.app_directory().join("told")).unwrap().map(|file| file.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    files
        .filter(|path| path.extension().is_none())
        .map(|path| (name(&path), fs::read_to_string(&path).unwrap()))
        .collect()
}

#[test]
fn a_program_is_given_what_pm2_gives_it() {
    let theirs = prepared(pm2());
    theirs.ok(["start", "ecosystem.config.js", "--env", "production"]);
    wait_equal("all workers of PM2 have told", &7, || told(&theirs).len());
    // PM2's workers of a cluster inherit what it filters out: that is left out of the comparison.
    let but_the_secret = |told: BTreeMap<String, String>| -> BTreeMap<String, String> {
        let secret = ",\n  \"SECRET_KEY\": \"of the shell\"";
        told.into_iter().map(|(name, text)| (name, text.replace(secret, ""))).collect()
    };
    let expected = but_the_secret(told(&theirs));

    let ours = prepared(Home::new());
    let started = ours.ok(["start", "ecosystem.config.js", "--env", "production"]);
    assert!(started.err.contains("a process file may say what it likes"), "{started:?}");
    wait_equal("the workers have told the same", &expected, || but_the_secret(told(&ours)));
    let kept = told(&ours);
    assert!(!kept["team-0"].contains("SECRET_KEY") && kept["single-0"].contains("of the shell"), "{kept:#?}");
    assert!(expected["team-1"].contains("\"WHO\": \"all\""), "{expected:#?}");
    assert!(expected["team-1"].contains("\"PORT\": \"4001\""), "{expected:#?}");

    let again = ours.ok(["start", "ecosystem.config.js", "--env", "production"]);
    assert_eq!(again.err.matches("nothing to do").count(), 5, "a second start is a difference: {again:?}");
    let back = ours.ok(["start", "ecosystem.config.js", "--only", "team"]);
    assert!(back.err.contains("changed: env"), "{back:?}");
    assert!(told(&ours)["team-1"].contains("\"WHO\": \"me\""), "{:#?}", told(&ours));
}

#[test]
fn every_kind_of_module_is_evaluated_and_a_fault_is_told() {
    let new_node = Path::new(&tool("node_modules/node24/bin/node")).parent().unwrap().display().to_string();
    let home = Home::new().variable("PATH", format!("{new_node}:{}", std::env::var("PATH").unwrap()));
    home.write("run.sh", "exec sleep 1000\n");
    for (name, text) in [
        ("a.config.cjs", "module.exports = { apps: [{ script: './run.sh', watch: [/x/], exec: undefined }] }"),
        ("b.config.mjs", "export default { apps: [{ script: './run.sh', args: await Promise.resolve('a') }] }"),
        ("c.config.mjs", "export const apps = [{ script: './run.sh' }]"),
        ("d.config.js", "module.exports = async () => [{ script: './run.sh' }]"),
        ("e.config.ts", "type App = { script: string };\nexport default { apps: [{ script: './run.sh' } as App] }"),
    ] {
        home.write(name, text);
        let output = home.ok(["start", name, "--dry-run"]);
        assert!(output.out.contains("run   start") || output.out.contains("run  start"), "{name}: {output:?}");
    }
    for (name, text, said) in [
        ("f.config.js", "module.exports = {\n  apps: [\n", "SyntaxError"),
        ("g.config.js", "throw new Error('no such stage')", "no such stage"),
        ("h.config.js", "const a = {}; a.a = a; module.exports = a", "circular"),
        ("i.config.js", "module.exports = { apps: [{ script: './run.sh', instances: 5000 }] }", "apps[0]: instances"),
        ("j.config.js", "process.exit(3)", "it ended without a word"),
        ("k.config.js", "module.exports = 'x'.repeat(5 << 20)", "larger than 4 MiB"),
    ] {
        home.write(name, text);
        home.run(["start", name, "--dry-run"]).failed(3, &[name, said]);
    }
}

#[test]
fn a_converted_file_starts_the_same_apps() {
    let home = prepared(Home::new());
    let converted = home.ok(["convert", "ecosystem.config.js", "--env", "production"]);
    home.write("musher.toml", &converted.out);
    home.ok(["start", "ecosystem.config.js", "--env", "production"]);
    let started = home.ok(["start", "musher.toml"]);
    assert_eq!(started.err.matches("nothing to do").count(), 5, "{started:?}\n{}", converted.out);
}

#[test]
fn an_app_is_added_without_a_start_and_is_asked_to_end_by_message() {
    let home = prepared(Home::new());
    home.write(
        "apps.json",
        r#"{"apps": [
            {"name": "later", "script": "tell.js", "autostart": false, "env": {"APP": "later"}},
            {"name": "polite", "script": "tell.js", "shutdown_with_message": true, "env": {"APP": "polite"}},
            {"name": "signalled", "script": "tell.js", "treekill": false, "env": {"APP": "signalled"}}
        ]}"#,
    );
    let started = home.ok(["start", "apps.json"]);
    assert!(started.err.contains("later: added, not started"), "{started:?}");
    assert_eq!(home.slots("later")[0].status, "stopped");
    assert!(!told(&home).contains_key("later-0"));
    home.kill_supervisor();
    assert_eq!(home.slots("later")[0].status, "stopped", "a new supervisor does not start it either");
    home.ok(["start", "later"]);
    wait_until("it runs", || told(&home).contains_key("later-0"));
    home.ok(["stop", "polite", "signalled"]);
    let last_word = |name: &str| fs::read_to_string(home.app_directory().join("told").join(name)).ok();
    assert_eq!(last_word("polite-0.message").as_deref(), Some("shutdown"));
    assert_eq!(last_word("polite-0.signal"), None);
    assert_eq!(last_word("signalled-0.signal").as_deref(), Some("SIGINT"));
}
