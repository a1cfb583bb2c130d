//! Clients that make it hard for workers that go: slow uploads and readers, several requests in a packet, half a head,
//! half-closed connections, `Expect: 100-continue`. Whatever is done to the team, each is answered in full, but for what a
//! worker held that was killed.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use crate::clients::Client;
use crate::support::apps::{app, hyper, tool, with_packages};
use crate::support::{Home, PATIENCE, ask, command, free_port, proc_fs, wait_equal};

/// All that a Node server answers. Without musher, too, it drops the answer to a client that has closed its half before.
const OF_NODE: [&str; 10] = [
    "upload",
    "expect",
    "half_closed_upload",
    "slow_reader",
    "pipelined",
    "pipelined_behind",
    "half_a_head",
    "silent",
    "idle_pipelined",
    "idle",
];
/// gunicorn answers one request a connection.
const OF_GUNICORN: [&str; 5] = ["upload", "expect", "half_closed", "half_closed_upload", "slow_reader"];
/// The server of the examples reads no bodies.
const OF_HYPER: [&str; 3] = ["half_a_head", "silent", "idle"];

/// A team `web` of two workers, and its slow clients.
struct Served {
    home: Home,
    port: u16,
    manners: &'static [&'static str],
}

impl Served {
    #[track_caller]
    fn node(script: &str, workers: u32) -> Served {
        let (home, port) = (Home::new(), free_port());
        let script = with_packages(&home, script);
        home.ok(["start", &script, "-i", &workers.to_string(), "--name", "web", "--", &port.to_string()]);
        Served { home, port, manners: &OF_NODE }
    }

    #[track_caller]
    fn activated(program: &str, manners: &'static [&'static str]) -> Served {
        let (home, port) = (Home::new(), free_port());
        home.write(
            "team.toml",
            &format!(
                "[[app]]\nname = \"web\"\ncommand = \"{program}\"\ninstances = 2\nlisten = \"tcp://127.0.0.1:{port}\"\n\
                 ready = \"notify\"\nstop = {{ grace = \"20s\" }}\n"
            ),
        );
        home.ok(["start", "team.toml"]);
        Served { home, port, manners }
    }

    /// One client of each kind, whose requests have begun.
    #[track_caller]
    fn clients(&self) -> Client {
        let mut python = command("python3");
        python.args([app("slow_clients.py"), self.port.to_string(), "1".to_owned()]).args(self.manners);
        let mut clients = Client::of(python);
        assert_eq!(clients.line(), "held");
        clients
    }

    /// The ports of all connections that the workers have.
    fn held(&self) -> HashSet<u16> {
        self.home.worker_processes().iter().flat_map(|pid| proc_fs::accepted(*pid, self.port)).collect()
    }

    /// The same, when they have accepted all of them.
    #[track_caller]
    fn clients_in_their_hands(&self) -> Client {
        let clients = self.clients();
        wait_equal("all connections are accepted", &self.manners.len(), || self.held().len());
        clients
    }

    #[track_caller]
    fn a_killed_daemon_and_a_reload_lose_nothing(&self) {
        let clients = self.clients_in_their_hands();
        self.home.kill_supervisor();
        self.home.ok(["reload", "web"]);
        answered("reload", clients, &HashSet::new());
    }

    #[track_caller]
    fn a_scale_down_loses_nothing(&self) {
        let clients = self.clients_in_their_hands();
        // It waits for the clients, which wait for this.
        let scale = self.home.spawn(["scale", "web", "1"]);
        let online = || self.home.slots("web").iter().filter(|row| row.status == "online").count();
        wait_equal("a worker leaves", &1, online);
        answered("scale", clients, &HashSet::new());
        scale.wait().succeeded();
        self.home.ok(["scale", "web", "2"]);
        self.home.wait_online("web", 2);
    }

    #[track_caller]
    fn a_killed_worker_costs_what_it_held(&self) {
        let clients = self.clients_in_their_hands();
        let victim = self.home.pids("web")[0];
        let held = proc_fs::accepted(victim, self.port);
        proc_fs::kill9(victim).unwrap();
        answered("kill -9", clients, &held);
        self.home.wait_online("web", 2);
    }

    #[track_caller]
    fn a_restart_costs_what_was_in_flight(&self) {
        let clients = self.clients_in_their_hands();
        let held = self.held();
        self.home.ok(["restart", "web"]);
        answered("restart", clients, &held);
        // Whoever comes now is answered.
        answered("after it", self.clients(), &HashSet::new());
    }
}

/// Lets the clients end their requests: all but the `excused` were answered in full, or closed between two requests.
#[track_caller]
fn answered(what: &str, clients: Client, excused: &HashSet<u16>) {
    let report = clients.report();
    for request in report.as_array().unwrap() {
        let (manner, fate) = (request["manner"].as_str().unwrap(), request["fate"].as_str().unwrap());
        let closed = fate == "closed" && manner.starts_with("idle");
        let held =
            request["port"].as_u64().and_then(|port| u16::try_from(port).ok()).is_some_and(|p| excused.contains(&p));
        assert!(fate == "ok" || closed || held, "{what}: {request}\n{report}");
    }
}

#[test]
fn nodes_http_answers_slow_clients_whatever_is_done() {
    let served = Served::node("web.cjs", 2);
    served.a_killed_daemon_and_a_reload_lose_nothing();
    served.a_scale_down_loses_nothing();
    served.a_killed_worker_costs_what_it_held();
    served.a_restart_costs_what_was_in_flight();
}

#[test]
fn express_and_fastify_answer_slow_clients_in_a_reload() {
    for script in ["express.cjs", "fastify.mjs"] {
        Served::node(script, 2).a_killed_daemon_and_a_reload_lose_nothing();
    }
}

#[test]
fn gunicorn_answers_slow_clients_in_a_reload() {
    let wsgi = app("wsgi.py");
    let directory = Path::new(&wsgi).parent().unwrap().display();
    let gunicorn = tool("venv/bin/gunicorn");
    let command = format!("{gunicorn} --preload --chdir {directory} --workers 4 wsgi:app");
    let served = Served::activated(&command, &OF_GUNICORN);
    served.a_killed_daemon_and_a_reload_lose_nothing();
    served.a_scale_down_loses_nothing();
}

#[test]
fn a_hyper_server_answers_slow_clients_in_a_reload() {
    let served = Served::activated(&hyper(), &OF_HYPER);
    served.a_killed_daemon_and_a_reload_lose_nothing();
    served.a_scale_down_loses_nothing();
    served.a_killed_worker_costs_what_it_held();
}

#[test]
fn an_answer_that_is_read_slowly_outlives_the_idle_connections_of_its_worker() {
    let served = Served { manners: &["slow_reader"], ..Served::node("web.cjs", 1) };
    // Node itself would close it after five seconds.
    let mut idle = TcpStream::connect(("127.0.0.1", served.port)).unwrap();
    idle.set_read_timeout(Some(PATIENCE)).unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    idle.read_exact(&mut [0; 16]).unwrap();
    ask(served.port, "/idle?ms=500");
    let clients = served.clients();
    wait_equal("both are accepted", &2, || served.held().len());
    served.home.ok(["reload", "web"]);
    // The worker closes what is idle.
    idle.read_to_end(&mut Vec::new()).unwrap();
    answered("a long drain", clients, &HashSet::new());
}
