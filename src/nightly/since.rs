//! `--since`: a date, a time, or a span.

use crate::error::{Class, Error, Result};
use jiff::{Span, Timestamp, civil, tz::TimeZone};

/// The moment that a text means: `2025-07-01` (its midnight), `2025-07-01T02:30`, `2025-07-01T02:30:00Z`, `7d`, `12h`.
/// What names no offset is in `zone`.
///
/// # Errors
/// When it is none of these.
pub fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp> {
    let text = text.trim();
    let wrong = || {
        Error::new(Class::Usage, format!("`{text}` is no date, time or span"))
            .hint("write one such as `2025-07-01`, `2025-07-01T02:30` or `7d`")
    };
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    // A date before a time: the parser of times takes a date as well.
    let civil = text.parse::<civil::DateTime>();
    if let Ok(civil) = civil {
        return civil.to_zoned(zone.clone()).map(|zoned| zoned.timestamp()).map_err(|_| wrong());
    }
    let span: Span = text.parse().map_err(|_| wrong())?;
    // Days are days of the zone: one of them may have 23 hours.
    now.to_zoned(zone.clone()).checked_sub(span.abs()).map(|zoned| zoned.timestamp()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_times_and_spans() {
        let now: Timestamp = "2025-07-16T12:00:00Z".parse().expect("a time");
        let zone = TimeZone::fixed(jiff::tz::offset(8));
        for (text, expected) in [
            ("2025-07-01", "2025-06-30T16:00:00Z"),
            ("2025-07-01T02:30", "2025-06-30T18:30:00Z"),
            ("2025-07-01 02:30:00", "2025-06-30T18:30:00Z"),
            ("2025-07-01T02:30:00Z", "2025-07-01T02:30:00Z"),
            ("2025-07-01T02:30:00+02:00", "2025-07-01T00:30:00Z"),
            ("7d", "2025-07-09T12:00:00Z"),
            (" 36h ", "2025-07-15T00:00:00Z"),
            ("2w", "2025-07-02T12:00:00Z"),
            ("1h 30m", "2025-07-16T10:30:00Z"),
            ("7 days ago", "2025-07-09T12:00:00Z"),
        ] {
            let parsed = parse(text, now, &zone).map(|moment| moment.to_string());
            assert_eq!(parsed.map_err(|error| error.to_string()).as_deref(), Ok(expected), "{text}");
        }
        for text in ["", "yesterday", "7", "2025-13-01", "7x", "999999999y"] {
            let refused = parse(text, now, &zone).expect_err(text);
            assert_eq!(refused.class(), Class::Usage, "{text}");
        }
    }
}
