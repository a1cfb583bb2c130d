//! `musher serve`: a folder of files as an app.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread::JoinHandle;

use crate::support::{Home, PATIENCE, Target, ask, free_port, get, proc_fs, wait_until};

#[test]
fn a_folder_is_served_and_nothing_is_lost_while_its_workers_are_replaced() {
    let home = Home::new();
    let port = free_port();
    home.write("site/index.html", "home");
    home.write("site/.env", "secret");
    let said = home.ok(["serve", "site", &port.to_string(), "--spa", "-i", "2", "--name", "web"]).out_and_err();
    assert!(said.contains("only this machine"), "{said}");
    assert_eq!(ask(port, "/users/7"), "home");
    let hidden = get(&Target::Tcp((Ipv4Addr::LOCALHOST, port).into()), "/.env", PATIENCE).unwrap();
    assert!(hidden.0 == 404 && !hidden.1.contains("secret"), "{hidden:?}");

    let readers = Readers::of(port);
    readers.more(50);
    let before = home.pids("web");
    home.ok(["reload", "web"]);
    wait_until("the old workers have ended", || before.iter().all(|pid| !proc_fs::is_alive(*pid)));
    readers.more(50);
}

/// New connections, one after the other, until this is dropped; each has to be answered with the page.
struct Readers {
    answered: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Readers {
    fn of(port: u16) -> Readers {
        let (answered, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&answered), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while !end.load(SeqCst) {
                assert_eq!(ask(port, "/"), "home");
                count.fetch_add(1, SeqCst);
            }
        });
        Readers { answered, over, thread: Some(thread) }
    }

    fn more(&self, count: u64) {
        let wanted = self.answered.load(SeqCst) + count;
        let failed = || self.thread.as_ref().is_some_and(JoinHandle::is_finished);
        wait_until("more answers", || self.answered.load(SeqCst) >= wanted || failed());
        assert!(!failed(), "a request was not answered");
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "a request was not answered");
    }
}

#[test]
fn the_password_of_a_folder_is_in_no_command_line() {
    let home = Home::new();
    let port = free_port();
    home.write("site/index.html", "home");
    home.ok(["serve", "site", &port.to_string(), "--username", "ann", "--password", "open-sesame", "--name", "web"]);
    let refused = get(&Target::Tcp((Ipv4Addr::LOCALHOST, port).into()), "/", PATIENCE).unwrap();
    assert_eq!(refused.0, 401);
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", home.pids("web")[0])).unwrap();
    assert!(line.contains("--foreground") && !line.contains("open-sesame"), "{line}");
    assert!(!home.ok(["describe", "web"]).out_and_err().contains("open-sesame"));
}

#[test]
fn what_cannot_be_served_is_told_before_anything_is_started() {
    let home = Home::new();
    home.write("site/index.html", "home");
    home.run(["serve", "none"]).failed(2, &["none cannot be served", "the first word is a folder"]);
    home.run(["serve", "site", "--username", "ann"]).failed(2, &["go together"]);
    home.run(["serve", "site", "--host", "example.org"]).failed(2, &["an address is expected"]);
}
