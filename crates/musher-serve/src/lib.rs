//! Static files over HTTP: a folder becomes an [axum] router, on [tower-http]'s files, which bring ranges, ETags,
//! conditions and types. What is added: nothing outside of the folder can be read, names that begin with a dot are not
//! shown, one page for all addresses, listings, an account, caching headers and compression.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! let site = musher_serve::Site::new("dist")?.single_page(true);
//! musher_serve::serve("127.0.0.1:8080", site).await
//! # }
//! ```
//!
//! This crate refuses to know the daemon: a worker of a team is any program that calls [`serve`].
//!
//! [axum]: https://docs.rs/axum
//! [tower-http]: https://docs.rs/tower-http

mod account;
mod answer;
mod beneath;
mod listing;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderValue;
use tower_http::compression::CompressionLayer;

use account::Account;
use answer::Folder;
use beneath::Beneath;

/// A folder and how it is served.
#[derive(Clone, Debug)]
pub struct Site {
    beneath: Beneath,
    single_page: bool,
    listings: bool,
    dotfiles: bool,
    every_origin: bool,
    compress: bool,
    cache: Option<Duration>,
    account: Option<Account>,
}

impl Site {
    /// The folder of this path, with the defaults: `index.html` for a folder, `404.html` (if there is one) for what is not
    /// there, compression, `Cache-Control: no-cache`.
    ///
    /// ```
    /// let dir = tempfile::tempdir()?;
    /// assert!(musher_serve::Site::new(dir.path()).is_ok());
    /// assert!(musher_serve::Site::new(dir.path().join("none")).is_err());
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    ///
    /// It is no folder, or may not be read.
    pub fn new(root: impl AsRef<Path>) -> io::Result<Site> {
        Ok(Site {
            beneath: Beneath::new(root.as_ref())?,
            single_page: false,
            listings: false,
            dotfiles: false,
            every_origin: false,
            compress: true,
            cache: None,
            account: None,
        })
    }

    /// Whether an address without a file is answered with the file of its last segment at the root, if there is one, else
    /// with `/index.html`, as applications want that have their routes in the browser. Default: no.
    #[must_use]
    pub fn single_page(mut self, yes: bool) -> Site {
        self.single_page = yes;
        self
    }

    /// Whether a folder without `index.html` is listed, 10,000 names at most. Default: no.
    #[must_use]
    pub fn listings(mut self, yes: bool) -> Site {
        self.listings = yes;
        self
    }

    /// Whether names that begin with a dot can be read, as `.env` and `.git`. Default: no; `/.well-known/` (RFC 8615)
    /// always can.
    #[must_use]
    pub fn dotfiles(mut self, yes: bool) -> Site {
        self.dotfiles = yes;
        self
    }

    /// Whether pages of every origin may read the files (`Access-Control-Allow-Origin: *`). Default: no.
    #[must_use]
    pub fn every_origin(mut self, yes: bool) -> Site {
        self.every_origin = yes;
        self
    }

    /// Whether what can be compressed is sent by gzip to those who take it. A file beside it with `.br` or `.gz` behind its
    /// name is sent in any case. Default: yes.
    #[must_use]
    pub fn compress(mut self, yes: bool) -> Site {
        self.compress = yes;
        self
    }

    /// How long browsers and proxies may keep a file without asking again, pages (`text/html`) excepted. Default: not at
    /// all; they keep it and ask whether it has changed (`no-cache` with an ETag).
    #[must_use]
    pub fn cache(mut self, time: Option<Duration>) -> Site {
        self.cache = time;
        self
    }

    /// Only who names this account sees anything (HTTP basic authentication; over plain HTTP everybody on the way can read
    /// it). Default: everybody does.
    #[must_use]
    pub fn account(mut self, name: &str, password: &str) -> Site {
        self.account = Some(Account::new(name, password));
        self
    }

    /// The router that answers for it, at every address.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let files = musher_serve::Site::new(dir.path())?.router();
    /// let app = axum::Router::new().route("/api", axum::routing::get(|| async { "api" })).fallback_service(files);
    /// # drop(app);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn router(self) -> Router {
        let compress = self.compress;
        let folder = Arc::new(Folder::new(self));
        let router = Router::new().fallback(move |request| {
            let folder = Arc::clone(&folder);
            async move { folder.answer(request).await }
        });
        if !compress {
            return router;
        }
        router.layer(CompressionLayer::new().gzip(true)).layer(axum::middleware::map_response(answer::weakened))
    }

    /// What is said about keeping a file of this type.
    fn cache_control(&self, page: bool) -> HeaderValue {
        match self.cache {
            Some(time) if !page => HeaderValue::try_from(format!("public, max-age={}", time.as_secs()))
                .unwrap_or(HeaderValue::from_static("no-cache")),
            _ => HeaderValue::from_static("no-cache"),
        }
    }
}

/// Serves a site at an address (`IP:PORT`) until this process drains: alone, or as a worker with the socket of whoever
/// started it ([`musher_cluster::listen`]).
///
/// # Errors
///
/// The address cannot be listened on.
pub async fn serve(address: &str, site: Site) -> io::Result<()> {
    let listener = musher_cluster::listen(address).await?;
    musher_cluster::serve(listener, site.router()).await
}
