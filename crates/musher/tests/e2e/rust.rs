//! Workers in Rust that take their listener from musher-cluster: the same program with a channel, and with a socket.

use crate::support::apps::rust_worker;
use crate::support::{Home, free_port, loses_nothing};

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
