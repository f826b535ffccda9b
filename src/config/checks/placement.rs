//! Which component runs where: the rules between nodes and components.

use super::{checker::Checker, components, nodes};
use crate::{
    config::problem::Place,
    lab::{Identifier, Role},
};
use std::collections::{BTreeMap, BTreeSet};

/// Nodes and components together.
pub(super) struct Placement<'a> {
    pub nodes: &'a [nodes::Draft],
    pub components: &'a components::Drafts,
}

/// Postgres-XC's own values of max_coordinators and max_datanodes.
const XC_LIMIT: usize = 16;

impl Placement<'_> {
    /// Checks all rules; `at` is the place of the list of nodes.
    pub fn check(&self, check: &mut Checker, at: Place, xc: bool) {
        self.counts(check, at);
        self.proxies(check);
        self.clashes(check);
        if xc {
            self.limit(check, Role::Coordinator, "max_coordinators");
            self.limit(check, Role::Datanode, "max_datanodes");
        }
    }

    fn with(&self, role: Role) -> Vec<(&nodes::Draft, Place)> {
        self.nodes.iter().filter_map(|node| Some((node, *node.roles.get(&role)?))).collect()
    }

    /// One GTM, at most one standby and elsewhere, at least one datanode and coordinator; or no cluster at all.
    fn counts(&self, check: &mut Checker, at: Place) {
        for role in [Role::Gtm, Role::GtmStandby] {
            let all = self.with(role);
            if let Some(((first, _), others)) = all.split_first() {
                for (node, place) in others {
                    let message =
                        format!("`{}` is a role of `{}` and of `{}`", role.as_str(), first.title(), node.title());
                    check.report(*place, message, "a cluster has only one: take it from all nodes but one");
                }
            }
        }
        for (node, place) in self.with(Role::GtmStandby) {
            if node.roles.contains_key(&Role::Gtm) {
                let message =
                    format!("`gtm_standby` is on `{}`, the node of the `gtm` that it stands in for", node.title());
                check.report(place, message, "move it to another node, or take it out");
            }
        }
        // `roles: []` everywhere is meant: a lab of plain VMs, without a cluster.
        if self.nodes.iter().all(|node| node.plain) {
            return;
        }
        // A misspelt role is not reported a second time as a missing one.
        if self.nodes.is_empty() || !self.nodes.iter().all(|node| node.all_roles_known) {
            return;
        }
        for role in [Role::Gtm, Role::Datanode, Role::Coordinator] {
            if self.with(role).is_empty() {
                let role = role.as_str();
                check.report(
                    at,
                    format!("no node has the role `{role}`"),
                    format!("add `{role}` to the roles of a node"),
                );
            }
        }
    }

    /// Components reach the GTM at 127.0.0.1: through the proxy of their own node.
    fn proxies(&self, check: &mut Checker) {
        for node in self.nodes.iter().filter(|node| node.all_roles_known && !node.roles.contains_key(&Role::GtmProxy)) {
            let lonely =
                [Role::Datanode, Role::Coordinator].into_iter().find_map(|role| Some((role, *node.roles.get(&role)?)));
            if let Some((role, place)) = lonely {
                let message = format!("`{}` of `{}` has no `gtm_proxy` on its node", role.as_str(), node.title());
                check.report(
                    place,
                    message,
                    "add `gtm_proxy` to the node's roles: components reach the GTM through it",
                );
            }
        }
    }

    /// Ports and directories that two components of one node share; each pair of kinds is reported once.
    fn clashes(&self, check: &mut Checker) {
        let mut told = BTreeSet::new();
        for node in self.nodes {
            let ports: Vec<_> = node.roles.iter().flat_map(|(role, place)| self.ports(*role, *place)).collect();
            for (position, (owner, port, place)) in ports.iter().enumerate() {
                for (first, _, _) in ports[..position].iter().filter(|(_, other, _)| other == port) {
                    if is_standby_beside_gtm(first, owner) || !told.insert((first.clone(), owner.clone())) {
                        continue;
                    }
                    let message = format!("port `{port}` is {owner}'s and {first}'s on `{}`", node.title());
                    check.report(*place, message, "give one of them another port");
                }
            }
            let directories: Vec<_> =
                node.roles.iter().filter_map(|(role, place)| self.directory(*role, *place)).collect();
            for (position, (owner, directory, place)) in directories.iter().enumerate() {
                for (first, other, _) in
                    directories[..position].iter().filter(|(_, other, _)| overlap(directory, other))
                {
                    let pair = (format!("directory {first}"), owner.clone());
                    if is_standby_beside_gtm(first, owner) || !told.insert(pair) {
                        continue;
                    }
                    let message = format!(
                        "data directory `{directory}` of {owner} overlaps `{other}` of {first} on `{}`",
                        node.title()
                    );
                    check.report(*place, message, "give each component a directory of its own, not inside another's");
                }
            }
        }
    }

    /// Owner, port and place of what listens; a default stands at the node's role.
    fn ports(&self, role: Role, at: Place) -> Vec<(String, u16, Place)> {
        let Some(draft) = self.components.get(&role) else { return Vec::new() };
        let name = role.as_str();
        let port = draft.port.map(|port| (name.to_owned(), port, draft.port_place.unwrap_or(at)));
        let pooler =
            draft.pooler_port.map(|port| (format!("{name} pooler"), port, draft.pooler_port_place.unwrap_or(at)));
        port.into_iter().chain(pooler).collect()
    }

    fn directory(&self, role: Role, at: Place) -> Option<(String, &str, Place)> {
        let draft = self.components.get(&role)?;
        Some((role.as_str().to_owned(), draft.directory.as_deref()?, draft.directory_place.unwrap_or(at)))
    }

    /// Coordinators refuse more nodes than their parameters say.
    fn limit(&self, check: &mut Checker, role: Role, parameter: &str) {
        let parameters =
            self.components.get(&Role::Coordinator).map(|draft| draft.parameters.as_slice()).unwrap_or_default();
        let written = parameters.iter().find(|(name, _)| name == parameter).map(|(_, value)| value);
        let limit = match written {
            Some(value) => match value.value.parse() {
                Ok(limit) => limit,
                Err(_) => {
                    let message = format!("`{}` is not a value of `{parameter}`", value.value);
                    return check.report(value.place, message, "write a whole number");
                }
            },
            None => XC_LIMIT,
        };
        let nodes = self.with(role);
        if let Some((_, place)) = nodes.get(limit) {
            let place = written.map(|value| value.place).filter(|place| *place != Place::START).unwrap_or(*place);
            let (role, count) = (role.as_str(), nodes.len());
            let message = format!("{count} nodes have the role `{role}`, but `{parameter}` is `{limit}`");
            check.report(place, message, format!("set `{parameter}: {count}` in `parameters` of `coordinator`"));
        }
    }
}

/// Reported by its own rule already.
fn is_standby_beside_gtm(first: &str, second: &str) -> bool {
    (first, second) == ("gtm", "gtm_standby")
}

fn overlap(left: &str, right: &str) -> bool {
    let inside = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    inside(left, right) || inside(right, left)
}

/// The roles of each node with the components' names; names that are no names or not unique are reported.
pub(super) fn names(
    check: &mut Checker,
    nodes: &[nodes::Draft],
    components: &components::Drafts,
) -> Vec<BTreeMap<Role, Identifier>> {
    let mut named: Vec<BTreeMap<Role, Identifier>> = vec![BTreeMap::new(); nodes.len()];
    // The GTM knows its proxies, and coordinators know all other nodes, by name: one namespace each.
    for space in [&[Role::Gtm, Role::GtmStandby][..], &[Role::GtmProxy], &[Role::Datanode, Role::Coordinator]] {
        let mut taken: BTreeMap<Identifier, Role> = BTreeMap::new();
        for role in space {
            let Some(draft) = components.get(role) else { continue };
            let Some(pattern) = &draft.name else { continue };
            let mut told = false;
            let mine: Vec<_> =
                nodes.iter().enumerate().filter_map(|(index, node)| Some((index, *node.roles.get(role)?))).collect();
            if *role == Role::Datanode && mine.len() > 9 && pattern.as_str().contains("{n}") {
                let place = draft.name_place.unwrap_or(mine[9].1);
                let message = format!("`{pattern}` names {} datanodes out of order: `10` sorts before `2`", mine.len());
                let better = pattern.as_str().replace("{n}", "{nn}");
                check.report(
                    place,
                    message,
                    format!("write `{better}`: Postgres-XC numbers datanodes by the order of their names"),
                );
            }
            for (number, (index, at)) in mine.into_iter().enumerate() {
                let place = draft.name_place.unwrap_or(at);
                match pattern.name(number + 1) {
                    Ok(name) => {
                        // Two GTMs are reported as such, not for their names.
                        let counted = |owner: &Role| owner == role && matches!(role, Role::Gtm | Role::GtmStandby);
                        let owner = taken.insert(name.clone(), *role).filter(|owner| !told && !counted(owner));
                        if let Some(owner) = owner {
                            told = true;
                            let (role, owner) = (role.as_str(), owner.as_str());
                            let owners =
                                if role == owner { format!("two of {role}") } else { format!("{owner} and {role}") };
                            check.report(
                                place,
                                format!("`{name}` would be the name of {owners}"),
                                "write a name of its own, with `{n}` for the number",
                            );
                        }
                        named[index].insert(*role, name);
                    }
                    Err(error) if !told => {
                        told = true;
                        check.refuse(place, &error);
                    }
                    Err(_) => {}
                }
            }
        }
    }
    named
}
