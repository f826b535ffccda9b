//! `key = value` configuration files of the databases and of the gtm family.

/// First line of every file that pgxc-lab writes into a data directory.
pub(crate) const MARK: &str =
    "# Written by pgxc-lab from lab.yaml: the next `pgxc-lab up` puts lab.yaml's values back.\n";

/// Keys whose value is a string even when it looks like a number or a word, such as the proxy's nodename '1'.
const STRINGS: [&str; 8] = [
    "nodename",
    "pgxc_node_name",
    "listen_addresses",
    "gtm_host",
    "active_host",
    "log_file",
    "log_directory",
    "log_filename",
];

/// Renders parameters in order. Where a key comes twice the later value wins, as in the servers' own parsers, and it
/// is written once, in the place of the first.
pub(crate) fn render<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (key, value) in parameters {
        match seen.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(key)) {
            Some(entry) => entry.1 = value,
            None => seen.push((key, value)),
        }
    }
    let mut text = MARK.to_owned();
    for (key, value) in seen {
        text.push_str(&format!("{key} = {}\n", value_text(key, value)));
    }
    text
}

/// Reads what [`render`] wrote, and what a person may have made of it: the last of several values holds.
pub(crate) fn parse(text: &str) -> Vec<(String, String)> {
    let mut parameters: Vec<(String, String)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim(), unquoted(value.trim()));
        match parameters.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(key)) {
            Some(entry) => entry.1 = value,
            None => parameters.push((key.to_owned(), value)),
        }
    }
    parameters
}

/// A value without its quotes, and without a comment behind it.
fn unquoted(text: &str) -> String {
    let Some(inner) = text.strip_prefix('\'') else {
        return text.split('#').next().unwrap_or_default().trim_end().to_owned();
    };
    let mut value = String::new();
    let mut letters = inner.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' if letters.next_if_eq(&'\'').is_some() => value.push('\''),
            '\'' => break,
            '\\' => match letters.next() {
                Some('n') => value.push('\n'),
                other => value.extend(other),
            },
            other => value.push(other),
        }
    }
    value
}

/// A value as a configuration file needs it.
fn value_text(key: &str, value: &str) -> String {
    if is_plain(value) && !STRINGS.contains(&key) { value.to_owned() } else { quoted(value) }
}

/// A string in single quotes; both parsers (guc-file.l and gtm_opt_scanner.l) know '' and backslashes.
pub(crate) fn quoted(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('\'', "''").replace('\n', "\\n");
    format!("'{escaped}'")
}

/// Whether every scanner reads the value as one token: a number with or without unit, or a word of letters.
fn is_plain(value: &str) -> bool {
    let number = value.strip_prefix('-').unwrap_or(value);
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    let rest = &number[digits..];
    if digits > 0 {
        let unit = match rest.strip_prefix('.') {
            Some(fraction) => {
                return !fraction.is_empty() && fraction.chars().all(|c| c.is_ascii_digit());
            }
            None => rest,
        };
        return unit.chars().all(|c| c.is_ascii_alphabetic());
    }
    !value.is_empty() && value.chars().all(|c| c.is_ascii_alphabetic() || c == '_') && !value.starts_with('_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_is_no_token() {
        for (key, value, text) in [
            ("port", "1921", "1921"),
            ("shared_buffers", "1024MB", "1024MB"),
            ("random_page_cost", "1.0", "1.0"),
            ("wal_level", "hot_standby", "hot_standby"),
            ("unix_socket_permissions", "0700", "0700"),
            ("startup", "ACT", "ACT"),
            ("nodename", "1", "'1'"),
            ("unix_socket_directory", ".", "'.'"),
            ("listen_addresses", "*", "'*'"),
            ("datestyle", "iso, mdy", "'iso, mdy'"),
            ("archive_command", "cp '%p' \\x", "'cp ''%p'' \\\\x'"),
            ("log_line_prefix", "", "''"),
            ("x", "1.", "'1.'"),
            ("x", "-1", "-1"),
            ("x", "a b\nport = 1", "'a b\\nport = 1'"),
        ] {
            assert_eq!(value_text(key, value), text, "{key}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let values = ["1921", "0700", "1024MB", "", "iso, mdy", "cp '%p' \\x # 'y'", "a b\nport = 1", "a=b"];
        for value in values {
            let text = render([("port", "1"), ("key", value)]);
            assert_eq!(parse(&text), [("port".to_owned(), "1".to_owned()), ("key".to_owned(), value.to_owned())]);
        }
        assert_eq!(parse("a = 1 # one\n A=2\n#b = 3\nnonsense\n"), [("a".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn later_values_win() {
        let text = render([("port", "1"), ("fsync", "on"), ("PORT", "2")]);
        assert_eq!(text, format!("{MARK}port = 2\nfsync = on\n"));
    }
}
