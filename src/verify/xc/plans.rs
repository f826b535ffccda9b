//! Queries touch the nodes that they need, and no others.

use super::{coordinators, datanodes, everywhere, first, own, placement::OF_PLANS};
use crate::{
    engine::hash_placement,
    lab::{Lab, Primary, Role},
    verify::{
        check::{Check, Needs, Suite},
        judgement::{Finding, Findings, Judgement},
        script::Script,
        seen::Seen,
    },
};

/// Keys that are looked up: on six datanodes they lie on the third, the fifth and the second.
const KEYS: [i32; 3] = [1, 2, 3];

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "plan-key",
        proves: "a query for one key goes to the one datanode that has it",
        how: "EXPLAIN VERBOSE of a select by hash key",
        expected: "the whole query shipped (__REMOTE_FQS_QUERY__), and one name after `Node/s:`",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: OF_PLANS,
        script: |lab| {
            let explain = |k| {
                let sql = format!("explain (verbose, costs off) select * from {} where k = {k}", own("hash"));
                first(lab).sql(format!("key/{k}"), sql)
            };
            Script::default().in_turn(KEYS.map(explain))
        },
        judge: judge_key,
    },
    Check {
        id: "plan-read",
        proves: "a replicated table is read from the datanode beside the coordinator",
        how: "EXPLAIN VERBOSE of a select through every coordinator",
        expected: "one name after `Node/s:`, that of the datanode on the same host",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: OF_PLANS,
        script: |lab| {
            let sql = format!("explain (verbose, costs off) select * from {}", own("replicated"));
            Script::default().together(everywhere(lab, "read", &sql))
        },
        judge: judge_read,
    },
    Check {
        id: "plan-write",
        proves: "a replicated table is written on all datanodes, on the primary first where there is one",
        how: "EXPLAIN of an insert, with num_nodes",
        expected: "primary node count=1 and all other datanodes as node count; 0 and all with `primary: none`",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: OF_PLANS,
        script: |lab| {
            let insert = format!("insert into {} values (1)", own("replicated"));
            let sql = format!("explain (verbose, costs off, nodes off, num_nodes on) {insert}");
            Script::default().together(everywhere(lab, "write", &sql))
        },
        judge: judge_write,
    },
    Check {
        id: "plan-count",
        proves: "a count is computed on the datanodes, with and without shipping whole queries",
        how: "EXPLAIN and count(*) with enable_fast_query_shipping on and off",
        expected: "6000 both times; the counting is remote (__REMOTE_GROUP_QUERY__)",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: OF_PLANS,
        script: ask_count,
        judge: judge_count,
    },
];

const REMEDY: &str =
    "was enable_fast_query_shipping, enable_remotejoin or enable_remotegroup switched off? see `settings`";

/// The names after `Node/s:` in a plan.
fn nodes(plan: &str) -> String {
    let lines = plan.lines().filter_map(|line| line.trim().strip_prefix("Node/s:"));
    lines.map(str::trim).collect::<Vec<_>>().join("; ")
}

fn judge_key(lab: &Lab, seen: &Seen) -> Judgement {
    let datanodes = datanodes(lab);
    let mut findings = Findings::default();
    let mut saw = Vec::new();
    for k in KEYS {
        let plan = seen.get(&format!("key/{k}"))?.text();
        let expected = datanodes[hash_placement(k, datanodes.len())].name.as_str();
        let place = format!("plan for key {k}");
        findings.same(&place, format!("Node/s: {expected}"), format!("Node/s: {}", nodes(&plan)), REMEDY);
        shipped(&mut findings, &place, &plan, "__REMOTE_FQS_QUERY__");
        saw.push(expected);
    }
    findings.or(format!("keys 1, 2, 3 on {}", saw.join(", ")))
}

fn shipped(findings: &mut Findings, place: &str, plan: &str, name: &str) {
    if !plan.contains(name) {
        let scan = plan.lines().find(|line| line.contains("Scan")).unwrap_or("no scan").trim();
        findings.add(Finding::wrong(place, format!("a scan on {name}"), scan, REMEDY));
    }
}

fn judge_read(lab: &Lab, seen: &Seen) -> Judgement {
    let mut findings = Findings::default();
    for on in coordinators(lab) {
        let plan = seen.get(&format!("read/{}", on.name))?.text();
        let seen = nodes(&plan);
        match on.node.roles.get(&Role::Datanode) {
            Some(datanode) => findings.same(
                on.name.as_str(),
                datanode.as_str(),
                &seen,
                "nodeis_preferred is wrong: see the check `nodes`",
            ),
            None if datanodes(lab).iter().any(|datanode| datanode.name.as_str() == seen) => {}
            None => findings.add(Finding::wrong(on.name, "one datanode", seen, REMEDY)),
        }
    }
    findings.or(format!("one datanode each for {} coordinators", coordinators(lab).len()))
}

fn judge_write(lab: &Lab, seen: &Seen) -> Judgement {
    let primary = usize::from(lab.cluster.primary == Primary::First);
    let expected = format!("(primary node count={primary}, node count={})", datanodes(lab).len() - primary);
    let mut findings = Findings::default();
    for sight in seen.all("write/") {
        let plan = sight.text();
        if !plan.contains(&expected) {
            let first = plan.lines().next().unwrap_or("no plan");
            findings.add(Finding::wrong(&sight.at, &expected, first, "the primary is wrong: see the check `nodes`"));
        }
    }
    findings.or(expected.trim_matches(['(', ')']).to_owned())
}

/// In a session of its own, since SET would stay in the shared one.
fn ask_count(lab: &Lab) -> Script {
    let session = first(lab).apart(1);
    let count = format!("select count(*) from {}", own("hash"));
    let asks = ["on", "off"].into_iter().flat_map(|way| {
        [
            session.sql(format!("set/{way}"), format!("set enable_fast_query_shipping = {way}")),
            session.sql(format!("plan/{way}"), format!("explain (verbose, costs off) {count}")),
            session.sql(format!("count/{way}"), count.clone()),
        ]
    });
    Script::default().in_turn(asks)
}

fn judge_count(_: &Lab, seen: &Seen) -> Judgement {
    let mut findings = Findings::default();
    for way in ["on", "off"] {
        let place = format!("fast query shipping {way}");
        findings.same(&place, 6000, seen.number(&format!("count/{way}"))?, REMEDY);
        shipped(&mut findings, &place, &seen.get(&format!("plan/{way}"))?.text(), "__REMOTE_GROUP_QUERY__");
    }
    findings.or("6000 both times, counted on the datanodes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::fixture::smaller, verify::seen::Sight};

    #[test]
    fn without_a_primary_all_datanodes_are_written_alike() {
        let plan = |primary, others| {
            let line = format!("Data Node Scan (primary node count={primary}, node count={others}) on \"x\"");
            Seen(vec![Sight { key: "write/c".into(), at: "c".into(), rows: vec![vec![Some(line)]] }])
        };
        let mut lab = smaller(2);
        for (primary, seen) in [(Primary::First, plan(1, 1)), (Primary::None, plan(0, 2))] {
            lab.cluster.primary = primary;
            assert!(judge_write(&lab, &seen).is_ok(), "{primary:?}");
        }
        assert!(judge_write(&lab, &plan(1, 1)).is_err(), "a mark that lab.yaml does not want");
    }
}
