//! Another user than root, who has no rights but its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use super::Home;

/// An id without rights or files.
const NOBODY: u32 = 65_534;

impl Home {
    /// A home of an ordinary user: of nobody when we are root, else of ourselves.
    #[track_caller]
    pub(crate) fn of_an_ordinary_user() -> Home {
        let home = Home::new();
        if !rustix::process::geteuid().is_root() {
            return home;
        }
        // The build may be where only root can look.
        let executable = home.directory().join("musher");
        let built = env!("CARGO_BIN_EXE_musher");
        fs::hard_link(built, &executable).or_else(|_| fs::copy(built, &executable).map(drop)).unwrap();
        for path in [home.directory().to_owned(), home.app_directory()] {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let id = NOBODY.to_string();
        let rights = ["--clear-groups", "--no-new-privs", "--bounding-set=-all", "--"];
        let user = ["setpriv", "--reuid", &id, "--regid", &id].into_iter().chain(rights).map(str::to_owned);
        let user: Vec<String> = user.collect();
        home.executable(executable).under(user)
    }

    /// A program of the tests' own, with what it needs of them, where the user of this home can read it.
    #[track_caller]
    pub(crate) fn program(&self, files: &[&str]) -> String {
        for file in files {
            let copy = self.app_directory().join(file);
            fs::copy(super::apps::app(file), &copy).unwrap();
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o644)).unwrap();
        }
        self.app_directory().join(files[0]).display().to_string()
    }
}
