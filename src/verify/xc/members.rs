//! Who belongs to the cluster, and whether all agree on it.

use super::{coordinator, coordinators, datanodes, direct, everywhere, first, own};
use crate::{
    engine::{Engine, Holders, PostgresXc, node_id, open_gxids},
    error::Error,
    lab::{Lab, Placed, Role},
    verify::{
        check::{Check, Needs, Suite},
        judgement::{Finding, Findings, Judgement},
        likeness,
        script::{Act, Ask, Script, Session},
        seen::Seen,
        unchanged::UNCHANGED,
    },
};
use std::collections::BTreeMap;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "components",
        proves: "every component serves, and one GTM is active",
        how: "each is asked in the way of its kind; the roles of both GTMs are read as `gtm_ctl status` does",
        expected: "all serve; `1` on the GTM and `0` on its standby",
        suite: Suite::Quick,
        needs: Needs::Nothing,
        tables: &[],
        script: ask_components,
        judge: judge_components,
    },
    Check {
        id: "registered",
        proves: "the GTM has every component in its register",
        how: "the node list of the GTM, in its own protocol",
        expected: "every proxy, datanode and coordinator, and the standby; nobody else",
        suite: Suite::Quick,
        needs: Needs::Nothing,
        tables: &[],
        script: ask_registered,
        judge: judge_registered,
    },
    Check {
        id: "nodes",
        proves: "every coordinator knows every node, by one name and one address",
        how: "pgxc_node on every coordinator",
        expected: "the same rows but for nodeis_preferred; the primary of lab.yaml; node_id is the hash of the name",
        suite: Suite::Quick,
        needs: Needs::Nothing,
        tables: &[],
        script: |lab| Script::default().together(everywhere(lab, "nodes", PostgresXc.inventory())),
        judge: judge_nodes,
    },
    Check {
        id: "in-doubt",
        proves: "no transaction is left prepared",
        how: "pg_prepared_xacts on every datanode and coordinator",
        expected: "nothing that is older than a minute",
        suite: Suite::Quick,
        needs: Needs::Nothing,
        tables: &[],
        script: ask_in_doubt,
        judge: judge_in_doubt,
    },
    Check {
        id: "open-gxids",
        proves: "the GTM holds no GXID open that nobody has",
        how: "txid_current_snapshot() on a coordinator, locks and prepared transactions on every server, and the snapshot again",
        expected: "for each GXID that is open before and after, a session or a prepared transaction",
        suite: Suite::Quick,
        needs: Needs::Nothing,
        tables: &[],
        script: ask_open_gxids,
        judge: judge_open_gxids,
    },
    Check {
        id: "settings",
        proves: "components of a kind have the same version and settings, and the WAL's block size is the configured one",
        how: "pgxc_version() and every setting of the configuration file, on every coordinator and datanode",
        expected: "the same everywhere but for the node's own name; wal_block_size as `--with-wal-blocksize` says",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: &[],
        script: ask_settings,
        judge: judge_settings,
    },
    Check {
        id: "identity",
        proves: "every coordinator reaches every node, and it is the one that it means",
        // Not pgxc_pool_check(): in 1.0.2 it is false once the pooler has connected to another coordinator, right or not.
        how: "pgxc_node_str() by EXECUTE DIRECT from every coordinator on every node",
        expected: "each node's own name",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: &[],
        script: ask_identity,
        judge: judge_identity,
    },
    Check {
        id: "ddl",
        proves: "a table made through one coordinator is there on every node",
        how: "CREATE TABLE through a coordinator; pg_class on every node",
        expected: "one row on each",
        suite: Suite::Quick,
        needs: Needs::Nothing,
        tables: &[],
        script: ask_ddl,
        judge: judge_ddl,
    },
];

/// What is asked when all else is done.
pub(super) const LAST: &[Check] = &[
    Check {
        id: "standby",
        proves: "the standby of the GTM follows it",
        how: "the next GXID of the standby, of the GTM, and of the standby again, after a transaction",
        expected: "the standby is never ahead, and at most one behind",
        suite: Suite::Full,
        needs: Needs::Standby,
        tables: &[],
        script: ask_standby,
        judge: judge_standby,
    },
    UNCHANGED,
];

fn ask_components(lab: &Lab) -> Script {
    let lane = |placed: &Placed<'_>| {
        let at = Session::with(placed);
        let mut lane = vec![at.ask(serves(placed), Act::Serves)];
        if matches!(placed.role, Role::Gtm | Role::GtmStandby) {
            lane.push(at.ask(format!("role/{}", placed.role.as_str()), Act::GtmRole));
        }
        lane
    };
    Script::default().together(Role::ALL.into_iter().flat_map(|role| lab.placed(role)).map(|placed| lane(&placed)))
}

fn serves(placed: &Placed<'_>) -> String {
    format!("serves/{}/{}", placed.role.as_str(), placed.name)
}

fn judge_components(lab: &Lab, seen: &Seen) -> Judgement {
    let mut findings = Findings::default();
    let mut count = 0;
    for placed in Role::ALL.into_iter().flat_map(|role| lab.placed(role)) {
        let (role, node) = (placed.role.as_str(), &placed.node.name);
        let remedy = format!("`pgxc-lab logs {node} --component {role}` tells why; `pgxc-lab up` starts it");
        let place = format!("{role} {} of {node}", placed.name);
        let answer = seen.value(&serves(&placed))?;
        findings.same(&place, "serves", answer, &remedy);
        count += 1;
        let active = match placed.role {
            Role::Gtm => "1",
            Role::GtmStandby => "0",
            Role::GtmProxy | Role::Datanode | Role::Coordinator => continue,
        };
        if answer == "serves" {
            let remedy = "two active GTMs hand out the same GXIDs: stop the one that should not be";
            findings.same(&place, active, seen.value(&format!("role/{role}"))?, remedy);
        }
    }
    findings.or(format!("{count} components serve"))
}

fn ask_registered(lab: &Lab) -> Script {
    let wanted: Vec<(Role, String)> =
        registering(lab).iter().map(|placed| (placed.role, placed.name.to_string())).collect();
    let gtm = lab.placed(Role::Gtm);
    Script::default().in_turn(gtm.iter().map(|gtm| Session::with(gtm).ask("list", Act::NodeList(wanted.clone()))))
}

/// Everything that registers with the GTM.
fn registering(lab: &Lab) -> Vec<Placed<'_>> {
    let roles = [Role::GtmStandby, Role::GtmProxy, Role::Datanode, Role::Coordinator];
    roles.into_iter().flat_map(|role| lab.placed(role)).collect()
}

/// Whether an entry of the register says `connected` counts for proxies and the standby only. Of databases 1.0.2 marks it
/// as lost when any of their processes that holds the postmaster's connection to the GTM makes it anew (seen with an
/// autovacuum launcher); it does no harm, the next start registers again.
fn judge_registered(lab: &Lab, seen: &Seen) -> Judgement {
    let sight = seen.get("list")?;
    let mut have: BTreeMap<(String, String), String> = BTreeMap::new();
    let state = |role: &str, port: &str, state: &str| match role {
        "datanode" | "coordinator" => format!("port {port}"),
        _ => format!("port {port}, {state}"),
    };
    for row in &sight.rows {
        let text = |column: usize| row.get(column).cloned().flatten().unwrap_or_default();
        have.insert((text(0), text(1)), state(&text(0), &text(2), &text(3)));
    }
    let mut findings = Findings::default();
    let mut count = 0;
    for placed in registering(lab) {
        let key = (placed.role.as_str().to_owned(), placed.name.to_string());
        let expected = state(&key.0, &placed.component.port.to_string(), "connected");
        let known = have.remove(&key).unwrap_or_else(|| "not registered".to_owned());
        let remedy = format!(
            "restart it, and it registers again: `pgxc-lab restart --on {} --component {}`",
            placed.node.name,
            placed.role.as_str()
        );
        findings.same(&format!("{} {}", key.0, key.1), expected, known, &remedy);
        count += 1;
    }
    for ((role, name), state) in have {
        let remedy = "an entry of something that is gone does no harm; who serves is a stranger to lab.yaml";
        findings.add(Finding::wrong(&sight.at, format!("no {role} `{name}`"), &state, remedy).doubtful());
    }
    findings.or(format!("{count} components are registered"))
}

fn judge_nodes(lab: &Lab, seen: &Seen) -> Judgement {
    let mut findings = Findings::default();
    let wanted = coordinators(lab).len() + datanodes(lab).len();
    for on in coordinators(lab) {
        let sight = seen.get(&format!("nodes/{}", on.name))?;
        let remedy = "`pgxc-lab up` registers what is missing or wrong";
        findings.same(&sight.at, format!("{wanted} rows"), format!("{} rows", sight.rows.len()), remedy);
        for statement in PostgresXc.registration(lab, on, &sight.rows) {
            // The reload only belongs to the others.
            if !statement.starts_with("select ") {
                findings.add(Finding::wrong(
                    &sight.at,
                    "pgxc_node as lab.yaml says",
                    format!("it lacks `{statement}`"),
                    remedy,
                ));
            }
        }
        for row in &sight.rows {
            let text = |column: usize| row.get(column).and_then(|value| value.as_deref()).unwrap_or_default();
            let place = format!("{}, node_id of {}", sight.at, text(0));
            let remedy = "two names may have the same hash: rename one of the nodes";
            findings.same(&place, node_id(text(0)).to_string().as_str(), text(6), remedy);
        }
    }
    findings.or(format!("{wanted} nodes on each of {} coordinators", coordinators(lab).len()))
}

/// The names of all prepared transactions that are older than a minute. A younger one may be on its way: every commit
/// over several nodes is prepared for a moment.
const PREPARED: &str = "select gid from pg_prepared_xacts where prepared < now() - interval '1 minute' order by gid";

fn ask_in_doubt(lab: &Lab) -> Script {
    let direct = datanodes(lab)
        .into_iter()
        .map(|placed| first(lab).sql(format!("prepared/{}", placed.name), direct(placed.name.as_str(), PREPARED)));
    Script::default().in_turn(direct).together(everywhere(lab, "prepared", PREPARED))
}

fn judge_in_doubt(_: &Lab, seen: &Seen) -> Judgement {
    let mut findings = Findings::default();
    for sight in seen.all("prepared/") {
        let node = sight.key.trim_start_matches("prepared/");
        for row in &sight.rows {
            let gid = row.first().cloned().flatten().unwrap_or_default();
            let of_the_cluster = gid.strip_prefix('T').is_some_and(|rest| rest.parse::<u32>().is_ok());
            let expected = "no transaction that is prepared for more than a minute";
            findings.add(if of_the_cluster {
                let remedy = "`pgxc-lab up` ends what a crash left";
                Finding::wrong(node, expected, format!("`{gid}`, of a commit that did not end"), remedy)
            } else {
                let remedy =
                    format!("whoever prepared it ends it: commit prepared '{gid}' or rollback prepared '{gid}'");
                Finding::wrong(node, expected, format!("`{gid}`; it holds its locks"), remedy).doubtful()
            });
        }
    }
    findings.or("none")
}

fn ask_open_gxids(lab: &Lab) -> Script {
    let Some(in_doubt) = PostgresXc.in_doubt(lab) else { return Script::default() };
    let servers = coordinators(lab).into_iter().chain(datanodes(lab));
    let held =
        servers.map(|placed| vec![Session::with(&placed).sql(format!("held/{}", placed.name), &in_doubt.holders)]);
    Script::default()
        .then(first(lab).sql("open/before", &in_doubt.open))
        .together(held.collect::<Vec<_>>())
        .then(first(lab).sql("open/after", &in_doubt.open))
}

/// A session takes its GXID a moment before its lock: what was open before all others were asked has long had it.
fn judge_open_gxids(_: &Lab, seen: &Seen) -> Judgement {
    let at = seen.get("open/before")?.at.clone();
    let odd = |error: Error| {
        Finding::wrong(&at, "GXIDs", error.message(), "`pgxc-lab status` tells whether all servers answer")
    };
    let mut holders = Holders::default();
    for (place, sight) in seen.all("held/").enumerate() {
        holders.add(place, &sight.rows).map_err(odd)?;
    }
    let open = |key| open_gxids(seen.value(key)?).map_err(odd);
    let (before, after) = (open("open/before")?, open("open/after")?);
    let lasting = before.intersection(&after).copied().collect();
    let lost: Vec<String> = holders.without(lasting).iter().map(u32::to_string).collect();
    let mut findings = Findings::default();
    if !lost.is_empty() {
        findings.add(Finding::wrong(
            "the GTM",
            "no GXID open that nobody has",
            format!(
                "{}, of sessions that are gone; what they changed is seen twice, what they inserted not at all",
                lost.join(", ")
            ),
            "`pgxc-lab up` closes them",
        ));
    }
    findings.or("none")
}

/// Block size of the WAL without a configure option for it, in KiB.
const DEFAULT_WAL_BLOCK: u32 = 8;

/// Settings of the configuration file that differ from node to node by nature, and those that a client sets.
const SETTINGS: &str = "select name, setting from pg_settings where source = 'configuration file' and name not in \
    ('pgxc_node_name', 'application_name', 'client_encoding', 'DateStyle', 'TimeZone', 'IntervalStyle', 'lc_monetary') \
    union all select 'pgxc_version()', pgxc_version() union all select 'wal_block_size', current_setting('wal_block_size') \
    order by 1";

/// Each coordinator tells of itself and of one datanode.
fn ask_settings(lab: &Lab) -> Script {
    let mut lanes: Vec<Vec<Ask>> = everywhere(lab, "coordinator", SETTINGS);
    let count = lanes.len();
    for (place, placed) in datanodes(lab).into_iter().enumerate() {
        let ask = coordinator(lab, place % count);
        lanes[place % count].push(ask.sql(format!("datanode/{}", placed.name), direct(placed.name.as_str(), SETTINGS)));
    }
    Script::default().together(lanes)
}

/// Alike, and with the block size of the WAL that the engine was configured for: a server that was built otherwise is not the
/// lab's, though all are alike.
fn judge_settings(lab: &Lab, seen: &Seen) -> Judgement {
    let alike = likeness::judge(seen, "`pgxc-lab up` writes lab.yaml's values and restarts what needs it");
    let (mut findings, good) = match alike {
        Ok(good) => (Findings::default(), good),
        Err(findings) => (findings, String::new()),
    };
    let wanted = lab.cluster.configure.iter().find_map(|option| option.strip_prefix("--with-wal-blocksize="));
    let expected = wanted.and_then(|kilobytes| kilobytes.parse().ok()).unwrap_or(DEFAULT_WAL_BLOCK) * 1024;
    for sight in seen.all("") {
        let told = sight.rows.iter().find(|row| row.first() == Some(&Some("wal_block_size".to_owned())));
        let told = told.and_then(|row| row.get(1).cloned().flatten()).unwrap_or_default();
        let remedy = "the engine in the guest is another one than lab.yaml's: `pgxc-lab rebuild` makes the lab anew";
        let [expected, told] = [expected.to_string(), told].map(|value| format!("wal_block_size = {value}"));
        findings.same(likeness::component(sight), expected, told, remedy);
    }
    findings.or(good)
}

fn ask_identity(lab: &Lab) -> Script {
    let lane = |on: &Placed<'_>| {
        let nodes = coordinators(lab).into_iter().chain(datanodes(lab));
        let ask = |node: Placed<'_>| {
            let sql = direct(node.name.as_str(), "select pgxc_node_str()");
            Session::with(on).sql(format!("{}/{}", on.name, node.name), sql)
        };
        nodes.map(ask).collect()
    };
    Script::default().together(coordinators(lab).iter().map(lane))
}

fn judge_identity(_: &Lab, seen: &Seen) -> Judgement {
    let mut findings = Findings::default();
    for sight in seen.all("") {
        let node = sight.key.rsplit('/').next().unwrap_or_default();
        let place = format!("{node} as {} reaches it", sight.at);
        let remedy = "compare host and port in pgxc_node with lab.yaml; `pgxc-lab up` registers the right ones";
        findings.same(&place, node, sight.value()?, remedy);
    }
    findings.or(format!("{} right answers", seen.0.len()))
}

/// Through the third coordinator as in the specification, or the last of fewer. Coordinators tell of themselves: one
/// that does not know another cannot ask it.
fn ask_ddl(lab: &Lab) -> Script {
    let through = coordinator(lab, 2);
    let table = own("ddl");
    let count = format!("select count(*) from pg_class where relname = '{table}'");
    let datanodes = datanodes(lab)
        .into_iter()
        .map(|placed| through.sql(format!("class/{}", placed.name), direct(placed.name.as_str(), &count)));
    Script::default()
        .then(through.sql("create", format!("create table {table} (k int) distribute by hash (k)")))
        .in_turn(datanodes)
        .together(everywhere(lab, "class", &count))
}

fn judge_ddl(_: &Lab, seen: &Seen) -> Judgement {
    let mut findings = Findings::default();
    for sight in seen.all("class/") {
        let node = sight.key.trim_start_matches("class/");
        let remedy = "a coordinator that does not know another one does not tell it: see the check `nodes`";
        findings.same(node, 1, sight.number()?, remedy);
    }
    findings.or(format!("on {} nodes", seen.all("class/").count()))
}

/// The GTM's number lies between two of the standby's when the standby follows at once.
fn ask_standby(lab: &Lab) -> Script {
    let standby = lab.placed(Role::GtmStandby);
    let gtm = lab.placed(Role::Gtm);
    let next = |placed: &[Placed<'_>], key: &str| -> Vec<Ask> {
        placed.iter().map(|placed| Session::with(placed).ask(key, Act::NextGxid)).collect()
    };
    Script::default()
        .then(first(lab).sql("own", "select txid_current()"))
        .in_turn(next(&standby, "before"))
        .in_turn(next(&gtm, "gtm"))
        .in_turn(next(&standby, "after"))
}

/// How far the standby of 1.0 may be behind when all is well: told of the very GXID that it takes for the next one, it
/// does not count on (gtm_txn.c compares with `precedes`, never with `equals`), so that it is right every other time.
const BEHIND: i64 = 1;

fn judge_standby(lab: &Lab, seen: &Seen) -> Judgement {
    let (own, before, gtm, after) =
        (seen.number("own")?, seen.number("before")?, seen.number("gtm")?, seen.number("after")?);
    let place = lab.placed(Role::GtmStandby).first().map(|placed| placed.name.to_string()).unwrap_or_default();
    let remedy = "after a failover it would hand out GXIDs anew: restart the standby, and it takes the state over";
    let mut findings = Findings::default();
    if before > gtm {
        findings.add(Finding::wrong(&place, format!("at most {gtm}, as the GTM"), before, remedy));
    }
    if before + BEHIND <= own || after + BEHIND < gtm {
        let seen = format!("{before}, then {after}");
        findings.add(Finding::wrong(&place, format!("{gtm} as the GTM, or one less"), seen, remedy));
    }
    findings.or(format!("{after}, the GTM {gtm}"))
}
