//! What holds for any inputs at all, also for those that no driver would give.

use std::collections::BTreeMap;
use std::time::Duration;

use musher_core::lifecycle::{
    App, Canary, Command, Effect, ExitOutcome, Input, Observation, Policy, RunState, SlotAction, SlotState, Target,
    Vacancy,
};
use musher_core::{AppId, Generation, OpId, RunId, SlotId, Time};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

fn target() -> impl Strategy<Value = Option<Target>> {
    let target = |(generation, drains, max_surge, max_unavailable)| Target {
        generation: Generation(generation),
        policy: Policy { drains, max_surge, max_unavailable, ..Policy::default() },
    };
    proptest::option::of((0..5_u32, any::<bool>(), 0..4_u32, 0..3_u32).prop_map(target))
}

fn canary() -> impl Strategy<Value = Canary> {
    (0..4_u32, 0..30_000_u64).prop_map(|(slots, wait)| Canary { slots, wait: Duration::from_millis(wait) })
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        target().prop_map(|target| Command::Start { target }),
        target().prop_map(|target| Command::Restart { target }),
        (target(), proptest::option::of(canary())).prop_map(|(target, canary)| Command::Reload { target, canary }),
        (0..6_u32).prop_map(|to| Command::Scale { to }),
        (
            0..6_u32,
            proptest::sample::select(vec![
                SlotAction::Start,
                SlotAction::Stop,
                SlotAction::Restart,
                SlotAction::Reload,
                SlotAction::Delete
            ])
        )
            .prop_map(|(slot, action)| Command::One { slot: SlotId(slot), action }),
        Just(Command::Stop),
        proptest::sample::select(vec![Command::Delete, Command::Stop, Command::Stop, Command::Stop]),
    ]
}

fn outcome() -> impl Strategy<Value = ExitOutcome> {
    prop_oneof![
        any::<u8>().prop_map(|code| ExitOutcome::Code(code.into())),
        (1..65_i32).prop_map(|signal| ExitOutcome::Signal { signal, core_dumped: false }),
        Just(ExitOutcome::Unknown),
    ]
}

/// Inputs in any order, about runs that may never have existed.
fn input() -> impl Strategy<Value = Input> {
    let run = || (0..40_u64).prop_map(RunId);
    prop_oneof![
        2 => (any::<u64>(), command()).prop_map(|(op, command)| Input::Command { op: OpId(op), command }),
        3 => run().prop_map(|run| Input::Spawned { run }),
        1 => run().prop_map(|run| Input::SpawnFailed { run, reason: String::new() }),
        1 => run().prop_map(|run| Input::NotSpawned { run }),
        4 => run().prop_map(|run| Input::Ready { run }),
        2 => run().prop_map(|run| Input::Drained { run }),
        4 => (run(), outcome()).prop_map(|(run, outcome)| Input::Exited { run, outcome }),
        2 => run().prop_map(|run| Input::Unfit { run, reason: String::new() }),
        2 => run().prop_map(|run| Input::Failing { run }),
        1 => Just(Input::CanaryWorse { reason: String::new() }),
        1 => Just(Input::Tick),
    ]
}

fn app(slots: u32, policy: Policy) -> App {
    App::new(AppId(0), slots, Target { generation: Generation(0), policy })
}

proptest! {
    #[test]
    fn no_input_breaks_a_slot(inputs in vec((0..20_000_u64, any::<u32>(), input()), 0..120)) {
        let mut app = app(3, Policy::default());
        let mut now = Time(0);
        let mut commands = 0;
        let mut finished = 0;
        for (pass, chance, input) in inputs {
            now = now + Duration::from_millis(pass);
            commands += usize::from(matches!(input, Input::Command { .. }));
            let mut effects = Vec::new();
            app.step(now, &mut || chance, input, &mut effects);
            finished += effects.iter().filter(|effect| matches!(effect, Effect::Finished { .. })).count();
            for (slot, id) in app.slots().iter().zip(0..) {
                let online = app.runs().filter(|(_, run)| run.slot.0 == id && run.is_online()).count();
                prop_assert!(online <= 1);
                if let SlotState::Filled { run } = &slot.state {
                    prop_assert!(app.run(*run).is_some_and(|run| !run.is_draining()));
                }
            }
            prop_assert_eq!(commands, finished + app.operations().len());
        }
    }

    #[test]
    fn the_same_inputs_have_the_same_effects_also_after_a_restored_state(
        inputs in vec((0..20_000_u64, any::<u32>(), input()), 0..60),
    ) {
        let mut app = app(3, Policy::default());
        let mut now = Time(0);
        for (pass, chance, input) in inputs {
            now = now + Duration::from_millis(pass);
            let written = serde_json::to_string(&app).unwrap_or_default();
            let mut restored: App = serde_json::from_str(&written).map_err(|error| {
                proptest::test_runner::TestCaseError::fail(error.to_string())
            })?;
            let (mut effects, mut again) = (Vec::new(), Vec::new());
            app.step(now, &mut || chance, input.clone(), &mut effects);
            restored.step(now, &mut || chance, input, &mut again);
            prop_assert_eq!(effects, again);
            prop_assert_eq!(&app, &restored);
        }
    }

    #[test]
    fn a_stop_ends_once_every_exit_is_seen(inputs in vec((0..20_000_u64, any::<u32>(), input()), 0..80)) {
        let mut app = app(4, Policy::default());
        let mut now = Time(0);
        let mut effects = Vec::new();
        for (pass, chance, input) in inputs {
            now = now + Duration::from_millis(pass);
            app.step(now, &mut || chance, input, &mut effects);
        }
        app.step(now, &mut || 0, Input::Command { op: OpId(0), command: Command::Stop }, &mut effects);
        let runs: Vec<RunId> = app.runs().map(|(run, _)| run).collect();
        for run in runs {
            app.step(now, &mut || 0, Input::Exited { run, outcome: ExitOutcome::Unknown }, &mut effects);
        }
        prop_assert!(app.operations().is_empty());
        prop_assert_eq!(app.next_deadline(), None);
        prop_assert!(app.slots().iter().all(|slot| matches!(slot.state, SlotState::Vacant(Vacancy::Stopped | Vacancy::Removed))));
    }

    #[test]
    fn restarts_are_never_more_than_allowed_in_any_window(
        max_restarts in 0..6_u32,
        window in 1..5000_u64,
        initial in 0..300_u64,
        lives in vec((any::<bool>(), 0..1500_u64), 1..60),
    ) {
        let policy = Policy {
            max_restarts,
            window: Duration::from_millis(window),
            backoff_initial: Duration::from_millis(initial),
            min_uptime: Duration::from_millis(700),
            ..Policy::default()
        };
        let mut app = app(1, policy);
        let mut now = Time(0);
        let mut effects = Vec::new();
        app.step(now, &mut || 0, Input::Command { op: OpId(0), command: Command::Start { target: None } }, &mut effects);
        let mut restarts = Vec::new();
        for (ready, life) in lives {
            let Some(run) = app.runs().map(|(run, _)| run).last() else { break };
            if ready {
                app.step(now, &mut || 0, Input::Ready { run }, &mut effects);
            }
            now = now + Duration::from_millis(life);
            app.step(now, &mut || 0, Input::Exited { run, outcome: ExitOutcome::Code(1) }, &mut effects);
            if let Some(until) = app.next_deadline().filter(|_| app.runs().next().is_none()) {
                now = now.max(until.min(now + Duration::from_secs(10)));
                app.step(now, &mut || 0, Input::Tick, &mut effects);
            }
            if app.runs().next().is_some() {
                restarts.push(now);
            }
        }
        for (last, end) in restarts.iter().enumerate() {
            let within = restarts[..=last].iter().filter(|at| **at + Duration::from_millis(window) > *end).count();
            prop_assert!(within <= max_restarts as usize, "{within} restarts in a window that ends at {end:?}");
        }
    }

    #[test]
    fn a_recovery_leaves_nothing_that_is_not_there(
        inputs in vec((0..20_000_u64, any::<u32>(), input()), 0..80),
        alive in any::<u64>(),
    ) {
        let mut app = app(3, Policy::default());
        let mut now = Time(0);
        let mut effects = Vec::new();
        for (pass, chance, input) in inputs {
            now = now + Duration::from_millis(pass);
            app.step(now, &mut || chance, input, &mut effects);
        }
        let is_alive = |run: RunId| alive >> (run.0 % 64) & 1 == 1;
        let seen: BTreeMap<RunId, Observation> =
            app.runs().filter(|(run, _)| is_alive(*run)).map(|(run, _)| (run, Observation::Alive)).collect();
        let mut effects = Vec::new();
        app.recover(now, &mut || 0, &seen, &mut effects);
        for (run, state) in app.runs() {
            let is_new = matches!(state.state, RunState::Starting { spawned: false, .. });
            prop_assert!(seen.contains_key(&run) || is_new, "run {run} is neither alive nor to be spawned");
        }
        for effect in effects {
            if let Effect::Signal { run, .. } | Effect::Kill { run } | Effect::Drain { run } = effect {
                prop_assert!(seen.contains_key(&run));
            }
        }
    }
}
