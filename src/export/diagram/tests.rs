use super::*;
use crate::engine::{PostgresFdw, PostgresXc, fixture::document};
use std::collections::BTreeSet;

/// Two nodes, the document's eight, and a hundred.
fn labs() -> Vec<Lab> {
    let document = document();
    let (mut two, mut many) = (document.clone(), document.clone());
    two.nodes = vec![document.nodes[0].clone(), document.nodes[2].clone()];
    for number in 0..92u8 {
        let mut node = document.nodes[2 + usize::from(number) % 6].clone();
        node.name = format!("{}-{number}", "a".repeat(usize::from(number % 60) + 1)).parse().expect("a name");
        node.address = [192, 168, 122, number + 2].into();
        if number % 5 == 0 {
            node.roles.clear();
        }
        many.nodes.push(node);
    }
    vec![two, document, many]
}

#[test]
fn of_the_document() {
    insta::assert_snapshot!(svg(&document(), &PostgresXc).expect("a drawing"));
}

#[test]
fn nodes_stand_apart_and_inside() {
    for lab in labs() {
        let layout = Layout::new(&lab, &PostgresXc, 0);
        let (right, bottom, width) = (MARGIN + layout.width - SPINE, layout.bottom, layout.card_width);
        let cards = layout.into_cards();
        assert_eq!(cards.len(), lab.nodes.len());
        for (place, card) in cards.iter().enumerate() {
            assert!(card.x >= MARGIN + SPINE && card.x + width <= right, "{}", card.title);
            assert!(card.y > FRAME_TOP && card.y + card.height < bottom, "{}", card.title);
            for chip in &card.chips {
                assert!(chip.x > card.x && chip.x + chip.width < card.x + width, "{}", card.title);
                assert!(chip.y > card.y && chip.y + layout::CHIP < card.y + card.height, "{}", card.title);
            }
            for other in &cards[..place] {
                let beside = card.x >= other.x + width || other.x >= card.x + width;
                let above = card.y >= other.y + other.height || other.y >= card.y + card.height;
                assert!(beside || above, "{} lies on {}", card.title, other.title);
            }
        }
    }
}

#[test]
fn plain_machines_have_no_clients() {
    let mut lab = document();
    for node in &mut lab.nodes {
        node.roles.clear();
    }
    let drawing = svg(&lab, &PostgresXc).expect("a drawing");
    assert_eq!(drawing.matches("class=\"card\"").count(), 8);
    assert!(!drawing.contains(">clients<") && !drawing.contains("Postgres-XC") && !drawing.contains("<path d="));
}

#[test]
fn everyone_who_talks_has_a_line() {
    for lab in labs() {
        let count = |role| lab.placed(role).len();
        let servers = count(Role::Coordinator) + count(Role::Datanode);
        let xc = Wires::new(&Layout::new(&lab, &PostgresXc, 0));
        let standby = xc.standby.iter().len();
        assert_eq!((xc.sql.len(), xc.gtm.len(), standby), (servers, count(Role::GtmProxy), count(Role::GtmStandby)));
        assert_eq!(xc.local.len(), servers);
        let different: BTreeSet<&String> = xc.sql.iter().chain(&xc.gtm).chain(&xc.local).collect();
        assert_eq!(different.len(), 2 * servers + count(Role::GtmProxy));
        let fdw = Wires::new(&Layout::new(&lab, &PostgresFdw, 0));
        assert_eq!((fdw.sql.len(), fdw.gtm.len(), fdw.local.len()), (servers, 0, 0), "nobody asks a GTM");
        assert!(fdw.standby.is_none());
    }
}

#[test]
fn an_idle_component_is_drawn_as_such() {
    let drawing = svg(&document(), &PostgresFdw).expect("a drawing");
    assert_eq!(drawing.matches("class=\"idle\"").count(), 8, "gtm, standby and six proxies");
    assert!(drawing.contains("gtm one at port 1921, idle") && !drawing.contains("the standby gets"), "{drawing}");
}
