//! Programs in any language: socket activation, sd_notify, probes, bare commands, the environment.

use std::collections::BTreeSet;

use crate::support::apps::{app, tool};
use crate::support::{Home, ask, free_port, fresh, proc_fs, some_answers, wait_equal, wait_until};

/// The app of this table on two workers behind one inherited socket: both answer, it reloads without loss, and a killed
/// supervisor does no harm. `cut_off`: how many connections the program itself may cut off when it is stopped.
fn shares_a_socket(table: &str, cut_off: usize) {
    let home = Home::new();
    let port = free_port();
    let team = format!("[[app]]\nname = \"web\"\ninstances = 2\nlisten = \"tcp://127.0.0.1:{port}\"\n{table}");
    home.write("team.toml", &team);
    home.ok(["start", "team.toml"]);
    let load = fresh(port);
    some_answers(&load, 200);
    home.kill_supervisor();
    some_answers(&load, 50);
    let before: BTreeSet<u32> = home.pids("web").into_iter().collect();
    home.ok(["reload", "web"]);
    some_answers(&load, 200);
    let report = load.finish();
    assert!(report.lost().len() <= cut_off, "{table}: {report}");
    assert!(report.by_worker().len() >= 2, "more than one worker answered: {report}");
    let after: BTreeSet<u32> = home.pids("web").into_iter().collect();
    assert!(before.is_disjoint(&after) && after.len() == 2, "{before:?} {after:?}");
    home.ok(["stop", "web"]);
    assert!(crate::support::is_free(port));
}

#[test]
fn a_python_server_takes_its_socket_from_listen_fds() {
    shares_a_socket(&format!("script = \"{}\"\nready = {{ after = \"500ms\" }}\n", app("activated.py")), 0);
}

/// The table of a server of the virtual environment that serves a program beside the tests' own.
fn server(tool_name: &str, arguments: &[&str], program: &str) -> String {
    let path = app(program);
    let directory = std::path::Path::new(&path).parent().unwrap().display().to_string();
    let words = [tool(&format!("venv/bin/{tool_name}"))].into_iter();
    let words = words.chain(arguments.iter().map(|argument| argument.replace("HERE", &directory)));
    let quoted: Vec<String> = words.map(|word| format!("\"{word}\"")).collect();
    format!("command = [{}]\nready = {{ after = \"2s\" }}\n", quoted.join(", "))
}

#[test]
fn gunicorn_takes_its_socket_from_listen_fds() {
    shares_a_socket(&server("gunicorn", &["--chdir", "HERE", "--workers", "1", "wsgi:app"], "wsgi.py"), 0);
}

#[test]
fn uvicorn_serves_the_inherited_descriptor() {
    // On SIGTERM uvicorn closes connections that it has accepted and not read from: at most one of each old worker here.
    shares_a_socket(&server("uvicorn", &["--app-dir", "HERE", "--fd", "3", "asgi:app"], "asgi.py"), 2);
}

#[test]
fn names_of_sockets_are_passed_on() {
    let home = Home::new();
    let (one, two) = (free_port(), free_port());
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"web\"\nscript = \"{}\"\nready = {{ after = \"300ms\" }}\n\
             [[app.listen]]\naddress = \"tcp://127.0.0.1:{one}\"\nname = \"public\"\n\
             [[app.listen]]\naddress = \"tcp://127.0.0.1:{two}\"\nname = \"admin\"\n",
            app("activated.py")
        ),
    );
    home.ok(["start", "team.toml"]);
    ask(one, "/?id=1");
    wait_until("the names", || home.log("web", "out.log").contains("names public:admin"));
}

#[test]
fn sd_notify_proves_ready() {
    let home = Home::new();
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"jobs\"\nscript = \"{}\"\nargs = [\"notify\"]\nready = \"notify\"\n",
            app("worker.py")
        ),
    );
    let command = home.spawn(["start", "team.toml"]);
    wait_until("it is seen before it is ready", || {
        home.slots("jobs").first().is_some_and(|row| row.status == "starting")
    });
    command.wait().succeeded();
    assert_eq!(home.slots("jobs")[0].status, "online");
}

#[test]
fn sd_notify_counts_while_the_supervisor_is_away() {
    let home = Home::new();
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"jobs\"\nscript = \"{}\"\nargs = [\"notify\"]\nready = \"notify\"\n",
            app("worker.py")
        ),
    );
    let command = home.spawn(["start", "team.toml"]);
    wait_until("the worker runs", || !home.worker_processes().is_empty());
    home.kill_supervisor();
    command.wait().succeeded();
    assert_eq!(home.slots("jobs")[0].status, "online");
    assert_eq!(home.slots("jobs")[0].restarts, 0);
}

#[test]
fn a_program_that_never_notifies_has_failed_to_start() {
    let home = Home::new();
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"jobs\"\nscript = \"{}\"\nready = {{ when = \"notify\", timeout = \"1s\" }}\n",
            app("worker.py")
        ),
    );
    home.run(["start", "team.toml"]).failed(1, &["jobs", "ready"]);
}

/// A server that binds its own port after a second is ready by this probe, and not before.
fn probe(ready: &str) {
    let home = Home::new();
    let port = free_port();
    let ready = ready.replace("PORT", &port.to_string());
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"web\"\nscript = \"{}\"\nargs = [\"{port}\", \"0.7\"]\nready = {ready}\n",
            app("activated.py")
        ),
    );
    home.ok(["start", "team.toml"]);
    ask(port, "/?id=1");
    assert_eq!(home.slots("web")[0].status, "online");
}

#[test]
fn a_tcp_probe_proves_ready() {
    probe("{ tcp = \"127.0.0.1:PORT\" }");
}

#[test]
fn an_http_probe_proves_ready() {
    probe("{ http = \"http://127.0.0.1:PORT/?id=1\" }");
}

#[test]
fn listening_of_the_tree_proves_ready() {
    probe("\"listening\"");
}

#[test]
fn a_bare_command_runs_after_two_dashes() {
    let home = Home::new();
    home.ok(["start", "--name", "sleeper", "--", "sleep", "1000"]);
    let row = home.slots("sleeper")[0].clone();
    assert_eq!(row.status, "online");
    assert_eq!(proc_fs::command_line(row.pid.unwrap()), "sleep 1000");
}

#[test]
fn an_interpreter_can_be_named() {
    let home = Home::new();
    let script = home.write("program.txt", "import time\nprint('python it is', flush=True)\ntime.sleep(1000)\n");
    home.ok(["start", script.to_str().unwrap(), "--interpreter", "python3", "--name", "odd"]);
    wait_until("its output", || home.log("odd", "out.log").contains("python it is"));
}

#[test]
fn the_environment_is_the_users_and_nothing_secret_leaks_in() {
    let home = Home::new().variable("FROM_SHELL", "yes");
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"jobs\"\nscript = \"{}\"\nargs = [\"env\"]\ninstances = 2\nenv = {{ OWN = \"1\", PORT = \"4711\" }}\n",
            app("worker.py")
        ),
    );
    home.ok(["start", "team.toml"]);
    wait_until("its output", || home.log("jobs", "out.log").contains("port 4711"));
    for (slot, pid) in home.pids("jobs").into_iter().enumerate() {
        let variables = proc_fs::environ(pid);
        for wanted in ["FROM_SHELL=yes", "OWN=1", "PORT=4711", &format!("NODE_APP_INSTANCE={slot}")] {
            assert!(variables.iter().any(|v| v == wanted), "no {wanted} in {variables:?}");
        }
        for absent in ["LISTEN_FDS", "NODE_CHANNEL_FD"] {
            assert!(!variables.iter().any(|v| v.starts_with(absent)), "{absent} in {variables:?}");
        }
        assert_eq!(proc_fs::open_files(pid), 3, "a worker inherits stdin, stdout and stderr, nothing else");
    }
}

#[test]
fn exit_codes_and_policies_decide_about_restarts() {
    let home = Home::new();
    let table = |name: &str, code: &str, restart: &str| {
        format!(
            "[[app]]\nname = \"{name}\"\ncommand = [\"sh\", \"-c\", \"sleep 0.5; exit {code}\"]\n\
             ready = {{ after = \"100ms\" }}\nrestart = {restart}\n"
        )
    };
    home.write(
        "team.toml",
        &[
            table("never", "1", "\"never\""),
            table("on-failure", "0", "\"on-failure\""),
            table("by-code", "42", "{ stop_exit_codes = [42] }"),
            table("failing", "1", "{ policy = \"on-failure\", delay = \"1ms\", max_restarts = 100 }"),
        ]
        .concat(),
    );
    home.ok(["start", "team.toml"]);
    for name in ["never", "on-failure", "by-code"] {
        wait_equal(name, &("exited".to_owned(), 0), || {
            let row = &home.slots(name)[0];
            (row.status.clone(), row.restarts)
        });
    }
    wait_until("the failing one is restarted", || home.slots("failing")[0].restarts >= 2);
}
