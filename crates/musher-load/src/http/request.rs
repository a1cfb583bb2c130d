//! The bytes of a request. They are made once, before the run; with cookies, once for each request.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::plan::{Plan, Template};

/// What every request says, when nothing else is asked for.
const AGENT: &str = concat!("musher-load/", env!("CARGO_PKG_VERSION"));

/// Base64 with padding.
pub(crate) fn base64_of(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The head without its last, empty line: cookies may follow.
pub(crate) fn head(plan: &Plan, template: &Template) -> String {
    let Template { url, method, headers, body, .. } = template;
    let is_proxied = plan.proxy.is_some() && !url.scheme.is_secure();
    let target = if is_proxied { url.to_string() } else { url.path.clone() };
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    let mut line = |name: &str, value: &str| {
        let given = plan.headers.iter().chain(headers).any(|(other, _)| other.eq_ignore_ascii_case(name));
        if !given {
            let _ = write!(head, "{name}: {value}\r\n");
        }
    };
    line("Host", &url.authority());
    line("User-Agent", plan.agent.as_deref().unwrap_or(AGENT));
    line("Accept", "*/*");
    if let Some(encoding) = &plan.accept_encoding {
        line("Accept-Encoding", encoding);
    }
    if let Some(login) = url.login.as_deref().or(plan.login.as_deref()) {
        line("Authorization", &format!("Basic {}", base64_of(login.as_bytes())));
    }
    if let (true, Some(login)) = (is_proxied, plan.proxy.as_ref().and_then(|proxy| proxy.login.as_deref())) {
        line("Proxy-Authorization", &format!("Basic {}", base64_of(login.as_bytes())));
    }
    if !body.is_empty() || matches!(method.as_str(), "POST" | "PUT" | "PATCH") {
        line("Content-Length", &body.len().to_string());
    }
    if let (false, Some(kind)) = (body.is_empty(), &template.content_type) {
        line("Content-Type", kind);
    }
    line("Connection", if plan.keep_alive { "keep-alive" } else { "close" });
    for (name, value) in plan.headers.iter().chain(headers) {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head
}
