//! A session that is made anew when it turns out to be broken: one of before a snapshot, or one behind it in a coordinator's
//! pool, is found so only when it is used. One session for all that a server is asked: a new one costs an emulated guest a
//! third of a second.

use super::Site;
use crate::{
    error::{Class, Error, Result},
    lab::Placed,
    sql::Sql,
};
use std::time::{Duration, Instant};

/// How long a server may take until it does what it is told.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is told again.
const ASK: Duration = Duration::from_millis(300);

/// What is said to one server.
pub(super) struct Talk<'lab> {
    site: &'lab Site,
    on: Placed<'lab>,
    server: Option<Sql>,
}

impl Site {
    /// With this server; its session begins with the first statement, if no look has left one.
    pub(super) fn talk<'lab>(&'lab self, on: Placed<'lab>) -> Talk<'lab> {
        Talk { site: self, on, server: self.kept_look(on) }
    }
}

impl Talk<'_> {
    /// The server's name.
    pub fn name(&self) -> &str {
        self.on.name.as_str()
    }

    /// Runs statements, all of them again in another session when one fails, until they succeed; gives the first value of each.
    pub async fn ask(&mut self, statements: &[String]) -> Result<Vec<String>> {
        let deadline = Instant::now() + self.site.patience(PATIENCE);
        loop {
            match self.ask_once(statements).await {
                Ok(values) => return Ok(values),
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context(format!("`{}` takes no writes", self.on.name)));
                }
                Err(error) => {
                    self.site.log(self.on.node, &format!("# {} tries again: {error}", self.on.name));
                    tokio::time::sleep(ASK).await;
                }
            }
        }
    }

    /// The same, once. A session in which a statement failed is not used again.
    pub async fn ask_once(&mut self, statements: &[String]) -> Result<Vec<String>> {
        let server = match self.server.take() {
            Some(server) => server,
            None => self.site.sql(self.on).await?,
        };
        let mut values = Vec::new();
        for statement in statements {
            let rows = server.query(statement).await?;
            values.push(rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten().unwrap_or_default());
        }
        self.server = Some(server);
        Ok(values)
    }

    /// Adds up what queries count.
    pub async fn count(&mut self, queries: &[String]) -> Result<u64> {
        let counts = self.ask(queries).await?;
        self.sum(&counts)
    }

    /// The same, once.
    pub async fn count_once(&mut self, queries: &[String]) -> Result<u64> {
        let counts = self.ask_once(queries).await?;
        self.sum(&counts)
    }

    fn sum(&self, counts: &[String]) -> Result<u64> {
        let number = |seen: &String| {
            let odd = || format!("`{}` answers `{seen}` where it was to count", self.on.name);
            seen.trim().parse::<u64>().map_err(|_| Error::new(Class::Cluster, odd()))
        };
        counts.iter().map(number).sum()
    }
}
