//! Apps that need others: what they need is started first, and waited for.

use std::fs;

use crate::support::told::wait_event;
use crate::support::{Home, wait_until};

fn begun(home: &Home) -> Vec<String> {
    let text = fs::read_to_string(home.app_directory().join("begun")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// An app that writes down that it begins.
fn app(name: &str, then: &str, more: &str) -> String {
    format!("[[app]]\nname = \"{name}\"\ncommand = ['sh', '-c', 'echo {name} >> begun; {then}']\n{more}\n")
}

const SERVE: &str = "exec sleep 1000";

fn team(migrate: &str, db: &str) -> String {
    app("api", SERVE, "depends_on = { db = \"ready\", migrate = \"exited_ok\" }")
        + &app("migrate", migrate, "depends_on = \"db\"\nrestart = \"never\"")
        + &app("db", db, "ready = { after = \"50ms\" }\nrestart = { max_restarts = 0 }")
}

#[test]
fn what_an_app_needs_is_started_first_and_by_its_start() {
    let home = Home::new();
    home.write("team.toml", &team("exit 0", SERVE));
    home.ok(["start", "team.toml"]);
    assert_eq!(begun(&home), ["db", "migrate", "api"]);
    let described = home.ok(["describe", "api"]);
    assert!(described.out.contains("db (ready), migrate (exited_ok)"), "{described:?}");
    // One alone takes along what it needs, and only that.
    home.ok(["stop", "all"]);
    fs::remove_file(home.app_directory().join("begun")).unwrap();
    home.ok(["start", "api"]);
    assert_eq!(begun(&home), ["db", "migrate", "api"]);
    home.ok(["start", "api", "--force"]);
    assert_eq!(begun(&home), ["db", "migrate", "api", "api"]);
}

#[test]
fn a_start_fails_with_what_it_needs_and_goes_on_when_that_is_mended() {
    let home = Home::new();
    home.write("team.toml", &team("[ -e mended ] || exit 7", SERVE));
    let failed = home
        .run(["start", "team.toml"])
        .failed(1, &["api: start failed: it waits for another app: migrate failed", "exit code 7"]);
    assert!(failed.err.contains("`musher stop api` ends that"), "{failed:?}");
    assert_eq!(begun(&home), ["db", "migrate"]);
    assert_eq!(home.slots("api")[0].status, "waiting");
    let described = home.ok(["describe", "api"]);
    assert!(described.out.contains("migrate to end with success"), "{described:?}");
    // The next supervisor waits as well.
    home.kill_supervisor();
    wait_until("it waits", || home.slots("api")[0].status == "waiting");
    home.write("mended", "");
    home.ok(["start", "migrate"]);
    home.wait_online("api", 1);
    assert_eq!(begun(&home), ["db", "migrate", "migrate", "api"]);

    // What takes too long is told as well.
    let slow = app("late", SERVE, "depends_on = { slow = \"exited_ok\" }\ndepends_timeout = \"200ms\"")
        + &app("slow", SERVE, "restart = \"never\"");
    home.write("slow.toml", &slow);
    home.run(["start", "slow.toml"])
        .failed(1, &["late: start failed: it waits for another app: it waited 200 ms for slow to end"]);
    wait_event(&home, "waiting", "waits for slow to end with success");
}

#[test]
fn what_cannot_be_ordered_is_refused_with_the_way_to_it() {
    let home = Home::new();
    let cycle = app("a", SERVE, "depends_on = \"b\"")
        + &app("b", SERVE, "depends_on = [\"c\"]")
        + &app("c", SERVE, "depends_on = [\"a\"]");
    home.write("cycle.toml", &cycle);
    home.run(["start", "cycle.toml"]).failed(3, &["apps need each other: a -> b -> c -> a"]);
    home.write("typo.toml", &(app("web", SERVE, "depends_on = \"dbb\"") + &app("db", SERVE, "")));
    home.run(["start", "typo.toml"]).failed(3, &["web needs \"dbb\"", "did you mean \"db\"?"]);
    home.write("ever.toml", &(app("web", SERVE, "depends_on = { db = \"exited_ok\" }") + &app("db", SERVE, "")));
    home.run(["start", "ever.toml"]).failed(3, &["web waits for the end of db", "on-failure"]);
    home.write("word.toml", &app("web", SERVE, "depends_on = { db = \"redy\" }"));
    home.run(["start", "word.toml"]).failed(3, &["depends_on.db", "did you mean \"ready\"?"]);
    assert_eq!(begun(&home), Vec::<String>::new());
}

#[test]
fn what_needs_others_ends_before_them_and_comes_after_them() {
    let home = Home::new();
    let name = |name: &str, more: &str| {
        let script = format!(
            "trap \"echo {name} ends >> order; exit 0\" TERM; echo {name} begins >> order; while :; do sleep 0.02; done"
        );
        format!(
            "[[app]]\nname = \"{name}\"\ncommand = ['sh', '-c', '{script}']\nready = {{ after = \"100ms\" }}\n{more}\n"
        )
    };
    home.write(
        "team.toml",
        &(name("db", "") + &name("web", "depends_on = \"api\"") + &name("api", "depends_on = \"db\"")),
    );
    let order = || {
        let text = fs::read_to_string(home.app_directory().join("order")).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let begin = ["db begins", "api begins", "web begins"];
    let end = ["web ends", "api ends", "db ends"];
    home.ok(["start", "team.toml"]);
    home.ok(["restart", "all"]);
    home.ok(["stop", "all"]);
    assert_eq!(order(), [begin, end, begin, end].concat());
    home.ok(["start", "web"]);
    home.ok(["kill"]);
    assert_eq!(order()[12..], [begin, end].concat());
}
