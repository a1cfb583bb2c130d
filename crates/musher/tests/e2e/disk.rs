//! A full disk and a read-only home, in a mount namespace of their own.

use std::fs;
use std::process::{Child, Stdio};

use crate::support::apps::app;
use crate::support::{Home, ask, command, free_port, fresh, nothing_lost, proc_fs, some_answers, wait_until};

/// A mount namespace that lives as long as this.
struct Mounts {
    holder: Child,
}

impl Drop for Mounts {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Mounts a tmpfs with these options on the home; none without the right to mount.
fn mounted(home: Home, options: &str) -> Option<(Home, Mounts)> {
    fs::create_dir(home.path()).unwrap();
    let script = format!(
        "mount -t tmpfs -o {options} tmpfs '{0}' && chmod 700 '{0}' && echo mounted > '{1}/mounted' && exec sleep 1000",
        home.path().display(),
        home.directory().display(),
    );
    let holder = command("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut mounts = Mounts { holder };
    wait_until("the mount, or its refusal", || {
        home.directory().join("mounted").exists() || mounts.holder.try_wait().unwrap().is_some()
    });
    if !home.directory().join("mounted").exists() {
        eprintln!("skipped: no right to mount");
        return None;
    }
    let pid = mounts.holder.id().to_string();
    Some((home.under(["nsenter", "--target", &pid, "--mount", "--wd=/tmp", "--"]), mounts))
}

#[test]
fn a_full_disk_stops_no_worker_and_is_told() {
    let Some((home, mounts)) = mounted(Home::new(), "size=2m") else { return };
    let port = free_port();
    home.ok(["start", &app("web.cjs"), "-i", "2", "--name", "web", "--", &port.to_string()]);
    let load = fresh(port);
    some_answers(&load, 20);
    // All that is left of the disk.
    let root = format!("/proc/{}/root{}", mounts.holder.id(), home.path().display());
    let _ = fs::write(format!("{root}/filler"), vec![0_u8; 4 << 20]);

    ask(port, "/log?lines=2000");
    some_answers(&load, 100);
    assert!(home.slots("web").iter().all(|row| row.status == "online"), "workers serve on");
    home.kill_supervisor();
    some_answers(&load, 100);
    // A command either works or says what is wrong; it does not hang.
    for command in [vec!["reload", "web"], vec!["list"], vec!["start", &app("worker.py"), "--name", "jobs"]] {
        let output = home.run(&command);
        assert!(output.code == Some(0) || !output.err.is_empty(), "{command:?}: {output:#?}");
    }
    some_answers(&load, 50);
    nothing_lost("a full disk", load);

    fs::remove_file(format!("{root}/filler")).unwrap();
    ask(port, "/log?lines=3");
    wait_until("with room again, the log goes on", || {
        fs::read_to_string(format!("{root}/logs/web/out.log")).is_ok_and(|text| text.contains("line 2"))
    });
    home.ok(["kill"]);
    home.wait_gone();
}

#[test]
fn a_disk_that_is_full_from_the_start() {
    let Some((home, mounts)) = mounted(Home::new(), "size=64k") else { return };
    let root = format!("/proc/{}/root{}", mounts.holder.id(), home.path().display());
    let _ = fs::write(format!("{root}/filler"), vec![0_u8; 1 << 20]);
    let output = home.run(["start", &app("worker.py"), "--name", "jobs"]);
    assert!(output.code == Some(0) || output.err.contains("space"), "works, or says what is missing: {output:#?}");
}

#[test]
fn a_read_only_home() {
    let Some((home, _mounts)) = mounted(Home::new(), "ro") else { return };
    let home_path = home.path().to_str().unwrap().to_owned();
    home.run(["start", &app("worker.py"), "--name", "jobs"]).failed(7, &[&home_path, "ead-only"]);
    assert!(home.processes().iter().all(|pid| !proc_fs::command_line(*pid).contains("keeper")));
}
