//! The events of a child, in Node's order: the same children under Node itself and under this library.

use std::fmt::Write;

use musher_process::ExitStatus;
use musher_process::child_process::{Command, Event, Stdio};
use musher_process::exit::signal_name;

use crate::{Script, nodes, run};

/// Children, each a name and a script that is forked.
const CHILDREN: [(&str, &str); 7] = [
    ("ends", ""),
    ("fails", "process.send('a'); process.send({b: 1}); process.exit(3)"),
    ("leaves", "process.send('a'); process.disconnect()"),
    ("leaves and stays", "process.disconnect(); process.on('exit', () => process.exitCode = 4)"),
    ("is killed", "process.send('a', () => process.kill(process.pid, 'SIGKILL'))"),
    ("throws", "process.send('a'); process.stderr.write = () => true; throw new Error('no')"),
    ("floods", "for (let i = 0; i < 3000; i++) process.send(i); process.send('last', () => process.exit())"),
];

/// The yardstick: says for each child what Node's own events are.
const NODE: &str = "
const { fork } = require('child_process');
const [list] = process.argv.slice(2);
const children = JSON.parse(list);
(function next() {
  const child = children.shift();
  if (!child) return;
  let line = '';
  const forked = fork(child, { silent: true });
  for (const name of ['spawn', 'message', 'disconnect', 'error', 'exit', 'close']) {
    forked.on(name, (...values) => {
      line += name + (name === 'message' ? JSON.stringify(values[0]) : name === 'spawn' || name === 'disconnect' ? '' :
        JSON.stringify(values)) + ' ';
      if (name === 'close') { console.log(line.trim()); next(); }
    });
  }
})();";

#[test]
fn events_come_in_nodes_order() {
    for node in nodes() {
        run(async {
            let scripts: Vec<(&str, Script)> = CHILDREN.iter().map(|(name, text)| (*name, Script::new(text))).collect();
            let paths: Vec<_> = scripts.iter().map(|(_, script)| script.path()).collect();
            let yardstick = Script::new(NODE);
            let list = serde_json::to_string(&paths).unwrap();
            let output = Command::new(&node).arg(yardstick.path()).arg(list).output().await.unwrap();
            let said = output.stdout_text();
            let mut expected = said.lines();
            for (name, script) in &scripts {
                let ours = events_of(script.command(&node).silent(true)).await;
                assert_eq!(ours, expected.next().unwrap_or_default(), "{name}, {node:?}");
            }
        });
    }
}

async fn events_of(command: Command) -> String {
    let mut child = command.fork().unwrap();
    let mut line = String::new();
    while let Some(event) = child.next_event().await {
        let _ = match event {
            Event::Spawn => write!(line, "spawn "),
            Event::Message(message) => write!(line, "message{} ", message.text().unwrap()),
            Event::Disconnect => write!(line, "disconnect "),
            Event::Exit(status) => write!(line, "exit{} ", as_node_says(status)),
            Event::Close(status) => write!(line, "close{} ", as_node_says(status)),
            other => panic!("{other:?}"),
        };
    }
    line.trim().to_owned()
}

fn as_node_says(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("[{code},null]"),
        ExitStatus::Signal { signal, .. } => format!("[null,{:?}]", signal_name(signal)),
        ExitStatus::Unknown => "unknown".to_owned(),
    }
}

#[test]
fn the_close_event_waits_for_whoever_has_the_outputs() {
    run(async {
        // The grandchild has the output, and ends when it may.
        let mut child = Command::shell("cat <&3 & exit 0").fd(3, Stdio::Pipe).spawn().unwrap();
        let hold = child.take_pipe(3);
        assert!(matches!(child.next_event().await, Some(Event::Spawn)));
        assert!(matches!(child.next_event().await, Some(Event::Exit(ExitStatus::Code(0)))));
        assert!(no_event(&mut child).await);
        drop(hold);
        assert!(matches!(child.next_event().await, Some(Event::Close(ExitStatus::Code(0)))));
    });
}

/// Whether nothing happens although everything could that is there.
async fn no_event(child: &mut musher_process::child_process::Child) -> bool {
    for _ in 0..100 {
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(child.poll_event(cx).is_pending())).await;
        if !polled {
            return false;
        }
        tokio::task::yield_now().await;
    }
    true
}
