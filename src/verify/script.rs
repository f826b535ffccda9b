//! What a check does to the cluster, as data: who is asked what, in which order, and what side by side.

use crate::lab::{Placed, Role};
use serde::{Deserialize, Serialize};

/// A session with one component. Number 0 is kept and shared by all checks; others belong to one check and are closed
/// at its end, for what must not be mixed, such as an open transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Session {
    /// Kind of the component.
    pub role: Role,
    /// Name of the component or, for commands, of the node.
    pub name: String,
    /// Which of the sessions with it.
    pub number: u8,
}

impl Session {
    /// The shared session with a component.
    pub fn with(placed: &Placed<'_>) -> Session {
        Session { role: placed.role, name: placed.name.to_string(), number: 0 }
    }

    /// Another session with the same component.
    pub fn apart(self, number: u8) -> Session {
        Session { number, ..self }
    }

    /// Asks for the rows of a statement.
    pub fn sql(&self, key: impl Into<String>, sql: impl Into<String>) -> Ask {
        self.ask(key, Act::Sql(sql.into()))
    }

    /// Has something removed, in a session for that.
    pub fn removal(&self, key: impl Into<String>, sql: impl Into<String>) -> Ask {
        self.clone().apart(REMOVALS).ask(key, Act::Removal(sql.into()))
    }

    /// Asks for anything.
    pub fn ask(&self, key: impl Into<String>, act: Act) -> Ask {
        Ask { key: key.into(), at: self.clone(), act }
    }
}

/// The number of sessions that remove things.
const REMOVALS: u8 = u8::MAX;

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Under which name the judgement finds the answer.
    pub key: String,
    /// Who is asked.
    pub at: Session,
    /// What.
    pub act: Act,
}

/// What is asked or done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A statement; the answer is its rows.
    Sql(String),
    /// In every database, in one snapshot: a query whose rows end with a statement, and then these statements; the answer is
    /// their rows, each behind the database and what stood before its statement.
    EachDatabase(String),
    /// A statement that waits for locks; the server gives it up before the question does, so that no session of it waits on
    /// and on. In a session of its own, whose setting it changes.
    Removal(String),
    /// A statement that the server should refuse; the answer is its words, or no row when it took it.
    Refused(String),
    /// A COPY from these lines; the answer is the number of rows that it took.
    Copy {
        /// The statement.
        sql: String,
        /// The lines.
        lines: String,
    },
    /// Whether the component serves, in the way of its kind: `serves`, or why not.
    Serves,
    /// Whether a GTM says that it is the active one (`1`) or the standby (`0`), as `gtm_ctl status` reads it; `none` when
    /// it is down.
    GtmRole,
    /// The next GXID of a GTM.
    NextGxid,
    /// Role, name, port and `connected` or `lost` of everything that a GTM has registered, when these are among them.
    /// They are waited for: a server of 1.0 registers at the first signal after it serves, which may be the autovacuum
    /// launcher's a minute later.
    NodeList(Vec<(Role, String)>),
    /// A line for the shell, as root on the node whose name the session has; the answer is its output, a row a line.
    Shell(String),
    /// The steps that `up` would run.
    Plan,
}

/// Questions in stages, one after the other. A stage has lanes that run side by side; a lane goes one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script(pub Vec<Vec<Vec<Ask>>>);

impl Script {
    /// Adds one question.
    pub fn then(self, ask: Ask) -> Script {
        self.in_turn([ask])
    }

    /// Adds questions that are asked one after the other.
    pub fn in_turn(mut self, asks: impl IntoIterator<Item = Ask>) -> Script {
        self.0.push(vec![asks.into_iter().collect()]);
        self
    }

    /// Adds lanes that run side by side.
    pub fn together(mut self, lanes: impl IntoIterator<Item = Vec<Ask>>) -> Script {
        self.0.push(lanes.into_iter().collect());
        self
    }
}
