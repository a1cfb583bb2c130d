//! Workers that end all the time while supervisors and keepers are killed: whatever instant a kill hits, nothing that
//! they said is lost, and nothing of them is left behind.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::{Home, wait_until};

/// Says a word and notes it, then ends, again and again.
const SCRIPT: &str = "echo said $$; echo $$ >> noted; exit 0";
/// How many workers end between two kills.
const BETWEEN: usize = 8;

fn noted(home: &Home) -> Vec<String> {
    let text = std::fs::read_to_string(home.app_directory().join("noted")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The descriptors of a process that are pipes or pidfds: those that a keeper has of workers.
fn of_workers(pid: u32) -> usize {
    let links = Path::new("/proc").join(pid.to_string()).join("fd").read_dir().unwrap();
    let targets = links.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let is_of_worker =
        |target: &Path| target.to_str().is_some_and(|it| it.starts_with("pipe:") || it.contains("pidfd"));
    targets.filter(|target| is_of_worker(target)).count()
}

#[test]
fn the_words_of_workers_that_end_while_their_supervisor_is_killed_are_all_in_the_log() {
    let home = Home::new();
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"flappy\"\ncommand = [\"sh\", \"-c\", \"{SCRIPT}\"]\ninstances = 2\n\
             restart = {{ delay = \"1ms\", factor = 1, max_restarts = 10000, window = \"60s\" }}\n"
        ),
    );
    // Every worker ends before it is ready: that is what it is told, and the app goes on trying.
    let _ = home.run(["start", "team.toml"]);
    for round in 0..8 {
        let before = noted(&home).len();
        wait_until("workers come and go", || noted(&home).len() >= before + BETWEEN);
        if round % 4 == 3 {
            home.kill_keeper();
        } else {
            home.kill_supervisor();
        }
    }
    let before = noted(&home).len();
    wait_until("workers come and go once more", || noted(&home).len() >= before + BETWEEN);
    home.ok(["stop", "flappy"]);

    let log = home.log("flappy", "out.log");
    let said: BTreeSet<&str> = log.lines().filter_map(|line| line.rsplit("said ").next()).collect();
    let lost: Vec<String> = noted(&home).into_iter().filter(|pid| !said.contains(pid.as_str())).collect();
    assert_eq!(lost, [""; 0], "of {}", noted(&home).len());
    assert!(!home.path().join("logs/unreadable").exists());
    wait_until("the keeper has let go of all workers", || of_workers(home.keeper()) <= 1);
}
