//! Hooks: a command is run when a slot is given up, told everything, and never lost or waited for.

use std::fs;

use serde_json::Value;

use crate::support::told::wait_event;
use crate::support::{Home, proc_fs, wait_equal, wait_for, wait_until};

/// An app that fails at once and for good, with this hook.
fn failing(home: &Home, hook: &str, more: &str) {
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"bad\"\ncommand = [\"sh\", \"-c\", \"echo it cannot work >&2; exit 3\"]\n\
             restart = {{ max_restarts = 1, delay = \"10ms\", max_delay = \"10ms\" }}\n\
             hooks = {{ giveup = {hook} }}\n{more}\n"
        ),
    );
    home.run(["start", "team.toml"]);
}

fn lines(home: &Home, file: &str) -> usize {
    fs::read_to_string(home.app_directory().join(file)).unwrap_or_default().lines().count()
}

#[test]
fn a_giveup_hook_is_told_everything() {
    let home = Home::new();
    failing(
        &home,
        "\"cat > event.json; env > env.txt; echo $PWD > cwd.txt; echo rang the bell\"",
        "env = { COLOUR = \"blue\" }",
    );
    let event: Value = wait_for("the hook has run", || {
        let text = fs::read_to_string(home.app_directory().join("event.json")).ok()?;
        serde_json::from_str(&text).ok()
    });
    assert_eq!((&event["kind"], &event["app"], &event["slot"]), (&"giveup".into(), &"bad".into(), &0.into()));
    assert_eq!((&event["death"]["code"], &event["death"]["stderr"][0]), (&3.into(), &"it cannot work".into()));
    assert_eq!(event["death"]["restarts"], 1, "{event}");
    let env = wait_for("the hook has ended", || {
        home.app_directory().join("cwd.txt").exists().then(|| fs::read_to_string(home.app_directory().join("env.txt")))
    });
    let env = env.unwrap();
    for line in ["MUSHER_APP=bad", "MUSHER_EVENT=giveup", "MUSHER_SLOT=0", "COLOUR=blue"] {
        assert!(env.lines().any(|found| found == line), "{line}: {env}");
    }
    assert!(env.contains(&format!("MUSHER_HOME={}", home.path().display())), "{env}");
    wait_until("the daemon's log tells what the hook said", || home.daemon_log().contains("rang the bell"));
    wait_event(&home, "hook", "exit code 0; it said: rang the bell");
}

#[test]
fn a_hook_that_hangs_is_killed_with_all_it_started_and_nobody_waits_for_it() {
    let home = Home::new();
    let hook = "\"setsid sh -c 'echo $$ > far; exec sleep 1000' & echo $$ > near; sleep 1000\"";
    let line = format!("{hook}, timeout = \"1s\"");
    failing(&home, &line, "");
    let pid = |file: &str| fs::read_to_string(home.app_directory().join(file)).ok()?.trim().parse::<u32>().ok();
    let (near, far) = wait_for("the hook runs", || pid("near").zip(pid("far")));
    // Commands are answered meanwhile, and it is not awaited when the app is stopped.
    home.ok(["list"]);
    home.ok(["stop", "bad"]);
    wait_until("all of the hook is gone", || !proc_fs::is_alive(near) && !proc_fs::is_alive(far));
    wait_until("the log says why", || home.daemon_log().contains("it took longer than 1000 ms"));
}

#[test]
fn a_hook_is_run_again_when_the_supervisor_is_killed_meanwhile() {
    let home = Home::new();
    // It waits for a file the first time, so that it runs when the supervisor is killed.
    failing(&home, "\"echo $$ >> begun; while [ ! -e go ]; do sleep 0.05; done; cat >> ended.json\"", "");
    wait_equal("the hook runs", &1, || lines(&home, "begun"));
    let first: u32 = fs::read_to_string(home.app_directory().join("begun")).unwrap().trim().parse().unwrap();
    home.kill_supervisor();
    wait_equal("the hook runs again", &2, || lines(&home, "begun"));
    wait_until("the first one is gone", || !proc_fs::is_alive(first));
    home.write("go", "");
    let event: Value = wait_for("the hook has ended", || {
        serde_json::from_str(&fs::read_to_string(home.app_directory().join("ended.json")).ok()?).ok()
    });
    assert_eq!(event["death"]["stderr"][0], "it cannot work");
    home.kill_supervisor();
    // Answered by the next one, which has begun by then what it has to.
    home.ok(["list"]);
    assert_eq!(lines(&home, "begun"), 2, "one that has ended is not run again");
}

#[test]
fn a_hook_runs_as_the_user_of_the_app() {
    if !is_root() {
        eprintln!("left out: only root can start an app as another user");
        return;
    }
    let home = Home::new();
    let directory = home.app_directory();
    // The directories above it, and its own, are the other user's to enter and write.
    for path in [home.directory(), &directory] {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    failing(&home, "\"id -u > id.txt\"", "user = \"nobody\"");
    let id = wait_for("the hook has run", || {
        fs::read_to_string(directory.join("id.txt")).ok().filter(|text| text.ends_with('\n'))
    });
    assert_eq!(id.trim(), "65534");
}

fn is_root() -> bool {
    fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t0")))
}

/// An app that serves until it is told to end, with these hooks, each of which writes down its name.
fn with_hooks(home: &Home, hooks: &str, script: &str) {
    home.write(
        "team.toml",
        &format!("[[app]]\nname = \"app\"\ncommand = ['sh', '-c', '{script}']\ninstances = 2\nhooks = {{ {hooks} }}\n"),
    );
}

fn told(home: &Home) -> Vec<String> {
    let text = fs::read_to_string(home.app_directory().join("told")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn hooks_before_and_after_are_run_once_for_the_app() {
    let home = Home::new();
    let all = ["pre_start", "post_start", "pre_reload", "post_reload", "pre_stop", "post_stop"];
    let hooks = all.map(|name| format!("{name} = \"echo $MUSHER_EVENT >> told\"")).join(", ");
    with_hooks(&home, &hooks, "exec sleep 1000");
    home.ok(["start", "team.toml"]);
    wait_equal("after the start", &vec!["pre_start".to_owned(), "post_start".to_owned()], || told(&home));
    // What runs is not started.
    home.ok(["start", "team.toml"]);
    home.ok(["reload", "app"]);
    wait_equal("after the reload", &4, || told(&home).len());
    home.ok(["stop", "app"]);
    wait_equal("after all", &all.map(str::to_owned).to_vec(), || told(&home));
    home.ok(["start", "app"]);
    home.ok(["delete", "app"]);
    wait_until("the stop of a delete is told", || told(&home).iter().filter(|name| *name == "pre_stop").count() == 2);
}

#[test]
fn a_hook_before_that_fails_cancels_what_it_stands_before() {
    let home = Home::new();
    let failing = "\"if [ -e $MUSHER_EVENT ]; then echo no $MUSHER_EVENT today; exit 9; fi\"";
    with_hooks(
        &home,
        &format!("pre_start = {failing}, pre_reload = {failing}, pre_stop = {failing}"),
        "exec sleep 1000",
    );
    home.write("pre_start", "");
    home.run(["start", "team.toml"]).failed(1, &["exit code 9", "nothing was changed", "no pre_start today"]);
    assert_eq!(home.slots("app")[0].status, "stopped");
    fs::remove_file(home.app_directory().join("pre_start")).unwrap();
    home.ok(["start", "team.toml"]);
    let before = home.pids("app");
    home.write("pre_reload", "");
    home.run(["reload", "app"]).failed(1, &["no pre_reload today"]);
    home.write("pre_stop", "");
    home.run(["stop", "app"]).failed(1, &["no pre_stop today"]);
    assert_eq!(home.pids("app"), before);
    fs::remove_file(home.app_directory().join("pre_stop")).unwrap();
    home.ok(["stop", "app"]);
}

#[test]
fn a_command_that_waits_for_its_hook_goes_on_when_the_supervisor_is_killed() {
    let home = Home::new();
    with_hooks(&home, "pre_start = \"echo x >> told; while [ ! -e go ]; do sleep 0.05; done\"", "exec sleep 1000");
    let start = home.spawn(["start", "team.toml"]);
    wait_equal("the hook runs", &1, || told(&home).len());
    home.kill_supervisor();
    wait_equal("the hook runs again", &2, || told(&home).len());
    assert!(home.pids("app").is_empty());
    home.write("go", "");
    home.wait_online("app", 2);
    start.wait().succeeded();
}

#[test]
fn a_crash_is_told_and_an_end_that_was_asked_for_is_not() {
    let home = Home::new();
    with_hooks(&home, "crash = \"cat > crash.json; echo crash >> told\"", "exec sleep 1000");
    home.ok(["start", "team.toml"]);
    home.ok(["reload", "app"]);
    let killed = home.pids("app")[1];
    proc_fs::kill9(killed).unwrap();
    wait_equal("the crash is told", &vec!["crash".to_owned()], || told(&home));
    let event: Value =
        serde_json::from_str(&fs::read_to_string(home.app_directory().join("crash.json")).unwrap()).unwrap();
    assert_eq!((&event["death"]["signal"], &event["slot"]), (&9.into(), &1.into()), "{event}");
    home.ok(["stop", "app"]);
    assert_eq!(told(&home), ["crash"]);
}
