//! Which components a command is for.

use crate::{
    engine::Engine,
    error::{Class, Error, Result},
    lab::{Lab, Placed, Role, Selector},
};
use clap::Args;

/// Nodes, and kinds of components on them.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Selection {
    /// Where: `all`, a role, or names of nodes, with commas between
    #[arg(long, value_name = "SELECTOR", default_value = "all")]
    on: Selector,
    /// Only these kinds of components, with commas between [default: all]
    #[arg(long, value_name = "ROLE", value_delimiter = ',')]
    component: Vec<Role>,
}

impl Selection {
    /// The components of this lab that it means, in the order of the nodes.
    ///
    /// # Errors
    /// [`Class::Usage`] when a word means nothing, or the selection nothing that the engine runs.
    pub fn pick<'lab>(&self, lab: &'lab Lab, engine: &dyn Engine) -> Result<Vec<Placed<'lab>>> {
        let names = self.on.pick(lab)?;
        let nodes = names.iter().filter_map(|name| lab.node(name));
        let picked: Vec<Placed<'lab>> = nodes
            .flat_map(|node| lab.components_of(node))
            .filter(|placed| engine.runs(placed.role))
            .filter(|placed| self.component.is_empty() || self.component.contains(&placed.role))
            .collect();
        if picked.is_empty() {
            let kinds: Vec<&str> = self.component.iter().map(|role| role.as_str()).collect();
            let kinds = if kinds.is_empty() { "component".to_owned() } else { kinds.join(" or ") };
            return Err(Error::new(
                Class::Usage,
                format!("{} runs no {kinds} on `{}`", engine.kind().as_str(), self.on),
            )
            .hint("`pgxc-lab status` shows what runs where"));
        }
        Ok(picked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{PostgresFdw, PostgresXc},
        lab,
    };

    fn pick(lab: &Lab, engine: &dyn Engine, on: &str, component: &[Role]) -> Result<Vec<String>> {
        let selection = Selection { on: on.parse().expect("a selector"), component: component.to_vec() };
        Ok(selection.pick(lab, engine)?.iter().map(|placed| placed.name.to_string()).collect())
    }

    #[test]
    fn nodes_and_kinds_are_both_held() {
        let lab: lab::Lab = crate::engine::fixture::smaller(2);
        let all = pick(&lab, &PostgresXc, "all", &[]).expect("components");
        assert_eq!(all, ["one", "two", "1", "datanode_1", "coordinate_1", "2", "datanode_2", "coordinate_2"]);
        let some = pick(&lab, &PostgresXc, "gtm,db-192-168-122-174", &[Role::Gtm, Role::Datanode]);
        assert_eq!(some.expect("components"), ["one", "datanode_2"]);
    }

    #[test]
    fn a_selection_of_nothing_is_refused() {
        let lab = crate::engine::fixture::smaller(1);
        let error = pick(&lab, &PostgresXc, "gtm", &[Role::Datanode, Role::Coordinator]).expect_err("nothing");
        assert_eq!(error.message(), "postgres-xc runs no datanode or coordinator on `gtm`");
        assert_eq!(error.class(), Class::Usage);
        assert!(pick(&lab, &PostgresFdw, "all", &[Role::GtmProxy]).is_err(), "it has no GTM");
    }
}
