//! Waiting for a guest: a ladder of named rungs, each with its own deadline. An error names the rung and shows the
//! last lines of the console.

use super::site::{Site, TRY};
use crate::{
    error::{Class, Error, Result},
    host::last_lines,
    hypervisor::DomainState,
    lab::{HostKind, Node},
};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

/// A rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rung {
    Running,
    Address,
    Port,
    Login,
}

impl Rung {
    const ALL: [Rung; 4] = [Rung::Running, Rung::Address, Rung::Port, Rung::Login];

    fn name(self) -> &'static str {
        match self {
            Rung::Running => "domain running",
            Rung::Address => "address taken",
            Rung::Port => "port 22 open",
            Rung::Login => "ssh login",
        }
    }

    /// Deadline under KVM; emulation multiplies it.
    fn deadline(self) -> Duration {
        Duration::from_secs(match self {
            Rung::Running => 10,
            // Kernel and first units: 2 s under KVM, 10 s of CPU under emulation.
            Rung::Address => 60,
            Rung::Port => 40,
            Rung::Login => 30,
        })
    }
}

/// How often a rung is looked at: seldom enough not to disturb emulated guests.
const LOOK: Duration = Duration::from_millis(250);

impl Site {
    /// Climbs the ladder.
    ///
    /// # Errors
    /// The rung whose deadline passed, or the end of the domain, with the console's last lines.
    pub(super) async fn climb(&self, node: &Node, step: &str) -> Result<()> {
        // What finds the port open is what logs in: for each connection sshd starts another process, which an emulated
        // guest feels.
        let mut socket = None;
        for rung in Rung::ALL {
            self.progress(step, format!("waits for: {}", rung.name()));
            let deadline = Instant::now() + self.patience(rung.deadline());
            let mut last = String::new();
            loop {
                match self.reached(node, rung, &mut socket).await {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(error) => last = error.to_string(),
                }
                let state = self.domain(node).await?.map(|domain| domain.state);
                if rung != Rung::Running && state != Some(DomainState::Running) {
                    return Err(self
                        .with_console(
                            node,
                            Error::new(
                                Class::Guest,
                                format!(
                                    "the guest `{}` ended before `{}`: its domain is {}",
                                    node.name,
                                    rung.name(),
                                    state.map_or("gone", DomainState::as_str)
                                ),
                            ),
                        )
                        .await);
                }
                if Instant::now() > deadline {
                    let message = format!(
                        "the guest `{}` did not reach `{}` within {} s",
                        node.name,
                        rung.name(),
                        self.patience(rung.deadline()).as_secs()
                    );
                    let error = Error::new(Class::Guest, message);
                    let error = if last.is_empty() { error } else { error.evidence(last) };
                    return Err(self.with_console(node, error).await);
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }

    async fn reached(&self, node: &Node, rung: Rung, socket: &mut Option<TcpStream>) -> Result<bool> {
        match rung {
            Rung::Running => Ok(self.domain(node).await?.is_some_and(|domain| domain.state == DomainState::Running)),
            Rung::Address => {
                let list = match self.lab.host {
                    HostKind::Private => self.dir.join("libvirt/lib/dnsmasq/virbr0.status"),
                    HostKind::System => self.system_lease_list().await?,
                };
                Ok(has_lease(node, &list))
            }
            Rung::Port => {
                *socket = self.host()?.connect((node.address, 22).into(), TRY).await.ok();
                Ok(socket.is_some())
            }
            Rung::Login => match socket.take() {
                Some(socket) => self.shell_over(node, async { Ok(socket) }).await.map(|_| true),
                None => self.shell(node).await.map(|_| true),
            },
        }
    }

    async fn with_console(&self, node: &Node, error: Error) -> Error {
        let (path, text) = match self.peer_of(node) {
            Some(peer) => (self.shelf().console(node.name.as_str()), self.away_console(&peer, node).await),
            None => {
                let path = self.dir.console(node.name.as_str());
                let text = std::fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                (path, text.unwrap_or_default())
            }
        };
        let tail = if text.trim().is_empty() { "(empty)".to_owned() } else { last_lines(&text, 15) };
        error.evidence(format!("console {}:\n{tail}", path.display())).hint(format!(
            "the guest is kept as it is: `pgxc-lab logs {}` shows more, `pgxc-lab up` tries again",
            node.name
        ))
    }
}

/// Whether the guest has asked for its reserved address: dnsmasq writes its leases to this list.
fn has_lease(node: &Node, list: &Path) -> bool {
    let text = std::fs::read_to_string(list).unwrap_or_default();
    text.contains(&format!("\"{}\"", node.mac)) && text.contains(&format!("\"{}\"", node.address))
}
