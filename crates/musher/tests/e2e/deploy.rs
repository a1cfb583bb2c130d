//! `musher deploy`: real repositories, on this machine; what ssh would be given is looked at by a stand-in that runs it as
//! a login shell would.

use std::path::{Path, PathBuf};

use crate::support::{Home, command};

const FILE: &str = "ecosystem.config.json";

struct Ground {
    home: Home,
    work: PathBuf,
    place: PathBuf,
}

impl Ground {
    /// A program in a repository of its own, pushed to a bare one.
    fn new(keys: &str) -> Ground {
        let home = Home::new();
        let directory = home.app_directory();
        let (bare, place) = (directory.join("bare.git"), directory.join("it's here"));
        git(&directory, &["init", "-q", "--bare", "-b", "main", "bare.git"]);
        git(&directory, &["clone", "-q", "bare.git", "work"]);
        let work = directory.join("work");
        let repo = bare.to_str().unwrap();
        let path = place.to_str().unwrap();
        let file = format!(
            r#"{{"apps":[{{"script":"server.js"}}],"deploy":{{"production":{{"repo":"{repo}","path":"{path}",
               "ref":"origin/main",{keys}}}}}}}"#
        );
        std::fs::write(work.join(FILE), file).unwrap();
        let ground = Ground { home, work, place };
        ground.commit("one");
        ground
    }

    /// A commit that is pushed.
    fn commit(&self, version: &str) {
        std::fs::write(self.work.join("version"), version).unwrap();
        git(&self.work, &["add", "-A"]);
        git(&self.work, &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", version]);
        git(&self.work, &["push", "-q", "origin", "HEAD:main"]);
        git(&self.work, &["branch", "-q", "-u", "origin/main"]);
    }

    fn deploy(&self, words: &[&str]) -> crate::support::Output {
        let mut line = self.home.command(["deploy", FILE, "production"]);
        line.args(words).current_dir(&self.work);
        crate::support::Background::of(line).wait()
    }

    fn deployed(&self) -> String {
        std::fs::read_to_string(self.place.join("current/version")).unwrap()
    }
}

fn git(at: &Path, words: &[&str]) {
    assert!(command("git").args(words).current_dir(at).status().unwrap().success(), "git {words:?}");
}

#[test]
fn a_program_is_set_up_deployed_and_brought_back() {
    let ground = Ground::new(
        r#""host":"localhost","env":{"WORD":"it's $HOME"},"post-deploy":"echo \"$WORD\" > ../told","pre-setup":"cat""#,
    );
    ground.deploy(&[]).failed(1, &["is not set up"]);
    ground.deploy(&["setup"]).succeeded();
    ground.deploy(&["setup"]).failed(1, &["is set up already"]);
    ground.deploy(&[]).succeeded();
    assert_eq!(ground.deployed(), "one");
    assert_eq!(std::fs::read_to_string(ground.place.join("told")).unwrap(), "it's $HOME\n");
    ground.commit("two");
    ground.deploy(&["update"]).succeeded();
    assert_eq!(ground.deployed(), "two");
    ground.commit("three");
    ground.deploy(&["main"]).succeeded();
    assert_eq!(ground.deployed(), "three", "a branch is that of the repository");
    ground.deploy(&["revert", "1"]).succeeded();
    assert_eq!(ground.deployed(), "two");
    ground.deploy(&["revert", "9"]).failed(1, &["not deployed to so often"]);
    let commits = ground.deploy(&["list"]).succeeded().out_and_err();
    assert!(commits.contains("  4\t"), "{commits}");
    assert!(ground.deploy(&["exec", "cat version"]).succeeded().out_and_err().contains("two"));
}

#[test]
fn what_is_not_pushed_is_told_instead_of_left_behind() {
    let ground = Ground::new(r#""host":"localhost","post-deploy":"true""#);
    ground.deploy(&["setup"]).succeeded();
    std::fs::write(ground.work.join("version"), "mine").unwrap();
    ground.deploy(&[]).failed(1, &["changes that are not committed", "--force"]);
    ground.deploy(&["--force"]).succeeded();
    assert_eq!(ground.deployed(), "one");
}

#[test]
fn ssh_is_told_where_and_the_script_is_in_no_command_line() {
    let keys = r#""host":["a","b"],"user":"ann","port":2222,"ssh_options":"StrictHostKeyChecking=no",
        "env":{"SECRET":"xyzzy"},"post-deploy":"test ${#SECRET} = 5""#;
    let ground = Ground::new(keys);
    let directory = ground.home.app_directory();
    let told = directory.join("told");
    // What sshd does with the last word: the account's shell runs it. The second machine is out of reach.
    let stand_in = format!(
        "#!/bin/sh\necho \"$*\" >> '{}'\ncase \"$*\" in *ann@b*) exit 255;; esac\nfor last; do :; done\nexec sh -c \"$last\"\n",
        told.display()
    );
    let ssh = ground.home.write("bin/ssh", &stand_in);
    assert!(command("chmod").arg("755").arg(&ssh).status().unwrap().success());
    let path = format!("{}:{}", ssh.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let ground = Ground { home: ground.home.variable("PATH", path), ..ground };
    ground.deploy(&["setup"]).failed(1, &["b cannot be reached by ssh", "Done before: a; not begun: none"]);
    let lines = std::fs::read_to_string(&told).unwrap();
    assert!(lines.starts_with("-o StrictHostKeyChecking=no -p 2222 -- ann@a bash -s\n"), "{lines}");
    ground.deploy(&[]).failed(1, &["b cannot be reached"]);
    assert_eq!(ground.deployed(), "one");
    assert!(!std::fs::read_to_string(&told).unwrap().contains("xyzzy"));
    let shown = ground.deploy(&["--dry-run"]).succeeded().out_and_err();
    assert!(shown.contains("ref='origin/main'") && !shown.contains("xyzzy"), "{shown}");
}

#[test]
fn a_file_that_says_it_wrong_is_told_all_at_once() {
    let ground = Ground::new(r#""hots":"a","port":"x""#);
    ground.deploy(&[]).failed(3, &["unknown key \"hots\"", "did you mean \"host\"", "port", "host: is missing"]);
    let mut line = ground.home.command(["deploy", FILE, "producton"]);
    line.current_dir(&ground.work);
    crate::support::Background::of(line)
        .wait()
        .failed(3, &["no environment \"producton\"", "did you mean \"production\""]);
}
