//! What this process was told when it was started: whose worker it is, and which sockets it was given. Read once, pure.

use std::ffi::OsString;

/// The first descriptor of socket activation (sd_listen_fds(3)).
pub(crate) const FIRST_SOCKET: i32 = 3;
/// More sockets than this nobody gives.
const MAX_SOCKETS: i32 = 1024;

/// What the environment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// The descriptor of the channel to the primary.
    pub(crate) channel: Option<i32>,
    /// The channel speaks V8's format.
    pub(crate) advanced: bool,
    /// The number of this worker in a cluster.
    pub(crate) id: Option<u32>,
    /// musher runs this process.
    pub(crate) managed: bool,
    /// The slot that it fills in musher's team: musher itself is the primary, whose end nobody has to follow.
    pub(crate) slot: Option<u32>,
    /// Names of the sockets from descriptor 3 on.
    pub(crate) sockets: Vec<String>,
    /// Where to notify readiness.
    pub(crate) notify: Option<OsString>,
}

impl Environment {
    /// Reads it from the variables of the process with this number.
    pub(crate) fn read(pid: u32, variable: impl Fn(&str) -> Option<OsString>) -> Environment {
        let text = |name: &str| variable(name).and_then(|value| value.into_string().ok());
        let number = |name: &str| text(name)?.parse::<i32>().ok().filter(|number| *number >= 0);
        let channel = number("NODE_CHANNEL_FD").filter(|fd| *fd > 2);
        Environment {
            channel,
            advanced: text("NODE_CHANNEL_SERIALIZATION_MODE").is_some_and(|mode| mode == "advanced"),
            id: number("NODE_UNIQUE_ID").filter(|_| channel.is_some()).and_then(|id| u32::try_from(id).ok()),
            managed: variable("MUSHER_RUN").is_some(),
            slot: number("MUSHER_SLOT").and_then(|slot| u32::try_from(slot).ok()),
            sockets: sockets(pid, text),
            notify: variable("NOTIFY_SOCKET").filter(|path| !path.is_empty()),
        }
    }

    /// Whether somebody else runs the team that this process is one of.
    pub(crate) fn is_worker(&self) -> bool {
        self.id.is_some() || self.managed
    }
}

/// The names of the sockets that are meant for this process: those of another are not its own.
fn sockets(pid: u32, text: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let meant = text("LISTEN_PID").is_none_or(|of| of.parse() == Ok(pid));
    let count = text("LISTEN_FDS").and_then(|count| count.parse::<i32>().ok()).filter(|_| meant).unwrap_or(0);
    let names = text("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    (0..count.clamp(0, MAX_SOCKETS)).map(|_| names.next().unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::Environment;

    fn read(variables: &[(&str, &str)]) -> Environment {
        Environment::read(7, |name| {
            variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).into())
        })
    }

    #[test]
    fn a_worker_of_a_cluster_has_a_channel_and_a_number() {
        let found = read(&[("NODE_CHANNEL_FD", "3"), ("NODE_UNIQUE_ID", "2")]);
        assert_eq!((found.channel, found.id, found.is_worker()), (Some(3), Some(2), true));
        assert!(!read(&[("NODE_UNIQUE_ID", "2")]).is_worker(), "a number alone is somebody else's");
        assert!(!read(&[("NODE_CHANNEL_FD", "3")]).is_worker(), "a forked child is no worker");
        assert_eq!(read(&[("NODE_CHANNEL_FD", "1")]).channel, None);
        assert_eq!(read(&[("NODE_CHANNEL_FD", "x"), ("NODE_UNIQUE_ID", "")]), Environment::default());
        assert!(read(&[("MUSHER_RUN", "1@x")]).is_worker());
    }

    #[test]
    fn sockets_of_another_process_are_left_alone() {
        let three = [("LISTEN_FDS", "3"), ("LISTEN_FDNAMES", "web:admin")];
        assert_eq!(read(&three).sockets, ["web", "admin", ""]);
        assert_eq!(read(&[three[0], ("LISTEN_PID", "7")]).sockets.len(), 3);
        assert_eq!(read(&[three[0], ("LISTEN_PID", "8")]).sockets.len(), 0);
        assert_eq!(read(&[("LISTEN_FDS", "-1")]).sockets.len(), 0);
        assert_eq!(read(&[("LISTEN_FDS", "2000000")]).sockets.len(), 1024);
    }
}
