//! The file of the script that Node workers load ([`PRELOAD`](crate::PRELOAD)).
//!
//! Its name tells its content, so that programs of different builds that share a directory have files of their own. It is
//! used only where nobody but root and this user can have written it. Workers and what they start read it by its path for
//! as long as they live; so whoever gave it to workers holds a lock on it ([`Locks`]), and only a file on which there is
//! none is removed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};

/// Where a daemon of root puts what workers of every user have to read.
const PUBLIC: &str = "/run/musher";
/// The names of locks at the keeper.
const HELD: &str = "preload/";
/// After this time a file that was not put in its place is left over.
const UNFINISHED: Duration = Duration::from_secs(60);

/// Holds files open, and so the locks on them, for as long as they are in use.
pub trait Locks {
    /// The file that is held under this name.
    fn held(&self, name: &str) -> Option<File>;
    /// Holds a file under this name, instead of any other.
    fn hold(&self, name: &str, file: BorrowedFd<'_>);
}

/// The script, where workers can read it.
#[derive(Debug)]
pub struct Script {
    directory: PathBuf,
    name: String,
    text: &'static str,
    /// Whether workers of every user can read it.
    for_all_users: bool,
}

impl Script {
    /// Puts the script where workers can read it: in `own`, into which nobody else can look; for root, whose workers may
    /// be other users, in a directory of root's.
    ///
    /// # Errors
    ///
    /// It cannot be written there.
    pub fn place(own: &Path, locks: &dyn Locks, version: &str, text: &'static str) -> io::Result<Script> {
        let root = rustix::process::geteuid().is_root();
        if root && let Ok(script) = Script::place_in(Path::new(PUBLIC), true, locks, (version, text)) {
            return Ok(script);
        }
        Script::place_in(own, false, locks, (version, text))
    }

    fn place_in(
        directory: &Path,
        for_all: bool,
        locks: &dyn Locks,
        (version, text): (&str, &'static str),
    ) -> io::Result<Script> {
        let name = format!("preload-{version}-{:016x}.cjs", sum(text.as_bytes()));
        let script = Script { directory: directory.to_owned(), name, text, for_all_users: for_all };
        script.ensure(locks)?;
        tidy(directory);
        Ok(script)
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }

    /// Whether a worker can read it: of another user than this one, or of this. The file is looked at before each use:
    /// Node refuses to start without it, and somebody may have tidied up.
    pub fn is_readable(&self, by_another_user: bool, locks: &dyn Locks) -> bool {
        (self.for_all_users || !by_another_user) && self.ensure(locks).is_ok()
    }

    /// The file is there, and locked.
    fn ensure(&self, locks: &dyn Locks) -> io::Result<()> {
        if self.for_all_users {
            make_public(&self.directory)?;
        }
        let path = self.path();
        let held = format!("{HELD}{}", self.name);
        loop {
            let file = match open(&path, self.text) {
                Ok(file) => file,
                Err(_) => self.write()?,
            };
            let own = locks.held(&held).and_then(|held| held.metadata().ok());
            let found = file.metadata()?;
            if own.is_some_and(|own| is_same(&own, &found)) {
                return Ok(());
            }
            flock(&file, FlockOperation::LockShared)?;
            // Somebody may have removed it before it was locked.
            if fs::symlink_metadata(&path).is_ok_and(|now| is_same(&now, &found)) {
                locks.hold(&held, file.as_fd());
                return Ok(());
            }
        }
    }

    /// Writes it beside its place and moves it there: a worker may read it at any moment.
    fn write(&self) -> io::Result<File> {
        let path = self.path();
        let new = self.directory.join(format!("{}.{}.new", self.name, std::process::id()));
        let _ = fs::remove_file(&new);
        let written = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
            file.write_all(self.text.as_bytes())?;
            // The umask may have taken bits away.
            file.set_permissions(fs::Permissions::from_mode(0o644))?;
            fs::rename(&new, &path)?;
            open(&path, self.text)
        };
        written().inspect_err(|_| drop(fs::remove_file(&new)))
    }
}

/// `NODE_OPTIONS` with the script before the user's own options. Node splits at spaces, except within double quotes,
/// where `\` escapes (Node's doc/api/cli.md, NODE_OPTIONS).
pub fn node_options(own: Option<&str>, script: &Path) -> String {
    let path = script.display().to_string().replace('\\', r"\\").replace('"', "\\\"");
    let require = format!("--require \"{path}\"");
    match own {
        Some(own) if !own.trim().is_empty() => format!("{require} {own}"),
        _ => require,
    }
}

/// Whether one of these options of Node's is its permission model, by which a program may not read the script: Node
/// would not start it at all.
pub fn is_permission_bound<'a>(mut options: impl Iterator<Item = &'a str>) -> bool {
    options.any(|word| matches!(word, "--permission" | "--experimental-permission"))
}

/// The file, if it is ours or root's, nobody else can write it, and it says what it should.
fn open(path: &Path, text: &str) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let flags = i32::try_from(flags).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || !is_trusted(&found) || found.mode() & 0o444 != 0o444 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut present = Vec::new();
    (&mut file).take(text.len() as u64 + 1).read_to_end(&mut present)?;
    if present != text.as_bytes() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(file)
}

/// Nobody but root and this user can have put it there or change it.
fn is_trusted(found: &fs::Metadata) -> bool {
    let own = rustix::process::geteuid().as_raw();
    (found.uid() == 0 || found.uid() == own) && found.mode() & 0o022 == 0
}

fn is_same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Makes the directory of root's in which everybody may read. One that somebody else could put in its place is refused.
fn make_public(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if fs::symlink_metadata(path).is_err() => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let found = fs::symlink_metadata(path)?;
    let parent = fs::metadata(path.parent().unwrap_or(Path::new("/")))?;
    // In a sticky directory nobody can move what is root's.
    let parent_is_safe = parent.uid() == 0 && (parent.mode() & 0o022 == 0 || parent.mode() & 0o1000 != 0);
    if !found.is_dir() || !is_trusted(&found) || !parent_is_safe {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    if found.mode() & 0o777 != 0o755 {
        // The umask may have taken bits away.
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Removes the scripts of other builds that no daemon holds. What cannot be removed stays.
fn tidy(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with("preload-")) else { continue };
        let path = entry.path();
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if name.ends_with(".new") && age().is_some_and(|age| age > UNFINISHED) {
            let _ = fs::remove_file(&path);
        } else if has_sum(name) {
            let free = |file: &File| flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
            // Held until it is removed, so that whoever locks it later finds it gone.
            if let Ok(file) = File::open(&path)
                && free(&file)
            {
                let _ = fs::remove_file(&path);
            }
        }
    }
}

/// Whether it is a name of ours. Before, names told the version only, and nobody locked them.
fn has_sum(name: &str) -> bool {
    let sum = name.strip_suffix(".cjs").and_then(|name| name.rsplit('-').next());
    sum.is_some_and(|sum| sum.len() == 16 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// FNV-1a. It tells builds apart; what a file says is compared before it is used.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::symlink;
    use std::sync::Mutex;

    use super::*;

    /// What one program holds.
    #[derive(Default)]
    struct Held(Mutex<BTreeMap<String, File>>);

    impl Locks for Held {
        fn held(&self, name: &str) -> Option<File> {
            self.0.lock().unwrap().get(name)?.try_clone().ok()
        }

        fn hold(&self, name: &str, file: BorrowedFd<'_>) {
            self.0.lock().unwrap().insert(name.to_owned(), file.try_clone_to_owned().unwrap().into());
        }
    }

    fn place(directory: &Path, held: &Held, text: &'static str) -> Script {
        Script::place_in(directory, false, held, ("1", text)).unwrap()
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_script_goes_before_the_users_options_and_its_path_is_quoted() {
        let with = node_options(Some("--max-old-space-size=100"), Path::new("/h/p.cjs"));
        assert_eq!(with, r#"--require "/h/p.cjs" --max-old-space-size=100"#);
        assert_eq!(node_options(None, Path::new(r#"/a b/"c\d.cjs"#)), r#"--require "/a b/\"c\\d.cjs""#);
    }

    #[test]
    fn two_builds_share_a_directory_and_leave_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (Held::default(), Held::default());
        let first = place(directory.path(), &one, "one");
        let second = place(directory.path(), &two, "another");
        assert_ne!(first.path(), second.path());
        assert_eq!(fs::read_to_string(first.path()).unwrap(), "one", "it is in use, and stays");
        assert_eq!(names(directory.path()).len(), 2);
        drop(one);
        place(directory.path(), &two, "another");
        assert_eq!(names(directory.path()), std::slice::from_ref(&second.name), "nobody uses the first any more");
    }

    #[test]
    fn what_others_put_in_its_place_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let link = Held::default();
        let preload = place(directory.path(), &link, "ours");
        let path = preload.path();
        let evil = directory.path().join("evil");
        fs::write(&evil, "ours").unwrap();
        let plants: [&dyn Fn(); 5] = [
            &|| symlink(&evil, &path).unwrap(),
            &|| fs::write(&path, "theirs").unwrap(),
            &|| fs::write(&path, "ours and more").unwrap(),
            &|| {
                fs::write(&path, "ours").unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
            },
            &|| {
                fs::write(&path, "ours").unwrap();
                // Only root can give files away.
                let _ = std::os::unix::fs::chown(&path, Some(65534), None);
            },
        ];
        for plant in plants {
            fs::remove_file(&path).unwrap();
            plant();
            preload.ensure(&link).unwrap();
            let found = fs::symlink_metadata(&path).unwrap();
            assert!(found.is_file() && is_trusted(&found), "{found:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
            assert_eq!(found.mode() & 0o777, 0o644);
        }
        assert_eq!(fs::read_to_string(&evil).unwrap(), "ours", "nothing was written through the link");
    }

    #[test]
    fn a_directory_that_others_can_change_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let public = directory.path().join("musher");
        fs::create_dir(&public).unwrap();
        fs::set_permissions(&public, fs::Permissions::from_mode(0o777)).unwrap();
        make_public(&public).unwrap_err();
        fs::remove_dir(&public).unwrap();
        symlink("/tmp", &public).unwrap();
        make_public(&public).unwrap_err();
        fs::remove_file(&public).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        make_public(&public).unwrap_err();
    }
}
