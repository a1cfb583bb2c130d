//! What an app's listeners and workers have to be told by, should the supervisor die: the JSON under `cluster/<app>`.
//!
//! Written before the effects it describes can be seen: before a reply reaches a worker, before its request is taken off
//! the channel. Members that a reader does not know are ignored; those it misses have their default.

use musher_core::ids::{AppId, RunId, SlotId};
use musher_core::tolerant::{self, Understood};
use musher_process::net::unix::SocketFile;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bind::Bind;
use crate::group::{Member, Part};
use crate::message::Identity;
use crate::shared::Shared;

/// The form written here. A reader refuses a later one.
const VERSION: u32 = 1;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedApp {
    pub(crate) version: u32,
    /// How often the app was restored: numbers of messages start anew above all that came before.
    #[serde(default)]
    pub(crate) epoch: u32,
    #[serde(default)]
    pub(crate) next_group: u32,
    #[serde(default)]
    pub(crate) groups: Vec<SavedGroup>,
    #[serde(default)]
    pub(crate) runs: Vec<SavedRun>,
    /// What its workers share, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shared: Option<Shared>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedGroup {
    pub(crate) number: u32,
    pub(crate) key: String,
    pub(crate) bind: Bind,
    pub(crate) backlog: u32,
    #[serde(default)]
    pub(crate) data: Value,
    pub(crate) sharing: SavedSharing,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SavedSharing {
    /// The slots, and the front (null), in the order of the kernel's array; and the slots among them that retire.
    Slots {
        members: Vec<Member>,
        #[serde(default)]
        retiring: Vec<SlotId>,
    },
    Shared {
        #[serde(default)]
        file: Option<SavedFile>,
    },
    RoundRobin {
        #[serde(default)]
        file: Option<SavedFile>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedFile {
    path: std::path::PathBuf,
    device: u64,
    inode: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedRun {
    pub(crate) run: RunId,
    #[serde(default)]
    pub(crate) online: bool,
    #[serde(default)]
    pub(crate) ready: bool,
    #[serde(default)]
    pub(crate) preload: bool,
    #[serde(default)]
    pub(crate) marks_internal: bool,
    #[serde(default)]
    pub(crate) draining: bool,
    #[serde(default)]
    pub(crate) failed: bool,
    /// It is told of changes of what is shared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) watches: bool,
    /// How many messages it has missed and was not told of yet.
    #[serde(default)]
    pub(crate) missed: u32,
    #[serde(default)]
    pub(crate) asked: Vec<SavedAsked>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedAsked {
    pub(crate) group: u32,
    pub(crate) identity: Identity,
    /// Not said by a supervisor that gave all workers of a group the same.
    #[serde(default)]
    pub(crate) part: Option<Part>,
    #[serde(default)]
    pub(crate) listening: bool,
}

impl SavedApp {
    pub(crate) fn encode(mut self) -> Vec<u8> {
        self.version = VERSION;
        serde_json::to_vec(&self).unwrap_or_default()
    }

    /// `None` for what cannot be understood: the app then starts without memory, which costs its listeners but no worker.
    pub(crate) fn decode(bytes: &[u8]) -> Option<SavedApp> {
        let Understood { value, left_out } = tolerant::read::<SavedApp>(bytes).ok()?;
        if let Some(first) = left_out.first() {
            tracing::warn!(first, more = left_out.len() - 1, "what another version wrote of listeners is left out");
        }
        Some(value).filter(|saved| saved.version <= VERSION)
    }
}

impl From<&SocketFile> for SavedFile {
    fn from(file: &SocketFile) -> SavedFile {
        SavedFile { path: file.path.clone(), device: file.device, inode: file.inode }
    }
}

impl From<SavedFile> for SocketFile {
    fn from(file: SavedFile) -> SocketFile {
        SocketFile { path: file.path, device: file.device, inode: file.inode }
    }
}

/// The names under which an app's things are kept.
pub(crate) fn state_name(app: AppId) -> String {
    format!("cluster/{app}")
}

pub(crate) fn slot_name(app: AppId, group: u32, slot: SlotId) -> String {
    format!("listen/{app}/{group}/{slot}")
}

pub(crate) fn shared_name(app: AppId, group: u32) -> String {
    format!("listen/{app}/{group}/all")
}

/// The group and slot of a listener's name; no slot for one that all share.
pub(crate) fn parse_listener(app: AppId, name: &str) -> Option<(u32, Option<SlotId>)> {
    let rest = name.strip_prefix(&format!("listen/{app}/"))?;
    let (group, slot) = rest.split_once('/')?;
    let group = group.parse().ok()?;
    if slot == "all" { Some((group, None)) } else { Some((group, Some(slot.parse().ok()?))) }
}

/// Where an accepted connection is that nobody has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Custody {
    /// A worker was offered it by the message with this number.
    Offered { run: RunId, seq: u64 },
    /// It waits. The number only makes the name its own.
    Waiting { number: u64 },
}

impl Custody {
    /// The name under which a copy is kept.
    pub(crate) fn name(self, app: AppId, group: u32) -> String {
        match self {
            Custody::Offered { run, seq } => format!("listen/{app}/{group}/offered-{run}-{seq}"),
            Custody::Waiting { number } => format!("listen/{app}/{group}/waiting-{number}"),
        }
    }

    pub(crate) fn is_waiting(name: &str) -> bool {
        name.contains("/waiting-")
    }

    /// The group, and where in it.
    pub(crate) fn parse(app: AppId, name: &str) -> Option<(u32, Custody)> {
        let rest = name.strip_prefix(&format!("listen/{app}/"))?;
        let (group, custody) = rest.split_once('/')?;
        let custody = if let Some(number) = custody.strip_prefix("waiting-") {
            Custody::Waiting { number: number.parse().ok()? }
        } else {
            let (run, seq) = custody.strip_prefix("offered-")?.split_once('-')?;
            Custody::Offered { run: run.parse().ok()?, seq: seq.parse().ok()? }
        };
        Some((group.parse().ok()?, custody))
    }
}

#[cfg(test)]
mod tests {
    use musher_core::ids::{AppId, RunId, SlotId};

    use super::{Custody, SavedApp, parse_listener, shared_name, slot_name};

    #[test]
    fn names_are_read_back() {
        let app = AppId(7);
        assert_eq!(parse_listener(app, &slot_name(app, 2, SlotId(3))), Some((2, Some(SlotId(3)))));
        assert_eq!(parse_listener(app, &shared_name(app, 2)), Some((2, None)));
        assert_eq!(parse_listener(AppId(70), &shared_name(app, 2)), None);
        assert_eq!(parse_listener(app, "listen/7/x/1"), None);
        for custody in [Custody::Offered { run: RunId(9), seq: 1 << 40 }, Custody::Waiting { number: 3 }] {
            let name = custody.name(app, 2);
            assert_eq!(Custody::parse(app, &name), Some((2, custody)));
            assert_eq!(parse_listener(app, &name), None);
        }
        assert_eq!(Custody::parse(app, &shared_name(app, 2)), None);
    }

    #[test]
    fn a_state_that_cannot_be_read_is_none() {
        for bytes in [&b""[..], b"{", b"[]", br#"{"version":99}"#] {
            assert_eq!(SavedApp::decode(bytes), None);
        }
        let saved = SavedApp { epoch: 3, ..SavedApp::default() };
        assert_eq!(SavedApp::decode(&saved.encode()).unwrap().epoch, 3);
        assert!(SavedApp::decode(br#"{"version":1,"later":true}"#).is_some());
    }

    #[test]
    fn words_of_a_later_version_cost_no_more_than_the_listener_that_they_are_about() {
        let group = |bind: &str, sharing: &str| {
            format!(r#"{{"number":1,"key":"k","bind":{bind},"backlog":1,"sharing":{sharing}}}"#)
        };
        let tcp = r#"{"tcp":{"address":"127.0.0.1:1","port":1,"v6_only":false}}"#;
        let identity = |family: &str| format!(r#"{{"address":null,"port":1,"family":{family},"fd":null,"index":0}}"#);
        let asked =
            |family: &str, part: &str| format!(r#"{{"group":1,"identity":{},"part":{part}}}"#, identity(family));
        let (shared, tcp4, slot, later) = (r#"{"shared":{}}"#, r#""tcp4""#, r#""slot""#, r#"{"later":1}"#);
        for (changed, [groups, questions]) in [
            ([tcp, shared, tcp4, slot], [2, 1]),
            ([later, shared, tcp4, slot], [1, 1]),
            ([tcp, later, tcp4, slot], [1, 1]),
            ([tcp, shared, later, slot], [2, 0]),
            ([tcp, shared, tcp4, later], [2, 1]),
        ] {
            let [bind, sharing, family, part] = changed;
            let text = format!(
                r#"{{"version":1,"groups":[{},{}],"runs":[{{"run":1,"ready":true,"later":1,"asked":[{}]}}]}}"#,
                group(tcp, shared),
                group(bind, sharing),
                asked(family, part),
            );
            let saved = SavedApp::decode(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                (saved.groups.len(), saved.runs.len(), saved.runs[0].asked.len()),
                (groups, 1, questions),
                "{text}"
            );
            assert!(saved.runs[0].ready);
        }
    }
}
