//! The raw shape of lab.yaml: which keys there are. Its comments are the descriptions in lab.schema.json.
//!
//! Scalars are texts here, whatever YAML would make of them; `with` names what the schema shows instead.

use super::{
    defaults, schema,
    typed::{Entries, Field, OneOrMany, Placed},
};
use crate::lab::{Acceleration, BootMode, Fit, HostKind, Lost, Primary, Role, Selinux};
use schemars::JsonSchema;
use serde::Deserialize;

/// A list of texts.
pub(super) type Texts = Vec<Placed<String>>;

/// A lab of virtual machines with a distributed PostgreSQL cluster. Only `name` and `nodes` must be there: every
/// other key has the value of the document "Postgres-XC 1.0.2 install in 8 KVM host environment" by default.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "lab.yaml", extend("required" = ["name", "nodes"]))]
pub(super) struct LabFile {
    /// Name of the lab: lower-case letters, digits and inner hyphens.
    #[schemars(with = "schema::HostName")]
    pub name: Field<String>,
    /// Where the lab lives.
    #[schemars(with = "HostKind", extend("default" = defaults::HOST))]
    pub host: Field<String>,
    /// The hosts of a lab that has several: this machine first, then those that it reaches.
    pub hosts: Field<Vec<Placed<HostFile>>>,
    /// What `up` does about a host that does not answer.
    #[schemars(with = "Lost", extend("default" = defaults::LOST))]
    pub lost: Field<String>,
    /// How guests are accelerated.
    #[schemars(with = "Acceleration", extend("default" = defaults::ACCELERATION))]
    pub acceleration: Field<String>,
    /// What happens when the host has less memory than the lab asks for.
    #[schemars(with = "Fit", extend("default" = defaults::FIT))]
    pub fit: Field<String>,
    /// How new guests come to their first login.
    #[schemars(with = "BootMode", extend("default" = defaults::BOOT))]
    pub boot: Field<String>,
    /// The lab's network.
    pub network: Field<NetworkFile>,
    /// Image or images, tried in order: names of folders in images/.
    #[schemars(extend("default" = defaults::IMAGES))]
    pub image: Field<OneOrMany>,
    /// Where images and the packages of their guests come from, instead of the places that the images name.
    pub mirrors: Field<Vec<Placed<MirrorFile>>>,
    /// Engine or engines, tried in order.
    #[schemars(schema_with = "schema::engines", extend("default" = defaults::ENGINES))]
    pub engine: Field<OneOrMany>,
    /// Size of each VM; a node may say otherwise.
    pub vm: Field<VmFile>,
    /// The host's NFS exports and how guests mount them.
    pub nfs: Field<NfsFile>,
    /// How guests are set up.
    pub guest: Field<GuestFile>,
    /// The cluster.
    pub cluster: Field<ClusterFile>,
    /// The VMs.
    pub nodes: Field<Vec<Placed<NodeFile>>>,
    /// Nightly rebuilds.
    pub nightly: Field<NightlyFile>,
    /// Who is told of each nightly run.
    pub notify: Field<NotifyFile>,
    /// Checks of your own for `pgxc-lab verify`.
    pub checks: Field<Vec<Placed<CheckFile>>>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name"]))]
pub(super) struct HostFile {
    /// Short name, for `on` of nodes.
    #[schemars(with = "schema::HostName")]
    pub name: Field<String>,
    /// Its libvirt, over ssh; the first host is this machine, and has none.
    #[schemars(extend("examples" = ["qemu+ssh://root@10.0.0.2/system"]))]
    pub connection: Field<String>,
    /// Where the other hosts reach it: the lab's network goes over a tunnel between these addresses.
    pub address: Field<String>,
    /// In place of `address`, on every host: a bridge that is there. Bridges of all hosts are one network already.
    pub bridge: Field<String>,
    /// Memory that the lab's guests may take there; left out: a part of what there is.
    #[schemars(with = "schema::SizeText")]
    pub memory: Field<String>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MirrorFile {
    /// Name of the image, one of the list `image`.
    pub image: Field<String>,
    /// Where its publisher's disk is mirrored, tried in order: http(s) URLs, or directories of this machine.
    pub disk: Field<OneOrMany>,
    /// http(s) URL below which its packages are, in the form of the distribution's own mirrors.
    pub packages: Field<String>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NetworkFile {
    /// IPv4 subnet of 8 to 29 bits.
    #[schemars(extend("default" = defaults::SUBNET))]
    pub subnet: Field<String>,
    /// The host's address in it, its first one by default; guests find NFS, NTP, DNS and DHCP there.
    pub gateway: Field<String>,
    /// Whether this machine's /etc/hosts gets a block with the nodes' names, until `destroy`; needs `host: system`.
    #[schemars(with = "schema::Flag", extend("default" = false))]
    pub hosts_file: Field<String>,
    /// DNS domain of the nodes.
    #[schemars(extend("default" = defaults::DOMAIN))]
    pub domain: Field<String>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct VmFile {
    /// Virtual CPUs.
    #[schemars(with = "schema::Cpus", extend("default" = 1))]
    pub cpus: Field<String>,
    /// Memory, 256MiB or more.
    #[schemars(with = "schema::SizeText", extend("default" = defaults::MEMORY))]
    pub memory: Field<String>,
    /// Root disk; it takes only the space that is used.
    #[schemars(with = "schema::SizeText", extend("default" = defaults::DISK))]
    pub disk: Field<String>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NfsFile {
    /// Size of the sparse filesystem image that holds all exports.
    #[schemars(with = "schema::SizeText", extend("default" = defaults::NFS_SIZE))]
    pub size: Field<String>,
    /// Mount point in every guest; the data directories of all components lie below it.
    #[schemars(extend("default" = defaults::NFS_MOUNT))]
    pub mount: Field<String>,
    /// Mount options.
    #[schemars(extend("default" = defaults::NFS_OPTIONS))]
    pub options: Field<Texts>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GuestFile {
    /// Operating system user of the cluster.
    #[schemars(extend("default" = defaults::USER))]
    pub user: Field<String>,
    /// Its uid and gid on every guest, from 1 to 60000.
    #[schemars(with = "schema::Uid", extend("default" = 500))]
    pub uid: Field<String>,
    /// Time zone, a name of the tz database.
    #[schemars(extend("default" = defaults::TIMEZONE))]
    pub timezone: Field<String>,
    /// Locale of the system.
    #[schemars(extend("default" = defaults::LOCALE))]
    pub locale: Field<String>,
    /// Kernel parameters, added to the document's; an empty value leaves one out.
    pub sysctl: Field<Entries>,
    /// Lines of limits.conf: domain, kind, item, value.
    pub limits: Field<Texts>,
    /// Services to be disabled and enabled.
    pub services: Field<ServicesFile>,
    /// SELinux, on guests that have it.
    #[schemars(with = "Selinux", extend("default" = defaults::SELINUX))]
    pub selinux: Field<String>,
    /// Firewall in the format of iptables-save; empty: none.
    pub iptables: Field<String>,
    /// Extra packages for the image.
    #[schemars(extend("default" = defaults::PACKAGES))]
    pub packages: Field<Texts>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServicesFile {
    /// To be disabled, where there is such a service.
    #[schemars(extend("default" = defaults::SERVICES_OFF))]
    pub off: Field<Texts>,
    /// To be enabled, where there is such a service.
    #[schemars(extend("default" = defaults::SERVICES_ON))]
    pub on: Field<Texts>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ClusterFile {
    /// Version of Postgres-XC.
    #[schemars(extend("default" = defaults::VERSION))]
    pub version: Field<String>,
    /// Places of its source, tried in order: paths (from the directory of lab.yaml) and http(s) URLs.
    #[schemars(extend("default" = defaults::SOURCE))]
    pub source: Field<Texts>,
    /// Places of flex's source, likewise; used only where the image's own flex is too old for Postgres-XC.
    #[schemars(extend("default" = defaults::FLEX))]
    pub flex: Field<Texts>,
    /// Directory in the guests that it is installed to; left out: the link, `_` and the version.
    pub prefix: Field<String>,
    /// Symbolic link to it.
    #[schemars(extend("default" = defaults::LINK))]
    pub link: Field<String>,
    /// Options of configure, without --prefix.
    #[schemars(extend("default" = defaults::CONFIGURE))]
    pub configure: Field<Texts>,
    /// Database superuser.
    #[schemars(extend("default" = defaults::SUPERUSER))]
    pub superuser: Field<String>,
    /// Its password; left out: one is made and kept in the lab's state.
    pub password: Field<String>,
    /// Encoding of the databases.
    #[schemars(extend("default" = defaults::ENCODING))]
    pub encoding: Field<String>,
    /// Locale of the databases.
    #[schemars(extend("default" = defaults::CLUSTER_LOCALE))]
    pub locale: Field<String>,
    /// Lines of pg_hba.conf after the trust lines of the coordinators.
    #[schemars(extend("default" = defaults::HBA))]
    pub hba: Field<Texts>,
    /// The datanode that replicated tables are written on first.
    #[schemars(with = "Primary", extend("default" = defaults::PRIMARY))]
    pub primary: Field<String>,
    /// Global transaction manager.
    pub gtm: Field<ComponentFile>,
    /// Its standby.
    pub gtm_standby: Field<ComponentFile>,
    /// Proxy between the components of a node and the GTM.
    pub gtm_proxy: Field<ComponentFile>,
    /// Holds data.
    pub datanode: Field<ComponentFile>,
    /// Takes SQL from clients.
    pub coordinator: Field<CoordinatorFile>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ComponentFile {
    /// Name of each; `{n}` is its number, `{nn}` with two digits at least.
    pub name: Field<String>,
    /// Data directory, below nfs.mount.
    pub directory: Field<String>,
    /// TCP port.
    #[schemars(with = "schema::Port")]
    pub port: Field<String>,
    /// Parameters of its configuration file, added to the document's; an empty value leaves one out.
    pub parameters: Field<Entries>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CoordinatorFile {
    /// Name of each; `{n}` is its number, `{nn}` with two digits at least.
    pub name: Field<String>,
    /// Data directory, below nfs.mount.
    pub directory: Field<String>,
    /// TCP port.
    #[schemars(with = "schema::Port")]
    pub port: Field<String>,
    /// Port of the pooler: the suffix of a unix socket's name.
    #[schemars(with = "schema::Port")]
    pub pooler_port: Field<String>,
    /// Parameters of its configuration file, added to the document's; an empty value leaves one out.
    pub parameters: Field<Entries>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name", "address"]))]
pub(super) struct NodeFile {
    /// Short host name.
    #[schemars(with = "schema::HostName")]
    pub name: Field<String>,
    /// Address inside network.subnet.
    pub address: Field<String>,
    /// MAC address; left out: derived from the names of lab and node.
    pub mac: Field<String>,
    /// Exported directory; left out: /data03/ and the last number of the address.
    pub export: Field<String>,
    /// The host that it is on; left out: pgxc-lab chooses.
    #[schemars(with = "schema::HostName")]
    pub on: Field<String>,
    /// What runs on it; nothing: a plain VM.
    #[schemars(with = "Vec<Role>")]
    pub roles: Field<Texts>,
    /// Virtual CPUs, instead of vm.cpus.
    #[schemars(with = "schema::Cpus")]
    pub cpus: Field<String>,
    /// Memory, instead of vm.memory.
    #[schemars(with = "schema::SizeText")]
    pub memory: Field<String>,
    /// Root disk, instead of vm.disk.
    #[schemars(with = "schema::SizeText")]
    pub disk: Field<String>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NightlyFile {
    /// How many of the last runs are kept; the last good one is kept besides.
    #[schemars(with = "schema::Keep", extend("default" = 14))]
    pub keep: Field<String>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NotifyFile {
    /// A program with its arguments, or a line for `sh -c`; it gets the run as JSON on its standard input.
    pub command: Field<OneOrMany>,
    /// An http(s) URL that the run is posted to as JSON.
    pub webhook: Field<String>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name", "expected"]))]
pub(super) struct CheckFile {
    /// Its name: lower-case letters, digits and inner hyphens. `verify --only` knows it as lab/NAME.
    #[schemars(with = "schema::HostName")]
    pub name: Field<String>,
    /// SQL whose rows are compared, columns with `|` between; instead of a command.
    pub sql: Field<String>,
    /// A line for the shell, run as root, whose output is compared; instead of SQL.
    pub command: Field<String>,
    /// Where: `all`, roles and names of nodes, with commas between; left out: coordinator for SQL, all for a command.
    pub on: Field<String>,
    /// What must come out, without white space around it; between slashes it is a regular expression.
    #[schemars(with = "schema::Text")]
    pub expected: Field<String>,
    /// Seconds that an answer may take.
    #[schemars(with = "schema::Seconds", extend("default" = 10))]
    pub within: Field<String>,
}
