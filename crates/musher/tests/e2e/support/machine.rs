//! A machine of the test's own, run by a real systemd: process 1 of new namespaces, with a cgroup of its own. What is in
//! the test's directory outlives its boots.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use musher_bench::proc_fs;

use super::{Home, command, reaper, wait_for, wait_until};

/// A variable by which a machine is found that a killed test leaves.
const MARK: &str = "END_TO_END_MACHINE";

/// A systemd that runs. Dropping it is a power cut.
pub(crate) struct Machine {
    /// unshare(1), whose end kills process 1.
    outside: Child,
    init: u32,
    cgroup: PathBuf,
}

impl Machine {
    /// Boots; the `boot`th time. None where that is not possible; then it says so.
    #[track_caller]
    pub(crate) fn boot(home: &Home, boot: u32) -> Option<Machine> {
        let Some(cgroups) = why_not() else {
            eprintln!("skipped: needs root, systemd, unshare, nsenter and a cgroup v2");
            return None;
        };
        let units = home.directory().join("units");
        fs::create_dir_all(&units).unwrap();
        let name = home.directory().file_name().unwrap().to_string_lossy().into_owned();
        let cgroup = cgroups.join(format!("machine.{name}.{boot}"));
        let log = fs::File::create(home.directory().join(format!("systemd.{boot}.log"))).unwrap();
        // Process 1 goes with unshare(1), and everything in its namespace with it.
        reaper::ends(&format!("{MARK}={}", cgroup.display()));
        let outside = command("sh")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/support/machine.sh"))
            .arg(&cgroup)
            .arg(format!("{boot:08x}-0000-4000-8000-000000000000"))
            .env("UNITS", &units)
            .env(MARK, &cgroup)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        // The script that prepares the machine becomes systemd.
        let is_systemd =
            |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "systemd\n");
        let init =
            wait_for("process 1 of the machine", || proc_fs::children(outside.id()).into_iter().find(is_systemd));
        let machine = Machine { outside, init, cgroup };
        wait_until("systemd runs", || machine.run(&["systemctl", "is-system-running"]).0.trim() == "running");
        Some(machine)
    }

    /// What lets a command run inside.
    pub(crate) fn prefix(&self) -> Vec<String> {
        let target = self.init.to_string();
        let words = ["nsenter", "--target", &target, "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--"];
        words.map(str::to_owned).to_vec()
    }

    fn run(&self, words: &[&str]) -> (String, bool) {
        let prefix = self.prefix();
        let output = command(&prefix[0]).args(&prefix[1..]).args(words).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout) + &text(&output.stderr), output.status.success())
    }

    /// Runs a command inside, which has to succeed.
    #[track_caller]
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let (said, ok) = self.run(words);
        assert!(ok, "{words:?}: {said}");
        said
    }

    /// A property of the unit of musher.
    #[track_caller]
    pub(crate) fn show(&self, property: &str) -> String {
        self.ok(&["systemctl", "show", "musher", "--value", "--property", property]).trim().to_owned()
    }

    /// A signal to a process, by its number inside.
    #[track_caller]
    pub(crate) fn kill(&self, signal: &str, pid: &str) {
        self.ok(&["kill", "-s", signal, pid]);
    }

    /// Stops every unit in order, as at the end of the system. Dropping the machine is the rest.
    #[track_caller]
    pub(crate) fn stop_everything(&self) {
        self.ok(&["systemctl", "isolate", "shutdown.target"]);
        wait_until("the unit is stopped", || self.show("ActiveState") == "inactive");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.outside.kill();
        let _ = self.outside.wait();
        wait_until("process 1 is gone", || !proc_fs::is_alive(self.init));
        wait_until("the cgroups of the machine are gone", || {
            remove(&self.cgroup);
            !self.cgroup.exists()
        });
    }
}

/// The root of cgroup v2, where a machine can be made.
fn why_not() -> Option<PathBuf> {
    let programs = ["/lib/systemd/systemd", "/usr/bin/unshare", "/usr/bin/nsenter"];
    let is_root = command("id").arg("-u").output().is_ok_and(|said| said.stdout == b"0\n");
    if !is_root || !programs.iter().all(|program| Path::new(program).exists()) {
        return None;
    }
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let root = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let place = words.next()?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(place))
    })?;
    // A container may have it read-only.
    let probe = root.join(format!("machine.probe.{}", std::process::id()));
    fs::create_dir(&probe).and_then(|()| fs::remove_dir(&probe)).is_ok().then_some(root)
}

fn remove(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(directory);
}
