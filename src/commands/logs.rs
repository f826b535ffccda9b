//! `logs`: what a node said: its console, what we did on it, or the log of one component.

use super::ssh;
use crate::{
    cli::Arguments,
    context::Standing,
    error::{Class, Error, Result},
    guest::Follow,
    host::{Peer, Shelf},
    lab::{Node, NodeName, Role},
};
use std::{os::unix::process::CommandExt, process::Command};

/// Lines of each log that are shown at first.
const LINES: &str = "100";

/// Becomes tail.
///
/// # Errors
/// When there is no such lab, node or component.
pub async fn run(arguments: &Arguments, node: &NodeName, follow: bool, component: Option<Role>) -> Result<u8> {
    let lab = Standing::find(arguments)?;
    let node = lab.node(node.as_str())?;
    let mut command = match component {
        None if lab.lab.host_of(node).is_some() => away(&lab, node, follow),
        None => {
            let mut tail = Command::new("tail");
            tail.args(["-v", "-n", LINES]);
            if follow {
                tail.arg("-F");
            }
            tail.args(
                [lab.dir.console(node.name.as_str()), lab.dir.node_log(node.name.as_str())]
                    .iter()
                    .filter(|path| path.exists()),
            );
            tail
        }
        Some(role) => {
            let placed =
                lab.lab.components_of(node).into_iter().find(|placed| placed.role == role && lab.engine.runs(role));
            let placed =
                placed.ok_or_else(|| Error::new(Class::Usage, format!("`{}` runs no {}", node.name, role.as_str())))?;
            let setup = lab.engine.component(&lab.lab, placed);
            let mut ssh = ssh::client(&lab, node)?;
            let (follow_unit, follow_file) = if follow { (Follow::Yes, "-F") } else { (Follow::No, "") };
            // The newest log file of the server itself, and what the unit wrote.
            ssh.arg(node.name.as_str()).arg(format!(
                "{} & newest=$(ls -t {d}/pg_log/* {d}/*.log 2>/dev/null | head -n 1); \
                 [ -z \"$newest\" ] || tail -v -n {LINES} {follow_file} \"$newest\"; wait",
                lab.system()?.init().log(&setup.unit, LINES, follow_unit).trim_end(),
                d = setup.directory
            ));
            ssh
        }
    };
    Err(Error::caused(Class::Host, "cannot show the log", command.exec()))
}

/// The console of a node of another host, after what was done on it.
fn away(lab: &Standing, node: &Node, follow: bool) -> Command {
    let peer = lab.lab.host_of(node).map(Peer::of).expect("the caller has looked");
    let (console, own) =
        (Shelf::of(lab.lab.name.as_str()).console(node.name.as_str()), lab.dir.node_log(node.name.as_str()));
    let far = peer.command(&format!("tail -v -n {LINES} {} '{}'", if follow { "-F" } else { "" }, console.display()));
    let mut both = Command::new("bash");
    both.args(["-c", "if [ -e \"$0\" ]; then tail -v -n \"$1\" \"$0\"; fi; shift; exec \"$@\""]).arg(own).arg(LINES);
    both.arg(far.get_program()).args(far.get_args());
    both
}
