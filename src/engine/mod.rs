//! What makes the cluster: a pure description of builds, directories, files, units, SQL and proof.
//!
//! An engine decides and never acts: the same executor runs both implementations.

pub(crate) mod conf;
mod doubt;
#[cfg(test)]
pub(crate) mod fixture;
mod hba;
mod postgres_fdw;
mod postgres_xc;
mod script;
mod transient;
mod unit;

pub use doubt::{ABANDONED, Holders, open_gxids};
pub use postgres_fdw::PostgresFdw;
pub use postgres_xc::{ENGINE_DISK, PostgresXc, hash_counts, hash_placement, node_id};
pub use script::InitScript;
pub use transient::{TRIES, is_transient, reached, retried};
pub use unit::GUARD;

use crate::{
    guest::{GuestFile, Init, System},
    lab::{EngineKind, Identifier, Lab, Node, Placed, Role},
};
use std::net::Ipv4Addr;

/// Describes one kind of cluster.
pub trait Engine: Send + Sync {
    /// Which one it is.
    fn kind(&self) -> EngineKind;

    /// Packages that the image of these guests must hold for it; `None` where it cannot run.
    fn packages(&self, system: System) -> Option<&'static [&'static str]>;

    /// How its programs are built from source; `None` when packages bring them.
    fn build(&self, lab: &Lab) -> Option<Build>;

    /// Whether components of this kind run under this engine.
    fn runs(&self, role: Role) -> bool;

    /// Everything that one component needs on its node.
    fn component(&self, lab: &Lab, placed: Placed<'_>) -> ComponentSetup;

    /// Files of the node that belong to the engine but to no component, such as `.bash_profile` and links.
    fn node_files(&self, lab: &Lab, node: &Node) -> Vec<GuestFile>;

    /// What it cannot do, one sentence each; said by `up`. Empty for the real thing.
    fn lacks(&self) -> &'static [&'static str];

    /// The query that tells what a coordinator knows of the cluster; its rows go to [`Engine::registration`].
    fn inventory(&self) -> &'static str;

    /// The next statements that bring coordinator `on` from what it knows (`rows` of the inventory) to what it must
    /// know, to be run one by one, in order, each outside a transaction block. Empty: it knows everything.
    ///
    /// One answer may be only a round of several: the caller opens a new session, reads the inventory again and asks
    /// again until the answer is empty, at most [`REGISTRATION_ROUNDS`] times (Postgres-XC's sessions remember the
    /// primary node that they saw first, spec 2.9).
    fn registration(&self, lab: &Lab, on: Placed<'_>, rows: &[Row]) -> Vec<String>;

    /// The query, on a coordinator in the database `postgres`, for what a datanode or coordinator that joins would not
    /// know although statements about it go to every server: a kind and a name a row. `None` where none go there.
    fn unknown_to_newcomers(&self) -> Option<&'static str>;

    /// What only these nodes may hold: whom to ask for it, and what.
    fn holdings<'lab>(&self, lab: &'lab Lab, leaving: &[&'lab Node]) -> Vec<Holding<'lab>>;

    /// The statements with which a coordinator that knows `rows` of the inventory forgets components of these names, which
    /// hold nothing.
    fn farewell(&self, lab: &Lab, gone: &[Identifier], rows: &[Row]) -> Vec<String>;

    /// The short proof at the end of `up`.
    fn proof(&self, lab: &Lab) -> Proof;

    /// The shorter proof at the end of `restore` and `failover`: a write through every coordinator.
    fn writes(&self, lab: &Lab) -> Writes;

    /// The query that tells a server's WAL position.
    fn wal_position(&self) -> &'static str;

    /// The query that tells of a server: sessions of clients but this one, sessions that coordinators hold open, those of
    /// them that are busy, prepared transactions, those of them that are older than a minute.
    fn vitals(&self) -> &'static str;

    /// How the standby of the GTM takes its place, in a lab whose roles are already as they are to be; `None` without a GTM.
    fn takeover(&self, lab: &Lab) -> Option<Takeover>;

    /// How transactions that were prepared and then left alone are found and resolved, where the engine prepares any.
    fn in_doubt(&self, lab: &Lab) -> Option<InDoubt>;
}

/// How many rounds of [`Engine::registration`] bring statements at most; more of them are a mistake.
pub const REGISTRATION_ROUNDS: usize = 4;

/// A row of text values, as the simple query protocol gives them.
pub type Row = Vec<Option<String>>;

/// How an engine's programs are built: once, in a builder root of the guest's system.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Build {
    /// Packages that the builder root holds in addition to the image's.
    pub packages: Vec<String>,
    /// bash script, run as root in the builder root with `SOURCE`, `PREFIX`, `OPTIONS`, `JOBS` and `OUT`
    /// in its environment; it installs below `OUT` (DESTDIR).
    pub script: String,
    /// Installation prefix.
    pub prefix: String,
    /// configure options.
    pub options: Vec<String>,
}

/// Everything that one component needs on its node.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ComponentSetup {
    /// Its data directory in the guest, e.g. `/data02/pgxc_datanode`.
    pub directory: String,
    /// POSIX script that fills the (absent) data directory, run once as the cluster's user in a native root that
    /// looks like the guest. `PASSWORD_FILE` names a file with the superuser's password.
    pub initialise: String,
    /// Configuration files, with absolute paths in the guest; written after `initialise` and whenever they differ.
    pub files: Vec<GuestFile>,
    /// Name of its systemd unit, e.g. `pgxc-datanode.service`.
    pub unit: String,
    /// Text of the unit.
    pub unit_text: String,
    /// Its init script, for guests without systemd.
    pub script: InitScript,
    /// How to see that it serves.
    pub ready: Ready,
    /// POSIX script, run as root when it serves for the first time.
    pub welcome: Option<String>,
    /// POSIX script, run as root after another node's guest has booted again while it ran: it lets go of its connections to
    /// servers that are not there any more.
    pub let_go: Option<String>,
}

/// How to see that a component serves.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Ready {
    /// The GTM protocol answers on this port (never a proxy: a bare connection dead-locks it, spec 2.7).
    Gtm {
        /// TCP port on the node.
        port: u16,
    },
    /// The GTM protocol answers on this port, the GTM has this standby registered, and the GXIDs of both agree.
    Standby {
        /// TCP port on the node.
        port: u16,
        /// The standby's own name.
        name: String,
        /// Address and port of the GTM that it follows.
        gtm: (Ipv4Addr, u16),
    },
    /// This file exists: its unit removes it when the server ends. What proves a proxy end to end is a query on its datanode.
    File {
        /// Absolute path in the guest, below the export.
        path: String,
    },
    /// This query, as superuser on this port, gives this one value.
    Query {
        /// TCP port on the node.
        port: u16,
        /// The query.
        sql: String,
        /// Its one value.
        value: String,
    },
}

/// A question after what nobody may lose.
#[derive(Clone, Debug)]
pub struct Holding<'lab> {
    /// Who is asked, in every database.
    pub on: Placed<'lab>,
    /// The query; each row is a kind and a name.
    pub query: String,
}

/// The short proof at the end of `up`: a distributed table made and filled through the first coordinator, counted
/// per datanode and through the last one.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Proof {
    /// Statements through the first coordinator, in order; the first ones remove what an earlier proof left.
    pub fill: Vec<String>,
    /// The COPY that takes the rows, through the first coordinator; `None` when `fill` puts them in. An `insert … select` would be right too, but
    /// Postgres-XC sends it row by row, 12 ms each between emulated guests; a COPY takes a second or two.
    pub copy: Option<String>,
    /// Per datanode: its name, the query through the first coordinator, and the count that must come out (`None`
    /// where the engine's placement is not specified; then only the sum is held).
    pub counts: Vec<(String, String, Option<u64>)>,
    /// The query through the last coordinator.
    pub total: String,
    /// The number of rows that go in and must come out: k from 1 on, and a text.
    pub rows: u64,
    /// Statements through the first coordinator that remove the table.
    pub clean: Vec<String>,
}

/// The short proof at the end of `restore` and `failover`: every coordinator writes, every datanode is written to, the last
/// coordinator counts.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Writes {
    /// Statements through the first coordinator that make an empty table, or fail when an earlier proof left one.
    pub prepare: Vec<String>,
    /// One statement per coordinator, in their order.
    pub each: Vec<String>,
    /// The query through the last coordinator.
    pub total: String,
    /// The number that it must give.
    pub rows: u64,
    /// Statements through the first coordinator that remove the table.
    pub clean: Vec<String>,
}

/// Transactions that are prepared on some node while nobody finishes them.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct InDoubt {
    /// Queries that count them, per coordinator in their order; together they see every server once.
    pub counts: Vec<Vec<String>>,
    /// POSIX script that resolves them, run as root on the node of the first coordinator, with the
    /// superuser's password in `PGPASSWORD`.
    pub resolve: String,
    /// Query, on a coordinator, for the GXIDs that the GTM holds open, in the words of `txid_current_snapshot`.
    pub open: String,
    /// Query, on a server itself, for the GXIDs that it has something of: the GXID; of a transaction that coordinators
    /// prepare by themselves how many seconds ago, of a prepared one of a user `-1`, of a running one nothing.
    pub holders: String,
    /// Query, on a server itself, that gives `t` when it committed `{gxid}`.
    pub committed: String,
    /// Statements, on a server itself, that commit what coordinators prepared by themselves as `{gxid}`.
    pub commit: Vec<String>,
    /// The same, that roll it back.
    pub roll_back: Vec<String>,
}

/// How the standby of a GTM takes its place.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Takeover {
    /// POSIX script that promotes the standby, run as root on its node; it ends when it is the GTM, and may be run again.
    pub promote: String,
    /// POSIX script that leads a proxy to the new GTM, run as root on the proxy's node; it may be run again.
    pub reconnect: String,
    /// Files in a GTM's data directory in which its next GXID is noted while it runs, in decimal.
    pub marks: Vec<String>,
    /// File in a GTM's data directory that begins with the next GXID when it ended in an orderly way: four bytes, in the
    /// order of the guests' processors.
    pub control: String,
}

/// What the components of a node need, in start order.
pub fn components(engine: &dyn Engine, lab: &Lab, node: &Node) -> Vec<ComponentSetup> {
    let placed = lab.components_of(node).into_iter().filter(|placed| engine.runs(placed.role));
    placed.map(|placed| engine.component(lab, placed)).collect()
}

impl ComponentSetup {
    /// What its guest's init is told of it.
    pub fn service_text(&self, init: Init) -> &str {
        match init {
            Init::Systemd => &self.unit_text,
            Init::Scripts => &self.script.text,
        }
    }
}

/// Every file that the guest of a node must have on its own disk: its system's, the engine's, and what its init is told of the
/// components.
pub fn guest_files(engine: &dyn Engine, system: System, lab: &Lab, node: &Node) -> Vec<GuestFile> {
    const UNITS: &str = "/etc/systemd/system";
    let mut files = system.guest().files(lab, node);
    files.extend(engine.node_files(lab, node));
    let components = components(engine, lab, node);
    if system.init() == Init::Scripts {
        files.retain(|file| !file.path.starts_with(UNITS));
        if !components.is_empty() {
            files.extend(script::files(components.into_iter().map(|it| (it.unit, it.script)).collect()));
        }
        return files;
    }
    for component in components {
        let unit = format!("{UNITS}/{}", component.unit);
        files.push(GuestFile::link(format!("{UNITS}/multi-user.target.wants/{}", component.unit), &unit));
        files.push(GuestFile::text(unit, component.unit_text));
    }
    files
}

/// The engine of this kind.
pub fn of(kind: EngineKind) -> Box<dyn Engine> {
    match kind {
        EngineKind::PostgresXc => Box::new(PostgresXc),
        EngineKind::PostgresFdw => Box::new(PostgresFdw),
    }
}
