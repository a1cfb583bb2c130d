//! The git repository that an app's directory is in, read from its files: no git runs only because somebody lists apps.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde_json::{Value, json};

/// More than any of these files is; packed-refs of a big repository has tens of thousands of lines.
const MAX_FILE: u64 = 4 << 20;
/// How far above an app's directory it is looked for.
const MAX_ABOVE: usize = 32;

/// A working tree of git.
pub(super) struct Repository {
    /// Its topmost directory.
    pub(super) root: PathBuf,
    /// What belongs to this working tree: HEAD.
    git: PathBuf,
    /// What all working trees of the repository share: branches, remotes.
    common: PathBuf,
}

impl Repository {
    /// The one that a directory is in.
    pub(super) fn around(directory: &Path) -> Option<Repository> {
        let owner = fs::metadata(directory).ok()?.uid();
        // Anybody may put one into /tmp: as with git's own safe.directory, a stranger's is none.
        let trusted = [owner, rustix::process::geteuid().as_raw()];
        directory.ancestors().take(MAX_ABOVE).find_map(|root| {
            let place = root.join(".git");
            if !trusted.contains(&fs::symlink_metadata(&place).ok()?.uid()) {
                return None;
            }
            // A working tree of its own, or a submodule, has a file that says where.
            let git = match text(&place).as_deref().and_then(|said| said.strip_prefix("gitdir:")) {
                Some(named) => root.join(named.trim()),
                None => place,
            };
            if !git.join("HEAD").is_file() {
                return None;
            }
            let common = text(&git.join("commondir")).map_or_else(|| git.clone(), |named| git.join(named.trim()));
            Some(Repository { root: root.to_owned(), git, common })
        })
    }

    /// What is checked out: the branch, if it is one, and the commit, if there is one.
    fn head(&self) -> (Option<String>, Option<String>) {
        let head = text(&self.git.join("HEAD")).unwrap_or_default();
        let Some(name) = head.trim().strip_prefix("ref:").map(str::trim) else { return (None, commit(&head)) };
        let loose = text(&self.common.join(name)).and_then(|said| commit(&said));
        let packed = || {
            let all = text(&self.common.join("packed-refs"))?;
            all.lines().find_map(|line| commit(line.strip_suffix(name)?.strip_suffix(' ')?))
        };
        (Some(name.trim_start_matches("refs/heads/").to_owned()), loose.or_else(packed))
    }

    /// Where it comes from: names and addresses, without what could be a password.
    fn remotes(&self) -> Vec<(String, String)> {
        let config = text(&self.common.join("config")).unwrap_or_default();
        let mut remotes: Vec<(String, String)> = Vec::new();
        let mut section = None;
        for line in config.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line.strip_prefix("[remote \"").and_then(|rest| rest.strip_suffix("\"]"));
            } else if let (Some(name), Some(("url", url))) =
                (section, line.split_once('=').map(|(key, value)| (key.trim(), value.trim())))
            {
                remotes.push((name.to_owned(), public(url)));
            }
        }
        remotes
    }

    /// It as `versioning` of a record of PM2.
    pub(super) fn described(&self) -> Value {
        let (branch, revision) = self.head();
        let remotes = self.remotes();
        let origin = remotes.iter().find(|(name, _)| name == "origin").or(remotes.first());
        json!({
            "type": "git",
            "url": origin.map(|(_, url)| url),
            "revision": revision,
            "branch": branch,
            "remote": origin.map(|(name, _)| name),
            "remotes": remotes.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            "repo_path": self.root.to_string_lossy(),
        })
    }
}

/// What a file says. What is none, such as a pipe that nobody writes into, says nothing, and is not waited for.
fn text(path: &Path) -> Option<String> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).ok()?;
    Some(text)
}

fn commit(text: &str) -> Option<String> {
    let text = text.trim();
    (text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| text.to_owned())
}

/// An address without the account and the password in it.
fn public(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let host = rest.split_once('/').map_or(rest, |(host, _)| host);
    match host.rsplit_once('@') {
        Some((account, _)) => format!("{scheme}://{}", &rest[account.len() + 1..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::{Repository, public};

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn what_is_checked_out_is_read_from_files() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("app");
        let git = root.join(".git");
        fs::create_dir_all(git.join("refs/heads")).unwrap();
        fs::create_dir_all(root.join("src/deep")).unwrap();
        fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(git.join("packed-refs"), format!("# pack-refs\n{COMMIT} refs/heads/main\n")).unwrap();
        let config = "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = https://me:secret@example.com/a/b.git\n\tfetch = +x\n";
        fs::write(git.join("config"), config).unwrap();
        let described = Repository::around(&root.join("src/deep")).unwrap().described();
        assert_eq!((&described["revision"], &described["branch"]), (&COMMIT.into(), &"main".into()));
        assert_eq!(described["url"], "https://example.com/a/b.git");
        assert_eq!(described["repo_path"], root.to_str().unwrap());

        // What a branch says itself is newer than the packed list; without a branch there is only the commit.
        let newer = COMMIT.replace('0', "f");
        fs::write(git.join("refs/heads/main"), format!("{newer}\n")).unwrap();
        assert_eq!(Repository::around(&root).unwrap().described()["revision"], newer.as_str());
        fs::write(git.join("HEAD"), format!("{COMMIT}\n")).unwrap();
        let described = Repository::around(&root).unwrap().described();
        assert!(described["branch"].is_null() && described["revision"] == COMMIT, "{described}");

        // A working tree of its own.
        let other = directory.path().join("other");
        fs::create_dir_all(git.join("worktrees/other")).unwrap();
        fs::create_dir_all(&other).unwrap();
        fs::write(other.join(".git"), format!("gitdir: {}\n", git.join("worktrees/other").display())).unwrap();
        fs::write(git.join("worktrees/other/HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(git.join("worktrees/other/commondir"), "../..\n").unwrap();
        let described = Repository::around(&other).unwrap().described();
        assert_eq!((&described["revision"], &described["remote"]), (&newer.into(), &"origin".into()));
        assert!(Repository::around(directory.path()).is_none());
    }

    #[test]
    fn a_pipe_is_no_repository_and_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join(".git");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(Repository::around(directory.path()).is_none());
        fs::remove_file(&pipe).unwrap();
        fs::create_dir(&pipe).unwrap();
        fs::write(pipe.join("HEAD"), format!("{COMMIT}\n")).unwrap();
        mknodat(CWD, pipe.join("config"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let described = Repository::around(directory.path()).unwrap().described();
        assert!(described["url"].is_null() && described["revision"] == COMMIT, "{described}");
    }

    #[test]
    fn an_address_has_no_password() {
        for (url, shown) in [
            ("https://token@example.com/a@b", "https://example.com/a@b"),
            ("ssh://git@example.com:22/x", "ssh://example.com:22/x"),
            ("git@example.com:a/b.git", "git@example.com:a/b.git"),
            ("../up", "../up"),
        ] {
            assert_eq!(public(url), shown);
        }
    }
}
