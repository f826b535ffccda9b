//! Postgres-XC 1.0.x, built from source: the engine of the document.

mod hash;
mod nodes;
mod pooler;
mod profile;
mod proof;
#[cfg(test)]
mod real;
mod takeover;
mod units;

pub use hash::{counts as hash_counts, node_id, placement as hash_placement};

use super::{
    Build, ComponentSetup, Engine, Holding, InDoubt, Proof, Ready, Row, Takeover, Writes, conf, hba, unit::mount_unit,
};
use crate::{
    guest::{GuestFile, System},
    lab::{EngineKind, Identifier, Lab, Node, Placed, Role},
};

/// Serial number of the read-only disk that carries the engine's programs to every guest.
pub const ENGINE_DISK: &str = "pgxc-engine";

/// The real thing.
pub struct PostgresXc;

impl Engine for PostgresXc {
    fn kind(&self) -> EngineKind {
        EngineKind::PostgresXc
    }

    /// What the programs are linked with when the build keeps every option that Debian 12 can serve.
    fn packages(&self, system: System) -> Option<&'static [&'static str]> {
        match system {
            System::Debian => {
                Some(&["libreadline8", "zlib1g", "libpam0g", "libxml2", "libxslt1.1", "libtcl8.6", "libperl5.36"])
            }
            // The image has the document's own list.
            System::El5 => Some(&[]),
            System::Ubuntu | System::El6 | System::El7 | System::El9 => None,
        }
    }

    fn build(&self, lab: &Lab) -> Option<Build> {
        Some(Build {
            packages: include_str!("build-packages.txt")
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .map(str::to_owned)
                .collect(),
            script: include_str!("build.sh").to_owned(),
            prefix: lab.cluster.prefix.clone(),
            options: lab.cluster.configure.clone(),
        })
    }

    fn runs(&self, _: Role) -> bool {
        true
    }

    fn component(&self, lab: &Lab, placed: Placed<'_>) -> ComponentSetup {
        let directory = placed.component.directory.clone();
        let file = |name: &str, text: String| {
            GuestFile::text(format!("{directory}/{name}"), text).mode(0o600).owned_by(lab.guest.uid)
        };
        let port = placed.component.port;
        let (files, ready) = match placed.role {
            Role::Gtm | Role::GtmStandby => (vec![file("gtm.conf", parameters(lab, placed))], gtm_ready(lab, placed)),
            Role::GtmProxy => (
                vec![file("gtm_proxy.conf", parameters(lab, placed))],
                Ready::File { path: format!("{directory}/gtm_proxy.opts") },
            ),
            // Needs a snapshot from the GTM, so it proves the way through the proxy too (spec 2.8).
            Role::Datanode | Role::Coordinator => (
                vec![file("postgresql.conf", parameters(lab, placed)), file("pg_hba.conf", hba::render(lab))],
                Ready::Query { port, sql: "select pgxc_node_str()".to_owned(), value: placed.name.to_string() },
            ),
        };
        let (name, unit) = (units::name(placed.role), units::unit(lab, placed));
        ComponentSetup {
            initialise: initialise(lab, placed),
            files,
            unit: name.to_owned(),
            unit_text: unit.render(lab),
            script: unit.script(name, lab),
            ready,
            // 1.0.2 registers with the GTM only when a child signals it (sigusr1_handler): the first to do so is autovacuum, up
            // to a minute later. Not at each start: after a power cut the GTM takes a node for connected until it finds out, and
            // refuses it, which ends the server.
            welcome: matches!(placed.role, Role::Datanode | Role::Coordinator)
                .then(|| format!("read -r pid _ <{directory}/postmaster.pid && kill -s USR1 \"$pid\"\n")),
            let_go: (placed.role == Role::Coordinator).then(|| pooler::renew(&directory)),
            directory,
        }
    }

    fn node_files(&self, lab: &Lab, node: &Node) -> Vec<GuestFile> {
        let prefix = &lab.cluster.prefix;
        let mount = mount_unit(prefix);
        let mut files = vec![
            profile::file(lab, node),
            GuestFile::directory(prefix, 0o755),
            GuestFile::link(&lab.cluster.link, prefix),
            GuestFile::text(
                format!("/etc/systemd/system/{mount}"),
                format!(
                    "# Written by pgxc-lab.\n[Unit]\nDescription=Postgres-XC {} (disk {ENGINE_DISK})\n\n\
                     [Mount]\nWhat=/dev/disk/by-id/virtio-{ENGINE_DISK}\nWhere={prefix}\nType=ext4\nOptions=ro\n",
                    lab.cluster.version
                ),
            ),
            // Wanted, not required: a guest without the disk still boots and can be looked at.
            GuestFile::link(
                format!("/etc/systemd/system/local-fs.target.wants/{mount}"),
                format!("/etc/systemd/system/{mount}"),
            ),
        ];
        let gtms = [Role::Gtm, Role::GtmStandby];
        if let Some(gtm) = lab.components_of(node).into_iter().find(|placed| gtms.contains(&placed.role)) {
            let unit = format!("/etc/systemd/system/{}", units::MARK_UNIT);
            files.push(GuestFile::text(units::MARK_PROGRAM, include_str!("gxid-mark.sh")).mode(0o755));
            files.push(GuestFile::text(&unit, units::mark_text(lab, gtm)));
            files.push(GuestFile::link(
                format!("/etc/systemd/system/{}.wants/{}", units::name(Role::Gtm), units::MARK_UNIT),
                &unit,
            ));
        }
        files
    }

    fn lacks(&self) -> &'static [&'static str] {
        &[]
    }

    fn inventory(&self) -> &'static str {
        nodes::INVENTORY
    }

    fn registration(&self, lab: &Lab, on: Placed<'_>, rows: &[Row]) -> Vec<String> {
        nodes::statements(lab, on, rows)
    }

    fn unknown_to_newcomers(&self) -> Option<&'static str> {
        Some(nodes::UNKNOWN_TO_NEWCOMERS)
    }

    fn holdings<'lab>(&self, lab: &'lab Lab, leaving: &[&'lab Node]) -> Vec<Holding<'lab>> {
        nodes::holdings(lab, leaving)
    }

    fn farewell(&self, _: &Lab, gone: &[Identifier], rows: &[Row]) -> Vec<String> {
        nodes::farewell(gone, rows)
    }

    fn proof(&self, lab: &Lab) -> Proof {
        proof::proof(lab)
    }

    fn writes(&self, lab: &Lab) -> Writes {
        proof::writes(lab)
    }

    fn wal_position(&self) -> &'static str {
        "select pg_current_xlog_location()"
    }

    fn vitals(&self) -> &'static str {
        // The pooler gives its sessions this name (XC's pgxcnode.c). Not the views: their joins cost a new session of an
        // emulated guest a tenth of a second.
        "select sum(case when application_name <> 'pgxc' and procpid <> pg_backend_pid() then 1 else 0 end), \
         sum(case when application_name = 'pgxc' then 1 else 0 end), \
         sum(case when application_name = 'pgxc' and current_query <> '<IDLE>' then 1 else 0 end), \
         (select count(*) from pg_prepared_xact()), \
         (select count(*) from pg_prepared_xact() where prepared < now() - interval '1 minute') \
         from pg_stat_get_activity(null)"
    }

    fn takeover(&self, lab: &Lab) -> Option<Takeover> {
        takeover::takeover(lab)
    }

    fn in_doubt(&self, lab: &Lab) -> Option<InDoubt> {
        proof::in_doubt(lab)
    }
}

/// A GTM answers; a standby also follows its GTM.
fn gtm_ready(lab: &Lab, placed: Placed<'_>) -> Ready {
    let port = placed.component.port;
    match lab.placed(Role::Gtm).first() {
        Some(gtm) if placed.role == Role::GtmStandby => {
            Ready::Standby { port, name: placed.name.to_string(), gtm: (gtm.node.address, gtm.component.port) }
        }
        _ => Ready::Gtm { port },
    }
}

/// Makes the data directory. Purely local: neither program contacts a GTM (spec 2.1, 2.2).
fn initialise(lab: &Lab, placed: Placed<'_>) -> String {
    let cluster = &lab.cluster;
    let directory = &placed.component.directory;
    let command = match placed.role {
        Role::Gtm | Role::GtmStandby => format!("initgtm -Z gtm -D {directory}"),
        Role::GtmProxy => format!("initgtm -Z gtm_proxy -D {directory}"),
        // A password by file: -W would read from the terminal (spec 1.14.4).
        Role::Datanode | Role::Coordinator => format!(
            "initdb -D {directory} --nodename={} -E {} --locale={} -U {} --pwfile=\"$PASSWORD_FILE\"",
            placed.name, cluster.encoding, cluster.locale, cluster.superuser
        ),
    };
    format!(
        "set -eu\nexport PATH={prefix}/bin:$PATH LD_LIBRARY_PATH={prefix}/lib:{prefix}/lib/postgresql\n{command}\n",
        prefix = cluster.prefix
    )
}

/// The configuration file: lab.yaml's parameters, then those that follow from the lab, which win.
fn parameters(lab: &Lab, placed: Placed<'_>) -> String {
    let component = placed.component;
    let port = component.port.to_string();
    let gtm = lab.placed(Role::Gtm).into_iter().next();
    let gtm_port = gtm.map(|gtm| gtm.component.port.to_string()).unwrap_or_default();
    let gtm_host = gtm.map(|gtm| gtm.node.name.to_string()).unwrap_or_default();
    let mut derived: Vec<(&str, &str)> = Vec::new();
    // Databases talk to the GTM through the proxy of their host (spec 1.12); without one, directly.
    let local = placed.node.roles.contains_key(&Role::GtmProxy);
    let proxy_port =
        lab.cluster.components.get(&Role::GtmProxy).map(|proxy| proxy.port.to_string()).unwrap_or_default();
    let pooler_port = component.pooler_port.map(|port| port.to_string()).unwrap_or_default();
    match placed.role {
        Role::Gtm => derived.extend([("nodename", placed.name.as_str()), ("port", &port), ("startup", "ACT")]),
        Role::GtmStandby => derived.extend([
            ("nodename", placed.name.as_str()),
            ("port", port.as_str()),
            ("startup", "STANDBY"),
            ("active_host", &gtm_host),
            ("active_port", &gtm_port),
        ]),
        Role::GtmProxy => derived.extend([
            ("nodename", placed.name.as_str()),
            ("port", port.as_str()),
            ("gtm_host", &gtm_host),
            ("gtm_port", &gtm_port),
        ]),
        Role::Datanode | Role::Coordinator => {
            let (host, via) = if local { ("127.0.0.1", &proxy_port) } else { (gtm_host.as_str(), &gtm_port) };
            derived.extend([
                ("port", port.as_str()),
                ("pgxc_node_name", placed.name.as_str()),
                ("gtm_host", host),
                ("gtm_port", via),
            ]);
            if !pooler_port.is_empty() {
                derived.push(("pooler_port", &pooler_port));
            }
        }
    }
    let given = component.parameters.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    conf::render(given.chain(derived))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::fixture::document, guest::Content};

    fn configuration(node: usize, role: Role) -> String {
        let lab = document();
        let placed = lab.components_of(&lab.nodes[node]).into_iter().find(|placed| placed.role == role).unwrap();
        match PostgresXc.component(&lab, placed).files.swap_remove(0).content {
            Content::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn configurations_hold_the_documents_and_the_derived_values() {
        for (node, role, lines) in [
            (
                0,
                Role::Gtm,
                "nodename = 'one'|port = 1921|startup = ACT|synchronous_backup = on|log_min_messages = WARNING",
            ),
            (
                1,
                Role::GtmStandby,
                "nodename = 'two'|startup = STANDBY|active_host = 'db-192-168-122-171'|active_port = 1921",
            ),
            (
                4,
                Role::GtmProxy,
                "nodename = '3'|port = 1924|gtm_host = 'db-192-168-122-171'|gtm_port = 1921|err_wait_idle = 60",
            ),
            (
                7,
                Role::Datanode,
                "port = 1923|pgxc_node_name = 'datanode_6'|gtm_host = '127.0.0.1'|gtm_port = 1924|archive_command = '/bin/date'",
            ),
            (
                2,
                Role::Coordinator,
                "port = 1921|pooler_port = 1922|pgxc_node_name = 'coordinate_1'|max_pool_size = 6416|datestyle = 'iso, mdy'",
            ),
        ] {
            let text = configuration(node, role);
            for line in lines.split('|') {
                assert!(text.lines().any(|known| known == line), "{line} is missing in\n{text}");
            }
        }
    }

    #[test]
    fn databases_are_initialised_without_a_prompt() {
        let lab = document();
        let script = PostgresXc.component(&lab, lab.placed(Role::Datanode)[2]).initialise;
        let command = "initdb -D /data02/pgxc_datanode --nodename=datanode_3 -E UTF8 --locale=C -U postgres --pwfile=\"$PASSWORD_FILE\"\n";
        assert!(script.ends_with(command), "{script}");
    }
}
