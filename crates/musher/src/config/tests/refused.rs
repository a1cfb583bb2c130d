//! What is refused, where it says the fault is, and what it suggests.

use super::{Ground, Overrides};

#[test]
fn each_fault_has_its_place_and_says_what_would_be_right() {
    let ground = Ground::new();
    for (lines, expected) in [
        (
            "script = \"server.js\"\nintances = 2",
            "t.toml:3:1: unknown key \"intances\"\n  hint: did you mean \"instances\"?",
        ),
        (
            "script = \"server.js\"\ninstances = 0",
            "t.toml:3:13: instances: 0 is out of range: 1 to 1000\n  hint: \"max\" is one",
        ),
        ("script = \"server.js\"\ninstances = -1", "t.toml:3:13: instances: -1 is out of range"),
        ("script = \"server.js\"\ninstances = 100000", "t.toml:3:13: instances: 100000 is out of range: 1 to 1000"),
        (
            "script = \"server.js\"\ninstances = \"all\"",
            "expected a number, \"max\", \"MIN..MAX\" or a table, found the string \"all\"",
        ),
        (
            "script = \"server.js\"\ninstances = 1.5",
            "expected a number, \"max\", \"MIN..MAX\" or a table, found the number 1.5",
        ),
        ("script = \"servr.js\"", "t.toml:2:1: script: there is no file servr.js\n  hint: did you mean \"server.js\"?"),
        ("script = \"sub\"", "is a directory"),
        ("script = \"ecosystem.config.js\"", "this is a process file, not a program"),
        ("script = \"\"", "the path is empty"),
        (
            "script = \"plain\"",
            "script: plain is not executable, and its extension names no interpreter\n  hint: set interpreter",
        ),
        ("script = \"page.tsx\"", "hint: set interpreter, for example to bun"),
        (
            "script = \"server.js\"\ninterpreter = \"nodee\"",
            "t.toml:3:1: interpreter: there is no program \"nodee\" in PATH",
        ),
        ("script = \"server.js\"\ninterpreter = \"./plain\"", "interpreter: plain is not executable"),
        ("script = \"run\"\ninterpreter_args = \"-x\"", "interpreter_args: there is no interpreter"),
        ("command = \"toool\"", "command: there is no program \"toool\" in PATH"),
        ("command = \"run\"", "hint: write ./run for the file here"),
        ("command = \"\"", "command: the command is empty"),
        ("command = \"a | b\"", "command: '|' needs a shell"),
        ("command = \"tool\"\ninterpreter = \"bash\"", "an interpreter goes with a script"),
        ("script = \"worker.py\"\ncluster = true", "cluster: python3 has no clusters"),
        ("script = \"server.js\"\ninterpreter = \"bun\"\ncluster = true", "bun: reusePort"),
        (
            "script = \"server.js\"\ncommand = \"tool\"",
            "t.toml:3:1: command: an app has a script or a command, not both",
        ),
        ("name = \"x\"", "t.toml:1:1: an app needs a script or a command"),
        ("script = \"server.js\"\ncwd = \"nowhere\"", "t.toml:3:1: cwd: nowhere does not exist"),
        ("script = \"server.js\"\ncwd = \"plain\"", "cwd: plain is not a directory"),
        ("script = \"server.js\"\nname = \"a/b\"", "t.toml:3:1: name: '/' cannot be in a name"),
        ("script = \"server.js\"\nname = \"a\\u0007b\"", "name: '\\u{7}' cannot be in a name"),
        ("script = \"server.js\"\nname = \"all\"", "stands for every app"),
        ("script = \"server.js\"\nname = 5", "t.toml:3:8: name: expected a string, found the number 5"),
        (
            "script = \"server.js\"\nenv = { A = [1] }",
            "t.toml:3:13: env.A: expected a string, a number, true or false, found a list",
        ),
        ("script = \"server.js\"\nenv = { LISTEN_FDS = 1 }", "env.LISTEN_FDS: musher sets this variable itself"),
        ("script = \"server.js\"\nenv = { MUSHER_RUN = 1 }", "env.MUSHER_RUN: musher sets this variable itself"),
        ("script = \"server.js\"\nenv = { \"A=B\" = 1 }", "t.toml:3:1: env: \"A=B\" is not a variable name"),
        ("script = \"server.js\"\nenv_file = \".nev\"", "env_file: .nev: No such file"),
        ("script = \"server.js\"\nbalance = \"kernal\"", "balance: \"kernal\" is not one of \"auto\", \"kernel\""),
        (
            "script = \"worker.py\"\nbalance = \"round-robin\"",
            "balance: round-robin hands connections over Node's channel",
        ),
        (
            "command = \"tool\"\nlisten = \"example.org:80\"",
            "t.toml:3:10: listen: \"example.org:80\" is not an address",
        ),
        (
            "command = \"tool\"\nlisten = { address = 80, nam = \"x\" }",
            "unknown key \"listen.nam\"\n  hint: did you mean \"name\"?",
        ),
        ("command = \"tool\"\nlisten = { name = \"x\" }", "listen: no address"),
        ("command = \"tool\"\nlisten = { address = 80, backlog = 0 }", "listen.backlog: 0 is out of range: 1 to 65535"),
        ("command = \"tool\"\nlisten = [80, 80]", "listen: tcp://[::]:80 is named twice"),
        ("command = \"tool\"\nready = \"message\"", "t.toml:3:1: ready: a message needs Node's channel"),
        ("script = \"server.js\"\nready = \"listning\"", "did you mean \"listening\"?"),
        (
            "script = \"server.js\"\nready = { tcp = 1, after = \"1s\" }",
            "ready: tcp and after are given: one proof is enough",
        ),
        (
            "script = \"server.js\"\nready = { http = \"https://127.0.0.1\" }",
            "ready.http: \"https://127.0.0.1\" is not a URL",
        ),
        (
            "script = \"server.js\"\nready = { after = \"9s\", timeout = \"1s\" }",
            "ready.after: not shorter than ready.timeout",
        ),
        (
            "script = \"server.js\"\nready = { timeout = 5 }",
            "ready.timeout: 5 has no unit\n  hint: write \"5ms\", \"5s\" or \"5m\"",
        ),
        ("script = \"server.js\"\nready = { timeout = \"5\" }", "ready.timeout: \"5\" has no unit"),
        ("script = \"server.js\"\nready = { timeout = \"0s\" }", "ready.timeout: must be longer than 0"),
        (
            "script = \"server.js\"\nrestart = false",
            "restart: expected a policy or a table, found false\n  hint: write \"never\"",
        ),
        ("script = \"server.js\"\nrestart = { factor = 0.5 }", "restart.factor: 0.5 is out of range: 1 to 10"),
        ("script = \"server.js\"\nrestart = { jitter = 2 }", "restart.jitter: 2 is out of range: 0 to 1"),
        (
            "script = \"server.js\"\nrestart = { stop_exit_codes = [1, 256] }",
            "restart.stop_exit_codes: an exit code is",
        ),
        (
            "script = \"server.js\"\nrestart = { max_restarts = -1 }",
            "restart.max_restarts: -1 is out of range: 0 to 10000",
        ),
        ("script = \"server.js\"\nrestart = { window = \"400d\" }", "restart.window: longer than a year"),
        ("script = \"server.js\"\nstop = { signal = \"SIGFOO\" }", "stop.signal: \"SIGFOO\" is not a signal"),
        (
            "script = \"server.js\"\nstop = { signal = \"SIGSTOP\" }",
            "stop.signal: 19 is not a signal that stops a program",
        ),
        ("script = \"server.js\"\nstop = \"SIGINT\"", "stop: expected a table, found the string \"SIGINT\""),
        (
            "script = \"server.js\"\nreload = { max_surge = 0 }",
            "reload.max_surge: 0 is only possible with a reload.max_unavailable",
        ),
        (
            "script = \"server.js\"\nreload = { canary = { slots = 0 } }",
            "reload.canary.slots: 0 is out of range: 1 to 1000",
        ),
        ("script = \"server.js\"\ninstances = \"8..2\"", "instances: 8 to 2 is not possible"),
        ("script = \"server.js\"\ninstances = \"2..\"", "\"2..\" is not two numbers"),
        ("script = \"server.js\"\ninstances = { least = 2 }", "unknown key \"instances.least\""),
        ("script = \"server.js\"\nreload = { canary = { wiat = \"1s\" } }", "did you mean \"wait\"?"),
        ("script = \"server.js\"\nlimits = { nice = 20 }", "limits.nice: 20 is out of range: -20 to 19"),
        ("script = \"server.js\"\nlimits = { address_space = \"1GiB\" }", "limits.address_space: Node reserves"),
        ("command = \"tool\"\nlimits = { cpu = \"500ms\" }", "limits.cpu: CPU time is limited in whole seconds"),
        (
            "command = \"tool\"\nlimits = { core = 5 }",
            "limits.core: 5 has no unit\n  hint: write \"5B\", \"5KiB\" or \"5MiB\"",
        ),
        ("command = \"tool\"\nlimits = { core = \"5M\" }", "limits.core: \"5M\" can mean two things"),
        ("script = \"server.js\"\nlogs = { max_size = \"big\" }", "logs.max_size: \"big\" is not a size"),
        ("script = \"server.js\"\nlogs = { keep = 1001 }", "logs.keep: 1001 is out of range: 0 to 1000"),
        (
            "script = \"server.js\"\nlogs = { fromat = \"json\" }",
            "unknown key \"logs.fromat\"\n  hint: did you mean \"format\"?",
        ),
        ("script = \"server.js\"\nuser = \"no such user\"", "user: the user \"no such user\" cannot be found"),
        ("script = \"server.js\"\ngroup = \"root\"", "group: a group goes with a user"),
        ("script = \"server.js\"\nmax_size = \"1MiB\"", "hint: did you mean \"logs.max_size\"?"),
        ("script = \"server.js\"\nnode_args = \"-x\"", "hint: musher calls this \"interpreter_args\""),
        ("script = \"server.js\"\nkill_timeout = 1600", "hint: musher calls this \"stop.grace\""),
        ("script = \"server.js\"\nenv-file = \"x\"", "hint: did you mean \"env_file\"?"),
        ("script = \"server.js\"\nzzzzzzzzz = 1", "hint: known here: args, autostart, balance, cluster"),
    ] {
        let error = ground.refused(lines);
        assert!(error.contains(expected), "{lines}\n--- says\n{error}\n--- instead of\n{expected}\n");
        assert_eq!(error.lines().filter(|line| line.starts_with("t.toml")).count(), 1, "one fault, one line: {error}");
    }
}

#[test]
fn all_faults_of_a_file_are_reported_at_once_in_the_order_of_the_file() {
    let ground = Ground::new();
    let text = "[[app]]\nscrpt = \"server.js\"\n\n[[app]]\nname = \"a/b\"\nscript = \"missing.js\"\ninstances = 0\n\
                ready = { timeout = 3 }\n";
    let error = ground.toml(text).unwrap_err();
    let places: Vec<String> =
        error.to_string().lines().filter_map(|line| line.strip_prefix("t.toml:")).map(|l| l[..3].to_owned()).collect();
    assert_eq!(places, ["1:1", "2:1", "5:1", "6:1", "7:1", "8:2"], "{error}");
}

#[test]
fn a_name_can_be_used_once() {
    let ground = Ground::new();
    let error = ground.toml("[[app]]\nscript = \"server.js\"\n[[app]]\nname = \"server\"\nscript = \"worker.py\"\n");
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "t.toml:4:1: name: two apps are called \"server\" (the other is in line 1)");
}

#[test]
fn a_key_given_twice_is_reported_in_every_syntax() {
    let ground = Ground::new();
    for (name, text, expected) in [
        (
            "a.json",
            "{\"app\": [{\"script\": \"server.js\",\n\"script\": \"run\"}]}",
            "a.json:2:1: script: given twice; first in line 1",
        ),
        (
            "a.yaml",
            "app:\n  - script: server.js\n    name: a\n    name: b\n",
            "a.yaml:4:5: name: given twice; first in line 3",
        ),
        (
            "a.yaml",
            "app:\n  - script: server.js\n    env: {A: 1, A: 2}\n",
            "a.yaml:3:17: env.A: given twice; first in line 3",
        ),
        ("a.toml", "[[app]]\nscript = \"server.js\"\nscript = \"run\"\n", "a.toml:3:1: duplicate key"),
    ] {
        let error = ground.load(name, text, &Overrides::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_top_of_a_file_is_a_list_of_apps() {
    let ground = Ground::new();
    for (name, text, expected) in [
        ("a.toml", "", "a.toml: no app in this file"),
        ("a.yaml", "", "a.yaml: no app in this file"),
        ("a.json", "", "a.json:1:1: EOF while parsing a value"),
        ("a.json", "[]", "a.json:1:1: no app in this file"),
        ("a.json", "{\"app\": []}", "a.json: no app in this file"),
        ("a.toml", "apps = []", "a.toml:1:1: unknown key \"apps\"\n  hint: did you mean \"app\"?"),
        (
            "a.toml",
            "[app]\nscript = \"x\"",
            "a.toml:1:1: app: expected a list of apps, found a table\n  hint: write [[app]]",
        ),
        ("a.toml", "script = \"x\"", "hint: script belongs to an app: put it under [[app]]"),
        ("a.toml", "app = [1]", "a.toml:1:8: expected a table that describes an app, found the number 1"),
        ("a.yaml", "app: server.js", "a.yaml:1:6: app: expected a list of apps, found the string \"server.js\""),
    ] {
        let error = ground.load(name, text, &Overrides::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {text}\n{error}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named_with_what_is() {
    let ground = Ground::new();
    std::fs::write(ground.path("team.toml"), "").unwrap();
    let error = super::from_file("taem.toml".as_ref(), &Overrides::default(), &ground.around).unwrap_err().to_string();
    assert_eq!(error, "taem.toml: there is no such file\n  hint: did you mean \"team.toml\"?");
    let error = super::from_file("sub".as_ref(), &Overrides::default(), &ground.around).unwrap_err().to_string();
    assert_eq!(error, "sub: this is a directory");
    let error = super::from_file("run".as_ref(), &Overrides::default(), &ground.around).unwrap_err().to_string();
    assert!(error.starts_with("run: a process file ends with .toml"), "{error}");
}

#[test]
fn a_script_that_cannot_be_read_says_so() {
    let mut ground = Ground::new();
    ground.around.env.remove("PATH");
    let error = ground.refused("script = \"server.js\"\nenv = { PATH = \"/nowhere\" }");
    assert!(error.contains("script: server.js needs node: there is no program \"node\" in PATH"), "{error}");
}

#[test]
fn a_probe_that_any_worker_may_answer_is_refused() {
    let ground = Ground::new();
    let fixed = "instances = 2\nhealth = { liveness = \"http://127.0.0.1:80/\" }";
    let refused = ground.refused(&format!("command = \"tool\"\n{fixed}"));
    assert!(refused.contains("any of the workers may answer"), "{refused}");
    // Of a cluster each worker is asked itself; the address says at which of its ports.
    ground.app(fixed);
    let sockets = ground.refused("command = \"tool\"\ninstances = 2\nlisten = 80\nhealth = { liveness = \"tcp\" }");
    assert!(sockets.contains("share the sockets"), "{sockets}");
    ground.whole("command = \"tool\"\nlisten = 80\nhealth = { liveness = \"tcp\" }");
}

#[test]
fn a_wrong_probe_hook_or_limit_says_what_would_be_right() {
    let ground = Ground::new();
    for (lines, part) in [
        ("health = { liveness = \"check.sh\" }", "a command as a list"),
        ("health = { liveness = [\"nosuch\"] }", "nosuch"),
        ("health = { liveness = \"https://127.0.0.1/\" }", "is no probe"),
        ("health = { interval = \"1ms\" }", "100ms to a year"),
        ("health = { failures = 0 }", "1 to 1000"),
        ("health = { event_loop = \"10ms\" }", "100ms to a year"),
        ("health = { watchdog = \"0s\" }", "100ms to a year"),
        ("hooks = { giveup = \"\" }", "the command is empty"),
        ("hooks = { giveup = [\"nosuch\"] }", "nosuch"),
        ("hooks = { timeout = \"2h\" }", "1ms to 1h"),
        ("limits = { memory = 200 }", "200 has no unit"),
        ("limits = { memory = \"200\" }", "has no unit"),
        ("limits = { memory = \"1K\" }", "less than 1MiB"),
        ("limits = { cpu_percent = 0 }", "1 to 100000"),
        ("limits = { cpu_for = \"1ms\" }", "1s to a year"),
        ("max_memory_restart = \"200M\"", "limits.memory"),
    ] {
        let error = ground.refused(&format!("script = \"server.js\"\n{lines}"));
        assert!(error.contains(part), "{lines}: {error}");
    }
}
