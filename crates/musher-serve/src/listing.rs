//! The page that lists a folder.

use std::fmt::Write;
use std::io;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::fs::{AtFlags, Dir, FileType, statat};

use crate::beneath::Beneath;

/// The most names of a folder that are shown.
const MOST: usize = 10_000;

/// What a segment of an address may consist of (RFC 3986).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

struct Entry {
    name: String,
    folder: bool,
    size: u64,
    changed: Option<u64>,
}

/// The page of a folder beneath the root. `address`: as it was asked for, decoded.
pub(crate) fn page(beneath: &Beneath, path: &Path, address: &str, dotfiles: bool) -> io::Result<String> {
    let (entries, more) = read(beneath, path, dotfiles)?;
    Ok(render(&entries, address, more))
}

/// Folders first, then by name; and whether there are more than are shown. What leads out of the root is left out.
fn read(beneath: &Beneath, path: &Path, dotfiles: bool) -> io::Result<(Vec<Entry>, bool)> {
    let folder = beneath.folder(path)?;
    let mut entries = Vec::new();
    let mut more = false;
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        // A name that is no text has no address that a browser could send.
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name == "." || name == ".." || (name.starts_with('.') && !dotfiles) {
            continue;
        }
        if entries.len() == MOST {
            more = true;
            break;
        }
        // It may have been removed meanwhile.
        let Ok(mut found) = statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
        if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
            let Ok(target) = beneath.target(&path.join(name)) else { continue };
            found = target;
        }
        let folder = match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => true,
            FileType::RegularFile => false,
            _ => continue,
        };
        let size = u64::try_from(found.st_size).unwrap_or_default();
        entries.push(Entry { name: name.to_owned(), folder, size, changed: u64::try_from(found.st_mtime).ok() });
    }
    entries.sort_by(|one, other| other.folder.cmp(&one.folder).then_with(|| one.name.cmp(&other.name)));
    Ok((entries, more))
}

fn render(entries: &[Entry], address: &str, more: bool) -> String {
    let title = escaped(address);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\n\
         <style>body{{font:15px/1.6 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em;\
         color-scheme:light dark}}table{{border-collapse:collapse;width:100%}}td{{padding:0 1em 0 0}}\
         td+td{{text-align:right;white-space:nowrap}}</style></head>\n<body><h1>{title}</h1>\n<table>\n"
    );
    if address != "/" {
        page.push_str("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    }
    for Entry { name, folder, size, changed } in entries {
        let slash = if *folder { "/" } else { "" };
        let address = utf8_percent_encode(name, SEGMENT);
        let size = if *folder { String::new() } else { size.to_string() };
        let changed = changed
            .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
            // Years of five digits have no form in HTTP.
            .filter(|time| *time < UNIX_EPOCH + Duration::from_secs(253_402_300_800))
            .map(httpdate::fmt_http_date)
            .unwrap_or_default();
        // "./": a name like "javascript:" is one of a file here.
        let _ = writeln!(
            page,
            "<tr><td><a href=\"./{address}{slash}\">{}{slash}</a></td><td>{size}</td><td>{changed}</td></tr>",
            escaped(name)
        );
    }
    page.push_str("</table>\n");
    if more {
        let _ = writeln!(page, "<p>Only the first {MOST} names that were found.</p>");
    }
    page.push_str("</body></html>\n");
    page
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(character),
        }
    }
    out
}
