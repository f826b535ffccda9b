//! Fits a lab into the host: memory per VM and the parameters that hang on it shrink in proportion.
//!
//! Pure. The document's lab asks for 64 GiB; most machines have less (spec 1.14.10, "fit" in lab.yaml).

use crate::{
    error::{Class, Error, Result},
    host::capacity::Memory,
    lab::{Fit, Lab, Role, Size},
};

/// Part of the host's memory that the guests may have at most, in percent: the rest is for the page cache of the
/// exports, the guests' own overhead and whatever else runs there.
const SHARE_PERCENT: u64 = 60;
/// Memory that stays available on the host.
const RESERVE: Size = Size::mib(1024);
/// No guest gets less, unless lab.yaml asks for less: the system, NFS and a small database need it.
const FLOOR: Size = Size::mib(512);
/// Guests get multiples of this.
const STEP_MIB: u64 = 64;
/// Proportions are counted in millionths, so that a recorded one is the same number for ever.
const WHOLE: u64 = 1_000_000;

/// Parameters that shrink with the guest's memory, and the least that each may become.
const PARAMETERS: [(&str, Size); 3] = [
    ("shared_buffers", Size::mib(32)),
    ("effective_cache_size", Size::mib(64)),
    ("maintenance_work_mem", Size::mib(16)),
];

/// The WAL writer's pause in emulated guests, in milliseconds: PostgreSQL's own default. The document's 10 ms wake two
/// servers a hundred times a second each, which keeps a fifth of a host core busy for every idle guest (measured: eight
/// emulated guests, 2 cores); what may be lost with synchronous_commit off grows from 30 ms to 0.6 s.
const EMULATED_WAL_PAUSE: u64 = 200;

/// What part of the memory that lab.yaml asks for the guests get. Record it with the lab: given again, the same
/// lab.yaml always becomes the same lab, however much memory happens to be free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Proportion {
    millionths: u64,
}

impl Proportion {
    /// All of it.
    pub const WHOLE: Proportion = Proportion { millionths: WHOLE };

    /// How much of `whole` the `part` is, at most all of it.
    pub fn of_sizes(part: Size, whole: Size) -> Proportion {
        let millionths = u128::from(part.as_bytes()) * u128::from(WHOLE) / u128::from(whole.as_bytes().max(1));
        Proportion { millionths: u64::try_from(millionths).unwrap_or(WHOLE).min(WHOLE) }
    }

    fn of(self, size: Size) -> Size {
        let bytes = u128::from(size.as_bytes()) * u128::from(self.millionths) / u128::from(WHOLE);
        // Not more than `size`, so it fits.
        Size::bytes(u64::try_from(bytes).unwrap_or(size.as_bytes()))
    }
}

/// A lab that fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The lab with the memory and the parameters that it gets.
    pub lab: Lab,
    /// What part it gets; to be recorded.
    pub proportion: Proportion,
    /// What was changed, one sentence each; empty when nothing was.
    pub notes: Vec<String>,
}

/// How much memory guests may have on a host of this much.
pub fn share(total: Size) -> Size {
    Size::bytes(total.as_bytes() / 100 * SHARE_PERCENT)
}

/// How much memory all guests together may have on this host.
pub fn budget(host: Memory) -> Size {
    Size::bytes(share(host.total).as_bytes().min(host.available.as_bytes().saturating_sub(RESERVE.as_bytes())))
}

/// Fits the lab into the host, or by the proportion that an earlier run recorded.
///
/// # Errors
/// [`Class::Host`] when lab.yaml says `fit: refuse` or not even the floors fit.
pub fn fit(lab: &Lab, host: Memory, recorded: Option<Proportion>) -> Result<Fitted> {
    let asked = total(lab);
    let budget = budget(host);
    if let Some(proportion) = recorded {
        return Ok(shrink(lab, proportion));
    }
    if asked <= budget {
        return Ok(shrink(lab, Proportion::WHOLE));
    }
    let numbers = format!(
        "the lab asks for {} of memory for {} guests, this host can give {} ({} in all, {} available)",
        mib(asked),
        lab.nodes.len(),
        mib(budget),
        mib(host.total),
        mib(host.available)
    );
    if lab.fit == Fit::Refuse {
        return Err(Error::new(Class::Host, numbers)
            .hint("set `fit: shrink` in lab.yaml to give every guest less in proportion, or ask for less `memory`"));
    }
    let least: Size = Size::bytes(lab.nodes.iter().map(|node| floor(node.memory).as_bytes()).sum());
    if least > budget {
        return Err(Error::new(Class::Host, numbers)
            .evidence(format!("even {} for each guest make {}", mib(FLOOR), mib(least)))
            .hint("take nodes out of lab.yaml, end other programs, or use a larger host"));
    }
    let fitted = shrink(lab, largest(lab, budget));
    Ok(fitted)
}

fn total(lab: &Lab) -> Size {
    Size::bytes(lab.nodes.iter().map(|node| node.memory.as_bytes()).sum())
}

fn floor(asked: Size) -> Size {
    asked.min(FLOOR)
}

/// What a guest gets: its part, rounded down, but not less than the floor.
fn granted(asked: Size, proportion: Proportion) -> Size {
    if proportion == Proportion::WHOLE {
        return asked;
    }
    let mib = proportion.of(asked).as_mib() / STEP_MIB * STEP_MIB;
    Size::mib(mib).max(floor(asked)).min(asked)
}

/// The largest proportion whose sum stays within the budget: guests at the floor take more than their part, which the
/// others must give.
fn largest(lab: &Lab, budget: Size) -> Proportion {
    let (mut low, mut high) = (0, WHOLE);
    while high - low > 1 {
        let middle = low.midpoint(high);
        let sum: u64 =
            lab.nodes.iter().map(|node| granted(node.memory, Proportion { millionths: middle }).as_bytes()).sum();
        if sum <= budget.as_bytes() { low = middle } else { high = middle }
    }
    Proportion { millionths: low }
}

fn shrink(lab: &Lab, proportion: Proportion) -> Fitted {
    let mut lab = lab.clone();
    let mut notes = Vec::new();
    if proportion == Proportion::WHOLE {
        return Fitted { lab, proportion, notes };
    }
    let mut changed: Vec<(Size, Size, Vec<String>)> = Vec::new();
    for node in &mut lab.nodes {
        let asked = node.memory;
        node.memory = granted(asked, proportion);
        if asked == node.memory {
            continue;
        }
        match changed.iter_mut().find(|(old, new, _)| (*old, *new) == (asked, node.memory)) {
            Some((.., nodes)) => nodes.push(node.name.to_string()),
            None => changed.push((asked, node.memory, vec![node.name.to_string()])),
        }
    }
    for (asked, granted, nodes) in changed {
        let whose = match nodes.as_slice() {
            [one] => one.clone(),
            many => format!("{} guests", many.len()),
        };
        notes.push(format!("memory of {whose}: {} instead of {}", mib(granted), mib(asked)));
    }
    // Parameters are those of a role, not of a node: all follow the proportion, which no guest falls below by more
    // than the rounding to whole steps.
    for role in [Role::Datanode, Role::Coordinator] {
        let Some(component) = lab.cluster.components.get_mut(&role) else { continue };
        for (key, value) in &mut component.parameters {
            let Some(smaller) = smaller_parameter(key, value, proportion) else { continue };
            notes.push(format!("{key} of every {}: {smaller} instead of {value}", role.as_str()));
            *value = smaller;
        }
    }
    Fitted { lab, proportion, notes }
}

/// What a parameter becomes in a guest of this proportion; `None` when it stays as it is.
pub fn smaller_parameter(key: &str, value: &str, proportion: Proportion) -> Option<String> {
    let (_, least) = PARAMETERS.iter().find(|(name, _)| *name == key)?;
    smaller(value, proportion, *least)
}

/// The shrunk value of a memory parameter in the unit that it is written in, or one smaller; `None` when it stays.
fn smaller(value: &str, proportion: Proportion, least: Size) -> Option<String> {
    const UNITS: [(&str, u32); 3] = [("GB", 30), ("MB", 20), ("kB", 10)];
    let (unit, shift) = UNITS.into_iter().find(|(unit, _)| value.trim().ends_with(unit))?;
    let number: u64 = value.trim().strip_suffix(unit)?.trim().parse().ok()?;
    let asked = Size::bytes(number.checked_mul(1 << shift)?);
    let target = proportion.of(asked).max(least.min(asked));
    if target == asked {
        return None;
    }
    // A part of 1GB cannot be written in GB.
    let (unit, shift) = UNITS
        .into_iter()
        .filter(|(_, candidate)| *candidate <= shift)
        .find(|(_, candidate)| target.as_bytes() >> candidate >= 10)
        .unwrap_or(("kB", 10));
    Some(format!("{}{unit}", target.as_bytes() >> shift))
}

/// What lab.yaml asks of guests that have a CPU of their own, slowed down for guests that share it; says what it did.
/// `fit: refuse` leaves every value as it is.
pub fn slow_down(lab: &mut Lab) -> Vec<String> {
    let mut notes = Vec::new();
    if lab.fit == Fit::Refuse {
        return notes;
    }
    for role in [Role::Datanode, Role::Coordinator] {
        let Some(component) = lab.cluster.components.get_mut(&role) else { continue };
        let pause = component.parameters.iter_mut().find(|(key, _)| key == "wal_writer_delay");
        let Some((_, value)) = pause else { continue };
        let number = value.trim().strip_suffix("ms").unwrap_or(value.trim()).trim().parse::<u64>();
        if number.is_ok_and(|pause| pause < EMULATED_WAL_PAUSE) {
            let slower = format!("{EMULATED_WAL_PAUSE}ms");
            notes.push(format!(
                "wal_writer_delay of every {}: {slower} instead of {value}, since guests are emulated",
                role.as_str()
            ));
            *value = slower;
        }
    }
    notes
}

fn mib(size: Size) -> String {
    format!("{} MiB", size.as_mib())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::document;

    fn host(total: u64, available: u64) -> Memory {
        Memory { total: Size::mib(total), available: Size::mib(available) }
    }

    fn parameter<'a>(lab: &'a Lab, role: Role, key: &str) -> &'a str {
        &lab.cluster.components[&role].parameters.iter().find(|(name, _)| name == key).unwrap().1
    }

    #[test]
    fn emulated_guests_sleep_longer_unless_the_file_refuses() {
        let mut lab = document();
        let pause = |lab: &Lab| {
            let parameters = &lab.cluster.components[&Role::Datanode].parameters;
            parameters.iter().find(|(key, _)| key == "wal_writer_delay").map(|(_, value)| value.clone())
        };
        lab.fit = Fit::Refuse;
        assert_eq!(slow_down(&mut lab), Vec::<String>::new());
        assert_eq!(pause(&lab).as_deref(), Some("10ms"));
        lab.fit = Fit::Shrink;
        assert_eq!(slow_down(&mut lab).len(), 2);
        assert_eq!(pause(&lab).as_deref(), Some("200ms"));
        assert_eq!(slow_down(&mut lab), Vec::<String>::new(), "twice is once");
    }

    #[test]
    fn a_large_host_changes_nothing() {
        let lab = document();
        let fitted = fit(&lab, host(128 * 1024, 120 * 1024), None).unwrap();
        assert_eq!((fitted.lab, fitted.notes.len(), fitted.proportion), (lab, 0, Proportion::WHOLE));
    }

    #[test]
    fn the_reference_machine_gets_a_part() {
        let lab = document();
        let fitted = fit(&lab, host(24 * 1024, 23 * 1024), None).unwrap();
        assert!(total(&fitted.lab) <= budget(host(24 * 1024, 23 * 1024)));
        assert_eq!(fitted.lab.nodes[0].memory, Size::mib(1792));
        assert!(parameter(&fitted.lab, Role::Datanode, "shared_buffers").ends_with("MB"));
        assert!(fitted.notes[0].starts_with("memory of 8 guests: 1792 MiB instead of 8192 MiB"), "{:?}", fitted.notes);
        let again = fit(&lab, host(24 * 1024, 2 * 1024), Some(fitted.proportion)).unwrap();
        assert_eq!(again, fitted, "a recorded proportion gives the same lab whatever is free now");
    }

    #[test]
    fn floors_hold() {
        let lab = document();
        let fitted = fit(&lab, host(16 * 1024, 5200), None).unwrap();
        assert_eq!(fitted.lab.nodes[0].memory, Size::mib(512));
        let error = fit(&lab, host(16 * 1024, 4096), None).unwrap_err();
        assert_eq!(error.class(), Class::Host);
        assert!(error.to_string().contains("3072 MiB") && error.hint_text().is_some(), "{error}");
    }

    #[test]
    fn refuses_when_told_to() {
        let lab = Lab { fit: Fit::Refuse, ..document() };
        let error = fit(&lab, host(24 * 1024, 23 * 1024), None).unwrap_err();
        assert!(error.message().contains("65536 MiB"), "{error}");
    }

    #[test]
    fn small_guests_keep_what_they_asked_for() {
        let mut lab = document();
        lab.nodes[0].memory = Size::mib(384);
        lab.nodes[1].memory = Size::mib(640);
        let fitted = fit(&lab, host(24 * 1024, 23 * 1024), None).unwrap();
        assert_eq!(fitted.lab.nodes[0].memory, Size::mib(384));
        assert_eq!(fitted.lab.nodes[1].memory, Size::mib(512));
        assert!(total(&fitted.lab) <= budget(host(24 * 1024, 23 * 1024)));
    }

    #[test]
    fn parameters_shrink_in_their_units() {
        let part = Proportion { millionths: 220_000 };
        for (value, least, result) in [
            ("1024MB", 32, Some("225MB")),
            ("1GB", 32, Some("225MB")),
            ("100GB", 32, Some("22GB")),
            ("64MB", 32, Some("32MB")),
            ("16MB", 32, None),
            ("16384kB", 4, Some("4096kB")),
            ("1048576kB", 32, Some("230686kB")),
            ("128", 32, None),
            ("25%", 32, None),
        ] {
            assert_eq!(smaller(value, part, Size::mib(least)).as_deref(), result, "{value}");
        }
    }
}
