//! The section `guest`.

use super::{checker::Checker, scalars};
use crate::{
    config::{defaults, shape::GuestFile},
    lab::{Guest, Identifier, Selinux},
};

/// Checks it.
pub(super) fn guest(check: &mut Checker, file: &GuestFile) -> Option<Guest> {
    let services = file.services.section();
    let user = check.value(&file.user, defaults::USER, user);
    let uid = check.value(&file.uid, defaults::UID, scalars::number("a uid", 1, 60000));
    let timezone = check.value(&file.timezone, defaults::TIMEZONE, scalars::timezone);
    let locale = check.value(&file.locale, defaults::LOCALE, scalars::locale);
    let sysctl = check.merged(&file.sysctl, defaults::SYSCTL, sysctl);
    let limits = check.list(&file.limits, defaults::LIMITS, scalars::limit);
    let services_off = check.names(&services.off, defaults::SERVICES_OFF, "service", scalars::service);
    let services_on = check.names(&services.on, defaults::SERVICES_ON, "service", scalars::service);
    for item in services.on.value().into_iter().flatten() {
        if services_off.contains(&item.value) {
            check.report(item.place, format!("service `{}` is both off and on", item.value), "take it out of one list");
        }
    }
    let selinux = check.value(&file.selinux, defaults::SELINUX, scalars::choice::<Selinux>);
    let iptables = check.value(&file.iptables, defaults::IPTABLES, iptables);
    let packages = check.names(&file.packages, defaults::PACKAGES, "package", scalars::package);
    Some(Guest {
        user: user?,
        uid: uid?,
        timezone: timezone?,
        locale: locale?,
        sysctl: sysctl.into_iter().map(|(key, value)| (key, value.value)).collect(),
        limits,
        services_off,
        services_on,
        selinux: selinux?,
        iptables: iptables?,
        packages,
    })
}

/// PostgreSQL refuses to run as root, and useradd refuses a first digit.
fn user(text: &str) -> Result<Identifier, String> {
    let user: Identifier = text.parse()?;
    if text == "root" {
        return Err(format!("`{text}` cannot run a database: name another user, such as `{}`", defaults::USER));
    }
    if text.len() > 31 || text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!("`{text}` is not a user name: begin with a letter and use at most 31 characters"));
    }
    Ok(user)
}

fn sysctl(key: &str, value: &str) -> Result<(), String> {
    let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_-/*".contains(c));
    if !key.contains('.') || !key.split('.').all(part) {
        return Err(format!("`{key}` is not a kernel parameter: write names with dots between, such as `kernel.sem`"));
    }
    scalars::line(value).map(drop).map_err(|_| format!("`{value}` is not a value of `{key}`: write one line"))
}

/// The shape of iptables-save, far enough to catch a shell script or a cut-off paste; trailing blanks go.
fn iptables(text: &str) -> Result<String, String> {
    let mut table = false;
    for (number, line) in text.lines().map(str::trim_end).enumerate() {
        let right = match line.chars().next() {
            None | Some('#') => true,
            Some('*') if !table => {
                table = true;
                true
            }
            Some(':' | '-' | '[') => table,
            Some(_) if line == "COMMIT" && table => {
                table = false;
                true
            }
            Some(_) => false,
        };
        if !right {
            let number = number + 1;
            return Err(format!(
                "line {number} of iptables, `{line}`, is not in the format of iptables-save: write `*filter`, `:CHAIN`, `-A …` and `COMMIT` lines"
            ));
        }
    }
    if table {
        return Err("the table of iptables has no `COMMIT`: end it with this line".to_owned());
    }
    let trimmed: String = text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect();
    Ok(if trimmed.trim().is_empty() { String::new() } else { trimmed })
}
