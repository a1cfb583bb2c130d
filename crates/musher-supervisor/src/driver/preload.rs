//! The script that Node workers load: which of them get it. Its file, and the locks on it, see [`Script`]; they are held at
//! the keeper.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use musher_cluster::script::{Locks, Script};
use musher_core::spec::{AppSpec, Runtime};

use super::launch;
use crate::link::KeeperLink;

/// The script, where workers can read it.
#[derive(Debug)]
pub(super) struct Preload(Script);

impl Locks for KeeperLink {
    fn held(&self, name: &str) -> Option<File> {
        self.copy(name).map(File::from)
    }

    fn hold(&self, name: &str, file: BorrowedFd<'_>) {
        self.put(name, file);
    }
}

impl Preload {
    /// Puts the script where workers can read it.
    pub(super) fn place(home: &Path, link: &KeeperLink, text: &'static str) -> io::Result<Preload> {
        Script::place(home, link, crate::VERSION, text).map(Preload)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.0.path()
    }

    /// Whether the workers of this spec get it.
    pub(super) fn suits(&self, spec: &AppSpec, link: &KeeperLink) -> bool {
        // Others that have the channel (Bun, Deno) understand some of Node's options; it was never tried with them.
        let node = match spec.exec.runtime {
            Runtime::NodeCluster => true,
            Runtime::NodeFork => launch::is_node(&spec.exec.program),
            Runtime::Plain => false,
        };
        let may_read = !launch::is_permission_bound(spec);
        node && spec.preload && may_read && self.0.is_readable(spec.user.is_some(), link)
    }
}
