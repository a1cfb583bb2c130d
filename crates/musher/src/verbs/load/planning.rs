//! The command line, `.siegerc` and lists of URLs become a plan.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use musher_load::plan::{Count, Order, Plan, Protocol, Proxy, Template, Think, Tls};
use musher_load::random::Random;
use musher_load::siege::{Defaults, Fault, UrlFile, parse_rc, parse_urls};
use musher_load::url::{Scheme, Url};

use crate::args::{LoadArgs, host_and_port};
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::{note, sanitize};

/// siege's number of users.
const USERS: u32 = 25;
/// An open loop opens connections as they are needed, up to this.
const CONNECTIONS: u32 = 1000;
/// The longest list of URLs, and the longest body.
const LONGEST_FILE: u64 = 64 * 1024 * 1024;

/// What is going to be done.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) rate_words: Option<String>,
    pub(super) quiet: bool,
    pub(super) json: bool,
    pub(super) verbose: bool,
}

impl Planned {
    /// One line before the run.
    pub(super) fn greeting(&self) -> String {
        let plan = &self.plan;
        let first = plan.requests.first().map_or(String::new(), |one| one.url.to_string());
        let what = match plan.requests.len() {
            1 => sanitize(&first),
            many => format!("{} and {} more", sanitize(&first), many - 1),
        };
        let how = match &self.rate_words {
            Some(rate) => format!("{rate} requests a second, up to {} connections", plan.users),
            None => format!("{} users, each with one request at a time", plan.users),
        };
        let end = match (plan.count, plan.duration) {
            (Some(Count::PerUser(each)), _) => format!("{each} requests each"),
            (Some(Count::Once), _) => "every URL once".to_owned(),
            (None, Some(time)) => format!("for {}", musher_load::report::time_words(time)),
            (None, None) => "until ^C".to_owned(),
        };
        format!("loading {what}: {how}, {end} (seed {})", plan.seed)
    }
}

/// Makes the plan.
pub(super) fn plan(args: &LoadArgs) -> Result<Planned, Failure> {
    let defaults = defaults(args.rc.as_deref())?;
    let requests = requests(args, &defaults)?;
    let mut plan = Plan::new(requests);
    pace(&mut plan, args, &defaults)?;
    wire(&mut plan, args, &defaults)?;
    let rate_words = args.pace.rate.as_ref().map(|rate| {
        let words = rate_words(rate);
        if args.pace.poisson { format!("{words} (Poisson)") } else { words }
    });
    let verbose = args.verbose || defaults.verbose == Some(true);
    plan.tell = verbose;
    let quiet = args.quiet || defaults.quiet == Some(true);
    Ok(Planned { plan, rate_words, quiet, verbose, json: args.json || defaults.json == Some(true) })
}

fn rate_words(rate: &musher_load::pace::Rate) -> String {
    let part = |segment: &musher_load::pace::Segment| {
        let span = if (segment.from - segment.to).abs() < f64::EPSILON {
            format!("{}", segment.from)
        } else {
            format!("{}..{}", segment.from, segment.to)
        };
        if segment.seconds.is_finite() { format!("{span}@{}s", segment.seconds) } else { span }
    };
    rate.segments.iter().map(part).collect::<Vec<_>>().join(",")
}

/// What the run is, as a list.
pub(super) fn show(planned: &Planned) -> Result<(), Failure> {
    let mut plan = planned.plan.clone();
    // What is secret is not shown, here or anywhere.
    plan.login = plan.login.map(|_| "(given)".to_owned());
    if let Some(proxy) = &mut plan.proxy {
        proxy.login = proxy.login.take().map(|_| "(given)".to_owned());
    }
    plan.headers
        .retain(|(name, _)| !name.eq_ignore_ascii_case("authorization") && !name.eq_ignore_ascii_case("cookie"));
    let text = serde_json::to_string_pretty(&plan).map_err(std::io::Error::from)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// `.siegerc`, where one was made by hand. `~/.siege/siege.conf` is not read: siege writes that by itself.
fn defaults(given: Option<&Path>) -> Result<Defaults, Failure> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => match (environment("SIEGERC"), environment("HOME")) {
            (Some(path), _) => path.into(),
            (None, Some(home)) if Path::new(&home).join(".siegerc").is_file() => Path::new(&home).join(".siegerc"),
            _ => return Ok(Defaults::default()),
        },
    };
    let text = read_text(&path)?;
    let defaults = parse_rc(&text, &environment).map_err(|faults| told(&path, &faults))?;
    if given.is_none() {
        note(&format!("defaults from {}", path.display()));
    }
    if !defaults.unused.is_empty() {
        note(&format!("{}: without a meaning here: {}", path.display(), defaults.unused.join(", ")));
    }
    Ok(defaults)
}

fn read_text(path: &Path) -> Result<String, Failure> {
    let bytes = read_bounded(path).map_err(|error| bad_file(format!("{}: {error}", path.display())))?;
    String::from_utf8(bytes).map_err(|_| bad_file(format!("{}: not UTF-8", path.display())))
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.len() > LONGEST_FILE {
        return Err(std::io::Error::other("longer than 64 MiB"));
    }
    std::fs::read(path)
}

fn bad_file(message: String) -> Failure {
    Failure::new(exit_codes::BAD_SPEC, message)
}

fn told(path: &Path, faults: &[Fault]) -> Failure {
    let lines: Vec<String> =
        faults.iter().map(|fault| format!("{}: {}", path.display(), sanitize(&fault.to_string()))).collect();
    bad_file(lines.join("\n"))
}

fn usage(message: impl Into<String>) -> Failure {
    Failure::new(exit_codes::USAGE, message)
}

/// What is asked: URLs of the command line, else of the list.
fn requests(args: &LoadArgs, defaults: &Defaults) -> Result<Vec<Template>, Failure> {
    let mut urls = args.urls.clone();
    let file =
        args.file.clone().or_else(|| urls.is_empty().then(|| defaults.file.clone().map(PathBuf::from)).flatten());
    if urls.is_empty() && file.is_none() {
        urls.extend(defaults.url.clone());
    }
    let mut requests = match (urls.is_empty(), file) {
        (true, Some(path)) => {
            let read = |name: &str| read_bounded(Path::new(name));
            let list = UrlFile { environment: &environment, read: &read, content_type: args.content_type.as_deref() };
            parse_urls(&read_text(&path)?, &list).map_err(|faults| told(&path, &faults))?
        }
        (true, None) => {
            return Err(usage("nothing to load: no URL, and no list of them (-f)").with_hint("musher load --help"));
        }
        // As siege: a URL on the command line wins over a list.
        (false, _) => urls
            .iter()
            .map(|url| Url::parse(url).map(Template::get).map_err(|error| usage(sanitize(&error.to_string()))))
            .collect::<Result<_, _>>()?,
    };
    let body = match args.wire.data.as_deref() {
        None => None,
        Some(text) => Some(match text.strip_prefix('@') {
            Some(path) => read_bounded(Path::new(path)).map_err(|error| bad_file(format!("{path}: {error}")))?,
            None => text.as_bytes().to_vec(),
        }),
    };
    for request in &mut requests {
        if let Some(body) = &body {
            request.body.clone_from(body);
            request.content_type =
                Some(args.content_type.clone().unwrap_or_else(|| "application/x-www-form-urlencoded".into()));
            if !request.url.scheme.is_websocket() {
                request.method = "POST".into();
            }
        }
        if let Some(method) = &args.wire.method {
            if method.is_empty() || !method.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
                return Err(usage(format!("{method:?} is no method")));
            }
            request.method = method.to_ascii_uppercase();
        }
    }
    if !args.pace.weights.is_empty() {
        if args.pace.weights.len() != requests.len() {
            return Err(usage(format!("{} weights for {} URLs", args.pace.weights.len(), requests.len())));
        }
        let fits = |weight: &f64| weight.is_finite() && *weight >= 0.0;
        if !args.pace.weights.iter().all(fits) || args.pace.weights.iter().sum::<f64>() <= 0.0 {
            return Err(usage("weights are numbers from 0, not all 0"));
        }
        requests.iter_mut().zip(&args.pace.weights).for_each(|(request, weight)| request.weight = *weight);
    }
    Ok(requests)
}

fn pace(plan: &mut Plan, args: &LoadArgs, defaults: &Defaults) -> Result<(), Failure> {
    let pace = &args.pace;
    plan.rate = pace.rate.clone().map(|rate| musher_load::pace::Rate { poisson: pace.poisson, ..rate });
    let usual = if plan.rate.is_some() { CONNECTIONS } else { USERS };
    plan.users = args.concurrent.or(defaults.concurrent.filter(|users| *users > 0)).unwrap_or(usual);
    plan.duration =
        args.time.or_else(|| plan.rate.as_ref().and_then(musher_load::pace::Rate::length)).or(defaults.time);
    let reps = args.reps.as_deref().or(defaults.reps.as_deref());
    plan.count = match reps {
        None => None,
        Some("once") => Some(Count::Once),
        Some(number) => {
            let each = number.parse::<u64>().ok().filter(|each| *each > 0);
            Some(Count::PerUser(each.ok_or_else(|| usage(format!("-r {number}: a number from 1, or once")))?))
        }
    };
    if args.time.is_some() && plan.count.is_some() {
        note("-t and -r together: whichever is reached first ends the run (siege: -t wins)");
    }
    let delay = args.delay.or(defaults.delay.map(|delay| delay.as_secs_f64())).filter(|_| !args.benchmark);
    plan.think = match (pace.think, delay) {
        (Some(time), _) => Some(Think::Fixed(time)),
        (None, Some(seconds)) if seconds > 0.0 => {
            let time = Duration::try_from_secs_f64(seconds).map_err(|_| usage("-d is a number of seconds"))?;
            Some(Think::UpTo(time))
        }
        _ => None,
    };
    let weighted = !pace.weights.is_empty();
    plan.order =
        if args.internet || weighted || defaults.internet == Some(true) { Order::Random } else { Order::InTurn };
    plan.warm_up = pace.warm_up.unwrap_or_default();
    plan.timeout = pace.timeout.or(defaults.timeout).filter(|time| !time.is_zero()).unwrap_or(plan.timeout);
    plan.finish = pace.finish.unwrap_or(plan.finish);
    plan.failures = pace.failures.or(defaults.failures).filter(|count| *count > 0);
    (plan.threads, plan.processes) = (pace.threads, pace.processes);
    plan.seed = pace.seed.unwrap_or_else(Random::any_seed);
    Ok(())
}

fn wire(plan: &mut Plan, args: &LoadArgs, defaults: &Defaults) -> Result<(), Failure> {
    let wire = &args.wire;
    for header in &args.header {
        let (name, value) = header.split_once(':').ok_or_else(|| usage(format!("-H {header:?} has no colon")))?;
        let (name, value) = (name.trim(), value.trim());
        let is_name =
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.!#$%&'*+^`|~".contains(c));
        if !is_name || value.chars().any(char::is_control) {
            return Err(usage(format!("-H {header:?} is no header")));
        }
        plan.headers.push((name.to_owned(), value.to_owned()));
    }
    plan.agent = args.user_agent.clone().or_else(|| defaults.agent.clone());
    if plan.agent.as_deref().is_some_and(|agent| agent.chars().any(char::is_control)) {
        return Err(usage("a user agent is one line"));
    }
    plan.keep_alive = !wire.close && defaults.keep_alive.unwrap_or(true);
    plan.redirects = if args.no_follow || defaults.follow == Some(false) { 0 } else { plan.redirects };
    plan.cookies = !wire.no_cookies && defaults.cookies.unwrap_or(true);
    plan.accept_encoding = if wire.gzip { Some("gzip".into()) } else { defaults.accept_encoding.clone() };
    plan.login = wire.login.clone().or_else(|| defaults.login.clone());
    plan.unix.clone_from(&wire.unix);
    plan.consent = wire.yes_i_may;
    plan.proxy = match (&wire.proxy, &defaults.proxy_host) {
        (Some(text), _) => {
            let (host, port) = host_and_port(text).ok_or_else(|| usage("--proxy is HOST:PORT"))?;
            Some(Proxy { host, port, login: wire.proxy_login.clone() })
        }
        (None, Some(host)) => {
            let port = defaults.proxy_port.unwrap_or(3128);
            Some(Proxy { host: host.clone(), port, login: defaults.proxy_login.clone() })
        }
        (None, None) => None,
    };
    plan.tls = Tls {
        insecure: wire.insecure,
        authorities: wire.cacert.clone(),
        own: own_certificate(args, defaults)?,
        server_name: wire.server_name.clone(),
    };
    let sockets = plan.requests.iter().filter(|one| one.url.scheme.is_websocket()).count();
    if sockets > 0 && sockets < plan.requests.len() {
        return Err(usage("WebSockets and plain requests in one run: load them in two, at the same time"));
    }
    plan.protocol = match (sockets > 0, wire.http2) {
        (true, _) => Protocol::WebSocket { expect: wire.ws_expect.clone() },
        (false, Some(streams)) => Protocol::Http2 { streams },
        (false, None) => Protocol::Http1,
    };
    if matches!(plan.protocol, Protocol::Http2 { .. }) {
        // A stream is a request; HTTP/2 connections are kept.
        (plan.keep_alive, plan.redirects, plan.cookies) = (true, 0, false);
    }
    if sockets > 0 {
        for request in &mut plan.requests {
            if request.body.is_empty() {
                request.body = b"ping".to_vec();
            }
            debug_assert!(matches!(request.url.scheme, Scheme::Ws | Scheme::Wss));
        }
    }
    Ok(())
}

fn own_certificate(args: &LoadArgs, defaults: &Defaults) -> Result<Option<(PathBuf, PathBuf)>, Failure> {
    let certificate = args.wire.cert.clone().or_else(|| defaults.certificate.clone().map(PathBuf::from));
    let key = args.wire.key.clone().or_else(|| defaults.key.clone().map(PathBuf::from));
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        // One file may hold both.
        (Some(certificate), None) => Ok(Some((certificate.clone(), certificate))),
        (None, Some(_)) => Err(usage("--key without --cert")),
        (None, None) => Ok(None),
    }
}
