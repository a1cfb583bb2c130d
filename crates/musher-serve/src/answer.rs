//! One request to a site: who asks, for what, and what is said instead of a file that is not there.

use std::io;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use tower_http::services::ServeDir;
use tower_http::services::fs::DefaultServeDirFallback;

use crate::Site;
use crate::beneath::{Beneath, blocking};
use crate::listing;

/// What makes an answer depend on what the client has already: of no use for a page about a missing file.
const CONDITIONS: [HeaderName; 5] = [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, RANGE];

/// A site that answers.
#[derive(Debug)]
pub(crate) struct Folder {
    site: Site,
    files: ServeDir<DefaultServeDirFallback, Beneath>,
}

impl Folder {
    pub(crate) fn new(site: Site) -> Folder {
        let files = ServeDir::with_backend("", site.beneath.clone())
            .precompressed_br()
            .precompressed_gzip()
            .ignore_multi_range_requests(true);
        Folder { site, files }
    }

    pub(crate) async fn answer(&self, request: Request) -> Response {
        // The body of a request for a file means nothing.
        let (request, _) = request.into_parts();
        let mut response = self.found(&request).await;
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.site.every_origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        response
    }

    async fn found(&self, request: &Parts) -> Response {
        if let Some(account) = &self.site.account
            && !account.is_named_by(request.headers.get(AUTHORIZATION))
        {
            let realm = HeaderValue::from_static("Basic realm=\"musher\", charset=\"UTF-8\"");
            return (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, realm)], "401 Unauthorized\n").into_response();
        }
        if request.method != Method::GET && request.method != Method::HEAD {
            let methods = HeaderValue::from_static("GET,HEAD");
            return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, methods)], "405 Method Not Allowed\n").into_response();
        }
        let address = match Address::of(&request.uri, self.site.dotfiles) {
            Ok(address) => address,
            Err(StatusCode::NOT_FOUND) => return self.missing(request).await,
            Err(status) => return (status, format!("{status}\n")).into_response(),
        };
        match self.file(&request.method, request.uri.clone(), request.headers.clone()).await {
            response if response.status() == StatusCode::SERVICE_UNAVAILABLE => response,
            response if response.status() != StatusCode::NOT_FOUND => self.kept(response),
            _ => self.instead(request, &address).await,
        }
    }

    /// The file of an address. What may not be read is as if it were not there; that the machine is short of something is not.
    async fn file(&self, method: &Method, uri: Uri, headers: HeaderMap) -> Response {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        match self.files.clone().try_call(request).await {
            Ok(response) => response.map(Body::new),
            Err(error) if is_not_there(&error) => StatusCode::NOT_FOUND.into_response(),
            Err(_) => {
                let headers = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
                (StatusCode::SERVICE_UNAVAILABLE, headers, "503 Service Unavailable\n").into_response()
            }
        }
    }

    /// What is said where there is no file.
    async fn instead(&self, request: &Parts, address: &Address) -> Response {
        if self.site.listings && address.text.ends_with('/') {
            let (beneath, dotfiles) = (self.site.beneath.clone(), self.site.dotfiles);
            let (path, text) = (address.path.clone(), address.text.clone());
            if let Ok(page) = blocking(move || listing::page(&beneath, &path, &text, dotfiles)).await {
                let kind = HeaderValue::from_static("text/html; charset=utf-8");
                return self.kept(([(CONTENT_TYPE, kind)], page).into_response());
            }
        }
        if self.site.single_page {
            for uri in address.at_the_root().into_iter().chain([Uri::from_static("/index.html")]) {
                let response = self.file(&request.method, uri, request.headers.clone()).await;
                if response.status() != StatusCode::NOT_FOUND {
                    return self.kept(response);
                }
            }
        }
        self.missing(request).await
    }

    /// 404, with the site's own page if it has one.
    async fn missing(&self, request: &Parts) -> Response {
        let mut headers = request.headers.clone();
        for name in CONDITIONS {
            headers.remove(name);
        }
        let mut response = self.file(&request.method, Uri::from_static("/404.html"), headers).await;
        if response.status() != StatusCode::OK {
            return (StatusCode::NOT_FOUND, "404 Not Found\n").into_response();
        }
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    }

    /// The response with what is said about keeping it.
    fn kept(&self, mut response: Response) -> Response {
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let page = kind.starts_with("text/html");
        if page && !response.headers().contains_key(CONTENT_ENCODING) && kind == "text/html" {
            // Every page of today is UTF-8, and a browser that is not told guesses.
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        }
        response.headers_mut().insert(CACHE_CONTROL, self.site.cache_control(page));
        response
    }
}

/// An ETag promises the same bytes, which those of a file that was compressed on the way are not (RFC 9110, 8.8.1).
pub(crate) async fn weakened(mut response: Response) -> Response {
    let headers = response.headers_mut();
    if headers.contains_key(CONTENT_ENCODING)
        && let Some(etag) = headers.get(ETAG).and_then(|value| value.to_str().ok()).filter(|etag| etag.starts_with('"'))
        && let Ok(weak) = HeaderValue::try_from(format!("W/{etag}"))
    {
        headers.insert(ETAG, weak);
    }
    response
}

/// Whether it is the name that leads nowhere, or to where nobody may look.
fn is_not_there(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), InvalidFilename | InvalidInput | IsADirectory | NotADirectory | NotFound | PermissionDenied)
}

/// What an address means in the folder.
struct Address {
    /// Decoded, with the slash in front.
    text: String,
    /// Beneath the root.
    path: PathBuf,
}

impl Address {
    /// The status says why it is none.
    fn of(uri: &Uri, dotfiles: bool) -> Result<Address, StatusCode> {
        let text = percent_decode_str(uri.path()).decode_utf8().map_err(|_| StatusCode::BAD_REQUEST)?.into_owned();
        if text.contains('\0') || !text.starts_with('/') {
            return Err(StatusCode::BAD_REQUEST);
        }
        // A redirection of "//host/" to "//host/folder/" would lead to another host.
        if text.starts_with("//") {
            return Err(StatusCode::NOT_FOUND);
        }
        for segment in text.split('/') {
            if segment == ".." {
                return Err(StatusCode::FORBIDDEN);
            }
            if segment.starts_with('.') && segment.len() > 1 && segment != ".well-known" && !dotfiles {
                return Err(StatusCode::NOT_FOUND);
            }
        }
        let path = Path::new(text.trim_start_matches('/')).to_owned();
        Ok(Address { text, path })
    }

    /// The address of the file at the root that is called as its last segment; none for what lies there itself.
    fn at_the_root(&self) -> Option<Uri> {
        let name = self.path.file_name()?.to_str()?;
        let nested = self.path.parent().is_some_and(|parent| !parent.as_os_str().is_empty());
        let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        nested.then(|| format!("/{encoded}").parse().ok()).flatten()
    }
}
