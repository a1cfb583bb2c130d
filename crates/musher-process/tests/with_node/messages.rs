//! Messages between a Rust parent and a Node child.

use musher_process::ExitStatus;
use musher_process::child_process::{Command, Event, Stdio};
use musher_process::ipc::{Options, SendError, Serialization};
use serde_json::{Value, json};

use crate::{Script, message, nodes, run};

/// Says back what it is told, until it is told to stop.
const ECHO: &str = "process.on('message', (m) => m === 'stop' ? process.exit() : process.send(m));";

#[test]
fn messages_go_both_ways() {
    for node in nodes() {
        run(async {
            let mut child = Script::new(ECHO).keep(|script| script.command(&node).fork().unwrap());
            let long = "ä𝄞\n\u{2028}".repeat(200_000);
            for sent in
                [json!(null), json!(0.1), json!([]), json!({"cmd": "NODE_"}), json!("NODE_"), json!({"a": long})]
            {
                child.1.send(&sent).await.unwrap();
                assert_eq!(message(&mut child.1).await.parse::<Value>().unwrap(), sent, "{node:?}");
            }
            child.1.send("stop").await.unwrap();
            assert_eq!(child.1.wait().await, ExitStatus::Code(0));
            assert!(!child.1.connected());
            assert!(matches!(child.1.send("late").await, Err(SendError::Closed)));
        });
    }
}

impl Script {
    /// Keeps the script as long as what is made of it.
    fn keep<T>(self, make: impl FnOnce(&Script) -> T) -> (Script, T) {
        let made = make(&self);
        (self, made)
    }
}

#[test]
fn the_tutorials_first_fork() {
    run(async {
        let script = Script::new(
            "process.on('message', msgobj => {
               console.log('Child got message:', msgobj.text);
               process.send({ text: `${msgobj.text} too` });
               process.disconnect();
             });",
        );
        let mut child = script.command(&"node".into()).silent(true).fork().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        child.send(&json!({"text": "I love you"})).await.unwrap();
        assert_eq!(message(&mut child).await.parse::<Value>().unwrap(), json!({"text": "I love you too"}));
        let mut said = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stdout, &mut said).await.unwrap();
        assert_eq!(said, "Child got message: I love you\n");
        assert_eq!(child.wait().await, ExitStatus::Code(0));
    });
}

#[test]
fn a_child_that_does_not_read_slows_its_parent_down() {
    run(async {
        // It blocks until it is told otherwise over another descriptor, then counts.
        let script = Script::new(
            "require('fs').readSync(4, Buffer.alloc(1));
             let n = 0;
             process.on('message', (m) => { n++; if (m.last) { process.send(n); process.disconnect(); } });",
        );
        let mut child = script.command(&"node".into()).fd(4, Stdio::Pipe).fork().unwrap();
        let mut start = child.take_pipe(4).unwrap();
        let mut sent = 0;
        let text = "x".repeat(1000);
        while child.sender().unwrap().try_send(&json!({"text": text})).unwrap() {
            sent += 1;
        }
        sent += 1;
        let queued = child.sender().unwrap().queued_bytes();
        assert!(queued > 0 && queued < 256 << 10, "{queued}");
        let sender = child.sender().unwrap().clone();
        // Waits for room, which comes only when the child reads.
        let last = tokio::spawn(async move { sender.send(&json!({"last": true})).await });
        tokio::task::yield_now().await;
        assert!(!last.is_finished());
        tokio::io::AsyncWriteExt::write_all(&mut start, b"!").await.unwrap();
        assert_eq!(message(&mut child).await.parse::<u32>().unwrap(), sent + 1);
        last.await.unwrap().unwrap();
        child.wait().await;
    });
}

#[test]
fn what_is_queued_arrives_before_the_disconnect() {
    run(async {
        let script = Script::new(
            "let n = 0;
             process.on('message', () => n++);
             process.on('disconnect', () => process.exit(n === 2000 ? 7 : 1));",
        );
        let mut child = script.command(&"node".into()).fork().unwrap();
        let text = "x".repeat(500);
        for _ in 0..2000 {
            child.sender().unwrap().try_send(&text).unwrap();
        }
        child.disconnect().unwrap();
        assert!(matches!(child.disconnect(), Err(SendError::Closed)));
        assert!(!child.connected());
        assert_eq!(child.wait().await, ExitStatus::Code(7));
    });
}

#[test]
fn many_messages_in_a_call_are_each_a_message_for_node() {
    for node in nodes() {
        for serialization in [Serialization::Json, Serialization::Advanced] {
            run(async {
                let script = Script::new(
                    "let next = 0;
                     process.on('message', ([n]) => {
                       if (n !== next++) process.exit(9);
                       if (next === 5000) process.send('all');
                     });",
                );
                let mut child = script.command(&node).serialization(serialization).fork().unwrap();
                let text = "x".repeat(100);
                child.sender().unwrap().send_all((0..5000).map(|number| (number, &text))).await.unwrap();
                assert_eq!(message(&mut child).await.parse::<String>().unwrap(), "all");
            });
        }
    }
}

#[test]
fn a_channel_may_have_any_number_and_come_through_a_shell() {
    run(async {
        let script = Script::new("process.send(typeof process.channel); process.disconnect()");
        let line = format!("exec node {}", script.path().display());
        let mut child = Command::shell(line).fd(9, Stdio::Ipc).stdio_all(Stdio::Inherit).spawn().unwrap();
        assert_eq!(message(&mut child).await.parse::<String>().unwrap(), "object");
        child.wait().await;
    });
}

#[test]
fn a_child_that_sends_too_much_at_once_loses_its_channel() {
    run(async {
        let script = Script::new("process.on('disconnect', () => process.exit(5)); process.send('x'.repeat(100000))");
        let options = Options::default().max_message(1000);
        let mut child = script.command(&"node".into()).channel(options).fork().unwrap();
        let mut errors = 0;
        let mut order = Vec::new();
        while let Some(event) = child.next_event().await {
            match event {
                Event::Error(error) => {
                    errors += 1;
                    assert_eq!(error.to_string(), "the child sent a message of more than 1000 bytes");
                }
                Event::Exit(status) => assert_eq!(status, ExitStatus::Code(5)),
                other => order.push(format!("{other:?}")),
            }
        }
        assert_eq!((errors, order.join(" ").as_str()), (1, "Spawn Disconnect Close(Code(5))"));
    });
}
