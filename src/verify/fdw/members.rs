//! Who belongs to the cluster, and whether all agree on it.

use super::{coordinators, datanodes, each};
use crate::{
    engine::{Engine, PostgresFdw},
    lab::{Lab, Placed, Role},
    verify::{
        check::{Check, Needs, Suite},
        judgement::{Finding, Findings, Judgement},
        likeness,
        script::{Act, Script, Session},
        seen::Seen,
    },
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "components",
        proves: "every database serves",
        how: "each is asked for its name",
        expected: "all serve",
        suite: Suite::Quick,
        needs: Needs::Nothing,
        tables: &[],
        script: |lab| {
            let ask =
                |placed: Placed<'_>| vec![Session::with(&placed).ask(format!("serves/{}", placed.name), Act::Serves)];
            Script::default().together(databases(lab).into_iter().map(ask))
        },
        judge: judge_components,
    },
    Check {
        id: "nodes",
        proves: "every coordinator knows every other node as a foreign server",
        how: "servers, user mappings, extensions and functions on every coordinator",
        expected: "what lab.yaml says, with nothing left for `up` to register",
        suite: Suite::Quick,
        needs: Needs::Nothing,
        tables: &[],
        script: |lab| Script::default().together(each(&coordinators(lab), "nodes", PostgresFdw.inventory())),
        judge: judge_nodes,
    },
    Check {
        id: "settings",
        proves: "databases of a kind have the same version and settings",
        how: "version() and every setting of the configuration file, on every coordinator and datanode",
        expected: "the same everywhere but for the node's own name",
        suite: Suite::Quick,
        needs: Needs::Nothing,
        tables: &[],
        script: |lab| {
            let lanes = [(coordinators(lab), "coordinator"), (datanodes(lab), "datanode")];
            Script::default().together(lanes.iter().flat_map(|(placed, key)| each(placed, key, SETTINGS)))
        },
        judge: |_, seen| likeness::judge(seen, "`pgxc-lab up` writes lab.yaml's values and restarts what needs it"),
    },
];

/// Settings that do not differ from node to node by nature. `ALTER SYSTEM` counts as a configuration file.
const SETTINGS: &str = "select name, setting from pg_settings where source = 'configuration file' and name <> 'cluster_name' \
    union all select 'version()', version() order by 1";

fn databases(lab: &Lab) -> Vec<Placed<'_>> {
    [Role::Datanode, Role::Coordinator].into_iter().flat_map(|role| lab.placed(role)).collect()
}

fn judge_components(lab: &Lab, seen: &Seen) -> Judgement {
    let mut findings = Findings::default();
    for placed in databases(lab) {
        let (role, node) = (placed.role.as_str(), &placed.node.name);
        let remedy = format!("`pgxc-lab logs {node} --component {role}` tells why; `pgxc-lab up` starts it");
        let serves = seen.value(&format!("serves/{}", placed.name))?;
        findings.same(&format!("{role} {} of {node}", placed.name), "serves", serves, &remedy);
    }
    findings.or(format!("{} databases serve", databases(lab).len()))
}

fn judge_nodes(lab: &Lab, seen: &Seen) -> Judgement {
    let mut findings = Findings::default();
    for on in coordinators(lab) {
        let sight = seen.get(&format!("nodes/{}", on.name))?;
        for statement in PostgresFdw.registration(lab, on, &sight.rows) {
            let line = statement.lines().next().unwrap_or_default();
            let remedy = "`pgxc-lab up` registers what is missing or wrong";
            findings.add(Finding::wrong(
                &sight.at,
                "the servers that lab.yaml says",
                format!("it lacks `{line}`"),
                remedy,
            ));
        }
    }
    findings.or(format!("right on {} coordinators", coordinators(lab).len()))
}
