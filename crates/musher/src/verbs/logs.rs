//! `musher logs`

use std::io::{BufWriter, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use musher_api::client::{Client, ClientError, LogStreamReader};
use musher_api::{Cursor, LogLine, LogQuery, LogStream, rfc3339};
use musher_core::spec::DatePattern;
use tokio::time::sleep;

use self::context::Context;
use super::targets;
use crate::args::{Cli, LogsArgs, Moment, Times};
use crate::failure::Failure;
use crate::output::{Colour, Terminal, note, sanitize, sanitize_keeping_colours};
use crate::session;

mod context;

/// Pause before the stream is opened again.
const AGAIN: Duration = Duration::from_millis(50);
/// How many lines from the past are shown when nobody says how many.
const USUAL_LINES: u32 = 15;
/// How much output is written together.
const BUFFER: usize = 64 << 10;
/// How PM2 writes times in lines of key=value.
const KEY_VALUE_TIME: &str = "YYYY-MM-DD-HH:mm:ssZZ";
/// The colours of apps, chosen by name.
const COLOURS: [Colour; 5] = [Colour::Cyan, Colour::Magenta, Colour::Green, Colour::Yellow, Colour::Blue];

/// Shows what workers wrote; follows when asked to, or on a terminal.
pub(crate) async fn run(cli: &Cli, args: &LogsArgs) -> Result<(), Failure> {
    let terminal = Terminal::stdout();
    let client = session::client(cli)?;
    let chosen = targets::expanded(&client, &args.targets).await?;
    // What is around a match is known only to who sees all lines.
    let mut context = args.context.zip(args.grep.clone()).map(|(count, pattern)| Context::new(count, pattern));
    let all = args.since.is_some() || args.until.is_some() || context.is_some();
    let mut query = LogQuery {
        target: (!chosen.is_empty()).then(|| chosen.join(",")),
        lines: args.lines.or_else(|| (!all).then_some(USUAL_LINES)),
        follow: args.follow || (terminal.is_terminal() && !args.no_follow && args.until.is_none()),
        stream: if args.err { Some(LogStream::Err) } else { args.out.then_some(LogStream::Out) },
        text: args.text.clone(),
        pattern: args.grep.as_ref().filter(|_| context.is_none()).map(|pattern| pattern.as_str().to_owned()),
        // Whatever is before `until` is wanted when nothing says since when.
        since: args.since.or(all.then_some(Moment(0))).map(before),
    };
    let begun = now();
    let mut stream = match client.logs(&query).await {
        Ok(stream) => stream,
        Err(error) => return Err(targets::with_suggestion(&client, error.into(), &args.targets).await),
    };
    let form = Form::new(args, terminal)?;
    loop {
        let ended = copy(&mut stream, &mut query, &form, &mut context).await?;
        match ended {
            // What was asked for is complete.
            None if !query.follow => return Ok(()),
            Some(error @ ClientError::Protocol(_)) => return Err(error.into()),
            // The supervisor has ended. The next one goes on behind the last line, unless the whole daemon is gone.
            None | Some(_) => {}
        }
        if query.follow {
            // Without a line yet there was none from the past either: only what was written since then is missing.
            query.since.get_or_insert(begun);
        }
        if query.since.is_some() {
            query.lines = None;
        }
        match again(&client, &query).await? {
            Some(next) => stream = next,
            None => {
                note("the daemon has ended");
                return Ok(());
            }
        }
    }
}

async fn again(client: &Client, query: &LogQuery) -> Result<Option<LogStreamReader>, Failure> {
    sleep(AGAIN).await;
    session::unless_absent(client.logs(query).await)
}

/// Copies lines until the stream ends or breaks, and keeps in `query` where it was.
async fn copy(
    stream: &mut LogStreamReader,
    query: &mut LogQuery,
    form: &Form<'_>,
    context: &mut Option<Context>,
) -> Result<Option<ClientError>, Failure> {
    let mut out = BufWriter::with_capacity(BUFFER, std::io::stdout().lock());
    loop {
        // Lines that are there already are written together.
        let next = tokio::select! {
            biased;
            next = stream.next() => next,
            () = std::future::ready(()) => {
                out.flush()?;
                stream.next().await
            }
        };
        let line = match next {
            Ok(Some(line)) => line,
            ended => {
                out.flush()?;
                return Ok(ended.err());
            }
        };
        // Lines come in the order of time.
        if form.args.until.is_some_and(|until| line.time_ms >= until.0) {
            out.flush()?;
            return Ok(None);
        }
        query.since = Some(line.cursor);
        match context {
            None => writeln!(out, "{}", form.line(&line)?)?,
            Some(context) => {
                for shown in context.see(line) {
                    match shown {
                        Some(line) => writeln!(out, "{}", form.line(&line)?)?,
                        None => writeln!(out, "--")?,
                    }
                }
            }
        }
    }
}

/// The cursor behind which the lines since a moment are.
fn before(moment: Moment) -> Cursor {
    Cursor(moment.0.saturating_mul(1_000_000).saturating_sub(1))
}

fn now() -> Cursor {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Cursor(u64::try_from(since_1970.as_nanos()).unwrap_or(0))
}

/// How lines are shown.
struct Form<'a> {
    args: &'a LogsArgs,
    terminal: Terminal,
    zone: TimeZone,
    key_value_time: DatePattern,
}

impl<'a> Form<'a> {
    fn new(args: &'a LogsArgs, terminal: Terminal) -> Result<Form<'a>, Failure> {
        let key_value_time = DatePattern::parse(KEY_VALUE_TIME).map_err(Failure::environment)?;
        Ok(Form { args, terminal, zone: TimeZone::system(), key_value_time })
    }

    fn line(&self, line: &LogLine) -> Result<String, Failure> {
        if self.args.json {
            return Ok(serde_json::to_string(line).map_err(std::io::Error::from)?);
        }
        if self.args.raw && self.args.highlight.is_none() {
            return Ok(line.line.clone());
        }
        // A file gets what was written; a terminal must not be driven by a program's output.
        let text = match (self.terminal.is_terminal(), self.terminal.has_colours()) {
            (true, true) => sanitize_keeping_colours(&line.line),
            (true, false) => sanitize(&line.line),
            (false, _) => line.line.clone(),
        };
        let text = self.highlighted(text);
        if self.args.raw {
            return Ok(text);
        }
        let (app, slot) = (sanitize(&line.app), line.slot);
        if self.args.format {
            let time = self.local(line.time_ms, &self.key_value_time);
            return Ok(format!("timestamp={time} app={app} id={slot} type={} message={text}", line.stream.word()));
        }
        let time = match &self.args.timestamps {
            None => String::new(),
            Some(Times::Utc) => format!("{} ", rfc3339(line.time_ms)),
            Some(Times::Local(pattern)) => format!("{} ", self.local(line.time_ms, pattern)),
        };
        let name = self.terminal.paint(colour_of(&line.app), &format!("{app}/{slot}"));
        let bar = match line.stream {
            LogStream::Out => "|".to_owned(),
            LogStream::Err => self.terminal.paint(Colour::Red, "!"),
        };
        Ok(format!("{}{name} {bar} {text}", self.terminal.paint(Colour::Dim, &time)))
    }

    fn local(&self, time_ms: u64, pattern: &DatePattern) -> String {
        let moment = i64::try_from(time_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let offset = moment.map_or(0, |moment| self.zone.to_offset(moment).seconds());
        let mut text = String::new();
        pattern.write(time_ms, offset, &mut text);
        text
    }

    /// The word of `--highlight` in colour, where colours are wanted.
    fn highlighted(&self, text: String) -> String {
        match self.args.highlight.as_deref().filter(|word| !word.is_empty()) {
            Some(word) => text.replace(word, &self.terminal.paint(Colour::Yellow, word)),
            None => text,
        }
    }
}

/// Always the same colour for the same name (FNV-1a).
fn colour_of(app: &str) -> Colour {
    let hash = app
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    COLOURS[usize::try_from(hash % COLOURS.len() as u64).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use jiff::tz::TimeZone;
    use musher_api::{Cursor, LogLine, LogStream};

    use super::{Form, colour_of};
    use crate::args::{Cli, LogsArgs, Verb};
    use crate::output::Terminal;

    fn args(words: &[&str]) -> LogsArgs {
        let Verb::Logs(args) = Cli::try_parse_from(["musher", "logs"].iter().chain(words)).unwrap().verb else {
            panic!()
        };
        args
    }

    fn line(words: &[&str], terminal: Terminal) -> String {
        let args = args(words);
        let mut form = Form::new(&args, terminal).unwrap();
        form.zone = TimeZone::fixed(jiff::tz::offset(2));
        let line = LogLine {
            cursor: Cursor(7),
            time_ms: 1_700_000_000_123,
            app: "web".into(),
            slot: 1,
            run: 9,
            pid: 4,
            stream: LogStream::Err,
            line: "bad \x1b[2J thing".into(),
        };
        form.line(&line).unwrap()
    }

    #[test]
    fn a_line_says_whose_it_is() {
        assert_eq!(line(&[], Terminal::plain(80)), "web/1 ! bad \\x1b[2J thing");
        assert_eq!(line(&["-t"], Terminal::plain(80)), "2023-11-14T22:13:20.123Z web/1 ! bad \\x1b[2J thing");
        assert_eq!(line(&[], Terminal::file()), "web/1 ! bad \x1b[2J thing", "a file gets what was written");
        assert_eq!(line(&["--raw"], Terminal::plain(80)), "bad \x1b[2J thing");
        assert_eq!(line(&["--timestamp=HH:mm Z"], Terminal::file()), "00:13 +02:00 web/1 ! bad \x1b[2J thing");
        let pairs = "timestamp=2023-11-15-00:13:20+0200 app=web id=1 type=err message=bad \x1b[2J thing";
        assert_eq!(line(&["--format", "--highlight", "bad"], Terminal::file()), pairs);
        let json: serde_json::Value = serde_json::from_str(&line(&["--json"], Terminal::file())).unwrap();
        assert_eq!((&json["cursor"], &json["stream"]), (&"7".into(), &"err".into()));
    }

    #[test]
    fn a_name_keeps_its_colour() {
        assert_eq!(colour_of("web"), colour_of("web"));
    }
}
