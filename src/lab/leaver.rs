//! Nodes that leave a lab: which may, so that nothing that stays becomes another.

use super::{Lab, NodeName, Role};
use crate::error::{Class, Error, Result};

impl Lab {
    /// The lab without these nodes. Whether it is valid is lab.yaml's affair.
    ///
    /// # Errors
    /// A name that no node has; the GTM; and nodes that others stand behind: components and exports are numbered by their
    /// place, so that what stays would get the name and the files of another.
    pub fn without(&self, names: &[NodeName]) -> Result<Lab> {
        if let Some(unknown) = names.iter().find(|name| self.node(name.as_str()).is_none()) {
            let known: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
            return Err(Error::new(Class::Usage, format!("lab `{}` has no node `{unknown}`", self.name))
                .hint(format!("it has {}", known.join(", "))));
        }
        let mut smaller = self.clone();
        smaller.nodes.retain(|node| !names.contains(&node.name));
        let gone = || self.nodes.iter().filter(|node| names.contains(&node.name));
        if let Some(gtm) = gone().find(|node| node.roles.contains_key(&Role::Gtm)) {
            return Err(Error::new(Class::Usage, format!("the GTM of lab `{}` is on `{}`", self.name, gtm.name)).hint(
                "without it there is no cluster: `pgxc-lab failover gtm` leads it elsewhere, `pgxc-lab destroy` removes the lab",
            ));
        }
        let kept = self.nodes.iter().take(smaller.nodes.len());
        if kept.zip(&smaller.nodes).all(|(before, after)| before.name == after.name) {
            return Ok(smaller);
        }
        let last: Vec<&str> = self.nodes[smaller.nodes.len()..].iter().map(|node| node.name.as_str()).collect();
        Err(Error::new(Class::Usage, format!("only the last nodes of lab `{}` can be taken away", self.name))
            .evidence(self.renamed(&smaller))
            .hint(format!(
                "the last are {}; for any other lab there is `pgxc-lab destroy` and `pgxc-lab up`",
                last.join(", ")
            )))
    }

    /// What would become another in a lab of some of these nodes.
    fn renamed(&self, smaller: &Lab) -> String {
        let mut renamed = Vec::new();
        for role in Role::ALL {
            let before = self.placed(role);
            for (place, placed) in smaller.placed(role).into_iter().enumerate() {
                if before[place].name != placed.name {
                    let (node, name) = (&placed.node.name, before[place].name);
                    renamed.push(format!("`{}` on `{node}` would become `{name}`", placed.name));
                }
            }
        }
        match renamed.is_empty() {
            true => {
                "exports are numbered by their place: guests behind would lose the files that they have open".into()
            }
            false => renamed.join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::smaller;

    fn name(last: u8) -> NodeName {
        format!("db-192-168-122-{last}").parse().expect("a name")
    }

    fn left(names: &[NodeName]) -> Result<Vec<String>> {
        let lab = smaller(3).without(names)?;
        Ok(lab.nodes.iter().map(|node| node.name.to_string()).collect())
    }

    #[test]
    fn the_last_nodes_go_in_any_order() {
        assert_eq!(left(&[name(175)]).expect("it may go").len(), 4);
        assert_eq!(
            left(&[name(175), name(174)]).expect("both may go"),
            left(&[name(174), name(175)]).expect("as well")
        );
        assert_eq!(left(&[]).expect("nothing goes").len(), 5);
    }

    #[test]
    fn what_others_hang_on_stays() {
        for (names, message, why) in [
            (vec![name(199)], "lab `pgxc` has no node `db-192-168-122-199`", ""),
            (vec![name(171)], "the GTM of lab `pgxc` is on `db-192-168-122-171`", ""),
            (
                vec![name(174)],
                "only the last nodes of lab `pgxc` can be taken away",
                "`datanode_3` on `db-192-168-122-175` would become `datanode_2`",
            ),
            (
                vec![name(172)],
                "only the last nodes of lab `pgxc` can be taken away",
                "exports are numbered by their place",
            ),
        ] {
            let error = left(&names).expect_err("it must stay");
            assert_eq!((error.class(), error.message()), (Class::Usage, message));
            assert!(error.causes().join("\n").contains(why), "{error}");
        }
    }

    #[test]
    fn after_a_failover_the_gtm_is_where_it_is() {
        let lab = smaller(2).with_gtm_on("db-192-168-122-172").expect("the standby is there");
        assert!(lab.without(&[name(172)]).is_err_and(|error| error.message().contains("the GTM")));
    }
}
