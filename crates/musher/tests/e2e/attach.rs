//! Lines that are typed go to a worker's standard input, and what it writes comes back.

use crate::support::Home;
use crate::support::pty::Pty;

const ECHO: &str = "while read -r line; do echo \"got <$line>\"; done; echo ended";

#[test]
fn a_worker_of_any_program_is_talked_to_until_one_detaches() {
    let home = Home::new();
    home.ok(["start", "--name", "echo", "--", "sh", "-c", ECHO]);
    let mut shell = Pty::start(&home.command(["attach", "echo"]));
    shell.shows("attached to echo/0");
    shell.types("hello\n");
    shell.shows("got <hello>");
    // The next supervisor needs to know nothing of it.
    home.kill_supervisor();
    shell.types("again\n");
    shell.shows("got <again>");
    shell.types("\x03");
    assert_eq!(shell.ended(), Some(0));
    assert_eq!(home.slots("echo")[0].restarts, 0);
    // The end of what is typed is not the end of what the worker reads.
    let mut piped = home.command(["attach", "echo", r"!\n"]);
    let text = home.write("typed", "one\ntwo\n");
    piped.stdin(std::fs::File::open(text).unwrap());
    assert_eq!(piped.output().unwrap().status.code(), Some(0));
    let mut shell = Pty::start(&home.command(["attach", "echo/0", "-n", "9"]));
    shell.shows("got <two!>");
    shell.types("more\n");
    shell.shows("got <more>");
    home.ok(["pm2", "send", "0", "as with PM2"]);
    shell.shows("got <as with PM2>");
    assert!(!home.log("echo", "out.log").contains("ended"));
}

#[test]
fn of_several_node_workers_one_is_named() {
    let home = Home::new();
    let script = "process.stdin.on('data', (text) => console.log(process.env.MUSHER_SLOT + ' read ' + text));\
                  require('http').createServer().listen(0);";
    let script = home.write("reads.js", script);
    home.ok(["start", &script.display().to_string(), "-i", "2", "--name", "web"]);
    home.run(["attach", "web"]).failed(2, &["web has 2 workers", "musher attach web/0"]);
    home.run(["attach", "web/7"]).failed(4, &["web has no slot 7"]);
    home.run(["attach", "wbe"]).failed(4, &["did you mean \"web\"?"]);
    let mut shell = Pty::start(&home.command(["attach", "web/1"]));
    shell.shows("attached to web/1");
    shell.types("hello\n");
    shell.shows("1 read hello");
    home.ok(["stop", "web"]);
    shell.types("nobody\n");
    shell.shows("web has no worker in slot 1");
    assert_eq!(shell.ended(), Some(1));
}
