//! The reference lab.yaml as it is: the document's eight nodes, Postgres-XC (or its stand-in), the golden rows.

use super::bench::{Bench, Source, assert_no_leftovers, status as told};

/// The document's twelve node_ids (spec 1.13).
const GOLDEN_IDS: [(&str, &str); 12] = [
    ("coordinate_1", "-922782310"),
    ("coordinate_2", "1027955327"),
    ("coordinate_3", "183504851"),
    ("coordinate_4", "-1338651536"),
    ("coordinate_5", "2058409530"),
    ("coordinate_6", "15814306"),
    ("datanode_1", "-675012441"),
    ("datanode_2", "-1047623914"),
    ("datanode_3", "1787525382"),
    ("datanode_4", "-83063638"),
    ("datanode_5", "137889650"),
    ("datanode_6", "-678318491"),
];

#[test]
fn the_documents_lab_comes_up_proved_and_goes_without_a_trace() {
    let bench = Bench::new(include_str!("../../lab.yaml"), Source::XcOrStandin);
    let up = bench.run(&["up", "--json"]).succeeded();
    let proof = up.stdout.lines().filter(|line| line.contains("proved:")).collect::<String>();
    // Rows 1..6000 of a table distributed by hash over six datanodes (spec 4.0).
    let counts = ["1001", "1005", "1056", "942", "997", "999"];
    for (number, count) in counts.iter().enumerate() {
        assert!(proof.contains(&format!("datanode_{} {count}", number + 1)), "{proof}");
    }
    for coordinator in 173..=178 {
        let node = format!("db-192-168-122-{coordinator}");
        let sql = "select node_name, node_id from pgxc_node order by node_name";
        let rows = bench.run(&["sql", "--json", "--on", &node, "-c", sql]).succeeded().json();
        let rows: Vec<(String, String)> = rows[0]["rows"]
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| (row[0].as_str().unwrap_or_default().to_owned(), row[1].as_str().unwrap_or_default().to_owned()))
            .collect();
        let golden: Vec<(String, String)> =
            GOLDEN_IDS.iter().map(|(name, id)| ((*name).to_owned(), (*id).to_owned())).collect();
        assert_eq!(rows, golden, "on {node}");
    }
    let status = bench.run(&["status", "--json"]).succeeded().json();
    let status = told(status);
    assert!(status.healthy && status.nodes.len() == 8);
    assert!(status.nodes.iter().all(|node| node.clock.is_some_and(|clock| clock.follows)), "{status:?}");
    let components: Vec<_> = status.nodes.iter().flat_map(|node| &node.components).collect();
    assert!(components.iter().all(|component| component.pid.is_some()), "{status:?}");
    let databases = components.iter().filter(|component| component.database.is_some());
    assert_eq!(databases.count(), 12, "{status:?}");
    assert!(components[1].gtm.and_then(|standby| standby.behind).is_some_and(|behind| behind < 100), "{status:?}");
    let again = bench.run(&["up"]).succeeded();
    assert!(again.stderr.contains("nothing changed"), "{}", again.stderr);

    bench.run(&["sql", "-c", "create table kept (k int) distribute by hash (k)"]).succeeded();
    bench.run(&["sql", "-c", "insert into kept select generate_series(1, 60)"]).succeeded();
    bench.run(&["snapshot", "create", "kept"]).succeeded();
    let shown = bench.run(&["snapshot", "show", "kept", "--json"]).succeeded().json();
    let gxid = shown["gxid"].as_u64().expect("the GTM tells its next GXID");
    assert!((10_000..1_000_000).contains(&gxid), "{gxid}");
    bench.run(&["sql", "-c", "drop table kept"]).succeeded();
    bench.run(&["restore", "kept", "--yes"]).succeeded();
    for coordinator in 173..=178 {
        let node = format!("db-192-168-122-{coordinator}");
        let rows = bench.run(&["sql", "--json", "--on", &node, "-c", "select count(*) from kept"]).succeeded().json();
        assert_eq!(rows[0]["rows"][0][0], "60", "through {node}");
    }
    bench.run(&["status"]).succeeded();
    let again = bench.run(&["up"]).succeeded();
    assert!(again.stderr.contains("nothing changed"), "{}", again.stderr);

    bench.run(&["destroy", "--yes"]).succeeded();
    assert_no_leftovers(&bench.lab_directory("pgxc"));
}
