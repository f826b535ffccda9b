//! Acceptance: is the cluster right?
//!
//! A [`Check`] is a pure description and a pure judgement: what is asked ([`Script`](script::Script)), and what the
//! answers ([`Seen`](seen::Seen)) say. [`Observer`] asks, over the wire. [`run`] does one check after the other and cleans
//! up; what comes out is a [`Report`], which is shown as text, JSON, TAP or JUnit. Whoever wants to know whether a lab is
//! well, such as the end of `up`, calls `run(observer, quick tasks, …)` and reads the report.

mod bank;
mod check;
mod fdw;
mod judgement;
pub mod junit;
mod likeness;
mod observe;
mod own;
mod parties;
#[cfg(test)]
mod recorded;
pub mod report;
mod run;
mod script;
mod seen;
mod steady;
mod sweep;
pub mod tap;
pub mod text;
mod unchanged;
mod xc;

pub use check::{Check, LabFile, PREFIX, Suite, Task};
pub use judgement::{Finding, Findings, Judgement, Verdict, Weight};
pub use observe::{Observer, Parts};
pub use report::{About, EXIT_CODES, Observed, Report};
pub use run::run;
pub use sweep::Sweep;

use crate::{
    config::suggest,
    error::{Class, Error, Result},
    lab::{EngineKind, Lab, Role},
};

/// The checks of an engine, in the order in which they are run.
pub fn catalogue(engine: EngineKind) -> impl Iterator<Item = &'static Check> {
    let parts = match engine {
        EngineKind::PostgresXc => xc::CATALOGUE,
        EngineKind::PostgresFdw => fdw::CATALOGUE,
    };
    parts.iter().copied().flatten()
}

/// How an engine's checks are cleaned up after.
pub fn sweep(engine: EngineKind) -> &'static Sweep {
    match engine {
        EngineKind::PostgresXc => &xc::sweep::SWEEP,
        EngineKind::PostgresFdw => &fdw::sweep::SWEEP,
    }
}

/// The tasks of a suite, with the checks of lab.yaml.
pub fn of_suite(engine: EngineKind, lab: &Lab, suite: Suite, lab_file: LabFile) -> Vec<Task> {
    let strange = strange(engine, lab);
    let built_in = catalogue(engine).filter(|check| check.suite <= suite);
    let built_in = built_in.map(|check| check.task(lab, strange.or(check.needs.lacking(lab, lab_file))));
    built_in.chain(lab.checks.iter().map(|check| own::task(check, lab))).collect()
}

/// Why the checks of an engine say nothing about this lab.
fn strange(engine: EngineKind, lab: &Lab) -> Option<&'static str> {
    if lab.placed(Role::Coordinator).is_empty() {
        return Some("the lab has no cluster");
    }
    let strange = engine == EngineKind::PostgresXc && !lab.cluster.version.starts_with("1.0");
    strange.then_some("it is written in the SQL of Postgres-XC 1.0, and newer versions have another")
}

/// The tasks with these names, in the order of the catalogue.
///
/// # Errors
/// A name that no check has, with the nearest one that does.
pub fn chosen(engine: EngineKind, lab: &Lab, names: &[String], lab_file: LabFile) -> Result<Vec<Task>> {
    let all = of_suite(engine, lab, Suite::Full, lab_file);
    let known: Vec<&str> = all.iter().map(|task| task.id.as_str()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Error::new(Class::Usage, format!("engine {} has no check `{unknown}`", engine.as_str()))
            .hint(suggest::hint(unknown, &known)));
    }
    Ok(all.into_iter().filter(|task| names.contains(&task.id)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::smaller;

    fn skipped(lab: &Lab, lab_file: LabFile) -> Vec<String> {
        let tasks = of_suite(EngineKind::PostgresXc, lab, Suite::Full, lab_file);
        tasks.into_iter().filter(|task| task.skip.is_some()).map(|task| task.id).collect()
    }

    #[test]
    fn what_a_lab_does_not_have_is_not_checked() {
        assert!(skipped(&smaller(2), LabFile::Known).is_empty());
        assert_eq!(skipped(&smaller(2), LabFile::Unknown), ["unchanged"]);
        assert_eq!(skipped(&smaller(1), LabFile::Known), ["copies", "subset", "prepare", "rollback"]);
        let mut lab = smaller(2);
        lab.nodes.remove(1);
        assert_eq!(skipped(&lab, LabFile::Known), ["standby"]);
        let mut newer = smaller(2);
        newer.cluster.version = "1.1".into();
        let mut plain = smaller(2);
        plain.nodes.iter_mut().for_each(|node| node.roles.clear());
        assert_eq!(skipped(&plain, LabFile::Known).len(), catalogue(EngineKind::PostgresXc).count());
        assert_eq!(skipped(&newer, LabFile::Known).len(), catalogue(EngineKind::PostgresXc).count());
    }

    #[test]
    fn quick_is_a_part_of_full() {
        for engine in [EngineKind::PostgresXc, EngineKind::PostgresFdw] {
            let ids = |suite| -> Vec<String> {
                of_suite(engine, &smaller(2), suite, LabFile::Known).into_iter().map(|task| task.id).collect()
            };
            let (quick, full) = (ids(Suite::Quick), ids(Suite::Full));
            assert!(!quick.is_empty() && quick.len() < full.len());
            assert!(quick.iter().all(|id| full.contains(id)));
        }
    }
}
