//! What users ask.

use std::collections::BTreeSet;
use std::sync::Arc;

use musher_api::{
    Action, ActionRequest, ActionResponse, ApiError, ErrorCode, EventKind, OperationKind, OperationRef, PlanAction,
    PlanStep, ShutdownRequest, ShutdownResponse, StartRequest, StartResponse,
};
use musher_core::lifecycle::{App, Command, Policy, Target};
use musher_core::spec::AppSpec;
use musher_core::{AppId, Generation, OpId};

use crate::control::{News, Request};
use crate::logs::LogPaths;
use crate::otlp::{Endpoint, Signal};

use super::app::ManagedApp;
use super::canary::trial_of;
use super::plan::{self, Present};
use super::records::{AnsweredRequest, REMEMBERED_ANSWERS, REMEMBERED_REQUESTS, names};
use super::wakes::AfterEnd;
use super::{Driver, Wake, wall_clock_ms};

/// The word for every app.
const ALL: &str = "all";

impl Driver {
    /// Answers one request. An answer whose asker is gone is dropped.
    pub(super) fn answer(&mut self, request: Request) {
        self.begin_turn();
        match request {
            Request::Status(reply) => drop(reply.send(Ok(self.status()))),
            Request::Slots { targets, pulse, reply } => {
                let apps: Result<Vec<AppId>, ApiError> = targets.iter().map(|target| self.find(target)).collect();
                drop(reply.send(apps.map(|apps| self.rows(&apps, pulse))));
            }
            Request::Apps(reply) => drop(reply.send(Ok(self.summaries()))),
            Request::App { target, reply } => {
                let answer = self.find(&target).and_then(|app| {
                    let detail = self.detail(app);
                    detail.map(Box::new).ok_or_else(|| ApiError::internal("the app's description is lost"))
                });
                drop(reply.send(answer));
            }
            Request::Start(request, reply) => drop(reply.send(self.start(*request))),
            Request::Act(request, reply) => drop(reply.send(self.act(&request))),
            Request::Operation { id, reply } => {
                let follow = self.world.operations.follow(id);
                let unknown = || {
                    ApiError::not_found(format!("there is no operation {id}"))
                        .with_hint("operations that ended are remembered only for a while")
                };
                drop(reply.send(follow.ok_or_else(unknown)));
            }
            Request::Send(request, reply) => self.send(request, reply),
            Request::Input(request, reply) => drop(reply.send(self.input(&request))),
            Request::Save(_, reply) => self.save(reply),
            Request::Figures(reply) => drop(reply.send(Ok(self.figures()))),
            Request::Resurrect(request, reply) => self.begin_resurrection(request, reply),
            Request::Upgrade(request, reply) => drop(reply.send(self.upgrade(&request))),
            Request::Shutdown(request, reply) => drop(reply.send(Ok(self.shutdown(&request)))),
        }
    }

    /// The app of a name or id.
    pub(super) fn find(&self, target: &str) -> Result<AppId, ApiError> {
        let by_id = target.parse().ok().map(AppId).filter(|id| self.apps.contains_key(id));
        let by_name = || self.apps.values().find(|app| app.name == target).map(|app| app.id);
        by_id.or_else(by_name).ok_or_else(|| {
            let error = ApiError::not_found(format!("there is no app {target:?}"));
            let nearest = self.apps.values().map(|app| (strsim::damerau_levenshtein(&app.name, target), &app.name));
            match nearest.min() {
                Some((distance, name)) if distance <= 1 + target.len() / 3 => {
                    error.with_hint(format!("did you mean {name:?}?"))
                }
                Some(_) => error.with_hint("`musher list` shows all apps"),
                None => error.with_hint("no app was started yet: `musher start FILE`"),
            }
        })
    }

    fn find_all(&self, targets: &[String]) -> Result<Vec<AppId>, ApiError> {
        let mut found = Vec::new();
        for target in targets {
            let apps = if target == ALL { self.apps.keys().copied().collect() } else { vec![self.find(target)?] };
            found.extend(apps.into_iter().filter(|app| !found.contains(app)).collect::<Vec<_>>());
        }
        Ok(found)
    }

    pub(super) fn answered(&self, request_id: &str) -> Option<&AnsweredRequest> {
        self.world.record.requests.iter().find(|answered| answered.request_id == request_id)
    }

    /// Writes that operations were begun for a request, before anything is done for them.
    pub(super) fn remember(&mut self, request_id: &str, plan: Vec<PlanStep>, operations: Vec<OperationRef>) {
        let requests = &mut self.world.record.requests;
        requests.push_back(AnsweredRequest { request_id: request_id.to_owned(), plan, operations });
        // The last one whatever its size, of the others what is not too much to be written again and again.
        let mut room = REMEMBERED_ANSWERS;
        let recent = requests.iter().rev().take(REMEMBERED_REQUESTS).take_while(|request| {
            let size = request.plan.len().max(request.operations.len());
            room.checked_sub(size).inspect(|left| room = *left).is_some()
        });
        let keep = recent.count().max(1);
        requests.drain(..requests.len() - keep);
        self.world.write_home();
    }

    pub(super) fn begin(&mut self, app: AppId, name: &str, kind: OperationKind) -> (OpId, OperationRef) {
        self.world.record.next_operation += 1;
        let op = OpId(self.world.record.next_operation);
        (op, self.world.operations.begin(op, app, name, kind))
    }

    pub(super) fn refuse_when_ending(&self) -> Result<(), ApiError> {
        if self.world.record.shutting_down {
            return Err(ApiError::unavailable("the daemon is ending").with_hint("try again when it has ended"));
        }
        Ok(())
    }

    pub(super) fn act(&mut self, request: &ActionRequest) -> Result<ActionResponse, ApiError> {
        if let Some(answered) = self.answered(&request.request_id) {
            return Ok(ActionResponse { operations: answered.operations.clone() });
        }
        self.refuse_when_ending()?;
        let (whole, ones) = self.divide(request.action, &request.targets)?;
        let mut apps = self.find_all(&whole)?;
        let needed = self.needed_for(request.action, &mut apps, &ones);
        if let Action::Scale { to } = request.action {
            for app in &apps {
                self.scaled_by_hand(*app, to)?;
            }
        }
        let mut begun = Vec::new();
        let mut operations = Vec::new();
        for app in needed {
            let name = self.apps.get(&app).map(|app| app.name.clone()).unwrap_or_default();
            let (op, reference) = self.begin(app, &name, OperationKind::Start);
            begun.push((app, op, Action::Start));
            operations.push(reference);
        }
        for app in apps {
            let name = self.apps.get(&app).map(|app| app.name.clone()).unwrap_or_default();
            let (op, reference) = self.begin(app, &name, request.action.into());
            begun.push((app, op, request.action));
            operations.push(reference);
        }
        let ones = self.begin_ones(request.action, ones, &mut operations);
        self.remember(&request.request_id, Vec::new(), operations.clone());
        let ids: Vec<AppId> = begun.iter().map(|(app, _, _)| *app).collect();
        let ends = matches!(request.action, Action::Stop | Action::Delete | Action::Restart);
        let mut after = if ends { self.ends_after(&ids) } else { Vec::new() }.into_iter();
        for (app, op, action) in begun {
            let after = after.next().unwrap_or_default();
            let command = match action {
                Action::Start => Command::Start { target: None },
                Action::Stop => Command::Stop,
                Action::Restart => self.restart_command(app),
                Action::Reload => self.reload_command(app, None, None),
                Action::Canary { slots, wait_ms } => self.reload_command(app, None, Some((slots, wait_ms))),
                Action::Delete => Command::Delete,
                Action::Scale { to } => Command::Scale { to },
                Action::Signal { signal, slot } => {
                    self.signal_workers(app, op, signal, slot);
                    continue;
                }
                Action::Reset => {
                    self.reset_restarts(app, op);
                    continue;
                }
                Action::Flush | Action::ReopenLogs => {
                    self.tend_logs(app, op, action == Action::Flush);
                    continue;
                }
            };
            self.command_after(app, op, command, after);
            self.drop_unused_specs(app);
        }
        for one in ones {
            self.act_on_one(one);
        }
        Ok(ActionResponse { operations })
    }

    /// A restart of what runs. Nothing serves in between, so nothing is asked of the new version but what a first start asks.
    pub(super) fn restart_command(&mut self, id: AppId) -> Command {
        if let Some(app) = self.apps.get_mut(&id) {
            app.listens = false;
        }
        Command::Restart { target: None }
    }

    /// A reload to this spec, or of the same as before, with a trial if the command or the spec asks for one.
    pub(super) fn reload_command(
        &mut self,
        id: AppId,
        spec: Option<AppSpec>,
        canary: Option<(u32, Option<u64>)>,
    ) -> Command {
        let target = self.next_generation(id, spec);
        let app = self.apps.get(&id);
        let spec = target.as_ref().and_then(|target| app?.spec(target.generation));
        let canary = trial_of(spec.and_then(|spec| spec.reload.canary.as_ref()), canary);
        Command::Reload { target, canary }
    }

    pub(super) fn signal_workers(&mut self, id: AppId, op: OpId, signal: i32, slot: Option<u32>) {
        let Some(app) = self.apps.get(&id) else { return };
        let failures: Vec<String> = app
            .runs
            .values()
            .filter(|run| slot.is_none_or(|slot| run.record.slot.0 == slot))
            .filter_map(|run| run.signal(signal).err().map(|error| format!("process {:?}: {error}", run.record.pid)))
            .collect();
        let name = musher_process::exit::signal_name(signal);
        let news = News::new(EventKind::Signalled, format!("got {name}, as asked"));
        let news = news.of_app(&app.name, id.0);
        self.world.events.publish(match slot {
            Some(slot) => news.of_slot(slot),
            None => news,
        });
        let result = match failures.first() {
            None => Ok(()),
            Some(first) => Err((ApiError::internal(format!("{name} could not be sent: {first}")), None)),
        };
        self.world.operations.finish(op, result);
        self.world.write_home();
    }

    fn reset_restarts(&mut self, id: AppId, op: OpId) {
        if let Some(app) = self.apps.get_mut(&id) {
            app.machine.reset_restarts();
            app.tally.look_at(app.machine.slots());
            self.world.write_app(app);
        }
        self.world.operations.finish(op, Ok(()));
        self.world.write_home();
    }

    /// Empties the log files of an app, or opens them again. Done when the thread that writes them has done it.
    fn tend_logs(&self, id: AppId, op: OpId, empty: bool) {
        let (logs, wakes) = (self.world.logs.clone(), self.world.wakes.clone());
        tokio::spawn(async move {
            let result = if empty {
                logs.clear(id).await.map(|cleared| cleared.map_err(|error| error.to_string()))
            } else {
                logs.reopen().await.map(|()| Ok(()))
            };
            let result = result.unwrap_or_else(|_| Err("the thread that writes logs has ended".to_owned()));
            let _ = wakes.send(Wake::LogsTended(op, result)).await;
        });
    }

    /// What was asked of the log files is done, or cannot be.
    pub(super) fn logs_tended(&mut self, op: OpId, result: Result<(), String>) {
        let result =
            result.map_err(|error| (ApiError::internal(format!("the log files could not be changed: {error}")), None));
        self.world.operations.finish(op, result);
        self.world.write_home();
    }

    pub(super) fn start(&mut self, request: StartRequest) -> Result<StartResponse, ApiError> {
        if let Some(answered) = self.answered(&request.request_id) {
            return Ok(StartResponse { plan: answered.plan.clone(), operations: answered.operations.clone() });
        }
        self.refuse_when_ending()?;
        let mut request = request;
        for spec in &mut request.specs {
            self.keep_number(spec);
        }
        let plan: Vec<PlanStep> = request.specs.iter().map(|spec| self.plan(spec, request.force)).collect();
        let steps = self.in_order(request.specs, plan)?;
        let needed = self.needed_by(&steps);
        let steps_of_needed = needed.iter().map(|(_, step)| step);
        let plan: Vec<PlanStep> = steps_of_needed.chain(steps.iter().map(|(_, step)| step)).cloned().collect();
        if request.dry_run {
            return Ok(StartResponse { plan, operations: Vec::new() });
        }
        for (spec, _) in &steps {
            self.check_logs(spec)?;
            self.check_sockets(spec)?;
        }
        let mut commands = Vec::new();
        let mut operations = Vec::new();
        for (app, step) in needed {
            let (op, reference) = self.begin(app, &step.app, OperationKind::Start);
            commands.push((app, op, Command::Start { target: None }));
            operations.push(reference);
        }
        for (spec, step) in steps {
            let app = self.app_for(&spec);
            for (kind, command) in self.commands(app, spec, &step) {
                let (op, reference) = self.begin(app, &step.app, kind);
                commands.push((app, op, command));
                operations.push(reference);
            }
        }
        self.remember(&request.request_id, plan.clone(), operations.clone());
        let apps: BTreeSet<AppId> = commands.iter().map(|(app, _, _)| *app).collect();
        for (app, op, command) in commands {
            self.command_after(app, op, command, BTreeSet::new());
        }
        for app in apps {
            self.drop_unused_specs(app);
        }
        Ok(StartResponse { plan, operations })
    }

    /// A start does not move the number of slots that follows load, but for bringing it within the bounds.
    fn keep_number(&self, spec: &mut AppSpec) {
        let Some(rule) = &spec.scale else { return };
        if let Some(app) = self.apps.values().find(|app| app.name == spec.name) {
            let slots = app.machine.size();
            spec.instances = slots.min(rule.max).max(rule.min);
        }
    }

    /// Whether the app's output can be written where it is wanted: told now, not by lines that are missed later.
    fn check_logs(&self, spec: &AppSpec) -> Result<(), ApiError> {
        let paths = LogPaths::first(&self.world.home, &spec.name, &spec.logs);
        if let Err((path, error)) = paths.try_open() {
            let message = format!("{}: its output cannot be written to {}: {error}", spec.name, path.display());
            return Err(ApiError::new(ErrorCode::InvalidSpec, message)
                .with_hint("give `logs.out` and `logs.err` paths that the daemon may write"));
        }
        if let Some(base) = &spec.logs.otlp
            && let Err(why) = Endpoint::of(base, Signal::Logs)
        {
            let message = format!("{}: its lines cannot be exported: {why}", spec.name);
            return Err(ApiError::new(ErrorCode::InvalidSpec, message).with_hint("mend `logs.otlp`"));
        }
        Ok(())
    }

    /// Whether the sockets that are open can be shared as the spec says.
    fn check_sockets(&self, spec: &AppSpec) -> Result<(), ApiError> {
        let app = self.apps.values().find(|app| app.name == spec.name);
        let Some(address) = app.and_then(|app| app.sockets.shared_otherwise(spec)) else { return Ok(()) };
        let name = &spec.name;
        let message = format!("{name}: {address} is open, and how its workers share it cannot be changed by a reload");
        let hint = format!("`musher stop {name}`, then start it with the other `balance`: in between nothing listens");
        Err(ApiError::conflict(message).with_hint(hint))
    }

    fn plan(&self, spec: &AppSpec, force: bool) -> PlanStep {
        let app = self.apps.values().find(|app| app.name == spec.name);
        let present = app.and_then(|app| {
            let instances = app.machine.size();
            Some(Present {
                spec: app.target_spec()?,
                instances,
                wanted: app.machine.is_wanted(),
                down: app.machine.ready_slots() < instances,
            })
        });
        plan::step(present, spec, force)
    }

    /// The app of this spec's name; a new one, stopped, if there is none.
    pub(super) fn app_for(&mut self, spec: &AppSpec) -> AppId {
        if let Some(app) = self.apps.values().find(|app| app.name == spec.name) {
            return app.id;
        }
        self.world.record.next_app += 1;
        let id = AppId(self.world.record.next_app);
        let generation = Generation(1);
        let machine = App::new(id, spec.instances, Target { generation, policy: Policy::from(spec) });
        let mut app = ManagedApp::new(id, spec.name.clone(), machine, wall_clock_ms());
        self.world.write_spec(&mut app, generation, Arc::new(spec.clone()));
        self.world.write_app(&app);
        self.world.registry.insert(id, &app.name, &spec.logs);
        self.world.events.publish(News::new(EventKind::Added, "added").of_app(&app.name, id.0));
        self.apps.insert(id, app);
        id
    }

    /// The commands of a step of a plan.
    fn commands(&mut self, id: AppId, spec: AppSpec, step: &PlanStep) -> Vec<(OperationKind, Command)> {
        let slots = self.apps.get(&id).map_or(0, |app| app.machine.size());
        let scale = (slots != spec.instances).then_some((OperationKind::Scale, Command::Scale { to: spec.instances }));
        if let Some(app) = self.apps.get(&id) {
            self.world.registry.insert(id, &app.name, &spec.logs);
        }
        let first = match step.action {
            PlanAction::Add => return Vec::new(),
            PlanAction::Start if step.instances_before == 0 => {
                return vec![(OperationKind::Start, Command::Start { target: None })];
            }
            PlanAction::Start => {
                // One that is wanted already has this spec: what is starting is waited for, what is down is started.
                let wanted = self.apps.get(&id).is_some_and(|app| app.machine.is_wanted());
                let target = if wanted { None } else { self.next_generation(id, Some(spec)) };
                let command = Command::Start { target };
                // A stopped app takes its new number of slots before it starts.
                return scale.into_iter().chain([(OperationKind::Start, command)]).collect();
            }
            PlanAction::Reload => Some((OperationKind::Reload, self.reload_command(id, Some(spec), None))),
            PlanAction::Restart => Some((OperationKind::Restart, Command::Restart { target: None })),
            PlanAction::Scale | PlanAction::Update | PlanAction::None => None,
        };
        first.into_iter().chain(scale).collect()
    }

    /// A new generation of an app: of this spec, or of the same as before.
    pub(super) fn next_generation(&mut self, id: AppId, spec: Option<AppSpec>) -> Option<Target> {
        let app = self.apps.get_mut(&id)?;
        let spec = spec.map(Arc::new).or_else(|| app.target_spec().cloned())?;
        let generation = Generation(app.newest.0 + 1);
        let policy = Policy::from(&*spec);
        self.world.write_spec(app, generation, spec);
        Some(Target { generation, policy })
    }

    fn shutdown(&mut self, request: &ShutdownRequest) -> ShutdownResponse {
        let after = if request.keeps_list { AfterEnd::ComesBack } else { AfterEnd::IsForgotten };
        let apps = self.begin_shutdown(after);
        let pid = |pid: Option<musher_process::Pid>| pid.and_then(|pid| u32::try_from(pid.as_raw()).ok()).unwrap_or(0);
        ShutdownResponse {
            apps,
            supervisor_pid: pid(Some(musher_process::Pid::own())),
            keeper_pid: pid(self.world.link.keeper_pid()),
        }
    }
}

impl super::World {
    /// Writes the spec of a new generation, where it outlives this process.
    fn write_spec(&self, app: &mut ManagedApp, generation: Generation, spec: Arc<AppSpec>) {
        match serde_json::to_vec(&*spec) {
            Ok(bytes) => self.link.put_bytes(&names::spec(app.id, generation), &bytes),
            Err(error) => tracing::error!(app = app.name, %error, "the app's description cannot be written"),
        }
        app.specs.insert(generation, spec);
        app.newest = app.newest.max(generation);
    }
}
