//! What a worker's runtime says (`NODE_CLUSTER`, `NODE_MUSHER`) and what it is answered. Pure.
//!
//! Parsing is tolerant, as Node versions differ: members that are missing or of a wrong type count as absent, unknown
//! acts are [`Request::Other`]. Nothing a worker sends makes more than one small allocation per member.

use musher_core::vitals::{Heap, Latencies, Pulse};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The `cmd` of Node's cluster messages.
pub const CLUSTER: &str = "NODE_CLUSTER";
/// The `cmd` of the messages between musher and its preload.
pub const MUSHER: &str = "NODE_MUSHER";
/// The largest number that JavaScript counts exactly.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;
/// What is kept of what a worker says of an exception, in bytes.
pub const MAX_STACK: usize = 64 << 10;

/// What a worker says.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// The worker's runtime is up; the program has not run yet.
    Online,
    /// The program calls listen or bind.
    QueryServer {
        /// To be answered under this number.
        seq: u64,
        /// For what.
        query: Box<Query>,
    },
    /// A server of the program listens.
    Listening {
        /// Which.
        identity: Box<Identity>,
        /// It keeps a copy of the socket when it gets one ([`entrust`]), to accept from after its primary's death.
        keeps: bool,
    },
    /// The program closed a server.
    Close {
        /// The key that the answer to its query had.
        key: String,
    },
    /// The program called `cluster.worker.disconnect()` or `kill()`; it goes on when this is answered.
    ExitedAfterDisconnect {
        /// To be answered under this number.
        seq: u64,
    },
    /// The worker took a connection, or did not want it.
    Ack {
        /// The number of the offer.
        ack: u64,
        /// Whether it took it.
        accepted: bool,
    },
    /// The preload is loaded.
    Hello,
    /// An exception that nobody caught: the worker ends.
    Uncaught {
        /// What was thrown, and where. At most [`MAX_STACK`] bytes.
        stack: String,
        /// Whether it finishes what it has before.
        drains: bool,
    },
    /// How the worker is.
    Pulse(Box<Pulse>),
    /// It has closed so many connections that were not done when the limit of its drain was reached.
    Cut {
        /// How many.
        count: u32,
    },
    /// The program asks for something that the workers of its app share.
    Team {
        /// To be answered under this number.
        seq: u64,
        /// For what.
        ask: Ask,
    },
    /// Nothing that concerns us.
    Other,
}

/// What a program asks for that the workers of its app share. Bounds are for the one who answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// The value of a key.
    Get {
        /// Which.
        key: String,
    },
    /// All keys and values.
    All,
    /// Another value for a key.
    Put {
        /// Which.
        key: String,
        /// None: the key is deleted.
        value: Option<Value>,
        /// Only if the key has this version; 0: only if there is no such key.
        only_if: Option<u64>,
    },
    /// To be told of every change.
    Watch {
        /// Or not any more.
        on: bool,
    },
    /// A message to all workers of the app, the asker included.
    Broadcast {
        /// Any JSON value.
        message: Value,
    },
}

/// What a program wants to listen on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// What the same question always has in common.
    pub identity: Identity,
    /// libuv's flags: for TCP 1 is IPv6 only; for UDP 1 is IPv6 only and 4 is SO_REUSEADDR.
    pub flags: u64,
    /// Length of the accept queue, when the program said one.
    pub backlog: Option<u32>,
    /// What every worker that listens on the same gets from the first (TLS ticket keys).
    pub data: Value,
    /// Everybody may read from the unix socket.
    pub readable_all: bool,
    /// Everybody may write to the unix socket.
    pub writable_all: bool,
}

/// What tells one question of a worker from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// A literal IP address, the path of a unix socket, or nothing for all addresses.
    pub address: Option<String>,
    /// The port; 0 for any, -1 for unix sockets.
    pub port: Option<i64>,
    /// What `address` is.
    pub family: AddressType,
    /// A descriptor of the primary's instead of an address.
    pub fd: Option<i64>,
    /// How often this worker has asked for the same before, as long as it holds it.
    pub index: u64,
}

/// Node's `addressType`.
///
/// ```
/// use musher_cluster::AddressType;
/// assert_eq!(AddressType::Tcp6.to_json(), 6);
/// assert_eq!(AddressType::default(), AddressType::None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressType {
    /// 4: TCP over IPv4, or over both when there is no address.
    Tcp4,
    /// 6: TCP over IPv6.
    Tcp6,
    /// -1: a unix socket.
    Unix,
    /// `"udp4"`.
    Udp4,
    /// `"udp6"`.
    Udp6,
    /// `null`: a descriptor.
    #[default]
    None,
}

impl AddressType {
    /// As Node has it.
    ///
    /// ```
    /// use musher_cluster::AddressType;
    /// assert_eq!(AddressType::Unix.to_json(), -1);
    /// assert_eq!(AddressType::Udp6.to_json(), "udp6");
    /// ```
    pub fn to_json(self) -> Value {
        match self {
            AddressType::Tcp4 => 4.into(),
            AddressType::Tcp6 => 6.into(),
            AddressType::Unix => (-1).into(),
            AddressType::Udp4 => "udp4".into(),
            AddressType::Udp6 => "udp6".into(),
            AddressType::None => Value::Null,
        }
    }
}

impl Request {
    /// Understands the text of an internal message with this `cmd`.
    pub fn parse(cmd: &str, text: &str) -> Request {
        let Ok(Value::Object(mut members)) = serde_json::from_str::<Value>(text) else { return Request::Other };
        let act = members.get("act").and_then(Value::as_str).unwrap_or_default();
        if cmd == MUSHER {
            return match act {
                "hello" => Request::Hello,
                "uncaught" => {
                    let drains = flag(&members, "drains");
                    Request::Uncaught { stack: stack(members.remove("stack")), drains }
                }
                "pulse" => Request::Pulse(Box::new(pulse(&members))),
                "cut" => Request::Cut { count: small(&members, "count") },
                "team" => team(members),
                _ => Request::Other,
            };
        }
        if cmd != CLUSTER {
            return Request::Other;
        }
        if let Some(ack) = number(&members, "ack") {
            return Request::Ack { ack, accepted: flag(&members, "accepted") };
        }
        let seq = number(&members, "seq");
        match (act, seq) {
            ("online", _) => Request::Online,
            ("queryServer", Some(seq)) => Request::QueryServer { seq, query: Box::new(Query::take(&mut members)) },
            ("listening", _) => {
                let keeps = flag(&members, "keeps");
                Request::Listening { identity: Box::new(Query::take(&mut members).identity), keeps }
            }
            ("close", _) => match members.remove("key") {
                Some(Value::String(key)) => Request::Close { key },
                _ => Request::Other,
            },
            ("exitedAfterDisconnect", Some(seq)) => Request::ExitedAfterDisconnect { seq },
            _ => Request::Other,
        }
    }
}

impl Query {
    fn take(members: &mut Map<String, Value>) -> Query {
        let family = match members.get("addressType") {
            Some(Value::Number(n)) if n.as_i64() == Some(4) => AddressType::Tcp4,
            Some(Value::Number(n)) if n.as_i64() == Some(6) => AddressType::Tcp6,
            Some(Value::Number(n)) if n.as_i64() == Some(-1) => AddressType::Unix,
            Some(Value::String(s)) if s == "udp4" => AddressType::Udp4,
            Some(Value::String(s)) if s == "udp6" => AddressType::Udp6,
            _ => AddressType::None,
        };
        let string = |value: Value| match value {
            Value::String(string) => Some(string),
            _ => None,
        };
        let identity = Identity {
            address: members.remove("address").and_then(string),
            port: members.get("port").and_then(Value::as_i64),
            family,
            fd: members.get("fd").and_then(Value::as_i64).filter(|fd| *fd >= 0),
            index: members.get("index").and_then(Value::as_u64).unwrap_or(0),
        };
        Query {
            identity,
            flags: members.get("flags").and_then(Value::as_u64).unwrap_or(0),
            // Unspecified is 0, and in some versions `false`.
            backlog: number(members, "backlog").and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0),
            data: members.remove("data").unwrap_or_default(),
            readable_all: flag(members, "readableAll"),
            writable_all: flag(members, "writableAll"),
        }
    }
}

impl Identity {
    /// The name under which a worker knows what it was given. The same question always has the same name.
    pub fn key(&self) -> String {
        let family = match self.family {
            AddressType::Tcp4 => "4",
            AddressType::Tcp6 => "6",
            AddressType::Unix => "-1",
            AddressType::Udp4 => "udp4",
            AddressType::Udp6 => "udp6",
            AddressType::None => "null",
        };
        let number = |n: Option<i64>| n.map_or_else(|| "null".to_owned(), |n| n.to_string());
        let address = self.address.as_deref().unwrap_or("null");
        format!("{address}:{}:{family}:{}:{}", number(self.port), number(self.fd), self.index)
    }

    /// Whether `self`, of a `listening` message, is about what `asked` asked for. A port that was left open is filled in.
    pub fn answers(&self, asked: &Identity) -> bool {
        self.address == asked.address
            && self.family == asked.family
            && self.fd == asked.fd
            && self.index == asked.index
            && (self.port == asked.port || matches!(asked.port, None | Some(0)))
    }
}

fn team(mut members: Map<String, Value>) -> Request {
    let Some(seq) = number(&members, "seq") else { return Request::Other };
    let only_if = number(&members, "if");
    let key = match members.remove("key") {
        Some(Value::String(key)) => key,
        _ => String::new(),
    };
    let ask = match members.get("op").and_then(Value::as_str) {
        Some("get") => Ask::Get { key },
        Some("all") => Ask::All,
        Some("set") => Ask::Put { key, value: Some(members.remove("value").unwrap_or_default()), only_if },
        Some("delete") => Ask::Put { key, value: None, only_if },
        Some("watch") => Ask::Watch { on: flag(&members, "on") },
        Some("broadcast") => Ask::Broadcast { message: members.remove("message").unwrap_or_default() },
        _ => return Request::Other,
    };
    Request::Team { seq, ask }
}

fn number(members: &Map<String, Value>, name: &str) -> Option<u64> {
    members.get(name).and_then(Value::as_u64).filter(|n| *n <= MAX_SAFE_INTEGER)
}

fn flag(members: &Map<String, Value>, name: &str) -> bool {
    members.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn small(members: &Map<String, Value>, name: &str) -> u32 {
    number(members, name).map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX))
}

/// The beginning of what was thrown.
fn stack(value: Option<Value>) -> String {
    let Some(Value::String(mut stack)) = value else { return String::new() };
    stack.truncate(stack.floor_char_boundary(MAX_STACK));
    stack.shrink_to_fit();
    stack
}

fn pulse(members: &Map<String, Value>) -> Pulse {
    let count = |name| number(members, name).unwrap_or(0);
    let buckets = members.get("latencies").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let counts = buckets.iter().map(|count| count.as_u64().filter(|n| *n <= MAX_SAFE_INTEGER).unwrap_or(0));
    Pulse {
        requests: count("requests"),
        errors: count("errors"),
        active: small(members, "active"),
        latencies: Latencies::from_counts(counts),
        delay_us: count("delay"),
        busy_permille: u16::try_from(count("busy").min(1000)).unwrap_or(1000),
        took_us: count("took"),
        connections: members.contains_key("connections").then(|| small(members, "connections")),
        heap: members.get("heap").and_then(Value::as_object).map(heap),
    }
}

fn heap(members: &Map<String, Value>) -> Heap {
    let count = |name| number(members, name).unwrap_or(0);
    Heap {
        used: count("used"),
        size: count("size"),
        limit: count("limit"),
        external: count("external"),
        collections: count("collections"),
        collecting_us: count("collecting"),
    }
}

/// A message of the cluster, ready to be sent.
pub fn cluster(seq: u64, members: Value) -> String {
    let mut message = members;
    if let Value::Object(members) = &mut message {
        members.insert("cmd".into(), CLUSTER.into());
        members.insert("seq".into(), seq.into());
    }
    message.to_string()
}

/// Wraps a message for a descriptor of this type (`net.Native` or `dgram.Native`) to ride on.
pub fn with_handle(handle_type: &str, message: &str) -> String {
    format!(r#"{{"cmd":"NODE_HANDLE","type":"{handle_type}","msg":{message}}}"#)
}

/// Offers a connection. `key` is JSON text.
pub fn new_connection(seq: u64, key: &str) -> String {
    with_handle("net.Native", &format!(r#"{{"cmd":"{CLUSTER}","act":"newconn","key":{key},"seq":{seq}}}"#))
}

/// Entrusts a worker with the listening socket that comes with this, of a server at this address (which a preload goes by),
/// of the group with this key (which a Rust worker goes by).
pub fn entrust(handle_type: &str, at: &str, key: &str, backlog: u32) -> String {
    let message = json!({"cmd": MUSHER, "act": "entrust", "at": at, "key": key, "backlog": backlog});
    with_handle(handle_type, &message.to_string())
}

/// Asks a preload to drain: nothing new, idle connections are closed after `grace_ms`, all of them after `limit_ms`.
pub fn drain(grace_ms: u64, limit_ms: u64) -> String {
    json!({"cmd": MUSHER, "act": "drain", "grace": grace_ms, "limit": limit_ms}).to_string()
}

/// Asks a preload to tell how its worker is, so often; 0 for never.
pub fn watch(every_ms: u64) -> String {
    json!({"cmd": MUSHER, "act": "watch", "every": every_ms}).to_string()
}

/// Something that programs are told of what the workers of an app share.
pub fn to_preload(act: &str, members: Value) -> String {
    let mut message = members;
    message["cmd"] = MUSHER.into();
    message["act"] = act.into();
    message.to_string()
}

/// A message that every runtime reads and ignores. That it was read is the answer.
pub fn probe() -> String {
    json!({"cmd": MUSHER}).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{AddressType, Ask, CLUSTER, Identity, Latencies, MAX_STACK, MUSHER, Pulse, Query, Request};

    fn parse(members: Value) -> Request {
        Request::parse(CLUSTER, &members.to_string())
    }

    #[test]
    fn the_messages_of_node_are_understood() {
        assert_eq!(parse(json!({"act": "online", "seq": 0})), Request::Online);
        let identity = Identity {
            address: Some("127.0.0.1".into()),
            port: Some(18080),
            family: AddressType::Tcp4,
            ..Identity::default()
        };
        let query = Query { identity, ..Query::default() };
        let text = json!({"cmd": CLUSTER, "act": "queryServer", "index": 0, "data": null, "address": "127.0.0.1",
            "port": 18080, "addressType": 4, "flags": 0, "backlog": 0, "seq": 1});
        assert_eq!(parse(text), Request::QueryServer { seq: 1, query: Box::new(query) });
        assert_eq!(parse(json!({"ack": 1, "accepted": true, "seq": 3})), Request::Ack { ack: 1, accepted: true });
        assert_eq!(parse(json!({"act": "close", "key": "k", "seq": 4})), Request::Close { key: "k".into() });
        assert_eq!(parse(json!({"act": "exitedAfterDisconnect", "seq": 4})), Request::ExitedAfterDisconnect { seq: 4 });
        assert_eq!(Request::parse(MUSHER, r#"{"cmd":"NODE_MUSHER","act":"hello"}"#), Request::Hello);
    }

    #[test]
    fn the_messages_of_the_preload_are_understood() {
        let parse = |members: Value| Request::parse(MUSHER, &members.to_string());
        let uncaught = parse(json!({"act": "uncaught", "stack": "Error: x\n    at y", "drains": true}));
        assert_eq!(uncaught, Request::Uncaught { stack: "Error: x\n    at y".into(), drains: true });
        assert_eq!(parse(json!({"act": "cut", "count": 3})), Request::Cut { count: 3 });
        let Request::Pulse(pulse) = parse(json!({"act": "pulse", "requests": 5, "errors": 1, "active": 2,
            "latencies": [0, 5], "delay": 1500, "busy": 250}))
        else {
            panic!("not a pulse")
        };
        assert_eq!((pulse.requests, pulse.errors, pulse.active), (5, 1, 2));
        assert_eq!((pulse.latencies.count(), pulse.delay_us, pulse.busy_permille), (5, 1500, 250));
        assert_eq!((pulse.connections, pulse.heap, pulse.took_us), (None, None, 0), "one that does not tell");
        let told =
            json!({"act": "pulse", "took": 9, "connections": 3, "heap": {"used": 1, "size": 2, "collecting": 5}});
        let Request::Pulse(pulse) = parse(told) else { panic!("not a pulse") };
        assert_eq!((pulse.took_us, pulse.connections), (9, Some(3)));
        assert_eq!(pulse.heap, Some(super::Heap { used: 1, size: 2, collecting_us: 5, ..super::Heap::default() }));
    }

    #[test]
    fn what_programs_ask_of_their_team_is_understood() {
        let parse = |members: Value| Request::parse(MUSHER, &members.to_string());
        let team = |ask| Request::Team { seq: 3, ask };
        let set = json!({"act": "team", "seq": 3, "op": "set", "key": "k", "value": [1], "if": 2});
        assert_eq!(parse(set), team(Ask::Put { key: "k".into(), value: Some(json!([1])), only_if: Some(2) }));
        let delete = json!({"act": "team", "seq": 3, "op": "delete", "key": "k"});
        assert_eq!(parse(delete), team(Ask::Put { key: "k".into(), value: None, only_if: None }));
        assert_eq!(parse(json!({"act": "team", "seq": 3, "op": "watch", "on": true})), team(Ask::Watch { on: true }));
        assert_eq!(
            parse(json!({"act": "team", "seq": 3, "op": "get", "key": 7})),
            team(Ask::Get { key: String::new() })
        );
        for strange in [json!({"act": "team", "op": "all"}), json!({"act": "team", "seq": 1, "op": "rm"})] {
            assert_eq!(parse(strange), Request::Other);
        }
    }

    #[test]
    fn strange_messages_of_a_preload_are_bounded() {
        let parse = |members: Value| Request::parse(MUSHER, &members.to_string());
        let long = "ä".repeat(MAX_STACK);
        let Request::Uncaught { stack, drains: false } = parse(json!({"act": "uncaught", "stack": long, "drains": 1}))
        else {
            panic!("not an exception")
        };
        assert_eq!(stack.len(), MAX_STACK);
        assert_eq!(
            parse(json!({"act": "uncaught", "stack": {"x": 1}})),
            Request::Uncaught { stack: String::new(), drains: false }
        );
        assert_eq!(parse(json!({"act": "cut", "count": 1u64 << 40})), Request::Cut { count: u32::MAX });
        assert_eq!(parse(json!({"act": "cut", "count": -1})), Request::Cut { count: 0 });
        let strange = json!({"act": "pulse", "requests": -1, "errors": "x", "active": 1.5, "busy": 1e9,
            "latencies": vec![json!(u64::MAX); 1000], "delay": null});
        let Request::Pulse(pulse) = parse(strange) else { panic!("not a pulse") };
        assert_eq!(*pulse, Pulse { latencies: Latencies::from_counts([0; 80]), ..Pulse::default() });
        for act in ["", "hell", "watch", "drain"] {
            assert_eq!(parse(json!({"act": act})), Request::Other);
        }
    }

    #[test]
    fn what_is_strange_is_ignored() {
        for text in
            ["", "1", "null", "[]", "{}", r#"{"act":7}"#, r#"{"act":"queryServer"}"#, r#"{"act":"close","key":1}"#]
        {
            assert_eq!(Request::parse(CLUSTER, text), Request::Other, "{text}");
        }
        assert_eq!(parse(json!({"act": "queryServer", "seq": -1})), Request::Other);
        assert_eq!(parse(json!({"act": "queryServer", "seq": u64::MAX})), Request::Other);
        assert_eq!(Request::parse("NODE_ELSE", r#"{"act":"online"}"#), Request::Other);
        let Request::QueryServer { query, .. } =
            parse(json!({"act": "queryServer", "seq": 1, "address": [], "port": "x",
            "addressType": {}, "fd": -1, "flags": -5, "index": null, "backlog": false}))
        else {
            panic!("not a query")
        };
        assert_eq!(*query, Query::default());
    }

    #[test]
    fn a_listening_message_is_matched_with_its_question() {
        let asked = Identity { port: Some(0), family: AddressType::Tcp4, ..Identity::default() };
        let listening = Identity { port: Some(4711), ..asked.clone() };
        assert!(listening.answers(&asked));
        assert!(!listening.answers(&Identity { index: 1, ..asked.clone() }));
        assert!(!listening.answers(&Identity { port: Some(80), ..asked }));
    }

    #[test]
    fn the_key_tells_questions_apart() {
        let query = Identity { port: Some(80), family: AddressType::Tcp4, ..Identity::default() };
        assert_eq!(query.key(), "null:80:4:null:0");
        assert_eq!(Identity { index: 1, ..query }.key(), "null:80:4:null:1");
        assert_eq!(Identity { fd: Some(3), ..Identity::default() }.key(), "null:null:null:3:0");
    }
}
