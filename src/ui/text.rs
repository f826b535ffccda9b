//! How durations, byte counts and outcomes are written.

use std::time::Duration;

/// A duration as a person says it: `0.4s`, `12.3s`, `2m 03s`, `1h 02m`.
pub fn seconds(duration: Duration) -> String {
    // Rounded first: 59.96 s are `1m 00s`, not `60.0s`.
    let tenths = (duration.as_millis() + 50) / 100;
    let whole = (duration.as_millis() + 500) / 1000;
    match whole {
        _ if tenths < 600 => format!("{}.{}s", tenths / 10, tenths % 10),
        0..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

/// A duration in whole seconds, for rows that are drawn again and again.
pub(super) fn whole_seconds(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds => format!("{}m {:02}s", seconds / 60, seconds % 60),
    }
}

/// A number of bytes: `512 B`, `1.5 KiB`, `80.0 MiB`.
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") }
}

/// Bytes so far, of all if those are known.
pub(super) fn moved(done: u64, total: Option<u64>) -> String {
    match total {
        Some(total) => format!("{} of {}", bytes(done), bytes(total)),
        None => bytes(done),
    }
}

/// A number with its noun: `1 step`, `2 steps`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A text in at most `width` characters.
pub(super) fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// The first line of a text: a row or a plain line holds no more.
pub(super) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The last line of a run.
pub(super) fn end(verb: &str, succeeded: bool, changed: usize, unchanged: usize, took: Duration) -> String {
    let took = seconds(took);
    let counts = format!("{changed} changed, {unchanged} unchanged");
    match (succeeded, changed) {
        (true, 0) => format!("{verb} found everything as it must be: nothing changed, {took}"),
        (true, _) => format!("{verb} finished: {counts}, {took}"),
        (false, _) => format!("{verb} failed: {counts}, {took}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (millis, text) in [
            (0, "0.0s"),
            (440, "0.4s"),
            (12_340, "12.3s"),
            (59_940, "59.9s"),
            (59_960, "1m 00s"),
            (123_000, "2m 03s"),
            (3_720_000, "1h 02m"),
        ] {
            assert_eq!(seconds(Duration::from_millis(millis)), text);
        }
        assert_eq!(whole_seconds(Duration::from_millis(59_999)), "59s");
        assert_eq!(whole_seconds(Duration::from_secs(61)), "1m 01s");
    }

    #[test]
    fn bytes_read_well() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(moved(1 << 20, Some(80 << 20)), "1.0 MiB of 80.0 MiB");
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(shortened("coordinator", 11), "coordinator");
        assert_eq!(shortened("coordinator", 6), "coord…");
    }
}
