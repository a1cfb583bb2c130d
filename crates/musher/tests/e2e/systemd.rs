//! Under systemd: `musher startup`, and what becomes of workers when systemd or anybody else ends, stops or restarts
//! something. A real systemd runs each machine, as its process 1; [`crate::attendant`] needs none.

use std::fs;

use crate::support::apps::app;
use crate::support::machine::Machine;
use crate::support::{Home, free_port, fresh, is_free, nothing_lost, some_answers, wait_equal, wait_until};

/// A home in a machine that has its unit.
fn started(home: Home) -> Option<(Home, Machine)> {
    let machine = Machine::boot(&home, 1)?;
    let home = home.under(machine.prefix());
    home.ok(["startup"]);
    assert_eq!(machine.show("ActiveState"), "active");
    Some((home, machine))
}

/// A Python server on a socket that musher opens: its workers can be had back whoever dies.
fn serve(home: &Home) -> u16 {
    let port = free_port();
    let toml = format!(
        "[[app]]\nname = \"web\"\nscript = \"{}\"\ninstances = 2\nlisten = \"tcp://127.0.0.1:{port}\"\n\
         ready = {{ after = \"100ms\" }}\n",
        app("activated.py")
    );
    let file = home.write("team.toml", &toml);
    home.ok(["start", file.to_str().unwrap()]);
    port
}

#[test]
fn whoever_dies_the_unit_lives_and_the_workers_serve_and_stop_ends_all() {
    let Some((home, machine)) = started(Home::new()) else { return };
    let port = serve(&home);
    let (workers, main) = (home.pids("web"), machine.show("MainPID"));
    let load = fresh(port);
    some_answers(&load, 50);
    let pid = |role: &str| home.status()[role]["pid"].to_string();

    let keeper = pid("keeper");
    machine.kill("KILL", &keeper);
    wait_until("another keeper", || pid("keeper") != keeper);
    let supervisor = pid("supervisor");
    machine.kill("KILL", &supervisor);
    wait_until("another supervisor", || pid("supervisor") != supervisor);
    machine.ok(&["kill", "-9", &pid("keeper"), &pid("supervisor")]);
    // Nobody types a command: the unit brings the daemon back by itself.
    wait_until("another daemon", || {
        home.path().join("control.sock").exists() && home.run(["status", "--json"]).json()["running"] == true
    });
    assert_eq!((machine.show("ActiveState"), machine.show("MainPID")), ("active".into(), main.clone()));
    assert_eq!(machine.show("NRestarts"), "0");

    machine.kill("KILL", &main);
    wait_equal("systemd starts it again", &("active".to_owned(), "1".to_owned()), || {
        (machine.show("ActiveState"), machine.show("NRestarts"))
    });
    some_answers(&load, 50);
    machine.ok(&["systemctl", "restart", "musher"]);
    assert_ne!(machine.show("MainPID"), main);
    some_answers(&load, 50);
    assert_eq!(home.pids("web"), workers, "nobody touched them");
    machine.ok(&["systemctl", "reload", "musher"]);
    assert_ne!(home.pids("web"), workers, "a reload replaces them");
    some_answers(&load, 50);
    nothing_lost("deaths, restart and reload", load);

    machine.ok(&["systemctl", "stop", "musher"]);
    assert_eq!((machine.show("ActiveState"), machine.show("Result")), ("inactive".into(), "success".into()));
    assert!(home.processes().is_empty(), "a stop leaves nothing");
    assert!(is_free(port));
    machine.ok(&["systemctl", "start", "musher"]);
    assert_eq!(home.pids("web").len(), 2, "and a start brings it back before it is done");
}

#[test]
fn what_hangs_is_replaced_and_the_watchdog_ends_no_worker() {
    let Some((home, machine)) = started(Home::new()) else { return };
    let port = serve(&home);
    machine.ok(&["sh", "-c", "mkdir -p /run/units/musher.service.d; printf '[Service]\\nWatchdogSec=6s\\n' > /run/units/musher.service.d/w.conf"]);
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "restart", "musher"]);
    let workers = home.pids("web");
    let load = fresh(port);
    some_answers(&load, 50);
    let status = home.status();
    let pid = |role: &str| status[role]["pid"].to_string();
    machine.kill("STOP", &pid("supervisor"));
    wait_until("another supervisor", || home.status()["supervisor"]["pid"] != status["supervisor"]["pid"]);

    let status = home.status();
    let pid = |role: &str| status[role]["pid"].to_string();
    machine.ok(&["kill", "-s", "STOP", &pid("keeper"), &pid("supervisor")]);
    wait_until("another keeper", || home.status()["keeper"]["pid"] != status["keeper"]["pid"]);
    some_answers(&load, 50);

    wait_until("the unit is active", || machine.show("ActiveState") == "active");
    let main = machine.show("MainPID");
    machine.kill("STOP", &main);
    wait_until("the watchdog ends the main process, and another one is started", || {
        // In this order: the unit is active with the old one, too.
        let now = machine.show("MainPID");
        now != main && now != "0" && machine.show("ActiveState") == "active"
    });
    some_answers(&load, 50);
    assert_eq!(home.pids("web"), workers);
    nothing_lost("what hung", load);

    // A stop leaves nothing even so.
    let status = home.status();
    machine.ok(&["kill", "-s", "STOP", &status["keeper"]["pid"].to_string(), &status["supervisor"]["pid"].to_string()]);
    machine.ok(&["systemctl", "stop", "musher"]);
    assert_eq!(machine.show("Result"), "success", "{}", home.daemon_log());
    assert!(home.processes().is_empty() && is_free(port));
}

#[test]
fn apps_are_back_after_a_reboot_a_power_cut_and_an_end_on_purpose() {
    let home = Home::new();
    // A path that is hard to quote.
    let path = home.directory().join("a \"home\" of 5%n $HOME");
    let Some((mut home, machine)) = started(home.at(path)) else { return };
    let port = serve(&home);
    home.ok(["start", "--name", "idle", "--", "sleep", "1000"]);
    home.ok(["stop", "idle"]);
    home.ok(["save"]);
    machine.stop_everything();
    assert!(home.processes().is_empty());
    drop(machine);

    for (boot, how) in [(2, "in order"), (3, "a power cut"), (4, "musher kill")] {
        let Some(machine) = Machine::boot(&home, boot) else { return };
        home = home.under(machine.prefix());
        let load = fresh(port);
        some_answers(&load, 20);
        nothing_lost(how, load);
        assert_eq!((home.pids("web").len(), home.pids("idle").len()), (2, 0), "{how}");
        assert_eq!(home.slots("idle")[0].status, "stopped");
        if boot == 3 {
            home.ok(["kill"]);
            wait_equal("the unit ends with it", &"inactive".to_owned(), || machine.show("ActiveState"));
            assert!(home.processes().is_empty());
        }
    }
    wait_until("the power is cut", || home.processes().is_empty());
    assert!(is_free(port));
}

#[test]
fn a_unit_is_removed_and_nobody_elses_is_touched() {
    let Some((home, machine)) = started(Home::new()) else { return };
    let units = home.directory().join("units");
    let unit = units.join("musher.service");
    let other = Home::new().under(machine.prefix());
    other.run(["startup"]).failed(7, &["the unit of another home", "--name"]);
    fs::write(units.join("theirs.service"), "[Service]\nExecStart=/bin/true\n").unwrap();
    home.run(["startup", "--name", "theirs"]).failed(7, &["not made by musher"]);
    home.run(["unstartup", "--name", "theirs"]).failed(7, &["not made by musher"]);
    assert_eq!(home.ok(["startup", "--json"]).json()["started"], true, "once more changes nothing");

    let main = machine.show("MainPID");
    assert!(home.ok(["unstartup"]).err.contains("runs on until"));
    assert!(!unit.exists() && !units.join("multi-user.target.wants/musher.service").exists());
    assert_eq!((machine.show("MainPID"), home.status()["running"].as_bool()), (main, Some(true)));
    assert!(home.ok(["unstartup"]).err.contains("nothing to do"));
}

#[test]
fn the_unit_is_one_that_systemd_finds_nothing_wrong_with() {
    let home = Home::new();
    let unit = home.ok(["startup", "--print"]).out;
    let path = home.write("musher.service", &unit);
    match crate::support::command("systemd-analyze").arg("verify").arg(&path).output() {
        Ok(said) => {
            let text = String::from_utf8_lossy(&said.stderr).into_owned();
            // We may be nobody, as whom no service should run.
            let ours = text.lines().filter(|line| line.contains("musher.service") && !line.contains("Special user"));
            assert!(said.status.success() && ours.count() == 0, "{text}");
        }
        Err(error) => eprintln!("skipped: systemd-analyze: {error}"),
    }
    assert!(home.processes().is_empty(), "to print it starts nothing");
    let json = home.ok(["startup", "--print", "--json", "--user"]).json();
    assert!(json["text"].as_str().unwrap().contains("WantedBy=default.target"), "{json}");
    home.run(["startup", "--print", "--name", "a/b"]).failed(2, &["name of a unit"]);
    home.run(["startup", "--print", "--run-as", "no-such-user"]).failed(2, &["no user"]);
}
