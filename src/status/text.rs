//! A status for a person: what matters in a few lines, then a row per component, as wide as there is room for.

use super::{ComponentStatus, GuestState, NodeStatus, Status};
use crate::{
    lab::{Failover, Role},
    ui::{Table, bytes},
};

/// How much a row tells. The widest that has room is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Detail {
    /// What a terminal of 80 columns has room for.
    Component,
    /// Also guest, clock and process.
    Guest,
    /// Also address and memory.
    Node,
}

/// A clock that is off by more than this many seconds is told of: chronyd slews what is less without anybody noticing.
const OFF: f64 = 0.01;

/// The lines of a status on a screen of this many columns; without a limit everything is told.
pub fn lines(status: &Status, width: Option<usize>) -> Vec<String> {
    let mut lines = summary(status);
    lines.extend(problems(status));
    let tables = [Detail::Node, Detail::Guest, Detail::Component].map(|detail| table(status, detail));
    let fits = |table: &Vec<String>| width.is_none_or(|width| table.iter().all(|line| line.chars().count() <= width));
    let widest = tables.iter().find(|table| fits(table)).or(tables.last());
    lines.extend(widest.into_iter().flatten().cloned());
    lines
}

fn summary(status: &Status) -> Vec<String> {
    let components = || status.nodes.iter().flat_map(|node| &node.components);
    let (all, serving) = (components().count(), components().filter(|component| component.serves).count());
    let serve = if all == serving {
        format!("all {all} components serve")
    } else {
        format!("{serving} of {all} components serve")
    };
    let mut lines = vec![format!("lab {}, engine {}, {}: {serve}", status.lab, status.engine, status.accelerator)];
    let gtms: Vec<String> = components().filter_map(gtm).collect();
    if !gtms.is_empty() {
        let since = match &status.failover {
            Some(Failover::Done { gtm }) => format!(" (on {gtm} since a failover)"),
            Some(Failover::Begun { .. }) | None => String::new(),
        };
        lines.push(format!("{}{since}", gtms.join(", ")));
    }
    let mut places = Vec::new();
    let offs = status.nodes.iter().filter_map(|node| node.clock).map(|clock| clock.off);
    if let Some(most) = offs.reduce(f64::max) {
        places.push(format!("clocks within {}", milliseconds(most)));
    }
    if let Some(space) = status.exports {
        places.push(format!("exports {} of {} used", bytes(space.size.saturating_sub(space.free)), bytes(space.size)));
    }
    if !places.is_empty() {
        lines.push(places.join(", "));
    }
    lines
}

fn gtm(component: &ComponentStatus) -> Option<String> {
    let gtm = component.gtm?;
    Some(match gtm.behind {
        Some(behind) => format!("standby {} is {behind} behind", component.name),
        None => format!("GTM {} at GXID {}", component.name, gtm.next_gxid),
    })
}

fn problems(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(Failover::Begun { gtm }) = &status.failover {
        lines.push(format!("! a failover of the GTM to {gtm} did not end: `pgxc-lab failover gtm` goes on with it"));
    }
    let fault = |fault: &String| format!("! broken on purpose: {fault}: `pgxc-lab fault mend` mends it");
    lines.extend(status.faults.iter().map(fault));
    for node in &status.nodes {
        lines.extend(problems_of(node));
    }
    lines
}

fn problems_of(node: &NodeStatus) -> Vec<String> {
    match node.domain {
        GuestState::Running => {}
        GuestState::Unknown => return vec![format!("! {}: libvirt does not tell how its guest is", node.node)],
        GuestState::Lost => {
            let host = node.host.as_deref().unwrap_or_default();
            return vec![format!("! {}: its host {host} does not answer", node.node)];
        }
        GuestState::Paused => {
            return vec![format!("! {}: its guest is paused: `pgxc-lab up` lets it go on", node.node)];
        }
        GuestState::Off | GuestState::Crashed | GuestState::Absent => {
            return vec![format!("! {}: its guest is {}: `pgxc-lab up` boots it", node.node, node.domain.as_str())];
        }
    }
    let mut lines = Vec::new();
    for component in &node.components {
        if !component.serves {
            lines.push(format!("! {} of {}: {}", component.name, node.node, component.detail));
        }
        if let Some(count) = component.database.map(|database| database.in_doubt).filter(|count| *count > 0) {
            lines.push(format!("! {} of {}: {count} prepared for more than a minute", component.name, node.node));
        }
    }
    match node.clock {
        Some(clock) if !clock.follows => lines.push(format!("! {}: its clock follows nobody", node.node)),
        Some(clock) if clock.off > OFF => {
            lines.push(format!("! {}: its clock is off by {}", node.node, milliseconds(clock.off)));
        }
        _ => {}
    }
    lines
}

fn table(status: &Status, detail: Detail) -> Vec<String> {
    let mut table = Table::new().left("NODE");
    if detail >= Detail::Node {
        table = table.left("ADDRESS").right("MEMORY");
    }
    let spread = status.nodes.iter().any(|node| node.host.is_some());
    if detail >= Detail::Guest && spread {
        table = table.left("HOST");
    }
    if detail >= Detail::Guest {
        table = table.left("GUEST").right("CLOCK");
    }
    table = table.left("COMPONENT").right("PORT").left("STATE");
    if detail >= Detail::Guest {
        table = table.right("PID");
    }
    table = table.right("CLIENTS").right("POOL").right("PREPARED").right("WAL");
    for node in &status.nodes {
        let mut first = vec![node.node.clone()];
        if detail >= Detail::Node {
            first.extend([node.address.clone(), node.memory.clone()]);
        }
        if detail >= Detail::Guest && spread {
            first.push(node.host.clone().unwrap_or_default());
        }
        if detail >= Detail::Guest {
            first.push(node.domain.as_str().to_owned());
            first.push(node.clock.map_or_else(String::new, |clock| milliseconds(clock.off)));
        }
        if node.components.is_empty() {
            table.row(first.clone());
        }
        for component in &node.components {
            let blank = vec![String::new(); first.len()];
            table.row(std::mem::replace(&mut first, blank).into_iter().chain(cells(component, detail)));
        }
    }
    table.to_string().lines().map(str::to_owned).collect()
}

fn cells(component: &ComponentStatus, detail: Detail) -> Vec<String> {
    // A proxy's name is a number.
    let name = match component.role {
        Role::GtmProxy => format!("proxy {}", component.name),
        Role::Gtm => format!("gtm {}", component.name),
        Role::GtmStandby => format!("standby {}", component.name),
        Role::Datanode | Role::Coordinator => component.name.clone(),
    };
    let state = if component.serves { "serves" } else { "DOWN" };
    let mut cells = vec![name, component.port.to_string(), state.to_owned()];
    if detail >= Detail::Guest {
        cells.push(component.pid.map_or_else(String::new, |pid| pid.to_string()));
    }
    let told = component.database.map(|database| {
        let pool = format!("{}/{}", database.pooled_busy, database.pooled);
        [database.clients.to_string(), pool, database.prepared.to_string()]
    });
    cells.extend(told.unwrap_or_default());
    cells.push(component.wal.map_or_else(String::new, short));
    cells
}

/// A size in a short cell: `48M`.
fn short(size: u64) -> String {
    match size >> 20 {
        mib @ 0..10_000 => format!("{mib}M"),
        mib => format!("{}G", mib >> 10),
    }
}

fn milliseconds(seconds: f64) -> String {
    let milliseconds = seconds * 1000.0;
    match milliseconds {
        ..1.0 => format!("{:.0}µs", milliseconds * 1000.0),
        ..1000.0 => format!("{milliseconds:.0}ms"),
        _ => format!("{seconds:.1}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::two, *};

    #[test]
    fn eighty_columns_have_room() {
        let text = lines(&two(), Some(80)).join("\n");
        assert_eq!(
            text,
            "\
lab two, engine postgres-xc, tcg: all 5 components serve
GTM one at GXID 10313, standby two is 1 behind
clocks within 200µs, exports 1.0 GiB of 64.0 GiB used
NODE                COMPONENT     PORT  STATE   CLIENTS  POOL  PREPARED  WAL
db-192-168-122-171  gtm one       1921  serves
                    standby two   1925  serves
db-192-168-122-173  proxy 1       1924  serves
                    datanode_1    1923  serves        2  5/10         0  48M
                    coordinate_1  1921  serves        2   0/0         0  16M"
        );
    }

    #[test]
    fn more_room_tells_more() {
        let widest = |width| {
            let lines = lines(&two(), width);
            lines.iter().find(|line| line.starts_with("NODE ")).cloned().unwrap_or_default()
        };
        assert!(!widest(Some(80)).contains("CLOCK"));
        assert!(widest(Some(110)).contains("CLOCK") && !widest(Some(110)).contains("ADDRESS"));
        assert!(widest(None).contains("ADDRESS"));
        assert!(lines(&two(), Some(110)).iter().all(|line| line.chars().count() <= 110));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let mut status = two();
        status.nodes[0].domain = GuestState::Off;
        let datanode = &mut status.nodes[1].components[1];
        (datanode.serves, datanode.detail) = (false, "no session".into());
        status.nodes[1].clock = Some(super::super::Clock { off: 2.5, follows: true });
        let lines = lines(&status, Some(80));
        for part in [
            "lab two, engine postgres-xc, tcg: 4 of 5 components serve",
            "! db-192-168-122-171: its guest is off: `pgxc-lab up` boots it",
            "! datanode_1 of db-192-168-122-173: no session",
            "! db-192-168-122-173: its clock is off by 2.5s",
        ] {
            assert!(lines.iter().any(|line| line == part), "{part} is missing in {lines:#?}");
        }
    }
}
