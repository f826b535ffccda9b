//! Runs a plan: chains at once as far as their needs and tokens allow, one event per thing that happens.

use crate::{
    error::{Class, Error, Result},
    event::{Event, Events, Outcome},
    journal::{Entry, Journal},
    plan::{Chain, Heavy, Plan, Step},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// How long running steps may take to end after an interruption: most end within seconds, a wait for a guest may not.
const DRAIN: Duration = Duration::from_secs(10);

/// What a step would do if it ran now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foresight {
    /// Nothing: why.
    Holds(String),
    /// Something.
    Changes,
}

/// What carries steps out. The only bridge from the plan to the world.
pub trait Apply: Send + Sync + 'static {
    /// What its steps do.
    type Action: Clone + Send + Sync + 'static;

    /// Looks, and touches nothing.
    fn foresee(&self, step: &Step<Self::Action>) -> impl Future<Output = Result<Foresight>> + Send;
    /// Does it, and gives what it did and the digest of everything that decided it.
    fn act(&self, step: &Step<Self::Action>) -> impl Future<Output = Result<(Outcome, String)>> + Send;
}

/// How a run ended.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Steps that changed something.
    pub changed: usize,
    /// Steps that found everything as it must be.
    pub unchanged: usize,
    /// The first failure.
    pub failure: Option<Error>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Ended {
    Well,
    /// It, or the step of this name that it needs, failed.
    Badly(String),
}

struct Run<A> {
    apply: Arc<A>,
    journal: Arc<Journal>,
    events: Events,
    ended: watch::Sender<BTreeMap<String, Ended>>,
    tally: std::sync::Mutex<Tally>,
    stop: CancellationToken,
}

/// Looks at all steps, so many at once, and at the last one when the others hold, since it goes on with the sessions that
/// they began; when every one holds, tells so and gives the tally, else nothing: then the plan has to run. This is what makes
/// `up` on a lab that is up fast: it waits for no turn.
pub async fn holds<A: Apply>(plan: &Plan<A::Action>, apply: &Arc<A>, events: &Events, looks: usize) -> Option<Tally> {
    let begun = Instant::now();
    let tokens = Arc::new(Semaphore::new(looks));
    let mut steps: Vec<_> = plan.steps().cloned().collect();
    let last = steps.split_off(steps.len().saturating_sub(1));
    let mut seen = Vec::new();
    for wave in [steps, last] {
        let mut looks = JoinSet::new();
        for step in wave {
            let (apply, tokens) = (apply.clone(), tokens.clone());
            looks.spawn(async move {
                let _token = tokens.acquire_owned().await;
                let begun = Instant::now();
                let foresight = apply.foresee(&step).await;
                (step, foresight, begun.elapsed())
            });
        }
        while let Some(look) = looks.join_next().await {
            // Whatever cannot be seen is for the run to find out and to tell.
            let Ok((step, Ok(Foresight::Holds(why)), took)) = look else { return None };
            seen.push((step, why, took));
        }
    }
    let tally = Tally { unchanged: seen.len(), ..Tally::default() };
    for (step, why, took) in seen {
        events.send(Event::Finished { step: step.id, node: step.node, outcome: Outcome::Unchanged(why), took });
    }
    events.send(Event::End { succeeded: true, changed: 0, unchanged: tally.unchanged, took: begun.elapsed() });
    Some(tally)
}

/// Runs the plan to its end. When `stop` is cancelled no further step begins, and running ones end in peace.
pub async fn run<A: Apply>(
    plan: Plan<A::Action>,
    apply: Arc<A>,
    journal: Arc<Journal>,
    events: Events,
    tokens: usize,
    stop: CancellationToken,
) -> Tally {
    let begun = Instant::now();
    let run = Arc::new(Run {
        apply,
        journal,
        events: events.clone(),
        ended: watch::Sender::new(BTreeMap::new()),
        tally: std::sync::Mutex::default(),
        stop,
    });
    let tokens = Arc::new(Semaphore::new(tokens));
    let mut tasks = JoinSet::new();
    let mut heavy = Vec::new();
    for chain in plan.chains {
        match chain.heavy {
            Heavy::No => drop(tasks.spawn(run.clone().chain(chain, None))),
            Heavy::Yes => heavy.push(chain),
        }
    }
    // In the order of the plan: a chain that waits for an earlier one while it holds a token must not starve it.
    for chain in heavy {
        if let Some(first) = chain.steps.first() {
            run.wait_for(&first.needs).await;
        }
        let permit = tokens.clone().acquire_owned().await.ok();
        tasks.spawn(run.clone().chain(chain, permit));
    }
    while tasks.join_next().await.is_some() {}
    let mut tally = run.tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let all = run.ended.borrow().values().all(|ended| *ended == Ended::Well);
    // Children of an interrupted step get the terminal's signal too: what fails then was interrupted. A run that got
    // everything done all the same is a success.
    if run.stop.is_cancelled() && !all {
        tally.failure =
            Some(Error::new(Class::Interrupted, "interrupted").hint("the same command again takes it to its end"));
    }
    events.send(Event::End {
        succeeded: tally.failure.is_none(),
        changed: tally.changed,
        unchanged: tally.unchanged,
        took: begun.elapsed(),
    });
    tally
}

impl<A: Apply> Run<A> {
    async fn chain(self: Arc<Self>, chain: Chain<A::Action>, _permit: Option<OwnedSemaphorePermit>) {
        let mut broken: Option<String> = None;
        for step in &chain.steps {
            let blocked = match &broken {
                Some(by) => Some(by.clone()),
                None => self.wait_for(&step.needs).await,
            };
            let ended = match blocked {
                Some(by) => {
                    self.events.send(Event::Skipped { step: step.id.clone(), because: by.clone() });
                    Ended::Badly(by)
                }
                // An interruption is told once, at the end.
                None if self.stop.is_cancelled() => Ended::Badly(step.id.clone()),
                None => self.step(step).await,
            };
            if let Ended::Badly(by) = &ended {
                broken = Some(by.clone());
            }
            self.ended.send_modify(|map| _ = map.insert(step.id.clone(), ended));
        }
    }

    /// Waits until all steps have ended; gives the failed step at the root of the one that ended badly, if any did.
    async fn wait_for(&self, needs: &[String]) -> Option<String> {
        let root = |map: &BTreeMap<String, Ended>| {
            needs.iter().find_map(|need| match map.get(need) {
                Some(Ended::Badly(root)) => Some(root.clone()),
                _ => None,
            })
        };
        let mut ended = self.ended.subscribe();
        let over =
            |map: &BTreeMap<String, Ended>| root(map).is_some() || needs.iter().all(|need| map.contains_key(need));
        root(&*ended.wait_for(over).await.ok()?)
    }

    async fn step(&self, step: &Step<A::Action>) -> Ended {
        let begun = Instant::now();
        self.events.send(Event::Started {
            step: step.id.clone(),
            node: step.node.clone(),
            title: step.title.to_owned(),
        });
        let (apply, look) = (self.apply.clone(), step.clone());
        let result = match self.guarded(step, async move { apply.foresee(&look).await }).await {
            Ok(Foresight::Holds(why)) => Ok(Outcome::Unchanged(why)),
            Ok(Foresight::Changes) => self.change(step).await,
            Err(error) => Err(error),
        };
        self.report(step, result, begun.elapsed())
    }

    /// The intent is on disk before anything changes, so that a crash leaves a step that is known to be half done.
    async fn change(&self, step: &Step<A::Action>) -> Result<Outcome> {
        if self.stop.is_cancelled() {
            return Err(Error::new(Class::Interrupted, format!("`{}` was not begun", step.id)));
        }
        self.journal.write(Entry::Intent { step: step.id.clone() })?;
        let (apply, acting) = (self.apply.clone(), step.clone());
        let (outcome, digest) = self.guarded(step, async move { apply.act(&acting).await }).await?;
        self.journal.write(Entry::Done { step: step.id.clone(), digest })?;
        Ok(outcome)
    }

    /// Runs a part of a step as a task of its own, so that a mistake that panics is a failure like any other, and gives
    /// it up some time after an interruption. Whatever it leaves half made has its intent in the journal.
    async fn guarded<T: Send + 'static>(
        &self,
        step: &Step<A::Action>,
        part: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (stop, interrupted) = (self.stop.clone(), format!("`{}` was not begun", step.id));
        // A task begins when its turn comes, and an interruption may come before.
        let part = async move {
            if stop.is_cancelled() {
                return Err(Error::new(Class::Interrupted, interrupted));
            }
            part.await
        };
        let given_up = async {
            self.stop.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            ended = AbortOnDropHandle::new(tokio::spawn(part)) => ended.unwrap_or_else(|error| {
                Err(Error::caused(Class::Internal, format!("`{}` ended in a mistake of this program", step.id), error)
                    .hint("please report it with the lines above"))
            }),
            () = given_up => Err(Error::new(Class::Interrupted, format!("`{}` was interrupted", step.id))),
        }
    }

    fn report(&self, step: &Step<A::Action>, result: Result<Outcome>, took: Duration) -> Ended {
        let (id, node) = (step.id.clone(), step.node.clone());
        let mut tally = self.tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match result {
            Ok(outcome) => {
                match outcome {
                    Outcome::Changed(_) => tally.changed += 1,
                    Outcome::Unchanged(_) => tally.unchanged += 1,
                }
                self.events.send(Event::Finished { step: id, node, outcome, took });
                Ended::Well
            }
            // Told once, at the end of the run: the step did not fail.
            Err(error) if error.class() == Class::Interrupted => Ended::Badly(step.id.clone()),
            Err(error) => {
                // The journal may be what failed; the event tells in any case.
                let _ = self.journal.write(Entry::Failed { step: id.clone(), error: error.message().to_owned() });
                tally.failure.get_or_insert_with(|| error.clone());
                self.events.send(Event::Failed { step: id, node, error, took });
                Ended::Badly(step.id.clone())
            }
        }
    }
}
