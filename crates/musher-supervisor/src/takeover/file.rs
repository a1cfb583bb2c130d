//! What a file is, before it is run.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::{NOT_MUSHER, Refusal};

/// The beginning of an executable, as far as it tells for what machine it is: elf(5), `e_ident` to `e_machine`.
const HEADER: usize = 20;
const MAGIC: &[u8] = b"\x7fELF";

/// Opens the file if it can be an executable for this machine.
pub(super) fn open(path: &Path) -> Result<OwnedFd, Refusal> {
    // A named pipe must not hold us up.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| Refusal::new(format!("it cannot be opened: {error}"), "see the path"))?;
    let unreadable = |error: io::Error| Refusal::new(format!("it cannot be read: {error}"), NOT_MUSHER);
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(Refusal::new("it is a directory", NOT_MUSHER));
    }
    if !metadata.is_file() {
        return Err(Refusal::new("it is not a file", NOT_MUSHER));
    }
    if metadata.mode() & 0o111 == 0 {
        return Err(Refusal::new("nobody has the permission to execute it", "chmod +x, if it is the right file"));
    }
    let theirs = header(&file).map_err(unreadable)?;
    let own = File::open("/proc/self/exe").and_then(|own| header(&own)).map_err(unreadable)?;
    suits(&theirs, &own)?;
    Ok(file.into())
}

fn header(file: &File) -> io::Result<[u8; HEADER]> {
    let mut header = [0; HEADER];
    let mut read = 0;
    while read < HEADER {
        match file.read_at(&mut header[read..], read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(header)
}

fn suits(theirs: &[u8; HEADER], own: &[u8; HEADER]) -> Result<(), Refusal> {
    if theirs.starts_with(b"#!") {
        return Err(Refusal::new("it is a script", NOT_MUSHER));
    }
    if !theirs.starts_with(MAGIC) {
        return Err(Refusal::new("it is not an executable", NOT_MUSHER));
    }
    // Class and byte order, then the machine.
    if theirs[4..6] != own[4..6] || theirs[18..20] != own[18..20] {
        return Err(Refusal::new("it is an executable for another kind of machine", NOT_MUSHER));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> [u8; HEADER] {
        header(&File::open("/proc/self/exe").unwrap()).unwrap()
    }

    #[test]
    fn this_very_executable_suits() {
        suits(&own(), &own()).unwrap();
        assert!(open(&std::env::current_exe().unwrap()).is_ok());
    }

    #[test]
    fn other_machines_scripts_and_texts_do_not() {
        let mut other = own();
        other[18] ^= 1;
        let mut script = [b' '; HEADER];
        script[..9].copy_from_slice(b"#!/bin/sh");
        for (header, word) in
            [(other, "another kind of machine"), (script, "a script"), ([0; HEADER], "not an executable")]
        {
            assert!(suits(&header, &own()).unwrap_err().reason.contains(word));
        }
    }

    #[test]
    fn what_is_no_file_or_may_not_be_executed_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let text = directory.path().join("text");
        std::fs::write(&text, "text").unwrap();
        for (path, word) in [
            (directory.path(), "a directory"),
            (Path::new("/dev/null"), "not a file"),
            (text.as_path(), "permission"),
            (&directory.path().join("none"), "cannot be opened"),
        ] {
            let refusal = open(path).unwrap_err();
            assert!(refusal.reason.contains(word), "{path:?}: {refusal}");
        }
    }
}
