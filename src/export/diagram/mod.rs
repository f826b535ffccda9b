//! A picture of the lab, as SVG: nodes, roles, ports, and who talks to whom.
//!
//! [`layout`] puts nodes into rows, [`wires`] leads lines between them, the template draws both. Lines never cross:
//! SQL comes down on the left and enters each row from above, the GTM's protocol leaves each row below and goes up on
//! the right, where the GTM stands.

mod layout;
mod wires;

use super::MARK;
use crate::{
    engine::Engine,
    error::{Class, Result, ResultExt},
    lab::{EngineKind, Lab, Role},
};
use askama::Template;
use layout::{Card, FRAME_TOP, Layout, MARGIN, SPINE};
use wires::Wires;

/// Distance of two lines of the legend.
const LINE: i32 = 24;
/// The smallest drawing that holds heading and legend.
const LEAST: i32 = 700;

#[derive(Template)]
#[template(path = "diagram.svg", escape = "html")]
struct Drawing<'a> {
    mark: &'static str,
    lab: &'a str,
    width: i32,
    height: i32,
    heading: String,
    description: String,
    network: String,
    frame: Rectangle,
    gateway: Rectangle,
    gateway_address: String,
    gateway_text: String,
    clients_text: String,
    card_width: i32,
    cards: Vec<Card>,
    wires: Wires,
    legend: Vec<Legend>,
}

struct Rectangle {
    x: i32,
    y: i32,
    width: i32,
    height: i32,
}

struct Legend {
    class: &'static str,
    y: i32,
    text: &'static str,
}

/// Draws the lab.
///
/// # Errors
/// None that a lab could cause; askama's type asks for it.
pub fn svg(lab: &Lab, engine: &dyn Engine) -> Result<String> {
    let layout = Layout::new(lab, engine, LEAST - 2 * MARGIN);
    let wires = Wires::new(&layout);
    let gateway = Rectangle { x: MARGIN + SPINE, y: layout.bottom, width: layout.width - 2 * SPINE, height: 40 };
    let frame =
        Rectangle { x: MARGIN, y: FRAME_TOP, width: layout.width, height: gateway.y + gateway.height + 20 - FRAME_TOP };
    let below = frame.y + frame.height + 30;
    let legend: Vec<Legend> = legend(engine, &wires)
        .into_iter()
        .zip(0..)
        .map(|((class, text), line)| Legend { class, y: below + line * LINE, text })
        .collect();
    let kind = match engine.kind() {
        EngineKind::PostgresXc => format!("Postgres-XC {}", lab.cluster.version),
        EngineKind::PostgresFdw => "PostgreSQL with postgres_fdw".to_owned(),
    };
    let nodes = match lab.nodes.len() {
        1 => "1 node".to_owned(),
        count => format!("{count} nodes"),
    };
    let drawing = Drawing {
        mark: MARK,
        lab: lab.name.as_str(),
        width: layout.width + 2 * MARGIN,
        height: legend.last().map_or(below, |line| line.y) + 22,
        // Plain machines have no engine.
        heading: if wires.sql.is_empty() { nodes } else { format!("{kind} · {nodes}") },
        description: description(lab, engine),
        network: format!("{} · {} · a network of the lab's own", lab.network.subnet, lab.network.domain),
        gateway_address: lab.network.gateway.to_string(),
        gateway_text: format!("this machine: NFS for {} · DHCP · DNS · time", lab.nfs.mount),
        clients_text: format!("SQL to any coordinator, port {}", lab.cluster.components[&Role::Coordinator].port),
        card_width: layout.card_width,
        cards: layout.into_cards(),
        frame,
        gateway,
        wires,
        legend,
    };
    drawing.render().or_error(Class::Internal, || "cannot draw the lab".into())
}

/// What the lines mean.
fn legend(engine: &dyn Engine, wires: &Wires) -> Vec<(&'static str, &'static str)> {
    let sql = match engine.kind() {
        EngineKind::PostgresXc => "clients reach every coordinator; coordinators reach each other and every datanode",
        EngineKind::PostgresFdw => {
            "clients reach every coordinator; coordinators reach datanodes by postgres_fdw, each other by dblink"
        }
    };
    let mut legend = Vec::new();
    if !wires.sql.is_empty() {
        legend.push(("sql", sql));
    }
    if !wires.gtm.is_empty() {
        legend
            .push(("gtm", "servers ask the GTM proxy of their node, proxies ask the GTM: transactions and snapshots"));
    }
    if wires.standby.is_some() {
        legend.push(("gtm dashed", "the standby gets every change of the GTM's state"));
    }
    legend
}

/// The whole picture in words, for those who do not see it.
fn description(lab: &Lab, engine: &dyn Engine) -> String {
    let mut text = format!("{} nodes in the network {}.", lab.nodes.len(), lab.network.subnet);
    for node in &lab.nodes {
        let components: Vec<String> = lab
            .components_of(node)
            .into_iter()
            .map(|placed| {
                let idle = if engine.runs(placed.role) { "" } else { ", idle" };
                format!("{} {} at port {}{idle}", placed.role.as_str(), placed.name, placed.component.port)
            })
            .collect();
        let components = if components.is_empty() { "nothing".to_owned() } else { components.join("; ") };
        text.push_str(&format!(" {} at {} runs {components}.", node.name, node.address));
    }
    text
}

#[cfg(test)]
mod tests;
