//! What a worker says to its primary and hears from it (`NODE_CLUSTER`, `NODE_MUSHER`). Pure.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde_json::{Value, json};

use crate::message::{CLUSTER, MUSHER};

/// What a worker wants to listen on, as its question and its word that it listens have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A UDP address.
    Udp(SocketAddr),
    /// The absolute path of a unix socket.
    Unix(String),
    /// A descriptor of the primary's.
    Fd(i32),
}

/// What the primary says.
#[derive(Debug, PartialEq)]
pub(crate) enum Order {
    /// The answer to the question with this number.
    Answer(Answer),
    /// It offers a connection for what it named so.
    Connection {
        /// The name.
        key: String,
        /// To be answered under this number.
        seq: u64,
    },
    /// The socket that comes with it is for the time after the primary's death; it named it so.
    Entrust {
        /// The name.
        key: String,
    },
    /// Take nothing new, finish, and end.
    Drain,
    /// Nothing that concerns a worker.
    Other,
}

/// The primary's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    /// Which question.
    pub(crate) ack: u64,
    /// Why not, as a number of Linux.
    pub(crate) refused: Option<i32>,
    /// What the primary calls it.
    pub(crate) key: String,
    /// Where it listens, when it accepts itself.
    pub(crate) address: Option<SocketAddr>,
}

impl Wanted {
    /// Of a path.
    pub(crate) fn path(path: &Path) -> std::io::Result<Wanted> {
        let absolute = std::path::absolute(path)?;
        let text = absolute.into_os_string().into_string();
        text.map(Wanted::Unix).map_err(|_| {
            std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "the path of the socket is no Unicode: a channel of JSON cannot carry it",
            )
        })
    }

    /// The path, if it is one.
    pub(crate) fn as_path(&self) -> Option<&str> {
        match self {
            Wanted::Unix(path) => Some(path),
            Wanted::Tcp(_) | Wanted::Udp(_) | Wanted::Fd(_) => None,
        }
    }

    fn members(&self, act: &str, index: u64, port: Option<u16>) -> Value {
        let mut members = match self {
            Wanted::Tcp(address) => json!({
                "address": address.ip().to_string(), "port": port.unwrap_or(address.port()),
                "addressType": if address.is_ipv6() { 6 } else { 4 }, "flags": 0, "backlog": 0}),
            Wanted::Udp(address) => json!({
                "address": address.ip().to_string(), "port": port.unwrap_or(address.port()),
                "addressType": if address.is_ipv6() { "udp6" } else { "udp4" }, "fd": -1, "flags": 0}),
            Wanted::Unix(path) => json!({"address": path, "port": -1, "addressType": -1}),
            Wanted::Fd(fd) => json!({"address": null, "port": null, "addressType": null, "fd": fd}),
        };
        members["act"] = act.into();
        members["index"] = index.into();
        members["data"] = Value::Null;
        members
    }

    /// Asks for it: the `index`-th time.
    pub(crate) fn question(&self, index: u64) -> Value {
        self.members("queryServer", index, None)
    }

    /// Says that it listens, on this port, and whether a copy of the socket would be kept.
    pub(crate) fn listening(&self, index: u64, port: Option<u16>, keeps: bool) -> Value {
        let mut members = self.members("listening", index, port);
        if keeps {
            members["keeps"] = true.into();
        }
        members
    }
}

impl Order {
    /// Understands an internal message. Tolerant: what is missing or of a wrong type counts as absent.
    pub(crate) fn parse(cmd: &str, message: &Value) -> Order {
        let act = message["act"].as_str().unwrap_or_default();
        match (cmd, act) {
            (CLUSTER, "newconn") => match (message["key"].as_str(), message["seq"].as_u64()) {
                (Some(key), Some(seq)) => Order::Connection { key: key.to_owned(), seq },
                _ => Order::Other,
            },
            (CLUSTER, "disconnect") | (MUSHER, "drain") => Order::Drain,
            (MUSHER, "entrust") => match message["key"].as_str() {
                Some(key) => Order::Entrust { key: key.to_owned() },
                None => Order::Other,
            },
            (CLUSTER, _) => match message["ack"].as_u64() {
                Some(ack) => Order::Answer(Answer {
                    ack,
                    refused: refused(&message["errno"]),
                    key: message["key"].as_str().unwrap_or_default().to_owned(),
                    address: address(&message["sockname"]),
                }),
                None => Order::Other,
            },
            _ => Order::Other,
        }
    }
}

/// libuv's number of an error is that of Linux below zero; nothing or 0 is none.
fn refused(errno: &Value) -> Option<i32> {
    errno.as_i64().filter(|errno| *errno != 0).map(|errno| i32::try_from(errno.abs()).unwrap_or(i32::MAX))
}

fn address(name: &Value) -> Option<SocketAddr> {
    let ip: IpAddr = name["address"].as_str()?.parse().ok()?;
    Some((ip, u16::try_from(name["port"].as_u64()?).ok()?).into())
}

/// A message of the cluster.
pub(crate) fn cluster(seq: u64, mut members: Value) -> Value {
    members["cmd"] = CLUSTER.into();
    members["seq"] = seq.into();
    members
}

/// Says that this worker has begun.
pub(crate) fn online() -> Value {
    json!({"act": "online"})
}

/// Answers an offer.
pub(crate) fn answer(offer: u64, accepted: bool) -> Value {
    json!({"ack": offer, "accepted": accepted})
}

/// Says that a listener is closed.
pub(crate) fn close(key: &str) -> Value {
    json!({"act": "close", "key": key})
}

/// Says that this worker leaves of its own will.
pub(crate) fn leaving() -> Value {
    json!({"act": "exitedAfterDisconnect"})
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Answer, CLUSTER, MUSHER, Order, Wanted};
    use crate::message::{Identity, Request, entrust};

    fn parse(members: &serde_json::Value) -> Order {
        Order::parse(CLUSTER, members)
    }

    #[test]
    fn a_question_is_understood_by_our_own_primary() {
        for (wanted, family) in [
            (Wanted::Tcp("127.0.0.1:80".parse().unwrap()), "4"),
            (Wanted::Tcp("[::1]:80".parse().unwrap()), "6"),
            (Wanted::Udp("127.0.0.1:80".parse().unwrap()), "udp4"),
            (Wanted::Unix("/run/x.sock".into()), "-1"),
            (Wanted::Fd(3), "null"),
        ] {
            let asked = super::cluster(1, wanted.question(2)).to_string();
            let Request::QueryServer { seq: 1, query } = Request::parse(CLUSTER, &asked) else { panic!("{asked}") };
            assert_eq!(query.identity.index, 2);
            assert!(query.identity.key().contains(&format!(":{family}:")), "{}", query.identity.key());
            let keeps = wanted == Wanted::Fd(3);
            let said = super::cluster(2, wanted.listening(2, Some(80), keeps)).to_string();
            let Request::Listening { identity, keeps: kept } = Request::parse(CLUSTER, &said) else { panic!("{said}") };
            assert_eq!(kept, keeps, "{said}");
            let answers: &Identity = &identity;
            assert!(answers.answers(&query.identity) || matches!(wanted, Wanted::Unix(_) | Wanted::Fd(_)), "{said}");
        }
    }

    #[test]
    fn the_words_of_nodes_primary_are_understood() {
        let turns = json!({"cmd": CLUSTER, "errno": null, "key": "k", "ack": 1, "data": null,
            "sockname": {"address": "127.0.0.1", "family": "IPv4", "port": 80}, "seq": 0});
        let address = Some("127.0.0.1:80".parse().unwrap());
        assert_eq!(parse(&turns), Order::Answer(Answer { ack: 1, refused: None, key: "k".into(), address }));
        let refused = json!({"cmd": CLUSTER, "errno": -98, "key": "k", "ack": 2, "data": null, "seq": 0});
        let expected = Answer { ack: 2, refused: Some(98), key: "k".into(), address: None };
        assert_eq!(parse(&refused), Order::Answer(expected));
        let connection = json!({"act": "newconn", "key": "k", "seq": 9});
        assert_eq!(parse(&connection), Order::Connection { key: "k".into(), seq: 9 });
        assert_eq!(parse(&json!({"act": "disconnect", "seq": 2})), Order::Drain);
        assert_eq!(Order::parse(MUSHER, &json!({"act": "drain", "grace": 1})), Order::Drain);
        assert_eq!(Order::parse(MUSHER, &json!({"cmd": "NODE_MUSHER"})), Order::Other, "a probe");
        assert_eq!(Order::parse(MUSHER, &json!({"act": "entrust", "at": "x 1"})), Order::Other, "an older daemon's");
        let entrust: serde_json::Value = serde_json::from_str(&entrust("net.Native", "x 1", "k", 1)).unwrap();
        assert_eq!(Order::parse(MUSHER, &entrust["msg"]), Order::Entrust { key: "k".into() });
        for odd in [json!(null), json!([]), json!({"act": "newconn"}), json!({"ack": "1"}), json!({"seq": 1})] {
            assert_eq!(parse(&odd), Order::Other, "{odd}");
        }
    }
}
