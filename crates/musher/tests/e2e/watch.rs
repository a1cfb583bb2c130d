//! Files whose change replaces the workers.

use crate::support::told::{events, wait_event};
use crate::support::{Home, ask, free_port, fresh, nothing_lost, some_answers, wait_until};

/// A program that says which version it is, and where it says so itself.
fn source(version: &str) -> String {
    format!(
        "require('node:http').createServer((q, s) => {{\n\
         const id = new URL(q.url, 'http://x').searchParams.get('id');\n\
         s.end(`id=${{id}} version={version} ${{require('./lib/part')}}`);\n\
         }}).listen(process.argv[2]);"
    )
}

/// Two workers of it, watched, with these lines more in the process file.
fn watched(more: &str) -> (Home, u16) {
    let (home, port) = (Home::new(), free_port());
    home.write("site/serve.cjs", &source("one"));
    home.write("site/lib/part.js", "module.exports = 'part=one';");
    home.write("site/.gitignore", "made/\n");
    home.write("site/made/x.js", "");
    let app =
        format!("name = \"web\"\ncwd = \"site\"\nscript = \"serve.cjs\"\nargs = [\"{port}\"]\ninstances = 2\n{more}");
    home.write("team.toml", &format!("[[app]]\n{app}"));
    home.ok(["start", "team.toml"]);
    (home, port)
}

fn count(home: &Home, kind: &str) -> usize {
    events(home).iter().filter(|event| event["kind"] == kind).count()
}

#[test]
fn changed_files_reload_the_app_and_a_broken_version_replaces_nothing() {
    let (home, port) = watched("watch = true\n");
    let clients = fresh(port);
    some_answers(&clients, 20);
    // What is ignored is written first, what belongs together after each other.
    home.write("site/made/x.js", "1");
    home.write("site/.hidden", "1");
    home.write("site/node_modules/y/index.js", "1");
    home.write("site/lib/part.js", "module.exports = 'part=two';");
    home.write("site/serve.cjs", &source("two"));
    wait_until("the new version serves", || ask(port, "/?id=1") == "id=1 version=two part=two");
    let told = wait_event(&home, "files", "changed");
    assert!(told["detail"].as_str().unwrap().contains("part.js"), "{told}");

    home.write("site/serve.cjs", "throw new Error('broken on purpose')");
    wait_event(&home, "changed", "reload aborted");
    assert_eq!(ask(port, "/?id=1"), "id=1 version=two part=two");
    home.write("site/serve.cjs", &source("three"));
    wait_until("the mended version serves", || ask(port, "/?id=1") == "id=1 version=three part=two");
    nothing_lost("new connections", clients);

    // Not while it is stopped, and not after it was deleted.
    home.ok(["stop", "web"]);
    let before = count(&home, "files");
    home.write("site/serve.cjs", &source("four"));
    home.ok(["start", "web"]);
    assert_eq!(ask(port, "/?id=1"), "id=1 version=four part=two");
    assert_eq!(count(&home, "files"), before);
    home.ok(["delete", "web"]);
}

#[test]
fn a_change_is_not_missed_when_the_supervisor_is_killed() {
    let (home, port) = watched("watch = { paths = \"lib\", delay = \"50ms\" }\n");
    home.kill_supervisor();
    home.write("site/lib/part.js", "module.exports = 'part=two';");
    wait_until("the new part is served", || ask(port, "/?id=1") == "id=1 version=one part=two");
    // Only what is named counts.
    let reloads = count(&home, "files");
    home.write("site/serve.cjs", &source("two"));
    home.write("site/lib/part.js", "module.exports = 'part=three';");
    wait_until("both are served", || ask(port, "/?id=1") == "id=1 version=two part=three");
    let told = events(&home);
    let last = told.iter().rfind(|event| event["kind"] == "files").unwrap();
    assert!(!last["detail"].as_str().unwrap().contains("serve.cjs"), "{last}");
    assert!(count(&home, "files") > reloads);
}

#[test]
fn what_cannot_be_watched_is_told() {
    let (home, _) = watched("watch = [\"lib\", \"nowhere\"]\n");
    let told = wait_event(&home, "files", "nowhere");
    assert!(told["detail"].as_str().unwrap().contains("does not exist"), "{told}");
    home.write(
        "bad.toml",
        "[[app]]\nname = \"x\"\nscript = \"site/serve.cjs\"\nwatch = { delay = \"1ms\", on_change = \"reboot\" }\n",
    );
    home.run(["start", "bad.toml"]).failed(3, &["watch.on_change", "not one of \"reload\", \"restart\""]);
    let port = free_port();
    home.ok(["start", "site/serve.cjs", "--name", "flagged", "--watch", "--", &port.to_string()]);
    let described = home.ok(["describe", "flagged", "--json"]).json();
    assert!(described.to_string().contains("\"watch\""), "{described}");
}

/// The kinds of events of files that were told, and what they name, without the directory.
fn changes(home: &Home) -> Vec<String> {
    let told = events(home).into_iter().filter(|event| event["kind"] == "files");
    told.map(|event| event["detail"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn only_what_node_loaded_counts_by_require_and_by_import() {
    let home = Home::new();
    let port = free_port();
    home.write("site/package.json", "{ \"type\": \"module\" }");
    home.write("site/.gitignore", "built/\n");
    home.write("site/built/part.cjs", "module.exports = 'part=one';");
    home.write("site/data.txt", "1");
    home.write("site/never.js", "1");
    home.write("site/lib/word.js", "export default 'word=one';");
    let main = "import http from 'node:http';\nimport word from './lib/word.js';\nimport { createRequire } from 'node:module';\n\
                const part = createRequire(import.meta.url)('./built/part.cjs');\n\
                http.createServer((q, s) => s.end(`${word} ${part}`)).listen(process.argv[2]);\n";
    home.write("site/serve.js", main);
    // Node tells of files without links.
    let site = home.app_directory().join("link");
    std::os::unix::fs::symlink("site", &site).unwrap();
    let port_text = port.to_string();
    let words = [
        "start",
        "link/serve.js",
        "--name",
        "web",
        "--cwd",
        site.to_str().unwrap(),
        "--watch-loaded",
        "--",
        &port_text,
    ];
    home.ok(words);
    assert_eq!(ask(port, "/"), "word=one part=one");

    home.write("site/data.txt", "2");
    home.write("site/never.js", "2");
    home.write("site/lib/word.js", "export default 'word=two';");
    wait_until("what is imported is new", || ask(port, "/") == "word=two part=one");
    // Also what is not for git, and also after the supervisor has died.
    home.kill_supervisor();
    home.write("site/data.txt", "3");
    home.write("site/built/part.cjs", "module.exports = 'part=two';");
    wait_until("what is required is new", || ask(port, "/") == "word=two part=two");
    // A version that does not start tells what it has loaded, too.
    home.write("site/lib/new.js", "throw new Error('broken on purpose');");
    home.write("site/serve.js", &format!("import './lib/new.js';\n{main}"));
    wait_event(&home, "changed", "reload aborted");
    home.write("site/data.txt", "4");
    home.write("site/lib/new.js", "export default 1;");
    wait_event(&home, "files", "new.js");
    for change in changes(&home) {
        assert!(!change.contains("data.txt") && !change.contains("never.js"), "{change}");
    }
    // Nobody else hears what Node tells.
    assert!(!events(&home).iter().any(|event| event["detail"].to_string().contains("watch:")));
}

#[test]
fn only_files_with_the_endings_that_were_asked_for_count() {
    let (home, port) = watched("watch = { extensions = \".js,json\" }\n");
    home.write("site/notes.md", "1");
    home.write("site/serve.cjs", &source("two"));
    home.write("site/lib/part.js", "module.exports = 'part=two';");
    wait_until("the new part is served", || ask(port, "/?id=1") == "id=1 version=two part=two");
    let told = changes(&home);
    assert!(
        told.iter().all(|change| change.contains("part.js") && !change.contains("notes") && !change.contains(".cjs"))
    );

    let port = free_port().to_string();
    home.ok(["start", "site/serve.cjs", "--name", "flagged", "--ext", "cjs", "--", &port]);
    let watch = |name: &str| home.ok(["describe", name, "--json"]).json()["spec"]["watch"].clone();
    assert_eq!(watch("flagged")["extensions"], serde_json::json!(["cjs"]));
    let port = free_port().to_string();
    home.ok(["pm2", "start", "site/serve.cjs", "--name", "theirs", "--watch", "--ext", "js,json", "--", &port]);
    assert_eq!(watch("theirs")["extensions"], serde_json::json!(["js", "json"]));
    let file = "{ \"apps\": [{ \"name\": \"filed\", \"script\": \"site/serve.cjs\", \"watch\": true, \"ext\": \"cjs\", \"args\": \"PORT\" }] }";
    home.write("eco.json", &file.replace("PORT", &free_port().to_string()));
    home.ok(["start", "eco.json"]);
    assert_eq!(watch("filed")["extensions"], serde_json::json!(["cjs"]));
}
