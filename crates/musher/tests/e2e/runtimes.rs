//! Deno and Bun: what each of them can be.

use crate::support::apps::tool;
use crate::support::{Home, ask, free_port, loses_nothing, proc_fs, wait_until};

#[test]
fn deno_workers_share_a_socket_of_the_process_file_and_have_the_channel() {
    let home = Home::new();
    let port = free_port();
    let script = home.write(
        "server.cjs",
        "const server = require('node:http').createServer((request, response) => {
           const id = new URL(request.url, 'http://x').searchParams.get('id');
           response.end(`id=${id} pid=${process.pid} version=1\\n`);
         });
         server.listen({ fd: 3 }, () => process.send('ready'));
         process.on('SIGTERM', () => server.close(() => process.exit(0)));",
    );
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"web\"\nscript = \"{}\"\ninterpreter = \"{}\"\ninterpreter_args = [\"-A\"]\n\
             listen = \"tcp://127.0.0.1:{port}\"\ncluster = false\ninstances = 2\nready = \"message\"\n",
            script.display(),
            tool("node_modules/@deno/linux-x64-glibc/deno"),
        ),
    );
    home.ok(["start", "team.toml"]);
    loses_nothing(&home, port, true, "a killed supervisor and a reload");
}

#[test]
fn bun_workers_share_a_port_of_their_own_and_have_the_channel() {
    let home = Home::new();
    let port = free_port();
    let script = home.write(
        "server.js",
        "Bun.serve({ port: Number(process.argv[2]), hostname: '127.0.0.1', reusePort: true,
                     fetch: () => new Response(`pid=${process.pid}\\n`) });
         process.on('message', (message) => console.log('heard', JSON.stringify(message)));
         process.send('ready');",
    );
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"web\"\nscript = \"{}\"\nargs = [\"{port}\"]\ninterpreter = \"{}\"\n\
             cluster = false\ninstances = 2\nready = \"message\"\n",
            script.display(),
            tool("node_modules/@oven/bun-linux-x64/bin/bun"),
        ),
    );
    home.ok(["start", "team.toml"]);
    let mut answered = std::collections::BTreeSet::new();
    wait_until("both answer", || {
        answered.insert(ask(port, "/"));
        answered.len() == 2
    });
    let before = home.pids("web");
    home.ok(["reload", "web"]);
    wait_until("the old workers have ended", || before.iter().all(|pid| !proc_fs::is_alive(*pid)));
    assert!(!answered.contains(&ask(port, "/")), "new workers answer");
}
