//! The command line without a daemon, and against sockets that are not what they should be.

#![expect(clippy::unwrap_used, reason = "these are tests, also where they are functions of their own")]

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const MUSHER: &str = env!("CARGO_BIN_EXE_musher");

fn command(home: &Path, program: &str, args: &[&str]) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the test stands outside of the product")]
    let mut command = Command::new(program);
    command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("MUSHER_HOME", home);
    command.stdin(Stdio::null());
    command
}

fn run(home: &Path, args: &[&str]) -> Output {
    command(home, MUSHER, args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A socket in a home that gives every peer the same answer.
fn answering(home: &Path, status: &'static str, body: &'static str) {
    let answer = format!("{status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let listener = UnixListener::bind(home.join("control.sock")).unwrap();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while reader.read_line(&mut line).unwrap_or(0) > 2 {
                line.clear();
            }
            // The peer may have gone.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

#[test]
fn reading_without_a_daemon_starts_none_and_makes_no_home() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("home");
    for (args, out) in [(&["list", "--json"][..], "[]\n"), (&["list"], "")] {
        let output = run(&home, args);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), out), "{output:?}");
    }
    let status: serde_json::Value = serde_json::from_slice(&run(&home, &["status", "--json"]).stdout).unwrap();
    assert_eq!((&status["running"], &status["supervisor"]), (&false.into(), &serde_json::Value::Null));
    assert_eq!(status["home"], home.to_str().unwrap());
    assert_eq!(run(&home, &["kill"]).status.code(), Some(0));
    for args in [&["stop", "web"][..], &["reload", "all"], &["logs"], &["events"], &["describe", "web"]] {
        let output = run(&home, args);
        assert_eq!(output.status.code(), Some(5), "{args:?}: {output:?}");
        assert!(text(&output.stderr).contains("no supervisor is running"), "{output:?}");
        assert!(output.stdout.is_empty(), "messages do not go to stdout: {output:?}");
    }
    assert_eq!(run(&home, &["list", "web"]).status.code(), Some(4));
    assert!(!home.exists());
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let directory = tempfile::tempdir().unwrap();
    for args in [&["openapi"][..], &["man"], &["completions", "bash"], &["list", "--json"], &["status"]] {
        let mut child =
            command(directory.path(), MUSHER, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn what_another_version_or_another_program_answers_is_told() {
    for (status, body, word) in [
        ("HTTP/1.1 404 Not Found", "{\"code\":\"unknown_route\",\"message\":\"gone\"}", "version"),
        ("HTTP/1.1 200 OK", "hello", "understood"),
        ("220 smtp ready", "", "understood"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        answering(directory.path(), status, body);
        let output = run(directory.path(), &["list"]);
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        assert!(text(&output.stderr).contains(word), "no {word:?} in {output:?}");
    }
}

#[test]
fn an_error_of_the_supervisor_cannot_drive_the_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let body = "{\"code\":\"conflict\",\"message\":\"\\u001b]0;owned\\u0007\",\"hint\":\"\\u001bc\"}";
    answering(directory.path(), "HTTP/1.1 409 Conflict", body);
    let output = run(directory.path(), &["stop", "web"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("\\x1b]0;owned\\x07") && said.contains("\\x1bc") && !said.contains('\x1b'), "{said:?}");
}

#[test]
fn a_socket_of_another_user_is_a_matter_of_permission() {
    let setpriv = ["/usr/bin/setpriv", "/bin/setpriv"].into_iter().find(|path| Path::new(path).exists());
    let (true, Some(setpriv)) = (rustix::process::geteuid().is_root(), setpriv) else {
        return; // Only root can become somebody else.
    };
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path().join("musher");
    std::fs::copy(MUSHER, &copy).unwrap();
    let _listener = UnixListener::bind(directory.path().join("control.sock")).unwrap();
    std::fs::set_permissions(directory.path().join("control.sock"), Permissions::from_mode(0o600)).unwrap();
    let args = ["--reuid=65534", "--regid=65534", "--clear-groups", copy.to_str().unwrap(), "list"];
    let output = command(directory.path(), setpriv, &args).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert!(text(&output.stderr).contains("belongs to another user"), "{output:?}");
}

#[test]
fn help_tells_the_exit_codes_and_fits_eighty_columns() {
    let directory = tempfile::tempdir().unwrap();
    let help = text(&run(directory.path(), &["--help"]).stdout);
    for word in ["Start here:", "musher start server.js -i max --name web", "Exit codes:", "  7  "] {
        assert!(help.contains(word), "no {word:?} in {help}");
    }
    let short = command(directory.path(), MUSHER, &["-h"]).env("COLUMNS", "80").output().unwrap();
    let short = text(&short.stdout);
    assert!(short.lines().all(|line| line.chars().count() <= 80), "{short}");
    for hidden in ["keeper", "supervisor "] {
        assert!(!short.contains(hidden), "{short}");
    }
}
