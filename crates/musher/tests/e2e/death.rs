//! A death is explained in one place: `describe`, the event `died`, and the JSON of both.

use serde_json::Value;

use crate::support::told::wait_event;
use crate::support::{Home, wait_for};

/// Starts `program` once, with these lines beside it, and waits for the story of its death.
#[track_caller]
fn death_of(home: &Home, program: &str, lines: &str) -> Value {
    home.write("team.toml", &format!("[[app]]\nname = \"x\"\nrestart = \"never\"\n{program}\n{lines}\n"));
    // Whether it dies before it is ready is up to it.
    home.run(["start", "team.toml"]);
    let described = wait_for("the death is described", || {
        let death = home.ok(["describe", "x", "--json"]).json()["slots"][0]["last_death"].clone();
        (death["stderr"].as_array().is_some_and(|lines| !lines.is_empty())).then_some(death)
    });
    home.ok(["describe", "x"]);
    described
}

fn words(death: &Value) -> String {
    death["stderr"].as_array().unwrap().iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

/// A line that a shell worker ends its last words with.
const SAYS: &str = "echo one >&2; echo last words >&2;";

#[test]
fn an_exit_code_of_a_shell_worker_with_its_last_words() {
    let home = Home::new();
    let program = format!("command = [\"sh\", \"-c\", \"{SAYS} exit 7\"]");
    let death = death_of(&home, &program, "");
    assert_eq!((&death["code"], &death["signal"], &death["asked"]), (&7.into(), &Value::Null, &false.into()));
    assert_eq!(words(&death), "one\nlast words");
    assert!(death["memory_bytes"].as_u64().unwrap() > 100_000, "{death}");
    assert_eq!((&death["core_dumped"], &death["out_of_memory"]), (&false.into(), &Value::Null));
    let text = home.ok(["describe", "x"]).out;
    for part in ["exit code 7", "of memory at most", "last words"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn the_signal_of_a_node_worker_by_name_and_its_restarts() {
    let home = Home::new();
    home.write(
        "die.js",
        "console.error('I am', process.pid); setTimeout(() => process.kill(process.pid, 'SIGUSR2'), 10)",
    );
    home.write(
        "team.toml",
        "[[app]]\nname = \"x\"\nscript = \"die.js\"\nrestart = { max_restarts = 2, delay = \"10ms\", max_delay = \"10ms\" }\n",
    );
    home.run(["start", "team.toml"]);
    let death = wait_for("it was given up", || {
        let slot = home.ok(["describe", "x", "--json"]).json()["slots"][0].clone();
        let told = slot["status"] == "gave_up" && slot["last_death"]["stderr"] != Value::Array(Vec::new());
        told.then(|| slot["last_death"].clone())
    });
    assert_eq!((&death["signal"], &death["signal_name"]), (&12.into(), &"SIGUSR2".into()));
    assert_eq!(death["restarts"], 2, "{death}");
    assert!(words(&death).contains(&format!("I am {}", death["pid"])), "{death}");
    let text = home.ok(["describe", "x"]).out;
    assert!(text.contains("signal 12 (SIGUSR2)") && text.contains("restarted 2 times before"), "{text}");
}

#[test]
fn a_core_file_is_found() {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let home = Home::new();
    let script =
        home.write("die.py", "import os, sys\nprint('dying', file=sys.stderr, flush=True)\nos.kill(os.getpid(), 11)\n");
    let program = format!("command = [\"python3\", \"{}\"]", script.display());
    let death = death_of(&home, &program, "limits = { core = \"1GiB\" }");
    assert_eq!((&death["signal_name"], &death["core_dumped"]), (&"SIGSEGV".into(), &true.into()), "{death}");
    let place = death["core_file"].as_str().unwrap_or_else(|| panic!("not found, with {pattern:?}: {death}"));
    if !pattern.starts_with('|') {
        assert!(std::fs::metadata(place).unwrap().len() > 0, "{place}");
    }
    let text = home.ok(["describe", "x"]).out;
    assert!(text.contains("core dumped") && text.contains(place), "{text}");
}

#[test]
fn want_of_memory_is_likely_when_the_last_words_are_about_it() {
    let home = Home::new();
    let script = home.write("grow.py", "data = []\nwhile True:\n    data.append(bytearray(1 << 20))\n");
    let program = format!("command = [\"python3\", \"{}\"]", script.display());
    let death = death_of(&home, &program, "limits = { address_space = \"300MiB\" }");
    assert_eq!(death["code"], 1);
    assert_eq!(death["out_of_memory"]["certain"], false, "{death}");
    let text = home.ok(["describe", "x"]).out;
    assert!(text.contains("likely out of memory") && text.contains("MemoryError"), "{text}");
}

#[test]
fn a_worker_that_the_kernel_killed_for_want_of_memory_is_told_so() {
    let Some(group) = SmallGroup::make(200 << 20) else {
        eprintln!("left out: no cgroup with a limit of memory can be made here");
        return;
    };
    let home = Home::new().under(["sh", "-c", &format!("echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"", group.path)]);
    let script = home.write(
        "grow.py",
        "import sys\nprint('growing', file=sys.stderr, flush=True)\ndata = []\nwhile True:\n    data.append(b'x' * (1 << 20))\n",
    );
    let program = format!("command = [\"python3\", \"{}\"]", script.display());
    let death = death_of(&home, &program, "");
    assert_eq!((&death["signal_name"], &death["asked"]), (&"SIGKILL".into(), &false.into()), "{death}");
    assert!(death["out_of_memory"].is_object(), "{death}");
    assert!(death["memory_bytes"].as_u64().unwrap() > 50 << 20, "{death}");
    let text = home.ok(["describe", "x"]).out;
    assert!(text.contains("out of memory: "), "{text}");
    home.ok(["kill"]);
    home.wait_gone();
}

/// A cgroup v1 or v2 with a limit of memory; it goes with this.
struct SmallGroup {
    path: String,
}

impl SmallGroup {
    fn make(bytes: u64) -> Option<SmallGroup> {
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let of_memory = own.lines().find_map(|line| line.split_once(":memory:").map(|(_, path)| path.to_owned()));
        let (parent, limit) = match of_memory {
            Some(path) => (format!("/sys/fs/cgroup/memory{path}"), "memory.limit_in_bytes"),
            None => (format!("/sys/fs/cgroup{}", own.lines().next()?.strip_prefix("0::")?), "memory.max"),
        };
        let path = format!("{parent}/musher-e2e-{}", std::process::id());
        std::fs::create_dir(&path).ok()?;
        let group = SmallGroup { path };
        std::fs::write(format!("{}/{limit}", group.path), bytes.to_string()).ok()?;
        Some(group)
    }
}

impl Drop for SmallGroup {
    fn drop(&mut self) {
        let path = self.path.clone();
        musher_bench::wait::until(std::time::Duration::from_secs(5), || std::fs::remove_dir(&path).ok());
    }
}

#[test]
fn the_event_died_tells_the_whole_story() {
    let home = Home::new();
    let program = format!("command = [\"sh\", \"-c\", \"{SAYS} kill -KILL $$\"]");
    death_of(&home, &program, "");
    let died = wait_event(&home, "died", "last words: last words");
    assert_eq!((&died["death"]["signal_name"], &died["death"]["stderr"][1]), (&"SIGKILL".into(), &"last words".into()));
    assert!(died["detail"].as_str().unwrap().contains("signal 9 (SIGKILL)"), "{died}");
    let exited = wait_event(&home, "exited", "signal 9 (SIGKILL)");
    assert_eq!(exited["death"]["signal"], 9);
}
