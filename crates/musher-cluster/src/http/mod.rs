//! An HTTP server over all cores: interceptors around axum's router, in workers that this very program forks (feature
//! `http`).
//!
//! ```no_run
//! use axum::routing::get;
//! use musher_cluster::http::{Next, Request, Server};
//!
//! # async fn example() -> Result<(), musher_cluster::http::ServerError> {
//! Server::new()
//!     .instances(0)
//!     .intercept(|request: Request, next: Next| async move {
//!         println!("visit {} through {}", request.uri(), std::process::id());
//!         next.run(request).await
//!     })
//!     .route("/", get(|| async { "hello\n" }))
//!     .listen("127.0.0.1:9090")
//!     .await
//! # }
//! ```
//!
//! The primary forks `instances` workers of the same program, with the same arguments; each runs up to the same
//! [`Server::listen`] and serves there. What surrounds a request is axum's and tower's: every `tower::Layer` is an
//! interceptor. A malformed request is answered with 400 by hyper.
//!
//! - `development`: sources and program watched, workers replaced.

mod development;

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;

use axum::Router;
use axum::middleware;
use axum::routing::{MethodRouter, Route};
use tower_layer::Layer;
use tower_service::Service;

pub use axum::extract::Request;
pub use axum::middleware::Next;
pub use axum::response::{IntoResponse, Response};

use crate::lifecycle::Policy;
use crate::serving::{self, Message};
use crate::team::{Event, Plan, Scheduling, Settings, Team, TeamError, setup_primary};

/// How the workers are run.
///
/// ```
/// use musher_cluster::http::{Mode, Server};
/// let mode = if cfg!(debug_assertions) { Mode::Development } else { Mode::Production };
/// let server = Server::new().mode(mode);
/// assert_eq!(Mode::default(), Mode::Production);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As many workers as wanted, kept up.
    #[default]
    Production,
    /// One worker, replaced without a refused connection whenever the program, its sources or other watched files change.
    Development,
}

/// Why a server does not serve.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_cluster::http::{Server, ServerError};
/// let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let address = taken.local_addr()?.to_string();
/// match Server::new().cluster(false).listen(address).await {
///     Err(ServerError::System(error)) => assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse),
///     other => panic!("{other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address cannot be had, or the system refuses something.
    #[error(transparent)]
    System(#[from] std::io::Error),
    /// The workers do not become ready.
    #[error(transparent)]
    Team(#[from] TeamError),
}

type Around = Box<dyn FnOnce(Router) -> Router + Send>;

/// An HTTP server over all cores. See the [module](self).
///
/// ```
/// use musher_cluster::http::Server;
/// let server = Server::new().instances(0).route("/", axum::routing::get(|| async { "hello\n" }));
/// drop(server.listen("127.0.0.1:9090"));    // .await, and it serves
/// ```
pub struct Server {
    instances: u32,
    mode: Mode,
    in_this_process: bool,
    policy: Policy,
    scheduling: Scheduling,
    relays: bool,
    router: Router,
    around: Vec<Around>,
    hears: Vec<Box<dyn Fn(Message) + Send + Sync>>,
    watched: Vec<PathBuf>,
    build: Option<Vec<OsString>>,
}

impl Server {
    /// One worker, in production.
    ///
    /// ```
    /// let server = musher_cluster::http::Server::new().instances(4);
    /// ```
    pub fn new() -> Server {
        Server {
            instances: 1,
            mode: Mode::Production,
            in_this_process: false,
            policy: Policy::default(),
            scheduling: Scheduling::from_env(),
            relays: false,
            router: Router::new(),
            around: Vec::new(),
            hears: Vec::new(),
            watched: Vec::new(),
            build: None,
        }
    }

    /// How many workers; 0 for one on each core. In development it is always one.
    ///
    /// ```
    /// let server = musher_cluster::http::Server::new().instances(0);    // one on each core
    /// ```
    pub fn instances(mut self, instances: u32) -> Server {
        self.instances = instances;
        self
    }

    /// Production or development.
    ///
    /// ```
    /// use musher_cluster::http::{Mode, Server};
    /// let server = Server::new().instances(0).mode(Mode::Development).watch("templates").build(["make", "server"]);
    /// ```
    pub fn mode(mut self, mode: Mode) -> Server {
        self.mode = mode;
        self
    }

    /// Whether workers are forked. Without, this process serves by itself, as it always does when it is a worker of somebody
    /// else.
    ///
    /// ```
    /// let server = musher_cluster::http::Server::new().cluster(false);    // for a debugger
    /// ```
    pub fn cluster(mut self, cluster: bool) -> Server {
        self.in_this_process = !cluster;
        self
    }

    /// When workers are restarted and given up, and how they are stopped: the rules and defaults of the process file.
    ///
    /// ```
    /// use musher_cluster::http::Server;
    /// use musher_cluster::lifecycle::Policy;
    /// let server = Server::new().policy(Policy { max_restarts: 3, ..Policy::default() });
    /// ```
    pub fn policy(mut self, policy: Policy) -> Server {
        self.policy = policy;
        self
    }

    /// How connections reach the workers.
    ///
    /// Default: [`Scheduling::from_env`].
    ///
    /// ```
    /// use musher_cluster::Scheduling;
    /// let server = musher_cluster::http::Server::new().scheduling(Scheduling::RoundRobin);
    /// ```
    pub fn scheduling(mut self, scheduling: Scheduling) -> Server {
        self.scheduling = scheduling;
        self
    }

    /// Every message that a worker sends to the primary goes to all workers, itself included.
    ///
    /// ```
    /// # use musher_cluster::http::Server;
    /// let server = Server::new().instances(2).relay_messages().on_message(|message| println!("{}", message.value));
    /// ```
    pub fn relay_messages(mut self) -> Server {
        self.relays = true;
        self
    }

    /// Calls `handler` in each worker with the messages of the primary.
    ///
    /// It must not block. See the example of [`relay_messages`](Server::relay_messages).
    ///
    /// ```
    /// let server = musher_cluster::http::Server::new().on_message(|message| println!("{}", message.value));
    /// ```
    pub fn on_message(mut self, handler: impl Fn(Message) + Send + Sync + 'static) -> Server {
        self.hears.push(Box::new(handler));
        self
    }

    /// Puts an interceptor around the request: it runs `next`, does something before and after, or answers by itself. The
    /// first that is added is the outermost.
    ///
    /// ```
    /// use musher_cluster::http::{IntoResponse, Next, Request, Server};
    /// let server = Server::new().intercept(|request: Request, next: Next| async move {
    ///     if request.headers().contains_key("authorization") {
    ///         next.run(request).await
    ///     } else {
    ///         axum::http::StatusCode::UNAUTHORIZED.into_response()
    ///     }
    /// });
    /// ```
    pub fn intercept<F, Fut>(self, interceptor: F) -> Server
    where
        F: Fn(Request, Next) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        self.layer(middleware::from_fn(interceptor))
    }

    /// Puts a tower layer around the request, as an interceptor.
    ///
    /// The first that is added is the outermost, as with [`intercept`](Server::intercept).
    ///
    /// ```
    /// use musher_cluster::http::Server;
    /// let counter = axum::Extension(std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0)));
    /// let server = Server::new().layer(counter);
    /// ```
    pub fn layer<L>(mut self, layer: L) -> Server
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request, Error: Into<std::convert::Infallible>, Response: IntoResponse, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        self.around.push(Box::new(|router| router.layer(layer)));
        self
    }

    /// A route, by axum's patterns.
    ///
    /// ```
    /// use axum::Json;
    /// use axum::routing::{get, post};
    /// use musher_cluster::http::Server;
    /// let server = Server::new()
    ///     .route("/", get(|| async { "hello" }))
    ///     .route("/echo", post(|Json(body): Json<serde_json::Value>| async { Json(body) }))
    ///     .routes(axum::Router::new().route("/more", get(|| async { "more" })));
    /// ```
    pub fn route(mut self, path: &str, methods: MethodRouter) -> Server {
        self.router = self.router.route(path, methods);
        self
    }

    /// All routes of an axum router.
    ///
    /// They are merged with those that are there; two for one path are a mistake of the program, and axum panics.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// let api = Router::new().route("/api/health", get(|| async { "ok" }));
    /// let server = musher_cluster::http::Server::new().routes(api);
    /// ```
    pub fn routes(mut self, router: Router) -> Server {
        self.router = self.router.merge(router);
        self
    }

    /// A file or directory whose change replaces the worker in development, besides the program itself.
    ///
    /// ```
    /// let server = musher_cluster::http::Server::new().watch("templates").watch("config.toml");
    /// ```
    pub fn watch(mut self, path: impl Into<PathBuf>) -> Server {
        self.watched.push(path.into());
        self
    }

    /// What makes the program anew in development when its sources change: a program and its arguments. By default that is
    /// `cargo build` when this process was started by `cargo run`, whose package is watched then.
    ///
    /// ```
    /// let server = musher_cluster::http::Server::new().build(["make", "server"]);
    /// ```
    pub fn build(mut self, command: impl IntoIterator<Item = impl Into<OsString>>) -> Server {
        self.build = Some(command.into_iter().map(Into::into).collect());
        self
    }

    /// Serves at this address until the process is told to end (SIGTERM, SIGINT; SIGHUP replaces the workers). In a
    /// worker that is when its primary says so.
    ///
    /// # Errors
    ///
    /// The address cannot be had, or the workers do not become ready.
    ///
    /// ```no_run
    /// use axum::routing::get;
    /// # async fn example() -> Result<(), musher_cluster::http::ServerError> {
    /// musher_cluster::http::Server::new().route("/", get(|| async { "hello\n" })).listen("127.0.0.1:9090").await
    /// # }
    /// ```
    pub async fn listen(self, address: impl Into<String>) -> Result<(), ServerError> {
        if serving::is_worker() || self.in_this_process { self.serve(&address.into()).await } else { self.lead().await }
    }

    /// The part of a worker.
    async fn serve(self, address: &str) -> Result<(), ServerError> {
        if let Some(worker) = serving::worker()? {
            for handler in self.hears {
                worker.on_message(handler);
            }
        }
        let router = self.around.into_iter().rev().fold(self.router, |router, around| around(router));
        let listener = serving::listen(address).await?;
        Ok(serving::serve(listener, router).await?)
    }

    /// The part of the primary.
    async fn lead(self) -> Result<(), ServerError> {
        let settings = Settings::new().scheduling(self.scheduling);
        let cluster = setup_primary(settings)?;
        if self.relays {
            let all = cluster.clone();
            cluster.on(move |event| {
                if let Event::Message { value, .. } = event {
                    all.broadcast(value.clone());
                }
            });
        }
        cluster.on(tell);
        let development = self.mode == Mode::Development;
        let instances = if development { 1 } else { self.instances };
        // Before there is a worker whose answer could be the reason for a change.
        let watching = if development {
            let exec = cluster.settings().exec_path.clone();
            Some(development::Watching::begin(&exec, &self.watched, self.build)?)
        } else {
            None
        };
        let team: Team = cluster.keep(Plan::new(instances).policy(self.policy)).await?;
        match watching {
            Some(watching) => tokio::select! {
                ended = team.run() => Ok(ended?),
                error = watching.follow(&team) => Err(error.into()),
            },
            None => Ok(team.run().await?),
        }
    }
}

impl Default for Server {
    fn default() -> Server {
        Server::new()
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("instances", &self.instances).field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// What the log of the primary says.
fn tell(event: &Event) {
    match event {
        Event::Listening { worker, address, .. } => tracing::info!(worker = worker.id(), %address, "a worker listens"),
        Event::Exit { worker, status } if worker.exited_after_disconnect() != Some(true) => {
            tracing::warn!(worker = worker.id(), %status, "a worker has died");
        }
        _ => {}
    }
}
