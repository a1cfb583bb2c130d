//! A run in a cgroup v2 of the real kernel: what hides from everything else is found by it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::told::wait_event;
use crate::support::{Home, proc_fs, wait_for, wait_until};

/// The cgroup v2 of a process, from the root of the hierarchy.
fn cgroup_of(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned))
}

/// A team whose first worker has a process with 150 MiB that nothing but the cgroup tells whose it is: of another session,
/// its parents gone, its environment empty. It ends by itself, should nobody find it.
#[test]
fn memory_of_a_process_that_only_its_cgroup_tells_of_counts_and_goes_with_the_run() {
    let home = Home::new();
    let hidden = home.write(
        "hidden.py",
        "import os, time\nkept = b'x' * (150 << 20)\nopen('hidden.new', 'w').write(str(os.getpid()))\n\
         os.rename('hidden.new', 'hidden.pid')\ntime.sleep(120)\n",
    );
    let worker = home.write(
        "worker.sh",
        &format!(
            "if ! test -e once; then touch once; (env -i setsid python3 {} &); fi\nexec sleep 1000\n",
            hidden.display()
        ),
    );
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"x\"\ncommand = [\"sh\", \"{}\"]\nready = {{ after = \"10ms\" }}\n\
             limits = {{ memory = \"100M\" }}\n",
            worker.display()
        ),
    );
    home.ok(["start", "team.toml"]);
    let ill = home.pids("x")[0];
    let of_worker = cgroup_of(ill).unwrap_or_default();
    if !of_worker.contains("/musher.") {
        eprintln!("skipped: no cgroup v2 can be made here, worker {ill} is in {of_worker:?}");
        return;
    }
    let directory = directory_of_daemon(&of_worker);
    let hidden: u32 = wait_for("the hidden process has its memory", || {
        fs::read_to_string(home.app_directory().join("hidden.pid")).ok()?.parse().ok()
    });
    let variables = proc_fs::environ(hidden);
    assert!(!variables.iter().any(|variable| variable.starts_with("MUSHER")), "{variables:?}");
    assert_eq!(cgroup_of(hidden), Some(of_worker.clone()));

    let unfit = wait_event(&home, "unfit", "limits.memory is 100 MiB");
    assert_eq!(unfit["pid"], ill, "{unfit}");
    wait_until("it is replaced", || home.pids("x").first().is_some_and(|pid| *pid != ill));
    wait_until("what was hidden went with it", || !proc_fs::is_alive(hidden));
    // The successor has a cgroup of its own, and that of the first is gone.
    let next = wait_for("the successor", || home.pids("x").first().copied());
    assert_ne!(cgroup_of(next), Some(of_worker.clone()));
    let death = wait_for("the death is described", || {
        let slot = home.ok(["describe", "x", "--json"]).json()["slots"][0].clone();
        (slot["last_death"]["pid"] == ill).then(|| slot["last_death"].clone())
    });
    let seen = death["last_memory"]["bytes"].as_u64();
    assert!(seen.is_some_and(|bytes| bytes > 150 << 20), "the hidden process is in it: {death}");
    assert!(death["out_of_memory"].is_null(), "musher ended it, not the kernel: {death}");
    home.ok(["kill"]);
    wait_until("the daemon's cgroup is gone with it", || !directory.exists());
}

/// Where the cgroup of a daemon is visible, one of whose runs is in `group`.
fn directory_of_daemon(group: &str) -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let root = mounts.lines().find(|line| line.contains(" cgroup2 ")).and_then(|line| line.split(' ').nth(1)).unwrap();
    let of_run = Path::new(root).join(group.trim_start_matches('/'));
    let directory = of_run.parent().unwrap().to_owned();
    assert!(directory.join("cgroup.procs").exists(), "{}", directory.display());
    directory
}
