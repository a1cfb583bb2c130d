//! What a spec may say.

use std::path::PathBuf;
use std::time::Duration;

use musher_core::SlotId;
use musher_core::spec::{AppSpec, Balance, Exec, Listen, ListenAddress, MAX_INSTANCES, ReadyWhen, Runtime, check_name};

fn spec() -> AppSpec {
    let exec = Exec {
        program: "/usr/bin/node".into(),
        args: vec!["/srv/app.js".into()],
        script: Some("/srv/app.js".into()),
        runtime: Runtime::NodeCluster,
    };
    AppSpec::new("web", exec, "/srv")
}

fn faults(change: impl FnOnce(&mut AppSpec)) -> Vec<&'static str> {
    let mut spec = spec();
    change(&mut spec);
    spec.check().err().unwrap_or_default().into_iter().map(|fault| fault.field).collect()
}

#[test]
fn a_spec_with_every_default_is_valid() {
    assert_eq!(spec().check(), Ok(()));
}

#[test]
fn every_fault_is_told_at_once() {
    let all = faults(|spec| {
        spec.name = "a/b".into();
        spec.cwd = "srv".into();
        spec.instances = 0;
        spec.stop.signal = 0;
        spec.logs.keep = 1001;
    });
    assert_eq!(all, ["name", "cwd", "instances", "stop.signal", "logs.keep"]);
}

#[test]
fn each_limit_has_its_fault() {
    type Change = fn(&mut AppSpec);
    let cases: &[(&str, Change)] = &[
        ("command", |spec| spec.exec.program = "node".into()),
        ("args", |spec| spec.exec.args.push("a\0b".into())),
        ("env", |spec| drop(spec.env.insert("A=B".into(), String::new()))),
        ("env", |spec| drop(spec.env.insert("A".into(), "\0".into()))),
        ("namespace", |spec| spec.namespace = String::new()),
        ("instance_var", |spec| spec.slot_variables.number = Some("A=B".into())),
        ("increment_var", |spec| {
            spec.slot_variables.increment = Some("PORT".into());
            spec.env.insert("PORT".into(), "http".into());
        }),
        ("stop.message", |spec| {
            spec.exec.runtime = Runtime::Plain;
            spec.stop.message = true;
        }),
        ("env", |spec| drop(spec.env.insert("WATCHDOG_USEC".into(), "1".into()))),
        ("env", |spec| drop(spec.env.insert("MUSHER_RUN".into(), "1".into()))),
        ("base_env", |spec| drop(spec.base_env.insert(String::new(), String::new()))),
        ("env", |spec| drop(spec.env.insert("A".into(), "x".repeat(2 << 20)))),
        ("instances", |spec| spec.instances = MAX_INSTANCES + 1),
        ("restart.factor", |spec| spec.restart.backoff.factor_percent = 99),
        ("restart.jitter", |spec| spec.restart.backoff.jitter_percent = 101),
        ("restart.window", |spec| spec.restart.window = Duration::ZERO),
        ("restart.stop_exit_codes", |spec| spec.restart.stop_exit_codes = vec![256]),
        ("ready.timeout", |spec| spec.ready.timeout = Duration::ZERO),
        ("ready.after", |spec| spec.ready.when = ReadyWhen::Alive { after_ms: 30_000 }),
        ("stop.signal", |spec| spec.stop.signal = 19),
        ("stop.grace", |spec| spec.stop.grace = Duration::from_secs(400 * 86_400)),
        ("reload.max_surge", |spec| spec.reload.max_surge = 0),
        ("limits.nice", |spec| spec.limits.nice = Some(20)),
        ("logs.err", |spec| spec.logs.err = Some("err.log".into())),
        ("listen.backlog", |spec| spec.listen = vec![listen("tcp://:80", 0)]),
        ("listen", |spec| spec.listen = vec![listen("tcp://:80", 1), listen("80", 1)]),
        ("listen", |spec| spec.listen = vec![listen(&format!("/{}", "x".repeat(107)), 1)]),
        ("balance", |spec| {
            spec.exec.runtime = Runtime::Plain;
            spec.balance = Balance::RoundRobin;
        }),
        ("ready", |spec| {
            spec.exec.runtime = Runtime::Plain;
            spec.ready.when = ReadyWhen::Message;
        }),
    ];
    for (field, change) in cases {
        assert_eq!(faults(change), [*field]);
    }
}

fn listen(address: &str, backlog: u32) -> Listen {
    Listen { address: address.parse().unwrap_or(ListenAddress::Unix(PathBuf::new())), name: None, backlog }
}

#[test]
fn names_are_words_that_nothing_else_means() {
    for good in ["web", "Web 2", "api.v1", "a", "12a", "tęam", "job@night:1", &"x".repeat(64)] {
        assert_eq!(check_name(good), Ok(()), "{good:?}");
    }
    for bad in ["", "all", "12", "a/b", "..", ".hidden", "-x", " x", "x ", "a\nb", "a\u{1b}[0m", "a\0", &"x".repeat(65)]
    {
        assert!(check_name(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn addresses_are_read_as_they_are_written() {
    let cases = [
        ("tcp://127.0.0.1:8080", "tcp://127.0.0.1:8080"),
        ("127.0.0.1:8080", "tcp://127.0.0.1:8080"),
        ("localhost:8080", "tcp://127.0.0.1:8080"),
        ("8080", "tcp://[::]:8080"),
        ("tcp://:8080", "tcp://[::]:8080"),
        ("tcp://[::1]:80", "tcp://[::1]:80"),
        ("udp://0.0.0.0:53", "udp://0.0.0.0:53"),
        ("unix:///run/app.sock", "unix:///run/app.sock"),
        ("/run/app.sock", "unix:///run/app.sock"),
    ];
    for (written, read) in cases {
        assert_eq!(written.parse::<ListenAddress>().map(|address| address.to_string()), Ok(read.into()), "{written}");
        assert_eq!(read.parse::<ListenAddress>().map(|address| address.to_string()), Ok(read.into()));
    }
    for bad in ["", "tcp://", "example.com:80", "tcp://1.2.3.4", "1.2.3.4:99999", "http://1.2.3.4:80"] {
        assert!(bad.parse::<ListenAddress>().is_err(), "{bad}");
    }
}

#[test]
fn only_what_concerns_the_processes_makes_a_spec_another_one() {
    let differs = |change: fn(&mut AppSpec)| {
        let mut other = spec();
        change(&mut other);
        spec().differs_in_process(&other)
    };
    assert!(!differs(|_| ()));
    assert!(!differs(|spec| spec.instances = 7));
    assert!(!differs(|spec| spec.namespace = "shop".into()));
    assert!(!differs(|spec| spec.autostart = false));
    assert!(!differs(|spec| spec.pid_file = Some("/run/web.pid".into())));
    assert!(differs(|spec| spec.slot_variables.number = Some("NO".into())));
    assert!(!differs(|spec| drop(spec.base_env.insert("SHLVL".into(), "2".into()))));
    assert!(differs(|spec| drop(spec.env.insert("A".into(), "1".into()))));
    assert!(differs(|spec| spec.exec.args.push("--verbose".into())));
}

#[test]
fn the_pid_file_of_a_slot_has_its_number() {
    let of = |path: &str| {
        let spec = AppSpec { pid_file: Some(path.into()), ..spec() };
        spec.pid_file_of(SlotId(3)).unwrap().display().to_string()
    };
    assert_eq!(
        [of("/run/web.pid"), of("/run/web"), of("/run/a.b.pid")],
        ["/run/web-3.pid", "/run/web-3", "/run/a.b-3.pid"]
    );
    assert_eq!(spec().pid_file_of(SlotId(0)), None);
}

#[test]
fn a_spec_survives_json_and_refuses_unknown_keys() -> serde_json::Result<()> {
    let mut json = serde_json::to_value(spec())?;
    assert_eq!(serde_json::from_value::<AppSpec>(json.clone())?, spec());
    json["instanzes"] = 3.into();
    assert!(serde_json::from_value::<AppSpec>(json).is_err());
    Ok(())
}
