//! `musher startup`, `musher unstartup`

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use musher_process::lookup::{UserEntry, lookup_user};
use musher_supervisor::home::{Home, HomeError};
use serde_json::json;

use crate::args::Cli;
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::{note, sanitize};
use crate::systemd::args::{StartupArgs, UnitArgs};
use crate::systemd::systemctl::{self, Said};
use crate::systemd::unit::{self, Unit};

/// How long systemd may take: it waits until the apps are started.
const PATIENCE: Duration = Duration::from_secs(600);

/// Makes the unit, and lets systemd start it now and at boot.
pub(crate) async fn startup(cli: &Cli, args: &StartupArgs) -> Result<(), Failure> {
    let place = Place::of(&args.unit)?;
    let unit = Unit {
        user: args.unit.user,
        run_as: place.user.name.clone(),
        executable: text(&executable()?)?,
        home: text(&home(cli, &args.unit, &place.user)?)?,
        path: search_path(),
    };
    let written = unit.text()?;
    if args.print {
        return print(args, &place, &unit, &written);
    }
    place.check_permission(&unit)?;
    check_booted(args.unit.user)?;
    check_owner(&unit, &place.user)?;
    place.check_ours(Some(&unit.home))?;
    place.write(&written)?;
    place.tell_systemd(&["daemon-reload"])?;
    place.tell_systemd(&["enable", &place.unit])?;
    place.tell_systemd(&["start", &place.unit])?;
    let lingers = !args.unit.user || linger();
    if args.unit.json {
        let document = json!({
            "unit": place.unit, "path": place.path(), "user": unit.user, "run_as": unit.run_as, "home": unit.home,
            "executable": unit.executable, "enabled": true, "started": true, "at_boot": lingers,
        });
        writeln!(std::io::stdout().lock(), "{document:#}")?;
        return Ok(());
    }
    note(&format!("wrote {}, enabled and started {}", place.path().display(), place.unit));
    if !lingers {
        note("it starts when you log in; at boot after `sudo loginctl enable-linger $USER`");
    }
    Ok(())
}

/// Removes the unit. What runs runs on.
pub(crate) async fn unstartup(args: &UnitArgs) -> Result<(), Failure> {
    let place = Place::of(args)?;
    let path = place.path();
    if !path.exists() {
        if args.json {
            writeln!(std::io::stdout().lock(), "{:#}", json!({ "unit": place.unit, "removed": false }))?;
        } else {
            note(&format!("there is no {}; nothing to do", path.display()));
        }
        return Ok(());
    }
    if !args.user && !is_root() {
        let name = place.name();
        return Err(Failure::environment(format!("only root can remove {}", path.display()))
            .with_hint(format!("sudo {} unstartup --name {name}", shell_word(&text(&executable()?)?))));
    }
    place.check_ours(None)?;
    let runs = systemctl::is_booted() || args.user;
    if runs {
        place.tell_systemd(&["disable", &place.unit])?;
    }
    fs::remove_file(&path).map_err(|error| Failure::environment(format!("{}: {error}", path.display())))?;
    if runs {
        place.tell_systemd(&["daemon-reload"])?;
    }
    if args.json {
        writeln!(std::io::stdout().lock(), "{:#}", json!({ "unit": place.unit, "path": path, "removed": true }))?;
        return Ok(());
    }
    let scope = if args.user { "systemctl --user" } else { "systemctl" };
    note(&format!("removed {}; what runs runs on until `{scope} stop {}`", path.display(), place.unit));
    Ok(())
}

/// Where a unit is.
struct Place {
    directory: PathBuf,
    /// Its name, with `.service`.
    unit: String,
    /// Of the user's own systemd.
    own: bool,
    user: UserEntry,
}

impl Place {
    fn of(args: &UnitArgs) -> Result<Place, Failure> {
        let us = rustix::process::geteuid().as_raw().to_string();
        let asked = args.run_as.as_ref().unwrap_or(&us);
        let found = lookup_user(asked)
            .map_err(|error| Failure::environment(format!("the users of this system cannot be read: {error}")))?;
        let user = found.ok_or_else(|| {
            Failure::new(exit_codes::USAGE, format!("there is no user {:?}", sanitize(asked)))
                .with_hint("`getent passwd` shows them")
        })?;
        let name = match &args.name {
            Some(name) => unit::checked_name(name)?.to_owned(),
            None if args.user || user.uid == 0 => "musher".to_owned(),
            None => unit::checked_name(&format!("musher-{}", user.name))?.to_owned(),
        };
        let directory = if args.user { own_units(&user) } else { "/etc/systemd/system".into() };
        Ok(Place { directory, unit: format!("{name}.service"), own: args.user, user })
    }

    fn path(&self) -> PathBuf {
        self.directory.join(&self.unit)
    }

    fn name(&self) -> &str {
        self.unit.trim_end_matches(".service")
    }

    /// An ordinary user cannot write a unit of the system, but can be told how it is done.
    fn check_permission(&self, unit: &Unit) -> Result<(), Failure> {
        if self.own || is_root() {
            return Ok(());
        }
        let words = [
            "sudo".into(),
            "env".into(),
            shell_word(&format!("PATH={}", unit.path)),
            shell_word(&unit.executable),
            "--home".into(),
            shell_word(&unit.home),
            "startup".into(),
            "--run-as".into(),
            shell_word(&unit.run_as),
            "--name".into(),
            self.name().to_owned(),
        ];
        Err(Failure::environment("only root can make a unit of the system")
            .with_hint(format!("{}\n      or, for a unit of your own: musher startup --user", words.join(" "))))
    }

    /// Nobody else's unit is written over or removed.
    fn check_ours(&self, home: Option<&str>) -> Result<(), Failure> {
        let path = self.path();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Failure::environment(format!("{}: {error}", path.display()))),
        };
        let whose = match unit::home_of(&text) {
            Some(there) if home.is_none_or(|home| home == there) => return Ok(()),
            Some(there) => format!("is the unit of another home, {}", sanitize(there)),
            None => "was not made by musher".to_owned(),
        };
        Err(Failure::environment(format!("{} {whose}", path.display()))
            .with_hint("give another name with --name, or remove that unit first"))
    }

    /// A power cut leaves the old unit or this one.
    fn write(&self, text: &str) -> Result<(), Failure> {
        let (path, new) = (self.path(), self.directory.join(format!(".{}.new", self.unit)));
        let write = || {
            fs::create_dir_all(&self.directory)?;
            let mut file = fs::File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            fs::File::open(&self.directory)?.sync_all()
        };
        write().map_err(|error: std::io::Error| {
            let _ = fs::remove_file(&new);
            Failure::environment(format!("{} cannot be written: {error}", path.display()))
        })
    }

    fn tell_systemd(&self, words: &[&str]) -> Result<(), Failure> {
        let Said { ok, err, .. } = systemctl::call(self.own, words, PATIENCE)?;
        if ok {
            return Ok(());
        }
        let scope = if self.own { "systemctl --user" } else { "systemctl" };
        let said = sanitize(err.trim());
        let hint = match (words.first(), self.own) {
            (Some(&"start"), true) => format!("journalctl --user -u {}", self.unit),
            (Some(&"start"), false) => format!("journalctl -u {}", self.unit),
            (_, true) => "log in as that user (XDG_RUNTIME_DIR has to be set; `su` and `sudo` do not)".to_owned(),
            (_, false) => "see `systemctl status`".to_owned(),
        };
        Err(Failure::new(exit_codes::FAILED, format!("`{scope} {}` failed: {said}", words.join(" "))).with_hint(hint))
    }
}

fn print(args: &StartupArgs, place: &Place, unit: &Unit, written: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if args.unit.json {
        let document = json!({
            "unit": place.unit, "path": place.path(), "user": unit.user, "run_as": unit.run_as, "home": unit.home,
            "executable": unit.executable, "text": written,
        });
        writeln!(out, "{document:#}")?;
    } else {
        out.write_all(written.as_bytes())?;
    }
    out.flush()?;
    Ok(())
}

fn executable() -> Result<PathBuf, Failure> {
    let path = std::env::current_exe()
        .map_err(|error| Failure::environment(format!("cannot tell where the executable of musher is: {error}")))?;
    if !path.exists() {
        return Err(Failure::environment(format!("{}: the executable of this command is gone", path.display())));
    }
    Ok(path)
}

/// The home that was asked for, else that of the user whom the unit runs as.
fn home(cli: &Cli, args: &UnitArgs, user: &UserEntry) -> Result<PathBuf, Failure> {
    let in_the_list = || user.home.clone().map(PathBuf::into_os_string);
    let of_user = match &args.run_as {
        Some(_) => in_the_list(),
        None => std::env::var_os("HOME").or_else(in_the_list),
    };
    // A home that the caller has for itself is not meant when the unit runs as somebody else.
    let asked = cli.home.clone().map(Into::into);
    let asked = asked.or_else(|| args.run_as.is_none().then(|| std::env::var_os("MUSHER_HOME")).flatten());
    Ok(Home::resolve(asked, of_user)?)
}

/// The daemon refuses a home that belongs to somebody else: better told now.
fn check_owner(unit: &Unit, user: &UserEntry) -> Result<(), Failure> {
    match fs::metadata(&unit.home) {
        Ok(found) if !unit.user && found.uid() != user.uid => {
            Err(HomeError::ForeignOwner { path: unit.home.clone().into(), owner: found.uid(), us: user.uid }.into())
        }
        _ => Ok(()),
    }
}

fn check_booted(own: bool) -> Result<(), Failure> {
    // The user's systemd may run without the system's, and says itself that it does not.
    if own || systemctl::is_booted() {
        return Ok(());
    }
    Err(Failure::environment("systemd does not run this machine")
        .with_hint("in a container: `musher run team.toml`; `musher startup --print` shows the unit"))
}

/// Whether the user's systemd starts at boot, after having asked for it.
fn linger() -> bool {
    systemctl::run("loginctl", &["enable-linger"], Duration::from_secs(30)).is_ok_and(|said| said.ok)
}

/// Where the user's own units are.
fn own_units(user: &UserEntry) -> PathBuf {
    let home = || {
        let home = std::env::var_os("HOME").map(PathBuf::from).or_else(|| user.home.clone());
        home.unwrap_or_default().join(".config")
    };
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    config.unwrap_or_else(home).join("systemd/user")
}

fn search_path() -> String {
    let path = std::env::var_os("PATH").and_then(|path| path.into_string().ok()).filter(|path| !path.is_empty());
    path.unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn text(path: &Path) -> Result<String, Failure> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::new(exit_codes::USAGE, format!("{}: the path has to be valid UTF-8", path.display())))
}

/// A word as a shell reads it.
fn shell_word(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-=:+,@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::shell_word;

    #[test]
    fn a_command_to_be_typed_is_read_as_it_is_meant() {
        assert_eq!(shell_word("PATH=/usr/bin:/bin"), "PATH=/usr/bin:/bin");
        assert_eq!(shell_word("/home/ann's $x"), r"'/home/ann'\''s $x'");
        assert_eq!(shell_word(""), "''");
    }
}
