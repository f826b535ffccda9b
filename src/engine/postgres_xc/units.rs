//! The systemd units of the five kinds of components (spec 2.3 to 2.11).
//!
//! Every server runs directly in the foreground: gtm_ctl's and pg_ctl's exit codes say nothing and their children hold
//! the caller's terminal (spec 2.3, 2.5, 2.6).

use super::super::unit::{self, Stop, Unit};
use crate::lab::{Lab, Placed, Role};

/// Where the helper of the GTM lies in a guest.
pub(crate) const MARK_PROGRAM: &str = "/usr/lib/pgxc-lab/gxid-mark";
/// The unit that notes the GTM's next GXID.
pub(crate) const MARK_UNIT: &str = "pgxc-gxid-mark.service";

/// The name of a kind's unit.
pub(crate) fn name(role: Role) -> &'static str {
    match role {
        Role::Gtm => "pgxc-gtm.service",
        Role::GtmStandby => "pgxc-gtm-standby.service",
        Role::GtmProxy => "pgxc-gtm-proxy.service",
        Role::Datanode => "pgxc-datanode.service",
        Role::Coordinator => "pgxc-coordinator.service",
    }
}

/// The text of a component's unit.
pub(crate) fn text(lab: &Lab, placed: Placed<'_>) -> String {
    let prefix = &lab.cluster.prefix;
    let directory = placed.component.directory.as_str();
    let before = Role::ALL.into_iter().filter(|role| *role < placed.role && placed.node.roles.contains_key(role));
    let (program, options) = match placed.role {
        Role::Gtm => (MARK_PROGRAM.to_owned(), format!("run {prefix} {directory}")),
        Role::GtmStandby => (format!("{prefix}/bin/gtm"), format!("-D {directory}")),
        Role::GtmProxy => (format!("{prefix}/bin/gtm_proxy"), format!("-D {directory}")),
        Role::Datanode => (format!("{prefix}/bin/postgres"), format!("-X -D {directory}")),
        Role::Coordinator => (format!("{prefix}/bin/postgres"), format!("-C -D {directory}")),
    };
    let files = match placed.role {
        Role::Gtm | Role::GtmStandby => Files { proof: "gtm.conf", pid: "gtm.pid", options: Some("gtm.opts") },
        Role::GtmProxy => Files { proof: "gtm_proxy.conf", pid: "gtm_proxy.pid", options: Some("gtm_proxy.opts") },
        Role::Datanode | Role::Coordinator => Files { proof: "PG_VERSION", pid: "postmaster.pid", options: None },
    };
    Unit {
        description: format!("Postgres-XC {} {}", placed.role.as_str().replace('_', " "), placed.name),
        after: before.map(name).collect(),
        mounts: vec![prefix],
        directory,
        proof: files.proof,
        pid_file: files.pid,
        // gtm.opts would also bring an old -x back (spec 2.5).
        stale: files.options.into_iter().collect(),
        environment: std::iter::once(format!("LANG={}", lab.guest.locale))
            .chain(
                [
                    // A standby that was told of a node without a proxy crashes when it stops, before it writes gtm.control: it
                    // frees a pointer that was never set. glibc fills new memory with the complement of this value, zeroes.
                    "MALLOC_PERTURB_=255".to_owned(),
                ]
                .into_iter()
                .filter(|_| matches!(placed.role, Role::Gtm | Role::GtmStandby)),
            )
            .chain([
                format!("PATH={prefix}/bin:/usr/local/bin:/usr/bin:/bin"),
                format!("LD_LIBRARY_PATH={prefix}/lib:{prefix}/lib/postgresql"),
            ])
            .collect(),
        wait: wait(lab, placed),
        command: format!("{program} {options}"),
        listening: files.options.map(|options| unit::until_file(&format!("{directory}/{options}"))),
        stop: match placed.role {
            Role::Gtm | Role::GtmStandby | Role::GtmProxy => Stop::Terminate,
            Role::Datanode | Role::Coordinator => Stop::Fast,
        },
        stack_depth: unit::stack_depth(placed.component),
    }
    .render(lab)
}

struct Files {
    proof: &'static str,
    pid: &'static str,
    options: Option<&'static str>,
}

/// What a component does before it starts.
fn wait(lab: &Lab, placed: Placed<'_>) -> Option<String> {
    match placed.role {
        // register.node survives crashes, and its names come back damaged: proxies were seen to loop over them (spec
        // 2.4, #106). XC's own pgxc_ctl deletes it before every start of the GTM. Here it goes at the first start after
        // a boot of the guest, for then the stack below starts anew too or registers again through its proxies, and it
        // stays when only the daemon is restarted below a running stack. What remains: after a reboot of this guest
        // alone the standby is unknown to the GTM until the standby is restarted.
        Role::Gtm => {
            let directory = &placed.component.directory;
            Some(format!(
                "read -r boot </proc/sys/kernel/random/boot_id; was=; [ -e {directory}/.boot ] && read -r was <{directory}/.boot; \
                 [ \"$boot\" = \"$was\" ] || {{ rm -f {directory}/register.node && echo \"$boot\" >{directory}/.boot; }}"
            ))
        }
        // A standby without a reachable GTM exits or hangs (spec 2.5), a proxy exits (2.7).
        Role::GtmStandby | Role::GtmProxy => {
            let gtm = lab.placed(Role::Gtm).into_iter().next()?;
            Some(unit::until_gtm(gtm.node.name.as_str(), gtm.component.port))
        }
        // They register through the proxy and give up when that fails twice; systemd starts them again.
        Role::Datanode | Role::Coordinator => None,
    }
}

/// The unit that notes the next GXID of the GTM on this node.
pub(crate) fn mark_text(lab: &Lab, gtm: Placed<'_>) -> String {
    format!(
        "# Written by pgxc-lab.\n[Unit]\nDescription=pgxc-lab: note the next GXID of the GTM\nBindsTo={gtm_unit}\nAfter={gtm_unit}\n\
         StartLimitIntervalSec=0\n\n[Service]\nType=simple\nUser={user}\nGroup={user}\nUMask=0077\n\
         ExecStart={MARK_PROGRAM} watch {port} {directory}\nRestart=always\nRestartSec=5\n",
        gtm_unit = name(Role::Gtm),
        user = lab.guest.user,
        port = gtm.component.port,
        directory = gtm.component.directory,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::document;

    fn unit(node: usize, role: Role) -> String {
        let lab = document();
        let placed = lab.components_of(&lab.nodes[node]).into_iter().find(|placed| placed.role == role).unwrap();
        text(&lab, placed)
    }

    #[test]
    fn run_in_the_foreground() {
        for (node, role, command) in [
            (0, Role::Gtm, "/usr/lib/pgxc-lab/gxid-mark run /opt/pgxc_1.0.2 /data02/pgxc_gtm"),
            (1, Role::GtmStandby, "/opt/pgxc_1.0.2/bin/gtm -D /data02/pgxc_gtm"),
            (2, Role::GtmProxy, "/opt/pgxc_1.0.2/bin/gtm_proxy -D /data02/pgxc_gtm_proxy"),
            (2, Role::Datanode, "/opt/pgxc_1.0.2/bin/postgres -X -D /data02/pgxc_datanode"),
            (2, Role::Coordinator, "/opt/pgxc_1.0.2/bin/postgres -C -D /data02/pgxc_coordinate"),
        ] {
            let text = unit(node, role);
            assert!(text.contains(&format!("\nExecStart={command}\n")), "{text}");
            assert!(text.contains("RequiresMountsFor=/data02 /opt/pgxc_1.0.2\n"));
            assert!(text.contains("[ -e /data02/.pgxc-lab-guard ]"));
            assert!(text.contains("StartLimitIntervalSec=0\n"));
        }
    }

    #[test]
    fn start_in_order_and_stop_fast() {
        let coordinator = unit(2, Role::Coordinator);
        assert!(
            coordinator.contains("After=pgxc-gtm-proxy.service\n")
                && coordinator.contains("After=pgxc-datanode.service\n")
        );
        assert!(coordinator.contains("KillSignal=SIGINT\nRestart=on-failure\n"));
        let proxy = unit(2, Role::GtmProxy);
        assert!(
            proxy.contains("/dev/tcp/db-192-168-122-171/1921")
                && proxy.contains("SuccessExitStatus=1\nRestart=always\n")
        );
        assert!(proxy.contains("until [ -e /data02/pgxc_gtm_proxy/gtm_proxy.opts ]"));
        for role in [Role::Datanode, Role::Coordinator, Role::GtmProxy] {
            assert!(!unit(2, role).contains("/1924"), "nobody connects to a proxy's port");
        }
    }
}
