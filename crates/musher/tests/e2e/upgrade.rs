//! `musher upgrade`: between two builds of different versions under load, with executables that cannot take over, and
//! with either process killed in the middle of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::support::apps::app;
use crate::support::builds::{MUSHER, faulty, next};
use crate::support::{
    Clients, Home, PATIENCE, ask, free_port, fresh, nothing_lost, proc_fs, some_answers, wait_equal, wait_until,
};

const OLD: &str = env!("CARGO_PKG_VERSION");
const NEW: &str = "99.0.0-next";

fn web(home: &Home) -> u16 {
    let port = free_port();
    home.version("one");
    home.ok(["start", &app("web.cjs"), "-i", "2", "--name", "web", "--", &port.to_string()]);
    home.wait_online("web", 2);
    port
}

fn upgrade(home: &Home, to: &Path) -> String {
    home.ok([Path::new("upgrade"), to]).out_and_err()
}

/// The versions of supervisor and keeper.
fn versions(home: &Home) -> (String, String) {
    let status = home.status();
    let version = |role: &str| status[role]["version"].as_str().unwrap_or_default().to_owned();
    (version("supervisor"), version("keeper"))
}

fn both(version: &str) -> (String, String) {
    (version.to_owned(), version.to_owned())
}

fn executable(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default()
}

#[test]
fn an_upgrade_and_a_downgrade_under_load_cost_nothing() {
    let home = Home::new();
    let port = web(&home);
    home.ok(["start", &app("worker.py"), "--name", "count", "--", "count", "400", "1000000"]);
    let (keeper, supervisor) = (home.keeper(), home.supervisor());
    let before = home.list();
    let clients = Clients::on(port);
    clients.answered();
    for (to, version) in [(next(), NEW), (PathBuf::from(MUSHER), OLD), (next(), NEW)] {
        let said = upgrade(&home, &to);
        assert!(said.contains(version) && said.contains("3 workers untouched"), "{said}");
        assert_eq!(versions(&home), both(version));
        assert_eq!((home.keeper(), home.supervisor()), (keeper, supervisor), "their pids stay");
        assert_eq!((executable(keeper), executable(supervisor)), (to.clone(), to));
        clients.answered();
        for (old, new) in before.iter().zip(&home.list()) {
            assert_eq!((&old.app, old.pid, old.id, old.restarts), (&new.app, new.pid, new.id, new.restarts));
            assert!(new.uptime_ms >= old.uptime_ms, "the worker's age counts on: {old:?} {new:?}");
            assert_eq!(new.status, "online");
        }
    }
    clients.nothing_lost();
    let log = home.log("count", "out.log");
    let numbers: Vec<usize> =
        log.lines().filter_map(|line| line.strip_prefix("line ")?.split(' ').next()?.parse().ok()).collect();
    assert!(numbers.iter().copied().eq(0..numbers.len()), "each line once: {numbers:?}");

    let load = fresh(port);
    home.version("two");
    home.ok(["reload", "web"]);
    assert!(ask(port, "/?id=1").contains("version=two"));
    home.kill_supervisor();
    some_answers(&load, 50);
    home.kill_keeper();
    some_answers(&load, 50);
    assert_eq!(versions(&home), both(NEW), "what comes after is the new one, too");
    nothing_lost("after the upgrades", load);
}

#[test]
fn commands_that_wait_during_an_upgrade_are_carried_out() {
    let home = Home::new();
    web(&home);
    let next = next();
    home.write("slow.sh", "sleep 0.5; exec sleep 1000");
    home.ok(["start", "--name", "slow", "--ready", "300ms", "--", "sleep", "1000"]);
    for (round, to) in [next.as_path(), Path::new(MUSHER)].into_iter().enumerate() {
        let reload = home.spawn(["reload", "slow"]);
        let scale = home.spawn(["scale", "web", &(3 + round).to_string()]);
        upgrade(&home, to);
        reload.wait().succeeded();
        scale.wait().succeeded();
        home.wait_online("web", 3 + round);
        wait_equal("no worker too many", &(4 + round), || home.worker_processes().len());
    }
}

#[test]
fn what_cannot_take_over_is_refused_and_harms_nothing() {
    let home = Home::new();
    let port = web(&home);
    let file = |name: &str, content: &[u8], mode: u32| {
        let path = home.directory().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let real = fs::read(MUSHER).unwrap();
    let mut foreign = real[..1 << 20].to_vec();
    // e_machine of elf(5).
    foreign[18] ^= 0xff;
    let cases = [
        (file("text", b"not a program", 0o755), "it is not an executable"),
        (file("script", b"#!/bin/sh\nexec musher \"$@\"\n", 0o755), "it is a script"),
        (file("foreign", &foreign, 0o755), "another kind of machine"),
        (file("cut", &real[..1 << 20], 0o755), "does not answer"),
        (file("unexecutable", &real, 0o644), "permission to execute"),
        (home.app_directory(), "it is a directory"),
        (home.directory().join("none"), "cannot be opened"),
        (faulty(&home, "exits"), "ends without a word"),
        (faulty(&home, "hangs"), "does not answer within"),
        (faulty(&home, "floods"), "writes without end"),
    ];
    let before = (home.keeper(), home.supervisor(), home.pids("web"));
    let load = fresh(port);
    for (path, word) in cases {
        home.run([Path::new("upgrade"), &path]).failed(1, &["cannot take over", word, "nothing was changed", "hint"]);
        assert_eq!((home.keeper(), home.supervisor(), home.pids("web")), before, "{path:?}");
    }
    some_answers(&load, 20);
    nothing_lost("refused executables", load);
    assert_eq!(versions(&home), both(OLD));
    let said = upgrade(&home, Path::new(MUSHER));
    assert!(said.contains("already"), "{said}");
    wait_equal("nothing is left of them", &4, || home.processes().len());
}

#[test]
fn an_executable_that_does_not_work_after_all_is_gone_back_from() {
    for fault in ["dies-as-supervisor", "hangs-as-supervisor"] {
        let home = Home::new();
        let port = web(&home);
        let before = (home.keeper(), home.pids("web"));
        let load = fresh(port);
        some_answers(&load, 20);
        let path = faulty(&home, fault);
        home.run([Path::new("upgrade"), &path]).failed(1, &["did not take over", "goes on", "not touched"]);
        assert_eq!((home.keeper(), home.pids("web")), before, "{fault}");
        assert_eq!(versions(&home), both(OLD));
        assert_eq!(executable(home.supervisor()), Path::new(MUSHER));
        some_answers(&load, 50);
        nothing_lost(fault, load);
        // And nothing of it is in the way of one that works.
        upgrade(&home, &next());
        assert_eq!(versions(&home), both(NEW));
    }
}

#[test]
fn a_new_executable_that_works_as_supervisor_but_not_as_keeper_is_gone_back_from() {
    let home = Home::new();
    let port = web(&home);
    let workers = home.pids("web");
    let load = fresh(port);
    some_answers(&load, 20);
    let cases = [
        ("never-works-as-keeper", "does not work as a keeper"),
        ("dies-as-keeper-after-all", "ended before it was seen to work"),
        ("hangs-as-keeper-after-all", "its keeper said nothing"),
    ];
    for (fault, word) in cases {
        let path = home.directory().join(fault);
        fs::copy(next(), &path).unwrap();
        home.run([Path::new("upgrade"), &path]).failed(1, &[word, "hint"]);
        some_answers(&load, 50);
        assert_eq!(versions(&home), both(OLD), "{fault}");
        assert_eq!([home.keeper(), home.supervisor()].map(executable), [MUSHER, MUSHER].map(PathBuf::from), "{fault}");
        assert_eq!(home.pids("web"), workers, "{fault}");
        wait_equal("nothing is left over", &4, || home.processes().len());
    }
    nothing_lost("an executable that is no keeper", load);
    upgrade(&home, &next());
    assert_eq!(versions(&home), both(NEW), "nothing of it is in the way of one that works");
}

#[test]
fn a_new_version_whose_supervisors_die_before_they_serve_is_gone_back_from_later_too() {
    let home = Home::new();
    let port = web(&home);
    let workers = home.pids("web");
    let load = fresh(port);
    upgrade(&home, &next());
    let keeper = home.keeper();
    let mut dead = vec![home.kill_supervisor()];
    // Without a pause, as none of three in a row may get as far as to serve. On a machine with other things to do one may.
    let deadline = Instant::now() + PATIENCE;
    while executable(keeper) != Path::new(MUSHER) {
        assert!(Instant::now() < deadline, "it does not go back: {dead:?}");
        let children = proc_fs::children(keeper);
        if let Some(newborn) = children.into_iter().find(|child| !workers.contains(child) && !dead.contains(child)) {
            proc_fs::kill9(newborn).unwrap();
            dead.push(newborn);
        }
    }
    wait_equal("the version before", &both(OLD), || versions(&home));
    assert_eq!((home.keeper(), home.pids("web")), (keeper, workers));
    assert_eq!(executable(keeper), Path::new(MUSHER));
    assert!(home.daemon_log().contains("went back"), "it says so");
    some_answers(&load, 50);
    nothing_lost("gone back later", load);
}

/// When a process is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The new executable is being examined.
    Examined,
    /// The supervisor is the new executable.
    Supervisor,
    /// The keeper is the new executable.
    Keeper,
    /// So many looks at them later.
    After(u32),
}

#[test]
fn a_kill_in_the_middle_of_an_upgrade_costs_nothing_and_leaves_one_version() {
    let home = Home::new();
    let port = web(&home);
    let workers = home.pids("web");
    let clients = Clients::on(port);
    let (old, new) = (PathBuf::from(MUSHER), next());
    let mut now = old.clone();
    let mut seed = std::env::var("MUSHER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_120_u64);
    eprintln!("MUSHER_SEED={seed}");
    let mut after = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // An upgrade takes some thousands of them.
        Moment::After(u32::try_from(seed >> 40).unwrap() % 12_000)
    };
    let moments = [Moment::Examined, Moment::Supervisor, Moment::Keeper, after(), after(), after(), after()];
    for moment in moments {
        for supervisor_dies in [true, false] {
            clients.answered();
            let to = if now == old { &new } else { &old };
            let (keeper, supervisor) = (home.keeper(), home.supervisor());
            let victim = if supervisor_dies { supervisor } else { keeper };
            let children = proc_fs::children(supervisor).len();
            let mut command = home.spawn([Path::new("upgrade"), to]);
            let mut looks = 0;
            let mut reached = || match moment {
                Moment::Examined => proc_fs::children(supervisor).len() > children,
                Moment::Supervisor => executable(supervisor) == *to,
                Moment::Keeper => executable(keeper) == *to,
                Moment::After(count) => {
                    looks += 1;
                    // Each takes about as long as for the other moments.
                    !executable(keeper).as_os_str().is_empty() && looks >= count
                }
            };
            // Without a pause: it is a matter of milliseconds.
            let deadline = Instant::now() + PATIENCE;
            while !reached() && command.is_running() {
                assert!(Instant::now() < deadline, "{moment:?} does not come");
            }
            proc_fs::kill9(victim).unwrap();
            let output = command.wait();
            assert!(output.code == Some(0) || output.code == Some(1), "{moment:?}: {output:?}");
            assert!(output.code == Some(0) || output.err.contains("hint"), "{moment:?}: {output:?}");
            wait_until("both are of one version", || {
                let (supervisor, keeper) = versions(&home);
                !keeper.is_empty() && supervisor == keeper
            });
            now = executable(home.keeper());
            assert_eq!(executable(home.supervisor()), now, "{moment:?}");
            assert!(now == old || now == new);
            assert!(output.code == Some(1) || now == *to, "{moment:?}: said to be done, but is not: {output:?}");
            assert_eq!(home.pids("web"), workers, "{moment:?}");
            wait_equal("nothing is left over", &4, || home.processes().len());
        }
    }
    clients.answered();
    clients.nothing_lost();
}

#[test]
fn a_file_that_is_replaced_or_gone_changes_nothing_until_the_upgrade() {
    let home = Home::new();
    let installed = home.directory().join("musher");
    fs::copy(MUSHER, &installed).unwrap();
    let home = home.executable(&installed);
    let port = web(&home);
    let workers = home.pids("web");
    let load = fresh(port);
    let kill_both = || {
        home.kill_supervisor();
        some_answers(&load, 50);
        home.kill_keeper();
        some_answers(&load, 50);
    };
    let status = |home: &Home| home.ok(["status"]).out;

    // As a package manager does it.
    let new = home.directory().join("musher.new");
    fs::copy(next(), &new).unwrap();
    fs::rename(&new, &installed).unwrap();
    kill_both();
    assert_eq!(versions(&home), both(OLD), "the file is new, the daemon is not");
    let said = status(&home);
    assert!(said.contains(NEW) && said.contains("musher upgrade"), "{said}");
    home.ok(["upgrade"]);
    assert_eq!(versions(&home), both(NEW));
    assert!(!status(&home).contains("note"));

    let aside = home.directory().join("aside");
    fs::copy(&installed, &aside).unwrap();
    fs::remove_file(&installed).unwrap();
    let home = home.executable(&aside);
    home.kill_supervisor();
    some_answers(&load, 50);
    home.kill_keeper();
    some_answers(&load, 50);
    assert_eq!(versions(&home), both(NEW));
    assert_eq!(home.pids("web"), workers);
    nothing_lost("replaced files", load);
}

#[test]
fn without_a_daemon_there_is_nothing_to_upgrade() {
    let home = Home::new();
    home.run(["upgrade"]).failed(5, &["no supervisor is running"]);
    assert!(!home.path().exists() || home.processes().is_empty());
}
