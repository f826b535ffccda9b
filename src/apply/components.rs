//! Steps of `start` and `stop`: one component each. What counts is what is seen: it answers, or no process of it is
//! left. Exit codes of the programs say neither (spec 2.3, 2.6).

use super::site::{Site, TRY};
use crate::{
    engine::ComponentSetup,
    error::{Class, Error, Result},
    event::Outcome,
    executor::Foresight,
    guest::Init,
    hypervisor::DomainState,
    journal::Entry,
    lab::{Node, Placed, Role},
    plan::Step,
    remote::Output,
};

/// How the shell text of [`is_stopped`] ends when the component runs: no code that sh or ssh end with by themselves.
const RUNS: u32 = 10;

/// What is seen of a component.
pub(super) enum Seen {
    /// A process of it is there, or is about to be.
    Runs,
    /// No process of it is left.
    Stopped,
    /// Its guest does not run.
    GuestOff,
    /// Its guest does not say, and why. It may run.
    Unknown(Error),
}

impl Site {
    pub(super) async fn foresee_start(&self, step: &Step, role: Role) -> Result<Foresight> {
        let (placed, setup) = self.component_of(step, role)?;
        if !self.is_running(placed.node).await? {
            return Err(Error::new(Class::Guest, format!("the guest `{}` does not run", placed.node.name))
                .hint("`pgxc-lab up` boots it, and everything on it starts"));
        }
        Ok(match self.serves(placed.node, &setup).await {
            Ok(()) => Foresight::Holds(format!("`{}` serves", placed.name)),
            Err(_) => Foresight::Changes,
        })
    }

    pub(super) async fn start(&self, step: &Step, role: Role) -> Result<Outcome> {
        let (placed, setup) = self.component_of(step, role)?;
        self.wake(placed.node, &setup).await?;
        self.wait_for_service(&step.id, placed.node, &setup, self.serving_deadline()).await?;
        Ok(Outcome::Changed(format!("`{}` serves", placed.name)))
    }

    pub(super) async fn foresee_stop(&self, step: &Step, role: Role) -> Result<Foresight> {
        let (placed, setup) = self.component_of(step, role)?;
        match self.see(placed.node, &setup).await? {
            Seen::GuestOff => Ok(Foresight::Holds("the guest does not run".into())),
            Seen::Stopped => Ok(Foresight::Holds(format!("`{}` does not run", placed.name))),
            Seen::Runs => Ok(Foresight::Changes),
            // What cannot be seen cannot be stopped either.
            Seen::Unknown(why) => Err(why),
        }
    }

    pub(super) async fn stop_component(&self, step: &Step, role: Role) -> Result<Outcome> {
        let (placed, setup) = self.component_of(step, role)?;
        self.halt(placed.node, &setup).await?;
        Ok(Outcome::Changed(format!("`{}` is stopped, no process of it is left", placed.name)))
    }

    /// Stops a component the fast way, and sees to it that no process of it is left.
    pub(super) async fn halt(&self, node: &Node, setup: &ComponentSetup) -> Result<()> {
        // `up` must not believe any more that this node's components serve.
        self.journal.write(Entry::Intent { step: format!("{}/serve", node.name) })?;
        let script = format!("{}{}", self.init().stop(&setup.unit), is_stopped(self.init(), setup));
        let stopped = self.shell(node).await?.script("stop a component", &script).await;
        stopped.map(drop).map_err(|error| {
            error
                .context(format!("`{}` of `{}` does not end", setup.unit, node.name))
                .hint(format!("`pgxc-lab logs {}`, with `--component`, shows what it is waiting for", node.name))
        })
    }

    /// Looks whether a component runs.
    ///
    /// # Errors
    /// When libvirt does not answer.
    pub(super) async fn see(&self, node: &Node, setup: &ComponentSetup) -> Result<Seen> {
        if self.is_off(node).await? {
            return Ok(Seen::GuestOff);
        }
        let patience = self.patience(TRY);
        let look = async { self.shell(node).await?.run("sh -s", is_stopped(self.init(), setup).as_bytes()).await };
        let output = tokio::time::timeout(patience, look).await.unwrap_or_else(|_| {
            Err(Error::new(Class::Guest, format!("`{}` does not answer within {} s", node.name, patience.as_secs())))
        });
        Ok(judge(output).unwrap_or_else(|why| {
            let what = format!("cannot see whether `{}` of `{}` runs", setup.unit, node.name);
            Seen::Unknown(why.context(what).hint(format!("`pgxc-lab logs {}` shows what its guest says", node.name)))
        }))
    }

    /// Whether the domain of a node runs.
    pub(super) async fn is_running(&self, node: &Node) -> Result<bool> {
        Ok(self.domain(node).await?.is_some_and(|domain| domain.state == DomainState::Running))
    }

    /// Whether nothing of a node's guest is in memory: one that is paused or crashed could go on as what it was.
    pub(super) async fn is_off(&self, node: &Node) -> Result<bool> {
        Ok(self.domain(node).await?.is_none_or(|domain| domain.state == DomainState::Off))
    }

    pub(super) fn component_of(&self, step: &Step, role: Role) -> Result<(Placed<'_>, ComponentSetup)> {
        let node = self.node_of(step)?;
        let placed = self.lab.components_of(node).into_iter().find(|placed| placed.role == role);
        let placed =
            placed.ok_or_else(|| Error::new(Class::Internal, format!("`{}` has no {}", node.name, role.as_str())))?;
        Ok((placed, self.engine.component(&self.lab, placed)))
    }
}

/// What the output of [`is_stopped`] says.
///
/// # Errors
/// When it says neither.
fn judge(output: Result<Output>) -> Result<Seen> {
    let output = output?;
    match output.status {
        Some(0) => Ok(Seen::Stopped),
        Some(RUNS) => Ok(Seen::Runs),
        _ => Err(Error::new(Class::Guest, "the look for its processes failed").evidence(output.stderr)),
    }
}

/// Shell text that succeeds when a component does not run and ends with [`RUNS`] when it does, by what its init knows and by what is there: its servers
/// work in its data directory, also one that somebody started by hand. No process is started for it.
fn is_stopped(init: Init, setup: &ComponentSetup) -> String {
    let says = init.unless_ended(&setup.unit, &format!("echo \"its init says: $state\" >&2; exit {RUNS}"));
    format!(
        "{says}for process in /proc/[0-9]*; do\n  [ \"$process/cwd\" -ef {directory} ] || continue\n  name=\n  read -r _ name _ <\"$process/stat\"\n  \
         case $name in '(gtm)' | '(gtm_proxy)' | '(postgres)') echo \"still there: $name, process ${{process#/proc/}}\" >&2; exit {RUNS} ;; esac\ndone\nexit 0\n",
        directory = setup.directory,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(status: Option<u32>) -> Result<Output> {
        Ok(Output { status, stdout: String::new(), stderr: "sh: no memory".into() })
    }

    #[test]
    fn what_cannot_be_seen_is_not_taken_for_running() {
        assert!(matches!(judge(output(Some(0))), Ok(Seen::Stopped)));
        assert!(matches!(judge(output(Some(RUNS))), Ok(Seen::Runs)));
        for broken in [output(Some(2)), output(None), Err(Error::new(Class::Guest, "the ssh connection broke"))] {
            assert!(judge(broken).is_err());
        }
    }

    #[test]
    fn the_look_tells_a_process_by_its_directory() {
        let (lab, directory) = (crate::engine::fixture::smaller(2), tempfile::tempdir().expect("a directory"));
        let gtm = lab.placed(Role::Gtm)[0];
        let mut setup = crate::engine::Engine::component(&crate::engine::PostgresXc, &lab, gtm);
        setup.directory = directory.path().display().to_string();
        // A systemd that knows no unit of ours says so.
        let text = format!("systemctl() {{ echo inactive; }}\n{}", is_stopped(Init::Systemd, &setup));
        let look = || std::process::Command::new("sh").args(["-c", &text]).output().expect("sh is there").status.code();
        assert_eq!(look(), Some(0));
        let named_gtm = directory.path().join("gtm");
        std::fs::copy("/bin/sleep", &named_gtm).expect("a program");
        let mut process =
            std::process::Command::new(&named_gtm).arg("60").current_dir(&directory).spawn().expect("it runs");
        let seen = look();
        process.kill().and_then(|()| process.wait().map(drop)).expect("it ends");
        assert_eq!(seen, i32::try_from(RUNS).ok());
    }
}
