//! systemd units of the components, the same frame for both engines; the init scripts of script.rs come from the same
//! description.

use crate::lab::{Component, Lab, Limit, Role};

/// File in the root of every export, written by pgxc-lab when it makes the export: where it is missing, the export
/// is not mounted and nothing may start or initialise (spec 1.14.18).
pub const GUARD: &str = ".pgxc-lab-guard";

/// How often a unit is tried again is not limited: a node that boots before its GTM waits as long as it takes.
const RESTART_SECONDS: u32 = 3;

/// What differs between the units.
pub(crate) struct Unit<'a> {
    /// The component's kind.
    pub role: Role,
    /// One line for people.
    pub description: String,
    /// Units of the same guest that must be up before this one, where they exist.
    pub after: Vec<&'a str>,
    /// Paths whose file systems it needs, besides the export.
    pub mounts: Vec<&'a str>,
    /// Data directory.
    pub directory: &'a str,
    /// File that proves that the directory was initialised, relative to it.
    pub proof: &'a str,
    /// The server's pid file, relative to the directory.
    pub pid_file: &'a str,
    /// Files removed before every start and after every end, relative to the directory.
    pub stale: Vec<&'a str>,
    /// `Environment=` values.
    pub environment: Vec<String>,
    /// Shell text run between the checks and the server.
    pub wait: Option<String>,
    /// The server's command line.
    pub command: String,
    /// A command that runs while the server does, where no other unit runs it.
    pub beside: Option<String>,
    /// Shell text that ends when the server listens.
    pub listening: Option<String>,
    /// How the server is stopped.
    pub stop: Stop,
    /// The database's max_stack_depth, where it is set.
    pub stack_depth: Option<&'a str>,
}

/// The parameter that [`Unit::stack_depth`] wants.
pub(crate) fn stack_depth(component: &Component) -> Option<&str> {
    component.parameters.iter().rev().find(|(key, _)| key == "max_stack_depth").map(|(_, value)| value.as_str())
}

/// The stack that a database needs: it refuses to start when max_stack_depth comes nearer than 512 kB to its limit, and
/// the document's 8MB is Debian's whole stack (CentOS 5 gave 10 MB).
fn stack_limit(depth: &str) -> Option<String> {
    let digits = depth.find(|c: char| !c.is_ascii_digit()).unwrap_or(depth.len());
    let number: u64 = depth[..digits].parse().ok()?;
    let kib = match depth[digits..].trim() {
        "" | "kB" => number,
        "MB" => number.checked_mul(1 << 10)?,
        "GB" => number.checked_mul(1 << 20)?,
        _ => return None,
    };
    Some(format!("LimitSTACK={}K", kib.checked_add(2048)?))
}

/// How a server is stopped and what its end means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// PostgreSQL's fast shutdown: a smart one waits for the poolers of other coordinators (spec 2.3).
    Fast,
    /// gtm and gtm_proxy: every signal is a clean shutdown, whose exit status is 1 (spec 2.5). An end that was not
    /// asked for has the same status, so these are restarted whatever it is.
    Terminate,
}

impl Unit<'_> {
    /// The unit's text.
    pub(crate) fn render(&self, lab: &Lab) -> String {
        let mut text = format!("# Written by pgxc-lab.\n[Unit]\nDescription={}\n", escape(&self.description));
        let mounts =
            std::iter::once(lab.nfs.mount.as_str()).chain(self.mounts.iter().copied()).collect::<Vec<_>>().join(" ");
        text.push_str(&format!("RequiresMountsFor={mounts}\n"));
        // chronyd steps the clock at boot, and GTM hands out timestamps. A clone of a template sets its kernel parameters
        // later than a guest that boots.
        text.push_str(
            "Wants=network-online.target\nAfter=network-online.target remote-fs.target chrony.service systemd-sysctl.service\n",
        );
        for unit in &self.after {
            text.push_str(&format!("Wants={unit}\nAfter={unit}\n"));
        }
        text.push_str("StartLimitIntervalSec=0\n\n[Service]\nType=simple\n");
        text.push_str(&format!("User={0}\nGroup={0}\nUMask=0077\n", lab.guest.user));
        for variable in &self.environment {
            text.push_str(&format!("Environment=\"{}\"\n", escape(variable)));
        }
        let mut limits = limits(&lab.guest.limits, lab.guest.user.as_str());
        if !limits.iter().any(|limit| limit.starts_with("LimitSTACK=")) {
            limits.extend(self.stack_depth.and_then(stack_limit));
        }
        for limit in limits {
            text.push_str(&limit);
            text.push('\n');
        }
        text.push_str(&format!("ExecStartPre=/bin/sh -c '{}'\n", shell(&self.checks(lab))));
        if let Some(wait) = &self.wait {
            text.push_str(&format!("ExecStartPre=/bin/bash -c '{}'\n", shell(wait)));
        }
        text.push_str(&format!("ExecStart={}\n", escape(&self.command)));
        if let Some(listening) = &self.listening {
            text.push_str(&format!("ExecStartPost=/bin/sh -c '{}'\n", shell(listening)));
        }
        // What says that it listens must not outlive it: a proxy cannot be asked.
        let leaves: Vec<String> = self.stale.iter().map(|file| format!(" {}/{file}", self.directory)).collect();
        if !leaves.is_empty() {
            text.push_str(&format!("ExecStopPost=/bin/rm -f{}\n", escape(&leaves.concat())));
        }
        let (signal, restart) = match self.stop {
            Stop::Fast => ("SIGINT", "on-failure"),
            Stop::Terminate => ("SIGTERM\nSuccessExitStatus=1", "always"),
        };
        text.push_str(&format!(
            "KillMode=mixed\nKillSignal={signal}\nRestart={restart}\nRestartSec={RESTART_SECONDS}\n"
        ));
        text.push_str(
            "TimeoutStartSec=600\nTimeoutStopSec=120\nOOMScoreAdjust=-500\n\n[Install]\nWantedBy=multi-user.target\n",
        );
        text
    }

    /// Refuses to start beside the export or on an empty directory; removes what a crash left.
    ///
    /// A pid file of a crashed guest may name a live process of the same user, and the server would refuse to start
    /// (spec 2.6): it is stale unless that process works in this very directory. So are the locks of PostgreSQL's sockets,
    /// `.s.PGSQL.1921.lock` and that of Postgres-XC's pooler, `.s.PGPOOL.1922.lock`: after a power cut, that of a datanode may
    /// name what is now the coordinator.
    pub(super) fn checks(&self, lab: &Lab) -> String {
        let Unit { directory, proof, pid_file, .. } = self;
        let stale: Vec<String> = self.stale.iter().map(|file| format!(" {directory}/{file}")).collect();
        let remove = if stale.is_empty() { String::new() } else { format!(" rm -f{};", stale.concat()) };
        format!(
            "[ -e {mount}/{GUARD} ] || {{ echo \"pgxc-lab: {mount} is not this node's export\" >&2; exit 1; }}; \
             [ -s {directory}/{proof} ] || {{ echo \"pgxc-lab: {directory} is not initialised ({proof} is missing)\" >&2; exit 1; }}; \
             for file in {directory}/{pid_file} {directory}/.s.PG*.lock; do [ -e \"$file\" ] || continue; \
             pid=; read -r pid <\"$file\"; [ \"/proc/${{pid#-}}/cwd\" -ef {directory} ] || rm -f \"$file\"; done;{remove}",
            mount = lab.nfs.mount,
        )
    }
}

/// Shell text that ends when `file` is there; the servers of the gtm family write their .opts file when they listen.
/// It fails at once when the server has ended, so that systemd can start it again.
pub(crate) fn until_file(file: &str) -> String {
    format!("until [ -e {file} ]; do kill -0 \"$MAINPID\" 2>/dev/null || exit 1; sleep 0.5; done")
}

/// bash text that ends when a bare TCP connection succeeds; host and port may be variables. Only ever for a GTM or its standby: on a proxy it
/// dead-locks the worker (spec 2.7).
pub(crate) fn until_gtm(host: &str, port: &str) -> String {
    format!(
        "for ((i = 0; i < 240; i++)); do (exec 3<>/dev/tcp/{host}/{port}) 2>/dev/null && exit 0; sleep 1; done; \
         echo \"pgxc-lab: no GTM answers at {host}:{port}\" >&2; exit 1"
    )
}

/// Text inside single quotes of an Exec line: systemd expands `%` and `$` first.
fn shell(text: &str) -> String {
    escape(text).replace('$', "$$").replace('\'', "\\'")
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "%%")
}

/// The name of the unit that mounts `path`, by systemd.unit(5)'s rules for paths.
pub(crate) fn mount_unit(path: &str) -> String {
    let trimmed = path.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    let mut name = String::new();
    for (index, byte) in trimmed.bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if index == 0 => name.push_str("\\x2e"),
            b'.' | b'_' | b':' => name.push(byte.into()),
            byte if byte.is_ascii_alphanumeric() => name.push(byte.into()),
            byte => name.push_str(&format!("\\x{byte:02x}")),
        }
    }
    format!("{}.mount", if name.is_empty() { "-" } else { &name })
}

/// limits.conf does not reach systemd's services (spec 1.8): the same limits as directives.
fn limits(limits: &[Limit], user: &str) -> Vec<String> {
    // limits.conf counts these in KiB, systemd in bytes.
    const ITEMS: [(&str, &str, &str); 14] = [
        ("nofile", "NOFILE", ""),
        ("nproc", "NPROC", ""),
        ("core", "CORE", "K"),
        ("memlock", "MEMLOCK", "K"),
        ("stack", "STACK", "K"),
        ("data", "DATA", "K"),
        ("fsize", "FSIZE", "K"),
        ("rss", "RSS", "K"),
        ("as", "AS", "K"),
        ("cpu", "CPU", "min"),
        ("sigpending", "SIGPENDING", ""),
        ("msgqueue", "MSGQUEUE", ""),
        ("locks", "LOCKS", ""),
        ("rtprio", "RTPRIO", ""),
    ];
    let find = |item: &str, kind: &str| {
        // A line for the user wins over one for everybody; among equals the last.
        limits
            .iter()
            .filter(|limit| limit.item == item && (limit.kind == kind || limit.kind == "-"))
            .filter(|limit| limit.domain == "*" || limit.domain == user)
            .max_by_key(|limit| limit.domain != "*")
            .map(|limit| limit.value.as_str())
    };
    let mut directives = Vec::new();
    for (item, name, unit) in ITEMS {
        let text = |value: &str| match value {
            "unlimited" | "infinity" | "-1" => "infinity".to_owned(),
            number => format!("{number}{unit}"),
        };
        match (find(item, "soft"), find(item, "hard")) {
            (None, None) => {}
            (Some(both), None) | (None, Some(both)) => directives.push(format!("Limit{name}={}", text(both))),
            (Some(soft), Some(hard)) if soft == hard => directives.push(format!("Limit{name}={}", text(soft))),
            (Some(soft), Some(hard)) => directives.push(format!("Limit{name}={}:{}", text(soft), text(hard))),
        }
    }
    directives
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::document;

    #[test]
    fn names_of_mount_units() {
        for (path, name) in [
            ("/opt/pgxc_1.0.2", "opt-pgxc_1.0.2.mount"),
            ("/data02/", "data02.mount"),
            ("/a-b//c d", "a\\x2db-c\\x20d.mount"),
            ("/.x", "\\x2ex.mount"),
            ("/", "-.mount"),
        ] {
            assert_eq!(mount_unit(path), name);
        }
    }

    #[test]
    fn limits_of_the_document() {
        let expected = ["LimitNOFILE=131072", "LimitNPROC=131072", "LimitCORE=infinity", "LimitMEMLOCK=50000000K"];
        assert_eq!(limits(&document().guest.limits, "pgxc"), expected);
    }

    #[test]
    fn limits_by_user_and_kind() {
        let limit = |domain: &str, kind: &str, value: &str| Limit {
            domain: domain.to_owned(),
            kind: kind.to_owned(),
            item: "nofile".to_owned(),
            value: value.to_owned(),
        };
        let given =
            [limit("pgxc", "soft", "10"), limit("*", "soft", "5"), limit("*", "hard", "20"), limit("other", "-", "1")];
        assert_eq!(limits(&given, "pgxc"), ["LimitNOFILE=10:20"]);
        assert_eq!(limits(&[limit("*", "-", "unlimited")], "pgxc"), ["LimitNOFILE=infinity"]);
    }

    #[test]
    fn locks_that_name_others_do_not_keep_a_server_from_starting() {
        let root = tempfile::tempdir().expect("a directory");
        let mut lab = document();
        lab.nfs.mount = root.path().display().to_string();
        let directory = format!("{}/coordinate", lab.nfs.mount);
        std::fs::create_dir(&directory).expect("a directory");
        let unit = Unit {
            role: Role::Coordinator,
            description: "a test".into(),
            after: Vec::new(),
            mounts: Vec::new(),
            directory: &directory,
            proof: "PG_VERSION",
            pid_file: "postmaster.pid",
            stale: Vec::new(),
            environment: Vec::new(),
            wait: None,
            command: String::new(),
            beside: None,
            listening: None,
            stop: Stop::Terminate,
            stack_depth: None,
        };
        let mut own =
            std::process::Command::new("sleep").arg("60").current_dir(&directory).spawn().expect("sleep runs");
        // This process is none of that directory's, and what is below runs in it.
        let (other, own_id) = (std::process::id(), own.id());
        for (name, text) in [
            ("PG_VERSION", "9.1\n".to_owned()),
            ("postmaster.pid", format!("{other}\n/data\n")),
            (".s.PGSQL.1921.lock", format!("-{other}\n/data\n")),
            (".s.PGPOOL.1922.lock", format!("{other}\n/data\n")),
            (".s.PGSQL.1923.lock", format!("{own_id}\n/data\n")),
        ] {
            std::fs::write(format!("{directory}/{name}"), text).expect("a file");
        }
        std::fs::write(format!("{}/{GUARD}", lab.nfs.mount), "").expect("a file");
        let checked = std::process::Command::new("bash").args(["-c", &unit.checks(&lab)]).status();
        own.kill().expect("it ends");
        own.wait().expect("it ends");
        assert!(checked.expect("bash runs").success());
        let left = ["postmaster.pid", ".s.PGSQL.1921.lock", ".s.PGPOOL.1922.lock", ".s.PGSQL.1923.lock"]
            .map(|name| std::path::Path::new(&directory).join(name).exists());
        assert_eq!(left, [false, false, false, true]);
    }

    #[test]
    fn stacks() {
        for (depth, limit) in
            [("8MB", Some("LimitSTACK=10240K")), ("2048", Some("LimitSTACK=4096K")), ("x", None), ("1TB", None)]
        {
            assert_eq!(stack_limit(depth).as_deref(), limit, "{depth}");
        }
    }

    #[test]
    fn text_in_exec_lines() {
        assert_eq!(shell("echo '%p' $x \\"), "echo \\'%%p\\' $$x \\\\");
    }
}
