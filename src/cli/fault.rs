//! What to break, as a person writes it.

use super::manual;
use crate::{
    engine::Engine,
    error::{Class, Error, Result},
    lab::{Fault, Lab, NodeName, Role, Selector},
};
use clap::{Args, Subcommand};
use jiff::SignedDuration;
use std::{collections::BTreeSet, time::Duration};

/// What to break, and what to do about what is broken.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum FaultVerb {
    /// Kill components of a kind (SIGKILL), and keep them down
    #[command(after_help = manual::FAULT)]
    KillComponent {
        /// The kind
        role: Role,
        /// Where: `all`, a role, or names of nodes, with commas between
        #[arg(value_name = "NODES", default_value = "all")]
        nodes: Selector,
        /// For how long
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Have guests stand still
    #[command(after_help = manual::FAULT)]
    Pause {
        /// `all`, a role, or names of nodes, with commas between
        #[arg(value_name = "NODES")]
        nodes: Selector,
        /// For how long
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Cut the power of guests
    #[command(after_help = manual::FAULT)]
    PowerOff {
        /// `all`, a role, or names of nodes, with commas between
        #[arg(value_name = "NODES")]
        nodes: Selector,
        /// For how long
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Let nothing pass between two groups of guests; both reach the NFS server
    #[command(after_help = manual::FAULT)]
    Partition {
        /// `all`, a role, or names of nodes, with commas between
        #[arg(value_name = "NODES")]
        one: Selector,
        /// The other group [default: all other nodes]
        #[arg(value_name = "OTHERS")]
        other: Option<Selector>,
        /// For how long
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Have the exports of nodes take no more data; those of others do
    #[command(after_help = manual::FAULT)]
    DiskFull {
        /// `all`, a role, or names of nodes, with commas between
        #[arg(value_name = "NODES")]
        nodes: Selector,
        /// For how long
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Set the clocks of guests wrong, and keep them so
    #[command(after_help = manual::FAULT)]
    ClockSkew {
        /// `all`, a role, or names of nodes, with commas between
        #[arg(value_name = "NODES")]
        nodes: Selector,
        /// By how much, e.g. 1h or -90s
        #[arg(long, value_name = "SPAN", default_value = "1h", allow_hyphen_values = true)]
        by: SignedDuration,
        /// For how long
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Make the links of guests slow, in both directions
    #[command(after_help = manual::FAULT)]
    SlowLink {
        /// `all`, a role, or names of nodes, with commas between
        #[arg(value_name = "NODES")]
        nodes: Selector,
        /// Thousands of bits a second
        #[arg(long, value_name = "RATE", default_value = "256", value_parser = clap::value_parser!(u32).range(8..))]
        kbit: u32,
        /// For how long
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Have the NFS server stand still
    #[command(after_help = manual::FAULT)]
    StallNfs {
        /// For how long
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Show what is broken on purpose
    List,
    /// Mend all of it, also what a run that was killed left, and bring back what does not come by itself
    Mend,
}

/// How long a fault is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Lasting {
    /// Mend it after so long, or at Ctrl-C [default: stay as it is until `fault mend`]
    #[arg(long = "for", value_name = "SPAN", value_parser = span)]
    pub time: Option<Duration>,
}

fn span(text: &str) -> Result<Duration, String> {
    let span: SignedDuration = text.parse().map_err(|_| format!("`{text}` is no span: write one such as 30s or 5m"))?;
    Duration::try_from(span).map_err(|_| format!("`{text}` is before now"))
}

impl FaultVerb {
    /// The faults that it means in a lab, and how long; none: it makes none.
    ///
    /// # Errors
    /// [`Class::Usage`] when a word means nothing, or nothing of the kind runs there.
    pub fn faults(&self, lab: &Lab, engine: &dyn Engine) -> Result<Option<(Vec<Fault>, Lasting)>> {
        let each = |nodes: &Selector, fault: fn(NodeName) -> Fault| -> Result<Vec<Fault>> {
            Ok(picked(nodes, lab)?.into_iter().map(fault).collect())
        };
        Ok(Some(match self {
            FaultVerb::List | FaultVerb::Mend => return Ok(None),
            FaultVerb::KillComponent { role, nodes, lasting } => {
                let meant = picked(nodes, lab)?;
                let placed = lab.placed(*role).into_iter().filter(|placed| engine.runs(placed.role));
                let placed = placed.filter(|placed| meant.contains(&placed.node.name));
                let faults: Vec<Fault> =
                    placed.map(|placed| Fault::KillComponent { node: placed.node.name.clone(), role: *role }).collect();
                if faults.is_empty() {
                    let what = format!("{} runs no {} on `{nodes}`", engine.kind().as_str(), role.as_str());
                    return Err(Error::new(Class::Usage, what).hint("`pgxc-lab status` shows what runs where"));
                }
                (faults, *lasting)
            }
            FaultVerb::Pause { nodes, lasting } => (each(nodes, |node| Fault::Pause { node })?, *lasting),
            FaultVerb::PowerOff { nodes, lasting } => (each(nodes, |node| Fault::PowerOff { node })?, *lasting),
            FaultVerb::DiskFull { nodes, lasting } => (each(nodes, |node| Fault::DiskFull { node })?, *lasting),
            FaultVerb::ClockSkew { nodes, by, lasting } => {
                let seconds = by.as_secs();
                let skew = |node| Fault::ClockSkew { node, seconds };
                (picked(nodes, lab)?.into_iter().map(skew).collect(), *lasting)
            }
            FaultVerb::SlowLink { nodes, kbit, lasting } => {
                let slow = |node| Fault::SlowLink { node, kbit: *kbit };
                (picked(nodes, lab)?.into_iter().map(slow).collect(), *lasting)
            }
            FaultVerb::Partition { one, other, lasting } => (vec![partition(one, other.as_ref(), lab)?], *lasting),
            FaultVerb::StallNfs { lasting } => (vec![Fault::StallNfs], *lasting),
        }))
    }
}

fn partition(one: &Selector, other: Option<&Selector>, lab: &Lab) -> Result<Fault> {
    let one = picked(one, lab)?;
    let other = match other {
        Some(other) => picked(other, lab)?,
        None => lab.nodes.iter().map(|node| node.name.clone()).filter(|name| !one.contains(name)).collect(),
    };
    if let Some(both) = one.intersection(&other).next() {
        return Err(Error::new(Class::Usage, format!("`{both}` is in both groups")));
    }
    if other.is_empty() {
        return Err(Error::new(Class::Usage, "there is nobody to be parted from: the group is the whole lab"));
    }
    Ok(Fault::Partition { one, other })
}

fn picked(nodes: &Selector, lab: &Lab) -> Result<BTreeSet<NodeName>> {
    let names = nodes.pick(lab)?;
    Ok(lab
        .nodes
        .iter()
        .map(|node| node.name.clone())
        .filter(|name| names.iter().any(|picked| picked == name.as_str()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::{Arguments, Verb},
        engine::{PostgresFdw, PostgresXc, fixture::smaller},
    };
    use clap::Parser;

    fn faults(line: &str, engine: &dyn Engine) -> Result<Vec<String>> {
        let words = ["pgxc-lab", "fault"].into_iter().chain(line.split(' '));
        let Verb::Fault(verb) = Arguments::try_parse_from(words).expect(line).verb else { panic!("{line}") };
        let (faults, _) = verb.faults(&smaller(2), engine)?.expect("it makes faults");
        Ok(faults.iter().map(|fault| fault.to_string().replace("db-192-168-122-", "")).collect())
    }

    #[test]
    fn words_mean_faults() {
        for (line, meant) in [
            ("kill-component datanode", vec!["kill-component datanode 173", "kill-component datanode 174"]),
            ("kill-component gtm --for 30s", vec!["kill-component gtm 171"]),
            ("pause gtm,gtm_standby", vec!["pause 171", "pause 172"]),
            ("partition gtm", vec!["partition 171 172,173,174"]),
            ("partition gtm datanode", vec!["partition 171 173,174"]),
            ("clock-skew gtm --by -90s", vec!["clock-skew 171 --by=-90s"]),
            ("slow-link gtm_standby --for 1m", vec!["slow-link 172 --kbit 256"]),
            ("stall-nfs", vec!["stall-nfs"]),
        ] {
            assert_eq!(faults(line, &PostgresXc).expect(line), meant, "{line}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        assert!(faults("kill-component gtm", &PostgresFdw).is_err(), "it has no GTM");
        for line in ["kill-component datanode gtm", "partition all", "partition gtm gtm", "pause db9"] {
            let error = faults(line, &PostgresXc).expect_err(line);
            assert_eq!(error.class(), Class::Usage, "{line}");
        }
        for line in
            ["pause", "pause all --for", "pause all --for -5s", "slow-link all --kbit 0", "clock-skew all --by x"]
        {
            let words = ["pgxc-lab", "fault"].into_iter().chain(line.split(' '));
            assert!(Arguments::try_parse_from(words).is_err(), "{line}");
        }
    }
}
