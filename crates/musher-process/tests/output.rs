//! What is collected of a child's outputs, and how long that waits.
#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at what it does not expect")]

use std::future::Future;
use std::time::Duration;

use musher_process::ExitStatus;
use musher_process::child_process::{Command, Encoding, Reason, Signal, Stdio, Stream};
use tokio::io::AsyncWriteExt;

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let deadline = Duration::from_secs(60);
    runtime.block_on(async { tokio::time::timeout(deadline, test).await.expect("not done in time") });
}

/// Says it in one go.
fn says(text: &str) -> Command {
    Command::new("printf").arg(text)
}

#[test]
fn too_much_text_is_cut_after_characters_and_bytes_after_bytes() {
    run(async {
        let error = says("中文测试").max_buffer(3).output().await.unwrap_err();
        assert!(matches!(error.reason, Reason::TooMuch { stream: Stream::Stdout, .. }), "{error}");
        assert_eq!((error.output.stdout_text().as_str(), error.output.stdout.as_slice()), ("中文测", "中".as_bytes()));
        // Too many bytes, but not too many characters: all that was said.
        let error = says("中文测试").max_buffer(10).output().await.unwrap_err();
        assert_eq!((error.output.stdout_text().as_str(), error.output.stdout.len()), ("中文测试", 10));
        let error = says("abc").max_buffer(2).encoding(Encoding::Hex).output().await.unwrap_err();
        assert_eq!(error.output.stdout_text(), "61");
        let error = says("never").max_buffer(0).output().await.unwrap_err();
        assert_eq!((error.output.stdout_text(), error.output.stdout.len()), (String::new(), 0));
        assert!(Command::new("true").max_buffer(0).output().await.is_ok());
        let most = says("中文测试").max_buffer(12).output().await.unwrap();
        assert_eq!(most.stdout_text(), "中文测试");
    });
}

#[test]
fn much_output_on_both_streams_is_collected_whole() {
    run(async {
        let line = "head -c 3000000 /dev/zero; head -c 2000000 /dev/zero >&2";
        let output = Command::shell(line).max_buffer(usize::MAX).output().await.unwrap();
        assert_eq!((output.stdout.len(), output.stderr.len()), (3_000_000, 2_000_000));
        // The input is written while the output is read.
        let input = vec![b'x'; 1 << 20];
        assert_eq!(Command::new("cat").input(input.clone()).output().await.unwrap().stdout, input);
        // Who does not want it is not made to.
        assert!(Command::new("true").input(input).output().await.is_ok());
    });
}

#[test]
fn a_child_whose_output_is_collected_can_be_written_to_and_signalled() {
    run(async {
        let mut child = Command::shell("read name; echo hello $name; exec sleep 1000").spawn().unwrap();
        let (mut input, handle) = (child.stdin.take().unwrap(), child.handle());
        let output = tokio::spawn(child.wait_with_output());
        input.write_all(b"you\n").await.unwrap();
        // The shell has read the line when its input has no reader any more: sleep has it closed.
        handle.kill(Signal::TERM).unwrap();
        let error = output.await.unwrap().unwrap_err();
        assert!(matches!(error.reason, Reason::Failed(ExitStatus::Signal { signal: 15, .. })), "{error}");
        assert!(error.killed);
    });
}

#[test]
fn what_was_taken_out_is_not_collected() {
    run(async {
        let mut child = Command::shell("echo out; echo err >&2").spawn().unwrap();
        let mine = child.stdout.take().unwrap();
        let output = child.wait_with_output().await.unwrap();
        assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b""[..], &b"err\n"[..]));
        let words = Command::new("wc").arg("-w").stdin(mine.into_stdio().unwrap()).output().await.unwrap();
        assert_eq!(words.stdout_text().trim(), "1");
    });
}

#[test]
fn whoever_else_holds_the_output_is_waited_for_no_longer_than_the_limit() {
    run(async {
        // The shell ends at once, and what it started has its output. On a busy machine also that takes its time.
        for limit in [200, 2_000, 20_000] {
            let command = Command::shell("sleep 1000 & echo $!").timeout(Duration::from_millis(limit));
            let (ended, said) = match command.output().await {
                Ok(output) => (true, output.stdout_text()),
                Err(error) => (false, error.output.stdout_text()),
            };
            if !said.is_empty() {
                Command::new("kill").arg(said.trim()).output().await.unwrap();
            }
            if ended {
                assert!(said.trim().parse::<u32>().is_ok(), "{said}");
                return;
            }
        }
        unreachable!("a shell did not end within 20 s");
    });
}

#[test]
fn several_children_may_write_into_one_ones_input() {
    run(async {
        let mut cat = Command::new("cat").spawn().unwrap();
        let mut input = cat.stdin.take().unwrap();
        for word in ["one", "two"] {
            let echo = Command::new("echo").arg(word).stdout(input.to_stdio().unwrap());
            assert!(echo.spawn().unwrap().wait().await.is_success());
        }
        input.write_all(b"and we\n").await.unwrap();
        input.shutdown().await.unwrap();
        assert!(input.to_stdio().is_err() && input.into_stdio().is_err());
        assert_eq!(cat.wait_with_output().await.unwrap().stdout_text(), "one\ntwo\nand we\n");
    });
}

#[test]
fn what_we_write_does_not_block_because_a_child_has_the_same_pipe() {
    run(async {
        let mut sleeper = Command::new("sleep").arg("1000").kill_on_drop(true).spawn().unwrap();
        let mut input = sleeper.stdin.take().unwrap();
        let other = Command::new("true").stdout(input.to_stdio().unwrap()).stdin(Stdio::Ignore);
        assert!(other.spawn().unwrap().wait().await.is_success());
        // More than a pipe holds, to a child that does not read: a write that blocked would never come back.
        let written = tokio::time::timeout(Duration::from_millis(1), input.write_all(&vec![0; 1 << 20])).await;
        assert!(written.is_err());
    });
}
