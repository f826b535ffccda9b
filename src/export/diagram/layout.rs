//! Where the nodes stand. All lengths are pixels.

use crate::{
    engine::Engine,
    lab::{Lab, Node, Role},
};

/// Space around the drawing.
pub(super) const MARGIN: i32 = 28;
/// Upper edge of the clients.
pub(super) const CLIENTS: i32 = 84;
/// Upper edge of the frame: above it are heading and clients.
pub(super) const FRAME_TOP: i32 = 132;
/// Room for a vertical line on either side of the frame.
pub(super) const SPINE: i32 = 56;
/// Distance of a row from the line above or below it.
pub(super) const RAIL: i32 = 22;
/// Distance of two cards side by side: a line comes down between them.
const GAP: i32 = 44;
/// Distance of two cards above each other: a line leaves the upper and one enters the lower.
const ROW_GAP: i32 = 3 * RAIL;
/// Distance of the GTM from its standby.
const FOLLOW_GAP: i32 = 104;
/// Height of a card's head: name and address.
const HEAD: i32 = 54;
/// Space below the last chip.
const FOOT: i32 = 12;
/// Height of a chip and its distance from the next.
pub(super) const CHIP: i32 = 28;
const CHIP_STEP: i32 = 34;
/// Space left of chips, and right of them, where a line goes from the servers to their proxy.
const LEFT: i32 = 12;
const RIGHT: i32 = 28;
/// Where a component's name begins in its chip.
pub(super) const NAME: i32 = 106;
/// Longer names lose their middle; the whole one is the tooltip.
const LONGEST: usize = 26;
/// Width of a letter of the fixed fonts of 13 and 11.5 pixels, a little more than it is.
const WIDE: i32 = 8;
const NARROW: i32 = 7;
/// Width to height that a drawing of many nodes should have.
const ASPECT: f64 = 1.6;

/// Rows of cards.
pub(super) struct Layout {
    /// Width of the frame.
    pub width: i32,
    /// Where the gateway's bar begins.
    pub bottom: i32,
    /// Width of every card.
    pub card_width: i32,
    /// The first row has the GTM, at its right end, and the standby, where there are any.
    pub rows: Vec<Row>,
}

/// Cards of the same height side by side.
pub(super) struct Row {
    pub top: i32,
    pub height: i32,
    pub cards: Vec<Card>,
}

/// A node.
pub(super) struct Card {
    pub x: i32,
    pub y: i32,
    pub height: i32,
    /// As it is shown.
    pub name: String,
    /// Whole.
    pub title: String,
    pub address: String,
    pub export: String,
    pub chips: Vec<Chip>,
}

/// A component.
pub(super) struct Chip {
    pub role: Role,
    pub class: &'static str,
    pub label: &'static str,
    pub name: String,
    pub port: String,
    pub x: i32,
    pub y: i32,
    pub width: i32,
    /// Whether the engine runs it.
    pub runs: bool,
}

impl Layout {
    /// Puts the lab's nodes into rows of a frame that is `least` wide or more.
    pub fn new(lab: &Lab, engine: &dyn Engine, least: i32) -> Layout {
        let (mut first, mut rest): (Vec<&Node>, Vec<&Node>) =
            lab.nodes.iter().partition(|node| rank(node) <= Rank::Standby);
        first.sort_by_key(|node| std::cmp::Reverse(rank(node)));
        rest.sort_by_key(|node| rank(node));
        let cards = |nodes: Vec<&Node>| nodes.into_iter().map(|node| Card::new(lab, engine, node)).collect::<Vec<_>>();
        let (first, mut rest) = (cards(first), cards(rest));
        let card_width = first.iter().chain(&rest).map(Card::width).max().unwrap_or_default();
        let tallest = rest.iter().map(|card| card.height).max().unwrap_or_default();
        let columns = columns(rest.len(), card_width + GAP, tallest + ROW_GAP);
        let mut rows = Vec::new();
        let leading = across(first.len(), card_width, FOLLOW_GAP);
        if !first.is_empty() {
            rows.push((first, FOLLOW_GAP));
        }
        while !rest.is_empty() {
            let after = rest.split_off(columns.min(rest.len()));
            rows.push((std::mem::replace(&mut rest, after), GAP));
        }
        let grid = across(columns, card_width, GAP);
        let inner = grid.max(leading).max(least - 2 * SPINE);
        let mut layout =
            Layout { width: inner + 2 * SPINE, bottom: 0, card_width, rows: Vec::with_capacity(rows.len()) };
        let serves = rows.first().is_some_and(|(cards, _)| cards.iter().any(Card::serves));
        let mut top = FRAME_TOP + 48 + if serves { RAIL } else { 0 };
        for (cards, gap) in rows {
            let start = if gap == FOLLOW_GAP { inner - leading } else { (inner - grid) / 2 };
            let row = Row::new(cards, MARGIN + SPINE + start, top, card_width, gap);
            layout.bottom = row.top + row.height + 2 * RAIL;
            top = row.top + row.height + ROW_GAP;
            layout.rows.push(row);
        }
        layout
    }

    /// All cards.
    pub fn into_cards(self) -> Vec<Card> {
        self.rows.into_iter().flat_map(|row| row.cards).collect()
    }
}

impl Row {
    fn new(mut cards: Vec<Card>, left: i32, top: i32, width: i32, gap: i32) -> Row {
        let height = cards.iter().map(|card| card.height).max().unwrap_or_default();
        for (card, place) in cards.iter_mut().zip(0..) {
            (card.x, card.y, card.height) = (left + place * (width + gap), top, height);
            for (chip, line) in card.chips.iter_mut().zip(0..) {
                (chip.x, chip.y, chip.width) = (card.x + LEFT, top + HEAD + line * CHIP_STEP, width - LEFT - RIGHT);
            }
        }
        Row { top, height, cards }
    }
}

impl Card {
    /// A node's card, which has its place yet to come.
    fn new(lab: &Lab, engine: &dyn Engine, node: &Node) -> Card {
        let mut placed = lab.components_of(node);
        placed.sort_by_key(|placed| line(placed.role));
        let chips: Vec<Chip> = placed
            .into_iter()
            .map(|placed| {
                let runs = engine.runs(placed.role);
                let (class, label) = look(placed.role);
                Chip {
                    role: placed.role,
                    class: if runs { class } else { "idle" },
                    label,
                    name: fitted(placed.name.as_str()),
                    port: if runs { format!(":{}", placed.component.port) } else { "idle".to_owned() },
                    x: 0,
                    y: 0,
                    width: 0,
                    runs,
                }
            })
            .collect();
        let lines = i32::try_from(chips.len()).unwrap_or(i32::MAX).max(1);
        Card {
            x: 0,
            y: 0,
            height: HEAD + lines * CHIP_STEP - (CHIP_STEP - CHIP) + FOOT,
            name: fitted(node.name.as_str()),
            title: node.name.to_string(),
            address: node.address.to_string(),
            export: fitted(&node.export),
            chips,
        }
    }

    /// What it needs.
    fn width(&self) -> i32 {
        let chars = |text: &str| i32::try_from(text.chars().count()).unwrap_or(i32::MAX);
        let chips = self.chips.iter().map(|chip| NAME + NARROW * (chars(&chip.name) + chars(&chip.port)) + 20);
        let head = [WIDE * chars(&self.name), NARROW * (chars(&self.address) + chars(&self.export) + 2)];
        chips.chain(head).max().unwrap_or_default() + LEFT + RIGHT
    }

    /// A component of this node that runs.
    pub fn running(&self, role: Role) -> Option<&Chip> {
        self.chips.iter().find(|chip| chip.role == role && chip.runs)
    }

    /// Its components that take SQL.
    pub fn servers(&self) -> impl Iterator<Item = &Chip> {
        [Role::Coordinator, Role::Datanode].into_iter().filter_map(|role| self.running(role))
    }

    fn serves(&self) -> bool {
        self.servers().next().is_some()
    }
}

/// Which row a node belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Gtm,
    Standby,
    Data,
    Plain,
}

fn rank(node: &Node) -> Rank {
    match node.roles.keys().next() {
        Some(Role::Gtm) => Rank::Gtm,
        Some(Role::GtmStandby) => Rank::Standby,
        Some(_) => Rank::Data,
        None => Rank::Plain,
    }
}

/// Place of a component in its card: what clients see first, the proxy, which others of the card lead to, last.
fn line(role: Role) -> u8 {
    match role {
        Role::Gtm | Role::GtmStandby => 0,
        Role::Coordinator => 1,
        Role::Datanode => 2,
        Role::GtmProxy => 3,
    }
}

fn look(role: Role) -> (&'static str, &'static str) {
    match role {
        Role::Gtm => ("main", "GTM"),
        Role::GtmStandby => ("second", "GTM standby"),
        Role::GtmProxy => ("proxy", "GTM proxy"),
        Role::Datanode => ("datanode", "datanode"),
        Role::Coordinator => ("coordinator", "coordinator"),
    }
}

/// Width of so many cards.
fn across(count: usize, width: i32, gap: i32) -> i32 {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    (count * (width + gap) - gap).max(0)
}

/// How many cards stand side by side, with rows that are about equally full.
fn columns(count: usize, width: i32, height: i32) -> usize {
    let ideal = (count as f64 * ASPECT * f64::from(height) / f64::from(width.max(1))).sqrt().round() as usize;
    let rows = count.div_ceil(ideal.max(1)).max(1);
    count.div_ceil(rows)
}

/// A name without its middle, when it is too long: names differ at their ends.
fn fitted(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= LONGEST {
        return text.to_owned();
    }
    let half = (LONGEST - 1) / 2;
    let (head, tail) = (&letters[..half], &letters[letters.len() - half..]);
    head.iter().chain(['…'].iter()).chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_about_equally_full() {
        for (count, expected) in [(0, 0), (1, 1), (2, 2), (3, 2), (4, 2), (6, 3), (7, 3), (10, 3), (38, 7)] {
            assert_eq!(columns(count, 320, 230), expected, "{count}");
        }
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(fitted("db-192-168-122-171"), "db-192-168-122-171");
        let long = fitted(&format!("{}-1", "a".repeat(61)));
        assert_eq!((long.chars().count(), long.ends_with("aa-1")), (25, true), "{long}");
    }
}
