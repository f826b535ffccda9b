//! The units of the five kinds of components (spec 2.3 to 2.11).
//!
//! Every server runs directly in the foreground: gtm_ctl's and pg_ctl's exit codes say nothing and their children hold
//! the caller's terminal (spec 2.3, 2.5, 2.6).

use super::super::unit::{self, Stop, Unit};
use crate::lab::{Lab, Placed, Role};

/// Where the helper of the GTM lies in a guest.
pub(crate) const MARK_PROGRAM: &str = "/usr/lib/pgxc-lab/gxid-mark";
/// The unit that notes the GTM's next GXID.
pub(crate) const MARK_UNIT: &str = "pgxc-gxid-mark.service";

/// The name of a kind's unit. GTM and standby have the same, and the same text: who is who is in gtm.conf alone, so that
/// a failover changes one file on the export and nothing in the guest.
pub(crate) fn name(role: Role) -> &'static str {
    match role {
        Role::Gtm | Role::GtmStandby => "pgxc-gtm.service",
        Role::GtmProxy => "pgxc-gtm-proxy.service",
        Role::Datanode => "pgxc-datanode.service",
        Role::Coordinator => "pgxc-coordinator.service",
    }
}

/// A component's unit.
pub(crate) fn unit<'a>(lab: &'a Lab, placed: Placed<'a>) -> Unit<'a> {
    let prefix = &lab.cluster.prefix;
    let directory = placed.component.directory.as_str();
    let before = Role::ALL.into_iter().filter(|role| *role < placed.role && placed.node.roles.contains_key(role));
    let (program, options) = match placed.role {
        // A standby passes over where it is to go on: it asks its GTM. After a promotion it matters.
        Role::Gtm | Role::GtmStandby => (MARK_PROGRAM.to_owned(), format!("run {prefix} {directory}")),
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
        role: placed.role,
        description: format!("Postgres-XC {} {}", kind(placed.role), placed.name),
        after: before.map(name).collect(),
        mounts: vec![prefix],
        directory,
        proof: files.proof,
        pid_file: files.pid,
        // gtm.opts would also bring an old -x back (spec 2.5). What a proxy that was killed has in its register is never
        // let in again: it reads that back as connected, and then answers the same registration for ever, with a core's
        // whole time. XC's own pgxc_ctl deletes it, too.
        stale: files.options.into_iter().chain((placed.role == Role::GtmProxy).then_some("register.node")).collect(),
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
        wait: wait(placed),
        command: format!("{program} {options}"),
        // systemd has a unit for it.
        beside: matches!(placed.role, Role::Gtm | Role::GtmStandby).then(|| watch(placed.component.port, directory)),
        listening: files.options.map(|options| unit::until_file(&format!("{directory}/{options}"))),
        stop: match placed.role {
            Role::Gtm | Role::GtmStandby | Role::GtmProxy => Stop::Terminate,
            Role::Datanode | Role::Coordinator => Stop::Fast,
        },
        stack_depth: unit::stack_depth(placed.component),
    }
}

/// The command that notes the next GXID of a GTM.
fn watch(port: u16, directory: &str) -> String {
    format!("{MARK_PROGRAM} watch {port} {directory}")
}

struct Files {
    proof: &'static str,
    pid: &'static str,
    options: Option<&'static str>,
}

/// A kind in a unit's description.
fn kind(role: Role) -> &'static str {
    match role {
        Role::Gtm | Role::GtmStandby => "GTM",
        Role::GtmProxy => "GTM proxy",
        Role::Datanode | Role::Coordinator => role.as_str(),
    }
}

/// What a component does before it starts.
fn wait(placed: Placed<'_>) -> Option<String> {
    let directory = &placed.component.directory;
    match placed.role {
        // register.node survives crashes, and its names come back damaged: proxies were seen to loop over them (spec
        // 2.4, #106). XC's own pgxc_ctl deletes it before every start of the GTM. Here it goes at the first start after
        // a boot of the guest, for then the stack below starts anew too or registers again through its proxies, and it
        // stays when only the daemon is restarted below a running stack. What remains: after a reboot of this guest
        // alone the standby is unknown to the GTM until the standby is restarted.
        //
        // A standby takes everything from its GTM. What it wrote itself when it ended, or was left by the GTM that it once
        // was, goes: after a promotion and a crash it would bring old sequence values back. Without a reachable GTM it
        // exits or hangs (spec 2.5).
        Role::Gtm | Role::GtmStandby => Some(format!(
            "read -r boot </proc/sys/kernel/random/boot_id; was=; [ -e {directory}/.boot ] && read -r was <{directory}/.boot; \
             {read}; if [ \"$startup\" = STANDBY ]; then rm -f {directory}/register.node {directory}/gtm.control; was=; fi; \
             [ \"$boot\" = \"$was\" ] || {{ rm -f {directory}/register.node && echo \"$boot\" >{directory}/.boot; }}; \
             [ \"$startup\" = STANDBY ] || exit 0; {until}",
            read = read_conf(&format!("{directory}/gtm.conf"), &["startup", "active_host", "active_port"]),
            until = unit::until_gtm("$active_host", "$active_port"),
        )),
        // It exits without a reachable GTM (spec 2.7).
        Role::GtmProxy => Some(format!(
            "{}; {}",
            read_conf(&format!("{directory}/gtm_proxy.conf"), &["gtm_host", "gtm_port"]),
            unit::until_gtm("$gtm_host", "$gtm_port"),
        )),
        // They register through the proxy and give up when that fails twice; systemd starts them again.
        Role::Datanode | Role::Coordinator => None,
    }
}

/// POSIX text that sets a variable for each of these keys of a configuration file; the last line of a key wins, as for
/// the servers, and GTM itself appends lines when it is promoted.
pub(super) fn read_conf(file: &str, keys: &[&str]) -> String {
    let unset: Vec<String> = keys.iter().map(|key| format!("{key}=;")).collect();
    let cases: Vec<String> = keys.iter().map(|key| format!("{key}) {key}=$value ;;")).collect();
    format!(
        "{} while read -r key _ value; do value=${{value#\\'}}; value=${{value%\\'}}; case $key in {} esac; done <{file}",
        unset.join(" "),
        cases.join(" ")
    )
}

/// The unit that notes the next GXID of the GTM on this node.
pub(crate) fn mark_text(lab: &Lab, gtm: Placed<'_>) -> String {
    format!(
        "# Written by pgxc-lab.\n[Unit]\nDescription=pgxc-lab: note the next GXID of the GTM\nBindsTo={gtm_unit}\nAfter={gtm_unit}\n\
         StartLimitIntervalSec=0\n\n[Service]\nType=simple\nUser={user}\nGroup={user}\nUMask=0077\n\
         ExecStart={watch}\nRestart=always\nRestartSec=5\n",
        gtm_unit = name(Role::Gtm),
        user = lab.guest.user,
        watch = watch(gtm.component.port, &gtm.component.directory),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::document;

    fn unit(node: usize, role: Role) -> String {
        let lab = document();
        let placed = lab.components_of(&lab.nodes[node]).into_iter().find(|placed| placed.role == role).unwrap();
        super::unit(&lab, placed).render(&lab)
    }

    #[test]
    fn run_in_the_foreground() {
        for (node, role, command) in [
            (0, Role::Gtm, "/usr/lib/pgxc-lab/gxid-mark run /opt/pgxc_1.0.2 /data02/pgxc_gtm"),
            (1, Role::GtmStandby, "/usr/lib/pgxc-lab/gxid-mark run /opt/pgxc_1.0.2 /data02/pgxc_gtm"),
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

    /// What `gxid-mark run` starts a GTM with, after each of these changes to its data directory.
    #[test]
    fn a_gtm_that_crashed_goes_on_beyond_whatever_it_gave_out() {
        use std::{fs, os::unix::fs::PermissionsExt, process::Command};
        let root = tempfile::tempdir().expect("a temporary directory");
        let [prefix, directory] = ["prefix", "gtm"].map(|name| root.path().join(name));
        fs::create_dir_all(prefix.join("bin")).expect("it is new");
        fs::create_dir(&directory).expect("it is new");
        let gtm = prefix.join("bin/gtm");
        fs::write(&gtm, "#!/bin/sh\nshift 2\necho started \"$@\"\n").expect("it writes");
        fs::set_permissions(&gtm, fs::Permissions::from_mode(0o755)).expect("it is there");
        let script = root.path().join("gxid-mark");
        fs::write(&script, include_str!("gxid-mark.sh")).expect("it writes");
        let start = || {
            let ran =
                Command::new("bash").arg(&script).arg("run").args([&prefix, &directory]).output().expect("it runs");
            assert!(ran.status.success() && ran.stderr.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
            let said = String::from_utf8_lossy(&ran.stdout);
            said.lines().last().and_then(|line| line.strip_prefix("started")).expect("it starts").trim().to_owned()
        };
        let put = |name: &str, content: &[u8]| fs::write(directory.join(name), content).expect("it writes");
        // An orderly end replaces it; on a filesystem whose times are coarse, too.
        let ends = |gxid: u32| {
            let _ = fs::remove_file(directory.join("gtm.control"));
            put("other", &gxid.to_le_bytes());
            put("gtm.control", &gxid.to_le_bytes());
        };
        assert_eq!(start(), "", "a new one");
        assert_eq!(start(), "-x 1000000", "it crashed before the first mark");
        ends(1_000_200);
        assert_eq!(start(), "", "it ended in an orderly way");
        put("gxid-mark.0", b"1000200\n");
        assert_eq!(start(), "-x 2000200", "it crashed before the first mark that is beyond its end");
        put("gxid-mark.1", b"2000300\n");
        assert_eq!(start(), "-x 3000300", "it crashed after one");
        ends(3_000_400);
        assert_eq!(start(), "");
        ends(3_000_400);
        assert_eq!(start(), "", "an orderly end without any GXID in between");
        // GXIDs wrap around.
        ends(u32::MAX - 5);
        put("gxid-mark.0", b"20\n");
        put("gxid-mark.1", b"0\n");
        assert_eq!(start(), "-x 1000020");
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
            proxy.contains("/dev/tcp/$$gtm_host/$$gtm_port") && proxy.contains("SuccessExitStatus=1\nRestart=always\n")
        );
        assert!(proxy.contains("until [ -e /data02/pgxc_gtm_proxy/gtm_proxy.opts ]"));
        assert!(proxy.contains("rm -f /data02/pgxc_gtm_proxy/gtm_proxy.opts /data02/pgxc_gtm_proxy/register.node"));
        assert!(!unit(0, Role::Gtm).contains("gtm.opts /data02/pgxc_gtm/register.node"), "a GTM keeps its own");
        for role in [Role::Datanode, Role::Coordinator, Role::GtmProxy] {
            assert!(!unit(2, role).contains("/1924"), "nobody connects to a proxy's port");
        }
    }
}
