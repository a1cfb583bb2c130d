//! Apps whose number of workers follows their load.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::apps::app;
use crate::support::told::wait_event;
use crate::support::{Home, Target, free_port, fresh, get, nothing_lost, some_answers, wait_until};

/// `web.cjs` with one to three workers, which grows and shrinks soon.
fn scaled() -> (Home, u16) {
    let (home, port) = (Home::new(), free_port());
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"web\"\nscript = \"{}\"\nargs = [\"{port}\"]\n\
             instances = {{ min = 1, max = 3, up_after = \"1s\", down_after = \"3s\" }}\n",
            app("web.cjs")
        ),
    );
    home.ok(["start", "team.toml"]);
    (home, port)
}

#[test]
fn an_app_under_load_grows_and_shrinks_back_and_loses_nothing() {
    let (home, port) = scaled();
    assert_eq!(home.slots("web").len(), 1);
    let load = fresh(port);
    some_answers(&load, 20);
    let done = Arc::new(AtomicBool::new(false));
    let burn = |_| {
        let done = Arc::clone(&done);
        std::thread::spawn(move || {
            let target = Target::Tcp(([127, 0, 0, 1], port).into());
            while !done.load(Ordering::Relaxed) {
                let _ = get(&target, "/block?ms=300", Duration::from_secs(30));
            }
        })
    };
    let clients: Vec<_> = (0..6).map(burn).collect();
    wait_until("it grows to the most it may", || home.slots("web").len() == 3);
    wait_event(&home, "scaled", "by load");
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    wait_until("it shrinks to the least", || home.slots("web").len() == 1);
    some_answers(&load, 20);
    nothing_lost("while it grew and shrank", load);
}

#[test]
fn a_number_given_by_hand_is_taken_within_the_bounds_only() {
    let (home, _) = scaled();
    home.run(["scale", "web", "4"]).failed(1, &["between 1 and 3"]);
    home.ok(["scale", "web", "3"]);
    assert_eq!(home.slots("web").len(), 3);
    let again = home.ok(["start", "team.toml"]);
    assert_eq!(home.slots("web").len(), 3, "a start leaves the number to the load: {again:?}");
}

#[test]
fn a_program_that_computes_grows_by_its_cpu_alone_and_shrinks_again() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root can see to it that a worker gets its core on a loaded machine");
        return;
    }
    let home = Home::new();
    home.write("spin", "");
    // No socket, no event loop: nothing but CPU can be seen of it.
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"jobs\"\ncommand = [\"python3\", \"{}\"]\nready = {{ after = \"100ms\" }}\n\
             instances = {{ min = 1, max = 3, up_after = \"1s\", down_after = \"1s\" }}\n",
            app("spin.py")
        ),
    );
    home.ok(["start", "team.toml"]);
    let event = wait_event(&home, "scaled", "to 2 by load: cpu");
    assert!(!event["detail"].as_str().unwrap().contains("wait"), "{event}");
    std::fs::remove_file(home.app_directory().join("spin")).unwrap();
    wait_event(&home, "scaled", "to 1 by load: cpu");
    home.wait_online("jobs", 1);
}

#[test]
fn connections_that_wait_make_a_node_cluster_grow() {
    for balance in ["kernel", "shared"] {
        let (home, port) = (Home::new(), free_port());
        // Without the script nobody tells of the event loop, and a worker that waits uses no CPU.
        home.write(
            "team.toml",
            &format!(
                "[[app]]\nname = \"web\"\nscript = \"{}\"\nargs = [\"{port}\"]\npreload = false\n\
                 balance = \"{balance}\"\n\
                 instances = {{ min = 1, max = 2, up_after = \"1s\", down_after = \"1h\" }}\n",
                app("web.cjs")
            ),
        );
        home.ok(["start", "team.toml"]);
        let connect = || TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut first = connect();
        first.write_all(b"GET /sleep?ms=20000 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let waiting: Vec<TcpStream> = (0..40).map(|_| connect()).collect();
        let event = wait_event(&home, "scaled", "connections wait");
        assert!(event["detail"].as_str().unwrap().contains("to 2 by load: cpu 0 %"), "{event}");
        drop((first, waiting));
    }
}
