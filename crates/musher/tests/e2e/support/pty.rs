//! A command on a terminal of its own, and what its user sees there.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::{PATIENCE, command, wait_for};

/// A command and its terminal. Dropping it kills the command.
pub(crate) struct Pty {
    keyboard: File,
    line: File,
    child: Child,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Pty {
    /// Starts the command on a terminal of 80 columns and 24 lines.
    #[track_caller]
    pub(crate) fn start(wanted: &Command) -> Pty {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let flags = i32::try_from((OFlags::NOCTTY | OFlags::CLOEXEC).bits()).unwrap();
        let line = File::options().read(true).write(true).custom_flags(flags).open(path).unwrap();
        tcsetwinsize(&master, size(80, 24)).unwrap();
        // Without a session of its own it would not hear of a change of size.
        let mut command = command("setsid");
        command.arg("--ctty").arg(wanted.get_program()).args(wanted.get_args());
        for (key, value) in wanted.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command.env("TERM", "xterm-256color").current_dir(wanted.get_current_dir().unwrap());
        let end = || Stdio::from(OwnedFd::from(line.try_clone().unwrap()));
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(count(24), count(80), 0)));
        let mut seen = File::from(master.try_clone().unwrap());
        let drawn = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Ends with an error when nobody has the other side any more.
            while let Ok(count @ 1..) = seen.read(&mut bytes) {
                drawn.lock().unwrap().process(&bytes[..count]);
            }
        });
        Pty { keyboard: File::from(master), line, child, screen }
    }

    /// Types.
    #[track_caller]
    pub(crate) fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// What is on the screen.
    pub(crate) fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until this is on the screen.
    #[track_caller]
    pub(crate) fn shows(&self, what: &str) {
        if musher_bench::wait::until(PATIENCE, || self.text().contains(what).then_some(())).is_none() {
            panic!("not shown: {what:?}; but:\n{}", self.text());
        }
    }

    /// Waits until this is not on the screen any more.
    #[track_caller]
    pub(crate) fn hides(&self, what: &str) {
        if musher_bench::wait::until(PATIENCE, || (!self.text().contains(what)).then_some(())).is_none() {
            panic!("still shown: {what:?}:\n{}", self.text());
        }
    }

    /// Gives the terminal another size.
    #[track_caller]
    pub(crate) fn resize(&self, columns: u16, lines: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(count(lines), count(columns));
        tcsetwinsize(&self.keyboard, size(columns, lines)).unwrap();
    }

    /// Process id of the command.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of the command; its exit code, if it was not killed.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let status = wait_for("the command on the terminal has ended", || self.child.try_wait().unwrap());
        status.code()
    }

    /// Whether the terminal is as a shell wants it: lines are edited and echoed, the cursor is shown, the mouse is free.
    #[track_caller]
    pub(crate) fn is_restored(&self) {
        let modes = tcgetattr(&self.line).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG), "{modes:?}");
        wait_for("the screen is that of before", || {
            let parser = self.screen.lock().unwrap();
            let screen = parser.screen();
            let free = screen.mouse_protocol_mode() == vt100::MouseProtocolMode::None;
            (free && !screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste()).then_some(())
        });
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16, lines: u16) -> Winsize {
    Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn count(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}
