//! What `status` knows of a lab: nodes and components as they are, not as they were. The shape of `status --json`, whose
//! schema is docs/status.schema.json.

mod look;
mod text;

pub use look::look;
pub use text::lines;

use crate::{
    hypervisor::DomainState,
    lab::{Failover, Role},
};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};

/// A lab as it was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// The lab.
    pub lab: String,
    /// Its engine.
    pub engine: String,
    /// How its guests run: `kvm` or `tcg`.
    pub accelerator: String,
    /// Whether every guest runs, every component serves and nothing is broken on purpose; the exit code says the same.
    pub healthy: bool,
    /// The last failover of the GTM, unless it is where lab.yaml has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<Failover>,
    /// What is broken on purpose, in the words of `pgxc-lab fault`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// The filesystem that all exports lie on; nothing when it is not mounted.
    pub exports: Option<Space>,
    /// In the order of lab.yaml.
    pub nodes: Vec<NodeStatus>,
}

/// Room on a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Space {
    /// All of it, in bytes.
    pub size: u64,
    /// What is free, in bytes.
    pub free: u64,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeStatus {
    /// Its name.
    pub node: String,
    /// Its address.
    pub address: String,
    /// Memory of its guest, as in lab.yaml.
    pub memory: String,
    /// The host that it is on, in a lab of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its guest.
    pub domain: GuestState,
    /// The guest's clock; nothing when it does not tell.
    pub clock: Option<Clock>,
    /// In the order in which they start.
    pub components: Vec<ComponentStatus>,
}

/// How a guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GuestState {
    /// Its CPUs run.
    Running,
    /// Its CPUs are stopped, its memory is there.
    Paused,
    /// It does not run.
    Off,
    /// It crashed.
    Crashed,
    /// There is none.
    Absent,
    /// libvirt does not say.
    Unknown,
    /// Its host does not answer.
    Lost,
}

impl GuestState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            GuestState::Running => "running",
            GuestState::Paused => "paused",
            GuestState::Off => "off",
            GuestState::Crashed => "crashed",
            GuestState::Absent => "absent",
            GuestState::Unknown => "unknown",
            GuestState::Lost => "lost",
        }
    }
}

impl From<DomainState> for GuestState {
    fn from(state: DomainState) -> GuestState {
        match state {
            DomainState::Running => GuestState::Running,
            DomainState::Paused => GuestState::Paused,
            DomainState::Off => GuestState::Off,
            DomainState::Crashed => GuestState::Crashed,
        }
    }
}

/// A clock, as the guest's chronyd tells.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// How far it is off the gateway's, in seconds, either way.
    pub off: f64,
    /// Whether chronyd follows the gateway.
    pub follows: bool,
}

/// A component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComponentStatus {
    /// What it is, after a failover too.
    pub role: Role,
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// Whether it answers as what it is to be; a proxy is asked by its databases only.
    pub serves: bool,
    /// Why not.
    pub detail: String,
    /// The process that its pid file on the export names; nothing when it ended in an orderly way. One that was killed
    /// leaves the file.
    pub pid: Option<u32>,
    /// Bytes of the files of its WAL on the export; nothing for what has none.
    pub wal: Option<u64>,
    /// What a GTM or its standby tells.
    pub gtm: Option<GtmStatus>,
    /// What a coordinator or a datanode tells.
    pub database: Option<DatabaseStatus>,
}

/// What a GTM or its standby tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GtmStatus {
    /// The GXID that it would give next.
    pub next_gxid: u32,
    /// How many GXIDs a standby is behind the GTM, which is asked at nearly the same time; nothing for the GTM. 1.0.2 is
    /// behind by one half of the time.
    pub behind: Option<u32>,
}

/// What a coordinator or a datanode tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseStatus {
    /// Sessions of clients, without the one that asked.
    pub clients: u32,
    /// Sessions that coordinators hold open here, in their pools.
    pub pooled: u32,
    /// Those of them that work or are in a transaction.
    pub pooled_busy: u32,
    /// Transactions that are prepared.
    pub prepared: u32,
    /// Those of them that are prepared for more than a minute.
    pub in_doubt: u32,
}

/// The JSON schema of `status --json`, as it is checked in.
pub fn schema() -> String {
    let schema = SchemaSettings::draft07().for_serialize().into_generator().into_root_schema_for::<Status>();
    format!("{:#}\n", schema.to_value())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lab of two nodes in which everything is told.
    pub(super) fn two() -> Status {
        let component = |role, name: &str, port| ComponentStatus {
            role,
            name: name.into(),
            port,
            serves: true,
            detail: String::new(),
            pid: Some(412),
            wal: None,
            gtm: None,
            database: None,
        };
        let gtm = |next_gxid, behind| Some(GtmStatus { next_gxid, behind });
        let database =
            |pooled| Some(DatabaseStatus { clients: 2, pooled, pooled_busy: pooled / 2, prepared: 0, in_doubt: 0 });
        let node = |node: &str, last: u8, off, components| NodeStatus {
            host: None,
            node: node.into(),
            address: format!("192.168.122.{last}"),
            memory: "512 MiB".into(),
            domain: GuestState::Running,
            clock: Some(Clock { off, follows: true }),
            components,
        };
        Status {
            lab: "two".into(),
            engine: "postgres-xc".into(),
            accelerator: "tcg".into(),
            healthy: true,
            failover: None,
            faults: Vec::new(),
            exports: Some(Space { size: 64 << 30, free: 63 << 30 }),
            nodes: vec![
                node(
                    "db-192-168-122-171",
                    171,
                    0.000_012,
                    vec![
                        ComponentStatus { gtm: gtm(10_313, None), ..component(Role::Gtm, "one", 1921) },
                        ComponentStatus { gtm: gtm(10_312, Some(1)), ..component(Role::GtmStandby, "two", 1925) },
                    ],
                ),
                node(
                    "db-192-168-122-173",
                    173,
                    0.000_2,
                    vec![
                        component(Role::GtmProxy, "1", 1924),
                        ComponentStatus {
                            wal: Some(48 << 20),
                            database: database(10),
                            ..component(Role::Datanode, "datanode_1", 1923)
                        },
                        ComponentStatus {
                            wal: Some(16 << 20),
                            database: database(0),
                            ..component(Role::Coordinator, "coordinate_1", 1921)
                        },
                    ],
                ),
            ],
        }
    }

    #[test]
    fn the_shape_is_read_back_and_nothing_else_is() {
        let mut json = serde_json::to_value(two()).expect("JSON");
        assert_eq!(serde_json::from_value::<Status>(json.clone()).expect("its own shape"), two());
        json["nodes"][1]["components"][1]["database"]["idle"] = 5.into();
        assert!(serde_json::from_value::<Status>(json).is_err());
    }

    #[test]
    fn the_schema_is_checked_in() {
        let path = "docs/status.schema.json";
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(path, schema()).expect("the file can be written");
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == schema(), "{path} is old: run the tests with UPDATE_EXPECTED=1");
    }
}
