//! Readers of single values; errors are `message: hint` with the value in backticks.

use crate::{
    config::suggest,
    lab::{Limit, Size},
};
use serde::de::{DeserializeOwned, value::StrDeserializer};
use std::{fmt, net::Ipv4Addr};

type Read<T> = Result<T, String>;

/// Keeps of serde's error only what was possible, for the hint.
#[derive(Debug)]
struct Possible(&'static [&'static str]);

impl fmt::Display for Possible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&suggest::ticked(self.0))
    }
}

impl std::error::Error for Possible {}

impl serde::de::Error for Possible {
    fn custom<T: fmt::Display>(_: T) -> Possible {
        Possible(&[])
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Possible {
        Possible(expected)
    }
}

/// One of an enumeration's names.
pub(super) fn choice<T: DeserializeOwned>(text: &str) -> Read<T> {
    T::deserialize(StrDeserializer::<Possible>::new(text))
        .map_err(|Possible(known)| format!("`{text}` is not known here: {}", suggest::hint(text, known)))
}

/// A text of some characters only.
fn of(text: &str, allowed: impl Fn(char) -> bool, what: &str, hint: &str) -> Read<String> {
    if !text.is_empty() && text.chars().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not {what}: {hint}"))
    }
}

fn alphanumeric_or(others: &str) -> impl Fn(char) -> bool {
    move |c| c.is_ascii_alphanumeric() || others.contains(c)
}

pub(super) fn image(text: &str) -> Read<String> {
    of(
        text,
        alphanumeric_or(".-_"),
        "the name of an image",
        "it is the name of a folder in images/, such as `debian-12`",
    )
}

pub(super) fn address(text: &str) -> Read<Ipv4Addr> {
    let hint = "write four numbers from 0 to 255, such as `192.168.122.171`";
    text.parse().map_err(|_| format!("`{text}` is not an IPv4 address: {hint}"))
}

pub(super) fn domain(text: &str) -> Read<String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= 189 && text.split('.').all(label) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not a domain: write lower-case labels with dots between, such as `sky-mobi.com`"))
    }
}

/// A size with a lower bound.
pub(super) fn at_least(least: Size) -> impl Fn(&str) -> Read<Size> {
    move |text| {
        let size: Size = text.parse()?;
        if size < least { Err(format!("`{text}` is too little: {least} or more is needed")) } else { Ok(size) }
    }
}

/// A whole number in a range.
pub(super) fn number<T: TryFrom<u32>>(what: &'static str, least: u32, most: u32) -> impl Fn(&str) -> Read<T> {
    move |text| {
        let number: Option<u32> = text.parse().ok().filter(|number| (least..=most).contains(number));
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("`{text}` is not {what}: write a number from {least} to {most}"))
    }
}

/// An absolute path without surprises, as it can stand in a shell line, fstab and exports alike.
pub(super) fn absolute(text: &str) -> Read<String> {
    let path = text.trim_end_matches('/');
    let plain = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(alphanumeric_or("._+@-"));
    match path.strip_prefix('/') {
        None => Err(format!("`{text}` is not an absolute path: begin with `/` and a directory")),
        Some(rest) if rest.split('/').all(plain) => Ok(path.to_owned()),
        Some(_) => Err(format!("`{text}` is not a plain path: use letters, digits and `._+@-` between single slashes")),
    }
}

pub(super) fn mount_option(text: &str) -> Read<String> {
    of(text, alphanumeric_or("=._-:/"), "a mount option", "write one option per item, such as `vers=3`")
}

pub(super) fn timezone(text: &str) -> Read<String> {
    let part =
        |part: &str| part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.chars().all(alphanumeric_or("_+-"));
    if text.split('/').count() <= 3 && text.split('/').all(part) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not the name of a time zone: write one such as `Asia/Shanghai` or `UTC`"))
    }
}

pub(super) fn locale(text: &str) -> Read<String> {
    of(text, alphanumeric_or("_.@-"), "a locale", "write one such as `en_US.UTF-8` or `C`")
}

pub(super) fn encoding(text: &str) -> Read<String> {
    of(text, alphanumeric_or("_-"), "an encoding", "write one such as `UTF8`")
}

pub(super) fn service(text: &str) -> Read<String> {
    of(text, alphanumeric_or("._@-"), "the name of a service", "write one name per item, such as `acpid`")
}

pub(super) fn package(text: &str) -> Read<String> {
    of(text, alphanumeric_or("._+:-"), "the name of a package", "write one name per item, such as `sysstat`")
}

pub(super) fn version(text: &str) -> Read<String> {
    let numbers = text.split('.').count() >= 2
        && text
            .split('.')
            .all(|part| part.starts_with(|c: char| c.is_ascii_digit()) && part.chars().all(alphanumeric_or("")));
    if numbers { Ok(text.to_owned()) } else { Err(format!("`{text}` is not a version: write one such as `1.0.2`")) }
}

pub(super) fn source(text: &str) -> Read<String> {
    if is_url(text).unwrap_or_else(|| is_path(text)) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not a place of a source package: write a path, or a URL with http or https"))
    }
}

/// Where an image's disk is mirrored.
pub(super) fn mirror(text: &str) -> Read<String> {
    if is_url(text).unwrap_or_else(|| is_path(text)) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not a mirror: write a directory, or a URL with http or https"))
    }
}

/// Where guests find packages: the text stands in files of their own, as it is.
pub(super) fn packages(text: &str) -> Read<String> {
    if is_url(text) == Some(true) && text.chars().all(alphanumeric_or(":/.-_~%@+,[]")) {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err(format!("`{text}` is not where packages are: write a URL with http or https, guests have no other way"))
    }
}

/// Whether a text is a good URL; `None` when it is none at all.
fn is_url(text: &str) -> Option<bool> {
    let host = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[');
    let (scheme, rest) = text.split_once("://")?;
    Some(matches!(scheme, "http" | "https") && host(rest) && !text.contains(char::is_whitespace))
}

fn is_path(text: &str) -> bool {
    !text.trim().is_empty() && !text.contains(char::is_control)
}

pub(super) fn configure(text: &str) -> Read<String> {
    if text.split('=').next() == Some("--prefix") {
        return Err(format!("`{text}` cannot be given here: write it as `prefix` of `cluster`"));
    }
    let name = text.split('=').next().and_then(|name| name.strip_prefix("--")).unwrap_or_default();
    if name.is_empty() || !name.chars().all(alphanumeric_or("-_")) || text.contains(['\n', '\'']) {
        return Err(format!("`{text}` is not an option of configure: write one per item, such as `--with-perl`"));
    }
    Ok(text.to_owned())
}

pub(super) fn hba(text: &str) -> Read<String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let least = match fields.first() {
        Some(&"local") => 4,
        Some(&("host" | "hostssl" | "hostnossl")) => 5,
        _ => usize::MAX,
    };
    if fields.len() >= least && !text.contains('\n') {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "`{text}` is not a line of pg_hba.conf: write type, database, user, address and method, such as `host all all 0.0.0.0/0 md5`"
        ))
    }
}

pub(super) fn limit(text: &str) -> Read<Limit> {
    let wrong = || {
        format!(
            "`{text}` is not a line of limits.conf: write domain, kind, item and value, such as `* soft nofile 131072`"
        )
    };
    let [domain, kind, item, value] = text.split_whitespace().collect::<Vec<_>>()[..] else { return Err(wrong()) };
    let number =
        value.trim_start_matches('-').chars().all(|c| c.is_ascii_digit()) || matches!(value, "unlimited" | "infinity");
    if !matches!(kind, "soft" | "hard" | "-") || !number || !item.chars().all(|c| c.is_ascii_lowercase()) {
        return Err(wrong());
    }
    Ok(Limit { domain: domain.into(), kind: kind.into(), item: item.into(), value: value.into() })
}

/// Any text of one line.
pub(super) fn line(text: &str) -> Read<String> {
    of(text, |c| !c.is_control(), "a line of text", "it must be one line and not empty")
}
