//! What a supervisor leaves behind that is killed at a bad moment, and what its successor makes of it.

mod births;
mod retiring;
mod rig;
mod versions;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use musher_api::{Action, ErrorCode};
use musher_core::RunId;
use musher_core::spec::{Balance, Listen, ListenAddress, ReadyWhen};

use super::Driver;
use rig::{Rig, missing, names};

use super::Wake;

/// A pipe into which something was written by somebody who is gone.
fn said(words: &str) -> OwnedFd {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    std::fs::File::from(write).write_all(words.as_bytes()).unwrap();
    read
}

#[tokio::test]
async fn a_stopped_app_starts_with_another_spec_and_another_number_of_slots_at_once() {
    let mut rig = Rig::new();
    let mut one = rig.boot();
    let mut spec = missing("web");
    one.start(&spec);
    let stop = one.act("stop", Action::Stop, "web");
    assert_eq!(one.end_of(&stop[0]), Some(true));
    spec.instances = 2;
    spec.env.insert("NEW".into(), "1".into());
    assert_eq!(one.start(&spec).len(), 2, "a scale and a start");
    let app = &one.driver.apps[&one.app("web")];
    assert_eq!(app.target_spec().unwrap().env.len(), 1);
    let statuses: Vec<&str> = app.deaths.values().map(|death| death.status.as_str()).collect();
    assert_eq!(statuses.len(), 2);
    assert!(statuses.iter().all(|status| status.contains("/does/not/exist")), "{statuses:?}");
}

#[tokio::test]
async fn specs_of_earlier_generations_are_forgotten() {
    let mut rig = Rig::new();
    let mut one = rig.boot();
    let mut spec = missing("web");
    for round in 0..5 {
        spec.env.insert("ROUND".into(), round.to_string());
        one.start(&spec);
        one.act(&round.to_string(), Action::Stop, "web");
    }
    assert_eq!(one.names("spec/").len(), 1, "{:?}", one.names("spec/"));
}

#[tokio::test]
async fn the_last_words_of_a_run_whose_end_was_seen_are_written_by_the_next_supervisor() {
    let mut rig = Rig::new();
    let mut one = rig.boot();
    one.start(&missing("web"));
    let stop = one.act("stop", Action::Stop, "web");
    assert_eq!(one.end_of(&stop[0]), Some(true));
    let run = RunId::of(one.app("web"), 7);
    rig.kill(one);

    rig.plant(&format!("run/{run}/out"), said("last words\n"));
    rig.plant(&format!("run/{run}/err"), said(""));
    rig.plant_bytes(&format!("run/{run}/channel"));
    let mut two = rig.boot();
    two.until("the keeper lets go of the run", |driver| names(driver, "run/").is_empty()).await;
    assert!(two.driver.apps.values().all(|app| app.stories.is_empty()));
    let logs = rig.home().logs();
    assert_eq!(std::fs::read_to_string(logs.join("web/out.log")).unwrap(), "last words\n");
    assert!(!logs.join("unreadable").exists());
}

#[tokio::test]
async fn a_deleted_app_goes_when_its_last_words_are_written() {
    let mut rig = Rig::new();
    let mut one = rig.boot();
    one.start(&missing("web"));
    let run = RunId::of(one.app("web"), 7);
    rig.kill(one);

    rig.plant(&format!("run/{run}/out"), said("last words\n"));
    let mut two = rig.boot();
    let delete = two.act("delete", Action::Delete, "web");
    two.until("the app is gone", |driver| driver.apps.is_empty()).await;
    assert_eq!(two.end_of(&delete[0]), Some(true));
    let log = rig.home().logs().join("web/out.log");
    assert_eq!(std::fs::read_to_string(log).unwrap(), "last words\n");
    for prefix in ["app/", "spec/", "run/"] {
        assert_eq!(two.names(prefix), [""; 0]);
    }
}

#[tokio::test]
async fn an_app_that_was_added_just_before_a_kill_keeps_its_number_to_itself() {
    let mut rig = Rig::new();
    let mut one = rig.boot();
    // As far as a start comes before the home's record is written.
    one.driver.app_for(&missing("first"));
    rig.kill(one);

    let mut two = rig.boot();
    two.start(&missing("second"));
    assert_ne!(two.app("first"), two.app("second"));
}

#[tokio::test]
async fn names_of_apps_without_a_record_are_forgotten() {
    let mut rig = Rig::new();
    for name in ["spec/77/1", "socket/77/0/all", "cluster/77", "listen/77/0/1", "run/77000000001/out"] {
        rig.plant_bytes(name);
    }
    rig.plant("lock", said("x"));
    let one = rig.boot();
    assert_eq!(one.names(""), ["home", "lock", "notify"]);
}

#[tokio::test]
async fn what_belongs_to_a_record_that_cannot_be_read_is_kept() {
    let mut rig = Rig::new();
    let names = ["app/77", "cluster/77", "listen/77/0/1", "run/77000000001/out", "spec/77/1"];
    for name in names {
        rig.plant_bytes(name);
    }
    let one = rig.boot();
    let kept: Vec<String> = one.names("").into_iter().filter(|name| name.contains('/')).collect();
    assert_eq!(kept, names);
}

#[tokio::test]
async fn ports_of_a_stopped_app_that_were_not_closed_yet_are_closed_by_the_next_supervisor() {
    let mut rig = Rig::new();
    let mut one = rig.boot();
    let mut spec = missing("web");
    let address = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
    spec.listen.push(Listen { address, name: None, backlog: 8 });
    one.start(&spec);
    let socket = format!("socket/{}/0/all", one.app("web"));
    assert_eq!(one.names("socket/"), [socket.as_str()]);
    one.act("stop", Action::Stop, "web");
    assert_eq!(one.names("socket/"), [""; 0]);
    rig.kill(one);

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    rig.plant(&socket, listener.into());
    let two = rig.boot();
    assert_eq!(two.names("socket/"), [""; 0]);
}

#[tokio::test]
async fn a_request_of_which_nothing_was_begun_is_begun_when_it_comes_again() {
    let mut rig = Rig::new();
    let mut one = rig.boot();
    one.start(&missing("web"));
    one.remember("again", "web", Action::Stop);
    rig.kill(one);

    let mut two = rig.boot();
    let stop = two.act("again", Action::Stop, "web");
    assert_eq!(two.end_of(&stop[0]), Some(true));
    assert!(!two.driver.apps[&two.app("web")].machine.is_wanted());
}

#[tokio::test]
async fn the_record_of_a_large_app_is_not_written_once_for_each_slot() {
    let mut rig = Rig::new();
    let mut one = rig.boot();
    let mut spec = missing("web");
    spec.instances = 200;
    one.start(&spec);
    let id = one.app("web");
    one.until("all have failed", |driver| driver.apps[&id].deaths.len() == 200).await;
    rig.kill(one);
    let puts = rig.puts_of_apps.load(Ordering::Relaxed);
    assert!(puts < 20, "{puts} times");
}

#[tokio::test]
async fn sockets_of_an_aborted_reload_go_and_those_before_it_stay_over_a_kill() {
    let mut rig = Rig::new();
    let mut one = rig.boot();
    let listen = |port: u16| {
        let address = ListenAddress::Tcp(([127, 0, 0, 1], port).into());
        Listen { address, name: None, backlog: 8 }
    };
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (old, new) = (free(), free());
    let mut spec = missing("web");
    spec.listen = vec![listen(old)];
    one.start(&spec);
    let id = one.app("web");
    // The sockets of a generation that is only just tried.
    spec.listen = vec![listen(new)];
    let app = one.driver.apps.get_mut(&id).unwrap();
    app.specs.insert(musher_core::Generation(2), std::sync::Arc::new(spec.clone()));
    app.sockets.open(id, &spec, musher_core::SlotId(0), &one.driver.world.link).unwrap();
    assert_eq!(app.sockets.addresses().len(), 2);
    let app = &one.driver.apps[&id];
    one.driver.world.write_app(app);
    rig.kill(one);

    let two = rig.boot();
    let addresses: Vec<_> = two.driver.apps[&id].sockets.addresses().into_values().collect();
    assert_eq!(addresses, [listen(old).address], "the new one is not wanted by anything");
    assert_eq!(two.names("socket/").len(), 1);
}

#[tokio::test]
async fn an_unfit_worker_is_relieved_and_a_failing_one_followed() {
    let mut rig = Rig::new();
    let mut one = rig.boot();
    let mut spec = missing("web");
    spec.exec.program = "/bin/sleep".into();
    spec.exec.args = vec!["1000".into()];
    spec.ready.when = ReadyWhen::Alive { after_ms: 1 };
    spec.restart.min_uptime = std::time::Duration::ZERO;
    one.start(&spec);
    let id = one.app("web");
    let serving = |driver: &Driver| {
        let (run, state) = driver.apps[&id].machine.occupant(musher_core::SlotId(0))?;
        state.is_online().then_some(run)
    };
    one.until("the worker is ready", |driver| serving(driver).is_some()).await;
    let first = serving(&one.driver).unwrap();
    one.driver.unfit(first, &"does not answer ".repeat(100));
    let shown = one.driver.detail(id).unwrap().slots[0].unfit.clone().unwrap();
    assert_eq!(shown.len(), 256, "{shown}");
    one.until("its successor is", |driver| serving(driver).is_some_and(|run| run != first)).await;
    let second = serving(&one.driver).unwrap();
    one.driver.failing(second);
    assert!(one.driver.apps[&id].machine.run(second).unwrap().failing);
    one.until("and that one's", |driver| serving(driver).is_some_and(|run| run != second)).await;
    assert_eq!(one.driver.rows(&[], false)[0].restarts, 2);
    one.act("stop", Action::Stop, "web");
}

#[tokio::test]
async fn two_sockets_of_port_zero_are_two_and_the_same_again() {
    let mut rig = Rig::new();
    let mut one = rig.boot();
    let mut spec = missing("web");
    let address = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
    spec.listen = vec![Listen { address, name: None, backlog: 8 }; 2];
    one.start(&spec);
    let id = one.app("web");
    let names = one.names("socket/");
    assert_eq!(names.len(), 2);
    let (link, app) = (&one.driver.world.link, one.driver.apps.get_mut(&id).unwrap());
    let of = |socket: &OwnedFd| musher_process::net::local_address(socket).unwrap();
    let first: Vec<_> = app.sockets.open(id, &spec, musher_core::SlotId(0), link).unwrap().0.iter().map(of).collect();
    let again: Vec<_> = app.sockets.open(id, &spec, musher_core::SlotId(0), link).unwrap().0.iter().map(of).collect();
    assert_ne!(first[0], first[1]);
    assert_eq!(first, again);
    assert_eq!(one.names("socket/"), names);
}

#[tokio::test]
async fn open_sockets_of_programs_stay_shared_as_they_are_and_a_start_that_wants_it_otherwise_is_refused() {
    let mut rig = Rig::new();
    let mut one = rig.boot();
    let mut spec = missing("web");
    let address = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
    spec.listen = vec![Listen { address, name: None, backlog: 8 }];
    one.start(&spec);
    spec.balance = Balance::Kernel;
    let refused = one.refused(&spec);
    assert_eq!(refused.code, ErrorCode::Conflict);
    assert!(refused.hint.unwrap().contains("musher stop web"));
    one.act("stop", Action::Stop, "web");
    one.start(&spec);
    spec.balance = Balance::Auto;
    assert_eq!(one.refused(&spec).code, ErrorCode::Conflict);
}

#[tokio::test]
async fn whatever_there_is_to_do_others_get_a_turn_after_each() {
    let mut rig = Rig::new();
    let (run, wakes, keeper) = rig.boot().run();
    for _ in 0..500 {
        wakes.try_send(Wake::Notified).unwrap();
    }
    let watcher = tokio::spawn(async move {
        let (mut left, mut most) = (wakes.capacity(), 0);
        while wakes.capacity() < wakes.max_capacity() {
            tokio::task::yield_now().await;
            let now_left = wakes.capacity();
            most = most.max(now_left - left);
            left = now_left;
        }
        wakes.send(Wake::Terminate).await.unwrap();
        most
    });
    run.await.unwrap();
    let most = watcher.await.unwrap();
    assert!(most <= 4, "{most} in one go");
    keeper.join().unwrap();
}

#[tokio::test]
async fn what_a_dying_keeper_does_not_hand_over_is_taken_from_the_disk() {
    let mut rig = Rig::new();
    let mut one = rig.boot();
    one.start(&missing("web"));
    one.driver.world.link.team_file(false).write(&rig.home().team_list()).unwrap();
    // Of this no list knows: nobody was told that it was done.
    one.start(&missing("late"));
    rig.kill(one);
    rig.lose("spec/");
    let two = rig.boot();
    assert_eq!(names(&two.driver, "spec/"), ["spec/1/1"]);
    assert_eq!(two.driver.apps.values().map(|app| app.name.as_str()).collect::<Vec<_>>(), ["web"]);
    assert!(two.driver.apps[&two.app("web")].target_spec().is_some());
    assert_eq!(names(&two.driver, crate::link::PARTIAL), [""; 0]);
    // The next one has it from its keeper again.
    rig.kill(two);
    std::fs::remove_file(rig.home().team_list()).unwrap();
    let three = rig.boot();
    assert!(three.driver.apps[&three.app("web")].target_spec().is_some());
}
