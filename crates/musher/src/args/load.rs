//! `musher load`: siege's flags with siege's meaning, and what siege does not have.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueHint};
use musher_load::expect::Expectation;
use musher_load::pace::Rate;

use super::{Cli, Verb, duration};

pub(crate) const LOAD_HELP: &str = "\
Examples:
  musher load -c 100 -r 2 http://localhost:3000           as siege: 100 users, 2 requests each
  musher load -c 50 -t 30S -f urls.txt                    a list of URLs, for 30 seconds
  musher load --rate 1000 -t 1M http://localhost:3000     open loop: latency from when each request was due
  musher load --rate 500 --during 'musher reload web' --expect 'during:p99<50ms' http://localhost:3000
  musher load --sweep http://localhost:3000               the best concurrency, with its interval
  musher load compare before.json after.json              what changed, and whether it is noise";

pub(crate) const LOAD_LONG_HELP: &str = "\
Examples:
  musher load -c 100 -r 2 http://localhost:3000           as siege: 100 users, 2 requests each
  musher load -c 50 -t 30S -f urls.txt                    a list of URLs, for 30 seconds
  musher load --rate 1000 -t 1M http://localhost:3000     open loop: latency from when each request was due
  musher load --rate 500 --during 'musher reload web' --expect 'during:p99<50ms' http://localhost:3000
  musher load --sweep http://localhost:3000               the best concurrency, with its interval
  musher load compare before.json after.json              what changed, and whether it is noise

Exit codes:
  0  requests were answered, and every --expect holds
  1  nothing was answered, a host has no address, or an --expect does not hold
  2  the command line is wrong, or a public address needs --yes-i-may
  3  a list of URLs or a .siegerc is wrong
  7  this machine lacks something: open files, ports, a file that cannot be written";

/// `musher load` by itself: the flags of all other verbs are not put together, which is most of what reading a command
/// line costs.
#[derive(Debug, Parser)]
struct LoadAlone {
    #[arg(long, global = true)]
    home: Option<PathBuf>,
    #[command(flatten)]
    load: LoadArgs,
}

/// The command line, if it is `musher load` and right. Help and what is wrong are told by [`Cli`].
pub(crate) fn load_alone(words: &[OsString]) -> Option<Cli> {
    let words = words.get(1..).filter(|words| words.first().is_some_and(|verb| verb == "load"))?;
    let LoadAlone { home, load } = LoadAlone::try_parse_from(words).ok()?;
    Some(Cli { home, verb: Verb::Load(Box::new(load)) })
}

/// `musher load`
#[derive(Debug, Default, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct LoadArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<LoadVerb>,
    /// What is asked; without a scheme it is http. ws:// and wss:// are WebSockets.
    #[arg(value_name = "URL")]
    pub(crate) urls: Vec<String>,
    /// Users, each with one request at a time; with --rate, the most connections [default: 25; with --rate 1000].
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) concurrent: Option<u32>,
    /// Requests of each user; `once`: every URL of the list once, all users together.
    #[arg(short, long, value_name = "N|once")]
    pub(crate) reps: Option<String>,
    /// For how long: 30S, 2M, 1H as siege has it (no letter: minutes), or 500ms.
    #[arg(short, long, value_name = "TIME", value_parser = siege_time)]
    pub(crate) time: Option<Duration>,
    /// A list of URLs, one a line: `URL`, `URL POST a=1`, `URL PUT <file`, variables, comments.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// No pauses (as siege: it only sets the delay to 0).
    #[arg(short, long)]
    pub(crate) benchmark: bool,
    /// A pause of 0 up to SEC seconds, by chance, after each answer.
    #[arg(short, long, value_name = "SEC")]
    pub(crate) delay: Option<f64>,
    /// URLs of the list by chance.
    #[arg(short, long)]
    pub(crate) internet: bool,
    /// A header of every request; may be repeated.
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    pub(crate) header: Vec<String>,
    /// `User-Agent` of every request.
    #[arg(short = 'A', long, value_name = "TEXT")]
    pub(crate) user_agent: Option<String>,
    /// `Content-Type` of bodies.
    #[arg(short = 'T', long, value_name = "TYPE")]
    pub(crate) content_type: Option<String>,
    /// A name for the run, in reports and the log.
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) mark: Option<String>,
    /// Get each URL once and show what was sent and the head of the answer.
    #[arg(short, long)]
    pub(crate) get: bool,
    /// The same with the body.
    #[arg(short, long)]
    pub(crate) print: bool,
    /// Only the report.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Tell each request.
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// The report as JSON on standard output.
    #[arg(short, long = "json", visible_alias = "json-output")]
    pub(crate) json: bool,
    /// Defaults from this file of siege's form [default: $SIEGERC, else ~/.siegerc].
    #[arg(short = 'R', long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) rc: Option<PathBuf>,
    /// Append a line of siege's log to this file.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) log: Option<PathBuf>,
    /// Do not follow redirects.
    #[arg(long)]
    pub(crate) no_follow: bool,
    /// Accepted and without effect: pages are never searched for their parts.
    #[arg(long, hide = true)]
    pub(crate) no_parser: bool,
    /// Show what would be done, and end.
    #[arg(short = 'C', long)]
    pub(crate) config: bool,
    #[command(flatten)]
    pub(crate) pace: PaceArgs,
    #[command(flatten)]
    pub(crate) wire: WireArgs,
    #[command(flatten)]
    pub(crate) judge: JudgeArgs,
    #[command(flatten)]
    pub(crate) sweep: SweepArgs,
}

/// When requests are sent.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Pace")]
pub(crate) struct PaceArgs {
    /// Open loop: so many requests a second, whatever the server does. 1000; 100..1000@30s (a ramp); 100@10s,200@10s (steps).
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) rate: Option<Rate>,
    /// With --rate: at random instants, as many independent people do.
    #[arg(long, requires = "rate")]
    pub(crate) poisson: bool,
    /// This long at the begin is not counted.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) warm_up: Option<Duration>,
    /// A pause of always this length after each answer.
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "delay")]
    pub(crate) think: Option<Duration>,
    /// How long an answer may take [default: 30s].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// How long to wait at the end for answers under way [default: 40ms].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) finish: Option<Duration>,
    /// End after so many failures [default: never, but after 1024 without any answer].
    #[arg(long, value_name = "N")]
    pub(crate) failures: Option<u64>,
    /// How often each URL is chosen, relative to the others; with commas between them.
    #[arg(long, value_name = "WEIGHTS", value_delimiter = ',')]
    pub(crate) weights: Vec<f64>,
    /// Processes that send, each with its part of the users or of the rate.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) processes: u32,
    /// Threads that send, of each process.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: u32,
    /// Of everything that is random [default: chosen, and told].
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

/// What goes over the wire.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Connections")]
pub(crate) struct WireArgs {
    /// GET, POST, ...
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// The body, or @FILE; for WebSockets, the message. Without --method it is POST.
    #[arg(long, value_name = "TEXT")]
    pub(crate) data: Option<String>,
    /// A new connection for each request.
    #[arg(long)]
    pub(crate) close: bool,
    /// HTTP/2, with so many users to a connection.
    #[arg(long, value_name = "STREAMS", num_args = 0..=1, default_missing_value = "1", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) http2: Option<u32>,
    /// What the answer to a WebSocket message has to contain.
    #[arg(long, value_name = "TEXT")]
    pub(crate) ws_expect: Option<String>,
    /// A unix socket instead of the URL's host and port.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) unix: Option<PathBuf>,
    /// An HTTP proxy.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) proxy: Option<String>,
    /// USER:PASSWORD for the proxy.
    #[arg(long, value_name = "LOGIN", requires = "proxy")]
    pub(crate) proxy_login: Option<String>,
    /// USER:PASSWORD for basic authentication; better in $MUSHER_LOAD_LOGIN, as other users see a command line.
    #[arg(long, value_name = "LOGIN", env = "MUSHER_LOAD_LOGIN", hide_env_values = true)]
    pub(crate) login: Option<String>,
    /// Keep no cookies.
    #[arg(long)]
    pub(crate) no_cookies: bool,
    /// Ask for compressed answers.
    #[arg(long)]
    pub(crate) gzip: bool,
    /// Trust any certificate.
    #[arg(short = 'k', long)]
    pub(crate) insecure: bool,
    /// Trust these certificates instead of the system's.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) cacert: Option<PathBuf>,
    /// Certificate of the client.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) cert: Option<PathBuf>,
    /// Key of the client.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: Option<PathBuf>,
    /// Name for TLS instead of the URL's.
    #[arg(long, value_name = "NAME")]
    pub(crate) server_name: Option<String>,
    /// Load a public address with more than a few requests: you may do that there.
    #[arg(long)]
    pub(crate) yes_i_may: bool,
}

/// What is made of it.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Judging")]
pub(crate) struct JudgeArgs {
    /// What the run has to come to: p99<200ms, errors<0.1%, rate>=1000, during:max<1s. May be repeated.
    #[arg(long, value_name = "THRESHOLD")]
    pub(crate) expect: Vec<Expectation>,
    /// Run this shell command in the middle, and report before, during and after.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) during: Option<String>,
    /// With --during: how long before it.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s", requires = "during")]
    pub(crate) before: Duration,
    /// With --during: how long after it.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s", requires = "during")]
    pub(crate) after: Duration,
    /// Write a report: FILE.json (everything), .html (a page with plots), .svg, .csv (by interval), .hdr (HdrHistogram log), .txt. May be repeated.
    #[arg(short = 'o', long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) report: Vec<PathBuf>,
    /// Lines instead of the live view, on a terminal too.
    #[arg(long)]
    pub(crate) no_live: bool,
}

/// The best concurrency.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Sweep")]
pub(crate) struct SweepArgs {
    /// Find the best concurrency: run many numbers of users, in rounds, in random order.
    #[arg(long)]
    pub(crate) sweep: bool,
    /// The most users.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=100_000), requires = "sweep")]
    pub(crate) sweep_max: u32,
    /// Rounds; three at least give an interval worth its name.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100), requires = "sweep")]
    pub(crate) rounds: u32,
    /// How long each level is measured in a round, after its warm-up.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2s", requires = "sweep")]
    pub(crate) level_time: Duration,
    /// These numbers of users instead of those that are found; with commas between them. 1 is always one.
    #[arg(long, value_name = "LEVELS", value_delimiter = ',', requires = "sweep", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) levels: Vec<u32>,
    /// Also find the most users for whom the 99th percentile stays below this: p99=200ms.
    #[arg(long, value_name = "p99=TIME", value_parser = slo, requires = "sweep")]
    pub(crate) slo: Option<f64>,
    /// Do not confirm it by an open-loop run at 80 % of the best throughput.
    #[arg(long, requires = "sweep")]
    pub(crate) no_confirm: bool,
}

/// `musher load compare`
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// A report as `--report FILE.json` wrote it.
    #[arg(value_name = "BEFORE", value_hint = ValueHint::FilePath)]
    pub(crate) before: PathBuf,
    /// Another one.
    #[arg(value_name = "AFTER", value_hint = ValueHint::FilePath)]
    pub(crate) after: PathBuf,
    /// Exit with 1 when something is worse.
    #[arg(long)]
    pub(crate) fail: bool,
}

/// Verbs of `musher load`.
#[derive(Debug, Subcommand)]
pub(crate) enum LoadVerb {
    /// Say what changed between two runs, and whether it is noise
    Compare(CompareArgs),
    /// Put the reports of several machines together
    Merge(MergeArgs),
}

/// `musher load merge`
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// Reports as `--report FILE.json` wrote them.
    #[arg(required = true, num_args = 2.., value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
    /// The sum as JSON.
    #[arg(short, long)]
    pub(crate) json: bool,
    /// Write it: FILE.json, .csv, .hdr, .txt. May be repeated.
    #[arg(short = 'o', long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) report: Vec<PathBuf>,
}

fn rate(text: &str) -> Result<Rate, String> {
    Rate::parse(text).map_err(|error| error.to_string())
}

fn slo(text: &str) -> Result<f64, String> {
    let time = text.trim().strip_prefix("p99=").unwrap_or(text);
    musher_load::time::seconds(time).ok_or_else(|| "a limit is p99=200ms".into())
}

fn siege_time(text: &str) -> Result<Duration, String> {
    musher_load::siege::time(text).ok_or_else(|| "a time is 30S, 2M or 1H (no letter: minutes), or 500ms".into())
}

/// A proxy's address.
pub(crate) fn host_and_port(text: &str) -> Option<(String, u16)> {
    let text = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip().to_string(), address.port()));
    }
    let (host, port) = text.rsplit_once(':')?;
    Some((host.to_owned(), port.parse().ok().filter(|port| *port > 0)?)).filter(|(host, _)| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn load_by_itself_is_read_as_among_all_verbs() {
        for line in [
            "musher load",
            "musher load -b -c 64 -t 1S http://localhost:3000",
            "musher load --home /tmp/x -c 3 -r once -f urls.txt --rate 100 --poisson -H a:b -H c:d",
            "musher load compare a.json b.json --fail --home /tmp/x",
            "musher load merge a.json b.json -j",
            "musher load --expect p99<200ms --sweep --sweep-max 8 localhost",
        ] {
            let alone = load_alone(&words(line)).map(|cli| format!("{cli:?}"));
            let among_all = Cli::try_parse_from(words(line)).map(|cli| format!("{cli:?}"));
            assert_eq!(alone, Some(among_all.unwrap()), "{line}");
        }
    }

    #[test]
    fn what_is_no_load_or_wrong_is_left_to_the_whole_command_line() {
        for line in [
            "musher",
            "musher list",
            "musher --home x load",
            "musher load --help",
            "musher load --nonsense",
            "musher load -c 0 localhost",
            "musher load compare a.json",
        ] {
            assert!(load_alone(&words(line)).is_none(), "{line}");
        }
    }
}
