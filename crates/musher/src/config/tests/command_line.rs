//! Flags: alone, and over a process file.

use musher_core::spec::{OnUncaught, ReadyWhen, RestartPolicy, Runtime};

use super::{Ground, Overrides, StartArgs};
use crate::args::StartLogsArgs;
use crate::config::Flags;

fn script(name: &str) -> StartArgs {
    StartArgs { program: name.into(), ..StartArgs::default() }
}

fn text(text: &str) -> Option<String> {
    Some(text.into())
}

#[test]
fn a_script_with_flags_is_an_app() {
    let ground = Ground::new();
    let flags = Flags {
        name: text("web"),
        instances: text("max"),
        env: vec!["A=1=2".into(), "HOME".into()],
        interpreter_args: text("--inspect=0 -r x"),
        no_cluster: true,
        ready: text("message"),
        restart: text("on-failure"),
        max_restarts: text("3"),
        stop_exit_codes: text("0,4"),
        stop_signal: text("INT"),
        grace: text("9s"),
        logs: StartLogsArgs {
            out: text("o.log"),
            err: text("NULL"),
            combined: text("all.log"),
            time: true,
            ..Default::default()
        },
        on_uncaught: text("exit"),
        no_preload: true,
        ..Flags::default()
    };
    let app = ground.start(StartArgs { args: vec!["a b".into()], flags, ..script("server.js") }).unwrap();
    assert_eq!((app.name.as_str(), app.instances), ("web", 3));
    assert_eq!((app.env["A"].as_str(), app.env["HOME"].as_str()), ("1=2", ""));
    assert_eq!(app.exec.args.last().unwrap(), "a b");
    assert_eq!(app.exec.runtime, Runtime::NodeFork);
    assert_eq!(app.ready.when, ReadyWhen::Message);
    assert_eq!((app.restart.policy, app.restart.max_restarts), (RestartPolicy::OnFailure, 3));
    assert_eq!(app.restart.stop_exit_codes, [0, 4]);
    assert_eq!((app.stop.signal, app.stop.grace.as_secs()), (2, 9));
    assert_eq!((app.on_uncaught, app.preload), (Some(OnUncaught::Exit), false));
    assert_eq!(app.logs.out, Some(ground.path("o.log")));
    assert_eq!(app.logs.err, Some("/dev/null".into()));
    assert_eq!(app.logs.combined, Some(ground.path("all.log")));
    assert_eq!(app.logs.date_format.as_deref(), Some("YYYY-MM-DDTHH:mm:ss"));
    assert_eq!(app.cwd, ground.path(""));
}

#[test]
fn a_command_is_looked_up_in_path_and_its_arguments_are_not_split() {
    let ground = Ground::new();
    let start = StartArgs { command: true, args: vec!["a | b".into()], ..script("tool") };
    let app = ground.start(start).unwrap();
    assert_eq!((app.exec.program, app.exec.args), (ground.path("bin/tool"), vec!["a | b".to_owned()]));
    let node = StartArgs { command: true, args: vec!["server.js".into()], ..script("node") };
    assert_eq!(ground.start(node).unwrap().exec.runtime, Runtime::NodeCluster);
}

#[test]
fn the_script_is_relative_to_the_shell_also_with_cwd() {
    let ground = Ground::new();
    let flags = Flags { cwd: text("sub"), ..Flags::default() };
    let app = ground.start(StartArgs { flags: flags.clone(), ..script("server.js") }).unwrap();
    assert_eq!((app.cwd, app.exec.script), (ground.path("sub"), Some(ground.path("server.js"))));
    let app = ground.start(StartArgs { flags, ..script("other.js") }).unwrap();
    assert_eq!(app.exec.script, Some(ground.path("sub/other.js")));
}

#[test]
fn ready_is_understood_by_its_shape() {
    let ground = Ground::new();
    for (value, expected) in [
        ("listening", ReadyWhen::Listening),
        ("2s", ReadyWhen::Alive { after_ms: 2000 }),
        ("8080", ReadyWhen::Tcp { address: "127.0.0.1:8080".parse().unwrap() }),
        ("127.0.0.1:1", ReadyWhen::Tcp { address: "127.0.0.1:1".parse().unwrap() }),
        ("http://127.0.0.1:1/x", ReadyWhen::Http { address: "127.0.0.1:1".parse().unwrap(), path: "/x".into() }),
    ] {
        let flags = Flags { ready: text(value), ..Flags::default() };
        let app = ground.start(StartArgs { flags, ..script("server.js") }).unwrap();
        assert_eq!(app.ready.when, expected, "{value}");
    }
}

#[test]
fn faults_of_flags_name_the_flag() {
    let ground = Ground::new();
    let cases: Vec<(Flags, &str)> = vec![
        (Flags { instances: text("0"), ..Flags::default() }, "--instances: 0 is out of range: 1 to 1000"),
        (Flags { instances: text("-1"), ..Flags::default() }, "--instances: -1 is out of range"),
        (Flags { instances: text("100000"), ..Flags::default() }, "--instances: 100000 is out of range"),
        (Flags { instances: text("many"), ..Flags::default() }, "--instances: expected a number, \"max\""),
        (Flags { name: text("a/b"), ..Flags::default() }, "--name: '/' cannot be in a name"),
        (Flags { grace: text("5"), ..Flags::default() }, "--grace: \"5\" has no unit"),
        (Flags { balance: text("fast"), ..Flags::default() }, "--balance: \"fast\" is not one of"),
        (Flags { listen: vec!["x".into()], ..Flags::default() }, "--listen: \"x\" is not an address"),
        (Flags { env: vec!["=x".into()], ..Flags::default() }, "--env: \"\" is not a variable name"),
        (Flags { max_restarts: text("x"), ..Flags::default() }, "--max-restarts: expected a whole number"),
        (Flags { cwd: text("nowhere"), ..Flags::default() }, "--cwd: nowhere does not exist"),
        (Flags { interpreter: text("nodee"), ..Flags::default() }, "--interpreter: there is no program \"nodee\""),
        (Flags { user: text("no such user"), ..Flags::default() }, "--user: the user \"no such user\" cannot be found"),
    ];
    for (flags, expected) in cases {
        let error = ground.start(StartArgs { flags: flags.clone(), ..script("server.js") }).unwrap_err();
        assert!(error.contains(expected), "{flags:?}\n{error}");
    }
    let error = ground.start(script("servre.js")).unwrap_err();
    assert_eq!(error, "script: there is no file servre.js\n  hint: did you mean \"server.js\"?");
    let error = ground.start(StartArgs { command: true, ..script("toool") }).unwrap_err();
    assert_eq!(error, "command: there is no program \"toool\" in PATH");
}

#[test]
fn flags_win_over_a_process_file() {
    let ground = Ground::new();
    let file = "[[app]]\nscript = \"server.js\"\ninstances = 1\nenv = { A = 1, B = 1, http = 1 }\nrestart = \"never\"\n\
                ready = { tcp = 80, timeout = \"9s\" }\n";
    let flags = Flags {
        instances: text("2"),
        env: vec!["B=2".into(), "after=2".into()],
        max_restarts: text("1"),
        ready: text("listening"),
        ..Flags::default()
    };
    let overrides = Overrides { flags, ..Overrides::default() };
    let app = ground.load("a.toml", file, &overrides).unwrap().remove(0);
    assert_eq!(app.instances, 2);
    assert_eq!(app.env.values().collect::<Vec<_>>(), ["1", "2", "2", "1"]);
    assert_eq!((app.restart.policy, app.restart.max_restarts), (RestartPolicy::Never, 1));
    assert_eq!((app.ready.when, app.ready.timeout.as_secs()), (ReadyWhen::Listening, 9));
}

#[test]
fn only_some_apps_of_a_file_can_be_taken() {
    let ground = Ground::new();
    // What is wrong with the others does not matter then.
    let file = "[[app]]\nscript = \"server.js\"\n[[app]]\nname = \"jobs\"\nscript = \"missing.py\"\n";
    let only = |name: &str| Overrides { only: vec![name.into()], ..Overrides::default() };
    assert_eq!(ground.load("a.toml", file, &only("server")).unwrap().len(), 1);
    let error = ground.load("a.toml", file, &only("sever")).unwrap_err().to_string();
    assert_eq!(error, "--only: there is no app \"sever\" in the file\n  hint: did you mean \"server\"?");
    let named = Overrides { flags: Flags { name: text("x"), ..Flags::default() }, ..Overrides::default() };
    let error = ground.load("a.toml", file, &named).unwrap_err().to_string();
    assert!(error.contains("--name: 2 apps cannot have one name"), "{error}");
}
