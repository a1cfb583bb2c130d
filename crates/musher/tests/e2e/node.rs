//! Unmodified Node programs: versions 18 to 24, CommonJS, ES modules, TypeScript, Express, Fastify.

use std::path::Path;

use serde_json::Value;

use crate::support::apps::{app, node_major, nodes, with_packages};
use crate::support::{
    Home, ask, command, free_port, fresh, nothing_lost, proc_fs, some_answers, wait_equal, wait_for, wait_until,
};

/// `script` on two workers of this Node: both answer, it reloads, and nothing is lost.
fn serves(script: &str, node: Option<&Path>, home: &Home) -> u16 {
    let port = free_port();
    let (port_text, node_text) = (port.to_string(), node.map(|node| node.display().to_string()));
    let mut words = vec!["start", script, "-i", "2", "--name", "web"];
    if let Some(node) = &node_text {
        words.extend(["--interpreter", node]);
    }
    words.extend(["--", &port_text]);
    home.ok(words);
    let load = fresh(port);
    some_answers(&load, 100);
    let report_before = home.pids("web");
    home.ok(["reload", "web"]);
    some_answers(&load, 100);
    let report = nothing_lost(&format!("{script} on {node_text:?}"), load);
    assert_eq!(report_before.len(), 2);
    assert_eq!(report.by_worker().len(), 4, "both workers of both generations answered: {report}");
    port
}

#[test]
fn common_js_and_es_modules_run_on_node_18_to_24() {
    for node in nodes() {
        for script in ["web.cjs", "web.mjs"] {
            let home = Home::new();
            let port = serves(&app(script), Some(&node), &home);
            let about: Value = serde_json::from_str(&ask(port, "/about")).unwrap();
            assert_eq!(about["isWorker"], true, "{about}");
            let version = about["node"].as_str().unwrap().trim_start_matches('v').to_owned();
            assert!(version.starts_with(&node_major(&node).to_string()), "{version} by {}", node.display());
        }
    }
}

#[test]
fn type_script_runs_where_node_runs_it() {
    for node in nodes().into_iter().filter(|node| node_major(node) >= 22) {
        let home = Home::new();
        serves(&app("web.ts"), Some(&node), &home);
    }
}

#[test]
fn an_express_app_is_a_team() {
    let home = Home::new();
    serves(&with_packages(&home, "express.cjs"), None, &home);
}

#[test]
fn a_fastify_app_is_a_team() {
    let home = Home::new();
    serves(&with_packages(&home, "fastify.mjs"), None, &home);
}

#[test]
fn a_node_program_is_ready_by_its_message() {
    let home = Home::new();
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"jobs\"\nscript = \"{}\"\nargs = [\"ready\"]\nready = \"message\"\n",
            app("fork.cjs")
        ),
    );
    let command = home.spawn(["start", "team.toml"]);
    wait_until("it is seen before it is ready", || {
        home.slots("jobs").first().is_some_and(|row| row.status == "starting")
    });
    command.wait().succeeded();
    assert_eq!(home.slots("jobs")[0].status, "online");
}

#[test]
fn a_node_program_without_a_server_stays_up() {
    let home = Home::new();
    home.ok(["start", &app("fork.cjs"), "--name", "jobs", "--", "something"]);
    wait_equal("one worker online", &vec!["online".to_owned()], || {
        home.slots("jobs").into_iter().map(|row| row.status).collect()
    });
}

/// What a worker does when it is asked to end itself by this path: it is replaced, and the others serve on.
fn ends_itself(path: &str) {
    let home = Home::new();
    let port = free_port();
    home.ok(["start", &app("web.cjs"), "-i", "2", "--name", "web", "--", &port.to_string()]);
    let before = home.pids("web");
    let load = fresh(port);
    some_answers(&load, 50);
    let said = ask(port, path);
    let pid: u32 = said.split("pid=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(before.contains(&pid), "{said}");
    wait_until("a replacement", || {
        let rows = home.slots("web");
        rows.iter().all(|row| row.status == "online" && row.pid != Some(pid))
            && rows.iter().map(|row| row.restarts).sum::<u64>() == 1
    });
    some_answers(&load, 50);
    let report = load.finish();
    // `kill()` ends the process with all that it holds, also under Node's own primary: a few at this rate.
    let most = if path.starts_with("/kill") { 3 } else { 0 };
    assert!(report.lost().len() <= most, "{path}: {report}");
}

#[test]
fn a_worker_that_disconnects_itself_is_replaced() {
    ends_itself("/disconnect?id=1");
}

#[test]
fn a_worker_that_kills_itself_by_cluster_is_replaced() {
    ends_itself("/kill?id=1");
}

#[test]
fn a_worker_finds_everything_as_under_nodes_own_primary() {
    for node in nodes() {
        let home = Home::new();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ports = [taken.local_addr().unwrap().port(), free_port(), free_port()].map(|port| port.to_string());
        let (by_node, by_musher) = (home.directory().join("node.json"), home.directory().join("musher.json"));
        let primary = command(&node)
            .args([&app("yardstick.cjs"), "primary"])
            .args(&ports)
            .current_dir(home.app_directory())
            .env("RESULT", &by_node)
            .status()
            .unwrap();
        assert!(primary.success());

        home.write(
            "team.toml",
            &format!(
                "[[app]]\nname = \"yard\"\nscript = \"{}\"\nargs = {ports:?}\ninterpreter = \"{}\"\nrestart = \"never\"\n\
                 env = {{ RESULT = \"{}\" }}\n",
                app("yardstick.cjs"),
                node.display(),
                by_musher.display(),
            ),
        );
        // It ends by itself, so whether it counts as started is a matter of time.
        home.run(["start", "team.toml"]);
        let read = |path: &Path| -> Option<Value> { serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok() };
        let (expected, found) = (read(&by_node).unwrap(), wait_for("the result", || read(&by_musher)));
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&found[key], value, "{key}, on {}", node.display());
        }
        assert_eq!(found, expected, "on {}", node.display());
    }
}

#[test]
fn a_tls_session_is_resumed_by_whichever_worker() {
    let home = Home::new();
    let port = free_port();
    let pem = home.app_directory().join("server.pem");
    let made = command("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout"])
        .arg(&pem)
        .arg("-out")
        .arg(home.app_directory().join("certificate"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let certificate = std::fs::read_to_string(home.app_directory().join("certificate")).unwrap();
    std::fs::write(&pem, std::fs::read_to_string(&pem).unwrap() + &certificate).unwrap();

    home.ok(["start", &app("tls.cjs"), "-i", "2", "--name", "web", "--", &port.to_string(), pem.to_str().unwrap()]);
    let client = command("node").args([&app("tls.cjs"), "client", &port.to_string()]).output().unwrap();
    let said: Value = serde_json::from_slice(&client.stdout).unwrap_or_else(|_| panic!("{client:?}"));
    assert_eq!(said["workers"], 2, "{said}");
    assert_eq!(said["reused"], 20, "every worker has the same ticket keys: {said}");
}

/// A worker that misuses its channel is ended or ignored; the daemon and the other apps go on.
fn hostile(what: &str) {
    let home = Home::new();
    let port = free_port();
    home.ok(["start", &app("web.cjs"), "-i", "2", "--name", "web", "--", &port.to_string()]);
    let web = home.pids("web");
    let load = fresh(port);
    let supervisor = home.supervisor();
    // Whether it counts as started is its own affair.
    home.run(["start", &app("fork.cjs"), "--name", "hostile", "--", what]);
    some_answers(&load, 300);
    assert_eq!(home.supervisor(), supervisor, "{what}: the supervisor did not fall");
    // Without its code, of which a debug build has much.
    let memory = proc_fs::anonymous_bytes(supervisor).unwrap();
    assert!(memory < 64 << 20, "{what}: the supervisor holds {memory} bytes");
    assert_eq!(home.pids("web"), web, "{what}: the neighbours are untouched");
    home.ok(["delete", "hostile"]);
    nothing_lost(what, load);
}

#[test]
fn a_worker_that_floods_its_channel_harms_nobody() {
    hostile("flood-channel");
}

#[test]
fn a_worker_that_writes_garbage_to_its_channel_harms_nobody() {
    hostile("garbage");
}

#[test]
fn a_worker_that_sends_malformed_messages_harms_nobody() {
    hostile("malformed");
}

#[test]
fn a_worker_that_closes_its_channel_harms_nobody() {
    hostile("close-channel");
}
