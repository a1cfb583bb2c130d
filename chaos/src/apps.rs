//! The team: real programs in three languages, on every policy, and the clients of each.

use std::time::Duration;

use musher_bench::load::Shape;

/// What an app is written in, which says what can be done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Node,
    Python,
    Rust,
}

/// An app of the team.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) name: &'static str,
    pub(crate) language: Language,
    /// How many workers there are at first.
    pub(crate) workers: usize,
    /// Files of `apps/` that it needs; the first is the program.
    pub(crate) files: &'static [&'static str],
    /// Further lines of its process file.
    pub(crate) keys: &'static str,
    pub(crate) clients: &'static [Shape],
}

impl App {
    /// Whether only the daemon has the socket, so that its port is closed while all of the daemon is dead
    /// (docs/guide/saved-apps.md).
    pub(crate) fn needs_daemon(&self) -> bool {
        self.keys.contains("round-robin")
    }
}

const fn fresh(per_second: u32) -> Shape {
    Shape::Fresh { per_second }
}

const fn kept(connections: u32) -> Shape {
    Shape::KeepAlive { connections, think: Duration::from_millis(200) }
}

/// Answers of four seconds.
const fn downloads(connections: u32) -> Shape {
    Shape::Streaming { connections, chunks: 20, every: Duration::from_millis(200) }
}

const fn sockets(connections: u32) -> Shape {
    Shape::WebSocket { connections, think: Duration::from_millis(300) }
}

pub(crate) const APPS: &[App] = &[
    App {
        name: "plain",
        language: Language::Node,
        workers: 2,
        files: &["plain.cjs", "answer.cjs"],
        keys: "balance = \"kernel\"\nready = { timeout = \"15s\" }",
        clients: &[fresh(40), kept(8), downloads(2), sockets(4)],
    },
    App {
        name: "turns",
        language: Language::Node,
        workers: 2,
        files: &["plain.cjs", "answer.cjs"],
        keys: "balance = \"round-robin\"\nready = { timeout = \"15s\" }",
        clients: &[fresh(20), kept(4), downloads(1), sockets(2)],
    },
    App {
        name: "shared",
        language: Language::Node,
        workers: 2,
        files: &["plain.cjs", "answer.cjs"],
        keys: "balance = \"shared\"\nready = { timeout = \"15s\" }",
        clients: &[fresh(20), kept(4), downloads(1), sockets(2)],
    },
    App {
        name: "express",
        language: Language::Node,
        workers: 2,
        files: &["express.cjs", "answer.cjs"],
        keys: "ready = { timeout = \"15s\" }\nhealth = { event_loop = \"800ms\" }",
        clients: &[fresh(20), kept(4), downloads(1)],
    },
    App {
        name: "fastify",
        language: Language::Node,
        workers: 1,
        files: &["fastify.mjs", "answer.cjs"],
        keys: "ready = { timeout = \"15s\" }",
        clients: &[fresh(20), kept(4), downloads(1)],
    },
    App {
        name: "gunicorn",
        language: Language::Python,
        workers: 2,
        files: &["wsgi.py", "gunicorn.conf.py"],
        keys: "ready = \"notify\"",
        clients: &[fresh(15), downloads(1)],
    },
    App {
        name: "hyper",
        language: Language::Rust,
        workers: 2,
        files: &[],
        keys: "ready = \"notify\"",
        clients: &[fresh(20), kept(4), downloads(1)],
    },
];
