//! Looks at everything side by side. Whatever does not answer is told as that: a dead guest costs its deadline once.

use super::{Clock, ComponentStatus, DatabaseStatus, GtmStatus, GuestState, NodeStatus, Space, Status};
use crate::{
    apply,
    context::Standing,
    engine::{Ready, Row, retried},
    error::{Class, Error, Result, ResultExt},
    gtm::{self, Gtm},
    host::{Exports, Host, Tracking, capacity},
    hypervisor::{Libvirt, SeenDomain},
    journal::Journal,
    lab::{Node, NodeName, Other, Placed, Role},
    sql::{Login, Sql},
};
use futures_util::future::{join, join_all};
use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// How long libvirt may take to tell of all domains.
const DOMAINS: Duration = Duration::from_secs(5);
/// The same over ssh: together with a knock at its guests a host that is gone costs less than ten seconds.
const FAR: Duration = Duration::from_secs(4);
/// How long a guest may take to accept a connection, and a GTM, which only counts, to answer. Beyond that it is as good as
/// dead, however busy it is.
const KNOCK: Duration = Duration::from_secs(3);
/// How long a database may take to answer: a session is a new process in an emulated guest.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a session that is being made keeps others from being made: one that hangs must not hold up the rest.
const HOLDS: Duration = Duration::from_secs(1);
/// How long a guest's chronyd may take: it answers from memory, with one packet.
const CLOCK: Duration = Duration::from_secs(1);
/// Where a server keeps its WAL, by its age.
const WAL: [&str; 2] = ["pg_xlog", "pg_wal"];

/// Looks at every domain and component.
///
/// # Errors
/// When the password was never made.
pub async fn look(standing: &Standing) -> Result<Status> {
    let seen = seen(standing).await;
    let login = standing.login()?;
    let tokens = Arc::new(Semaphore::new(standing.record.accelerator.looks()));
    let nodes = standing.lab.nodes.iter().map(async |node| {
        let host = standing.lab.host_of(node).map(|other| &other.host.name);
        let domain = state_of(node, host, seen[&host].as_deref());
        let placed = standing.lab.components_of(node).into_iter().filter(|placed| standing.engine.runs(placed.role));
        let components = placed.map(|placed| component(standing, placed, domain, &login, &tokens));
        let (clock, components) = join(clock(standing, node, domain), join_all(components)).await;
        NodeStatus {
            node: node.name.to_string(),
            address: node.address.to_string(),
            memory: node.memory.to_string(),
            host: node.on.as_ref().map(ToString::to_string),
            domain,
            clock,
            components,
        }
    });
    let mut nodes = join_all(nodes).await;
    compare_gxids(&mut nodes);
    let faults: Vec<String> =
        Journal::read(&standing.dir.journal())?.faults().iter().map(ToString::to_string).collect();
    let healthy = standing.record.check_failover().is_ok()
        && faults.is_empty()
        && nodes
            .iter()
            .all(|node| node.domain == GuestState::Running && node.components.iter().all(|component| component.serves));
    Ok(Status {
        lab: standing.lab.name.to_string(),
        engine: standing.record.engine.as_str().to_owned(),
        accelerator: standing.record.accelerator.as_str().to_owned(),
        healthy,
        failover: standing.record.failover.clone(),
        faults,
        exports: exports(standing),
        nodes,
    })
}

/// The lab's domains on this machine and on every host of it that has nodes, asked side by side; nothing where libvirt does
/// not tell.
async fn seen(standing: &Standing) -> BTreeMap<Option<&NodeName>, Option<Vec<SeenDomain>>> {
    let used = |other: &&Other| standing.lab.nodes.iter().any(|node| node.on.as_ref() == Some(&other.host.name));
    let others = standing.lab.hosts.iter().flat_map(|hosts| &hosts.others).filter(used);
    let others = others.map(async |other| {
        let domains = ask(other.connection.libvirt_uri(), standing.lab.name.to_string(), FAR).await;
        (Some(&other.host.name), domains)
    });
    let (here, others) = join(here(standing), join_all(others)).await;
    std::iter::once((None, here)).chain(others).collect()
}

async fn here(standing: &Standing) -> Option<Vec<SeenDomain>> {
    let Some(host) = &standing.host else { return Some(Vec::new()) };
    // A lab whose libvirt never started has no domains yet.
    if matches!(host, Host::Private(_)) && !standing.dir.libvirt_socket().exists() {
        return Some(Vec::new());
    }
    ask(host.libvirt_uri(), standing.lab.name.to_string(), DOMAINS).await
}

async fn ask(uri: String, lab: String, patience: Duration) -> Option<Vec<SeenDomain>> {
    let asked = tokio::task::spawn_blocking(move || Libvirt::open(&uri)?.domains(&lab));
    tokio::time::timeout(patience, asked).await.ok()?.ok()?.ok()
}

fn state_of(node: &Node, host: Option<&NodeName>, domains: Option<&[SeenDomain]>) -> GuestState {
    let Some(domains) = domains else { return host.map_or(GuestState::Unknown, |_| GuestState::Lost) };
    let domain = domains.iter().find(|domain| domain.name == node.name.as_str());
    domain.map_or(GuestState::Absent, |domain| domain.state.into())
}

/// The namespaces, when something in a guest of this state may answer.
fn asks(standing: &Standing, domain: GuestState) -> Result<&Host> {
    match domain {
        // A guest may go on without its libvirt.
        GuestState::Running | GuestState::Unknown | GuestState::Lost => standing.host(),
        GuestState::Paused | GuestState::Off | GuestState::Crashed | GuestState::Absent => {
            Err(Error::new(Class::Guest, "the guest does not run"))
        }
    }
}

async fn component(
    standing: &Standing,
    placed: Placed<'_>,
    domain: GuestState,
    login: &Login,
    tokens: &Arc<Semaphore>,
) -> ComponentStatus {
    let mut status = ComponentStatus {
        role: placed.role,
        name: placed.name.to_string(),
        port: placed.component.port,
        serves: false,
        detail: String::new(),
        pid: None,
        wal: None,
        gtm: None,
        database: None,
    };
    if let Some(host) = &standing.host {
        let exports = Exports::new(&standing.dir, host);
        // A directory that is not below the mount point passes no check of lab.yaml.
        if let Ok(directory) = exports.file(&standing.lab, placed.node, &placed.component.directory) {
            status.pid = pid(&directory, placed.role);
            status.wal = WAL.iter().find_map(|name| wal(&directory.join(name)));
        }
    }
    let seen = async {
        let host = asks(standing, domain)?;
        let ready = standing.engine.component(&standing.lab, placed).ready;
        match &ready {
            Ready::Query { sql, value, .. } => {
                status.database = Some(database(standing, host, placed, (sql, value), login, tokens).await?);
            }
            ready => {
                apply::answers(host, &standing.dir, &standing.lab, placed.node, ready, login, KNOCK).await?;
            }
        }
        if let Ready::Gtm { port } | Ready::Standby { port, .. } = ready {
            let next_gxid = Gtm::new(host, placed.node.address, port, KNOCK).next_gxid().await?;
            status.gtm = Some(GtmStatus { next_gxid, behind: None });
        }
        Ok::<(), Error>(())
    };
    match seen.await {
        Ok(()) => status.serves = true,
        Err(error) => status.detail = error.message().to_owned(),
    }
    status
}

/// Whether a database serves, and what it tells, in one session.
async fn database(
    standing: &Standing,
    host: &Host,
    placed: Placed<'_>,
    (sql, value): (&str, &str),
    login: &Login,
    tokens: &Arc<Semaphore>,
) -> Result<DatabaseStatus> {
    let place = (placed.node.address, placed.component.port);
    let socket = host
        .connect(place.into(), KNOCK)
        .await
        .or_error(Class::Cluster, || format!("no connection to the server at {}:{}", place.0, place.1))?;
    let token = tokens.clone().acquire_owned().await;
    let holder = tokio::spawn(async move {
        tokio::time::sleep(HOLDS).await;
        drop(token);
    });
    let told = async {
        let server = Sql::over(socket, place, login, ANSWER).await?;
        // In one message: for each a coordinator of Postgres-XC asks the GTM for a GXID and a snapshot.
        let ask = format!("{sql}; {}", standing.engine.vitals());
        let answers = retried(|| server.run(&ask), |_| {}).await?;
        let rows = |place: usize| answers.get(place).map(|answer| answer.rows.as_slice()).unwrap_or_default();
        let seen = rows(0).first().and_then(|row| row.first()).cloned().flatten().unwrap_or_default();
        if seen != value {
            return Err(Error::new(Class::Cluster, format!("`{sql}` gives `{seen}` instead of `{value}`")));
        }
        read(rows(1))
    };
    let told = told.await;
    holder.abort();
    told
}

/// What the engine's query for it gives.
fn read(rows: &[Row]) -> Result<DatabaseStatus> {
    let number = |place: usize| -> Result<u32> {
        let text = rows.first().and_then(|row| row.get(place)).cloned().flatten().unwrap_or_default();
        text.parse().map_err(|_| Error::new(Class::Cluster, format!("it counts `{text}` sessions or transactions")))
    };
    Ok(DatabaseStatus {
        clients: number(0)?,
        pooled: number(1)?,
        pooled_busy: number(2)?,
        prepared: number(3)?,
        in_doubt: number(4)?,
    })
}

/// The first line of a component's pid file.
fn pid(directory: &Path, role: Role) -> Option<u32> {
    let name = match role {
        Role::Gtm | Role::GtmStandby => "gtm.pid",
        Role::GtmProxy => "gtm_proxy.pid",
        Role::Datanode | Role::Coordinator => "postmaster.pid",
    };
    fs::read_to_string(directory.join(name)).ok()?.lines().next()?.trim().parse().ok()
}

/// Bytes of the files of a directory.
fn wal(directory: &Path) -> Option<u64> {
    let files = fs::read_dir(directory).ok()?.flatten().filter_map(|entry| entry.metadata().ok());
    Some(files.filter(fs::Metadata::is_file).map(|data| data.len()).sum())
}

fn exports(standing: &Standing) -> Option<Space> {
    let directory = standing.host.as_ref()?.inside(&standing.dir.exports());
    directory
        .join(".mounted")
        .exists()
        .then(|| capacity::space(&directory).ok())
        .flatten()
        .map(|(size, free)| Space { size: size.as_bytes(), free: free.as_bytes() })
}

async fn clock(standing: &Standing, node: &Node, domain: GuestState) -> Option<Clock> {
    let asked = Tracking::ask(asks(standing, domain).ok()?, node);
    read_clock(&tokio::time::timeout(CLOCK, asked).await.ok()?.ok()?)
}

fn read_clock(report: &str) -> Option<Clock> {
    Tracking::read(report).map(|seen| Clock { off: seen.offset.abs(), follows: seen.follows })
}

fn compare_gxids(nodes: &mut [NodeStatus]) {
    let components = || nodes.iter().flat_map(|node| &node.components);
    let active = components().find(|component| component.role == Role::Gtm).and_then(|gtm| gtm.gtm);
    let Some(active) = active else { return };
    for component in nodes.iter_mut().flat_map(|node| &mut node.components) {
        if let (Role::GtmStandby, Some(standby)) = (component.role, &mut component.gtm) {
            let ahead = gtm::is_before(active.next_gxid, standby.next_gxid);
            standby.behind = Some(if ahead { 0 } else { active.next_gxid.wrapping_sub(standby.next_gxid) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_read_either_way() {
        let report = |offset: &str, end: &str| {
            format!("C0A87A01,192.168.122.1,9,1000.5,{offset},0.0,0.0,1.0,0.0,0.0,0.0,0.0,4.0,{end}\n")
        };
        assert_eq!(read_clock(&report("-0.25", "Normal")), Some(Clock { off: 0.25, follows: true }));
        assert_eq!(read_clock(&report("0.5", "Not synchronised")), Some(Clock { off: 0.5, follows: false }));
        assert_eq!(read_clock("506 Cannot talk to daemon\n"), None);
    }

    #[test]
    fn a_standby_is_behind_and_never_ahead() {
        let mut nodes = super::super::tests::two().nodes;
        let mut behind = |gtm, standby| {
            for (place, next_gxid) in [(0, gtm), (1, standby)] {
                nodes[0].components[place].gtm = Some(GtmStatus { next_gxid, behind: None });
            }
            compare_gxids(&mut nodes);
            nodes[0].components[1].gtm.and_then(|gtm| gtm.behind)
        };
        assert_eq!(behind(10_313, 10_312), Some(1));
        assert_eq!(behind(10_313, 10_315), Some(0), "asked later");
        assert_eq!(behind(3, u32::MAX), Some(4));
        assert_eq!(nodes[0].components[0].gtm.and_then(|gtm| gtm.behind), None);
    }

    #[test]
    fn files_of_a_component_tell_its_process_and_its_wal() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!((pid(directory.path(), Role::Datanode), wal(&directory.path().join("pg_xlog"))), (None, None));
        fs::write(directory.path().join("postmaster.pid"), "812\n/data02\n").expect("a file");
        fs::create_dir_all(directory.path().join("pg_xlog/archive_status")).expect("a directory");
        fs::write(directory.path().join("pg_xlog/000000010000000000000001"), vec![0; 4096]).expect("a file");
        assert_eq!(pid(directory.path(), Role::Datanode), Some(812));
        assert_eq!(wal(&directory.path().join("pg_xlog")), Some(4096));
    }

    #[test]
    fn what_a_database_tells_is_five_numbers() {
        let row = |values: &[&str]| vec![values.iter().map(|value| Some((*value).to_owned())).collect::<Row>()];
        let told = read(&row(&["2", "10", "1", "3", "0"])).expect("numbers");
        let expected = DatabaseStatus { clients: 2, pooled: 10, pooled_busy: 1, prepared: 3, in_doubt: 0 };
        assert_eq!(told, expected);
        assert!(read(&row(&["2", "10"])).is_err());
    }
}
