//! `musher web`: the JSON of `pm2 web` and a page, without secrets, for this machine only.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::support::apps::app;
use crate::support::{Home, free_port};

/// The head and the body of what `GET path` gives, with these headers.
fn ask(port: u16, path: &str, headers: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn browsers_get_a_page_and_others_the_json_of_pm2_without_secrets() {
    let home = Home::new();
    let port = free_port();
    home.ok(["start", &app("worker.py"), "--name", "jobs", "--env", "PASSWORD=sesame"]);
    home.run(["web", "--host", "0.0.0.0"]).failed(2, &["other machines"]);
    home.ok(["web", "--port", &port.to_string()]);

    let (head, body) = ask(port, "/", "host: localhost\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("application/json"), "{head}");
    assert!(!head.to_lowercase().contains("access-control"), "{head}");
    assert!(!body.contains("sesame"), "{body}");
    let document: Value = serde_json::from_str(&body).unwrap();
    let worker = &document["processes"][0];
    assert_eq!((&worker["name"], &worker["pm2_env"]["status"]), (&"jobs".into(), &"online".into()));
    assert_eq!(worker["pid"], home.pids("jobs")[0]);
    assert!(document["monit"]["total_mem"].as_u64() > Some(1 << 20), "{body}");
    assert_eq!(document["processes"][1]["name"], "musher-web");

    let (head, page) = ask(port, "/", "host: 127.0.0.1\r\naccept: text/html\r\n");
    assert!(head.contains("text/html") && head.contains("default-src 'none'"), "{head}");
    assert!(page.contains("/page.js") && !page.contains("//"), "nothing comes from elsewhere: {page}");
    assert_eq!(ask(port, "/nothing", "host: localhost\r\n").1, r#"{"err":"404"}"#);
    assert!(ask(port, "/", "host: evil.example\r\n").0.starts_with("HTTP/1.1 403 "), "a name may point anywhere");

    home.kill_supervisor();
    home.status();
    assert!(ask(port, "/", "host: localhost\r\n").0.starts_with("HTTP/1.1 200 "));
    home.ok(["delete", "musher-web"]);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}
