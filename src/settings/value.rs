//! Whether a value of lab.yaml is the one that pg_settings tells, which has another form.

/// A parameter as pg_settings tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Its value, a number in `unit`s.
    pub setting: String,
    /// `kB`, `8kB`, `ms` …; empty for plain numbers and whatever is no number.
    pub unit: String,
    /// `bool`, `enum`, `integer`, `real` or `string`.
    pub kind: String,
    /// When it can change: `postmaster` at a start only, `sighup` and others at a reload.
    pub context: String,
    /// Whether a configuration file set it.
    pub from_file: bool,
}

/// Whether the server runs with this value.
pub(super) fn is_same(wanted: &str, seen: &Seen) -> bool {
    let setting = seen.setting.as_str();
    if wanted.trim() == setting {
        return true;
    }
    match seen.kind.as_str() {
        "bool" => truth(wanted).is_some() && truth(wanted) == truth(setting),
        // Some take words for yes and no besides their own.
        "enum" => {
            wanted.trim().eq_ignore_ascii_case(setting) || truth(wanted).is_some() && truth(wanted) == truth(setting)
        }
        "integer" | "real" => {
            // The only one that tells what it made of -1.
            if seen.name == "wal_buffers" && wanted.trim() == "-1" {
                return true;
            }
            match (number(wanted, &seen.unit), number(setting, "")) {
                (Some(wanted), Some(setting)) if seen.kind == "integer" => wanted.round() == setting,
                (Some(wanted), Some(setting)) => wanted == setting,
                _ => false,
            }
        }
        _ => match seen.name.to_ascii_lowercase().as_str() {
            // Told in another spelling.
            "datestyle" => plain(wanted) == plain(setting),
            // Told as a word while archive_mode is off, whatever it is.
            "archive_command" => setting == "(disabled)",
            _ => false,
        },
    }
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase()
}

fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// A number in units of the parameter: `1024MB` of `8kB` is 131072. A leading zero means octal, as for file modes.
fn number(text: &str, unit: &str) -> Option<f64> {
    let text = text.trim();
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (digits, given) = (text[..end].trim(), text[end..].trim());
    let octal = digits.len() > 1 && digits.starts_with('0') && digits.chars().all(|c| c.is_ascii_digit());
    let value = if octal { f64::from(u32::from_str_radix(digits, 8).ok()?) } else { digits.parse().ok()? };
    if given.is_empty() {
        return Some(value);
    }
    let digits = unit.find(|c: char| !c.is_ascii_digit())?;
    let times: f64 = if digits == 0 { 1.0 } else { unit[..digits].parse().ok()? };
    let ((given, of), (base, kind)) = (size(given)?, size(&unit[digits..])?);
    (of == kind).then_some(value * given / (base * times))
}

/// What is measured.
#[derive(PartialEq, Eq)]
enum Kind {
    Memory,
    Time,
}

/// A unit in bytes or milliseconds.
fn size(unit: &str) -> Option<(f64, Kind)> {
    Some(match unit {
        "B" => (1.0, Kind::Memory),
        "kB" => (1024.0, Kind::Memory),
        "MB" => (1024.0 * 1024.0, Kind::Memory),
        "GB" => (1024.0 * 1024.0 * 1024.0, Kind::Memory),
        "TB" => (1024.0 * 1024.0 * 1024.0 * 1024.0, Kind::Memory),
        "us" => (0.001, Kind::Time),
        "ms" => (1.0, Kind::Time),
        "s" => (1000.0, Kind::Time),
        "min" => (60_000.0, Kind::Time),
        "h" => (3_600_000.0, Kind::Time),
        "d" => (86_400_000.0, Kind::Time),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_same_in_many_forms() {
        for (name, wanted, kind, unit, setting, same) in [
            ("shared_buffers", "1024MB", "integer", "8kB", "131072", true),
            ("shared_buffers", "1024MB", "integer", "8kB", "131071", false),
            ("shared_buffers", "131072", "integer", "8kB", "131072", true),
            ("shared_buffers", "1024ms", "integer", "8kB", "131072", false),
            ("max_wal_size", "3GB", "integer", "MB", "3072", true),
            ("wal_writer_delay", "10ms", "integer", "ms", "10", true),
            ("max_standby_archive_delay", "300s", "integer", "ms", "300000", true),
            ("log_rotation_age", "1d", "integer", "min", "1440", true),
            ("log_file_mode", "0600", "integer", "", "0600", true),
            ("log_file_mode", "0600", "integer", "", "384", true),
            ("log_file_mode", "0600", "integer", "", "0640", false),
            ("max_connections", "1600", "integer", "", "160", false),
            ("wal_buffers", "-1", "integer", "8kB", "512", true),
            ("autovacuum_work_mem", "-1", "integer", "kB", "-1", true),
            ("random_page_cost", "1.0", "real", "", "1", true),
            ("random_page_cost", "1.5", "real", "", "1", false),
            ("vacuum_cost_delay", "2ms", "real", "ms", "2", true),
            ("hot_standby", "yes", "bool", "", "on", true),
            ("hot_standby", "off", "bool", "", "on", false),
            ("hot_standby", "maybe", "bool", "", "on", false),
            ("synchronous_commit", "off", "enum", "", "off", true),
            ("synchronous_commit", "false", "enum", "", "off", true),
            ("wal_level", "REPLICA", "enum", "", "replica", true),
            ("wal_level", "minimal", "enum", "", "replica", false),
            ("DateStyle", "iso, mdy", "string", "", "ISO, MDY", true),
            ("DateStyle", "iso, dmy", "string", "", "ISO, MDY", false),
            ("archive_command", "/bin/date", "string", "", "(disabled)", true),
            ("log_directory", "pg_log", "string", "", "PG_LOG", false),
        ] {
            let seen = Seen {
                name: name.into(),
                setting: setting.into(),
                unit: unit.into(),
                kind: kind.into(),
                context: "sighup".into(),
                from_file: true,
            };
            assert_eq!(is_same(wanted, &seen), same, "{name}: {wanted} and {setting}");
        }
    }
}
