//! The distribution's PostgreSQL 15 with postgres_fdw: for machines where Postgres-XC's source cannot be had.
//!
//! Databases sit where Postgres-XC's sit, with the same names, directories and ports. Datanodes are foreign servers of
//! every coordinator; a distributed table is a hash-partitioned parent with one foreign partition per datanode.

mod parameters;
#[cfg(test)]
mod real;
mod servers;

use super::{
    Build, ComponentSetup, Engine, Holding, InDoubt, Proof, Ready, Row, Takeover, Writes, conf, hba,
    unit::{self, Stop, Unit},
};
use crate::{
    guest::{GuestFile, System},
    lab::{EngineKind, Identifier, Lab, Node, Placed, Role},
};

/// Where Debian puts the programs.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// Has `run_on` keep its connections: a new one costs an emulated guest a fifth of a second, and a proof goes to every node
/// three times.
const KEEP: &str = "set pgxc_lab.keep = on";

/// The substitute.
pub struct PostgresFdw;

impl Engine for PostgresFdw {
    fn kind(&self) -> EngineKind {
        EngineKind::PostgresFdw
    }

    /// The package holds contrib too: postgres_fdw and dblink.
    fn packages(&self, system: System) -> Option<&'static [&'static str]> {
        match system {
            System::Debian => Some(&["postgresql-15"]),
            System::Ubuntu | System::El5 | System::El6 | System::El7 | System::El9 => None,
        }
    }

    fn build(&self, _: &Lab) -> Option<Build> {
        None
    }

    fn runs(&self, role: Role) -> bool {
        matches!(role, Role::Datanode | Role::Coordinator)
    }

    fn component(&self, lab: &Lab, placed: Placed<'_>) -> ComponentSetup {
        let directory = placed.component.directory.clone();
        let file = |name: &str, text: String| {
            GuestFile::text(format!("{directory}/{name}"), text).mode(0o600).owned_by(lab.guest.uid)
        };
        ComponentSetup {
            initialise: initialise(lab, placed),
            files: vec![file("postgresql.conf", configuration(lab, placed)), file("pg_hba.conf", hba::render(lab))],
            unit: unit_name(placed.role).to_owned(),
            unit_text: unit(lab, placed).render(lab),
            script: unit(lab, placed).script(unit_name(placed.role), lab),
            ready: Ready::Query {
                port: placed.component.port,
                sql: "select current_setting('cluster_name')".to_owned(),
                value: placed.name.to_string(),
            },
            welcome: None,
            let_go: None,
            directory,
        }
    }

    fn node_files(&self, lab: &Lab, node: &Node) -> Vec<GuestFile> {
        let mut text =
            format!("# Written by pgxc-lab.\nexport LANG={}\nexport PATH={PROGRAMS}:$PATH\n", lab.guest.locale);
        if let Some(coordinator) = lab.components_of(node).into_iter().find(|placed| placed.role == Role::Coordinator) {
            text.push_str(&format!("export PGHOST=127.0.0.1\nexport PGPORT={}\n", coordinator.component.port));
        }
        text.push_str(&format!("export PGUSER={}\nexport PGDATABASE=postgres\n", lab.cluster.superuser));
        vec![GuestFile::text(format!("/home/{}/.bash_profile", lab.guest.user), text).owned_by(lab.guest.uid)]
    }

    fn lacks(&self) -> &'static [&'static str] {
        &[
            "there is no GTM: the gtm, gtm_standby and gtm_proxy components stay idle",
            "there is no global snapshot: a reader may see a transaction on one datanode and not yet on another",
            "a transaction over several nodes is not atomic: there is no two-phase commit, and a crash in the middle of a commit may leave a part of it",
            "DDL stays on its coordinator: distributed tables are made by select pgxc_lab.create_distributed_table(name, columns, key)",
        ]
    }

    fn inventory(&self) -> &'static str {
        servers::INVENTORY
    }

    fn registration(&self, lab: &Lab, on: Placed<'_>, rows: &[Row]) -> Vec<String> {
        servers::statements(lab, on, rows)
    }

    /// Tables are made on other servers by name, where they are missing, and removed where they are there.
    fn unknown_to_newcomers(&self) -> Option<&'static str> {
        None
    }

    fn holdings<'lab>(&self, lab: &'lab Lab, leaving: &[&'lab Node]) -> Vec<Holding<'lab>> {
        servers::holdings(lab, leaving)
    }

    fn farewell(&self, lab: &Lab, gone: &[Identifier], rows: &[Row]) -> Vec<String> {
        servers::farewell(lab, gone, rows)
    }

    fn proof(&self, lab: &Lab) -> Proof {
        const TABLE: &str = "pgxc_lab_proof";
        const ROWS: u32 = 6000;
        let counts = lab
            .placed(Role::Datanode)
            .iter()
            .map(|placed| {
                let name = placed.name.to_string();
                let query = format!("select count(*) from {TABLE}_{name}");
                (name, query, None)
            })
            .collect();
        Proof {
            fill: vec![
                KEEP.into(),
                format!("select pgxc_lab.drop_distributed_table('{TABLE}')"),
                format!("select pgxc_lab.create_distributed_table('{TABLE}', 'k int, v text', 'k')"),
                // Not by COPY: postgres_fdw 15 sends a COPY row by row, an insert in batches.
                format!("insert into {TABLE} select k, 'row ' || k from generate_series(1, {ROWS}) as k"),
            ],
            copy: None,
            counts,
            total: format!("select count(*) from {TABLE}"),
            rows: ROWS.into(),
            clean: vec![format!("select pgxc_lab.drop_distributed_table('{TABLE}')")],
        }
    }

    fn writes(&self, lab: &Lab) -> Writes {
        const TABLE: &str = "pgxc_lab_restored";
        let coordinators = lab.placed(Role::Coordinator).len();
        let drop = format!("select pgxc_lab.drop_distributed_table('{TABLE}')");
        Writes {
            prepare: vec![
                KEEP.into(),
                drop.clone(),
                format!("select pgxc_lab.create_distributed_table('{TABLE}', 'k int', 'k')"),
            ],
            each: (1..=coordinators).map(|key| format!("insert into {TABLE} values ({key}), (-{key})")).collect(),
            total: format!("select count(*) from {TABLE}"),
            rows: 2 * coordinators as u64,
            clean: vec![drop],
        }
    }

    fn vitals(&self) -> &'static str {
        "select count(*) filter (where application_name <> 'postgres_fdw' and pid <> pg_backend_pid()), \
         count(*) filter (where application_name = 'postgres_fdw'), \
         count(*) filter (where application_name = 'postgres_fdw' and state <> 'idle'), \
         (select count(*) from pg_prepared_xacts), \
         (select count(*) from pg_prepared_xacts where prepared < now() - interval '1 minute') \
         from pg_stat_activity where backend_type = 'client backend'"
    }

    fn wal_position(&self) -> &'static str {
        "select pg_current_wal_lsn()"
    }

    /// Each node commits by itself: nothing is ever prepared.
    fn takeover(&self, _: &Lab) -> Option<Takeover> {
        None
    }

    fn in_doubt(&self, _: &Lab) -> Option<InDoubt> {
        None
    }
}

/// `password_encryption` is md5 because the document's pg_hba.conf asks for md5 (and clients of 2013 know nothing else);
/// --no-sync with one sync of the file system afterwards is faster than a sync per file.
fn initialise(lab: &Lab, placed: Placed<'_>) -> String {
    let cluster = &lab.cluster;
    let directory = &placed.component.directory;
    format!(
        "set -eu\nexport PATH={PROGRAMS}:$PATH\n\
         initdb -D {directory} -E {} --locale={} -U {} --pwfile=\"$PASSWORD_FILE\" --auth-local=trust --auth-host=md5 --no-sync\n\
         sync -f {directory}\n",
        cluster.encoding, cluster.locale, cluster.superuser
    )
}

fn configuration(lab: &Lab, placed: Placed<'_>) -> String {
    let port = placed.component.port.to_string();
    let given = parameters::translate(&placed.component.parameters);
    let derived = [
        ("port", port.as_str()),
        ("cluster_name", placed.name.as_str()),
        ("password_encryption", "md5"),
        // initdb's file sets it; without it every time is told in GMT.
        ("timezone", &lab.guest.timezone),
        ("log_timezone", &lab.guest.timezone),
    ];
    conf::render(given.iter().map(|(key, value)| (key.as_str(), value.as_str())).chain(derived))
}

fn unit_name(role: Role) -> &'static str {
    match role {
        Role::Gtm => "pgxc-gtm.service",
        Role::GtmStandby => "pgxc-gtm-standby.service",
        Role::GtmProxy => "pgxc-gtm-proxy.service",
        Role::Datanode => "pgxc-datanode.service",
        Role::Coordinator => "pgxc-coordinator.service",
    }
}

fn unit<'a>(lab: &Lab, placed: Placed<'a>) -> Unit<'a> {
    let directory = placed.component.directory.as_str();
    let local_datanode = placed.role == Role::Coordinator && placed.node.roles.contains_key(&Role::Datanode);
    Unit {
        role: placed.role,
        description: format!("PostgreSQL 15 as {} {}", placed.role.as_str(), placed.name),
        after: if local_datanode { vec![unit_name(Role::Datanode)] } else { Vec::new() },
        mounts: Vec::new(),
        directory,
        proof: "PG_VERSION",
        pid_file: "postmaster.pid",
        stale: Vec::new(),
        environment: vec![format!("LANG={}", lab.guest.locale)],
        wait: None,
        command: format!("{PROGRAMS}/postgres -D {directory}"),
        beside: None,
        listening: None,
        stop: Stop::Fast,
        stack_depth: unit::stack_depth(placed.component),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::document;

    #[test]
    fn only_databases_run() {
        let running: Vec<Role> = Role::ALL.into_iter().filter(|role| PostgresFdw.runs(*role)).collect();
        assert_eq!(running, [Role::Datanode, Role::Coordinator]);
        assert_eq!(PostgresFdw.lacks().len(), 4);
    }

    #[test]
    fn a_component() {
        let lab = document();
        let setup = PostgresFdw.component(&lab, lab.placed(Role::Coordinator)[1]);
        assert!(setup.initialise.contains("initdb -D /data02/pgxc_coordinate -E UTF8 --locale=C -U postgres"));
        assert!(setup.unit_text.contains("ExecStart=/usr/lib/postgresql/15/bin/postgres -D /data02/pgxc_coordinate\n"));
        assert!(setup.unit_text.contains("After=pgxc-datanode.service\n"));
    }
}
