//! What is asked of a GTM, and told it, in its own protocol (spec 2.8): its next GXID, which it does not consume, its nodes, and
//! what it holds open.
//!
//! Only for gtm and its standby, never for a proxy: a proxy's worker dead-locks on an odd connection (spec 2.7).

mod open;
mod wire;

pub use open::Prepared;

use self::wire::{PLACES, Session};
use crate::{
    error::{Class, Error, Result, ResultExt},
    host::Host,
    lab::Role,
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::net::TcpStream;

/// How many GXIDs a standby may be behind: more than are given out while both are asked, or before the last words of a
/// GTM that dies reach its standby. A GTM that crashed goes on a million further than it was.
pub const LAG: u32 = 10_000;

/// A GTM or a standby of it, and who asks it. Every question is a session of its own, with its own patience.
#[derive(Clone, Copy)]
pub struct Gtm<'a> {
    host: &'a Host,
    place: SocketAddr,
    patience: Duration,
}

impl<'a> Gtm<'a> {
    /// The one that listens on this port of a node, as the node's host reaches it.
    pub fn new(host: &'a Host, address: Ipv4Addr, port: u16, patience: Duration) -> Self {
        Self { host, place: (address, port).into(), patience }
    }

    /// Its next GXID.
    ///
    /// # Errors
    /// When nothing answers, or not in the GTM's protocol.
    pub async fn next_gxid(&self) -> Result<u32> {
        self.ask(async |session| session.next_gxid().await).await
    }

    /// Who is registered, in the order of its register.
    ///
    /// # Errors
    /// When nothing answers, or not in the GTM's protocol.
    pub async fn node_list(&self) -> Result<Vec<Registered>> {
        self.ask(async |session| session.nodes().await).await
    }

    /// Whether this is a standby of this name that follows `active`: it answers, is registered there and is not behind.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn follows(&self, name: &str, active: Gtm<'_>) -> Result<()> {
        let (nodes, ahead) =
            active.ask(async |session| Ok((session.nodes().await?, session.next_gxid().await?))).await?;
        let now = self.next_gxid().await?;
        let lost = |what: String| Err(Error::new(Class::Cluster, what));
        if !nodes.iter().any(|node| node.role == Role::GtmStandby && node.connected && node.is_named(name)) {
            return lost(format!("it answers, but the GTM does not know it as its standby `{name}`"));
        }
        if is_far_before(now, ahead) {
            return lost(format!("it answers, but is at GXID {now} while the GTM is at {ahead}"));
        }
        Ok(())
    }

    /// Makes a standby go on behind this GXID, as if its GTM had given it out; gives its next one.
    ///
    /// A standby of 1.0.2 is behind by one half of the time: its counter is moved only by a GXID beyond it, not by the one that
    /// it points at (XC's GTM_BkupBeginTransactionGetGXIDMulti). Promoted as it is, it gives the last GXID a second time.
    ///
    /// # Errors
    /// When it does not answer, or did not move.
    pub async fn skip(&self, gxid: u32) -> Result<u32> {
        let next = self
            .ask(async |session| {
                // GTMs take places in order, so the last one is free.
                session.gave_out(gxid, PLACES - 1).await?;
                session.rolled_back(gxid).await?;
                session.next_gxid().await
            })
            .await?;
        if !is_before(gxid, next) {
            return Err(Error::new(
                Class::Cluster,
                format!("the standby stays at GXID {next} and does not skip {gxid}"),
            ));
        }
        Ok(next)
    }

    /// Strikes the standby of this name from its register, if it is there. A GTM that was promoted has itself there: when it
    /// starts again it connects to its standby, which is itself, and waits for that for ever.
    ///
    /// # Errors
    /// When nothing answers, or not in the GTM's protocol.
    pub async fn forget_standby(&self, name: &str) -> Result<()> {
        self.ask(async |session| session.unregister_standby(name).await).await
    }

    /// Enters nodes into its register that are not there; gives how many. They register by themselves, but only once after they
    /// started, and a standby that copies the register in that moment never hears of it.
    ///
    /// # Errors
    /// When nothing answers, or not in the GTM's protocol.
    pub async fn register(&self, nodes: &[Registration<'_>]) -> Result<usize> {
        self.ask(async |session| {
            let there = session.nodes().await?;
            // One whose name came back damaged is not there for whoever looks it up.
            let is_there =
                |node: &Registration<'_>| there.iter().any(|there| there.role == node.role && there.name == node.name);
            let missing: Vec<_> = nodes.iter().filter(|node| !is_there(node)).collect();
            for node in &missing {
                session.register(node).await?;
            }
            Ok(missing.len())
        })
        .await
    }

    /// A session with it, the questions in it, and its end, all within one patience.
    async fn ask<T>(&self, questions: impl AsyncFnOnce(&mut Session<TcpStream>) -> io::Result<T>) -> Result<T> {
        let Self { host, place, patience } = *self;
        let asked = async {
            let socket = host.connect(place, patience).await?;
            let mut session = Session::begin(socket).await?;
            let answers = questions(&mut session).await;
            session.end().await;
            answers
        };
        tokio::time::timeout(patience, asked)
            .await
            .map_err(|_| {
                Error::new(Class::Cluster, format!("the GTM at {place} did not answer within {} s", patience.as_secs()))
            })?
            .or_error(Class::Cluster, || format!("the GTM at {place} does not answer"))
    }
}

/// Whether one GXID comes before another. They wrap around: which one is later is a matter of the shorter way (XC's
/// TransactionIdPrecedes).
pub fn is_before(gxid: u32, other: u32) -> bool {
    gxid.wrapping_sub(other) > u32::MAX / 2
}

/// Whether one GXID comes so long before another that a standby there does not follow a GTM here.
pub fn is_far_before(gxid: u32, other: u32) -> bool {
    is_before(gxid, other) && other.wrapping_sub(gxid) > LAG
}

/// A component as a GTM has it in its register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// What it is; a standby of the GTM is a [`Role::GtmStandby`].
    pub role: Role,
    /// Its own name.
    pub name: String,
    /// Its port.
    pub port: u32,
    /// Whether the connection that it registered over is still there.
    pub connected: bool,
}

impl Registered {
    /// Whether this is its name. One that the GTM read back from register.node may have bytes too many (spec 2.4).
    fn is_named(&self, name: &str) -> bool {
        let rest = self.name.strip_prefix(name);
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_'))
    }
}

/// What a node registers with.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// What it is.
    pub role: Role,
    /// Its name in the cluster.
    pub name: &'a str,
    /// Where it is.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// The name of the proxy that it is behind; empty without one.
    pub proxy: &'a str,
    /// Its data directory.
    pub directory: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_bytes_too_many_and_is_no_other_one() {
        let named = |name: &str| {
            let name = name.to_owned();
            Registered { role: Role::Datanode, name, port: 1923, connected: true }.is_named("datanode_1")
        };
        assert!(named("datanode_1") && named("datanode_1\u{fffd}U"));
        assert!(!named("datanode_10") && !named("datanode_2") && !named("datanode"));
    }

    #[test]
    fn a_standby_may_be_a_little_behind() {
        assert!(!is_far_before(10_000, 10_001) && !is_far_before(10_001, 10_000));
        assert!(is_far_before(10_000, 1_010_000));
    }

    #[test]
    fn gxids_wrap_around() {
        assert!(is_before(5, 7) && !is_before(7, 5) && !is_before(7, 7));
        assert!(is_before(u32::MAX, 3) && !is_before(3, u32::MAX));
    }
}
