//! What starts a guest's services, and how it is spoken to: shell text for systemd, and for init scripts.

/// What starts a system's services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// systemd, by units.
    Systemd,
    /// System V's init, by scripts.
    Scripts,
}

/// Where init scripts lie. /etc/init.d is a link to it.
pub(crate) const SCRIPTS: &str = "/etc/rc.d/init.d";
/// Where the scripts of components keep what they and their servers say.
pub(crate) const SCRIPT_LOGS: &str = "/var/log/pgxc-lab";

/// The methods take names of units, `pgxc-gtm.service`; a script has the same name without the ending. Each gives whole lines
/// of POSIX shell, but for [`Init::runs`].
impl Init {
    /// The script of a unit.
    fn script(unit: &str) -> String {
        format!("{SCRIPTS}/{}", script_name(unit))
    }

    /// Starts a service and does not wait for it.
    pub fn start(self, unit: &str) -> String {
        match self {
            Init::Systemd => format!("systemctl start --no-block {unit}\n"),
            Init::Scripts => format!("{} start\n", Init::script(unit)),
        }
    }

    /// Starts services anew, in this order, by what the guest's files say now; ends when they are started.
    pub fn restart(self, units: &[&str]) -> String {
        match self {
            Init::Systemd => format!("systemctl daemon-reload\nsystemctl restart {}\n", units.join(" ")),
            Init::Scripts => {
                let stops = units.iter().rev().map(|unit| self.stop(unit));
                stops.chain(units.iter().map(|unit| self.start(unit))).collect()
            }
        }
    }

    /// Starts a service anew and does not wait for it.
    pub fn restart_soon(self, unit: &str) -> String {
        match self {
            Init::Systemd => format!("systemctl restart --no-block {unit}\n"),
            Init::Scripts => format!("{} restart </dev/null >/dev/null 2>&1 &\n", Init::script(unit)),
        }
    }

    /// Stops a service and waits for its end.
    pub fn stop(self, unit: &str) -> String {
        match self {
            Init::Systemd => format!("systemctl stop {unit}\n"),
            Init::Scripts => format!("{} stop\n", Init::script(unit)),
        }
    }

    /// A command that succeeds when a service runs.
    pub fn runs(self, unit: &str) -> String {
        match self {
            Init::Systemd => format!("systemctl is-active -q {unit}"),
            Init::Scripts => format!("{} status >/dev/null", Init::script(unit)),
        }
    }

    /// Runs `otherwise`, a list of commands, unless the service has ended and nothing is about to start it again; what the
    /// service is meanwhile is in `$state`.
    pub fn unless_ended(self, unit: &str, otherwise: &str) -> String {
        let (state, ended) = match self {
            Init::Systemd => (format!("systemctl show --value -p ActiveState {unit}"), "inactive | failed"),
            Init::Scripts => (format!("{} status", Init::script(unit)), "stopped"),
        };
        format!("state=$({state})\ncase $state in {ended}) ;; *) {otherwise} ;; esac\n")
    }

    /// Has the main process of each of these read its files again.
    pub fn reload(self, units: &[&str]) -> String {
        match self {
            Init::Systemd => format!("systemctl kill --signal=HUP --kill-who=main {}\n", units.join(" ")),
            Init::Scripts => units.iter().map(|unit| format!("{} reload\n", Init::script(unit))).collect(),
        }
    }

    /// Kills every process of a service, whether there is one or not.
    pub fn kill(self, unit: &str) -> String {
        match self {
            Init::Systemd => format!("systemctl kill --signal=KILL {unit} || true\n"),
            Init::Scripts => format!("{} kill || true\n", Init::script(unit)),
        }
    }

    /// What a person is shown of a service, with its last lines.
    pub fn status(self, unit: &str) -> String {
        match self {
            Init::Systemd => format!("systemctl --no-pager -l -n 15 status {unit}\n"),
            Init::Scripts => format!("{} status\n{}", Init::script(unit), self.log(unit, "15", Follow::No)),
        }
    }

    /// The last lines that a service wrote.
    pub fn log(self, unit: &str, lines: &str, follow: Follow) -> String {
        match (self, follow) {
            (Init::Systemd, Follow::No) => format!("journalctl --no-pager -q -n {lines} -u {unit}\n"),
            (Init::Systemd, Follow::Yes) => format!("journalctl --no-pager -q -n {lines} -f -u {unit}\n"),
            (Init::Scripts, Follow::No) => format!("tail -n {lines} {SCRIPT_LOGS}/{}.log\n", script_name(unit)),
            (Init::Scripts, Follow::Yes) => format!("tail -n {lines} -F {SCRIPT_LOGS}/{}.log\n", script_name(unit)),
        }
    }

    /// The last lines of everything that the guest wrote, with times; since then (seconds since 1970) where it can tell.
    pub fn journal(self, lines: &str, since: Option<i64>) -> String {
        match self {
            Init::Systemd => {
                let since = since.map(|since| format!(" --since=@{since}")).unwrap_or_default();
                format!("journalctl --no-pager --quiet -o short-precise -n {lines}{since}\n")
            }
            // syslog writes neither the year nor the zone: whoever reads it has to look for the time.
            Init::Scripts => format!("tail -q -n {lines} /var/log/messages {SCRIPT_LOGS}/*.log 2>/dev/null\n"),
        }
    }
}

/// Whether what comes later is shown, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Until somebody ends it.
    Yes,
    /// Only what is there.
    No,
}

/// The name of the script that stands for a unit.
pub(crate) fn script_name(unit: &str) -> &str {
    unit.strip_suffix(".service").unwrap_or(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_called_by_name_and_end_in_the_reverse_order() {
        let text = Init::Scripts.restart(&["pgxc-gtm-proxy.service", "pgxc-datanode.service"]);
        let expected = "/etc/rc.d/init.d/pgxc-datanode stop\n/etc/rc.d/init.d/pgxc-gtm-proxy stop\n\
                        /etc/rc.d/init.d/pgxc-gtm-proxy start\n/etc/rc.d/init.d/pgxc-datanode start\n";
        assert_eq!(text, expected);
    }

    /// A guest without systemd is never asked for it.
    #[test]
    fn each_speaks_to_its_own() {
        let all = |init: Init| {
            let unit = "pgxc-gtm.service";
            [
                init.start(unit),
                init.restart(&[unit]),
                init.restart_soon(unit),
                init.stop(unit),
                init.runs(unit),
                init.unless_ended(unit, "exit 3"),
                init.reload(&[unit]),
                init.kill(unit),
                init.status(unit),
                init.log(unit, "5", Follow::Yes),
                init.journal("5", Some(1)),
            ]
        };
        for (systemd, scripts) in all(Init::Systemd).iter().zip(all(Init::Scripts)) {
            assert!(systemd.contains("systemctl ") || systemd.contains("journalctl "), "{systemd}");
            assert!(!scripts.contains("ctl ") && !scripts.contains(".service"), "{scripts}");
        }
    }
}
