//! What all components of a kind share: the sections `gtm`, `gtm_standby`, … of `cluster`.

use super::{checker::Checker, scalars};
use crate::{
    config::{
        defaults,
        problem::Place,
        shape::{ClusterFile, CoordinatorFile},
        typed::{Field, Placed},
    },
    fit::{self, Proportion},
    lab::{Component, NamePattern, Role, Size},
};
use std::collections::BTreeMap;

/// A component whose good values are known with their places; defaults have none.
pub(super) struct Draft {
    pub name: Option<NamePattern>,
    pub name_place: Option<Place>,
    pub directory: Option<String>,
    pub directory_place: Option<Place>,
    pub port: Option<u16>,
    pub port_place: Option<Place>,
    pub pooler_port: Option<u16>,
    pub pooler_port_place: Option<Place>,
    pub parameters: Vec<(String, Placed<String>)>,
}

/// All five kinds.
pub(super) type Drafts = BTreeMap<Role, Draft>;

/// Parameters that pgxc-lab writes by itself, and where they come from.
const DERIVED: [(&str, &str); 8] = [
    ("gtm_host", "take it out, since components reach the GTM through the proxy of their own node"),
    ("gtm_port", "take it out, since components reach the GTM through the proxy of their own node"),
    ("pgxc_node_name", "write `name` beside `parameters` instead"),
    ("nodename", "write `name` beside `parameters` instead"),
    ("pooler_port", "write `pooler_port` beside `parameters` instead"),
    ("startup", "take it out, since it follows from the roles of the nodes"),
    ("active_host", "take it out, since it follows from the roles of the nodes"),
    ("active_port", "take it out, since it follows from the roles of the nodes"),
];

/// Checks all five kinds; `mount` is unknown when it is itself bad.
pub(super) fn components(check: &mut Checker, file: &ClusterFile, mount: Option<&str>) -> Drafts {
    let simple = |section: &Field<crate::config::shape::ComponentFile>| {
        let file = section.section();
        CoordinatorFile {
            name: file.name,
            directory: file.directory,
            port: file.port,
            pooler_port: Field::default(),
            parameters: file.parameters,
        }
    };
    [
        (Role::Gtm, simple(&file.gtm)),
        (Role::GtmStandby, simple(&file.gtm_standby)),
        (Role::GtmProxy, simple(&file.gtm_proxy)),
        (Role::Datanode, simple(&file.datanode)),
        (Role::Coordinator, file.coordinator.section()),
    ]
    .into_iter()
    .map(|(role, file)| (role, component(check, role, &file, mount)))
    .collect()
}

fn component(check: &mut Checker, role: Role, file: &CoordinatorFile, mount: Option<&str>) -> Draft {
    let default = defaults::component(role);
    let default_directory = format!("{}/{}", mount.unwrap_or(defaults::NFS_MOUNT), default.directory);
    let directory = check.value(&file.directory, &default_directory, scalars::absolute);
    if let (Some(directory), Some(mount)) = (&directory, mount)
        && !directory.strip_prefix(mount).is_some_and(|rest| rest.starts_with('/'))
    {
        let place = file.directory.place().unwrap_or(Place::START);
        let message =
            format!("data directory `{directory}` of {} is not below the NFS mount point `{mount}`", role.as_str());
        check.report(place, message, format!("write one such as `{mount}/{}`", default.directory));
    }
    let port = check.value(&file.port, default.port, scalars::number("a port", 1, 65535));
    let pooler_port = default
        .pooler_port
        .and_then(|default| check.value(&file.pooler_port, default, scalars::number("a port", 1, 65535)));
    let mut parameters = check.merged(&file.parameters, default.parameters, parameter);
    own_port(check, &mut parameters, role, port);
    Draft {
        name: check.parsed(&file.name, default.name),
        name_place: file.name.place(),
        directory,
        directory_place: file.directory.place(),
        port,
        port_place: file.port.place(),
        pooler_port,
        pooler_port_place: file.pooler_port.place(),
        parameters,
    }
}

/// The document's memory parameters are made for its guests of 8 GiB: where the file says nothing of its own, they
/// follow the memory of the smallest guest.
pub(super) fn follow_memory(components: &mut BTreeMap<Role, Draft>, smallest: Option<Size>) {
    let document = defaults::MEMORY.parse::<Size>().ok();
    let (Some(smallest), Some(document)) = (smallest, document) else { return };
    let proportion = Proportion::of_sizes(smallest, document);
    for (name, value) in components.values_mut().flat_map(|draft| &mut draft.parameters) {
        // A place of its own means that the file says it.
        if value.place == Place::START
            && let Some(smaller) = fit::smaller_parameter(name, &value.value, proportion)
        {
            value.value = smaller;
        }
    }
}

/// A parameter is refused when it is none, when it is derived, or when its value cannot stand in a line.
fn parameter(name: &str, value: &str) -> Result<(), String> {
    if let Some((_, hint)) = DERIVED.iter().find(|(derived, _)| *derived == name) {
        return Err(format!("parameter `{name}` is set by pgxc-lab: {hint}"));
    }
    let right = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c));
    if !right {
        return Err(format!("`{name}` is not a parameter: write a name such as `shared_buffers`"));
    }
    if value.contains(char::is_control) {
        return Err(format!("the value of `{name}` has several lines: write one"));
    }
    if value.len() > 1 && value.starts_with('\'') && value.ends_with('\'') {
        return Err(format!(
            "value `{value}` of `{name}` has quotes inside: write the value itself, since quotes are added where they are needed"
        ));
    }
    Ok(())
}

/// `port` may be repeated as a parameter, but not contradicted; it is written once.
fn own_port(check: &mut Checker, parameters: &mut Vec<(String, Placed<String>)>, role: Role, port: Option<u16>) {
    let Some(position) = parameters.iter().position(|(name, _)| name == "port") else { return };
    let (_, Placed { place, value }) = parameters.remove(position);
    if let Some(port) = port
        && value.parse() != Ok(port)
    {
        let message = format!("parameter `port` is `{value}`, but the port of {} is {port}", role.as_str());
        check.report(place, message, "write `port` only once, beside `parameters`");
    }
}

impl Draft {
    /// The finished component.
    pub fn finish(&self) -> Option<Component> {
        Some(Component {
            name: self.name.clone()?,
            directory: self.directory.clone()?,
            port: self.port?,
            pooler_port: self.pooler_port,
            parameters: self.parameters.iter().map(|(key, value)| (key.clone(), value.value.clone())).collect(),
        })
    }
}
