//! Asks the components of a node what they run with.

use super::{Difference, Needs, QUERY, running, seen, written};
use crate::{
    engine::Engine,
    error::{Class, Result, ResultExt},
    guest::Content,
    host::{Exports, Host, LabDir},
    lab::{Lab, Node, Placed},
    sql::{Login, Sql},
};
use std::{fs, path::PathBuf, time::Duration};

/// The file with a database's parameters.
const PARAMETERS: &str = "postgresql.conf";
/// The file that servers read at a reload whole.
const ACCESS: &str = "pg_hba.conf";

/// What is asked, and about what.
pub struct Look<'a> {
    /// The lab as it is wanted.
    pub lab: &'a Lab,
    /// Its engine.
    pub engine: &'a dyn Engine,
    /// Its directory.
    pub dir: &'a LabDir,
    /// Its namespaces.
    pub host: &'a Host,
    /// The superuser.
    pub login: &'a Login,
    /// How long one answer may take.
    pub patience: Duration,
}

impl<'a> Look<'a> {
    /// Each component of a node that runs, with what differs there.
    ///
    /// # Errors
    /// When a server does not answer or a file cannot be read.
    pub async fn node(&self, node: &'a Node) -> Result<Vec<(Placed<'a>, Vec<Difference>)>> {
        let mut found = Vec::new();
        for placed in self.lab.components_of(node).into_iter().filter(|placed| self.engine.runs(placed.role)) {
            found.push((placed, self.component(placed).await?));
        }
        Ok(found)
    }

    async fn component(&self, placed: Placed<'_>) -> Result<Vec<Difference>> {
        let mut differences = Vec::new();
        for file in self.engine.component(self.lab, placed).files {
            let Content::Text(wanted) = &file.content else { continue };
            let name = file.path.rsplit('/').next().unwrap_or(&file.path);
            if name == PARAMETERS {
                differences.extend(running(wanted, &seen(self.ask(placed).await?)));
                continue;
            }
            let path = self.on_export(placed.node, &file.path)?;
            let there =
                fs::read_to_string(&path).or_error(Class::Cluster, || format!("cannot read `{}`", path.display()))?;
            if name != ACCESS {
                differences.extend(written(wanted, &there));
            } else if *wanted != there {
                let (wanted, runs) = (Some("other lines".into()), Some("as it is".into()));
                differences.push(Difference { parameter: name.to_owned(), wanted, runs, needs: Needs::Reload });
            }
        }
        Ok(differences)
    }

    async fn ask(&self, placed: Placed<'_>) -> Result<Vec<crate::engine::Row>> {
        let (address, port) = (placed.node.address, placed.component.port);
        Sql::connect(self.host, address, port, self.login, self.patience).await?.query(QUERY).await
    }

    /// A path of the guest below its mount point, as it lies on the export.
    fn on_export(&self, node: &Node, path: &str) -> Result<PathBuf> {
        Exports::new(self.dir, self.host).file(self.lab, node, path)
    }
}
