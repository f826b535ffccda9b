//! Parameters of Postgres-XC 1.0 (PostgreSQL 9.1) as PostgreSQL 15 knows them.

/// What became of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It has another name and keeps its value.
    Renamed(&'static str),
    /// It counts WAL segments of 16 MB; the successor takes this many times as many megabytes.
    Segments(&'static str, u64),
    /// There is no such thing any more.
    Gone,
    /// Its value is left to the server, for the reason beside it.
    Left,
}

/// Every parameter of the document that PostgreSQL 15 does not take as it is: what became of it, and why.
const TABLE: [(&str, Fate, &str); 20] = [
    ("unix_socket_directory", Fate::Renamed("unix_socket_directories"), "a list since 9.3"),
    (
        "checkpoint_segments",
        Fate::Segments("max_wal_size", 48),
        "9.5; its manual gives (3 * checkpoint_segments) * 16MB",
    ),
    ("wal_keep_segments", Fate::Segments("wal_keep_size", 16), "13"),
    ("wal_sender_delay", Fate::Gone, "9.2: senders sleep until there is something to send"),
    ("gtm_host", Fate::Gone, "Postgres-XC's"),
    ("gtm_port", Fate::Gone, "Postgres-XC's"),
    ("gtm_backup_barrier", Fate::Gone, "Postgres-XC's"),
    ("pgxc_node_name", Fate::Gone, "Postgres-XC's"),
    ("pooler_port", Fate::Gone, "Postgres-XC's"),
    ("min_pool_size", Fate::Gone, "Postgres-XC's"),
    ("max_pool_size", Fate::Gone, "Postgres-XC's"),
    ("persistent_datanode_connections", Fate::Gone, "Postgres-XC's"),
    ("max_coordinators", Fate::Gone, "Postgres-XC's"),
    ("max_datanodes", Fate::Gone, "Postgres-XC's"),
    ("enforce_two_phase_commit", Fate::Gone, "Postgres-XC's"),
    ("enable_fast_query_shipping", Fate::Gone, "Postgres-XC's"),
    ("enable_remotejoin", Fate::Gone, "Postgres-XC's"),
    ("enable_remotegroup", Fate::Gone, "Postgres-XC's"),
    ("strict_statement_checking", Fate::Gone, "Postgres-XC's"),
    // With wal_level = minimal a positive max_wal_senders is refused, and the default is 10 since version 10.
    ("max_wal_senders", Fate::Left, "set together with wal_level"),
];

/// Megabytes of a WAL segment.
const SEGMENT: u64 = 16;

/// The parameters for PostgreSQL 15, in order.
pub(super) fn translate(parameters: &[(String, String)]) -> Vec<(String, String)> {
    let mut result: Vec<(String, String)> = Vec::new();
    for (key, value) in parameters {
        let fate = TABLE.iter().find(|(name, ..)| name.eq_ignore_ascii_case(key)).map(|(_, fate, _)| *fate);
        match fate {
            None => result.push((key.clone(), modern_value(key, value).to_owned())),
            Some(Fate::Renamed(name)) => result.push((name.to_owned(), value.clone())),
            Some(Fate::Segments(name, times)) => {
                if let Ok(segments) = value.trim().parse::<u64>() {
                    // The least that the server takes is two segments.
                    let megabytes = segments.saturating_mul(times);
                    let least = if name == "max_wal_size" { 2 * SEGMENT } else { 0 };
                    result.push((name.to_owned(), format!("{}MB", megabytes.max(least))));
                }
            }
            Some(Fate::Gone | Fate::Left) => {}
        }
    }
    let of = |wanted: &str| parameters.iter().rev().find(|(key, _)| key == wanted).map(|(_, value)| value.as_str());
    let senders = if of("wal_level") == Some("minimal") { Some("0") } else { of("max_wal_senders") };
    if let Some(senders) = senders {
        result.push(("max_wal_senders".to_owned(), senders.to_owned()));
    }
    result
}

/// Values that got another name.
fn modern_value<'a>(key: &str, value: &'a str) -> &'a str {
    match (key, value) {
        ("wal_level", "hot_standby" | "archive") => "replica",
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::fixture::document, lab::Role};

    #[test]
    fn of_the_document() {
        let lab = document();
        let datanode = translate(&lab.cluster.components[&Role::Datanode].parameters);
        let coordinator = translate(&lab.cluster.components[&Role::Coordinator].parameters);
        for (parameters, key, value) in [
            (&datanode, "max_wal_size", Some("3072MB")),
            (&datanode, "wal_keep_size", Some("4096MB")),
            (&datanode, "unix_socket_directories", Some(".")),
            (&datanode, "wal_level", Some("replica")),
            (&datanode, "max_wal_senders", Some("32")),
            (&datanode, "wal_sender_delay", None),
            (&datanode, "checkpoint_segments", None),
            (&datanode, "shared_buffers", Some("1024MB")),
            (&coordinator, "max_wal_size", Some("6144MB")),
            (&coordinator, "max_wal_senders", Some("0")),
            (&coordinator, "max_coordinators", None),
            (&coordinator, "enable_remotejoin", None),
        ] {
            let found = parameters.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
            assert_eq!(found, value, "{key}");
        }
    }

    #[test]
    fn each_parameter_is_named_once() {
        for (index, (name, ..)) in TABLE.iter().enumerate() {
            assert!(TABLE[index + 1..].iter().all(|(other, ..)| other != name), "{name}");
        }
    }
}
