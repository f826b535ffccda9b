//! The executor on a world in memory that forgives nothing, with the real journal: order, tokens, failure, resumption,
//! interruption. Everything runs on one thread, and steps give way as often as each case says, so cases repeat.

use pgxc_lab::{
    config, engine,
    error::{Class, Error, Result},
    event::{Event, Events, Outcome},
    executor::{self, Apply, Foresight, Tally},
    journal::Journal,
    lab::EngineKind,
    plan::{self, Action, Chain, Heavy, Plan, Step},
};
use proptest::{prelude::*, sample::Index};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    future::Future,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A run that takes longer than this waits for something that never comes: steps here do nothing.
const STUCK: Duration = Duration::from_secs(20);

/// How a step fails.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// It cannot even look.
    Look,
    /// Nothing has changed yet.
    Before,
    /// Everything was done, but the program does not hear of it.
    After,
    /// The program itself is wrong.
    Panic,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    Begin(String),
    Well(String),
    Badly(String),
    Cancel,
}

#[derive(Default)]
struct State {
    done: BTreeSet<String>,
    acted: Vec<String>,
    log: Vec<Mark>,
    faults: BTreeMap<String, Fault>,
    cancel: Option<(String, CancellationToken)>,
    broken_rules: Vec<String>,
}

/// The world.
struct World {
    directory: TempDir,
    plan: Plan,
    /// Steps that must have ended before each step, the one before it in its chain too.
    before: BTreeMap<String, Vec<String>>,
    /// How often a step gives way to others while it works.
    patience: Vec<usize>,
    state: Mutex<State>,
}

impl World {
    fn new(plan: Plan, patience: Vec<usize>) -> Arc<World> {
        let mut before = BTreeMap::new();
        for chain in &plan.chains {
            let mut previous: Option<String> = None;
            for step in &chain.steps {
                before.insert(step.id.clone(), step.needs.iter().cloned().chain(previous).collect());
                previous = Some(step.id.clone());
            }
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        Arc::new(World { directory, plan, before, patience, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    fn journal(&self) -> PathBuf {
        self.directory.path().join("journal.jsonl")
    }

    fn journal_text(&self) -> String {
        fs::read_to_string(self.journal()).unwrap_or_default()
    }

    fn ids(&self) -> BTreeSet<String> {
        self.plan.steps().map(|step| step.id.clone()).collect()
    }

    async fn work(&self, step: &str) {
        let number = self.plan.steps().position(|known| known.id == step).expect("a step of the plan");
        for _ in 0..self.patience[number % self.patience.len()] {
            tokio::task::yield_now().await;
        }
    }

    /// The last entry of the journal's file that names this step.
    fn last_entry(&self, step: &str) -> Option<String> {
        let lines = self.journal_text();
        let entries = lines.lines().map(|line| serde_json::from_str(line).expect("a line of the journal"));
        let mut ours = entries.filter(|entry: &serde_json::Value| entry["step"] == step);
        ours.next_back().map(|entry| entry["entry"].as_str().expect("an entry").to_owned())
    }

    /// Steps that a failure keeps from running, directly or through others.
    fn dependants(&self, failed: &BTreeSet<String>) -> BTreeSet<String> {
        let mut blocked: BTreeSet<String> = BTreeSet::new();
        loop {
            let bad = |need: &String| failed.contains(need) || blocked.contains(need);
            let more: Vec<String> = self
                .before
                .iter()
                .filter(|(step, needs)| !blocked.contains(*step) && needs.iter().any(bad))
                .map(|(step, _)| step.clone())
                .collect();
            if more.is_empty() {
                return blocked;
            }
            blocked.extend(more);
        }
    }
}

impl Apply for World {
    type Action = Action;

    async fn foresee(&self, step: &Step) -> Result<Foresight> {
        self.state().log.push(Mark::Begin(step.id.clone()));
        self.work(&step.id).await;
        let mut state = self.state();
        if let Some(Fault::Look) = state.faults.get(&step.id) {
            state.log.push(Mark::Badly(step.id.clone()));
            return Err(Error::new(Class::Guest, format!("{} cannot look", step.id)));
        }
        if state.done.contains(&step.id) {
            state.log.push(Mark::Well(step.id.clone()));
            return Ok(Foresight::Holds("it is there".into()));
        }
        Ok(Foresight::Changes)
    }

    async fn act(&self, step: &Step) -> Result<(Outcome, String)> {
        let entry = self.last_entry(&step.id);
        {
            let mut state = self.state();
            if entry.as_deref() != Some("intent") {
                state.broken_rules.push(format!("{} acts, but the journal's last word is {entry:?}", step.id));
            }
            if let Some(need) = self.before[&step.id].iter().find(|need| !state.done.contains(*need)) {
                let rule = format!("{} acts before {need}", step.id);
                state.broken_rules.push(rule);
            }
            if state.done.contains(&step.id) {
                state.broken_rules.push(format!("{} acts although it is done", step.id));
            }
            if let Some((_, stop)) = state.cancel.take_if(|(at, _)| *at == step.id) {
                stop.cancel();
                state.log.push(Mark::Cancel);
            }
        }
        self.work(&step.id).await;
        let fault = self.state().faults.get(&step.id).copied();
        assert!(!matches!(fault, Some(Fault::Panic)), "the program itself is wrong");
        let mut state = self.state();
        if !matches!(fault, Some(Fault::Before)) {
            state.done.insert(step.id.clone());
            state.acted.push(step.id.clone());
        }
        if fault.is_some() {
            state.log.push(Mark::Badly(step.id.clone()));
            return Err(Error::new(Class::Guest, format!("{} fails", step.id)));
        }
        state.log.push(Mark::Well(step.id.clone()));
        Ok((Outcome::Changed("made".into()), digest(&step.id)))
    }
}

fn digest(step: &str) -> String {
    format!("digest of {step}")
}

/// What a run told.
#[derive(Default)]
struct Told {
    started: Vec<String>,
    changed: BTreeSet<String>,
    unchanged: BTreeSet<String>,
    failed: BTreeSet<String>,
    skipped: BTreeMap<String, String>,
    ends: Vec<bool>,
}

fn told(mut receiver: tokio::sync::mpsc::UnboundedReceiver<Event>) -> Told {
    let mut told = Told::default();
    while let Ok(event) = receiver.try_recv() {
        assert!(told.ends.is_empty(), "an event after the end: {event:?}");
        match event {
            Event::Started { step, .. } => told.started.push(step),
            Event::Finished { step, outcome: Outcome::Changed(_), .. } => assert!(told.changed.insert(step)),
            Event::Finished { step, outcome: Outcome::Unchanged(_), .. } => assert!(told.unchanged.insert(step)),
            Event::Failed { step, .. } => assert!(told.failed.insert(step)),
            Event::Skipped { step, because } => assert_eq!(told.skipped.insert(step, because), None),
            Event::End { succeeded, .. } => told.ends.push(succeeded),
            other => panic!("the executor sends no {other:?}"),
        }
    }
    told
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(STUCK, future).await.expect("the run is stuck") })
}

/// One run, as a new process would do it. Rules that hold for every run are checked here.
fn run(world: &Arc<World>, tokens: usize, stop: &CancellationToken) -> (Tally, Told) {
    let journal = Arc::new(Journal::open(&world.journal()).expect("the journal opens"));
    let (events, receiver) = Events::channel();
    world.state().log.clear();
    let tally = block_on(executor::run(world.plan.clone(), world.clone(), journal, events, tokens, stop.clone()));
    let told = told(receiver);
    assert_eq!(world.state().broken_rules, Vec::<String>::new());
    assert_eq!((told.changed.len(), told.unchanged.len()), (tally.changed, tally.unchanged));
    assert_eq!(told.ends, [tally.failure.is_none()]);
    assert_order(world);
    assert!(most_at_once(world) <= tokens, "{} heavy chains at once", most_at_once(world));
    let journal = Journal::read(&world.journal()).expect("it reads");
    for step in &told.changed {
        assert_eq!(journal.done(step), Some(digest(step)), "{step}");
    }
    for step in &told.failed {
        assert_eq!(journal.done(step), None, "{step}");
        assert_eq!(world.last_entry(step).as_deref(), Some("failed"), "{step}");
    }
    (tally, told)
}

/// No step began, not even to look, before all that it needs had ended well in this run.
fn assert_order(world: &World) {
    let state = world.state();
    let mut well = BTreeSet::new();
    for mark in &state.log {
        match mark {
            Mark::Begin(step) => {
                for need in &world.before[step] {
                    assert!(well.contains(need), "{step} begins before {need} has ended well: {:?}", state.log);
                }
            }
            Mark::Well(step) => _ = well.insert(step),
            Mark::Badly(_) | Mark::Cancel => {}
        }
    }
}

/// How many heavy chains were between the beginning of their first step and the end of their last at once.
fn most_at_once(world: &World) -> usize {
    let state = world.state();
    let mut spans: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for (time, mark) in state.log.iter().enumerate() {
        let (Mark::Begin(step) | Mark::Well(step) | Mark::Badly(step)) = mark else { continue };
        let in_it = |chain: &Chain| chain.steps.iter().any(|known| known.id == *step);
        let number = world.plan.chains.iter().position(in_it).expect("a chain of the plan");
        if world.plan.chains[number].heavy == Heavy::Yes {
            spans.entry(number).or_insert((time, time)).1 = time;
        }
    }
    (0..state.log.len())
        .map(|time| spans.values().filter(|(first, last)| (first..=last).contains(&&time)).count())
        .max()
        .unwrap_or(0)
}

fn lab_plan(name: &str) -> Plan {
    let lab = config::load(Path::new(name)).unwrap_or_else(|problems| panic!("{problems}")).lab;
    plan::up(&lab, engine::of(EngineKind::PostgresXc).as_ref())
}

fn step(id: &str, needs: &[&str]) -> Step {
    let needs = needs.iter().map(|need| (*need).to_owned()).collect();
    Step { id: id.into(), node: None, title: "do something", action: Action::Proof, needs }
}

fn chain(heavy: Heavy, steps: &[(&str, &[&str])]) -> Chain {
    Chain { heavy, steps: steps.iter().map(|(id, needs)| step(id, needs)).collect() }
}

/// A plan as `plan::up` could make it: needs only name steps of earlier chains.
fn any_plan() -> impl Strategy<Value = Plan> {
    let heavy = prop_oneof![Just(Heavy::No), Just(Heavy::Yes), Just(Heavy::Yes)];
    let steps = prop::collection::vec(prop::collection::vec(any::<Index>(), 0..3), 1..4);
    prop::collection::vec((heavy, steps), 1..8).prop_map(|raw| {
        let mut plan = Plan { chains: Vec::new() };
        for (number, (heavy, steps)) in raw.into_iter().enumerate() {
            let earlier: Vec<String> = plan.steps().map(|step| step.id.clone()).collect();
            let steps = steps.into_iter().enumerate().map(|(place, picks)| {
                let needs = picks.iter().filter(|_| !earlier.is_empty()).map(|pick| pick.get(&earlier).as_str());
                step(&format!("{number}/{place}"), &needs.collect::<Vec<_>>())
            });
            plan.chains.push(Chain { heavy, steps: steps.collect() });
        }
        plan
    })
}

fn any_patience() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..6usize, 1..12)
}

fn any_faults() -> impl Strategy<Value = Vec<(Index, Fault)>> {
    let fault = prop_oneof![Just(Fault::Look), Just(Fault::Before), Just(Fault::After)];
    prop::collection::vec((any::<Index>(), fault), 1..4)
}

fn proptest_config() -> ProptestConfig {
    // The journal waits for the disk at every entry, so cases are few; a failing case is printed whole.
    ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() }
}

fn assert_clean_run(world: &Arc<World>, tokens: usize) {
    let (tally, told) = run(world, tokens, &CancellationToken::new());
    assert!(tally.failure.is_none(), "{:?}", tally.failure);
    let mut started = told.started;
    started.sort();
    assert_eq!(started, world.ids().into_iter().collect::<Vec<_>>());
    assert_eq!(told.changed, world.ids());
    let mut acted = world.state().acted.clone();
    acted.sort();
    assert_eq!(acted, world.ids().into_iter().collect::<Vec<_>>());
}

#[test]
fn a_clean_run_does_everything_once_and_a_second_one_nothing() {
    for lab in ["tests/labs/two.yaml", "tests/labs/four.yaml", "lab.yaml"] {
        let world = World::new(lab_plan(lab), vec![3, 0, 1, 7]);
        assert_clean_run(&world, 2);
        let (journal, acted) = (world.journal_text(), world.state().acted.clone());
        let (tally, told) = run(&world, 2, &CancellationToken::new());
        assert!(tally.failure.is_none(), "{:?}", tally.failure);
        assert_eq!(told.unchanged, world.ids());
        assert_eq!(world.state().acted, acted);
        assert_eq!(world.journal_text(), journal, "a run that changes nothing has nothing to say");
    }
}

#[test]
fn all_tokens_are_used_and_no_more() {
    for tokens in 1..=5 {
        let chains = ["a", "b", "c", "d"].map(|name| {
            let (first, second) = (format!("{name}/1"), format!("{name}/2"));
            chain(Heavy::Yes, &[(&first, &[]), (&second, &[])])
        });
        let world = World::new(Plan { chains: chains.into() }, vec![9]);
        assert_clean_run(&world, tokens);
        assert_eq!(most_at_once(&world), tokens.min(4));
    }
}

/// With one token the first heavy chain must have it: the second waits for it while it holds its own.
#[test]
fn a_chain_that_waits_for_an_earlier_one_does_not_starve_it() {
    let chains = vec![
        chain(Heavy::No, &[("image", &[])]),
        chain(Heavy::Yes, &[("gtm/boot", &["image"]), ("gtm/serve", &[])]),
        chain(Heavy::Yes, &[("db/boot", &[]), ("db/serve", &["gtm/serve"])]),
    ];
    assert_clean_run(&World::new(Plan { chains }, vec![20, 0]), 1);
}

#[test]
fn light_chains_take_no_token() {
    let chains =
        vec![chain(Heavy::Yes, &[("a", &["b"])]), chain(Heavy::No, &[("b", &[])]), chain(Heavy::No, &[("c", &[])])];
    assert_clean_run(&World::new(Plan { chains }, vec![4]), 1);
}

#[test]
fn a_failure_is_told_with_its_dependants_and_the_rest_goes_on() {
    let chains = vec![
        chain(Heavy::No, &[("a/1", &[]), ("a/2", &[]), ("a/3", &[])]),
        chain(Heavy::Yes, &[("b/1", &["a/1"]), ("b/2", &["a/2"])]),
        chain(Heavy::Yes, &[("c/1", &["a/1"]), ("c/2", &[])]),
    ];
    let world = World::new(Plan { chains }, vec![2]);
    world.state().faults.insert("a/2".into(), Fault::Before);
    let (tally, told) = run(&world, 1, &CancellationToken::new());
    let failure = tally.failure.expect("a failure");
    assert_eq!((failure.class(), failure.message()), (Class::Guest, "a/2 fails"));
    assert_eq!(told.failed, ["a/2".to_owned()].into());
    let because = |step: &str| (step.to_owned(), "a/2".to_owned());
    assert_eq!(told.skipped, [because("a/3"), because("b/2")].into());
    assert_eq!(world.state().done, ["a/1", "b/1", "c/1", "c/2"].map(str::to_owned).into());
}

/// What a person reads is "skipped, because … failed".
#[test]
fn what_is_skipped_names_the_step_that_failed() {
    let chains =
        vec![chain(Heavy::No, &[("a", &[])]), chain(Heavy::No, &[("b", &["a"])]), chain(Heavy::No, &[("c", &["b"])])];
    let world = World::new(Plan { chains }, vec![1]);
    world.state().faults.insert("a".into(), Fault::Before);
    let (_, told) = run(&world, 1, &CancellationToken::new());
    assert_eq!(told.skipped, ["b", "c"].map(|step| (step.to_owned(), "a".to_owned())).into());
}

/// A mistake in the program must end the run, and never as a success.
#[test]
fn a_step_that_panics_is_a_failure() {
    let world = World::new(Plan { chains: vec![chain(Heavy::No, &[("a", &[])])] }, vec![1]);
    world.state().faults.insert("a".into(), Fault::Panic);
    let (tally, _) = run(&world, 1, &CancellationToken::new());
    assert_eq!(tally.failure.map(|failure| failure.class()), Some(Class::Internal));
}

#[test]
fn what_needs_a_step_that_panics_does_not_wait_for_ever() {
    let chains = vec![chain(Heavy::No, &[("a", &[]), ("b", &[])]), chain(Heavy::No, &[("c", &["b"])])];
    let world = World::new(Plan { chains }, vec![1]);
    world.state().faults.insert("a".into(), Fault::Panic);
    let (tally, _) = run(&world, 1, &CancellationToken::new());
    assert!(tally.failure.is_some());
}

#[test]
fn a_journal_that_cannot_be_written_lets_nothing_act() {
    let world = World::new(Plan { chains: vec![chain(Heavy::No, &[("a", &[])])] }, vec![0]);
    let journal = Arc::new(Journal::read(&world.journal()).expect("it reads"));
    let (events, _receiver) = Events::channel();
    let stop = CancellationToken::new();
    let tally = block_on(executor::run(world.plan.clone(), world.clone(), journal, events, 1, stop));
    assert!(tally.failure.is_some());
    assert_eq!(world.state().acted, Vec::<String>::new());
}

#[test]
fn a_run_that_was_cancelled_before_it_began_starts_nothing() {
    let world = World::new(lab_plan("tests/labs/two.yaml"), vec![1]);
    let stop = CancellationToken::new();
    stop.cancel();
    let (tally, told) = run(&world, 2, &stop);
    let failure = tally.failure.expect("a failure");
    assert_eq!(failure.class(), Class::Interrupted);
    assert!(failure.hint_text().is_some_and(|hint| hint.contains("the same command again")), "{failure}");
    assert_eq!(told.started, Vec::<String>::new());
    assert_eq!((world.state().log.len(), world.journal_text().as_str()), (0, ""));
}

/// What fails after the signal was interrupted by it: the terminal sends it to children too.
#[test]
fn an_interrupted_run_is_interrupted_even_if_a_step_failed() {
    let world = World::new(Plan { chains: vec![chain(Heavy::No, &[("a", &[]), ("b", &[])])] }, vec![1]);
    let stop = CancellationToken::new();
    world.state().cancel = Some(("a".into(), stop.clone()));
    world.state().faults.insert("a".into(), Fault::Before);
    let (tally, told) = run(&world, 1, &stop);
    assert_eq!(tally.failure.map(|failure| failure.class()), Some(Class::Interrupted));
    assert_eq!((told.failed.len(), told.started.len()), (1, 1));
}

/// `holds`, with the events that it sent.
fn holds(world: &Arc<World>) -> (Option<Tally>, Told) {
    let (events, receiver) = Events::channel();
    let tally = block_on(executor::holds(&world.plan, world, &events, 1));
    drop(events);
    (tally, told(receiver))
}

#[test]
fn holds_tells_of_a_lab_where_nothing_changes() {
    let world = World::new(lab_plan("tests/labs/four.yaml"), vec![3, 0, 5]);
    world.state().done = world.ids();
    let (tally, told) = holds(&world);
    let tally = tally.expect("everything holds");
    assert_eq!((tally.changed, tally.unchanged), (0, world.ids().len()));
    assert!(tally.failure.is_none());
    assert_eq!((told.unchanged, told.ends), (world.ids(), vec![true]));
    assert_eq!((world.state().acted.len(), world.journal().exists()), (0, false));
}

#[test]
fn holds_says_nothing_and_touches_nothing_when_anything_changes() {
    for missing in World::new(lab_plan("tests/labs/two.yaml"), vec![0]).ids() {
        for fault in [None, Some(Fault::Look)] {
            let world = World::new(lab_plan("tests/labs/two.yaml"), vec![2, 0, 1]);
            world.state().done = world.ids();
            match fault {
                None => _ = world.state().done.remove(&missing),
                Some(fault) => _ = world.state().faults.insert(missing.clone(), fault),
            }
            let (tally, told) = holds(&world);
            assert!(tally.is_none(), "{missing} {fault:?}");
            assert_eq!((told.unchanged.len(), told.ends.len()), (0, 0), "{missing} {fault:?}");
            assert_eq!((world.state().acted.len(), world.journal().exists()), (0, false), "{missing} {fault:?}");
        }
    }
}

proptest! {
    #![proptest_config(proptest_config())]

    #[test]
    fn any_plan_ends_with_everything_done_once(plan in any_plan(), patience in any_patience(), tokens in 1..4usize) {
        assert_clean_run(&World::new(plan, patience), tokens);
    }

    #[test]
    fn a_run_that_fails_anywhere_and_is_resumed_ends_like_a_clean_one(
        plan in any_plan(), patience in any_patience(), tokens in 1..4usize, faults in any_faults(),
    ) {
        let world = World::new(plan, patience);
        let ids: Vec<String> = world.ids().into_iter().collect();
        let faults: BTreeMap<String, Fault> =
            faults.into_iter().map(|(pick, fault)| (pick.get(&ids).clone(), fault)).collect();
        let faulty: BTreeSet<String> = faults.keys().cloned().collect();
        let blocked = world.dependants(&faulty);
        let failing: BTreeSet<String> = faulty.difference(&blocked).cloned().collect();
        world.state().faults = faults;

        let (tally, told) = run(&world, tokens, &CancellationToken::new());
        prop_assert_eq!(tally.failure.map(|failure| failure.class()), Some(Class::Guest));
        prop_assert_eq!(&told.failed, &failing);
        prop_assert_eq!(told.skipped.keys().cloned().collect::<BTreeSet<_>>(), blocked.clone());
        let well: BTreeSet<String> = world.ids().into_iter().filter(|id| !blocked.contains(id) && !failing.contains(id)).collect();
        prop_assert_eq!(told.changed, well);

        world.state().faults.clear();
        let (tally, told) = run(&world, tokens, &CancellationToken::new());
        prop_assert!(tally.failure.is_none());
        prop_assert_eq!(told.failed.len() + told.skipped.len(), 0);
        let state = world.state();
        prop_assert_eq!(&state.done, &world.ids());
        let mut acted = state.acted.clone();
        acted.sort();
        prop_assert_eq!(acted, ids, "every step acts once over both runs");
    }

    #[test]
    fn a_cancelled_run_starts_nothing_further_and_can_be_resumed(
        plan in any_plan(), patience in any_patience(), tokens in 1..4usize, at in any::<Index>(),
    ) {
        let world = World::new(plan, patience);
        let ids: Vec<String> = world.ids().into_iter().collect();
        let stop = CancellationToken::new();
        world.state().cancel = Some((at.get(&ids).clone(), stop.clone()));

        let (tally, told) = run(&world, tokens, &stop);
        // An interruption in the last step of all comes too late to stop anything.
        let stopped = world.state().done != world.ids();
        prop_assert_eq!(tally.failure.map(|failure| failure.class()), stopped.then_some(Class::Interrupted));
        prop_assert_eq!(told.failed.len(), 0);
        {
            let state = world.state();
            let cancelled = state.log.iter().position(|mark| *mark == Mark::Cancel).expect("it was cancelled");
            let later: Vec<_> = state.log[cancelled..].iter().filter(|mark| matches!(mark, Mark::Begin(_))).collect();
            prop_assert!(later.is_empty(), "begun after the interruption: {:?}", later);
            // What was running ended in peace.
            prop_assert_eq!(&told.changed, &state.done);
            // What was only being looked at did not act.
            prop_assert!(told.started.len() >= state.done.len());
        }
        let (tally, _) = run(&world, tokens, &CancellationToken::new());
        prop_assert!(tally.failure.is_none());
        let state = world.state();
        prop_assert_eq!(&state.done, &world.ids());
        prop_assert_eq!(state.acted.len(), ids.len());
    }
}
