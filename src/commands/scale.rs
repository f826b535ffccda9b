//! `scale add`: a node more in lab.yaml, and `up`. lab.yaml stays what says what the lab is.

use super::{
    run::{confirm, lock, shown},
    up,
};
use crate::{
    cli::{Arguments, ScaleVerb},
    config::{self, Refusal},
    context::{self, Record, Standing},
    error::{Class, Error, Result, ResultExt},
    lab::{Asked, Newcomer, Role},
    snapshot::replace,
    sql::Sql,
};
use similar::TextDiff;
use std::{fs, io::Write, os::unix::fs::MetadataExt, path::Path, time::Duration};

/// Objects that a refusal names; the others are counted.
const NAMED: usize = 5;
/// A catalog query takes less, also in an emulated guest that has much to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes the lab larger.
///
/// # Errors
/// Why the node cannot be added: then nothing was touched. The first failure of the run: then lab.yaml has the node, and
/// `up` goes on.
pub async fn run(arguments: &Arguments, verb: &ScaleVerb) -> Result<u8> {
    let ScaleVerb::Add { roles, name, ip } = verb;
    if let Some(lab) = &arguments.lab {
        return Err(Error::new(Class::Usage, format!("`--lab {lab}` names no file that could be changed"))
            .hint("name the lab by its file: `--file LAB.YAML`"));
    }
    let home = context::home(arguments)?;
    let file = arguments.file();
    let lab = config::load(&file).map_err(config::Problems::into_error)?.lab;
    let _lock = lock(&home, lab.name.as_str())?;
    let dir = home.lab(lab.name.as_str());
    replace::check(&dir)?;
    let text = read(&file)?;

    let asked = Asked { roles: roles.clone(), name: name.clone(), address: *ip };
    let node = Newcomer::of(&lab, asked).ok_or_else(|| {
        Error::new(Class::Usage, "no name or address is free after those of the last node")
            .hint("say them: `--name NODE --ip ADDR`")
    })?;
    let new = config::with_node(&text, &file, &lab, &node).map_err(|refusal| explain(refusal, &file))?;
    if Record::read(&dir)?.is_some() && [Role::Datanode, Role::Coordinator].iter().any(|role| node.roles.contains(role))
    {
        check_catalogs(&Standing::find(arguments)?).await?;
    }

    let names = (file.display().to_string(), format!("{} with `{}`", file.display(), node.name));
    eprint!("{}", TextDiff::from_lines(&text, &new).unified_diff().header(&names.0, &names.1));
    confirm(arguments, "change the file so, and bring the lab up", &format!("`{}`", file.display()))?;
    if read(&file)? != text {
        return Err(Error::new(
            Class::LabFile,
            format!("`{}` was changed meanwhile; nothing was touched", file.display()),
        )
        .hint("the same command again shows the change anew"));
    }
    write(&file, &new).or_error(Class::LabFile, || format!("cannot write `{}`", file.display()))?;
    shown(arguments, |events, stop| up::act(arguments, home, events, stop)).await
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).or_error(Class::LabFile, || format!("cannot read `{}`", file.display()))
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
    let mut list = objects[..objects.len().min(NAMED)].join(", ");
    if objects.len() > NAMED {
        list.push_str(&format!(" and {} more", objects.len() - NAMED));
    }
    Err(Error::new(
        Class::Cluster,
        format!("a new datanode or coordinator would not know what lab `{}` holds: {list}; nothing was touched", lab.lab.name),
    )
    .hint(
        "Postgres-XC 1.0 copies no catalogs, and DDL on these would fail ever after: save them with pg_dumpall, drop them, \
         `pgxc-lab scale add`, and load them again",
    ))
}

/// Replaces the file in one stroke; a link stays one, and owner and mode stay.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let file = fs::canonicalize(file)?;
    let known = fs::metadata(&file)?;
    let mut name = file.clone().into_os_string();
    name.push(".new");
    let written = (|| {
        let mut new = fs::File::create(&name)?;
        new.write_all(text.as_bytes())?;
        std::os::unix::fs::fchown(&new, Some(known.uid()), Some(known.gid()))?;
        new.set_permissions(known.permissions())?;
        new.sync_all()?;
        fs::rename(&name, &file)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&name);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_file_behind_a_link_is_replaced_and_keeps_its_mode() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, link) = (directory.path().join("real.yaml"), directory.path().join("lab.yaml"));
        fs::write(&file, "old").expect("it is written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("it is ours");
        symlink(&file, &link).expect("a link");
        write(&link, "new").expect("it is replaced");
        assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
        assert_eq!(fs::read_to_string(&file).expect("it is there"), "new");
        assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 2, "nothing is left beside it");
    }
}
