//! `doctor`: does the host have what a lab needs, and are the guests as lab.yaml says, key by key?

use crate::{
    cli::Arguments,
    config,
    context::{self, Standing},
    engine,
    error::{Class, Error, Result, ResultExt},
    guest::{Finding, parse_report},
    host::{self, Peer, capacity, choose_accelerator, system},
    journal::Journal,
    lab::{Acceleration, HostKind, Hosts, Lab, Node},
    remote::Ssh,
    ui::Table,
};
use futures_util::future::join_all;
use serde::Serialize;
use std::{path::Path, time::Duration};

/// How long a guest may take to report: some sixty forks, emulated.
const REPORT: Duration = Duration::from_secs(120);

#[derive(Serialize)]
struct Check {
    place: String,
    kind: String,
    item: String,
    verdict: String,
    detail: String,
    #[serde(skip)]
    wrong: bool,
}

/// Checks host and guests; the exit code tells whether anything differs.
///
/// # Errors
/// When lab.yaml breaks a rule.
pub async fn run(arguments: &Arguments, apply: bool) -> Result<u8> {
    let home = context::home(arguments)?;
    let standing = match Standing::find(arguments) {
        Ok(standing) => Some(standing),
        Err(error) if error.class() == Class::LabFile => return Err(error),
        Err(_) => None,
    };
    // lab.yaml as it is now is what the guests are held against; without it, as it was.
    let wanted = match &arguments.lab {
        Some(_) => None,
        None if arguments.file().exists() => {
            Some(config::load(&arguments.file()).map_err(config::Problems::into_error)?.lab)
        }
        None => None,
    };
    let lab = match (&standing, wanted) {
        (Some(standing), Some(lab)) => Some(standing.record.fitted(&lab)?),
        (Some(standing), None) => Some(standing.lab.clone()),
        (None, wanted) => wanted,
    };
    let mut checks = host_checks(&home, lab.as_ref().map_or(HostKind::Private, |lab| lab.host)).await;
    if let Some(lab) = lab.as_ref().filter(|lab| lab.host == HostKind::System) {
        checks.extend(machine_checks(lab, &home.lab(lab.name.as_str()))?);
    }
    if let Some(hosts) = lab.as_ref().and_then(|lab| lab.hosts.as_ref()) {
        checks.extend(peer_checks(hosts).await);
    }
    if let Some((standing, lab)) = standing.as_ref().zip(lab) {
        for node in &lab.nodes {
            match guest_report(standing, &lab, node, apply).await {
                Ok(findings) => checks.extend(findings.into_iter().map(|finding| Check {
                    place: node.name.to_string(),
                    wrong: finding.verdict.is_wrong(),
                    kind: finding.kind,
                    item: finding.item,
                    verdict: finding.verdict.as_str().to_owned(),
                    detail: finding.detail,
                })),
                Err(error) => checks.push(wrong(node.name.as_str(), "guest", "ssh", error.message())),
            }
        }
    }
    let amiss = checks.iter().filter(|check| check.wrong).count();
    if arguments.json {
        super::print_json(&checks)?;
    } else {
        let mut table = Table::new().left("WHERE").left("KIND").left("ITEM").left("VERDICT").left("DETAIL");
        for check in checks.iter().filter(|check| arguments.verbose || check.verdict != "ok" || check.place == "host") {
            table.row([&check.place, &check.kind, &check.item, &check.verdict, &check.detail].map(String::clone));
        }
        super::print(&table.to_string())?;
        eprintln!(
            "{} checks, {amiss} amiss{}",
            checks.len(),
            if standing.is_none() { "; the lab is not up, so no guest was looked at" } else { "" }
        );
    }
    Ok(if amiss == 0 { 0 } else { Class::Guest.exit_code() })
}

/// What the lab finds on this machine, and what would be in its way.
fn machine_checks(lab: &Lab, dir: &host::LabDir) -> Result<Vec<Check>> {
    let ours = Journal::read(&dir.journal())?.reservations();
    let findings = system::survey(lab, &system::look(lab, dir, ours));
    let check = |finding: system::Finding| match finding.verdict {
        system::Verdict::Fits => ok("machine", finding.item, finding.detail),
        system::Verdict::Blocks => wrong("host", "machine", finding.item, finding.detail),
    };
    Ok(findings.into_iter().map(check).collect())
}

/// Whether the lab can use the hosts that are not this machine, asked side by side.
async fn peer_checks(hosts: &Hosts) -> Vec<Check> {
    let checks = hosts.others.iter().map(async |other| {
        let (peer, uplink) = (Peer::of(other), other.host.uplink.clone());
        let name = peer.name.to_string();
        let survey = tokio::task::spawn_blocking(move || peer.survey(&uplink)).await;
        match survey.or_error(Class::Internal, || "a look at a host ended".into()).flatten() {
            Ok(seen) => ok("other host", &name, seen),
            Err(error) => wrong("host", "other host", &name, error.line()),
        }
    });
    join_all(checks).await
}

async fn guest_report(standing: &Standing, lab: &Lab, node: &Node, apply: bool) -> Result<Vec<Finding>> {
    let system = standing.system()?;
    let files = engine::guest_files(standing.engine.as_ref(), system, lab, node);
    let script = format!("APPLY={}\n{}", u8::from(apply), system.guest().tune_script(lab, node, &files));
    let patience = REPORT * standing.record.accelerator.patience();
    let report = async {
        let socket = standing.host()?.connect((node.address, 22).into(), patience).await;
        let socket = socket.map_err(|error| {
            Error::caused(Class::Guest, format!("port 22 of `{}` does not answer", node.name), error)
        })?;
        Ssh::login(node.name.as_str(), socket, &standing.keys()).await?.script("report", &script).await
    };
    let report = tokio::time::timeout(patience, report).await;
    let report = report.unwrap_or_else(|_| {
        Err(Error::new(Class::Guest, format!("`{}` does not report within {} s", node.name, patience.as_secs())))
    })?;
    Ok(parse_report(&report))
}

fn ok(kind: &str, item: &str, detail: impl Into<String>) -> Check {
    Check {
        place: "host".into(),
        kind: kind.into(),
        item: item.into(),
        verdict: "ok".into(),
        detail: detail.into(),
        wrong: false,
    }
}

fn wrong(place: &str, kind: &str, item: &str, detail: impl Into<String>) -> Check {
    Check {
        place: place.into(),
        kind: kind.into(),
        item: item.into(),
        verdict: "amiss".into(),
        detail: detail.into(),
        wrong: true,
    }
}

/// Programs that every lab needs.
const PROGRAMS: [&str; 8] =
    ["qemu-system-x86_64", "qemu-img", "chronyd", "mmdebstrap", "mke2fs", "unshare", "ip", "ssh"];
/// And those that a host of its own needs.
const PRIVATE_PROGRAMS: [&str; 6] = ["libvirtd", "virtlogd", "ganesha.nfsd", "rpcbind", "dnsmasq", "nsenter"];

async fn host_checks(home: &host::Home, kind: HostKind) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.push(if nix::unistd::geteuid().is_root() {
        ok("user", "root", "")
    } else {
        wrong("host", "user", "root", "a lab needs root for its namespaces and mounts: use sudo")
    });
    let private = PRIVATE_PROGRAMS.iter().filter(|_| kind == HostKind::Private);
    for name in PROGRAMS.iter().chain(private) {
        checks.push(match host::program(name) {
            Some(path) => ok("program", name, path.display().to_string()),
            None => wrong("host", "program", name, "not installed: `./scripts/setup` installs it"),
        });
    }
    for namespace in ["net", "mnt", "pid", "ipc", "uts"] {
        let there = Path::new("/proc/self/ns").join(namespace).exists();
        checks.push(if there {
            ok("namespace", namespace, "")
        } else {
            wrong("host", "namespace", namespace, "this kernel has none")
        });
    }
    checks.push(if Path::new("/dev/loop-control").exists() {
        ok("device", "/dev/loop-control", "")
    } else {
        wrong("host", "device", "/dev/loop-control", "loop devices hold the exports: load the module `loop`")
    });
    match choose_accelerator(Acceleration::Auto, &home.cache()).await {
        Ok((_, why)) => checks.push(ok("acceleration", "kvm", why)),
        Err(error) => checks.push(wrong("host", "acceleration", "kvm", error.message())),
    }
    match capacity::memory() {
        Ok(memory) => checks.push(ok(
            "capacity",
            "memory",
            format!("{} MiB of {} MiB available", memory.available.as_mib(), memory.total.as_mib()),
        )),
        Err(error) => checks.push(wrong("host", "capacity", "memory", error.message())),
    }
    match capacity::free_space(home.path()) {
        Ok(free) => {
            checks.push(ok("capacity", "disk", format!("{} MiB free below {}", free.as_mib(), home.path().display())))
        }
        Err(error) => checks.push(wrong("host", "capacity", "disk", error.message())),
    }
    checks
}
