//! Steps of the cluster: components serve, coordinators know each other, rows go in and come out.

use super::site::{Site, TRY};
use crate::{
    engine::{ComponentSetup, Proof, REGISTRATION_ROUNDS, Ready, Row, reached},
    error::{Class, Error, Result},
    event::Outcome,
    executor::Foresight,
    gtm::Gtm,
    guest::{Content, GuestFile, quoted},
    host::{Exports, Host, LabDir},
    lab::{Lab, Node, Placed, Role},
    plan::Step,
    sql::{Login, Sql, number},
};
use std::time::{Duration, Instant};

/// How long the components of a node may take to serve after its guest answers.
const SERVES: Duration = Duration::from_secs(60);
/// How long one statement of registration or proof may take: DDL touches every node of the cluster.
const STATEMENT: Duration = Duration::from_secs(40);
/// How long the proof may meet with connections of before in a coordinator's pool.
const STALE: Duration = Duration::from_secs(10);
/// How often a component is asked: each question costs an emulated guest a new backend.
const ASK: Duration = Duration::from_millis(700);

/// Whether a cluster may have lost sessions that left something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    Perhaps,
    Nothing,
}

impl Site {
    pub(super) async fn foresee_serve(&self, step: &Step) -> Result<Foresight> {
        let node = self.node_of(step)?;
        if self.host_if_there().is_none()
            || self.journal.done(&step.id) != Some(self.serve_digest(node).await?)
            || self.needs_restart(node).await?
        {
            return Ok(Foresight::Changes);
        }
        for placed in self.lab.components_of(node) {
            // A coordinator is asked for its nodes in the register step: a second question costs an emulated guest a
            // second backend and tells nothing more.
            if placed.role == Role::Coordinator || !self.engine.runs(placed.role) {
                continue;
            }
            if self.serves(node, &self.engine.component(&self.lab, placed)).await.is_err() {
                return Ok(Foresight::Changes);
            }
        }
        Ok(Foresight::Holds("the components serve".into()))
    }

    pub(super) async fn serve_digest(&self, node: &Node) -> Result<String> {
        Ok(crate::digest::of_text(&format!("{}\n{}", self.run_of(node).await?, self.configuration_digest(node))))
    }

    pub(super) async fn serve(&self, step: &Step) -> Result<Outcome> {
        let node = self.node_of(step)?;
        let components = self.components(node);
        if self.needs_restart(node).await? {
            self.progress(&step.id, "restarts with the new configuration");
            let units: Vec<&str> = components.iter().map(|component| component.unit.as_str()).collect();
            let script = format!(
                "{}{}",
                components.iter().flat_map(|component| &component.files).map(until_seen).collect::<String>(),
                self.init().restart(&units)
            );
            self.shell(node).await?.script("restart the components", &script).await?;
            self.record_start(node).await?;
        }
        let deadline = self.serving_deadline();
        for component in &components {
            if self.serves(node, component).await.is_err() {
                // A component that somebody stopped by hand does not come by itself.
                self.wake(node, component).await?;
                self.wait_for_service(&step.id, node, component, deadline).await?;
            }
        }
        let welcome: String = components.iter().filter_map(|component| component.welcome.as_deref()).collect();
        if !welcome.is_empty() && !self.journal.was_done(&step.id) {
            self.shell(node).await?.script("welcome the components", &welcome).await?;
        }
        let names: Vec<String> = self
            .lab
            .components_of(node)
            .iter()
            .filter(|placed| self.engine.runs(placed.role))
            .map(|placed| placed.name.to_string())
            .collect();
        Ok(Outcome::Changed(format!("{} serve", names.join(", "))))
    }

    /// Until when components that start now must serve.
    pub(super) fn serving_deadline(&self) -> Instant {
        Instant::now() + self.patience(SERVES)
    }

    /// Starts a component that does not serve. A standby that runs and is not followed by the GTM registers only when it
    /// starts.
    pub(super) async fn wake(&self, node: &Node, component: &ComponentSetup) -> Result<()> {
        let unit = &component.unit;
        let running = match component.ready {
            Ready::Standby { .. } => self.init().restart_soon(unit),
            Ready::Gtm { .. } | Ready::File { .. } | Ready::Query { .. } => ":\n".to_owned(),
        };
        let (runs, start) = (self.init().runs(unit), self.init().start(unit));
        let script = format!("if {runs}; then\n{running}else\n{start}fi\n");
        self.shell(node).await?.script("start a component", &script).await.map(drop)
    }

    /// Waits until a component serves.
    pub(super) async fn wait_for_service(
        &self,
        step: &str,
        node: &Node,
        component: &ComponentSetup,
        deadline: Instant,
    ) -> Result<()> {
        self.progress(step, format!("waits for {}", component.unit));
        while let Err(error) = self.serves(node, component).await {
            if Instant::now() > deadline {
                return Err(self.explain_silence(node, component, error).await);
            }
            tokio::time::sleep(ASK).await;
        }
        Ok(())
    }

    pub(super) async fn serves(&self, node: &Node, component: &ComponentSetup) -> Result<()> {
        answers(self.host()?, &self.dir, &self.lab, node, &component.ready, &self.login, self.patience(TRY)).await
    }

    pub(super) async fn explain_silence(&self, node: &Node, component: &ComponentSetup, error: Error) -> Error {
        let error = error.context(format!("`{}` of `{}` does not serve", component.unit, node.name));
        let script = format!(
            "{}tail -n 5 {}/*.log {}/pg_log/* 2>/dev/null | tail -n 15\nexit 0\n",
            self.init().status(&component.unit),
            component.directory,
            component.directory
        );
        let seen = match self.shell(node).await {
            Ok(shell) => shell.script("look at a component", &script).await,
            Err(error) => Err(error),
        };
        error
            .evidence(seen.unwrap_or_else(|error| error.to_string()))
            .hint(format!("`pgxc-lab logs {}` shows more; `pgxc-lab up` tries again", node.name))
    }

    /// A session with a component of the cluster.
    ///
    /// # Errors
    /// When it does not accept.
    pub async fn sql(&self, placed: Placed<'_>) -> Result<Sql> {
        Sql::connect(self.host()?, placed.node.address, placed.component.port, &self.login, self.patience(STATEMENT))
            .await
    }

    /// A session in which these statements were run.
    pub(super) async fn session_after(&self, on: Placed<'_>, statements: &[String]) -> Result<Sql> {
        let server = self.sql(on).await?;
        for statement in statements {
            server.query(statement).await?;
        }
        Ok(server)
    }

    pub(super) fn coordinator_of(&self, step: &Step) -> Result<Placed<'_>> {
        let node = self.node_of(step)?;
        let found = self.lab.placed(Role::Coordinator).into_iter().find(|placed| placed.node.name == node.name);
        found.ok_or_else(|| Error::new(Class::Internal, format!("`{}` has no coordinator", node.name)))
    }

    /// What a coordinator still has to be told.
    async fn missing_registration(&self, server: &Sql, on: Placed<'_>) -> Result<Vec<String>> {
        let rows: Vec<Row> = server.query(self.engine.inventory()).await?;
        Ok(self.engine.registration(&self.lab, on, &rows))
    }

    pub(super) async fn foresee_register(&self, step: &Step) -> Result<Foresight> {
        if self.host_if_there().is_none() {
            return Ok(Foresight::Changes);
        }
        let on = self.coordinator_of(step)?;
        let known = match self.sql(on).await {
            Ok(server) => {
                let known = self.missing_registration(&server, on).await.is_ok_and(|missing| missing.is_empty());
                self.keep_look(on, server);
                known
            }
            Err(_) => false,
        };
        Ok(if known { Foresight::Holds(format!("`{}` knows every component", on.name)) } else { Foresight::Changes })
    }

    pub(super) async fn register(&self, step: &Step) -> Result<Outcome> {
        let on = self.coordinator_of(step)?;
        let mut run = 0;
        // One round more than bring statements: it finds nothing left to be told.
        for _ in 0..=REGISTRATION_ROUNDS {
            // A new session for each round: a session of XC keeps the nodes that it saw when it began.
            let server = self.sql(on).await?;
            let missing = self.missing_registration(&server, on).await?;
            if missing.is_empty() {
                return Ok(Outcome::Changed(format!("`{}` knows every component, {run} statements", on.name)));
            }
            for statement in &missing {
                self.log(on.node, &format!("# {}: {statement}", on.name));
                server.query(statement).await?;
                run += 1;
            }
        }
        Err(Error::new(
            Class::Cluster,
            format!("`{}` does not take its registration: {run} statements changed nothing for good", on.name),
        )
        .hint(format!("`pgxc-lab sql --on {}` shows what it knows", on.node.name)))
    }

    pub(super) fn proof_digest(&self) -> String {
        let ended: Vec<String> = self
            .lab
            .nodes
            .iter()
            .flat_map(|node| {
                ["boot", "tune", "serve"]
                    .map(|what| self.journal.done(&format!("{}/{what}", node.name)).unwrap_or_default())
            })
            .collect();
        crate::digest::of_text(&ended.join("\n"))
    }

    pub(super) async fn foresee_proof(&self, step: &Step) -> Foresight {
        if self.journal.done(&step.id) != Some(self.proof_digest()) {
            self.forget_looks();
            return Foresight::Changes;
        }
        if !matches!(self.is_hindered().await, Ok(false)) {
            return Foresight::Changes;
        }
        Foresight::Holds("nothing changed since the last proof".into())
    }

    pub(super) async fn proof(&self, step: &Step) -> Result<Outcome> {
        let proof = self.engine.proof(&self.lab);
        let told = |error: &Error| self.events.note(format!("the proof begins again, since {error}"));
        // From its beginning, which removes what an earlier try has left.
        let prove =
            async |lost| reached(self.patience(STALE), || self.resolve_and_prove(step, &proof, lost), told).await;
        // A cluster that was never proved has lost no session.
        match prove(if self.journal.was_done(&step.id) { Lost::Perhaps } else { Lost::Nothing }).await {
            // One may be lost meanwhile, and hide the proof's rows, or its table.
            Err(error) if matches!(self.is_hindered().await, Ok(true)) => {
                told(&error);
                prove(Lost::Perhaps).await
            }
            ended => ended,
        }
    }

    /// Whether a lost session has left something that hides rows, or holds locks.
    ///
    /// # Errors
    /// When the cluster does not tell.
    async fn is_hindered(&self) -> Result<bool> {
        let Some(in_doubt) = self.engine.in_doubt(&self.lab) else { return Ok(false) };
        Ok(self.left_behind(&in_doubt).await?.is_some())
    }

    /// Ends what a lost coordinator left, since it holds locks and hides rows, if one may have been `lost`; proves then.
    async fn resolve_and_prove(&self, step: &Step, proof: &Proof, lost: Lost) -> Result<Outcome> {
        let mut resolved = None;
        if let Some(in_doubt) = self.engine.in_doubt(&self.lab).filter(|_| lost == Lost::Perhaps)
            && let Some(doubts) = self.left_behind(&in_doubt).await?
        {
            self.progress(&step.id, "ends what a lost coordinator left");
            resolved = Some(self.resolve(&in_doubt, doubts).await?);
        }
        Ok(match (self.prove(step, proof).await?, resolved) {
            (Outcome::Changed(text), Some(resolved)) => Outcome::Changed(format!("{resolved}; {text}")),
            (proved, _) => proved,
        })
    }

    async fn prove(&self, step: &Step, proof: &Proof) -> Result<Outcome> {
        let coordinators = self.lab.placed(Role::Coordinator);
        let (Some(first), Some(last)) = (coordinators.first().copied(), coordinators.last().copied()) else {
            return Err(Error::new(Class::Internal, "a lab without a coordinator"));
        };
        let wrong = |message: String| {
            Error::new(Class::Cluster, message)
                .hint("the cluster is kept as it is: `pgxc-lab status` and `pgxc-lab sql` look at it")
        };
        self.progress(&step.id, format!("{} rows through {}", proof.rows, first.name));
        let server = self.session_after(first, &proof.fill).await?;
        if let Some(copy) = &proof.copy {
            let rows: String = (1..=proof.rows).map(|k| format!("{k}\trow {k}\n")).collect();
            let copied = server.copy(copy, rows).await?;
            if copied != proof.rows {
                return Err(wrong(format!("`{}` took {copied} rows of the proof, not {}", first.name, proof.rows)));
            }
        }
        let mut counts = Vec::new();
        let mut sum = 0;
        for (datanode, query, expected) in &proof.counts {
            let count: u64 = number(&server.value(query).await?)?;
            if expected.is_some_and(|expected| expected != count) {
                return Err(wrong(format!(
                    "`{datanode}` holds {count} rows of the proof instead of {}",
                    expected.unwrap_or_default()
                )));
            }
            sum += count;
            counts.push(format!("{datanode} {count}"));
        }
        if sum != proof.rows {
            return Err(wrong(format!(
                "the datanodes hold {sum} rows of the proof instead of {}: {}",
                proof.rows,
                counts.join(", ")
            )));
        }
        self.progress(&step.id, format!("counts through {}", last.name));
        // Not by a session of its own where it is the same coordinator: the proxy of 1.0.2 tells the GTM of a session's end
        // under a number that it has not filled in yet, and the GTM may end what another one has just begun.
        let total = match last.name == first.name {
            true => server.value(&proof.total).await?,
            false => self.sql(last).await?.value(&proof.total).await?,
        };
        let total: u64 = number(&total)?;
        if total != proof.rows {
            return Err(wrong(format!("`{}` counts {total} rows of the proof instead of {}", last.name, proof.rows)));
        }
        for statement in &proof.clean {
            server.query(statement).await?;
        }
        Ok(Outcome::Changed(format!(
            "proved: {} rows through {}, {}; {total} through {}",
            proof.rows,
            first.name,
            counts.join(", "),
            last.name
        )))
    }
}

/// Shell text that ends when the guest sees a file of its export as it was written on the host: NFS servers and
/// clients remember what they saw for a while. Compared as it is: not every guest can tell a digest.
pub(super) fn until_seen(file: &GuestFile) -> String {
    let Content::Text(text) = &file.content else { return String::new() };
    format!(
        "n=0\nuntil [ \"$(cat '{path}' && echo x)\" = {text} ]; do n=$((n + 1)); [ $n -le 100 ] || \
         {{ echo '{path} is not seen as it was written' >&2; exit 1; }}; sleep 0.3; done\n",
        path = file.path,
        text = quoted(&format!("{text}x"))
    )
}

/// Whether a component serves, seen in the way that its kind allows.
///
/// # Errors
/// Why it does not.
pub async fn answers(
    host: &Host,
    dir: &LabDir,
    lab: &Lab,
    node: &Node,
    ready: &Ready,
    login: &Login,
    patience: Duration,
) -> Result<()> {
    match ready {
        Ready::Gtm { port } => Gtm::new(host, node.address, *port, patience).next_gxid().await.map(drop),
        Ready::Standby { port, name, gtm: (address, active) } => {
            let active = Gtm::new(host, *address, *active, patience);
            Gtm::new(host, node.address, *port, patience).follows(name, active).await
        }
        Ready::File { path } => {
            let there = Exports::new(dir, host).file(lab, node, path)?.exists();
            there.then_some(()).ok_or_else(|| Error::new(Class::Cluster, format!("`{path}` is not there")))
        }
        Ready::Query { port, sql, value } => {
            let seen = Sql::connect(host, node.address, *port, login, patience).await?.value(sql).await?;
            match seen == *value {
                true => Ok(()),
                false => Err(Error::new(Class::Cluster, format!("`{sql}` gives `{seen}` instead of `{value}`"))),
            }
        }
    }
}
