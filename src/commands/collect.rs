//! `collect`: what is left of a lab, up, half up or broken, as one file that can be sent to somebody.

use super::{run::listen, ssh};
use crate::{
    cli::Arguments,
    config,
    context::{self, Standing},
    error::{Class, Error, Result, ResultExt},
    evidence::{self, Guest, Haste, Scene},
    host::{Home, Host},
    nightly::since,
    status,
};
use jiff::{Timestamp, tz::TimeZone};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How long the status may take: of a broken lab it is worth no more.
const STATUS: Duration = Duration::from_secs(60);

/// Gathers everything; the file's path is the data.
///
/// # Errors
/// When there is nothing of such a lab, or the file cannot be written.
pub async fn run(arguments: &Arguments, since: Option<&str>, out: Option<&Path>) -> Result<u8> {
    let home = context::home(arguments)?;
    let lab = context::lab_name(arguments, &home)?;
    let now = Timestamp::now();
    let since = since.map(|text| since::parse(text, now, &TimeZone::system())).transpose()?;
    if !home.lab(&lab).path().exists() {
        return Err(Error::new(
            Class::Host,
            format!("there is nothing of lab `{lab}` below `{}`", home.path().display()),
        )
        .hint("`pgxc-lab up` makes it; evidence of failed nights is in the directory of the lab's nightly runs"));
    }
    let file = out.map_or_else(
        || PathBuf::from(format!("pgxc-lab-{lab}-{}.tar.zst", now.strftime("%Y%m%dT%H%M%SZ"))),
        Path::to_owned,
    );
    let file = std::path::absolute(&file).or_error(Class::Host, || format!("cannot find `{}`", file.display()))?;
    if file.symlink_metadata().is_ok() {
        return Err(Error::new(Class::Usage, format!("`{}` is there already", file.display()))
            .hint("name another file, or move that one away"));
    }
    let known = ("status.json", status_text(arguments).await);
    let scene = scene(arguments, &home, &lab, known, since, Haste::None);
    let stop = CancellationToken::new();
    let signals = tokio::spawn(listen(stop.clone(), || {}));
    let target = file.clone();
    let work = tokio::task::spawn_blocking(move || evidence::collect(scene, &target));
    let file = tokio::select! {
        done = work => done.or_error(Class::Internal, || "the collecting thread ended".into())??,
        () = stop.cancelled() => {
            evidence::discard(&file);
            return Err(Error::new(Class::Interrupted, "interrupted: nothing was collected"));
        }
    };
    signals.abort();
    eprintln!("no passwords are in it; `MISSING` in it, if there, lists what could not be had");
    super::print(&format!("{}\n", file.display()))
}

/// What `status --json` shows.
pub(super) async fn status_text(arguments: &Arguments) -> Result<String> {
    let look = async { status::look(&Standing::find(arguments)?).await };
    let status = tokio::time::timeout(STATUS, look).await.unwrap_or_else(|_| {
        Err(Error::new(Class::Infrastructure, format!("the lab tells no status within {} s", STATUS.as_secs())))
    })?;
    serde_json::to_string_pretty(&status).or_error(Class::Internal, || "cannot write JSON".into())
}

/// Where evidence of a lab is to be found, whatever is left of it.
pub(super) fn scene(
    arguments: &Arguments,
    home: &Home,
    lab: &str,
    known: (&'static str, Result<String>),
    since: Option<Timestamp>,
    haste: Haste,
) -> Scene {
    let dir = home.lab(lab);
    let standing = Standing::find(arguments).ok();
    let recorded = standing.as_ref().filter(|_| arguments.lab.is_some()).map(|standing| &standing.record.lab_file);
    let lab_file = recorded.cloned().unwrap_or_else(|| arguments.file());
    let written = config::load(&lab_file).ok().map(|loaded| loaded.lab);
    let nodes = standing.as_ref().map(|standing| &standing.lab).or(written.as_ref()).map(|lab| lab.nodes.as_slice());
    let guests = nodes.unwrap_or_default().iter().map(|node| Guest {
        name: node.name.to_string(),
        ssh: standing.as_ref().and_then(|standing| {
            let (mut ssh, system) = (ssh::client(standing, node).ok()?, standing.system().ok()?);
            ssh.args(["-o", "ConnectTimeout=10"]).arg(node.name.as_str());
            Some((ssh, system.init()))
        }),
    });
    let guests = guests.collect();
    let mut secrets = Vec::new();
    for lab in written.iter().chain(standing.as_ref().map(|standing| &standing.lab)) {
        secrets.extend(lab.cluster.password.clone());
        secrets.extend(lab.nightly.notify.webhook.clone());
    }
    Scene { host: Host::find(&dir), guests, lab_file, known, secrets, since, haste, dir }
}
