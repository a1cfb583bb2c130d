//! Programs on `PATH`; users and groups of /etc/passwd and /etc/group.
//!
//! The C library's getpwnam(3) may load modules, ask the network and take seconds, and does not work in a static
//! executable. So only the two files are read: users that exist only in LDAP, systemd-homed and the like are unknown
//! and can be given as numbers.
//!
//! ```
//! use musher_process::lookup::{find_in_path, lookup_user};
//! use std::path::Path;
//!
//! let program = find_in_path("cat".as_ref(), std::env::var_os("PATH").as_deref(), Path::new("/"))?;
//! let user = lookup_user("root")?.ok_or("there is no root")?;
//! println!("{} as {} with groups {:?}", program.display(), user.uid, user.groups);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

/// What a shell uses when there is no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The `(gid_t) -1` that means "leave it" to system calls, and is no user.
const NOBODY_AT_ALL: u32 = u32::MAX;

/// A program was not found.
///
/// ```
/// use musher_process::lookup::{LookupError, find_in_path};
/// use std::path::Path;
///
/// let error = find_in_path("no-such-program".as_ref(), None, Path::new("/")).unwrap_err();
/// assert_eq!(error, LookupError::NotInPath { name: "no-such-program".into() });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// A name that is in no directory of `PATH`.
    #[error("there is no program {name:?} in PATH")]
    NotInPath {
        /// As asked for.
        name: String,
    },
    /// A path where nothing is.
    #[error("{} does not exist", path.display())]
    NoFile {
        /// The absolute path.
        path: PathBuf,
    },
    /// Found, but it cannot be executed.
    #[error("{} is not executable", path.display())]
    NotExecutable {
        /// The first such file.
        path: PathBuf,
    },
}

/// Finds a program as a shell would: a name with a slash is a path relative to `cwd`, else the directories of
/// `path_env` are searched (without one, the usual). The result is absolute; symbolic links are kept, since programs look
/// at their own name.
///
/// ```
/// use musher_process::lookup::find_in_path;
/// use std::path::Path;
///
/// let shell = find_in_path("sh".as_ref(), std::env::var_os("PATH").as_deref(), Path::new("/"))?;
/// assert!(shell.is_absolute() && shell.ends_with("sh"));
/// assert_eq!(find_in_path("./sh".as_ref(), None, Path::new("/bin"))?, Path::new("/bin/./sh"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn find_in_path(name: &OsStr, path_env: Option<&OsStr>, cwd: &Path) -> Result<PathBuf, LookupError> {
    if name.as_bytes().contains(&b'/') {
        let path = cwd.join(name);
        return match path.metadata() {
            Err(_) => Err(LookupError::NoFile { path }),
            Ok(_) if is_executable(&path) => Ok(path),
            Ok(_) => Err(LookupError::NotExecutable { path }),
        };
    }
    let mut refused = None;
    if !name.is_empty() {
        for directory in std::env::split_paths(path_env.unwrap_or(OsStr::new(DEFAULT_PATH))) {
            // An empty entry means the current directory; a relative one is below it.
            let path = cwd.join(directory).join(name);
            if is_executable(&path) {
                return Ok(path);
            }
            if refused.is_none() && path.is_file() {
                refused = Some(path);
            }
        }
    }
    match refused {
        Some(path) => Err(LookupError::NotExecutable { path }),
        None => Err(LookupError::NotInPath { name: name.to_string_lossy().into_owned() }),
    }
}

/// A regular file with execute permission for us.
fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

/// A user of /etc/passwd.
///
/// ```
/// let root = musher_process::lookup::lookup_user("root")?.ok_or("there is no root")?;
/// assert_eq!((root.uid, root.gid, root.home.as_deref()), (0, 0, Some("/root".as_ref())));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserEntry {
    /// Name; the number if the user has no entry.
    pub name: String,
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Primary and supplementary groups, sorted.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: Option<PathBuf>,
    /// Login shell.
    pub shell: Option<PathBuf>,
}

/// A user by name or number. A number without an entry is a user with the group of the same number and no others; an
/// unknown name is `None`.
///
/// # Errors
///
/// /etc/passwd or /etc/group is there and cannot be read.
///
/// ```
/// use musher_process::lookup::lookup_user;
///
/// assert_eq!(lookup_user("0")?.map(|user| user.name).as_deref(), Some("root"));
/// assert_eq!(lookup_user("nobody-of-this-name")?, None);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn lookup_user(user: &str) -> io::Result<Option<UserEntry>> {
    let passwd = read_text("/etc/passwd")?;
    let group = read_text("/etc/group")?;
    Ok(find_user(user, &passwd, &group))
}

/// A group by name or number. A number needs no entry; an unknown name is `None`. Errors as of [`lookup_user`].
///
/// ```
/// assert_eq!(musher_process::lookup::lookup_group("root")?, Some(0));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn lookup_group(group: &str) -> io::Result<Option<u32>> {
    Ok(find_group(group, &read_text("/etc/group")?))
}

/// Comments may be in any encoding. A system without the file (a container from scratch) has no entries.
fn read_text(path: &str) -> io::Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn find_user(user: &str, passwd: &str, group: &str) -> Option<UserEntry> {
    let number = number(user);
    let entries = || passwd.lines().filter_map(passwd_entry);
    // A name that looks like a number is a name first, as for chown(1).
    let named = entries().find(|entry| entry.name == user);
    let found = named.or_else(|| entries().find(|entry| Some(entry.uid) == number));
    let mut entry = found.or_else(|| {
        let number = number?;
        Some(UserEntry { name: number.to_string(), uid: number, gid: number, groups: vec![], home: None, shell: None })
    })?;
    let member = |members: &str| members.split(',').any(|name| name.trim() == entry.name);
    entry.groups =
        group.lines().filter_map(group_entry).filter(|(_, _, members)| member(members)).map(|g| g.1).collect();
    entry.groups.push(entry.gid);
    entry.groups.sort_unstable();
    entry.groups.dedup();
    Some(entry)
}

fn find_group(group: &str, file: &str) -> Option<u32> {
    let named = file.lines().filter_map(group_entry).find(|(name, _, _)| *name == group);
    named.map(|(_, gid, _)| gid).or_else(|| number(group))
}

/// Decimal digits only, no sign.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number != NOBODY_AT_ALL)
}

/// passwd(5): `name:password:uid:gid:comment:home:shell`.
fn passwd_entry(line: &str) -> Option<UserEntry> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, rest @ ..] = fields.as_slice() else { return None };
    let path = |index: usize| rest.get(index).filter(|path| !path.is_empty()).map(PathBuf::from);
    (!name.is_empty() && !name.starts_with(['#', '+', '-'])).then_some(())?;
    Some(UserEntry {
        name: (*name).to_owned(),
        uid: number(uid)?,
        gid: number(gid)?,
        groups: vec![],
        home: path(1),
        shell: path(2),
    })
}

/// group(5): `name:password:gid:members`.
fn group_entry(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
    (!name.is_empty() && !name.starts_with(['#', '+', '-'])).then_some((
        name,
        number(gid)?,
        fields.next().unwrap_or(""),
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use proptest::prelude::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment:x:1:1\n+nis:x:5:5::/:\nweb:x:1000:1001:Web,,,:/srv/web:/bin/false\n\
                          12:x:77:77::/n:\nbroken:x:no:1::/:\nshort:x:9\n";
    const GROUP: &str = "root:x:0:\nweb:x:1001:\nssl:x:30:root,web\nlogs:x:31:web\nother:x:32:webber\nlogs:x:31:web\n";

    #[test]
    fn user_by_name_or_number_with_all_groups() {
        let web = find_user("web", PASSWD, GROUP).unwrap();
        assert_eq!((web.uid, web.gid, web.groups.as_slice()), (1000, 1001, [30, 31, 1001].as_slice()));
        assert_eq!(web.home, Some(PathBuf::from("/srv/web")));
        assert_eq!(find_user("1000", PASSWD, GROUP), Some(web));
        assert_eq!(find_user("12", PASSWD, GROUP).unwrap().uid, 77);
        let unknown = find_user("4242", PASSWD, GROUP).unwrap();
        assert_eq!((unknown.uid, unknown.gid, unknown.groups, unknown.home), (4242, 4242, vec![4242], None));
        for wrong in
            ["", "nobody-here", "-1", "+5", "4294967295", "99999999999", "broken", "short", "# comment", "+nis"]
        {
            assert_eq!(find_user(wrong, PASSWD, GROUP), None, "{wrong}");
        }
    }

    #[test]
    fn group_by_name_or_number() {
        assert_eq!(find_group("ssl", GROUP), Some(30));
        assert_eq!(find_group("555", GROUP), Some(555));
        assert_eq!(find_group("none", GROUP), None);
    }

    #[test]
    fn this_system_has_root() {
        let root = lookup_user("root").unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(lookup_user("0").unwrap().unwrap().name, "root");
        assert_eq!(lookup_group("root").unwrap(), Some(0));
    }

    #[test]
    fn programs_are_found_as_by_a_shell() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for (file, mode) in [("a/tool", 0o644), ("b/tool", 0o755), ("b/other", 0o644), ("here", 0o755)] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(root.join("a/dir")).unwrap();
        let path = std::env::join_paths([root.join("none"), root.join("a"), root.join("b"), PathBuf::new()]).unwrap();
        let find = |name: &str| find_in_path(OsStr::new(name), Some(&path), root);
        assert_eq!(find("tool"), Ok(root.join("b/tool")));
        assert_eq!(find("other"), Err(LookupError::NotExecutable { path: root.join("b/other") }));
        assert_eq!(find("here"), Ok(root.join("here")), "an empty entry is the working directory");
        assert_eq!(find("./b/tool"), Ok(root.join("./b/tool")));
        assert_eq!(find("b/other"), Err(LookupError::NotExecutable { path: root.join("b/other") }));
        assert_eq!(find("b/none"), Err(LookupError::NoFile { path: root.join("b/none") }));
        assert_eq!(find("a/dir"), Err(LookupError::NotExecutable { path: root.join("a/dir") }));
        for name in ["dir", "", "nothing"] {
            assert_eq!(find(name), Err(LookupError::NotInPath { name: name.to_owned() }));
        }
        assert!(find_in_path(OsStr::new("sh"), None, root).unwrap().is_absolute());
    }

    proptest! {
        #[test]
        fn any_file_is_handled(user in "[a-z0-9:]{0,6}", passwd in "([a-z0-9]{0,3}:?){0,40}\n?", group in "(?s).{0,100}") {
            if let Some(entry) = find_user(&user, &passwd, &group) {
                prop_assert!(entry.groups.contains(&entry.gid));
            }
            let _ = find_group(&user, &group);
        }
    }
}
