//! Output of the workers: whole lines, no gap, rotated, merged.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::apps::app;
use crate::support::{Home, free_port, fresh, nothing_lost, proc_fs, some_answers, wait_until};

/// `worker.py` with these arguments and these lines more in its table.
fn python(home: &Home, name: &str, args: &[&str], more: &str) {
    let args: Vec<String> = args.iter().map(|arg| format!("\"{arg}\"")).collect();
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"{name}\"\nscript = \"{}\"\nargs = [{}]\nready = {{ after = \"100ms\" }}\n{more}",
            app("worker.py"),
            args.join(", ")
        ),
    );
    home.ok(["start", "team.toml"]);
}

/// The numbers of the lines `line <number> ...` in the order they stand; fails on a line that is not whole.
fn numbers(text: &str) -> Vec<u64> {
    text.lines()
        .filter(|line| !line.starts_with("counted"))
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            assert!(words.len() == 3 && words[0] == "line", "not a whole line: {line:?}");
            let number: u64 = words[1].parse().unwrap();
            assert_eq!(words[2], format!("filler{}", number % 10).repeat(4), "a torn line: {line:?}");
            number
        })
        .collect()
}

/// `out.log` with its rotated files before it.
fn rotated(home: &Home, app: &str) -> Vec<PathBuf> {
    let directory = home.path().join("logs").join(app);
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("out"))
        .collect();
    files.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    files
}

#[test]
fn lines_of_a_stretch_of_time_are_shown() {
    let home = Home::new();
    let command = "for n in 1 2 3; do echo line $n; sleep 0.05; done; exec sleep 1000";
    home.ok(["start", "--name", "slow", "--ready", "300ms", "--", "sh", "-c", command]);
    let all = home.ok(["logs", "slow", "--json"]).out;
    let lines: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{all}");
    let middle = musher_api::rfc3339(lines[1]["time_ms"].as_u64().unwrap());
    let shown = |words: &[&str]| home.ok(["logs", "slow", "--raw"].iter().chain(words)).out;
    assert_eq!(shown(&["--since", &middle]), "line 2\nline 3\n");
    assert_eq!(shown(&["--until", &middle]), "line 1\n");
    assert_eq!(shown(&["--since", &middle, "--lines", "1"]), "line 2\n");
    assert_eq!(shown(&["--since", "1h", "--until", "59m"]), "");
    assert_eq!(shown(&["--since", "1h"]).lines().count(), 3);
    home.run(["logs", "--since", "soon"]).failed(2, &["so long ago (10m, 2h, 1d)"]);
}

#[test]
fn the_flags_and_the_search_of_pm2s_users_work() {
    let home = Home::new();
    let both = home.path().join("new/all.log");
    let command = "echo one; echo two=2; echo three; echo bad >&2; exec sleep 1000";
    let flags = ["--log-type", "json", "--log-date-format", "YYYY", "--ready", "400ms", "--output", "/dev/null"];
    let start = ["start", "--name", "said", "--log", both.to_str().unwrap()];
    home.ok(start.iter().chain(&flags).chain(&["--", "sh", "-c", command]));
    let text = fs::read_to_string(&both).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = |kind: &str| -> Vec<&str> {
        lines.iter().filter(|line| line["type"] == kind).map(|line| line["message"].as_str().unwrap()).collect()
    };
    assert_eq!((said("out"), said("err")), (vec!["one", "two=2", "three"], vec!["bad"]), "{text}");
    assert_eq!(lines[0]["timestamp"].as_str().unwrap().len(), 4, "{text}");
    assert_eq!((&lines[0]["app_name"], &lines[0]["process_id"]), (&"said".into(), &0.into()));
    let shown = |words: &[&str]| home.ok(["logs", "/^sa/", "--raw"].iter().chain(words)).out;
    assert_eq!(shown(&["--grep", "^t.*=\\d$"]), "two=2\n");
    assert_eq!(shown(&["--out", "--grep", "^tw", "-C", "1"]), "one\ntwo=2\nthree\n");
    assert!(home.ok(["describe", "said"]).out.contains("4 lines"));
    let refused = home.run(["logs", "--grep", "("]);
    assert!(refused.code == Some(2) && refused.err.contains("--grep"), "{}", refused.err);
}

#[test]
fn lines_are_whole_and_none_is_lost_while_supervisors_and_keepers_are_killed() {
    let home = Home::new();
    python(&home, "count", &["count", "1000", "6000"], "");
    for round in 0..8 {
        if round % 2 == 0 {
            home.kill_supervisor();
        } else {
            home.kill_keeper();
        }
        let before = home.log("count", "out.log").len();
        wait_until("the log goes on", || home.log("count", "out.log").len() > before);
    }
    wait_until("all is counted", || home.log("count", "out.log").contains("counted"));
    let seen = numbers(&home.log("count", "out.log"));
    let mut expected = 0;
    for (index, number) in seen.iter().enumerate() {
        // At least once: a line that was written just before the kill may stand twice.
        if *number + 1 == expected || (*number < expected && index > 0 && expected - number < 2000) {
            continue;
        }
        assert_eq!(*number, expected, "a gap at line {index}");
        expected += 1;
    }
    assert_eq!(expected, 6000);
    let twice = seen.len() as u64 - 6000;
    eprintln!("{twice} lines stand twice");
}

#[test]
fn the_log_rotates_by_size_and_keeps_so_many_files() {
    let home = Home::new();
    python(&home, "count", &["count", "20000", "20000"], "logs = { max_size = \"100KiB\", keep = 3 }\n");
    wait_until("all is counted", || home.log("count", "out.log").contains("counted"));
    let files = rotated(&home, "count");
    assert_eq!(files.len(), 4, "the current one and three more: {files:?}");
    for file in &files {
        let size = fs::metadata(file).unwrap().len();
        assert!(size <= 110 << 10, "{}: {size} bytes", file.display());
    }
    let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let seen = numbers(&text);
    assert_eq!(*seen.last().unwrap(), 19_999);
    assert!(seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "no gap between the files");
}

#[test]
fn lines_can_have_a_time_or_be_json() {
    let home = Home::new();
    python(&home, "timed", &["count", "100", "3"], "logs = { format = \"timestamp\" }\n");
    wait_until("all is counted", || home.log("timed", "out.log").contains("counted"));
    let text = home.log("timed", "out.log");
    for (number, line) in text.lines().take(3).enumerate() {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z') && time.contains('.'), "RFC 3339 with ms: {line}");
        assert!(rest.starts_with(&format!("line {number} ")), "{line}");
    }

    python(&home, "json", &["count", "100", "3"], "logs = { format = \"json\" }\n");
    wait_until("all is counted", || home.log("json", "out.log").contains("counted"));
    let text = home.log("json", "out.log");
    for (number, line) in text.lines().take(3).enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["app"], "json");
        assert_eq!(line["slot"], 0);
        assert_eq!(line["stream"], "out");
        assert!(line["pid"].is_u64() && line["time"].is_string(), "{line}");
        assert!(line["message"].as_str().unwrap().starts_with(&format!("line {number} ")), "{line}");
    }
}

#[test]
fn a_flood_is_slowed_and_holds_up_nobody_else() {
    let home = Home::new();
    let port = free_port();
    home.ok(["start", &app("web.cjs"), "-i", "2", "--name", "web", "--", &port.to_string()]);
    python(&home, "flood", &["flood"], "logs = { max_size = \"1MiB\", keep = 2 }\n");
    wait_until("the flood reaches the files", || rotated(&home, "flood").len() == 3);
    let load = fresh(port);
    for _ in 0..5 {
        some_answers(&load, 100);
        let memory = proc_fs::rss_bytes(home.supervisor()).unwrap();
        assert!(memory < 48 << 20, "the supervisor holds {memory} bytes");
        home.list();
    }
    nothing_lost("a flood beside it", load);
    home.ok(["stop", "flood"]);
    let size: u64 = rotated(&home, "flood").iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(size <= 4 << 20, "{size} bytes of files that may be 3 MiB");
}

#[test]
fn a_line_of_a_megabyte_harms_nobody() {
    let home = Home::new();
    python(&home, "long", &["long-line"], "");
    wait_until("the line after it", || home.log("long", "out.log").lines().any(|line| line == "after"));
    let text = home.log("long", "out.log");
    assert_eq!(text.matches('y').count(), 1 << 20, "nothing of it is lost");
}

#[test]
fn logs_shows_the_last_lines_merged_and_filtered() {
    let home = Home::new();
    python(&home, "count", &["count", "1000", "30"], "");
    home.ok(["start", &app("worker.py"), "--name", "jobs"]);
    wait_until("all is counted", || home.log("count", "out.log").contains("counted"));

    let all = home.ok(["logs", "--no-follow", "--lines", "100"]).out;
    assert!(all.contains("count") && all.contains("jobs") && all.contains("working pid="), "{all}");
    let last = home.ok(["logs", "count", "--no-follow", "--lines", "5"]).out;
    let lines: Vec<&str> = last.lines().collect();
    assert_eq!(lines.len(), 5, "{last}");
    assert!(lines[4].contains("counted") && lines[3].contains("line 29 "), "{last}");
    assert!(lines.iter().all(|line| line.contains("count")), "each says whose it is: {last}");
    assert!(!last.contains("jobs"), "{last}");
    home.run(["logs", "nobody", "--no-follow"]).failed(4, &["nobody"]);
}

#[test]
fn logs_follows_over_a_killed_supervisor() {
    let home = Home::new();
    python(&home, "count", &["count", "200", "2000"], "");
    let mut follower = home.spawn(["logs", "count", "--follow", "--lines", "0"]);
    wait_until("some lines", || home.log("count", "out.log").lines().count() > 100);
    home.kill_supervisor();
    let seen = home.log("count", "out.log").lines().count();
    wait_until("more lines", || home.log("count", "out.log").lines().count() > seen + 300);
    assert!(follower.is_running(), "it follows on");
    let said = follower.stop().out;
    let seen: Vec<u64> =
        said.lines().filter_map(|line| line.split("line ").nth(1)?.split(' ').next()?.parse().ok()).collect();
    assert!(seen.len() > 300, "{said}");
    let gaps: Vec<&[u64]> = seen.windows(2).filter(|pair| pair[1] > pair[0] + 1).collect();
    assert!(gaps.is_empty(), "gaps in what was followed: {gaps:?}");
}

#[test]
fn standard_error_has_a_file_of_its_own() {
    let home = Home::new();
    home.write(
        "team.toml",
        "[[app]]\nname = \"both\"\ncommand = [\"sh\", \"-c\", \"echo to out; echo to err >&2; exec sleep 1000\"]\n\
         ready = { after = \"200ms\" }\n",
    );
    home.ok(["start", "team.toml"]);
    wait_until("both lines", || !home.log("both", "out.log").is_empty() && !home.log("both", "err.log").is_empty());
    assert_eq!(home.log("both", "out.log"), "to out\n");
    assert_eq!(home.log("both", "err.log"), "to err\n");
    let err = home.ok(["logs", "both", "--no-follow", "--err"]).out;
    assert!(err.contains("to err") && !err.contains("to out"), "{err}");
}
