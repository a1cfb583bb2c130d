//! As an ordinary user, and as root for another user.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use crate::support::apps::app;
use crate::support::{Home, command, free_port, fresh, nothing_lost, proc_fs, some_answers, wait_until};

/// An id without rights or files, not necessarily of a user that exists.
const NOBODY: u32 = 65_534;

fn is_root() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !root {
        eprintln!("skipped: not root");
    }
    root
}

/// Copies the test apps to where everybody can read them.
fn readable(home: &Home, name: &str) -> String {
    let directory = home.app_directory();
    for file in [name, "answer.cjs"] {
        fs::copy(app(file), directory.join(file)).unwrap();
        fs::set_permissions(directory.join(file), fs::Permissions::from_mode(0o644)).unwrap();
    }
    directory.join(name).display().to_string()
}

#[test]
fn an_ordinary_user_without_any_right_needs_no_more() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    let executable = home.directory().join("musher");
    fs::copy(env!("CARGO_BIN_EXE_musher"), &executable).unwrap();
    let script = readable(&home, "web.cjs");
    for path in [home.directory().to_owned(), home.app_directory()] {
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let id = NOBODY.to_string();
    let home = home.executable(executable).under([
        "setpriv",
        "--reuid",
        &id,
        "--regid",
        &id,
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
        "--",
    ]);

    let port = free_port();
    home.ok(["start", &script, "-i", "2", "--name", "web", "--", &port.to_string()]);
    let load = fresh(port);
    some_answers(&load, 50);
    home.kill_supervisor();
    some_answers(&load, 50);
    home.kill_keeper();
    some_answers(&load, 50);
    home.ok(["reload", "web"]);
    let victim = home.pids("web")[0];
    home.ok(["scale", "web", "3"]);
    some_answers(&load, 50);
    nothing_lost("as nobody", load);
    let status = fs::read_to_string(format!("/proc/{victim}/status")).unwrap();
    assert!(status.contains(&format!("Uid:\t{NOBODY}\t{NOBODY}")), "{status}");

    // Another user may not command it; root may.
    home.ok(["stop", "web"]);
    home.ok(["kill"]);
    home.wait_gone();
}

#[test]
fn another_user_cannot_command_the_daemon() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    home.ok(["start", &app("worker.py"), "--name", "jobs"]);
    // Even if the directory were open, the peer's credentials would tell.
    for (path, mode) in [(home.directory().to_owned(), 0o755), (home.path().to_owned(), 0o755)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(home.path().join("control.sock"), fs::Permissions::from_mode(0o666)).unwrap();
    let executable = home.directory().join("musher");
    fs::copy(env!("CARGO_BIN_EXE_musher"), &executable).unwrap();
    let id = NOBODY.to_string();
    let other = command("setpriv")
        .args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"])
        .arg(&executable)
        .args(["stop", "jobs"])
        .env("MUSHER_HOME", home.path())
        .current_dir("/")
        .output()
        .unwrap();
    assert!(!other.status.success(), "{other:?}");
    assert!(!other.stderr.is_empty());
    assert_eq!(home.slots("jobs")[0].status, "online");
}

#[test]
fn root_runs_workers_as_the_user_of_the_file() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    fs::set_permissions(home.directory(), fs::Permissions::from_mode(0o755)).unwrap();
    home.write(
        "team.toml",
        "[[app]]\nname = \"jobs\"\ncommand = [\"sh\", \"-c\", \"id -u; id -G; exec sleep 1000\"]\nuser = \"nobody\"\n",
    );
    home.ok(["start", "team.toml"]);
    wait_until("its output", || home.log("jobs", "out.log").lines().count() == 2);
    let text = home.log("jobs", "out.log");
    let uid: u32 = text.lines().next().unwrap().parse().unwrap();
    assert_ne!(uid, 0, "{text}");
    assert!(!text.lines().nth(1).unwrap().split(' ').any(|group| group == "0"), "not root's groups: {text}");
    assert!(proc_fs::is_alive(home.pids("jobs")[0]));
}
