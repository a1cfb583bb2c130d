//! Node programs without the cluster: what musher's script does for them, and what it leaves to them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;

use crate::support::apps::nodes;
use crate::support::told::wait_event;
use crate::support::{Home, PATIENCE, free_port, wait_until};

/// A server that ends by itself when it is told to stop, and then answers what it has.
const SERVER: &str = "
const http = require('node:http');
const fs = require('node:fs');
let answer = () => {};
const server = http.createServer((request, response) => {
  answer = () => response.end('the answer');
  fs.writeFileSync('begun', '');
});
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, () => {
    server.close((error) => {
      fs.writeFileSync('closed', String(error?.code));
      process.exit(error ? 1 : 0);
    });
    answer();
  });
}
server.keepAliveTimeout = 1000;
server.listen(Number(process.argv[2]), () => process.send('ready'));
";

/// What a client gets to read on a connection that it would keep, to the connection's end, while the program is stopped.
#[track_caller]
fn stopped_in_the_middle(node: &Path, more: &str) -> (Home, String) {
    let home = Home::new();
    let port = free_port();
    home.write("server.cjs", SERVER);
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"x\"\nscript = \"server.cjs\"\nargs = [\"{port}\"]\ninterpreter = \"{}\"\ncluster = false\n\
             ready = \"message\"\n{more}\n",
            node.display()
        ),
    );
    home.ok(["start", "team.toml"]);
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    wait_until("the request is there", || home.app_directory().join("begun").exists());
    home.ok(["stop", "x"]);
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    (home, said)
}

#[test]
fn a_program_that_closes_its_server_says_so_in_the_answers_under_way() {
    for node in nodes() {
        let (home, said) = stopped_in_the_middle(&node, "");
        assert!(said.contains("Connection: close\r\n") && said.ends_with("the answer"), "{}: {said}", node.display());
        let closed = std::fs::read_to_string(home.app_directory().join("closed")).unwrap();
        assert_eq!(closed, "undefined", "its own close is the only one");
    }
    let (_home, said) = stopped_in_the_middle(&nodes()[0], "preload = false");
    assert!(said.contains("Connection: keep-alive\r\n"), "nobody mends it: {said}");
}

#[test]
fn what_a_program_by_itself_did_not_catch_is_told() {
    let home = Home::new();
    home.write("throws.cjs", "setTimeout(() => { throw new Error('thrown on purpose'); }, 10)");
    home.write(
        "team.toml",
        "[[app]]\nname = \"x\"\nscript = \"throws.cjs\"\ncluster = false\nrestart = \"never\"\nready = { after = \"10ms\" }\n",
    );
    home.run(["start", "team.toml"]);
    wait_event(&home, "uncaught", "thrown on purpose");
    let death = wait_event(&home, "died", "thrown on purpose");
    assert_eq!(death["death"]["code"], 1, "it ends as it would without musher: {death}");
}

#[test]
fn a_program_with_nothing_left_to_do_ends() {
    let home = Home::new();
    home.write("done.cjs", "console.log('done', typeof process.send)");
    home.write(
        "team.toml",
        "[[app]]\nname = \"x\"\nscript = \"done.cjs\"\ncluster = false\nrestart = \"never\"\nready = { after = \"10ms\" }\n",
    );
    home.run(["start", "team.toml"]);
    wait_until("it has ended by itself", || home.slots("x").iter().all(|row| row.pid.is_none()));
    assert!(home.log("x", "out.log").contains("done function"), "{}", home.log("x", "out.log"));
}
