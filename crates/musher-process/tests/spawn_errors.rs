//! Every way in which a spawn fails, with what the user is told.

#![expect(clippy::unwrap_used, clippy::panic, reason = "functions of tests")]

#[expect(dead_code, reason = "each test uses a part of it")]
mod support;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use musher_process::spawn::Problem;
use musher_process::{Credentials, Resource, Rlimit, Spawn, SpawnError};
use support::{file, program};

fn error(spawn: Spawn) -> SpawnError {
    spawn.spawn().unwrap_err()
}

fn problem(path: &Path) -> (Problem, String, Option<String>) {
    let error = error(program(path, &[]));
    let (text, hint) = (error.to_string(), error.hint());
    match error {
        SpawnError::Program { problem, .. } => (problem, text, hint),
        other => panic!("{other:?}"),
    }
}

#[test]
fn programs_that_cannot_be_executed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let script = |name: &str, content: &[u8]| file(root, name, content, 0o755);
    let elf = |machine: u8| {
        let mut bytes = std::fs::read("/proc/self/exe").unwrap();
        bytes[18] = machine;
        bytes
    };

    let (what, text, hint) = problem(&root.join("missing"));
    assert_eq!(what, Problem::Missing);
    assert_eq!(text, format!("cannot execute {}/missing: no such file", root.display()));
    assert_eq!(hint.as_deref(), Some("check the path"));

    let (what, text, _) = problem(&script("no-interpreter", b"#! /opt/none/python3 -u\n"));
    assert_eq!(what, Problem::InterpreterMissing { interpreter: "/opt/none/python3".into(), carriage_return: false });
    assert!(text.ends_with("its first line asks for \"/opt/none/python3\", which does not exist"), "{text}");

    let (what, text, hint) = problem(&script("windows", b"#!/bin/sh\r\necho\r\n"));
    assert_eq!(what, Problem::InterpreterMissing { interpreter: "/bin/sh\r".into(), carriage_return: true });
    assert!(text.contains("\"/bin/sh\\r\""), "{text}");
    assert!(hint.unwrap().contains("carriage return"));

    let plain = file(root, "plain", b"x", 0o644);
    let line = format!("#!{}\n", plain.display());
    let (what, ..) = problem(&script("bad-interpreter", line.as_bytes()));
    assert_eq!(what, Problem::InterpreterNotExecutable { interpreter: plain.clone() });

    let (what, _, hint) = problem(&plain);
    assert_eq!(what, Problem::NotExecutable);
    assert!(hint.unwrap().starts_with(&format!("chmod +x {}", plain.display())));

    assert_eq!(problem(root).0, Problem::NotAFile);
    assert_eq!(problem(&script("empty", b"")).0, Problem::Empty);
    let (what, _, hint) = problem(&script("text", b"echo hello\n"));
    assert_eq!(what, Problem::NoInterpreterLine);
    assert!(hint.unwrap().contains("#!/bin/sh"));
    assert_eq!(problem(&plain.join("below")).0, Problem::Missing);
    let foreign = problem(&script("foreign", &elf(if cfg!(target_arch = "aarch64") { 62 } else { 183 })));
    assert!(matches!(foreign.0, Problem::OtherMachine { .. }), "{foreign:?}");
}

#[test]
fn a_binary_for_another_c_library() {
    let directory = tempfile::tempdir().unwrap();
    let mut bytes = std::fs::read("/bin/true").unwrap();
    let loader = b"/lib64/ld-linux-x86-64.so.2";
    let Some(at) = bytes.windows(loader.len()).position(|window| window == loader) else { return };
    bytes[at..at + loader.len()].copy_from_slice(b"/lib99/ld-linux-x86-64.so.2");
    let path = file(directory.path(), "program", &bytes, 0o755);
    let (what, text, _) = problem(&path);
    assert_eq!(what, Problem::LoaderMissing { loader: "/lib99/ld-linux-x86-64.so.2".into() });
    assert!(text.ends_with("its dynamic loader /lib99/ld-linux-x86-64.so.2 does not exist"), "{text}");
}

#[test]
fn a_program_that_is_being_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("program");
    std::fs::copy("/bin/true", &path).unwrap();
    let writing = std::fs::File::options().append(true).mode(0o755).open(&path).unwrap();
    let error = error(program(&path, &[]));
    drop(writing);
    assert!(matches!(error, SpawnError::Program { problem: Problem::Busy, .. }), "{error:?}");
    assert!(error.is_transient());
}

#[test]
fn not_permitted_for_the_other_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    support::only_for_us(directory.path());
    let path = file(directory.path(), "script", b"#!/bin/sh\n", 0o755);
    let mut spawn = program(path, &[]);
    spawn.credentials = Some(Credentials { uid: 65534, gid: 65534, groups: vec![] });
    let error = error(spawn);
    assert!(matches!(error, SpawnError::Program { problem: Problem::Forbidden, .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("every directory"));
}

#[test]
fn working_directories() {
    let directory = tempfile::tempdir().unwrap();
    let plain = file(directory.path(), "plain", b"", 0o644);
    for (cwd, words) in [(directory.path().join("none"), "no such file or directory"), (plain, "not a directory")] {
        let mut spawn = program("/bin/true", &[]);
        spawn.cwd.clone_from(&cwd);
        let error = error(spawn);
        assert_eq!(error.to_string(), format!("cannot use the working directory {}: {words}", cwd.display()));
        assert!(error.hint().unwrap().contains("`cwd`"), "{error:?}");
        assert!(!error.is_transient());
    }
}

#[test]
fn limits_above_what_is_allowed() {
    let mut spawn = program("/bin/true", &[]);
    spawn.limits = vec![
        (Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }),
        // Above fs.nr_open: not even root can.
        (Resource::Nofile, Rlimit { current: Some(1 << 40), maximum: Some(1 << 40) }),
    ];
    let error = error(spawn);
    assert_eq!(error.to_string(), "cannot set RLIMIT_NOFILE to 1099511627776: operation not permitted");
    assert!(error.hint().unwrap().contains("hard limit"));
}

#[test]
fn too_many_bytes() {
    let mut spawn = program("/bin/true", &[]);
    spawn.args.push("x".repeat(200_000).into());
    let error = error(spawn);
    assert!(matches!(error, SpawnError::TooBig { bytes } if bytes > 200_000), "{error:?}");
    assert!(error.hint().is_some());
}

#[test]
fn strings_that_cannot_be_passed() {
    let nul = || OsString::from_vec(b"a\0b".to_vec());
    let changes: [fn(&mut Spawn, OsString); 5] = [
        |spawn, bad| spawn.args.push(bad),
        |spawn, bad| spawn.env.push(("A".into(), bad)),
        |spawn, bad| spawn.env.push((bad, "a".into())),
        |spawn, bad| spawn.cwd = bad.into(),
        |spawn, bad| spawn.program = bad.into(),
    ];
    for change in changes {
        let mut spawn = program("/bin/true", &[]);
        change(&mut spawn, nul());
        let error = error(spawn);
        assert!(error.to_string().contains("NUL"), "{error}");
    }
    for name in ["", "A=B"] {
        let mut spawn = program("/bin/true", &[]);
        spawn.env.push((name.into(), "x".into()));
        assert!(matches!(error(spawn), SpawnError::Invalid { .. }));
    }
}

/// The same as a user without privileges sees it.
#[test]
fn without_privileges() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // This thread only, and for ever: so one of its own.
    std::thread::spawn(|| {
        rustix::thread::set_thread_res_gid(gid(65534), gid(65534), gid(65534)).unwrap();
        rustix::thread::set_thread_res_uid(uid(65534), uid(65534), uid(65534)).unwrap();
        let mut spawn = program("/bin/true", &[]);
        spawn.credentials = Some(Credentials { uid: 1, gid: 1, groups: vec![] });
        let refused = error(spawn);
        assert_eq!(refused.to_string(), "cannot become user 1 with group 1 (setgroups): operation not permitted");
        assert!(refused.hint().unwrap().contains("root"));
        let mut spawn = program("/bin/true", &[]);
        spawn.nice = Some(-5);
        let refused = error(spawn);
        assert_eq!(refused.to_string(), "cannot set the scheduling priority (nice) to -5: permission denied");
        // No process left for this user.
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        let mut spawn = program("/bin/true", &[]);
        spawn.limits = vec![(Resource::Nproc, none)];
        match spawn.spawn() {
            Err(error) => assert!(matches!(error, SpawnError::NoProcess { .. }) && error.is_transient(), "{error:?}"),
            Ok(child) => assert!(
                musher_process::exit::wait_for_end(std::os::fd::AsFd::as_fd(&child.pidfd), support::DEADLINE).unwrap()
            ),
        }
    })
    .join()
    .unwrap();
}

fn uid(raw: u32) -> rustix::process::Uid {
    rustix::process::Uid::from_raw(raw)
}

fn gid(raw: u32) -> rustix::process::Gid {
    rustix::process::Gid::from_raw(raw)
}
