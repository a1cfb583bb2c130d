//! PM2's process files: each key, in the words of the musher.toml that it becomes.

use musher_core::spec::{LogFormat, ReadyWhen, RestartPolicy, Runtime};

use super::{Ground, Overrides};
use crate::config::{Flags, Loaded, Surroundings, convert, from_described, from_file};

const MAIN: &str = "p.json";

fn overrides(environment: Option<&str>) -> Overrides {
    let flags = Flags { env: environment.map(str::to_owned).into_iter().collect(), ..Flags::default() };
    Overrides { flags, ..Overrides::default() }
}

impl Ground {
    /// The file as a musher.toml, without what is always there, and the notes.
    #[track_caller]
    fn converted(&self, json: &str, environment: Option<&str>) -> (String, Vec<String>) {
        std::fs::write(self.path(MAIN), json).unwrap();
        let (toml, notes) = convert(MAIN.as_ref(), &overrides(environment), &self.around)
            .unwrap_or_else(|error| panic!("{json}\n{error}"));
        // What is printed is what would have been started.
        let direct = self.pm2(json, environment).specs;
        let printed = self.toml(&toml).unwrap_or_else(|error| panic!("{toml}\n{error}"));
        assert_eq!(printed, direct, "{toml}");
        (toml, notes)
    }

    #[track_caller]
    fn pm2(&self, json: &str, environment: Option<&str>) -> Loaded {
        std::fs::write(self.path(MAIN), json).unwrap();
        from_file(MAIN.as_ref(), &overrides(environment), &self.around)
            .unwrap_or_else(|error| panic!("{json}\n{error}"))
    }

    /// The lines that these keys of one app become, beside those of the script alone.
    #[track_caller]
    fn lines(&self, keys: &str) -> Vec<String> {
        let plain = self.converted("{\"apps\":[{\"script\":\"server.js\"}]}", None).0;
        let (toml, notes) = self.converted(&format!("{{\"apps\":[{{\"script\":\"server.js\",{keys}}}]}}"), None);
        assert_eq!(notes, [""; 0], "{keys}");
        toml.lines().filter(|line| !plain.lines().any(|plain| plain == *line)).map(str::to_owned).collect()
    }

    #[track_caller]
    fn notes(&self, keys: &str) -> String {
        let loaded = self.pm2(&format!("{{\"apps\":[{{\"script\":\"server.js\",{keys}}}]}}"), None);
        loaded.notes.join("; ")
    }
}

#[test]
fn each_key_becomes_one_of_a_musher_toml() {
    let ground = Ground::new();
    for (keys, line) in [
        (r#""name":"web""#, r#"name = "web""#),
        (r#""namespace":"shop""#, r#"namespace = "shop""#),
        (r#""args":"--port 3000 'a b'""#, r#"args = ["--port", "3000", "a b"]"#),
        (r#""args":["-x",1]"#, r#"args = ["-x", 1]"#),
        (r#""node_args":"--max-old-space-size=100""#, r#"interpreter_args = ["--max-old-space-size=100"]"#),
        (r#""interpreterArgs":["--trace-warnings"]"#, r#"interpreter_args = ["--trace-warnings"]"#),
        (r#""source_map_support":true"#, r#"interpreter_args = ["--enable-source-maps"]"#),
        (r#""cwd":"sub","script":"other.js""#, r#"name = "other""#),
        (r#""autorestart":false"#, r#"restart = { policy = "never" }"#),
        (r#""stop_exit_codes":0"#, "restart = { stop_exit_codes = [0] }"),
        (r#""stop_exit_codes":[0,"3"]"#, "restart = { stop_exit_codes = [0, 3] }"),
        (r#""max_restarts":5,"min_uptime":"10s""#, r#"restart = { min_uptime = "10s", max_restarts = 5 }"#),
        (r#""restart_delay":4000"#, r#"restart = { delay = "4000ms", max_delay = "4000ms", factor = 1, jitter = 0 }"#),
        (r#""exp_backoff_restart_delay":100"#, r#"restart = { delay = "100ms", factor = 1.5, max_delay = "15s" }"#),
        (r#""max_memory_restart":"300M""#, r#"limits = { memory = "300M" }"#),
        (r#""maxMemoryRestart":104857600"#, r#"limits = { memory = "104857600B" }"#),
        (r#""kill_timeout":3000"#, r#"stop = { grace = "3000ms", signal = "SIGINT" }"#),
        (r#""treekill":false"#, r#"stop = { tree = false, signal = "SIGINT" }"#),
        (r#""shutdown_with_message":true"#, r#"stop = { message = true, signal = "SIGINT" }"#),
        (r#""wait_ready":true,"listen_timeout":5000"#, r#"ready = { timeout = "5000ms", when = "message" }"#),
        (r#""autostart":false"#, "autostart = false"),
        (r#""filter_env":["npm_","AWS"]"#, r#"filter_env = ["npm_", "AWS"]"#),
        (r#""instance_var":"NO""#, r#"instance_var = "NO""#),
        (r#""increment_var":"PORT","env":{"PORT":3000}"#, r#"increment_var = "PORT""#),
        (r#""port":8080"#, "env = { PORT = 8080 }"),
        (r#""env":{"A":{"b":[1]},"C":true,"D":null}"#, r#"env = { A = '{"b":[1]}', C = true }"#),
        (r#""out_file":"o.log","error_file":"NULL""#, r#"logs = { err = "/dev/null", out = "o.log" }"#),
        (r#""disable_logs":true"#, r#"logs = { out = "/dev/null", err = "/dev/null" }"#),
        (r#""log_type":"json""#, r#"logs = { format = "pm2-json" }"#),
        (r#""time":true"#, r#"logs = { date_format = "YYYY-MM-DDTHH:mm:ss" }"#),
        (r#""log_date_format":"HH:mm","time":true"#, r#"logs = { date_format = "HH:mm" }"#),
        (r#""log_file":"all.log""#, r#"logs = { combined = "all.log" }"#),
        (r#""log":"NULL","merge_logs":false"#, "logs = { per_worker = true }"),
        (r#""combine_logs":true"#, ""),
        (r#""instances":4"#, "instances = 4"),
        (r#""instances":"max""#, r#"instances = "max""#),
        (r#""instances":0"#, r#"instances = "max""#),
        (r#""instances":-1"#, "instances = 2"),
        (r#""instances":-7,"exec_mode":"cluster""#, "instances = 1"),
        (r#""watch":false,"cron_restart":0"#, ""),
    ] {
        let lines = ground.lines(keys);
        assert!(line.is_empty() || lines.iter().any(|found| found == line), "{keys}: {lines:#?}");
    }
}

#[test]
fn the_kind_of_worker_is_that_of_pm2() {
    let ground = Ground::new();
    let kind = |keys: &str| {
        let spec = ground.pm2(&format!("{{{keys}}}"), None).specs.remove(0);
        (spec.exec.runtime, spec.instances)
    };
    let script = r#""script":"server.js""#;
    for (keys, expected) in [
        ("", (Runtime::NodeFork, 1)),
        (r#","instances":1"#, (Runtime::NodeCluster, 1)),
        (r#","instances":"max""#, (Runtime::NodeCluster, 3)),
        (r#","instances":-1"#, (Runtime::NodeCluster, 2)),
        (r#","instances":-2"#, (Runtime::NodeFork, 1)),
        (r#","instances":2,"exec_mode":"fork""#, (Runtime::NodeFork, 2)),
        (r#","exec_mode":"cluster""#, (Runtime::NodeCluster, 1)),
        (r#","instances":2,"execute_command":true"#, (Runtime::NodeFork, 2)),
        (r#","interpreter":"node@20","exec_mode":"cluster_mode""#, (Runtime::NodeCluster, 1)),
    ] {
        assert_eq!(kind(&format!("{script}{keys}")), expected, "{keys}");
    }
    assert_eq!(kind(r#""script":"worker.py","instances":3"#), (Runtime::Plain, 3));
    let fork = ground.pm2(r#"{"script":"server.js"}"#, None).specs.remove(0);
    assert_eq!((fork.reload.max_surge, fork.reload.max_unavailable), (0, 1), "it opens its port by itself");
    assert_eq!(fork.stop.signal, 2);
}

#[test]
fn what_is_no_file_is_a_command() {
    let ground = Ground::new();
    let args = |json: &str| {
        let spec = ground.pm2(json, None).specs.remove(0);
        let program = spec.exec.program.file_name().unwrap().to_string_lossy().into_owned();
        (spec.name, program, spec.exec.args)
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        args(r#"{"script":"tool --fast && tool","name":"t"}"#),
        ("t".into(), "bash".into(), words(&["-c", "tool --fast && tool"]))
    );
    assert_eq!(
        args(r#"{"script":"tool","args":"run build"}"#),
        ("tool".into(), "tool".into(), words(&["run", "build"]))
    );
    let (name, program, _) = args(r#"[{"script":"plain"}]"#);
    assert_eq!((name.as_str(), program.as_str()), ("plain", "node"), "a text that nothing says how to run is Node's");
}

#[test]
fn an_environment_is_put_over_the_variables() {
    let ground = Ground::new();
    let json = r#"{"apps":[{"name":"web","script":"server.js","append_env_to_name":true,
        "env":{"A":"1","B":"1"},"env_production":{"B":"2"}}]}"#;
    let plain = ground.pm2(json, None).specs.remove(0);
    assert_eq!((plain.name.as_str(), plain.env["B"].as_str()), ("web", "1"));
    let loaded = ground.pm2(json, Some("production"));
    assert_eq!(loaded.notes, [""; 0]);
    let spec = &loaded.specs[0];
    assert_eq!((spec.name.as_str(), spec.env["A"].as_str(), spec.env["B"].as_str()), ("web-production", "1", "2"));
    let note = ground.pm2(json, Some("stagin")).notes.join("; ");
    assert!(note.contains("env_stagin"), "{note}");
}

#[test]
fn nothing_is_dropped_without_a_word() {
    let ground = Ground::new();
    for (keys, part) in [
        (r#""watch":true,"watch_options":{"usePolling":true}"#, "watch_options changes nothing here"),
        (r#""log_file":"o.log","out_file":"o.log""#, "log_file is left out"),
        (r#""vizion":false"#, "vizion changes nothing here"),
        (r#""instnaces":2"#, "\"instnaces\" is no key of PM2: did you mean \"instances\"?"),
        (r#""log_date_format":"YYYY [week] Qo""#, "'Q', 'o'"),
        (r#""max_restarts":99999999"#, "10000"),
    ] {
        let notes = ground.notes(keys);
        assert!(notes.contains(part), "{keys}: {notes}");
    }
    let told = ground.pm2(r#"{"apps":[{"script":"server.js"}],"deploy":{},"static":[]}"#, None).notes;
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn a_name_that_is_there_twice_is_told_apart() {
    let ground = Ground::new();
    let json =
        r#"[{"script":"server.js"},{"script":"server.js","pid_file":"x.pid"},{"script":"server.js","name":"7"}]"#;
    let loaded = ground.pm2(json, None);
    let names: Vec<&str> = loaded.specs.iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!(names, ["server", "server::2", "7::1"]);
    assert_eq!(loaded.notes, ["a second app is called server: to musher it is server::2"]);
    assert!(loaded.specs[1].pid_file.as_ref().unwrap().ends_with("x.pid"));
}

#[test]
fn every_form_of_the_file_is_known() {
    let ground = Ground::new();
    for json in [
        r#"{"apps":[{"script":"server.js"}]}"#,
        r#"{"apps":{"script":"server.js"}}"#,
        r#"{"pm2":[{"script":"server.js"}]}"#,
        r#"[{"script":"server.js"}]"#,
        r#"{"exec":"server.js"}"#,
        "{ apps: [{ script: './server.js', watch : false, env: { $A_1: 'it\\'s \"it\"' } }] }",
        "// PM2 takes this\n{\"apps\": [{ /* ; */ \"script\": \"server.js\", \"args\": [\"http://x/*,]\",], }, ], } // end",
    ] {
        let names: Vec<String> = ground.pm2(json, None).specs.into_iter().map(|spec| spec.name).collect();
        assert_eq!(names, ["server"], "{json}");
    }
    let yaml = ground.load("p.yaml", "apps:\n  - script: server.js\n    exec_mode: cluster\n", &overrides(None));
    assert_eq!(yaml.unwrap()[0].exec.runtime, Runtime::NodeCluster);
}

#[test]
fn a_deployment_that_env_names_has_variables_too() {
    let ground = Ground::new();
    let file = |app: &str| {
        format!(
            r#"{{"apps":[{{"script":"server.js","env":{{"A":"app","B":"app"}}{app}}}],
                "deploy":{{"production":{{"env":{{"A":"d","C":"d","D":{{"x":1}}}}}},"other":{{"env":{{"E":"e"}}}}}}}}"#
        )
    };
    let variables = |loaded: &Loaded| {
        let env = loaded.specs[0].env.iter().map(|(name, value)| format!("{name}={value}"));
        env.collect::<Vec<_>>().join(" ")
    };
    let loaded = ground.pm2(&file(""), Some("production"));
    assert_eq!(variables(&loaded), r#"A=d B=app C=d D={"x":1}"#);
    assert_eq!(loaded.notes, [""; 0]);
    let loaded = ground.pm2(&file(r#","env_production":{"B":"p","C":"p"}"#), Some("production"));
    assert_eq!(variables(&loaded), r#"A=d B=p C=p D={"x":1}"#);
    assert_eq!(variables(&ground.pm2(&file(""), None)), "A=app B=app");
}

#[test]
fn called_as_pm2_the_workers_logs_are_apart_where_pm2_has_them_apart() {
    let mut ground = Ground::new();
    ground.around.as_pm2 = true;
    for (keys, apart) in [
        (r#""out_file":"o.log","instances":2"#, true),
        (r#""log":"o.log","exec_mode":"cluster""#, true),
        (r#""out_file":"o.log","instances":2,"merge_logs":true"#, false),
        (r#""out_file":"o.log""#, false),
        (r#""instances":2"#, false),
    ] {
        let loaded = ground.pm2(&format!(r#"{{"apps":[{{"script":"server.js",{keys}}}]}}"#), None);
        assert_eq!(loaded.specs[0].logs.per_worker, apart, "{keys}");
    }
}

#[test]
fn the_extensions_that_pm2_knows_name_interpreters() {
    let ground = Ground::new();
    for (extension, interpreter) in [("coffee", "coffee"), ("ls", "lsc")] {
        std::fs::write(ground.path(&format!("job.{extension}")), "").unwrap();
        let program = ground.program(&format!("bin/{interpreter}"), "#!/bin/sh\n");
        let spec = ground.pm2(&format!(r#"{{"script":"job.{extension}"}}"#), None).specs.remove(0);
        assert_eq!(spec.exec.program, program);
        assert_eq!(spec.exec.runtime, Runtime::Plain);
    }
}

#[test]
fn a_map_beside_a_script_is_used_unless_that_is_refused() {
    let ground = Ground::new();
    let maps = |keys: &str| {
        let spec = ground.pm2(&format!(r#"[{{"script":"server.js"{keys}}}]"#), None).specs.remove(0);
        spec.exec.args.contains(&"--enable-source-maps".to_owned())
    };
    assert_eq!([maps(""), maps(r#","source_map_support":true"#)], [false, true]);
    std::fs::write(ground.path("server.js.map"), "{}").unwrap();
    let no = [r#","disable_source_map_support":true"#, r#","source_map_support":false"#];
    assert_eq!([maps(""), maps(no[0]), maps(no[1])], [true, false, false]);
}

#[test]
fn what_is_not_node_is_no_cluster_and_that_is_told() {
    let ground = Ground::new();
    let mut loaded = ground.pm2(r#"[{"script":"worker.py","exec_mode":"cluster","instances":2}]"#, None);
    assert!(
        loaded.notes.iter().any(|note| note.contains("only a Node program can be a cluster")),
        "{:?}",
        loaded.notes
    );
    let spec = loaded.specs.remove(0);
    assert_eq!((spec.exec.runtime, spec.instances), (Runtime::Plain, 2));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let ground = Ground::new();
    let refused = |json: &str| {
        std::fs::write(ground.path(MAIN), json).unwrap();
        from_file(MAIN.as_ref(), &overrides(None), &ground.around).unwrap_err().to_string()
    };
    assert!(
        refused("{\"apps\":[\n{\"script\":\"server.js\",\n\"max_memory_restart\":\"lots\"}]}").contains("p.json:3:")
    );
    assert!(refused(r#"{"apps":[{"script":"server.js","exec_mode":"clutser"}]}"#).contains("is not a mode"));
    assert!(refused(r#"{"apps":[{"script":"gone.js"}]}"#).contains("gone.js"));
    assert!(refused(r#"{"apps":[]}"#).contains("no app in this file"));
    assert!(refused(r#"{"apps":["server.js"]}"#).contains("an app is a table"));
    let place = refused("{\"apps\": [{ // \u{e9}\n \"script\": \"server.js\", \"exec_mode\": 3, }]}");
    assert!(place.contains("p.json:2:38: exec_mode"), "{place}");
    let code = refused("{ apps: [{ name: 'a', // 1\n script: require('server.js') }] }");
    assert!(code.contains("p.json:2:10: expected value\n  hint: a JSON file is data"), "{code}");
    let code = refused("{ apps: [{ script: `server.js` }] }");
    assert!(code.contains("p.json:1:20: expected value"), "{code}");
}

#[test]
fn the_shells_directory_is_the_apps_as_with_pm2() {
    let ground = Ground::new();
    std::fs::write(ground.path("sub/p.json"), r#"{"apps":[{"script":"server.js"},{"name":"o","script":"other.js"}]}"#)
        .unwrap();
    let specs = from_file("sub/p.json".as_ref(), &overrides(None), &ground.around).unwrap().specs;
    assert_eq!(specs[0].cwd, ground.path(""), "found from where the command was typed");
    assert_eq!(specs[1].cwd, ground.path("sub"), "found beside the file");
}

#[test]
fn the_translation_reaches_the_spec() {
    let ground = Ground::new();
    let spec = ground.pm2(
        r#"{"script":"server.js","wait_ready":true,"listen_timeout":"5s","time":true,"autorestart":false,
            "instance_var":"NODE_APP_INSTANCE","autostart":false,"namespace":"n"}"#,
        None,
    );
    let spec = &spec.specs[0];
    assert_eq!(spec.ready.when, ReadyWhen::Message);
    assert_eq!(spec.ready.timeout.as_secs(), 5);
    assert_eq!(spec.logs.date_format.as_deref(), Some("YYYY-MM-DDTHH:mm:ss"));
    assert_eq!(spec.logs.format, LogFormat::Raw);
    assert_eq!(spec.restart.policy, RestartPolicy::Never);
    assert_eq!(spec.slot_variables.number, None);
    assert!(!spec.autostart);
    assert_eq!(spec.namespace, "n");
}

#[test]
fn files_below_the_home_are_found_there_and_short_waits_for_a_port_are_no_failure() {
    let ground = Ground::new();
    let env = [("PATH", ground.around.env["PATH"].as_str()), ("HOME", "/h")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let around = Surroundings { env, ..ground.around.clone() };
    let described = |keys: &str| {
        let text = format!("{{\"apps\":[{{\"script\":\"server.js\"{keys}}}]}}");
        from_described(&text, &overrides(None), &around).unwrap()
    };
    let spec = described(r#","out_file":"~/o.log","log_file":"~/all.log","pid_file":"~/p.pid","error_file":"~e.log""#);
    let spec = &spec.specs[0];
    let path = |path: &str| Some(std::path::PathBuf::from(path));
    assert_eq!((spec.logs.out.clone(), spec.logs.combined.clone()), (path("/h/o.log"), path("/h/all.log")));
    assert_eq!((spec.pid_file.clone(), spec.logs.err.clone()), (path("/h/p.pid"), Some(ground.path("~e.log"))));

    let timeout = |keys: &str| {
        let loaded = described(keys);
        (loaded.specs[0].ready.timeout.as_millis(), loaded.notes.iter().any(|note| note.contains("listen_timeout")))
    };
    assert_eq!(timeout(r#","listen_timeout":1000"#), (30_000, true));
    assert_eq!(timeout(r#","listen_timeout":8000"#), (8000, false));
    assert_eq!(timeout(r#","listen_timeout":1000,"wait_ready":true"#), (1000, false));
}

#[test]
fn folders_that_pm2_would_serve_are_served_by_musher() {
    let ground = Ground::new();
    let file = r#"{"apps":[{"script":"serve","name":"docs","instances":2,"env":{"PM2_SERVE_PATH":"html",
        "PM2_SERVE_PORT":"7001","PM2_SERVE_SPA":"true","PM2_SERVE_BASIC_AUTH_USERNAME":"ann",
        "PM2_SERVE_BASIC_AUTH_PASSWORD":"secret","PM2_SERVE_HOST":"0.0.0.0","OTHER":"1"}}],
        "static":[{"path":"files","port":7002,"ftp":true,"basic_auth":{"username":"bob","password":"p"}}]}"#;
    let loaded = ground.pm2(file, None);
    let [docs, files] = &loaded.specs[..] else { panic!("{:?}", loaded.specs) };
    assert_eq!((docs.name.as_str(), docs.instances), ("docs", 2));
    assert_eq!(docs.exec.args, ["serve", "html", "7001", "--foreground", "--host", "0.0.0.0", "--spa"]);
    assert_eq!(docs.env["SERVE_USERNAME"], "ann");
    assert_eq!(docs.env["SERVE_PASSWORD"], "secret");
    assert_eq!(docs.env["OTHER"], "1");
    assert_eq!(docs.listen.len(), 1);
    assert_eq!(files.name, "static-page-server-7002");
    assert_eq!(files.exec.args, ["serve", "files", "7002", "--foreground", "--host", "127.0.0.1", "--listing"]);
    assert_eq!(files.env["SERVE_PASSWORD"], "p");
    assert!(loaded.notes.iter().any(|note| note.contains("this machine only")), "{:?}", loaded.notes);
    let half = r#"{"static":[{"path":"files","basic_auth":{"username":"bob"}}]}"#;
    std::fs::write(ground.path(MAIN), half).unwrap();
    let refused = from_file(MAIN.as_ref(), &overrides(None), &ground.around).unwrap_err().to_string();
    assert!(refused.contains("go together"), "{refused}");
    let named = r#"{"apps":[{"script":"serve","env":{"PM2_SERVE_PORT":7003},"env_live":{
        "PM2_SERVE_BASIC_AUTH_USERNAME":"ann","PM2_SERVE_BASIC_AUTH_PASSWORD":"secret"}}]}"#;
    assert_eq!(ground.pm2(named, Some("live")).specs[0].env["SERVE_PASSWORD"], "secret");
    let alone = ground.pm2(r#"{"static":[{"path":"files"}]}"#, None);
    assert_eq!(alone.specs[0].name, "static-page-server-8080");
}

#[test]
fn variables_of_the_shell_can_be_kept_back() {
    let ground = Ground::new();
    let path = ground.around.env["PATH"].clone();
    let env = [("PATH", path.as_str()), ("AWS_KEY", "s"), ("npm_config", "x"), ("HOME", "/h")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let around = Surroundings { env, ..ground.around.clone() };
    let kept = |filter: &str| {
        let json = format!("{{\"script\":\"server.js\",\"filter_env\":{filter}}}");
        std::fs::write(ground.path(MAIN), json).unwrap();
        let spec = from_file(MAIN.as_ref(), &overrides(None), &around).unwrap().specs.remove(0);
        spec.base_env.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(kept("[\"AWS\"]"), ["HOME", "PATH", "npm_config"]);
    assert_eq!(kept("\"npm_\""), ["AWS_KEY", "HOME", "PATH"]);
    assert_eq!(kept("true"), ["HOME", "PATH"]);
    assert_eq!(kept("false").len(), 4);
}

#[test]
fn a_command_line_is_run_by_the_shell_and_names_its_app() {
    let ground = Ground::new();
    let line = "node -e 'console.log(1)' ./a/b";
    let loaded = ground.pm2(&format!("{{\"apps\":[{{\"script\":{line:?}}}]}}"), None);
    assert_eq!(
        (loaded.specs[0].name.as_str(), &loaded.specs[0].exec.args[1]),
        ("node -e console.log 1 a b", &line.into())
    );
    assert!(loaded.notes[0].contains("called \"node -e console.log 1 a b\""), "{:?}", loaded.notes);
    let plain = ground.pm2("{\"script\":\"node server.js --x\"}", None);
    assert_eq!((plain.specs[0].name.as_str(), plain.notes.len()), ("node server.js --x", 0));
}

#[test]
fn what_pm2_reads_from_the_environment_is_a_default() {
    let mut ground = Ground::new();
    let stop = |ground: &Ground, keys: &str| {
        let loaded = ground.pm2(&format!("{{\"apps\":[{{\"script\":\"server.js\"{keys}}}]}}"), None);
        let stop = loaded.specs[0].stop.clone();
        (stop.grace.as_millis(), stop.message, stop.signal, loaded.notes)
    };
    let usual = stop(&ground, "");
    for (name, value) in [("PM2_KILL_TIMEOUT", "2500"), ("PM2_KILL_USE_MESSAGE", "1"), ("PM2_KILL_SIGNAL", "SIGTERM")] {
        ground.around.env.insert(name.into(), value.into());
    }
    let signal = stop(&ground, "").2;
    assert_ne!(signal, usual.2);
    assert_eq!(stop(&ground, ""), (2500, true, signal, Vec::new()));
    let keys = ",\"kill_timeout\":700,\"shutdown_with_message\":false";
    assert_eq!(stop(&ground, keys), (700, false, signal, Vec::new()));
    ground.around.env.insert("PM2_KILL_TIMEOUT".into(), "soon".into());
    ground.around.env.insert("PM2_KILL_USE_MESSAGE".into(), "false".into());
    let (grace, message, _, notes) = stop(&ground, "");
    assert_eq!((grace, message), (usual.0, false));
    assert!(notes[0].contains("PM2_KILL_TIMEOUT") && notes[0].contains("soon"), "{notes:?}");
}
