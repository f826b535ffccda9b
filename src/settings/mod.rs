//! Configuration that runs against configuration that lab.yaml asks for.
//!
//! Databases are asked for what they run with. The GTM and its proxies tell nobody, so their files are compared: with
//! those that lie on the exports.

mod look;
mod value;

pub use look::Look;
pub use value::Seen;

use crate::engine::{Row, conf};

/// What [`seen`] reads: every parameter that a file set, and all others, which may be asked for.
pub const QUERY: &str = "select name, setting, coalesce(unit, ''), vartype, context, source from pg_settings";

/// A parameter, or a whole file, that differs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// Its name.
    pub parameter: String,
    /// The value of lab.yaml; `None`: it says nothing, so the server's default holds.
    pub wanted: Option<String>,
    /// The value that runs, or stands in the component's file; `None`: there is none.
    pub runs: Option<String>,
    /// What brings the value of lab.yaml into effect.
    pub needs: Needs,
}

/// What brings a value into effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Needs {
    /// The server reads its files again; sessions go on.
    Reload,
    /// The component is started anew.
    Restart,
}

impl Needs {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Needs::Reload => "reload",
            Needs::Restart => "restart",
        }
    }
}

/// Rows of [`QUERY`].
pub fn seen(rows: Vec<Row>) -> Vec<Seen> {
    rows.into_iter()
        .filter_map(|row| {
            let mut values = row.into_iter().map(Option::unwrap_or_default);
            Some(Seen {
                name: values.next()?,
                setting: values.next()?,
                unit: values.next()?,
                kind: values.next()?,
                context: values.next()?,
                from_file: values.next()? == "configuration file",
            })
        })
        .collect()
}

/// What differs between the text of a wanted postgresql.conf and a server.
pub fn running(wanted: &str, seen: &[Seen]) -> Vec<Difference> {
    let wanted = conf::parse(wanted);
    let mut differences = Vec::new();
    for (name, value) in &wanted {
        let known = seen.iter().find(|seen| seen.name.eq_ignore_ascii_case(name));
        if known.is_some_and(|seen| value::is_same(value, seen)) {
            continue;
        }
        differences.push(Difference {
            parameter: name.clone(),
            wanted: Some(value.clone()),
            runs: known.map(shown),
            needs: known.map_or(Needs::Restart, needs),
        });
    }
    for seen in seen.iter().filter(|seen| seen.from_file) {
        if !wanted.iter().any(|(name, _)| name.eq_ignore_ascii_case(&seen.name)) {
            let (parameter, runs) = (seen.name.clone(), Some(shown(seen)));
            differences.push(Difference { parameter, wanted: None, runs, needs: needs(seen) });
        }
    }
    differences
}

/// What differs between two files of parameters.
pub fn written(wanted: &str, there: &str) -> Vec<Difference> {
    let (wanted, there) = (conf::parse(wanted), conf::parse(there));
    let value = |list: &[(String, String)], name: &str| {
        list.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    };
    let only_there = there.iter().filter(|(name, _)| value(&wanted, name).is_none());
    wanted
        .iter()
        .chain(only_there)
        .map(|(name, _)| Difference {
            parameter: name.clone(),
            wanted: value(&wanted, name),
            runs: value(&there, name),
            // Signals end them, every one (spec 2.5).
            needs: Needs::Restart,
        })
        .filter(|difference| difference.wanted != difference.runs)
        .collect()
}

fn needs(seen: &Seen) -> Needs {
    // The stack's limit stands in the unit: only a start sets it.
    let starts = seen.context == "postmaster" || seen.name == "max_stack_depth";
    if starts { Needs::Restart } else { Needs::Reload }
}

/// A value with its unit, as a person reads it: `16384 x 8kB`.
fn shown(seen: &Seen) -> String {
    match seen.unit.as_str() {
        "" => seen.setting.clone(),
        unit if unit.starts_with(|c: char| c.is_ascii_digit()) => format!("{} x {unit}", seen.setting),
        unit => format!("{}{unit}", seen.setting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Row {
        text.split('|').map(|value| Some(value.to_owned())).collect()
    }

    #[test]
    fn what_runs_is_compared() {
        let rows = [
            "max_connections|100||integer|postmaster|configuration file",
            "shared_buffers|8192|8kB|integer|postmaster|configuration file",
            "wal_writer_delay|200|ms|integer|sighup|configuration file",
            "work_mem|4096|kB|integer|user|configuration file",
            "geqo|on||bool|user|default",
        ];
        let wanted = "# x\nmax_connections = 210\nshared_buffers = 64MB\nwal_writer_delay = 10ms\ngeqo = off\nnew_one = 'a''b'\n";
        let differences = running(wanted, &seen(rows.map(row).to_vec()));
        let lines: Vec<String> = differences
            .iter()
            .map(|d| {
                let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
                format!("{} {} {} {}", d.parameter, value(&d.wanted), value(&d.runs), d.needs.as_str())
            })
            .collect();
        assert_eq!(
            lines,
            [
                "max_connections 210 100 restart",
                "wal_writer_delay 10ms 200ms reload",
                "geqo off on reload",
                "new_one a'b - restart",
                "work_mem - 4096kB reload",
            ]
        );
    }

    #[test]
    fn files_are_compared() {
        let differences =
            written("nodename = 'one'\nport = 1921\nkeepalives_idle = 60\n", "nodename = 'one'\nport = 1\nx = 2\n");
        let names: Vec<&str> = differences.iter().map(|difference| difference.parameter.as_str()).collect();
        assert_eq!(names, ["port", "keepalives_idle", "x"]);
        assert!(differences.iter().all(|difference| difference.needs == Needs::Restart));
        assert_eq!(written("a = 1\n", "a = 1\n# b = 2\n"), []);
    }
}
