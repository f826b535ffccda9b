//! Lines between components, as SVG paths. Lines of a kind lie on each other as far as they go the same way.

use super::layout::{CHIP, CLIENTS, Card, Layout, MARGIN, RAIL, SPINE};
use crate::lab::Role;

/// Radius of a turn.
const TURN: i32 = 8;
/// Distance of the lines that come down from the card that they lead to.
const BESIDE: i32 = 18;
/// Room for the point of an arrow.
const POINT: i32 = 7;

/// All lines.
pub(super) struct Wires {
    /// From the clients to coordinators, from those to datanodes.
    pub sql: Vec<String>,
    /// From proxies to the GTM.
    pub gtm: Vec<String>,
    /// From servers to the proxy of their node.
    pub local: Vec<String>,
    /// From the GTM to its standby.
    pub standby: Option<Standby>,
}

/// The line to the standby and the place of its label.
pub(super) struct Standby {
    pub path: String,
    pub x: i32,
    pub y: i32,
}

impl Wires {
    /// Leads the lines.
    pub fn new(layout: &Layout) -> Wires {
        let (left, right) = (MARGIN + SPINE / 2, MARGIN + layout.width - SPINE / 2);
        let cards = || layout.rows.iter().flat_map(|row| &row.cards);
        let main = cards().find_map(|card| card.running(Role::Gtm));
        let mut wires = Wires { sql: Vec::new(), gtm: Vec::new(), local: Vec::new(), standby: None };
        for row in &layout.rows {
            let (above, below) = (row.top - RAIL, row.top + row.height + RAIL);
            for card in &row.cards {
                for server in card.servers() {
                    let down = card.x - BESIDE;
                    // A turn so near the first one would be a kink.
                    let down = if down - left < 3 * TURN { left } else { down };
                    let mut corners = vec![(left, CLIENTS + CHIP)];
                    if down != left {
                        corners.extend([(left, above), (down, above)]);
                    }
                    corners.extend([(down, middle(server.y)), (server.x - POINT, middle(server.y))]);
                    wires.sql.push(path(&corners));
                }
                if let (Some(proxy), Some(main)) = (card.running(Role::GtmProxy), main) {
                    let out = proxy.x + proxy.width - 26;
                    let corners = [
                        (out, proxy.y + CHIP),
                        (out, below),
                        (right, below),
                        (right, middle(main.y)),
                        (main.x + main.width + POINT, middle(main.y)),
                    ];
                    wires.gtm.push(path(&corners));
                    wires.local.extend(local(card));
                }
            }
        }
        if let (Some(main), Some(second)) = (main, cards().find_map(|card| card.running(Role::GtmStandby))) {
            let (from, to, y) = (main.x, second.x + second.width + POINT, middle(main.y));
            wires.standby =
                Some(Standby { path: path(&[(from, y), (to, y)]), x: (from - 12 + to - POINT + 24) / 2, y: y - 9 });
        }
        wires
    }
}

/// Lines at the right edge of a card.
fn local(card: &Card) -> Vec<String> {
    let Some(proxy) = card.running(Role::GtmProxy) else { return Vec::new() };
    let (from, to) = (proxy.x + proxy.width, middle(proxy.y));
    let edge = from + POINT + TURN + 2;
    card.servers()
        .map(|server| path(&[(from, middle(server.y)), (edge, middle(server.y)), (edge, to), (from + POINT, to)]))
        .collect()
}

fn middle(top: i32) -> i32 {
    top + CHIP / 2
}

/// A path through these corners, all of them right angles, with round turns.
fn path(corners: &[(i32, i32)]) -> String {
    let mut text = String::new();
    for (place, &(x, y)) in corners.iter().enumerate() {
        match (place, corners.get(place + 1)) {
            (0, _) => text.push_str(&format!("M{x} {y}")),
            (_, None) => text.push_str(&format!("L{x} {y}")),
            (_, Some(&next)) => {
                let (from, to) = (towards((x, y), corners[place - 1]), towards((x, y), next));
                text.push_str(&format!("L{} {}Q{x} {y} {} {}", from.0, from.1, to.0, to.1));
            }
        }
    }
    text
}

/// The place where a turn at `corner` touches the line to `other`.
fn towards(corner: (i32, i32), other: (i32, i32)) -> (i32, i32) {
    let step = |from: i32, to: i32| from + (to - from).clamp(-TURN, TURN);
    (step(corner.0, other.0), step(corner.1, other.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_round() {
        assert_eq!(path(&[(0, 0), (0, 50)]), "M0 0L0 50");
        assert_eq!(path(&[(0, 0), (0, 50), (90, 50)]), "M0 0L0 42Q0 50 8 50L90 50");
        assert_eq!(path(&[(0, 0), (5, 0), (5, 50)]), "M0 0L0 0Q5 0 5 8L5 50", "a short line gives what it has");
    }
}
