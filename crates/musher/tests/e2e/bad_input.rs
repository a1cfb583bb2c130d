//! Bad input: each is refused with a message that helps and a documented exit code, and the daemon is unharmed.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;

use crate::support::apps::app;
use crate::support::{Home, free_port, is_free, wait_until};

/// A home with a healthy app, to see that it stays so.
fn healthy() -> Home {
    let home = Home::new();
    home.ok(["start", &app("worker.py"), "--name", "healthy"]);
    home
}

/// Nothing was started, nothing was harmed.
#[track_caller]
fn unharmed(home: &Home) {
    let rows = home.list();
    assert_eq!(rows.len(), 1, "nothing but the healthy app: {rows:#?}");
    assert_eq!((rows[0].app.as_str(), rows[0].status.as_str(), rows[0].restarts), ("healthy", "online", 0));
}

#[test]
fn a_missing_script() {
    let home = healthy();
    home.run(["start", "no-such-file.js"]).failed(3, &["no-such-file.js"]);
    home.run(["start", "/no/such/directory/app.py", "--name", "x"]).failed(3, &["/no/such/directory/app.py"]);
    home.run(["start", "--name", "x", "--", "no-such-command-anywhere"]).failed(3, &["no-such-command-anywhere"]);
    unharmed(&home);
}

#[test]
fn a_program_that_is_not_executable() {
    let home = healthy();
    let program = home.write("program", "#!/bin/sh\nexec sleep 1000\n");
    home.run(["start", "--name", "x", "--", program.to_str().unwrap()]).failed(3, &["program", "executable"]);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    home.ok(["start", "--name", "x", "--", program.to_str().unwrap()]);
    home.ok(["delete", "x"]);
    unharmed(&home);
}

#[test]
fn a_wrong_interpreter() {
    let home = healthy();
    home.run(["start", &app("web.cjs"), "--name", "x", "--interpreter", "no-such-node"]).failed(3, &["no-such-node"]);
    home.run(["start", &app("web.cjs"), "--name", "x", "--interpreter", "/etc/passwd"]).failed(3, &["/etc/passwd"]);
    // One that exists, is executable, and cannot run this.
    home.run(["start", &app("web.cjs"), "--name", "x", "--interpreter", "sh"]).failed(1, &["yntax error"]);
    home.ok(["delete", "x"]);
    unharmed(&home);
}

#[test]
fn an_executable_that_the_kernel_refuses() {
    let home = healthy();
    let program = home.write("program", "\x7fELF but not really");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let output = home.run(["start", "--name", "x", "--", program.to_str().unwrap()]);
    assert!(matches!(output.code, Some(1 | 3)) && output.err.contains("program"), "{output:#?}");
    home.run(["delete", "x"]);
    unharmed(&home);
}

#[test]
fn a_missing_working_directory() {
    let home = healthy();
    home.run(["start", &app("worker.py"), "--name", "x", "--cwd", "/no/such/directory"])
        .failed(3, &["/no/such/directory"]);
    unharmed(&home);
}

#[test]
fn syntax_errors_of_a_file_have_line_and_column() {
    let home = healthy();
    for (name, text, place) in [
        ("team.toml", "[[app]]\nname = \"web\"\nscript = = 1\n", "team.toml:3:"),
        ("team.json", "{\"app\": [\n  {\"name\": \"web\",}\n]}", "team.json:2:"),
        ("team.yaml", "app:\n  - name: web\n   script: x\n", "team.yaml:3:"),
        ("empty.toml", "", "empty.toml"),
    ] {
        home.write(name, text);
        home.run(["start", name]).failed(3, &[place]);
    }
    unharmed(&home);
}

#[test]
fn all_errors_of_a_file_are_told_at_once() {
    let home = healthy();
    home.write(
        "team.toml",
        "[[app]]\nname = \"a/b\"\nscript = \"nowhere.js\"\ninstancs = 2\nbalance = \"fair\"\n\n\
         [[app]]\nname = \"c\"\nscript = \"nowhere.js\"\ninstances = 0\n",
    );
    home.run(["start", "team.toml"]).failed(
        3,
        &["'/' cannot be in a name", "instancs", "instances", "fair", "team.toml:4:", "team.toml:5:", "team.toml:10:"],
    );
    unharmed(&home);
}

#[test]
fn numbers_of_instances_that_cannot_be() {
    let home = healthy();
    for count in ["0", "-1", "100000", "1.5", "many", ""] {
        let output = home.run(["start", &app("worker.py"), "--name", "x", &format!("--instances={count}")]);
        assert!(matches!(output.code, Some(2 | 3)), "instances {count:?}: {output:#?}");
        assert!(output.err.contains("instances"), "{output:#?}");
    }
    for count in ["0", "-1", "100000", "x"] {
        let output = home.run(["scale", "healthy", "--", count]);
        assert!(matches!(output.code, Some(2 | 3)) && !output.err.is_empty(), "scale to {count:?}: {output:#?}");
    }
    unharmed(&home);
}

#[test]
fn names_that_cannot_be() {
    let home = healthy();
    for name in
        ["a/b", "../x", "with\nnewline", "with\x1b[31mcolour", "tab\there", "", "all", "17", " x", &"n".repeat(65)]
    {
        let output = home.run(["start", &app("worker.py"), "--name", name]);
        assert!(matches!(output.code, Some(2 | 3)) && output.err.contains("--name"), "name {name:?}: {output:#?}");
        assert!(!output.err.contains('\x1b'), "control characters are not repeated raw: {output:#?}");
    }
    unharmed(&home);
}

#[test]
fn a_port_that_is_taken() {
    let home = healthy();
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    home.run(["start", &app("web.cjs"), "-i", "2", "--name", "x", "--", &port.to_string(), "0.0.0.0"])
        .failed(1, &["EADDRINUSE", &port.to_string()]);
    home.ok(["delete", "x"]);

    home.write(
        "team.toml",
        &format!("[[app]]\nname = \"x\"\nscript = \"{}\"\nlisten = \"tcp://0.0.0.0:{port}\"\n", app("activated.py")),
    );
    home.run(["start", "team.toml"]).failed(1, &["in use", &port.to_string()]);
    home.run(["delete", "x"]);
    unharmed(&home);
}

#[test]
fn a_second_app_on_the_port_of_another() {
    let home = Home::new();
    let port = free_port();
    home.ok(["start", &app("web.cjs"), "-i", "2", "--name", "one", "--", &port.to_string()]);
    home.run(["start", &app("web.cjs"), "-i", "2", "--name", "two", "--", &port.to_string()])
        .failed(1, &["EADDRINUSE"]);
    assert_eq!(home.wait_online("one", 2).len(), 2);
    home.ok(["delete", "all"]);
    assert!(is_free(port));
}

#[test]
fn an_address_that_is_not_of_this_machine() {
    let home = healthy();
    home.run(["start", &app("web.cjs"), "-i", "1", "--name", "x", "--", "8080", "192.0.2.1"])
        .failed(1, &["EADDRNOTAVAIL"]);
    home.ok(["delete", "x"]);
    unharmed(&home);
}

#[test]
fn unknown_targets_and_words() {
    let home = healthy();
    home.run(["stop", "helthy"]).failed(4, &["helthy", "healthy"]);
    home.run(["reload", "99"]).failed(4, &["99"]);
    home.run(["frobnicate"]).failed(2, &["frobnicate"]);
    home.run(["start", "--no-such-flag"]).failed(2, &["--no-such-flag"]);
    let nothing = home.run(["start"]);
    assert!(nothing.code == Some(2) && nothing.err.contains("musher.toml"), "{nothing:#?}");
    home.run(["scale", "healthy"]).failed(2, &[]);
    unharmed(&home);
}

#[test]
fn two_apps_of_one_name() {
    let home = healthy();
    let script = app("worker.py");
    home.write(
        "team.toml",
        &format!("[[app]]\nname = \"x\"\nscript = \"{script}\"\n[[app]]\nname = \"x\"\nscript = \"{script}\"\n"),
    );
    home.run(["start", "team.toml"]).failed(3, &["two apps are called \"x\""]);
    unharmed(&home);
}

#[test]
fn a_log_directory_that_cannot_be_written() {
    let home = healthy();
    home.write(
        "team.toml",
        &format!("[[app]]\nname = \"x\"\nscript = \"{}\"\nlogs = {{ out = \"/proc/no/out.log\" }}\n", app("worker.py")),
    );
    let output = home.run(["start", "team.toml"]);
    assert!(matches!(output.code, Some(1 | 3 | 7)) && output.err.contains("/proc/no"), "{output:#?}");
    home.run(["delete", "x"]);
    unharmed(&home);
}

#[test]
fn a_home_whose_socket_path_is_too_long() {
    let home = Home::new();
    let long = home.directory().join("d".repeat(120));
    let home = home.at(long);
    home.run(["start", &app("worker.py")]).failed(7, &["107"]);
    assert!(home.processes().is_empty());
}

#[test]
fn a_home_that_is_a_file() {
    let home = Home::new();
    let file = home.write("file", "");
    let home = home.at(file.clone());
    home.run(["start", &app("worker.py")]).failed(7, &[file.to_str().unwrap()]);
}

#[test]
fn a_stale_socket_and_lock_are_recognised() {
    let home = Home::new();
    fs::create_dir(home.path()).unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    drop(std::os::unix::net::UnixListener::bind(home.path().join("control.sock")).unwrap());
    fs::write(home.path().join("lock"), "12345\n").unwrap();
    home.ok(["start", &app("worker.py"), "--name", "jobs"]);
    home.wait_online("jobs", 1);
}

#[test]
fn a_daemon_that_was_ended_by_force_is_started_anew() {
    let home = healthy();
    for pid in home.processes() {
        let _ = crate::support::proc_fs::kill9(pid);
    }
    wait_until("all is gone, however often it heals", || {
        let left = home.processes();
        for pid in &left {
            let _ = crate::support::proc_fs::kill9(*pid);
        }
        left.is_empty()
    });
    home.ok(["start", &app("worker.py"), "--name", "jobs"]);
    home.wait_online("jobs", 1);
}

#[test]
fn the_home_is_for_its_owner_only() {
    let home = healthy();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(home.path()), 0o700);
    assert_eq!(mode(&home.path().join("control.sock")), 0o600);
}

#[test]
fn requests_that_are_no_requests_do_no_harm() {
    use std::io::{Read, Write};
    let home = healthy();
    let supervisor = home.supervisor();
    let long_header = format!("GET /v1/status HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    for request in [
        "nonsense\r\n\r\n",
        "GET /v1/nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /v1/apps HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n",
        "POST /v1/apps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{",
        "POST /v1/actions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]",
        &long_header,
        "",
    ] {
        let mut socket = std::os::unix::net::UnixStream::connect(home.path().join("control.sock")).unwrap();
        socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        let _ = socket.write_all(request.as_bytes());
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{request:.60?}: {answer}");
    }
    assert_eq!(home.supervisor(), supervisor);
    unharmed(&home);
}
