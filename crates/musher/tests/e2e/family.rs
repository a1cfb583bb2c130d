//! The whole tree of a worker is gone after a stop or a death, also those that left its session, and its port is free: as
//! root and as an ordinary user, with a cgroup and without.

use std::fs;

use crate::support::{Home, command, free_port, is_free, proc_fs, wait_for, wait_until};

/// A home in which no cgroup can be made; none where namespaces of mounts are not allowed.
fn without_cgroup() -> Option<Home> {
    let script =
        "for point in $(awk '$3 == \"cgroup2\" { print $2 }' /proc/mounts); do umount -l $point || exit 1; done";
    let possible =
        command("unshare").args(["--mount", "sh", "-c", script]).status().is_ok_and(|status| status.success());
    if !possible {
        eprintln!("left out: cgroups cannot be taken away here");
        return None;
    }
    Some(Home::new().under(["unshare", "--mount", "sh", "-c", &format!("{script}; exec \"$0\" \"$@\"")]))
}

/// Whether the workers of this home have cgroups of their own.
fn has_cgroups(home: &Home) -> bool {
    let worker = home.pids("family")[0];
    fs::read_to_string(format!("/proc/{worker}/cgroup")).unwrap().contains("/musher.")
}

/// Starts the family; the pids of its members.
#[track_caller]
fn start(home: &Home, port: u16, names: &[&str]) -> Vec<u32> {
    let script = home.program(&["family.py"]);
    let more = if names.contains(&"hidden") { ", \"hidden\"" } else { "" };
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"family\"\ncommand = [\"/usr/bin/python3\", \"{}\"]\nargs = [\"{port}\"{more}]\n\
             ready = {{ after = \"100ms\" }}\nstop = {{ grace = \"500ms\" }}\n",
            script
        ),
    );
    home.ok(["start", "team.toml"]);
    members(home, names)
}

#[track_caller]
fn members(home: &Home, names: &[&str]) -> Vec<u32> {
    let pid = |name: &&str| fs::read_to_string(home.app_directory().join(name)).ok()?.parse().ok();
    let worker = home.pids("family")[0];
    let others: Vec<u32> = names.iter().map(|name| wait_for("a member of the family", || pid(name))).collect();
    [vec![worker], others].concat()
}

#[track_caller]
fn all_gone(what: &str, members: &[u32]) {
    let left: Vec<&u32> = members.iter().filter(|pid| proc_fs::is_alive(**pid)).collect();
    assert!(left.is_empty(), "{what}: {left:?} of {members:?} are left");
}

/// In this home: a stop, one after the death of the supervisor, one after that of the keeper, and the death of a worker.
fn whole_family(home: &Home, names: &[&str]) {
    let port = free_port();
    let family = start(home, port, names);
    home.ok(["stop", "family"]);
    assert!(is_free(port), "the port is free when the stop returns");
    all_gone("stop", &family);

    for kill in [Home::kill_supervisor, Home::kill_keeper] {
        forget(home, names);
        home.ok(["start", "family"]);
        let family = members(home, names);
        kill(home);
        home.ok(["stop", "family"]);
        assert!(is_free(port));
        all_gone("stop after a death in musher's own tree", &family);
    }

    forget(home, names);
    home.ok(["start", "family"]);
    let family = members(home, names);
    forget(home, names);
    proc_fs::kill9(family[0]).unwrap();
    // Its successor needs the port that the family had.
    wait_until("a successor listens", || {
        home.slots("family")[0].pid.is_some_and(|pid| pid != family[0]) && proc_fs::listens(port)
    });
    all_gone("death of the worker", &family);
    let family = members(home, names);
    home.ok(["delete", "family"]);
    assert!(is_free(port));
    all_gone("delete", &family);
}

fn forget(home: &Home, names: &[&str]) {
    for name in names {
        fs::remove_file(home.app_directory().join(name)).unwrap();
    }
}

const VISIBLE: [&str; 2] = ["session", "daemon"];
const ALL: [&str; 3] = ["session", "daemon", "hidden"];

#[test]
fn with_a_cgroup_nobody_escapes() {
    let home = Home::new();
    home.ok(["start", "--name", "family", "--", "sleep", "1000"]);
    let cgroups = has_cgroups(&home);
    home.ok(["delete", "family"]);
    if !cgroups {
        eprintln!("left out: no cgroup can be made here");
        return;
    }
    whole_family(&home, &ALL);
}

#[test]
fn without_a_cgroup_the_family_is_found_by_descent_and_mark() {
    let Some(home) = without_cgroup() else { return };
    home.ok(["start", "--name", "family", "--", "sleep", "1000"]);
    assert!(!has_cgroups(&home));
    home.ok(["delete", "family"]);
    whole_family(&home, &VISIBLE);
}

#[test]
fn an_ordinary_user_loses_nobody_either() {
    whole_family(&Home::of_an_ordinary_user(), &VISIBLE);
}
