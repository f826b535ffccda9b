//! `sql`: statements on a server of the cluster, over the wire; on a terminal without statements, psql in the guest.

use super::ssh;
use crate::{
    cli::Arguments,
    context::Standing,
    error::{Class, Error, Result, ResultExt},
    lab::{EngineKind, NodeName, Placed, Role},
    sql::{Answer, Sql},
    ui::Table,
};
use std::{
    io::{IsTerminal, Read},
    os::unix::process::CommandExt,
    path::Path,
    process::Stdio,
    time::Duration,
};

/// A person waits for what a statement takes; this only ends what would never end.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Runs statements.
///
/// # Errors
/// When the lab is not up or a statement fails.
pub async fn run(
    arguments: &Arguments,
    on: Option<&NodeName>,
    command: Option<&str>,
    script: Option<&Path>,
) -> Result<u8> {
    let lab = Standing::find(arguments)?;
    let placed = server(&lab, on)?;
    let statements = match (command, script) {
        (Some(command), _) => command.to_owned(),
        (None, Some(script)) => {
            std::fs::read_to_string(script).or_error(Class::Usage, || format!("cannot read `{}`", script.display()))?
        }
        (None, None) if std::io::stdin().is_terminal() => return psql(&lab, placed),
        (None, None) => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .or_error(Class::Usage, || "cannot read the statements from standard input".into())?;
            text
        }
    };
    let sql = Sql::connect(lab.host()?, placed.node.address, placed.component.port, &lab.login()?, PATIENCE).await?;
    let answers = sql.run(&statements).await?;
    if arguments.json {
        return super::print_json(&answers);
    }
    answers.iter().map(show).collect::<Result<Vec<()>>>()?;
    Ok(0)
}

/// The coordinator of a node, else its datanode; without a node the first coordinator.
fn server<'lab>(lab: &'lab Standing, on: Option<&NodeName>) -> Result<Placed<'lab>> {
    let Some(name) = on else {
        return lab.lab.placed(Role::Coordinator).into_iter().next().ok_or_else(|| {
            Error::new(Class::Usage, "this lab has no coordinator")
                .hint("it is one of plain VMs: give its nodes `roles` in lab.yaml")
        });
    };
    let node = lab.node(name.as_str())?;
    let servers = lab
        .lab
        .components_of(node)
        .into_iter()
        .filter(|placed| matches!(placed.role, Role::Coordinator | Role::Datanode));
    servers.max_by_key(|placed| placed.role).ok_or_else(|| {
        Error::new(Class::Usage, format!("`{name}` has neither a coordinator nor a datanode"))
            .hint("`pgxc-lab status` shows which nodes have")
    })
}

fn show(answer: &Answer) -> Result<()> {
    if answer.columns.is_empty() {
        return super::print(&format!("{}\n", answer.rows_affected)).map(drop);
    }
    let table = answer.columns.iter().fold(Table::new(), |table, column| table.left(column));
    let mut table = table;
    for row in &answer.rows {
        table.row(row.iter().map(|value| value.clone().unwrap_or_default()));
    }
    let rows = answer.rows.len();
    super::print(&format!("{table}({rows} row{})\n", if rows == 1 { "" } else { "s" })).map(drop)
}

/// Becomes psql on the node itself.
fn psql(lab: &Standing, placed: Placed<'_>) -> Result<u8> {
    let program = match lab.record.engine {
        EngineKind::PostgresXc => format!("{}/bin/psql", lab.lab.cluster.prefix),
        EngineKind::PostgresFdw => "/usr/lib/postgresql/15/bin/psql".to_owned(),
    };
    let mut ssh = ssh::client(lab, placed.node)?;
    ssh.stdin(Stdio::inherit()).arg("-t").arg(placed.node.name.as_str()).arg(format!(
        "exec {program} -h 127.0.0.1 -p {} -U {} postgres",
        placed.component.port, lab.lab.cluster.superuser
    ));
    Err(Error::caused(Class::Host, "cannot run ssh in the lab", ssh.exec()))
}
