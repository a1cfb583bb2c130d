//! Schedules: jobs that are started by the clock, and apps that are restarted by it.

use std::fs;

use crate::support::told::{events, wait_event};
use crate::support::{Home, free_port, fresh, nothing_lost, some_answers, wait_for, wait_until};

fn lines(home: &Home, file: &str) -> usize {
    fs::read_to_string(home.app_directory().join(file)).unwrap_or_default().lines().count()
}

#[test]
fn a_job_is_started_when_its_time_comes_and_never_beside_itself() {
    let home = Home::new();
    home.write("hold", "");
    let script = "echo run >> runs; while [ -e hold ]; do sleep 0.05; done; exit 3";
    home.write(
        "team.toml",
        &format!("[[app]]\nname = \"job\"\ncommand = ['sh', '-c', '{script}']\nschedule = \"* * * * * *\"\n"),
    );
    let started = home.ok(["start", "team.toml"]);
    assert!(started.err.contains("job: scheduled"), "{started:?}");
    // It hangs, and is not started once more, whatever the time.
    wait_event(&home, "schedule", "it still runs");
    assert_eq!(lines(&home, "runs"), 1);
    assert_eq!(home.list()[0].status, "online");
    // Also when the supervisor is another one.
    home.kill_supervisor();
    let skipped = wait_for("the next supervisor leaves it out, too", || {
        let described = home.ok(["describe", "job", "--json"]).json();
        described["schedule"]["skipped"].as_u64().filter(|skipped| *skipped >= 2)
    });
    assert_eq!(lines(&home, "runs"), 1, "left out {skipped} times");
    fs::remove_file(home.app_directory().join("hold")).unwrap();
    wait_until("it runs again and again", || lines(&home, "runs") >= 3);
    let described = wait_for("its last exit is known", || {
        let described = home.ok(["describe", "job", "--json"]).json();
        (described["slots"][0]["last_death"]["code"] == 3).then_some(described)
    });
    assert!(described["schedule"]["next_ms"].as_u64() > described["schedule"]["last_ms"].as_u64(), "{described}");
    // With the same file nothing changes; a changed one is what its next run has.
    assert!(home.ok(["start", "team.toml"]).err.contains("nothing to do"));
    home.write("team.toml", "[[app]]\nname = \"job\"\ncommand = ['touch', 'other']\nschedule = \"* * * * * *\"\n");
    home.ok(["start", "team.toml"]);
    wait_until("the next run is the new one", || home.app_directory().join("other").exists());
    home.ok(["stop", "job"]);
    let row = &home.list()[0];
    assert_eq!((row.status.as_str(), row.restarts), ("stopped", 0));
}

#[test]
fn a_team_is_restarted_by_the_clock_without_losing_a_request_and_what_is_stopped_stays_so() {
    let (home, port) = (Home::new(), free_port());
    home.write("web.cjs", "require('node:http').createServer((q, s) => s.end(`id=${new URL(q.url, 'http://x').searchParams.get('id')}`)).listen(process.argv[2]);");
    home.ok(["start", "web.cjs", "-i", "2", "-c", "*/2 * * * * *", "--", &port.to_string()]);
    home.ok(["start", "--name", "plain", "--cron", "* * * * * *", "--timezone", "Asia/Tokyo", "--", "sleep", "1000"]);
    home.ok(["start", "--name", "idle", "--cron", "* * * * * *", "--", "sleep", "1000"]);
    home.ok(["stop", "idle"]);
    let before = home.pids("web");
    let clients = fresh(port);
    some_answers(&clients, 20);
    wait_event(&home, "schedule", "its time has come: reload");
    wait_event(&home, "schedule", "its time has come: restart");
    wait_until("all workers are others", || home.pids("web").iter().all(|pid| !before.contains(pid)));
    nothing_lost("new connections", clients);
    let of_idle = |event: &&serde_json::Value| event["kind"] == "schedule" && event["app"] == "idle";
    assert_eq!(home.slots("idle")[0].status, "stopped");
    let told = events(&home);
    let stopped = told.iter().rposition(|event| event["app"] == "idle" && event["kind"] == "stopped").unwrap();
    assert_eq!(told[stopped..].iter().filter(of_idle).count(), 0);
    assert!(home.slots("plain")[0].restarts > 0, "what the clock restarted is counted");
    let described = home.ok(["describe", "plain"]);
    assert!(described.out.contains("restarted at * * * * * * in Asia/Tokyo"), "{described:?}");
}

#[test]
fn what_is_no_time_is_refused() {
    let home = Home::new();
    home.write(
        "bad.toml",
        "[[app]]\nname = \"a\"\ncommand = \"true\"\nschedule = { cron = \"61 * * * *\", timezone = \"Mars/Base\" }\n\
         [[app]]\nname = \"b\"\ncommand = \"true\"\nschedule = { cron = \"0 0 30 2 *\" }\n\
         [[app]]\nname = \"c\"\ncommand = \"true\"\nschedule = \"@daily\"\nrestart = \"always\"\n",
    );
    home.run(["start", "bad.toml"])
        .failed(3, &["there is no time zone \"Mars/Base\"", "\"0 0 30 2 *\" never comes true", "a job ends by itself"]);
}
