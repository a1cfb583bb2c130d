//! What a child gets, and what it does not get.

mod support;

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use musher_process::exit::wait_for_end;
use musher_process::inherit::block_signals;
use musher_process::memfd::memfd_with;
use musher_process::stat::ProcessStat;
use musher_process::{Credentials, ExitStatus, Pid, Resource, Rlimit, Spawn};
use support::{Running, null, output, program, python, sh};

#[test]
fn environment_is_exactly_the_given_one() {
    let mut spawn = program("/usr/bin/env", &[]);
    spawn.env = vec![("B".into(), "2 = two".into()), ("A".into(), "".into()), ("B".into(), "again".into())];
    assert_eq!(output(spawn), "B=2 = two\nA=\nB=again\n");
    let mut spawn = program("/usr/bin/env", &[]);
    spawn.env = vec![];
    assert_eq!(output(spawn), "");
}

#[test]
fn arguments_are_exactly_the_given_ones() {
    let mut spawn = program("/bin/cat", &["/proc/self/cmdline"]);
    spawn.args[0] = "another name".into();
    spawn.args.push("/dev/null".into());
    assert_eq!(output(spawn), "another name\0/proc/self/cmdline\0/dev/null\0");
    let mut bytes = program("/usr/bin/printf", &["%s"]);
    bytes.args.push(OsString::from_vec(vec![0xc3, 0xa4]));
    assert_eq!(output(bytes), "ä");
    let mut none = program("/bin/true", &[]);
    none.args.clear();
    assert_eq!(Running::start(none).wait(), ExitStatus::Code(0));
}

#[test]
fn working_directory() {
    let directory = tempfile::tempdir().unwrap();
    let mut spawn = program("/bin/pwd", &["-P"]);
    spawn.cwd = directory.path().canonicalize().unwrap();
    let expected = format!("{}\n", spawn.cwd.display());
    assert_eq!(output(spawn), expected);
}

#[test]
fn only_the_given_descriptors_are_open() {
    // Descriptors of this process that are not close-on-exec, as a careless library would have them.
    let leaks: Vec<OwnedFd> = (0..20).map(|_| rustix::io::dup(null()).unwrap()).collect();
    // ls itself has the directory open, at the lowest free number.
    let mut spawn = program("/bin/ls", &["-U", "/proc/self/fd"]);
    spawn.fds = vec![(null(), 7), (null(), 200)];
    let mut numbers: Vec<i32> = output(spawn).lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3, 7, 200]);
    drop(leaks);
}

#[test]
fn missing_standard_streams_are_dev_null() {
    let child = program("/bin/sleep", &["1000"]).spawn().unwrap();
    let links = [0, 1, 2].map(|number| std::fs::read_link(format!("/proc/{}/fd/{number}", child.pid)).unwrap());
    musher_process::signal(child.pidfd.as_fd(), 9).unwrap();
    assert!(wait_for_end(child.pidfd.as_fd(), support::DEADLINE).unwrap());
    musher_process::reap(child.pidfd.as_fd()).unwrap();
    assert_eq!(links, ["/dev/null"; 3].map(PathBuf::from));
}

/// Numbers in the child that are the numbers of other descriptors here, in every order.
#[test]
fn numbers_may_overlap_in_any_way() {
    // A small generator, so that a failure repeats.
    let mut state = 42_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..30 {
        let fds: Vec<OwnedFd> = (0..8).map(|_| memfd_with("test", b"x").unwrap()).collect();
        let mut numbers: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        for index in (1..numbers.len()).rev() {
            numbers.swap(index, random(index + 1));
        }
        // The content says which number it is to get.
        drop(fds);
        let fds: Vec<(OwnedFd, i32)> = numbers
            .iter()
            .map(|number| (memfd_with("test", format!("{number}\n").as_bytes()).unwrap(), *number))
            .collect();
        let args: Vec<String> = numbers.iter().map(|number| format!("/proc/self/fd/{number}")).collect();
        let mut spawn = program("/bin/cat", &args.iter().map(String::as_str).collect::<Vec<_>>());
        spawn.fds = fds;
        let expected: String = numbers.iter().map(|number| format!("{number}\n")).collect();
        assert_eq!(output(spawn), expected);
    }
}

#[test]
fn numbers_must_make_sense() {
    for fds in [vec![-1], vec![4096], vec![i32::MAX], vec![5, 5]] {
        let mut spawn = program("/bin/true", &[]);
        spawn.fds = fds.iter().map(|number| (null(), *number)).collect();
        let error = spawn.spawn().unwrap_err();
        assert!(error.to_string().contains("descriptor"), "{error}");
    }
}

#[test]
fn signals_are_at_their_defaults_and_unblocked() {
    // Rust ignores SIGPIPE; and this thread blocks what the supervisor would.
    let text = std::thread::spawn(|| {
        let _signals = block_signals(&[2, 10, 15, 17, 40]).unwrap();
        output(program("/bin/cat", &["/proc/self/status"]))
    })
    .join()
    .unwrap();
    for line in ["SigPnd", "SigBlk", "SigIgn", "SigCgt"] {
        assert!(text.contains(&format!("{line}:\t0000000000000000\n")), "{text}");
    }
}

#[test]
fn a_mask_of_the_caller_stays() {
    std::thread::spawn(|| {
        let _signals = block_signals(&[10, 12]).unwrap();
        let mask = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            status.lines().find(|line| line.starts_with("SigBlk")).unwrap().to_owned()
        };
        let before = mask();
        assert_eq!(output(sh("echo hi")), "hi\n");
        assert_eq!(mask(), before);
        assert!(before.ends_with("a00"), "{before}");
    })
    .join()
    .unwrap();
}

#[test]
fn leads_a_session_or_only_a_group() {
    for session in [true, false] {
        let mut spawn = sh("echo started; read line");
        let (reading, _writing) = rustix::pipe::pipe().unwrap();
        spawn.fds = vec![(reading, 0)];
        spawn.session = session;
        let mut running = Running::start(spawn);
        assert_eq!(running.line(), "started");
        let stat = ProcessStat::read(running.child.pid).unwrap();
        let ours = ProcessStat::read(Pid::own()).unwrap();
        assert_eq!(stat.group, stat.pid.as_raw());
        assert_eq!(stat.session, if session { stat.pid.as_raw() } else { ours.session });
        assert_eq!(stat.parent, Some(Pid::own()));
    }
}

#[test]
fn listen_pid_is_the_childs_own() {
    let mut spawn = sh("echo $$ $LISTEN_PID $LISTEN_FDS; env | grep -c LISTEN_PID");
    spawn.env.push(("LISTEN_PID".into(), "1".into()));
    spawn.env.push(("LISTEN_FDS".into(), "2".into()));
    spawn.listen_pid = true;
    let mut running = Running::start(spawn);
    let pid = running.child.pid;
    assert_eq!(running.rest(), format!("{pid} {pid} 2\n1\n"));
}

#[test]
fn limits_and_priority() {
    let mut spawn = sh("ulimit -Sn; ulimit -Hn; ulimit -Sc; nice");
    let limit = |current, maximum| Rlimit { current: Some(current), maximum: Some(maximum) };
    spawn.limits = vec![(Resource::Nofile, limit(123, 456)), (Resource::Core, limit(0, 0))];
    spawn.nice = Some(7);
    // Descriptor numbers may be above the child's limit.
    spawn.fds = vec![(null(), 1000)];
    assert_eq!(output(spawn), "123\n456\n0\n7\n");
    assert_ne!(rustix::process::getrlimit(Resource::Nofile).current, Some(123));
}

#[test]
fn no_parent_death_signal_and_same_umask() {
    let text = output(python(
        "import ctypes, os\n\
         signal = ctypes.c_int(-1)\n\
         ctypes.CDLL(None).prctl(2, ctypes.byref(signal))\n\
         print(signal.value, open('/proc/self/status').read().count('NoNewPrivs:\\t0'))",
    ));
    let ours = std::fs::read_to_string("/proc/self/status").unwrap().matches("NoNewPrivs:\t0").count();
    assert_eq!(text, format!("0 {ours}\n"));
}

fn as_nobody(mut spawn: Spawn, groups: &[u32]) -> Option<Spawn> {
    // Only root can do this.
    rustix::process::geteuid().is_root().then(|| {
        spawn.credentials = Some(Credentials { uid: 65534, gid: 65533, groups: groups.to_vec() });
        spawn
    })
}

#[test]
fn becomes_another_user_with_all_groups_and_cannot_return() {
    let identity = |groups: &[u32]| {
        let text = output(as_nobody(program("/bin/cat", &["/proc/self/status"]), groups)?);
        let lines = text
            .lines()
            .filter(|line| ["Uid", "Gid", "Groups", "CapPrm", "CapEff"].contains(&line.split(':').next().unwrap()));
        Some(lines.map(|line| line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>())
    };
    let Some(found) = identity(&[65533, 7, 4242]) else { return };
    let (users, main_groups) = ("Uid: 65534 65534 65534 65534", "Gid: 65533 65533 65533 65533");
    // Without capabilities there is no way back.
    let powers = ["CapPrm: 0000000000000000", "CapEff: 0000000000000000"];
    assert_eq!(found, [&[users, main_groups, "Groups: 7 4242 65533"], powers.as_slice()].concat());
    // None at all: those of root must not stay.
    assert_eq!(identity(&[]).unwrap(), [&[users, main_groups, "Groups:"], powers.as_slice()].concat());
}

#[test]
fn own_credentials_need_no_privilege() {
    let mut spawn = sh("id -u");
    let groups = rustix::process::getgroups().unwrap().iter().map(|gid| gid.as_raw()).collect();
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    spawn.credentials = Some(Credentials { uid, gid, groups });
    assert_eq!(output(spawn), format!("{uid}\n"));
}

#[test]
fn working_directory_is_entered_as_the_other_user() {
    let directory = tempfile::tempdir().unwrap();
    support::only_for_us(directory.path());
    let Some(mut spawn) = as_nobody(program("/bin/true", &[]), &[]) else { return };
    spawn.cwd = PathBuf::from(directory.path());
    let error = spawn.spawn().unwrap_err();
    assert!(error.to_string().starts_with("cannot use the working directory"), "{error}");
}

#[test]
fn from_many_threads_at_once() {
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            std::thread::spawn(move || {
                for round in 0..20 {
                    assert_eq!(output(sh(&format!("echo {thread} {round}"))), format!("{thread} {round}\n"));
                    let missing = format!("/no/such/{thread}-{round}");
                    let error = program(missing.clone(), &[]).spawn().unwrap_err();
                    assert!(error.to_string().contains(&missing), "{error}");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_script_with_an_interpreter_runs() {
    let directory = tempfile::tempdir().unwrap();
    let script = support::file(directory.path(), "script", b"#!/bin/sh\necho \"$0\" \"$1\"\n", 0o755);
    let expected = format!("{} argument\n", script.display());
    assert_eq!(output(program(script, &["argument"])), expected);
}

#[test]
fn a_pipe_of_ours_ends_with_the_child() {
    let (reading, writing) = rustix::pipe::pipe().unwrap();
    let mut spawn = sh("echo through >&9");
    spawn.fds = vec![(writing, 9)];
    assert_eq!(Running::start(spawn).wait(), ExitStatus::Code(0));
    // No copy of the writing end has stayed here.
    let mut text = String::new();
    std::io::Read::read_to_string(&mut File::from(reading), &mut text).unwrap();
    assert_eq!(text, "through\n");
}
