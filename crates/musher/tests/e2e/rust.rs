//! Workers in Rust that take their listener from musher-cluster: the same program with a channel, and with a socket.

use std::time::Duration;

use crate::support::apps::rust_worker;
use crate::support::machine::Machine;
use crate::support::{Home, free_port, fresh, keep_alive, loses_nothing, nothing_lost, some_answers};

fn reloaded_under_load(how: &str, kills: bool) {
    let home = Home::new();
    let port = free_port();
    let server = rust_worker("cluster-axum");
    let listen = how.replace("PORT", &port.to_string());
    home.write(
        "team.toml",
        &format!("[[app]]\nname = \"web\"\ncommand = \"{server} 127.0.0.1:{port}\"\ninstances = 2\n{listen}\n"),
    );
    home.ok(["start", "team.toml"]);
    loses_nothing(&home, port, kills, "a reload");
}

#[test]
fn rust_workers_share_a_port_as_a_cluster_and_lose_nothing() {
    for balance in ["kernel", "round-robin"] {
        // With round-robin a connection may be between the supervisor's hands when it is killed.
        reloaded_under_load(&format!("cluster = true\nbalance = \"{balance}\""), balance == "kernel");
    }
}

#[test]
fn rust_workers_take_a_socket_of_the_process_file_and_notify() {
    reloaded_under_load("listen = \"tcp://127.0.0.1:PORT\"\nready = \"notify\"", true);
}

/// No musher: systemd itself has the socket, starts the program at the first connection, and restarts it.
#[test]
fn the_same_workers_and_a_primary_of_them_are_started_and_restarted_by_systemd_and_lose_nothing() {
    let home = Home::new();
    let Some(machine) = Machine::boot(&home, 1) else { return };
    for (program, more) in [("cluster-axum", ""), ("cluster-visits", "2")] {
        let port = free_port();
        let server = rust_worker(program);
        let unit = format!(
            "cd /run/units && printf '[Unit]\\nDefaultDependencies=no\\n[Socket]\\nListenStream=127.0.0.1:{port}\\n' \
             > {program}.socket && printf '[Unit]\\nDefaultDependencies=no\\n[Service]\\nType=notify\\n\
             NotifyAccess=main\\nExecStart={server} 127.0.0.1:{port} {more}\\n' > {program}.service && systemctl \
             daemon-reload && systemctl start {program}.socket"
        );
        machine.ok(&["sh", "-c", &unit]);
        let state = || machine.ok(&["systemctl", "show", program, "--value", "--property", "MainPID,ActiveState"]);
        assert_eq!(state(), "0\ninactive\n", "nobody has asked for it");
        let (new, kept) = (fresh(port), keep_alive(port, 8, Duration::from_millis(20)));
        some_answers(&new, 50);
        some_answers(&kept, 50);
        let before = state();
        assert!(before.ends_with("\nactive\n"), "{before}");
        machine.ok(&["systemctl", "restart", program]);
        some_answers(&new, 50);
        some_answers(&kept, 50);
        let after = state();
        assert!(after.ends_with("\nactive\n") && after != before, "{after}");
        nothing_lost("a restart by systemd", new);
        nothing_lost("a restart by systemd, of kept connections", kept);
        machine.ok(&["systemctl", "stop", &format!("{program}.socket"), program]);
        let result = machine.ok(&["systemctl", "show", program, "--value", "--property", "Result"]);
        assert_eq!(result, "success\n", "it ends by itself");
    }
}
