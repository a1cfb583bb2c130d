//! Sites as browsers and others see them: real files, real answers.

#![expect(clippy::unwrap_used, reason = "these are tests, also where they are functions of their own")]

use std::io::Read;
use std::os::unix::fs::symlink;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use musher_serve::Site;
use tempfile::TempDir;
use tower_service::Service;

const LONG: usize = 20_000;

fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("sub/empty")).unwrap();
    std::fs::create_dir_all(root.join(".well-known")).unwrap();
    std::fs::write(dir.path().join("secret.txt"), "secret").unwrap();
    std::fs::write(root.join("index.html"), "<h1>home</h1>").unwrap();
    std::fs::write(root.join("app.js"), "x".repeat(LONG)).unwrap();
    std::fs::write(root.join("sub/page.html"), "page").unwrap();
    std::fs::write(root.join("sub/<b>&\"'.txt"), "odd").unwrap();
    std::fs::write(root.join(".env"), "PASSWORD=1").unwrap();
    std::fs::write(root.join(".well-known/security.txt"), "Contact: us").unwrap();
    std::fs::write(root.join("pre.css"), "plain").unwrap();
    std::fs::write(root.join("pre.css.br"), "brotli").unwrap();
    symlink("../secret.txt", root.join("out.txt")).unwrap();
    dir
}

fn site(dir: &TempDir) -> Site {
    Site::new(dir.path().join("root")).unwrap()
}

async fn ask(router: &Router, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
    let response = router.clone().call(request).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

async fn get(router: &Router, path: &str) -> (StatusCode, HeaderMap, String) {
    with(router, path, &[]).await
}

async fn with(router: &Router, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (status, headers, body) = ask(router, request.body(Body::empty()).unwrap()).await;
    (status, headers, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn files_come_with_their_type_and_are_asked_for_again_only_when_they_changed() {
    let dir = folder();
    let router = site(&dir).router();
    let (status, headers, body) = get(&router, "/").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "<h1>home</h1>"));
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(headers["cache-control"], "no-cache");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    let etag = headers["etag"].to_str().unwrap();
    let (status, _, body) = with(&router, "/", &[("if-none-match", etag)]).await;
    assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""));
    std::fs::write(dir.path().join("root/index.html"), "<h1>changed</h1>").unwrap();
    assert_eq!(with(&router, "/", &[("if-none-match", etag)]).await.2, "<h1>changed</h1>");
}

#[tokio::test]
async fn parts_of_a_file_can_be_asked_for() {
    let dir = folder();
    let router = site(&dir).router();
    let (status, headers, body) = with(&router, "/sub/page.html", &[("range", "bytes=1-2")]).await;
    assert_eq!((status, body.as_str()), (StatusCode::PARTIAL_CONTENT, "ag"));
    assert_eq!(headers["content-range"], "bytes 1-2/4");
    assert_eq!(with(&router, "/sub/page.html", &[("range", "bytes=9-")]).await.0, StatusCode::RANGE_NOT_SATISFIABLE);
}

#[tokio::test]
async fn what_can_be_compressed_is_and_what_is_compressed_is_sent() {
    let dir = folder();
    let router = site(&dir).router();
    let request = Request::get("/app.js").header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    let (_, headers, body) = ask(&router, request).await;
    assert_eq!(headers["content-encoding"], "gzip");
    let etag = headers["etag"].to_str().unwrap();
    assert!(etag.starts_with("W/"), "{etag}");
    let again = [("accept-encoding", "gzip"), ("if-none-match", etag)];
    assert_eq!(with(&router, "/app.js", &again).await.0, StatusCode::NOT_MODIFIED);
    let mut text = String::new();
    flate2::read::GzDecoder::new(body.as_slice()).read_to_string(&mut text).unwrap();
    assert_eq!(text.len(), LONG);
    let (_, headers, body) = with(&router, "/pre.css", &[("accept-encoding", "br, gzip")]).await;
    assert_eq!((headers["content-encoding"].to_str().unwrap(), body.as_str()), ("br", "brotli"));
    let plain = site(&dir).compress(false).router();
    assert!(!with(&plain, "/app.js", &[("accept-encoding", "gzip")]).await.1.contains_key("content-encoding"));
}

#[tokio::test]
async fn nothing_outside_of_the_folder_and_nothing_hidden_is_shown() {
    let dir = folder();
    let router = site(&dir).listings(true).single_page(false).router();
    for (path, status) in [
        ("/out.txt", StatusCode::NOT_FOUND),
        ("/../secret.txt", StatusCode::FORBIDDEN),
        ("/%2e%2e/secret.txt", StatusCode::FORBIDDEN),
        ("/sub/..%2f..%2fsecret.txt", StatusCode::FORBIDDEN),
        ("/.env", StatusCode::NOT_FOUND),
        ("/%2Eenv", StatusCode::NOT_FOUND),
        ("/%00", StatusCode::BAD_REQUEST),
        ("/%ff", StatusCode::BAD_REQUEST),
        ("//sub", StatusCode::NOT_FOUND),
        ("/.well-known/security.txt", StatusCode::OK),
        ("/none", StatusCode::NOT_FOUND),
    ] {
        let (found, _, body) = get(&router, path).await;
        assert_eq!(found, status, "{path}");
        assert!(!body.contains("secret") && !body.contains("PASSWORD"), "{path}: {body}");
    }
    assert_eq!(get(&site(&dir).dotfiles(true).router(), "/.env").await.2, "PASSWORD=1");
}

#[tokio::test]
async fn a_folder_is_listed_only_when_that_is_wanted() {
    let dir = folder();
    assert_eq!(get(&site(&dir).router(), "/sub/").await.0, StatusCode::NOT_FOUND);
    let router = site(&dir).listings(true).router();
    let (status, headers, page) = get(&router, "/sub/").await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (StatusCode::OK, "text/html; charset=utf-8"));
    assert!(page.contains("<a href=\"./empty/\">empty/</a>"), "{page}");
    assert!(page.contains("<a href=\"./%3Cb%3E%26%22%27.txt\">&lt;b&gt;&amp;&quot;&#39;.txt</a>"), "{page}");
    assert!(page.contains("<a href=\"../\">"), "{page}");
    std::fs::remove_file(dir.path().join("root/index.html")).unwrap();
    let (_, _, page) = get(&router, "/").await;
    assert!(page.contains("app.js") && !page.contains("out.txt") && !page.contains(".env"), "{page}");
    let (status, headers, _) = get(&router, "/sub").await;
    assert_eq!((status, headers["location"].to_str().unwrap()), (StatusCode::TEMPORARY_REDIRECT, "/sub/"));
}

#[tokio::test]
async fn a_folder_that_is_made_anew_is_served_at_once() {
    let dir = folder();
    let router = site(&dir).router();
    assert_eq!(get(&router, "/").await.2, "<h1>home</h1>");
    std::fs::rename(dir.path().join("root"), dir.path().join("old")).unwrap();
    assert_eq!(get(&router, "/").await.0, StatusCode::NOT_FOUND);
    std::fs::create_dir_all(dir.path().join("releases/7")).unwrap();
    std::fs::write(dir.path().join("releases/7/index.html"), "seven").unwrap();
    symlink("releases/7", dir.path().join("root")).unwrap();
    assert_eq!(get(&router, "/").await.2, "seven");
}

#[tokio::test]
async fn a_single_page_answers_for_every_address() {
    let dir = folder();
    let router = site(&dir).single_page(true).router();
    for path in ["/users/7", "/none", "/sub/empty/"] {
        let (status, _, body) = get(&router, path).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "<h1>home</h1>"), "{path}");
    }
    assert_eq!(get(&router, "/users/app.js").await.2.len(), LONG);
    assert_eq!(get(&router, "/users/.env").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&router, "/users/out.txt").await.2, "<h1>home</h1>");
}

#[tokio::test]
async fn a_missing_file_has_the_page_of_the_site() {
    let dir = folder();
    let router = site(&dir).router();
    assert_eq!(get(&router, "/none").await.2, "404 Not Found\n");
    std::fs::write(dir.path().join("root/404.html"), "lost?").unwrap();
    let (status, headers, body) = with(&router, "/none", &[("range", "bytes=0-1"), ("if-none-match", "*")]).await;
    assert_eq!((status, body.as_str()), (StatusCode::NOT_FOUND, "lost?"));
    assert!(!headers.contains_key("cache-control"));
}

#[tokio::test]
async fn who_does_not_name_the_account_sees_nothing() {
    let dir = folder();
    let router = site(&dir).account("ann", "p").listings(true).single_page(true).router();
    for path in ["/", "/none", "/sub/", "/404.html"] {
        let (status, headers, body) = get(&router, path).await;
        assert_eq!((status, body.as_str()), (StatusCode::UNAUTHORIZED, "401 Unauthorized\n"), "{path}");
        assert!(headers["www-authenticate"].to_str().unwrap().starts_with("Basic "));
    }
    assert_eq!(with(&router, "/", &[("authorization", "Basic YW5uOnA=")]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_time_to_keep_files_does_not_hold_for_pages() {
    let dir = folder();
    let router = site(&dir).cache(Some(Duration::from_secs(60))).every_origin(true).router();
    let (_, headers, _) = get(&router, "/app.js").await;
    assert_eq!(headers["cache-control"], "public, max-age=60");
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert_eq!(get(&router, "/").await.1["cache-control"], "no-cache");
}

#[tokio::test]
async fn only_reading_is_allowed() {
    let dir = folder();
    let request = Request::post("/app.js").body(Body::from("new")).unwrap();
    let (status, headers, _) = ask(&site(&dir).router(), request).await;
    assert_eq!((status, headers["allow"].to_str().unwrap()), (StatusCode::METHOD_NOT_ALLOWED, "GET,HEAD"));
    let request = Request::head("/app.js").body(Body::empty()).unwrap();
    let (status, headers, body) = ask(&site(&dir).router(), request).await;
    assert_eq!((status, headers["content-length"].to_str().unwrap(), body.len()), (StatusCode::OK, "20000", 0));
}
