//! What each key means.

use std::path::PathBuf;
use std::time::Duration;

use musher_core::spec::{
    AutoScale, Balance, Canary, ListenAddress, LogFormat, Probe, ReadyWhen, RestartPolicy, Runtime,
};

use super::{Ground, Overrides};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_three_syntaxes_mean_the_same() {
    let ground = Ground::new();
    let toml = r#"
        [[app]]
        name = "web"
        script = "server.js"
        instances = 2
        env = { A = 1, B = true, C = "x", D = 1.50 }
        ready = { when = "listening", timeout = "10s" }
        listen = [{ address = "tcp://127.0.0.1:8080", name = "http" }]
        [[app]]
        name = "jobs"
        script = "worker.py"
        args = ["-v", 3]
    "#;
    let yaml = r#"
app:
  - name: web
    script: server.js
    instances: 2
    env: { A: 1, B: true, C: x, D: 1.50 }
    ready: { when: listening, timeout: 10s }
    listen:
      - address: tcp://127.0.0.1:8080
        name: http
  - name: jobs
    script: worker.py
    args: [-v, 3]
"#;
    let json = r#"{ "app": [
        { "name": "web", "script": "server.js", "instances": 2,
          "env": { "A": 1, "B": true, "C": "x", "D": 1.50 },
          "ready": { "when": "listening", "timeout": "10s" },
          "listen": [{ "address": "tcp://127.0.0.1:8080", "name": "http" }] },
        { "name": "jobs", "script": "worker.py", "args": ["-v", 3] } ] }"#;
    let toml = ground.load("a.toml", toml, &Overrides::default()).unwrap();
    let yaml = ground.load("a.yaml", yaml, &Overrides::default()).unwrap();
    let json = ground.load("a.json", json, &Overrides::default()).unwrap();
    assert_eq!(toml, yaml);
    assert_eq!(toml, json);
    assert_eq!(toml[0].env["D"], "1.50");
    assert_eq!(toml[1].exec.args.last().unwrap(), "3");
}

#[test]
fn a_script_is_run_by_the_interpreter_of_its_extension() {
    let ground = Ground::new();
    for (script, program, runtime) in [
        ("server.js", "bin/node", Runtime::NodeCluster),
        ("server.mjs", "bin/node", Runtime::NodeCluster),
        ("server.ts", "bin/node", Runtime::NodeCluster),
        ("worker.py", "bin/python3", Runtime::Plain),
        ("task.sh", "bin/bash", Runtime::Plain),
        ("sub/next", "bin/node", Runtime::NodeCluster),
    ] {
        let app = ground.whole(&format!("name = \"x\"\nscript = \"{script}\"\nargs = \"a 'b c'\""));
        assert_eq!(app.exec.program, ground.path(program), "{script}");
        let path = ground.path(script);
        assert_eq!(app.exec.args, [path.to_str().unwrap(), "a", "b c"], "{script}");
        assert_eq!(app.exec.script, Some(path), "{script}");
        assert_eq!(app.exec.runtime, runtime, "{script}");
    }
    let app = ground.whole("script = \"run\"\nargs = [\"a b\", 1]");
    assert_eq!((app.exec.program, app.exec.args), (ground.path("run"), vec!["a b".to_owned(), "1".to_owned()]));
}

#[test]
fn an_interpreter_is_a_name_a_path_or_none() {
    let ground = Ground::new();
    let program = |lines: &str| ground.whole(lines).exec.program;
    assert_eq!(program("script = \"plain\"\ninterpreter = \"tool\""), ground.path("bin/tool"));
    assert_eq!(program("script = \"plain\"\ninterpreter = \"./bin/tool\""), ground.path("bin/tool"));
    assert_eq!(program("script = \"run\"\ninterpreter = \"none\""), ground.path("run"));
    let app = ground.whole("script = \"server.js\"\ninterpreter_args = \"--max-old-space-size=100 -r x\"");
    assert_eq!(app.exec.args[..3], ["--max-old-space-size=100", "-r", "x"]);
    assert!(app.exec.args[3].ends_with("/server.js"));
}

#[test]
fn bun_and_deno_are_plain_programs() {
    let ground = Ground::new();
    let bun = ground.app("interpreter = \"bun\"");
    assert_eq!((bun.exec.runtime, bun.exec.args.len()), (Runtime::Plain, 1));
    let deno = ground.app("interpreter = \"deno\"\ninterpreter_args = [\"-A\"]");
    assert_eq!(deno.exec.args[..2], ["run", "-A"]);
    // Both speak Node's channel when they are asked to.
    for interpreter in ["bun", "deno"] {
        let spec = ground.app(&format!("interpreter = \"{interpreter}\"\ncluster = false"));
        assert_eq!(spec.exec.runtime, Runtime::NodeFork, "{interpreter}");
    }
}

#[test]
fn cluster_false_makes_a_node_program_bind_its_own_ports() {
    assert_eq!(Ground::new().app("cluster = false").exec.runtime, Runtime::NodeFork);
}

#[test]
fn typescript_gets_the_flag_that_its_node_needs() {
    let ground = Ground::new();
    for (version, expected) in [
        ("v24.1.0", Ok(false)),
        ("v22.18.0", Ok(false)),
        ("v23.6.0", Ok(false)),
        ("v22.17.1", Ok(true)),
        ("v22.6.0", Ok(true)),
        ("v23.5.0", Ok(true)),
        ("v22.5.9", Err("Node 22.5")),
        ("v20.20.2", Err("Node 20.20")),
        ("hello", Err("does not tell its version")),
    ] {
        ground.program("bin/node", &format!("#!/bin/sh\necho {version}\n"));
        match (ground.toml("[[app]]\nscript = \"server.ts\""), expected) {
            (Ok(apps), Ok(flag)) => {
                assert_eq!(apps[0].exec.args[0] == "--experimental-strip-types", flag, "{version}");
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{version}: {error}"),
            (got, _) => panic!("{version}: {got:?}"),
        }
    }
    // Who brings a loader knows what to do.
    ground.program("bin/node", "#!/bin/sh\necho v20.0.0\n");
    ground.whole("script = \"server.ts\"\ninterpreter_args = \"--import tsx\"");
}

#[test]
fn a_command_is_looked_up_in_the_path_of_the_app() {
    let ground = Ground::new();
    let app = ground.whole("command = \"tool --port '1 2'\"\nargs = [\"x\"]");
    assert_eq!(app.exec.program, ground.path("bin/tool"));
    assert_eq!(app.exec.args, ["--port", "1 2", "x"]);
    assert_eq!(app.name, "tool");
    assert_eq!(app.exec.script, None);
    let own = ground.program("sub/bin/mine", "");
    let path = own.parent().unwrap().display();
    assert_eq!(ground.whole(&format!("command = \"mine\"\nenv = {{ PATH = \"{path}\" }}")).exec.program, own);
    assert_eq!(ground.whole("command = [\"./run\", \"a b\"]").exec.args, ["a b"]);
    // A program that speaks the protocol of a cluster says so.
    assert_eq!(app.exec.runtime, Runtime::Plain);
    assert_eq!(ground.whole("command = \"tool\"\ncluster = true").exec.runtime, Runtime::NodeCluster);
}

#[test]
fn node_in_a_command_is_recognised() {
    let ground = Ground::new();
    let app = ground.whole("command = \"node --enable-source-maps server.js 8080\"");
    assert_eq!(app.exec.runtime, Runtime::NodeCluster);
    assert_eq!(app.exec.script, Some(ground.path("server.js")));
    assert_eq!(app.exec.args[0], "--enable-source-maps");
    assert_eq!(app.exec.args[2], "8080");
    assert_eq!(app.name, "server");
    assert_eq!(ground.whole("command = [\"node\", \"-e\", \"1\"]").exec.runtime, Runtime::Plain);
    assert_eq!(ground.whole("command = \"python3 worker.py\"").name, "worker");
}

#[test]
fn paths_are_relative_to_cwd_and_cwd_to_the_file() {
    let ground = Ground::new();
    let app = ground.whole(
        "cwd = \"sub\"\nscript = \"other.js\"\nlogs = { out = \"o.log\", err = \"/tmp/e.log\" }\nlisten = \"unix:s.sock\"",
    );
    assert_eq!(app.cwd, ground.path("sub"));
    assert_eq!(app.exec.script, Some(ground.path("sub/other.js")));
    assert_eq!(app.logs.out, Some(ground.path("sub/o.log")));
    assert_eq!(app.logs.err, Some(PathBuf::from("/tmp/e.log")));
    assert_eq!(app.listen[0].address, ListenAddress::Unix(ground.path("sub/s.sock")));
    assert_eq!(ground.app("").cwd, ground.path(""));
}

#[test]
fn variables_are_declared_read_from_files_or_inherited() {
    let mut ground = Ground::new();
    for name in ["NODE_CHANNEL_FD", "NODE_UNIQUE_ID", "LISTEN_FDS", "NOTIFY_SOCKET", "MUSHER_RUN", "PWD"] {
        ground.around.env.insert(name.into(), "x".into());
    }
    ground.around.env.insert("PORT".into(), "3000".into());
    std::fs::write(ground.path(".env"), "A=file\nB=file\n").unwrap();
    let app = ground.app("env = { A = \"own\" }\nenv_file = \".env\"");
    assert_eq!(app.env.into_iter().collect::<Vec<_>>(), [("A".into(), "own".into()), ("B".into(), "file".into())]);
    assert_eq!(app.base_env.keys().collect::<Vec<_>>(), ["PATH", "PORT"]);
}

#[test]
fn python_writes_its_output_at_once() {
    let mut ground = Ground::new();
    assert_eq!(ground.whole("script = \"worker.py\"").base_env["PYTHONUNBUFFERED"], "1");
    ground.around.env.insert("PYTHONUNBUFFERED".into(), String::new());
    assert_eq!(ground.whole("script = \"worker.py\"").base_env["PYTHONUNBUFFERED"], "");
}

#[test]
fn instances_and_balance() {
    let ground = Ground::new();
    assert_eq!(ground.app("").instances, 1);
    assert_eq!(ground.app("instances = 1000").instances, 1000);
    assert_eq!(ground.app("instances = \"max\"").instances, 3);
    for (word, balance) in [
        ("auto", Balance::Auto),
        ("kernel", Balance::Kernel),
        ("shared", Balance::Shared),
        ("round-robin", Balance::RoundRobin),
    ] {
        assert_eq!(ground.app(&format!("balance = \"{word}\"")).balance, balance);
    }
}

#[test]
fn listen_is_one_address_or_many() {
    let ground = Ground::new();
    let addresses = |lines: &str| -> Vec<String> {
        ground.whole(&format!("command = \"tool\"\n{lines}")).listen.iter().map(|l| l.address.to_string()).collect()
    };
    assert_eq!(addresses("listen = \"tcp://127.0.0.1:80\""), ["tcp://127.0.0.1:80"]);
    assert_eq!(addresses("listen = 80"), ["tcp://[::]:80"]);
    assert_eq!(addresses("listen = [\"udp://127.0.0.1:53\", \"unix:///a\"]"), ["udp://127.0.0.1:53", "unix:///a"]);
    let app = ground.whole("command = \"tool\"\nlisten = { address = \":80\", name = \"http\", backlog = 9 }");
    assert_eq!((app.listen[0].name.as_deref(), app.listen[0].backlog), (Some("http"), 9));
}

#[test]
fn ready_is_a_word_or_a_table() {
    let ground = Ground::new();
    let ready = |value: &str| ground.app(&format!("ready = {value}")).ready;
    assert_eq!(ready("\"listening\"").when, ReadyWhen::Listening);
    assert_eq!(ready("\"message\"").when, ReadyWhen::Message);
    assert_eq!(ready("\"notify\"").when, ReadyWhen::Notify);
    assert_eq!(ready("{ tcp = 80 }").when, ReadyWhen::Tcp { address: "127.0.0.1:80".parse().unwrap() });
    assert_eq!(
        ready("{ http = \"http://localhost:80/up?x\" }").when,
        ReadyWhen::Http { address: "127.0.0.1:80".parse().unwrap(), path: "/up?x".into() }
    );
    assert_eq!(ready("{ after = \"2s\" }").when, ReadyWhen::Alive { after_ms: 2000 });
    let late = ready("{ after = \"5m\" }");
    assert!(late.timeout > Duration::from_secs(300));
    assert_eq!(ready("{ timeout = \"7s\" }").timeout, 7 * SECOND);
}

#[test]
fn restart_is_a_word_or_a_table() {
    let ground = Ground::new();
    assert_eq!(ground.app("restart = \"never\"").restart.policy, RestartPolicy::Never);
    let restart = ground
        .app(
            "restart = { policy = \"on-failure\", stop_exit_codes = [0, 3], min_uptime = \"5s\", delay = \"1s\", factor = 1.5, \
             max_delay = \"1m\", jitter = 0, max_restarts = 3, window = \"1m\" }",
        )
        .restart;
    assert_eq!(restart.policy, RestartPolicy::OnFailure);
    assert_eq!(restart.stop_exit_codes, [0, 3]);
    assert_eq!(restart.min_uptime, 5 * SECOND);
    assert_eq!((restart.backoff.initial, restart.backoff.max), (SECOND, 60 * SECOND));
    assert_eq!((restart.backoff.factor_percent, restart.backoff.jitter_percent), (150, 0));
    assert_eq!((restart.max_restarts, restart.window), (3, 60 * SECOND));
    assert_eq!(ground.app("restart = { delay = \"1m\" }").restart.backoff.max, 60 * SECOND);
}

#[test]
fn stop_reload_limits_and_logs() {
    let ground = Ground::new();
    for signal in ["\"SIGINT\"", "\"INT\"", "\"int\"", "2"] {
        assert_eq!(ground.app(&format!("stop = {{ signal = {signal} }}")).stop.signal, 2, "{signal}");
    }
    let stop = ground.app("stop = { grace = \"1s\", drain = \"0s\", uncaught = \"2s\" }").stop;
    assert_eq!((stop.grace, stop.drain, stop.uncaught), (SECOND, Duration::ZERO, 2 * SECOND));
    assert_eq!(ground.app("reload = { max_surge = 2 }").reload.max_surge, 2);
    let down = ground.app("reload = { max_surge = 0, max_unavailable = 1 }").reload;
    assert_eq!((down.max_surge, down.max_unavailable, down.canary), (0, 1, None));
    let canary = ground.app("reload.canary = { slots = 2, wait = \"1s\", max_errors = 0.05, max_latency = 1.5 }");
    assert_eq!(
        canary.reload.canary,
        Some(Canary { slots: 2, wait: SECOND, max_errors_permille: 50, max_latency_percent: 150 })
    );
    let scaled = ground.app("instances = \"2..8\"");
    assert_eq!((scaled.instances, scaled.scale), (2, Some(AutoScale::between(2, 8))));
    let table = ground.app("instances = { max = 3, up_after = \"1s\", down_after = \"0s\" }").scale;
    assert_eq!(table, Some(AutoScale { min: 1, max: 3, up_after: SECOND, down_after: Duration::ZERO }));
    assert_eq!(ground.app("reload.canary = {}").reload.canary, Some(Canary::default()));
    let limits = ground
        .whole(
            "command = \"tool\"\nlimits = { open_files = 10, address_space = \"1GiB\", core = 0, cpu = \"1m\", processes = 7, \
             nice = -5 }",
        )
        .limits;
    assert_eq!((limits.open_files, limits.address_space_bytes), (Some(10), Some(1 << 30)));
    assert_eq!((limits.core_bytes, limits.cpu_seconds), (Some(0), Some(60)));
    assert_eq!((limits.processes, limits.nice), (Some(7), Some(-5)));
    let logs = ground.app("logs = { format = \"json\", max_size = \"1MiB\", keep = 0 }").logs;
    assert_eq!((logs.format, logs.max_bytes, logs.keep), (LogFormat::Json, 1 << 20, 0));
    assert_eq!(ground.app("logs = { max_size = 0 }").logs.max_bytes, 0);
}

#[test]
fn user_and_group_are_names_or_ids() {
    let ground = Ground::new();
    let root = ground.app("user = \"root\"").user.unwrap();
    assert_eq!((root.uid, root.gid), (0, 0));
    let user = ground.app("user = 0\ngroup = 7").user.unwrap();
    assert_eq!((user.uid, user.gid), (0, 7));
    let named = ground.app("user = \"nobody\"\nenv = { SHELL = \"/mine\" }");
    assert_eq!((named.base_env["USER"].as_str(), named.base_env["LOGNAME"].as_str()), ("nobody", "nobody"));
    assert_ne!(named.base_env["HOME"], "/root", "that of the account");
    assert_eq!(named.env["SHELL"], "/mine");
}

#[test]
fn probes_ask_the_worker_itself_an_address_or_a_command() {
    let ground = Ground::new();
    let probe = |text: &str| ground.app(&format!("health = {{ liveness = {text} }}")).health.liveness.unwrap();
    assert_eq!(probe("\"/health?a=1\""), Probe::Http { address: None, path: "/health?a=1".into() });
    assert_eq!(probe("\"tcp\""), Probe::Tcp { address: None });
    let address = Some("127.0.0.1:80".parse().unwrap());
    assert_eq!(probe("\"http://localhost/x\""), Probe::Http { address, path: "/x".into() });
    assert_eq!(probe("\"tcp://127.0.0.1:80\""), Probe::Tcp { address });
    let command = vec![ground.path("bin/tool").display().to_string(), "-x".to_owned()];
    assert_eq!(probe("[\"tool\", \"-x\"]"), Probe::Exec { command });
    let health =
        ground.app("health = { interval = \"2s\", timeout = \"1s\", failures = 2, delay = \"5s\", event_loop = \"4s\", watchdog = \"3s\" }");
    let health = health.health;
    assert_eq!((health.interval, health.timeout, health.failures), (SECOND * 2, SECOND, 2));
    assert_eq!((health.delay, health.watchdog, health.event_loop), (SECOND * 5, Some(3000), Some(4000)));
}

#[test]
fn a_hook_is_a_line_for_the_shell_or_a_list_of_words() {
    let ground = Ground::new();
    let hook = |text: &str| ground.app(&format!("hooks = {{ giveup = {text} }}")).hooks.giveup.unwrap();
    assert_eq!(hook("\"cat | mail -s help $ADMIN\""), ["/bin/sh", "-c", "cat | mail -s help $ADMIN"]);
    assert_eq!(hook("[\"tool\", \"a b\"]"), [ground.path("bin/tool").display().to_string(), "a b".to_owned()]);
}

#[test]
fn a_limit_of_memory_is_written_as_elsewhere() {
    let ground = Ground::new();
    let memory = |text: &str| ground.app(&format!("limits = {{ memory = \"{text}\" }}")).limits.memory_bytes;
    for text in ["200M", "200MiB", "204800K"] {
        assert_eq!(memory(text), Some(200 << 20), "{text}");
    }
    assert_eq!(memory("1.5G"), Some(3 << 29));
    assert_eq!(memory("200MB"), Some(200_000_000));
    let limits = ground.app("limits = { cpu_percent = 80, cpu_for = \"1m\" }").limits;
    assert_eq!((limits.cpu_percent, limits.cpu_for), (Some(80), SECOND * 60));
}
