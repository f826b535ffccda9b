//! Every check of this catalogue, and clusters that are broken in the way that it looks for.

use crate::{
    lab::EngineKind,
    verify::recorded::{Break, hold},
};

#[rustfmt::skip]
const BREAKS: &[Break] = &[
    Break { id: "components", what: "a coordinator is down", place: "coordinate_1",
        alter: |seen| seen.set("serves/coordinate_1", 0, "no connection") },
    Break { id: "nodes", what: "a server leads elsewhere", place: "coordinate_2",
        alter: |seen| seen.set_of("nodes/coordinate_2", "datanode_1", 2, "dbname=postgres host=127.0.0.1 port=1923") },
    Break { id: "settings", what: "a datanode has another value", place: "datanode_2",
        alter: |seen| seen.set_of("datanode/datanode_2", "max_connections", 1, "5") },
    Break { id: "ddl", what: "a coordinator did not hear of it", place: "coordinate_2",
        alter: |seen| seen.set("class/coordinate_2", 0, "0") },
    Break { id: "spread", what: "a row was deleted on a datanode", place: "all datanodes",
        alter: |seen| { let rows = seen.number("rows/datanode_1").unwrap(); seen.set("rows/datanode_1", 0, &(rows - 1).to_string()); } },
    Break { id: "spread", what: "everything lies on one datanode", place: "datanode_2",
        alter: |seen| { seen.set("rows/datanode_1", 0, "600"); seen.set("rows/datanode_2", 0, "0"); } },
    Break { id: "spread", what: "a coordinator counts otherwise", place: "coordinate_2",
        alter: |seen| seen.set("total/coordinate_2", 0, "300") },
    Break { id: "plan-key", what: "all datanodes are asked", place: "key/1",
        alter: |seen| seen.gain("key/1", &["Foreign Scan on pgxc_lab_verify_spread_datanode_2"]) },
    Break { id: "visible", what: "one read came too early", place: "coordinate_1",
        alter: |seen| seen.set("read/1002/coordinate_1", 0, "0") },
    Break { id: "rollback", what: "rows stay on a datanode", place: "datanode_2",
        alter: |seen| seen.set("left/datanode_2", 0, "52") },
    Break { id: "snapshot", what: "a snapshot that moves", place: "again", alter: |seen| seen.set("sum/again", 0, "1000") },
    Break { id: "bank", what: "money is lost", place: "coordinate_2", alter: |seen| seen.set("sum/1/coordinate_2", 0, "1199") },
    Break { id: "unchanged", what: "a step would run", place: "the lab", alter: |seen| seen.gain("plan", &["db1/tune"]) },
];

#[test]
fn every_check_passes_what_is_right_and_sees_what_is_broken() {
    hold(EngineKind::PostgresFdw, include_str!("recorded.json"), BREAKS);
}
