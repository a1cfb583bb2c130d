//! Lists of URLs: `URL`, `URL POST a=1&b=2`, `URL PUT <file`, variables, comments.

use std::collections::BTreeMap;
use std::io;

use super::Fault;
use super::variables::{Variables, assignment};
use crate::plan::Template;
use crate::url::{Scheme, Url};

/// Methods that a line may name.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "SEND"];
/// The most lines of a file.
const MOST_LINES: usize = 1_000_000;
/// The most errors that are told.
const MOST_FAULTS: usize = 20;

/// Where a list gets from what is not in it.
pub struct UrlFile<'e> {
    /// Variables of the environment.
    pub environment: &'e dyn Fn(&str) -> Option<String>,
    /// The content of a file that a line names.
    pub read: &'e dyn Fn(&str) -> io::Result<Vec<u8>>,
    /// What bodies are, unless a file's extension tells.
    pub content_type: Option<&'e str>,
}

/// Reads a list.
///
/// # Errors
///
/// Every line that is none, and a list without a URL.
pub fn parse(text: &str, file: &UrlFile<'_>) -> Result<Vec<Template>, Vec<Fault>> {
    let mut variables = Variables { own: BTreeMap::new(), environment: file.environment };
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let read = if number >= MOST_LINES {
            Err(format!("more than {MOST_LINES} lines"))
        } else if let Some((name, value)) = assignment(line) {
            variables.expand(value).map(|value| drop(variables.own.insert(name.to_owned(), value)))
        } else {
            variables.expand(line).and_then(|line| template(&line, file)).map(|template| found.push(template))
        };
        if let Err(what) = read {
            faults.push(Fault { line: number + 1, what });
            if faults.len() == MOST_FAULTS || number >= MOST_LINES {
                break;
            }
        }
    }
    if found.is_empty() && faults.is_empty() {
        faults.push(Fault { line: 1, what: "there is no URL in this file".into() });
    }
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

fn template(line: &str, file: &UrlFile<'_>) -> Result<Template, String> {
    // Quotes around a URL are for the shell of another day.
    let line = line.trim_matches('"');
    let (url, rest) = line.split_once(char::is_whitespace).map_or((line, ""), |(url, rest)| (url, rest.trim()));
    let mut template = Template::get(Url::parse(url).map_err(|error| error.to_string())?);
    if rest.is_empty() {
        return Ok(template);
    }
    let (method, body) =
        rest.split_once(char::is_whitespace).map_or((rest, ""), |(method, body)| (method, body.trim()));
    if !METHODS.contains(&method) {
        return Err(format!("{method:?} is no method: one of {}", METHODS.join(", ")));
    }
    if template.url.scheme.is_websocket() || method == "SEND" {
        template.url.scheme = match template.url.scheme {
            Scheme::Http => Scheme::Ws,
            Scheme::Https => Scheme::Wss,
            already => already,
        };
    } else {
        method.clone_into(&mut template.method);
    }
    if let Some(path) = body.strip_prefix('<') {
        let path = path.trim();
        template.body = (file.read)(path).map_err(|error| format!("{path}: {error}"))?;
        template.content_type = Some(file.content_type.map_or_else(|| by_extension(path).to_owned(), str::to_owned));
    } else if !body.is_empty() {
        template.body = body.as_bytes().to_vec();
        template.content_type = Some(file.content_type.unwrap_or("application/x-www-form-urlencoded").to_owned());
    }
    Ok(template)
}

fn by_extension(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase().as_str() {
        "json" => "application/json",
        "xml" => "application/xml",
        "html" | "htm" => "text/html",
        "txt" => "text/plain",
        "csv" => "text/csv",
        "css" => "text/css",
        "js" => "text/javascript",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use proptest::prelude::*;

    use super::{UrlFile, parse};
    use crate::plan::Template;
    use crate::url::Scheme;

    fn read(text: &str) -> Result<Vec<Template>, Vec<String>> {
        let environment = |name: &str| (name == "PORT").then(|| "81".to_owned());
        let open = |path: &str| match path {
            "a.json" => Ok(b"{}".to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let file = UrlFile { environment: &environment, read: &open, content_type: None };
        parse(text, &file).map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_list_of_siege_is_read_as_it_is() {
        let list = "\
# a comment
HOST=www.example.com
BASE = http://${HOST}:$(PORT)

www.example.com
$(BASE)/a POST a=1&b=2
$(BASE)/b PUT <a.json
$(BASE)/price?\\$=1
ws://h/chat SEND hello you
https://h/x DELETE
";
        let found = read(list).unwrap();
        let line = |template: &Template| format!("{} {}", template.method, template.url);
        assert_eq!(
            found.iter().map(line).collect::<Vec<_>>(),
            [
                "GET http://www.example.com/",
                "POST http://www.example.com:81/a",
                "PUT http://www.example.com:81/b",
                "GET http://www.example.com:81/price?$=1",
                "GET ws://h/chat",
                "DELETE https://h/x",
            ]
        );
        assert_eq!(found[1].body, b"a=1&b=2");
        assert_eq!(found[1].content_type.as_deref(), Some("application/x-www-form-urlencoded"));
        assert_eq!(
            (found[2].body.as_slice(), found[2].content_type.as_deref()),
            (&b"{}"[..], Some("application/json"))
        );
        assert_eq!((found[4].body.as_slice(), found[4].url.scheme), (&b"hello you"[..], Scheme::Ws));
    }

    #[test]
    fn every_wrong_line_is_told_with_its_number() {
        let faults = read("http://h/\nftp://h/\nhttp://h POSTE x\n$(NONE)\n$(HOST\nhttp://h PUT <none").unwrap_err();
        assert_eq!(faults.len(), 5, "{faults:?}");
        for (fault, begin) in faults.iter().zip([
            "line 2: the scheme",
            "line 3: \"POSTE\"",
            "line 4: there is no variable",
            "line 5: a variable",
            "line 6: none",
        ]) {
            assert!(fault.starts_with(begin), "{fault}");
        }
        assert_eq!(read("# nothing\n").unwrap_err().len(), 1);
    }

    proptest! {
        #[test]
        fn no_file_makes_it_stumble(text in "(\\PC{0,30}\n){0,6}") {
            if let Ok(found) = read(&text) {
                prop_assert!(!found.is_empty());
            }
        }
    }
}
