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
        if round % 2 == 1 {
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

#[test]
fn a_crowd_of_workers_that_end_at_once_keeps_nobody_waiting() {
    let home = Home::new();
    home.write(
        "team.toml",
        "[[app]]\nname = \"crowd\"\ncommand = [\"true\"]\ninstances = 24\n\
         restart = { delay = \"1ms\", factor = 1, max_restarts = 10000, window = \"60s\" }\n",
    );
    let _ = home.run(["start", "team.toml"]);
    for _ in 0..3 {
        let before = home.slots("crowd").iter().map(|row| row.restarts).sum::<u64>();
        wait_until("workers come and go", || {
            home.slots("crowd").iter().map(|row| row.restarts).sum::<u64>() >= before + 48
        });
        home.kill_keeper();
    }
    home.ok(["delete", "crowd"]);
    assert!(home.slots("crowd").is_empty());
}

#[test]
fn no_more_workers_are_started_than_a_later_supervisor_could_take_over() {
    let limited = ["sh", "-c", "ulimit -n 300; exec \"$@\"", "sh"];
    let home = Home::new().under(limited);
    home.write("team.toml", "[[app]]\nname = \"many\"\ncommand = [\"sleep\", \"1000\"]\ninstances = 60\n");
    let told = home.run(["start", "team.toml"]).out_and_err();
    assert!(told.contains("ulimit -Hn"), "{told}");
    let online = |home: &Home| home.slots("many").iter().filter(|row| row.status == "online").count();
    wait_until("those that were started are online", || {
        home.slots("many").iter().all(|row| row.status == "online" || row.pid.is_none())
    });
    let (before, pids) = (online(&home), home.pids("many"));
    assert!((5..60).contains(&before), "{before} of 60");
    home.kill_supervisor();
    assert_eq!((online(&home), home.pids("many")), (before, pids.clone()));
    home.kill_keeper();
    assert_eq!((online(&home), home.pids("many")), (before, pids));
}
