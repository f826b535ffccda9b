//! `scale add`: a node more in lab.yaml, and `up`.

use super::{Edit, Ground, PATIENCE, listed};
use crate::{
    cli::Arguments,
    commands::{run::shown, up},
    config::{self, Refusal},
    context::{Record, Standing},
    error::{Class, Error, Result},
    lab::{Asked, Newcomer, NodeName, Role},
    sql::Sql,
};
use std::{net::Ipv4Addr, path::Path};

/// Makes the lab larger.
///
/// # Errors
/// Why the node cannot be added: then nothing was touched. The first failure of the run: then lab.yaml has the node, and
/// `up` goes on.
pub(super) async fn run(
    arguments: &Arguments,
    roles: &[Role],
    name: Option<&NodeName>,
    ip: Option<Ipv4Addr>,
) -> Result<u8> {
    let Ground { home, dir, file, text, lab, _lock } = Ground::take(arguments)?;

    let asked = Asked { roles: roles.to_vec(), name: name.cloned(), address: ip };
    let node = Newcomer::of(&lab, asked).ok_or_else(|| {
        Error::new(Class::Usage, "no name or address is free after those of the last node")
            .hint("say them: `--name NODE --ip ADDR`")
    })?;
    let new = config::with_node(&text, &file, &lab, &node).map_err(|refusal| explain(refusal, &file))?;
    if Record::read(&dir)?.is_some() && [Role::Datanode, Role::Coordinator].iter().any(|role| node.roles.contains(role))
    {
        check_catalogs(&Standing::find(arguments)?).await?;
    }

    let edit = Edit { file, old: text, new };
    edit.confirm(arguments, &format!("with `{}`", node.name), "change the file so, and bring the lab up")?;
    edit.carry_out()?;
    shown(arguments, |events, stop| up::act(arguments, home, events, stop)).await
}

fn explain(refusal: Refusal, file: &Path) -> Error {
    match refusal {
        Refusal::Rules(problems) => problems.into_error().context("the lab with the new node would not be valid"),
        Refusal::Style(lines) => Error::new(
            Class::LabFile,
            format!(
                "the list of nodes in `{}` is written in a way that is not edited; nothing was touched",
                file.display()
            ),
        )
        .evidence(lines)
        .hint("add these lines to `nodes` by hand, in the style of the file, then `pgxc-lab up`"),
    }
}

/// Refuses a cluster whose objects a new server would not know.
async fn check_catalogs(lab: &Standing) -> Result<()> {
    let (Some(query), Some(first)) =
        (lab.engine.unknown_to_newcomers(), lab.lab.placed(Role::Coordinator).first().copied())
    else {
        return Ok(());
    };
    let (address, port) = (first.node.address, first.component.port);
    let rows = Sql::connect(lab.host()?, address, port, &lab.login()?, PATIENCE).await?.query(query).await?;
    let objects: Vec<String> =
        rows.into_iter().map(|row| row.into_iter().flatten().collect::<Vec<_>>().join(" ")).collect();
    if objects.is_empty() {
        return Ok(());
    }
    let list = listed(&objects);
    Err(Error::new(
        Class::Cluster,
        format!("a new datanode or coordinator would not know what lab `{}` holds: {list}; nothing was touched", lab.lab.name),
    )
    .hint(
        "Postgres-XC 1.0 copies no catalogs, and DDL on these would fail ever after: save them with pg_dumpall, drop them, \
         `pgxc-lab scale add`, and load them again",
    ))
}
