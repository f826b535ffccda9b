//! From the raw shape to a valid lab. Nothing stops at its first problem: a bad value is reported and left out,
//! and the rules that need it are skipped, so that one mistake is not told twice.

mod checker;
mod cluster;
mod components;
mod guest;
mod hosts;
mod mirrors;
mod nightly;
mod nodes;
mod own;
mod placement;
mod scalars;

use super::{
    defaults,
    problem::Place,
    problem::Problem,
    shape::{LabFile, NetworkFile, NfsFile},
};
use crate::lab::{
    Acceleration, BootMode, EngineKind, Fit, HostKind, HostsFile, Lab, Network, Nfs, NodeName, Size, Subnet,
};
use checker::Checker;
use std::{net::Ipv4Addr, path::PathBuf};

/// Checks everything; `None` only when something was reported.
pub(super) fn lab(file: &LabFile, directory: PathBuf, problems: &mut Vec<Problem>) -> Option<Lab> {
    let mut check = Checker::new(problems);
    let name = check.required::<NodeName>(
        &file.name,
        Place::START,
        "the lab",
        "name",
        "write `name: ` and a short name at the top",
    );
    let host = check.value(&file.host, defaults::HOST, scalars::choice::<HostKind>);
    let acceleration = check.value(&file.acceleration, defaults::ACCELERATION, scalars::choice::<Acceleration>);
    let fit = check.value(&file.fit, defaults::FIT, scalars::choice::<Fit>);
    let boot = check.value(&file.boot, defaults::BOOT, scalars::choice::<BootMode>);
    let images = check.choices(&file.image, defaults::IMAGES, scalars::image);
    let engines = check.choices(&file.engine, defaults::ENGINES, scalars::choice::<EngineKind>);
    let mirrors = mirrors::mirrors(&mut check, file.mirrors.value().map_or(&[], Vec::as_slice), &images);
    let network = network(&mut check, &file.network.section(), host);
    let hosts = hosts::hosts(&mut check, file, host, network.as_ref());
    let nfs = nfs(&mut check, &file.nfs.section());
    let guest = guest::guest(&mut check, &file.guest.section());
    let cluster = file.cluster.section();
    let mut components = components::components(&mut check, &cluster, nfs.as_ref().map(|nfs| nfs.mount.as_str()));
    let drafts = nodes::drafts(&mut check, file, name.as_ref(), network.as_ref());
    hosts::pins(&mut check, &file.hosts, &drafts);
    components::follow_memory(&mut components, drafts.iter().filter_map(|draft| draft.memory).min());
    let roles = placement::names(&mut check, &drafts, &components);
    let placement = placement::Placement { nodes: &drafts, components: &components };
    placement.check(&mut check, file.nodes.place().unwrap_or(Place::START), engines.contains(&EngineKind::PostgresXc));
    let cluster = cluster::cluster(&mut check, &cluster, &components);
    let nightly = nightly::nightly(&mut check, &file.nightly.section(), &file.notify.section());
    let own = own::checks(&mut check, file.checks.value().map_or(&[], Vec::as_slice), &drafts);
    let nodes = drafts.into_iter().zip(roles).map(|(draft, roles)| draft.finish(roles)).collect::<Option<Vec<_>>>();
    Some(Lab {
        name: name?,
        host: host?,
        hosts,
        acceleration: acceleration?,
        fit: fit?,
        boot: boot?,
        network: network?,
        images,
        mirrors,
        engines,
        nfs: nfs?,
        guest: guest?,
        cluster: cluster?,
        nodes: nodes?,
        nightly: nightly?,
        checks: own,
        directory,
    })
}

fn network(check: &mut Checker, file: &NetworkFile, host: Option<HostKind>) -> Option<Network> {
    let subnet: Option<Subnet> = check.parsed(&file.subnet, defaults::SUBNET);
    let domain = check.value(&file.domain, defaults::DOMAIN, scalars::domain);
    let first = subnet.map(|subnet| Ipv4Addr::from_bits(subnet.network().to_bits() + 1)).unwrap_or(Ipv4Addr::LOCALHOST);
    let gateway = check.value(&file.gateway, &first.to_string(), scalars::address);
    let (subnet, mut gateway) = (subnet?, gateway?);
    if !subnet.holds(gateway) {
        let place = file.gateway.place().unwrap_or(Place::START);
        check.report(
            place,
            format!("gateway `{gateway}` is not a host address of `{subnet}`"),
            format!("`{first}` is the first one"),
        );
        // Nodes can still be checked against the subnet.
        gateway = first;
    }
    let hosts_file = check.value(&file.hosts_file, defaults::HOSTS_FILE, scalars::choice::<HostsFile>);
    if let (Some(HostsFile::Block), Some(HostKind::Private), Some(place)) = (hosts_file, host, file.hosts_file.place())
    {
        let hint = "write `host: system`, or take it out: the addresses of a private lab lead nowhere outside of its namespaces";
        check.report(place, "`hosts_file: true` with `host: private`", hint);
    }
    Some(Network { subnet, gateway, domain: domain?, hosts_file: hosts_file? })
}

fn nfs(check: &mut Checker, file: &NfsFile) -> Option<Nfs> {
    let size = check.value(&file.size, defaults::NFS_SIZE, scalars::at_least(Size::mib(64)));
    let mount = check.value(&file.mount, defaults::NFS_MOUNT, scalars::absolute);
    let options = check.list(&file.options, defaults::NFS_OPTIONS, scalars::mount_option);
    Some(Nfs { size: size?, mount: mount?, options })
}
