//! What goes over the wire: methods, redirects, cookies, logins, sockets, TLS, HTTP/2.

use std::time::Duration;

use musher_load::plan::{Count, Plan, Protocol, Proxy, Tls};
use musher_load::tally::FaultKind;
use musher_load::url::Url;

use crate::server::{Server, certificate, run, total};

#[test]
fn redirects_are_followed_and_counted_apart() {
    let server = Server::http();
    let tally = total(&run(Plan { count: Some(Count::PerUser(4)), ..server.plan(&["/to"]) }));
    assert_eq!((tally.transactions, tally.redirects, tally.answers), (4, 4, 8));
    assert_eq!(server.counts()["/landed"], 4);
    assert_eq!(tally.statuses.keys().collect::<Vec<_>>(), [&200]);
    let not = total(&run(Plan { count: Some(Count::PerUser(4)), redirects: 0, ..server.plan(&["/to"]) }));
    assert_eq!((not.transactions, not.statuses.get(&302)), (4, Some(&4)));
}

#[test]
fn cookies_logins_and_bodies_reach_the_server() {
    let server = Server::http();
    run(Plan { users: 3, count: Some(Count::PerUser(2)), ..server.plan(&["/login", "/inside"]) });
    // Two of the three begin with the login, and the third has it from neither.
    assert_eq!(server.counts()["cookies"], 2);
    let plan = Plan { login: Some("me:secret".into()), count: Some(Count::PerUser(2)), ..server.plan(&["/auth"]) };
    assert_eq!(total(&run(plan)).statuses.get(&200), Some(&2));
    let mut plan = Plan { count: Some(Count::PerUser(2)), ..server.plan(&["/post"]) };
    plan.requests[0].method = "POST".into();
    plan.requests[0].body = vec![b'x'; 300_000];
    run(plan);
    assert_eq!(server.counts()["posted"], 600_000);
}

#[test]
fn bodies_of_every_kind_end_where_they_should() {
    let server = Server::http();
    let paths = ["/chunks", "/close", "/gzip", "/", "/status/204"];
    let tally = total(&run(Plan { users: 2, count: Some(Count::PerUser(50)), ..server.plan(&paths) }));
    assert_eq!((tally.transactions, tally.failures()), (100, 0));
    let mut head = Plan { count: Some(Count::PerUser(5)), ..server.plan(&["/"]) };
    head.requests[0].method = "HEAD".into();
    let tally = total(&run(head));
    assert_eq!((tally.transactions, tally.body_bytes, tally.connects), (5, 0, 1));
}

#[test]
fn a_unix_socket_takes_the_place_of_host_and_port() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let _server = Server::with(&["http", path.to_str().unwrap()]);
    let url = Url::parse("http://anything/").unwrap();
    let plan = Plan {
        users: 5,
        count: Some(Count::PerUser(10)),
        unix: Some(path),
        ..Plan::new(vec![musher_load::plan::Template::get(url)])
    };
    assert_eq!(total(&run(plan)).statuses.get(&200), Some(&50));
}

fn secure(server: &Server, host: &str) -> Plan {
    let url = Url::parse(&format!("https://{host}:{}/", server.port)).unwrap();
    let plan = Plan::new(vec![musher_load::plan::Template::get(url)]);
    Plan { users: 4, count: Some(Count::PerUser(10)), timeout: Duration::from_secs(10), ..plan }
}

#[test]
fn tls_is_spoken_to_those_who_prove_who_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(directory.path());
    let server = Server::with(&["https", "0", &cert, &key]);
    let trusting = Tls { authorities: Some(cert.clone().into()), ..Tls::default() };
    let tally = total(&run(Plan { tls: trusting.clone(), ..secure(&server, "localhost") }));
    assert_eq!((tally.transactions, tally.failures(), tally.connects), (40, 0, 4), "{:?}", tally.faults);
    let other = Tls { server_name: Some("example.org".into()), ..trusting };
    let tally = total(&run(Plan { tls: other, ..secure(&server, "localhost") }));
    assert_eq!(tally.faults.keys().collect::<Vec<_>>(), [&FaultKind::Tls], "{:?}", tally.faults);
    let anybody = Tls { insecure: true, server_name: Some("example.org".into()), ..Tls::default() };
    assert_eq!(total(&run(Plan { tls: anybody, ..secure(&server, "127.0.0.1") })).transactions, 40);
}

#[test]
fn http2_has_many_users_on_one_connection() {
    let server = Server::with(&["h2c"]);
    let protocol = Protocol::Http2 { streams: 10 };
    let plan = Plan { users: 20, count: Some(Count::PerUser(30)), protocol: protocol.clone(), ..server.plan(&["/"]) };
    let tally = total(&run(plan));
    assert_eq!((tally.transactions, tally.failures(), tally.connects), (600, 0, 2), "{:?}", tally.faults);
    assert_eq!((tally.body_bytes, tally.statuses.get(&200)), (3000, Some(&600)));
    let mut post =
        Plan { users: 4, count: Some(Count::PerUser(2)), protocol: protocol.clone(), ..server.plan(&["/post"]) };
    post.requests[0].method = "POST".into();
    post.requests[0].body = vec![b'x'; 200_000];
    let tally = total(&run(post));
    assert_eq!((tally.transactions, tally.failures()), (8, 0), "{:?}", tally.faults);

    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(directory.path());
    let server = Server::with(&["h2", "0", &cert, &key]);
    let tls = Tls { insecure: true, ..Tls::default() };
    let tally = total(&run(Plan { protocol, tls, ..secure(&server, "localhost") }));
    assert_eq!((tally.transactions, tally.connects), (40, 1), "{:?}", tally.faults);
}

#[test]
fn a_client_proves_who_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(directory.path());
    let server = Server::with(&["mutual", "0", &cert, &key]);
    let nobody = Tls { insecure: true, ..Tls::default() };
    let tally = total(&run(Plan { tls: nobody.clone(), ..secure(&server, "localhost") }));
    assert_eq!((tally.transactions, tally.failures()), (0, 40), "{:?}", tally.faults);
    let somebody = Tls { own: Some((cert.into(), key.into())), ..nobody };
    let tally = total(&run(Plan { tls: somebody, ..secure(&server, "localhost") }));
    assert_eq!((tally.transactions, tally.failures()), (40, 0), "{:?}", tally.faults);
}

#[test]
fn web_sockets_send_and_wait_for_what_they_expect() {
    let server = Server::with(&["ws"]);
    let say = |text: &str, expect: Option<&str>| {
        let protocol = Protocol::WebSocket { expect: expect.map(str::to_owned) };
        let mut plan = Plan {
            users: 4,
            count: Some(Count::PerUser(25)),
            timeout: Duration::from_secs(10),
            protocol,
            ..server.plan(&["/chat"])
        };
        plan.requests[0].body = text.as_bytes().to_vec();
        plan
    };
    let tally = total(&run(say("hello", Some("HELLO"))));
    assert_eq!((tally.transactions, tally.failures(), tally.connects), (100, 0, 4), "{:?}", tally.faults);
    assert_eq!((&server.counts()["upgrades"], &server.counts()["messages"]), (&4.into(), &100.into()));
    let tally = total(&run(say("hello", None)));
    assert_eq!((tally.transactions, tally.failures()), (100, 0), "{:?}", tally.faults);
    // What does not come is waited for until the time is up; what is closed is told.
    let few = |plan| Plan { users: 1, count: Some(Count::PerUser(1)), ..plan };
    let quiet = Plan { timeout: Duration::from_millis(200), ..few(say("quiet", None)) };
    let tally = total(&run(quiet));
    assert_eq!(tally.faults.keys().collect::<Vec<_>>(), [&FaultKind::Timeout], "{:?}", tally.faults);
    let tally = total(&run(few(say("bye", None))));
    assert_eq!((tally.transactions, tally.failures()), (0, 1), "{:?}", tally.faults);
    // A server that knows no WebSocket.
    let plain = Server::http();
    let plan = Plan { protocol: Protocol::WebSocket { expect: None }, ..plain.plan(&["/"]) };
    let tally = total(&run(Plan { count: Some(Count::PerUser(1)), ..plan }));
    assert_eq!((tally.transactions, tally.failures()), (0, 1), "{:?}", tally.faults);
}

#[test]
fn a_proxy_is_asked_with_whole_urls_and_for_tunnels() {
    let proxy = Server::with(&["proxy"]);
    let by = |login: Option<&str>| {
        Some(Proxy { host: "127.0.0.1".into(), port: proxy.port, login: login.map(str::to_owned) })
    };
    let url = Url::parse("http://nowhere.invalid/").unwrap();
    let plan = Plan {
        users: 2,
        count: Some(Count::PerUser(5)),
        proxy: by(Some("me:secret")),
        ..Plan::new(vec![musher_load::plan::Template::get(url)])
    };
    let tally = total(&run(plan.clone()));
    assert_eq!((tally.statuses.get(&200), &proxy.counts()["absolute"]), (Some(&10), &10.into()), "{:?}", tally.faults);
    let tally = total(&run(Plan { proxy: by(None), ..plan }));
    assert_eq!(tally.statuses.get(&407), Some(&10));

    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(directory.path());
    let server = Server::with(&["https", "0", &cert, &key]);
    let tls = Tls { insecure: true, ..Tls::default() };
    let tally = total(&run(Plan { tls, proxy: by(Some("me:secret")), ..secure(&server, "127.0.0.1") }));
    assert_eq!((tally.transactions, &proxy.counts()["tunnels"]), (40, &4.into()), "{:?}", tally.faults);
}
