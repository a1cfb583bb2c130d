//! Child processes as Node's users know them: every option, every limit.
#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at what it does not expect")]

use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use musher_process::child_process::{
    Child, Command, Event, KillError, Reason, Signal, Stdio, Stream, exec, exec_file, spawn,
};
use musher_process::ipc::{Channel, Handle, Options, Order, SendError};
use musher_process::{ExitStatus, SpawnError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let deadline = Duration::from_secs(60);
    runtime.block_on(async { tokio::time::timeout(deadline, test).await.expect("not done in time") });
}

async fn said(command: Command) -> String {
    command.output().await.unwrap().stdout_text()
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn where_and_as_what_it_runs() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().canonicalize().unwrap();
        assert_eq!(said(Command::new("pwd").cwd(&place)).await.trim(), place.to_str().unwrap());
        let env = Command::shell("echo $name-$role-$HOME").env("name", "Sandro").env("role", "admin");
        assert_eq!(said(env.clone().env_remove("HOME")).await, "Sandro-admin-\n");
        let path = std::env::var("PATH").unwrap();
        let only = Command::shell("env").env_clear().env("PATH", path).env("only", "this");
        let all = said(only).await;
        assert!(all.contains("only=this") && !all.contains("HOME="), "{all}");
        assert_eq!(
            said(Command::shell("echo $0; cat /proc/$$/cmdline | tr '\\0' ' '").argv0("named")).await.lines().next(),
            Some("named")
        );
        assert_eq!(said(Command::new("echo").args(["$HOME", "*", "a b"])).await, "$HOME * a b\n");
        let through = Command::new("-c").exec_path("sh").args(["echo through $0", "it"]);
        assert_eq!(said(through).await, "through it\n");
    });
}

#[test]
fn a_program_that_cannot_be_started_is_an_error_in_words() {
    run(async {
        let error = spawn("no-such-program", [""; 0]).unwrap_err();
        assert_eq!(error.errno(), Some(libc_enoent()));
        assert_eq!(error.to_string(), "cannot execute no-such-program: no such file");
        let error = Command::new("true").cwd("/no/such/place").spawn().unwrap_err();
        assert!(matches!(&error, SpawnError::WorkingDirectory { .. }), "{error}");
        let error = exec_file("/etc/passwd", [""; 0]).await.unwrap_err();
        assert!(matches!(error.reason, Reason::NotStarted(_)));
        assert!(error.to_string().contains("not executable"), "{error}");
        let error = spawn("/etc/passwd", [""; 0]).unwrap_err();
        assert_eq!(error.code(), Some("EACCES"));
        let error = spawn("/etc/passwd/true", [""; 0]).unwrap_err();
        assert_eq!(error.code(), Some("ENOTDIR"));
        assert_eq!(error.errno(), std::fs::metadata("/etc/passwd/true").unwrap_err().raw_os_error());
        let error = Command::new("true").arg("a\0b").spawn().unwrap_err();
        assert!(error.to_string().contains("NUL"), "{error}");
        let error = Command::new("true").fd(3, Stdio::Ipc).fd(4, Stdio::Ipc).spawn().unwrap_err();
        assert_eq!(error.to_string(), "a child can have only one channel");
        let error = Command::new("true").fd(3, Stdio::Number(999)).spawn().unwrap_err();
        assert_eq!((error.to_string().as_str(), error.code()), ("we have no descriptor 999 to hand on", Some("EBADF")));
    });
    let error = spawn("true", [""; 0]).unwrap_err();
    assert!(error.to_string().contains("watch a child"), "{error}");
}

#[test]
fn a_text_without_an_interpreter_line_is_run_by_the_shell() {
    use std::os::unix::fs::PermissionsExt;
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        std::fs::write(&script, "echo $0 $1; exit 3\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = Command::new(&script).argv0("other").arg("a b").output().await.unwrap_err();
        assert_eq!((error.code(), error.output.stdout_text()), (Some(3), format!("{} a b\n", script.display())));
        // By its name, as any program.
        let path = format!("{}:/bin:/usr/bin", directory.path().display());
        let error = Command::new("script").env("PATH", path).arg("b").output().await.unwrap_err();
        assert_eq!(error.output.stdout_text(), format!("{} b\n", script.display()));
    });
}

#[test]
fn the_channel_may_be_a_standard_stream() {
    run(async {
        for number in 0..=2 {
            let line = format!("printf '{{\"hello\":{number}}}\\n' >&{number}");
            let command = Command::shell(line).stdio_all(Stdio::Ignore).fd(number, Stdio::Ipc);
            let mut child = command.channel(Options::default().fast_frames(false)).spawn().unwrap();
            let message = next(&mut child).await;
            assert_eq!(message.text().unwrap(), format!("{{\"hello\":{number}}}"));
            assert!(child.wait().await.is_success());
        }
    });
}

#[test]
fn a_handle_that_the_peer_did_not_get_is_sent_again_and_given_up_at_last() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    run(async {
        let (mut channel, end) = Channel::pair(Options::default()).unwrap();
        let peer = UnixStream::from(end);
        let listener = Handle::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        channel.sender.send_handle("take it", listener).await.unwrap();
        channel.sender.send("behind it").await.unwrap();
        // As Node answers a handle that found no room in its table of descriptors.
        let said = tokio::task::spawn_blocking(move || {
            let (mut came, mut byte) = (Vec::new(), [0]);
            let mut line = || {
                came.clear();
                while (&peer).read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
                    came.push(byte[0]);
                }
                String::from_utf8(came.clone()).unwrap()
            };
            let mut lines = vec![line()];
            for _ in 0..4 {
                (&peer).write_all(b"{\"cmd\":\"NODE_HANDLE_NACK\"}\n").unwrap();
                lines.push(line());
            }
            (lines, peer)
        });
        tokio::select! {
            said = said => {
                // With its end, which must not close before all is looked at.
                let (said, _peer) = said.unwrap();
                assert!(said[..4].iter().all(|line| line.contains("\"NODE_HANDLE\"") && line.contains("take it")), "{said:?}");
                assert_eq!(said[4], "\"behind it\"");
            }
            received = channel.recv() => panic_with(&format!("{received:?}")),
        }
        assert_eq!(channel.sender.handles_given_up(), 1);
    });
}

fn libc_enoent() -> i32 {
    std::fs::metadata("/no/such/file").unwrap_err().raw_os_error().unwrap()
}

#[test]
fn a_detached_child_has_its_own_session_and_others_have_ours() {
    run(async {
        // Session and process group of /proc/self/stat.
        let line = Command::new("cut").args(["-d", " ", "-f", "1,5,6", "/proc/self/stat"]);
        let ids = |text: String| -> Vec<i32> { text.split_whitespace().map(|id| id.parse().unwrap()).collect() };
        let detached = ids(said(line.clone().detached(true)).await);
        assert_eq!((detached[1], detached[2]), (detached[0], detached[0]));
        let ours = ids(said(line).await);
        let own = ids(std::fs::read_to_string("/proc/self/stat")
            .unwrap()
            .split(' ')
            .enumerate()
            .filter(|(at, _)| matches!(at, 4 | 5))
            .map(|(_, field)| format!("{field} "))
            .collect());
        assert_eq!(ours[1..], own);
    });
}

#[test]
fn a_detached_child_goes_on_without_us() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let [go, went] = ["go", "went"].map(|name| directory.path().join(name));
        exec_file("mkfifo", [&go, &went]).await.unwrap();
        let line = format!("read go < {}; echo $go > {}", go.display(), went.display());
        let child = Command::shell(line).detached(true).stdio_all(Stdio::Ignore).spawn().unwrap();
        let handle = child.handle();
        child.unref();
        std::fs::write(&go, "went\n").unwrap();
        assert_eq!(std::fs::read_to_string(&went).unwrap(), "went\n");
        assert!(handle.exited().await.is_success());
    });
}

#[test]
fn another_user() {
    if rustix::process::getuid().as_raw() != 0 {
        return;
    }
    run(async {
        let ids = Command::shell("id -u; id -g; id -G");
        assert_eq!(said(ids.clone().uid(65534).gid(65533)).await, "65534\n65533\n65533\n");
        assert_eq!(said(ids.gid(65533)).await, "0\n65533\n65533\n");
    });
}

#[test]
fn every_kind_of_descriptor() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let file = std::fs::File::create(&path).unwrap();
        let command = Command::shell("echo to file >&7; cat <&0; echo err >&2; ls /proc/self/fd; cat <&8 >&8")
            .stdin(Stdio::Pipe)
            .fd(7, file)
            .fd(9, Stdio::Ignore)
            .fd(8, Stdio::Pipe)
            .fd(12, Stdio::Pipe)
            .stderr(Stdio::Ignore);
        let mut child = command.spawn().unwrap();
        assert!(child.stderr.is_none());
        child.stdin.take().unwrap().write_all(b"in\n").await.unwrap();
        let mut both_ways = child.take_pipe(8).unwrap();
        assert!(child.take_pipe(9).is_none());
        both_ways.write_all(b"around").await.unwrap();
        both_ways.shutdown().await.unwrap();
        let mut text = String::new();
        both_ways.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "around");
        text.clear();
        child.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
        // 3 is what ls itself opened.
        assert_eq!(text, "in\n0\n1\n12\n2\n3\n7\n8\n");
        assert_eq!(child.wait().await, ExitStatus::Code(0));
        assert_eq!(std::fs::read_to_string(path).unwrap(), "to file\n");
    });
}

#[test]
fn our_own_descriptors_are_inherited_by_number() {
    run(async {
        let inode = |fd: &str| std::fs::metadata(format!("/proc/self/fd/{fd}")).unwrap().ino().to_string();
        let command = Command::new("stat").args(["-L", "-c", "%i", "/proc/self/fd/0", "/proc/self/fd/5"]);
        let text = said(command.stdin(Stdio::Inherit).fd(5, Stdio::Number(2))).await;
        assert_eq!(text.split_whitespace().collect::<Vec<_>>(), [inode("0"), inode("2")]);
    });
}

#[test]
fn limits_kill_and_say_so_and_keep_what_was_read() {
    run(async {
        // The shell's own child goes on with the pipe open, for a while: nobody waits for it.
        let limited = Command::shell("echo early; sleep 3 & wait").timeout(Duration::from_secs(1));
        let error = limited.kill_signal(Signal::KILL).output().await.unwrap_err();
        assert!(matches!(error.reason, Reason::TimedOut(ExitStatus::Signal { signal: 9, .. })), "{error}");
        assert!(error.killed && error.output.stdout == b"early\n");
        assert_eq!(error.signal(), Some(Signal::KILL));

        let error = Command::shell("yes err >&2").max_buffer(5).output().await.unwrap_err();
        assert!(matches!(error.reason, Reason::TooMuch { stream: Stream::Stderr, .. }), "{error}");
        assert_eq!(error.output.stderr, b"err\ne");

        let exact = Command::shell("printf 12345").max_buffer(5).output().await.unwrap();
        assert_eq!(exact.stdout, b"12345");

        let error = exec("echo to stderr >&2; exit 9").await.unwrap_err();
        assert_eq!((error.code(), error.killed), (Some(9), false));
        assert_eq!(error.to_string(), "echo to stderr >&2; exit 9 failed: exit code 9\nto stderr");
    });
}

#[test]
fn a_child_that_has_ended_cannot_be_signalled() {
    run(async {
        let mut child = spawn("cat", [""; 0]).unwrap();
        child.kill(Signal::CHECK).unwrap();
        assert!(!child.killed());
        child.stdin = None;
        // Not waited for yet, so its number is its own: still it cannot be signalled.
        loop {
            match child.kill(Signal::CHECK) {
                Err(KillError::Ended) => break,
                Ok(()) => tokio::task::yield_now().await,
                Err(error) => panic_with(&error),
            }
        }
        assert!(matches!(child.kill(Signal::TERM), Err(KillError::Ended)));
        assert!(!child.killed());
        assert_eq!(child.wait().await, ExitStatus::Code(0));
        assert!(matches!(child.handle().kill(Signal::KILL), Err(KillError::Ended)));
    });
}

fn panic_with(error: &dyn std::fmt::Display) {
    unreachable!("{error}");
}

#[test]
fn who_is_dropped_is_killed_if_that_was_asked_for() {
    run(async {
        let child = Command::new("sleep").arg("1000").kill_on_drop(true).spawn().unwrap();
        let handle = child.handle();
        drop(child);
        assert_eq!(handle.exited().await, ExitStatus::Signal { signal: 15, core_dumped: false });
        let running = Command::new("sleep").arg("1000");
        let output = running.output();
        assert!(tokio::time::timeout(Duration::from_millis(20), output).await.is_err());
    });
}

#[test]
fn a_thousand_children_leave_nothing_behind() {
    run(async {
        let before = {
            exec("true").await.unwrap();
            open_descriptors()
        };
        for _ in 0..50 {
            let mut children: Vec<Child> =
                (0..20).map(|_| Command::new("true").stdio_all(Stdio::Pipe).ipc().spawn().unwrap()).collect();
            for child in &mut children {
                while child.next_event().await.is_some() {}
            }
        }
        assert_eq!(open_descriptors(), before);
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap();
        assert_eq!(children, "");
    });
}

#[test]
fn a_child_without_a_channel_takes_no_messages() {
    run(async {
        let mut child = spawn("true", [""; 0]).unwrap();
        assert!(!child.connected());
        assert!(matches!(child.send("hello").await, Err(SendError::Closed)));
        assert!(child.disconnect().is_err());
        child.wait().await;
        while let Some(event) = child.next_event().await {
            assert!(matches!(event, Event::Close(_)));
        }
        assert_eq!(child.exit_status(), Some(ExitStatus::Code(0)));
        assert_eq!(child.program(), "true");
    });
}

/// The child of the tests below: this program itself.
#[test]
#[ignore = "this is the child that other tests fork"]
fn a_child_in_rust() {
    run(async {
        let mut channel = musher_process::ipc::parent().unwrap().unwrap();
        assert!(musher_process::ipc::parent().is_err());
        while let Some(message) = channel.recv().await {
            match message.handle {
                Some(handle) => channel.sender.send_handle("back", handle).await.unwrap(),
                None => channel.sender.send(&message.parse::<serde_json::Value>().unwrap()).await.unwrap(),
            }
        }
    });
}

fn rust_child() -> Command {
    let own = std::env::current_exe().unwrap();
    Command::new(own).args(["a_child_in_rust", "--exact", "--ignored"]).silent(true).kill_on_drop(true)
}

async fn next(child: &mut Child) -> musher_process::ipc::Message {
    loop {
        match child.next_event().await.expect("it goes on") {
            Event::Message(message) => return message,
            Event::Spawn => {}
            other => unreachable!("{other:?}"),
        }
    }
}

#[test]
fn two_rust_programs_change_to_faster_frames_without_losing_anything() {
    run(async {
        let mut child = rust_child().fork().unwrap();
        // Both before and after the change, which happens when the child has begun.
        for number in 0..2000_u32 {
            child.sender().unwrap().try_send(&number).unwrap();
        }
        for number in 0..2000 {
            assert_eq!(next(&mut child).await.parse::<u32>().unwrap(), number);
        }
        // A line break does not end a message, and what looks like the runtime's is the program's, if it says so.
        let raw = serde_json::value::RawValue::from_string("{\"a\":\n1}".to_owned()).unwrap();
        child.send(&raw).await.unwrap();
        assert_eq!(next(&mut child).await.text().unwrap(), r#"{"a":1}"#);
        let long = "x".repeat(3 << 20);
        child.send(&long).await.unwrap();
        assert_eq!(next(&mut child).await.parse::<String>().unwrap(), long);
        for _ in 0..10 {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            child.send_handle("there", listener.into()).await.unwrap();
            let back = next(&mut child).await.handle.unwrap().into_tcp_listener().unwrap();
            assert_eq!(back.local_addr().unwrap(), address);
        }
        child.disconnect().unwrap();
        assert_eq!(child.wait().await, ExitStatus::Code(0));
    });
}

#[test]
fn who_sends_behind_a_handle_is_told_to_slow_down_after_one_message() {
    run(async {
        // Nobody answers at the other end.
        let (channel, _end) = Channel::pair(Options::default()).unwrap();
        let listener = Handle::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        assert!(channel.sender.try_send_handle("take it", &listener).unwrap());
        assert!(channel.sender.try_send("one may wait").unwrap());
        assert!(!channel.sender.try_send("two are many").unwrap());
        assert!(!channel.sender.try_send_handle("also a handle", &listener).unwrap());
    });
}

#[test]
fn handles_may_go_in_a_pipeline() {
    run(async {
        let (mut ours, theirs) = musher_process::ipc::Channel::pair(Default::default()).unwrap();
        let mut theirs = musher_process::ipc::Channel::from_fd(theirs, Default::default()).unwrap();
        let listener = Handle::native(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        for number in 0..8 {
            let message = serde_json::json!({"cmd": "NODE_CLUSTER", "act": "newconn", "seq": number});
            ours.sender.send_internal(&message, Some(&listener), Order::Pipelined).unwrap();
        }
        for number in 0..8 {
            let Some(musher_process::ipc::Received::Internal(internal)) = theirs.receiver.recv_any().await else {
                unreachable!("an internal message was sent")
            };
            assert_eq!(internal.cmd, "NODE_CLUSTER");
            assert_eq!(internal.message.parse::<serde_json::Value>().unwrap()["seq"], number);
            assert!(internal.message.handle.is_some());
        }
        theirs.sender.send("done").await.unwrap();
        assert_eq!(ours.recv().await.unwrap().text().unwrap(), "\"done\"");
        ours.sender.flush().await.unwrap();
    });
}
