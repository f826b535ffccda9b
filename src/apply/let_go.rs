//! What a guest that lost its power leaves on the others: connections in which only they believe. Whoever waits for an answer
//! over one waits for the kernel's two hours, with its locks, and a coordinator's pooler hands out what it believes in.

use super::Site;
use crate::{
    error::{Error, Result},
    event::Outcome,
    executor::Foresight,
    lab::Node,
    plan::Step,
};
use futures_util::future::try_join_all;
use std::{collections::BTreeSet, net::SocketAddr};

/// Connections of a guest, a line each, with both ends in the last two columns.
const LIST: &str = "ss -tn state established\n";

/// A TCP connection, seen from one of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Connection {
    own: SocketAddr,
    peer: SocketAddr,
}

impl Site {
    pub(super) fn foresee_let_go(&self) -> Foresight {
        let (booted, lasting) = self.booted_again();
        match booted.is_empty() || lasting.is_empty() {
            true => Foresight::Holds("no guest booted again while another went on".into()),
            false => Foresight::Changes,
        }
    }

    pub(super) async fn let_go(&self, step: &Step) -> Result<Outcome> {
        let (booted, lasting) = self.booted_again();
        self.progress(&step.id, "looks for connections that only one end knows");
        let believed = try_join_all(lasting.iter().map(|node| self.connections(node))).await?;
        // Asked later: whatever connection is made meanwhile is among theirs.
        let known = try_join_all(booted.iter().map(|node| self.connections(node))).await?.concat();
        let known: BTreeSet<Connection> = known.into_iter().collect();
        let let_go = lasting.into_iter().zip(believed).map(async |(node, believed)| {
            let gone = |peer: SocketAddr| booted.iter().any(|node| peer.ip() == node.address);
            let lost = half_open(believed, gone, &known);
            let components = self.components(node);
            let scripts = components.iter().filter_map(|component| component.let_go.as_deref());
            let script: String = lost.iter().map(closing).chain(scripts.map(str::to_owned)).collect();
            if !script.is_empty() {
                self.shell(node).await?.script("let go of a guest that booted again", &script).await?;
            }
            if lost.is_empty() {
                return Ok::<_, Error>((0, 0));
            }
            let left = self.connections(node).await?;
            let stay = lost.iter().filter(|lost| left.contains(lost)).count();
            Ok((lost.len() - stay, stay))
        });
        let (ended, stay): (Vec<usize>, Vec<usize>) = try_join_all(let_go).await?.into_iter().unzip();
        let stay = match stay.into_iter().sum::<usize>() {
            0 => String::new(),
            count => format!("; {count} stay until the kernels of their guests give them up"),
        };
        let ended: usize = ended.into_iter().sum();
        Ok(Outcome::Changed(format!("{ended} connections ended that only one end knew{stay}")))
    }

    /// Nodes whose guests booted again since the last proof, and the others.
    fn booted_again(&self) -> (Vec<&Node>, Vec<&Node>) {
        let booted = |node: &&Node| self.journal.is_again_since(&format!("{}/boot", node.name), "proof");
        self.lab.nodes.iter().partition(booted)
    }

    async fn connections(&self, node: &Node) -> Result<Vec<Connection>> {
        Ok(read(&self.shell(node).await?.script("list connections", LIST).await?))
    }
}

/// Those of a guest's connections to guests that are gone of which the other end knows nothing.
fn half_open(
    believed: Vec<Connection>,
    gone: impl Fn(SocketAddr) -> bool,
    known: &BTreeSet<Connection>,
) -> Vec<Connection> {
    let mirrored = |seen: &Connection| Connection { own: seen.peer, peer: seen.own };
    believed.into_iter().filter(|seen| gone(seen.peer) && !known.contains(&mirrored(seen))).collect()
}

fn read(list: &str) -> Vec<Connection> {
    let end = |text: &str| {
        let end: SocketAddr = text.parse().ok()?;
        Some(SocketAddr::new(end.ip().to_canonical(), end.port()))
    };
    let line = |line: &str| {
        let mut ends = line.split_whitespace().rev().filter_map(end);
        let (peer, own) = (ends.next()?, ends.next()?);
        Some(Connection { own, peer })
    };
    list.lines().filter_map(line).collect()
}

/// Shell text that closes a connection for whoever has it. It may have ended by itself; guests of CentOS 5 and 6 know no `-K`,
/// and there the kernel's own time has to pass.
fn closing(lost: &Connection) -> String {
    format!("ss -K -t src {} dst {} >/dev/null 2>&1 || :\n", lost.own, lost.peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THIRD: &str = "\
Recv-Q Send-Q Local Address:Port    Peer Address:Port Process
0      0      192.168.122.173:32448 192.168.122.174:1921
0      0      192.168.122.173:29148 192.168.122.174:1923
0      0      192.168.122.173:1923  192.168.122.174:53006
0      0      127.0.0.1:1924        127.0.0.1:17358
0      0      [::ffff:192.168.122.173]:22 [::ffff:192.168.122.174]:700
";
    const FOURTH: &str = "0 0 192.168.122.174:1923 192.168.122.173:29148\n";

    #[test]
    fn only_what_the_other_end_does_not_know_is_closed() {
        let known = read(FOURTH).into_iter().collect();
        let fourth = |peer: SocketAddr| peer.ip().to_string() == "192.168.122.174";
        let lost: Vec<String> = half_open(read(THIRD), fourth, &known).iter().map(closing).collect();
        assert_eq!(
            lost.concat(),
            "ss -K -t src 192.168.122.173:32448 dst 192.168.122.174:1921 >/dev/null 2>&1 || :\n\
             ss -K -t src 192.168.122.173:1923 dst 192.168.122.174:53006 >/dev/null 2>&1 || :\n\
             ss -K -t src 192.168.122.173:22 dst 192.168.122.174:700 >/dev/null 2>&1 || :\n"
        );
        assert!(half_open(read(THIRD), |_| false, &known).is_empty());
    }

    #[test]
    fn what_is_no_connection_is_passed_over() {
        assert!(read("Recv-Q Send-Q Local Address:Port Peer Address:Port\n0 0 *:22 *:*\n").is_empty());
    }
}
