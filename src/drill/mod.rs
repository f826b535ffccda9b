//! Drills: something is broken under load, what must be seen meanwhile is seen, it is mended, and the books are right.
//!
//! A drill is data ([`catalogue`]). The load is real clients ([`load`]) that remember what they were told; at the end that
//! is compared with what the cluster has ([`ledger`]).

pub mod bank;
pub mod catalogue;
pub mod ledger;
pub mod load;
pub mod report;

pub use catalogue::{CATALOGUE, Drill, Prospect};

use crate::{
    config::suggest,
    error::{Class, Error, Result},
    lab::{EngineKind, Lab},
};

/// The drills with these names, in the order of the catalogue; none: all that apply to this lab.
///
/// # Errors
/// A name that no drill has, with the nearest one; one that does not apply, with the reason.
pub fn chosen(names: &[String], engine: EngineKind, lab: &Lab) -> Result<Vec<&'static Drill>> {
    let known: Vec<&str> = CATALOGUE.iter().map(|drill| drill.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(
            Error::new(Class::Usage, format!("there is no drill `{unknown}`")).hint(suggest::hint(unknown, &known))
        );
    }
    if names.is_empty() {
        return Ok(CATALOGUE.iter().filter(|drill| drill.lacking(engine, lab).is_none()).collect());
    }
    let named: Vec<&Drill> = CATALOGUE.iter().filter(|drill| names.iter().any(|name| name == drill.name)).collect();
    match named.iter().find_map(|drill| Some((drill, drill.lacking(engine, lab)?))) {
        Some((drill, why)) => Err(Error::new(Class::Usage, format!("`{}` does not apply: {why}", drill.name))
            .hint("`pgxc-lab drill list` shows which do")),
        None => Ok(named),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::smaller;

    fn names(names: &[&str], engine: EngineKind, lab: &Lab) -> Result<Vec<&'static str>> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Ok(chosen(&names, engine, lab)?.into_iter().map(|drill| drill.name).collect())
    }

    #[test]
    fn only_what_applies_is_run() {
        let all = names(&[], EngineKind::PostgresXc, &smaller(2)).expect("drills");
        assert!(all.len() == CATALOGUE.len() - 1 && !all.contains(&"disk-full"), "{all:?}");
        let mut synchronous = smaller(2);
        synchronous.nfs.options.push("sync".into());
        let all = names(&[], EngineKind::PostgresXc, &synchronous).expect("drills");
        assert_eq!(all.len(), CATALOGUE.len());
        let fdw = names(&[], EngineKind::PostgresFdw, &smaller(2)).expect("drills");
        assert!(
            !fdw.contains(&"gtm-killed") && fdw.contains(&"coordinator-lost") && !fdw.contains(&"datanode-killed"),
            "{fdw:?}"
        );
        assert!(!names(&[], EngineKind::PostgresXc, &smaller(1)).expect("drills").contains(&"coordinator-lost"));
        let error = names(&["gtm-killed"], EngineKind::PostgresFdw, &smaller(2)).expect_err("it has no GTM");
        assert!(error.message().starts_with("`gtm-killed` does not apply: "), "{error}");
        assert!(names(&["gtm-kiled"], EngineKind::PostgresXc, &smaller(2)).is_err());
    }
}
