//! The lab as a valid value: what lab.yaml asked for after every rule held.
//!
//! Nothing here touches the machine. A [`Lab`] is only made by [`crate::config::load`], which reports every
//! problem of a file at once; the rest of the program never checks these rules again.

mod failover;
mod fault;
mod hosts;
mod leaver;
mod mac;
mod mirror;
mod names;
mod newcomer;
mod nightly;
mod own_check;
pub mod placement;
mod selector;
mod shape;
mod size;
mod subnet;

pub use failover::Failover;
pub use fault::Fault;
pub use hosts::{Connection, Device, Hosts, LabHost, Lost, Other, Uplink};
pub use mac::Mac;
pub use mirror::Mirror;
pub use names::{Identifier, NamePattern, NodeName};
pub use newcomer::{Asked, Newcomer};
pub use nightly::{Nightly, Notify};
pub use own_check::{Expected, OwnAsk, OwnCheck, has_database};
pub use placement::{Placement, Spread};
pub use selector::Selector;
pub use shape::Shape;
pub use size::Size;
pub use subnet::Subnet;

use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf};

/// A validated lab.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Lab {
    /// Name of the lab: names its state directory and tags everything that it makes.
    pub name: NodeName,
    /// Where the lab lives.
    pub host: HostKind,
    /// The hosts that its guests are spread over; nothing: all are on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Hosts>,
    /// How guests are accelerated.
    pub acceleration: Acceleration,
    /// What happens when the host is smaller than the lab.
    pub fit: Fit,
    /// How new guests come to their first login. It decides how fast they are there and not what they are, so no digest
    /// of the lab has it.
    #[serde(skip)]
    pub boot: BootMode,
    /// The lab's network.
    pub network: Network,
    /// Image names in order of preference; never empty.
    pub images: Vec<String>,
    /// Where images come from in this lab, at most one entry per image.
    #[serde(skip)]
    pub mirrors: Vec<Mirror>,
    /// Engines in order of preference; never empty.
    pub engines: Vec<EngineKind>,
    /// The NFS side of every node's data directory.
    pub nfs: Nfs,
    /// How the guests are tuned.
    pub guest: Guest,
    /// The cluster.
    pub cluster: Cluster,
    /// Nodes in the order of the file; never empty, names, addresses and MACs are unique.
    pub nodes: Vec<Node>,
    /// What nightly runs keep and tell. It decides nothing about the lab itself, so no digest of the lab has it.
    #[serde(skip)]
    pub nightly: Nightly,
    /// Checks of its own for `verify`. They decide nothing about the lab itself either.
    #[serde(skip)]
    pub checks: Vec<OwnCheck>,
    /// Directory of lab.yaml: relative paths in it start here.
    #[serde(skip)]
    pub directory: PathBuf,
}

/// Where the lab lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostKind {
    /// Its own network, mount and pid namespaces with its own libvirtd and NFS server.
    Private,
    /// This machine: its own libvirt with the network `default`, its NFS server, its firewall.
    System,
}

impl HostKind {
    /// The word for it, as in lab.yaml.
    pub fn as_str(self) -> &'static str {
        match self {
            HostKind::Private => "private",
            HostKind::System => "system",
        }
    }
}

/// How guests are accelerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Acceleration {
    /// KVM when a tiny guest proves that it works, else emulation.
    Auto,
    /// KVM or an error.
    Kvm,
    /// Emulation (TCG).
    Tcg,
}

/// What happens when the host is smaller than the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Memory per VM and the memory parameters that hang on it shrink in proportion, with a floor.
    Shrink,
    /// A host that is too small is an error.
    Refuse,
}

/// How new guests come to their first login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BootMode {
    /// From a template where one is in the cache or at least two guests would share it, else by booting.
    Auto,
    /// From a template, which is made even for a single guest.
    Warm,
    /// By booting.
    Cold,
}

impl BootMode {
    /// How many new guests of one shape make a template of it worth its boot; none: no number does.
    pub fn least_clones(self) -> Option<usize> {
        match self {
            // One boot for the template and one clone take longer than one boot.
            BootMode::Auto => Some(2),
            BootMode::Warm => Some(1),
            BootMode::Cold => None,
        }
    }
}

/// Which engine makes the cluster.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    /// Postgres-XC 1.0.x, built from source.
    PostgresXc,
    /// The distribution's PostgreSQL with postgres_fdw.
    PostgresFdw,
}

impl EngineKind {
    /// The name as it is written in lab.yaml.
    pub fn as_str(self) -> &'static str {
        match self {
            EngineKind::PostgresXc => "postgres-xc",
            EngineKind::PostgresFdw => "postgres-fdw",
        }
    }
}

/// The lab's network: libvirt's NAT network inside the lab's own network namespace.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Network {
    /// Addresses of the lab, e.g. `192.168.122.0/24`.
    pub subnet: Subnet,
    /// The host's address in it, e.g. `192.168.122.1`: NFS, NTP and DHCP are served there.
    pub gateway: Ipv4Addr,
    /// DNS domain of the nodes, e.g. `sky-mobi.com`.
    pub domain: String,
    /// Whether the machine that the lab lives on is to know the nodes' names.
    pub hosts_file: HostsFile,
}

/// What becomes of /etc/hosts of the machine that a lab lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub enum HostsFile {
    /// Nothing.
    #[serde(rename = "false")]
    Untouched,
    /// It gets a block with the nodes' names, until `destroy`.
    #[serde(rename = "true")]
    Block,
}

/// The filesystem image that holds every export, and how guests mount theirs.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Nfs {
    /// Size of the sparse filesystem image.
    pub size: Size,
    /// Mount point in every guest, e.g. `/data02`.
    pub mount: String,
    /// Mount options in every guest, e.g. `tcp`.
    pub options: Vec<String>,
}

/// How guests are tuned: each value is the document's unless lab.yaml says otherwise.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Guest {
    /// Operating system user of the cluster, e.g. `pgxc`.
    pub user: Identifier,
    /// Its uid and gid, the same on every guest and in every export.
    pub uid: u32,
    /// Time zone, e.g. `Asia/Shanghai`.
    pub timezone: String,
    /// Locale, e.g. `en_US.UTF-8`.
    pub locale: String,
    /// Kernel parameters in the order of the file.
    pub sysctl: Vec<(String, String)>,
    /// Lines of limits.conf.
    pub limits: Vec<Limit>,
    /// Services to be disabled.
    pub services_off: Vec<String>,
    /// Services to be enabled.
    pub services_on: Vec<String>,
    /// Whether SELinux is to be disabled where there is one.
    pub selinux: Selinux,
    /// iptables-save text, loaded at boot. Empty: no firewall.
    pub iptables: String,
    /// Extra packages for the image.
    pub packages: Vec<String>,
}

/// SELinux mode of guests that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Selinux {
    /// Off, as in the document.
    Disabled,
    /// Logged, not enforced.
    Permissive,
    /// Enforced.
    Enforcing,
}

/// One line of limits.conf.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Limit {
    /// User, group or `*`.
    pub domain: String,
    /// `soft`, `hard` or `-`.
    pub kind: String,
    /// What is limited, e.g. `nofile`.
    pub item: String,
    /// The limit, a number or `unlimited`; memlock is in KiB.
    pub value: String,
}

/// The cluster that the engine sets up.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Cluster {
    /// Version of Postgres-XC, e.g. `1.0.2`.
    pub version: String,
    /// Places of its source tarball, tried in order: a path or an http(s) URL.
    pub source: Vec<String>,
    /// Places of flex's source tarball, likewise, for images whose own flex is too old.
    pub flex: Vec<String>,
    /// Installation prefix in the guests, e.g. `/opt/pgxc_1.0.2`.
    pub prefix: String,
    /// Symbolic link to the prefix, e.g. `/opt/pgxc`.
    pub link: String,
    /// configure options of the document, without `--prefix`.
    pub configure: Vec<String>,
    /// Database superuser, e.g. `postgres`.
    pub superuser: Identifier,
    /// Its password; `None`: made at the first `up` and kept in the lab's state.
    #[serde(skip)]
    pub password: Option<String>,
    /// Encoding of the databases, e.g. `UTF8`.
    pub encoding: String,
    /// Locale of the databases, e.g. `C`.
    pub locale: String,
    /// Lines appended to pg_hba.conf after the trust lines for coordinators, e.g. `host all all 0.0.0.0/0 md5`.
    pub hba: Vec<String>,
    /// Which datanode Postgres-XC is told to write replicated tables on first.
    pub primary: Primary,
    /// What all components of a kind share, for each kind that the nodes use (all five are always present).
    pub components: BTreeMap<Role, Component>,
}

/// Which datanode is marked as primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Primary {
    /// The first one, as in the document.
    First,
    /// None.
    None,
}

/// A kind of component; the order is the order in which they start.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Global transaction manager: exactly one.
    Gtm,
    /// Its standby: at most one.
    GtmStandby,
    /// Proxy between the components of a host and the GTM.
    GtmProxy,
    /// Holds data.
    Datanode,
    /// Takes SQL from clients.
    Coordinator,
}

impl Role {
    /// All kinds, in start order.
    pub const ALL: [Role; 5] = [Role::Gtm, Role::GtmStandby, Role::GtmProxy, Role::Datanode, Role::Coordinator];

    /// The name as it is written in lab.yaml.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Gtm => "gtm",
            Role::GtmStandby => "gtm_standby",
            Role::GtmProxy => "gtm_proxy",
            Role::Datanode => "datanode",
            Role::Coordinator => "coordinator",
        }
    }
}

/// What all components of a kind share.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Component {
    /// Name of each, e.g. `datanode_{n}`, with n counted over the nodes that have the role.
    pub name: NamePattern,
    /// Data directory, e.g. `/data02/pgxc_datanode`: always below the NFS mount point.
    pub directory: String,
    /// TCP port.
    pub port: u16,
    /// Coordinators only: the pooler's port (the suffix of a unix socket's name).
    pub pooler_port: Option<u16>,
    /// Parameters for its configuration file in the order of the file.
    pub parameters: Vec<(String, String)>,
}

/// One VM.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Node {
    /// Host name (short), also the domain's name in libvirt.
    pub name: NodeName,
    /// Address inside the subnet.
    pub address: Ipv4Addr,
    /// MAC address: from the file, or derived from lab and node name.
    pub mac: Mac,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory asked for; [`crate::fit`] may give less.
    pub memory: Size,
    /// Size of the root disk (an overlay; sparse).
    pub disk: Size,
    /// Exported path, e.g. `/data03/171`.
    pub export: String,
    /// The host that it is pinned to; once it is placed, the host that it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<NodeName>,
    /// Roles in start order, with the component's own name.
    pub roles: BTreeMap<Role, Identifier>,
}

/// A component on its node, as most of the program wants to see it.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'lab> {
    /// The kind.
    pub role: Role,
    /// Its own name, e.g. `datanode_3`.
    pub name: &'lab Identifier,
    /// The node that it runs on.
    pub node: &'lab Node,
    /// What it shares with the others of its kind.
    pub component: &'lab Component,
}

impl Lab {
    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name.as_str() == name)
    }

    /// The host of a node that is not on this machine.
    pub fn host_of(&self, node: &Node) -> Option<&Other> {
        self.hosts.as_ref()?.other(node.on.as_ref()?.as_str())
    }

    /// Says of every node where it is.
    pub fn spread(&mut self, spread: &Spread) {
        for node in &mut self.nodes {
            node.on = spread.placement.get(&node.name).cloned();
        }
        if let Some(hosts) = &mut self.hosts {
            hosts.fence = spread.fence;
        }
    }

    /// All components of a kind, in the order of the nodes.
    pub fn placed(&self, role: Role) -> Vec<Placed<'_>> {
        self.nodes
            .iter()
            .filter_map(|node| {
                let name = node.roles.get(&role)?;
                Some(Placed { role, name, node, component: &self.cluster.components[&role] })
            })
            .collect()
    }

    /// The components of one node, in start order.
    pub fn components_of<'lab>(&'lab self, node: &'lab Node) -> Vec<Placed<'lab>> {
        node.roles
            .iter()
            .map(|(role, name)| Placed { role: *role, name, node, component: &self.cluster.components[role] })
            .collect()
    }
}
