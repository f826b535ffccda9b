//! `exec`: a command on many nodes.

use super::ssh;
use crate::{
    cli::Arguments,
    context::Standing,
    error::{Class, Error, Result, ResultExt},
    lab::Selector,
};
use std::{process::Stdio, sync::Arc};
use tokio::{sync::Semaphore, task::JoinSet};

/// Runs the command everywhere; each line of output carries the node's name.
///
/// # Errors
/// When the lab is not up, or the command failed on a node: on which, and how.
pub async fn run(arguments: &Arguments, on: &Selector, command: &[String]) -> Result<u8> {
    let lab = Standing::find(arguments)?;
    let names = on.pick(&lab.lab)?;
    let tokens = Arc::new(Semaphore::new(lab.record.accelerator.tokens()));
    let mut tasks = JoinSet::new();
    for (place, name) in names.iter().enumerate() {
        let node = lab.node(name)?;
        let mut ssh = ssh::client(&lab, node)?;
        ssh.arg(name).args(command).stdin(Stdio::null());
        let (name, tokens) = (name.clone(), tokens.clone());
        tasks.spawn(async move {
            let _token = tokens.acquire_owned().await;
            (place, name, tokio::process::Command::from(ssh).kill_on_drop(true).output().await)
        });
    }
    let mut results = tasks.join_all().await;
    results.sort_by_key(|(place, ..)| *place);
    let mut failed = Vec::new();
    let mut objects = Vec::new();
    for (_, name, output) in results {
        let output = output.or_error(Class::Host, || "cannot run ssh in the lab".into())?;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            failed.push(format!("{name}: {}", output.status));
        }
        if arguments.json {
            objects.push(
                serde_json::json!({ "node": name, "status": output.status.code(), "stdout": stdout, "stderr": stderr }),
            );
            continue;
        }
        super::print(&stdout.lines().map(|line| format!("{name}: {line}\n")).collect::<String>())?;
        stderr.lines().for_each(|line| eprintln!("{name}: {line}"));
    }
    if arguments.json {
        super::print_json(&objects)?;
    }
    if failed.is_empty() {
        return Ok(0);
    }
    Err(Error::new(Class::Guest, format!("the command failed on {} of {} nodes", failed.len(), names.len()))
        .evidence(failed.join("\n")))
}
