//! `ssh`: a shell on a node. OpenSSH's own client, started inside the lab's network.

use crate::{
    cli::Arguments,
    context::Standing,
    error::{Class, Error, Result},
    lab::{Node, NodeName},
};
use std::{
    io::IsTerminal,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

/// Becomes ssh.
///
/// # Errors
/// When the lab is not up or ssh cannot be started.
pub fn run(arguments: &Arguments, node: &NodeName, command: &[String]) -> Result<u8> {
    let lab = Standing::find(arguments)?;
    let node = lab.node(node.as_str())?;
    let mut ssh = client(&lab, node)?;
    ssh.stdin(Stdio::inherit());
    if command.is_empty() || (std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        ssh.arg("-t");
    }
    ssh.arg(node.name.as_str());
    ssh.args(command);
    Err(Error::caused(Class::Host, "cannot run ssh in the lab", ssh.exec()))
}

/// ssh(1) inside the lab's network, with the lab's key and the host keys that we gave the guests.
pub(in crate::commands) fn client(lab: &Standing, node: &Node) -> Result<Command> {
    let keys = lab.keys();
    let mut ssh = lab.host()?.client("ssh");
    ssh.args(["-F", "/dev/null", "-l", "root", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"])
        .args(["-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "ServerAliveInterval=30"])
        .arg("-o")
        .arg(format!("HostName={}", node.address))
        .arg("-o")
        .arg(format!("HostKeyAlias={}", node.name))
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", keys.known_hosts().display()))
        .arg("-i")
        .arg(keys.lab_key());
    Ok(ssh)
}
