//! Opens what lies beneath the root of a site, and nothing else: the kernel refuses every way out, symbolic links
//! included (openat2(2), `RESOLVE_BENEATH`), so that there is no moment between a check and its use.

use std::fs::File;
use std::future::Future;
use std::io::{self, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower_http::services::fs::{Backend, File as BackendFile};

/// How often a name is looked up that somebody moves just then.
const TRIES: usize = 5;

/// A folder that cannot be left. Its path is looked up for each file, so that it may be made anew, or be a link to the newest
/// release.
#[derive(Clone, Debug)]
pub(crate) struct Beneath {
    root: Arc<Root>,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
}

impl Beneath {
    /// The folder of this path, which may be a link itself.
    pub(crate) fn new(path: &Path) -> io::Result<Beneath> {
        let beneath = Beneath { root: Arc::new(Root { path: std::path::absolute(path)? }) };
        beneath.folder(Path::new(""))?;
        Ok(beneath)
    }

    /// Opens a folder beneath it.
    pub(crate) fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        self.root.open(path, OFlags::DIRECTORY)
    }

    /// Opens a file beneath it: a regular one, for others may wait for ever or do something when they are read.
    fn file(&self, path: &Path) -> io::Result<File> {
        let file = File::from(self.root.open(path, OFlags::NONBLOCK)?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// What a link beneath it leads to, if that lies beneath it, too.
    pub(crate) fn target(&self, path: &Path) -> io::Result<Stat> {
        Ok(fstat(self.root.open(path, OFlags::PATH)?)?)
    }

    fn metadata(&self, path: &Path) -> io::Result<std::fs::Metadata> {
        // O_PATH opens what may not be read, and nothing that acts when it is opened.
        File::from(self.root.open(path, OFlags::PATH)?).metadata()
    }
}

impl Root {
    fn open(&self, path: &Path, kind: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | kind;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let folder = openat(CWD, &self.path, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let mut opened = Err(Errno::AGAIN);
        for _ in 0..TRIES {
            opened = openat2(&folder, path, flags, Mode::empty(), resolve);
            // Something was renamed while a link was followed.
            if !matches!(opened, Err(Errno::AGAIN)) {
                break;
            }
        }
        match opened {
            // Kernels before 5.6, and sandboxes that do not know the call.
            Err(Errno::NOSYS | Errno::PERM) => self.open_checked(path, flags),
            // It leads out of the root, or round in circles: nobody has to know that there is something.
            // Or it is a name that nothing can have, or a socket.
            Err(Errno::XDEV | Errno::LOOP | Errno::NAMETOOLONG | Errno::NXIO) => Err(io::ErrorKind::NotFound.into()),
            opened => Ok(opened?),
        }
    }

    /// Without the kernel's help: what the path leads to must lie in the root.
    fn open_checked(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let target = std::fs::canonicalize(self.path.join(path))?;
        if !target.starts_with(std::fs::canonicalize(&self.path)?) {
            return Err(io::ErrorKind::NotFound.into());
        }
        // No link is followed any more: one that was put there meanwhile is refused.
        Ok(openat(CWD, &target, flags | OFlags::NOFOLLOW, Mode::empty())?)
    }
}

/// What a blocking call comes to.
type Later<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl Backend for Beneath {
    type File = Opened;
    type Metadata = std::fs::Metadata;
    type OpenFuture = Later<Opened>;
    type MetadataFuture = Later<std::fs::Metadata>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let beneath = self.clone();
        Box::pin(async move {
            let file = blocking(move || beneath.file(&path)).await?;
            Ok(Opened(tokio::fs::File::from_std(file)))
        })
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        let beneath = self.clone();
        Box::pin(blocking(move || beneath.metadata(&path)))
    }
}

/// Does what may wait for a disk where nobody waits with it.
pub(crate) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(call).await.map_err(io::Error::other)?
}

/// An open file of the site.
#[derive(Debug)]
pub(crate) struct Opened(tokio::fs::File);

impl BackendFile for Opened {
    type Metadata = std::fs::Metadata;
    type MetadataFuture<'a> = Pin<Box<dyn Future<Output = io::Result<std::fs::Metadata>> + Send + 'a>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        Box::pin(self.0.metadata())
    }
}

impl AsyncRead for Opened {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncSeek for Opened {
    fn start_seek(mut self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.0).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.0).poll_complete(context)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn site() -> (tempfile::TempDir, Beneath) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("deep")).unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        std::fs::write(root.join("deep/file"), "file").unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink(dir.path().join("secret"), root.join("absolute")).unwrap();
        symlink("..", root.join("deep/up")).unwrap();
        symlink("deep/file", root.join("inside")).unwrap();
        symlink("circle", root.join("circle")).unwrap();
        let beneath = Beneath::new(&root).unwrap();
        (dir, beneath)
    }

    #[test]
    fn only_what_lies_in_the_root_is_opened_with_the_kernels_help_and_without() {
        let (_dir, beneath) = site();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        for (path, opens) in [
            ("deep/file", true),
            ("inside", true),
            ("deep/up/deep/file", true),
            ("out", false),
            ("absolute", false),
            ("../secret", false),
            ("deep/up/../secret", false),
            ("circle", false),
            ("none", false),
        ] {
            let path = Path::new(path);
            assert_eq!(beneath.file(path).is_ok(), opens, "{path:?}");
            assert_eq!(beneath.root.open_checked(path, flags).is_ok(), opens, "{path:?}, checked");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_not_read() {
        let (dir, beneath) = site();
        rustix::fs::mknodat(CWD, dir.path().join("root/fifo"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(beneath.file(Path::new("fifo")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(beneath.file(Path::new("deep")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(beneath.metadata(Path::new("")).unwrap().is_dir());
    }
}
