//! The document's lab as constants: the value of every key that lab.yaml does not write.
//!
//! Gateway, data directories and prefix follow from other values. The lab.yaml of this repository
//! writes all of them; tests/config.rs holds both together.

mod parameters;

use crate::lab::Role;
use parameters::{COORDINATOR, DATANODE, GTM, GTM_PROXY};

/// A parameter and its value.
pub(in crate::config) type Pairs = &'static [(&'static str, &'static str)];

pub(super) const HOST: &str = "private";
pub(super) const LOST: &str = "wait";
pub(super) const ACCELERATION: &str = "auto";
pub(super) const FIT: &str = "shrink";
pub(super) const BOOT: &str = "auto";
pub(super) const SUBNET: &str = "192.168.122.0/24";
pub(super) const HOSTS_FILE: &str = "false";
pub(super) const DOMAIN: &str = "sky-mobi.com";
pub(super) const IMAGES: &[&str] = &["centos-5.9", "debian-12"];
pub(super) const ENGINES: &[&str] = &["postgres-xc", "postgres-fdw"];
pub(super) const CPUS: &str = "1";
pub(super) const MEMORY: &str = "8GiB";
pub(super) const DISK: &str = "4GiB";
pub(super) const NFS_SIZE: &str = "64GiB";
pub(super) const NFS_MOUNT: &str = "/data02";
pub(super) const NFS_OPTIONS: &[&str] = &["tcp", "vers=3", "nolock", "hard"];
/// The directory that holds the exports; a node's own is named after its address's last number.
pub(super) const EXPORTS: &str = "/data03";
pub(super) const USER: &str = "pgxc";
/// What `useradd` gave on CentOS 5; a system uid on newer ones, so that logind leaves its shared memory alone.
pub(super) const UID: &str = "500";
pub(super) const TIMEZONE: &str = "Asia/Shanghai";
pub(super) const LOCALE: &str = "en_US.UTF-8";
pub(super) const SELINUX: &str = "disabled";
pub(super) const PACKAGES: &[&str] = &["lrzsz", "sysstat"];
pub(super) const SERVICES_OFF: &[&str] =
    &["acpid", "avahi-daemon", "bluetooth", "hidd", "smartd", "yum-updatesd", "hplip", "isdn", "iscsi", "iscsid"];
pub(super) const SERVICES_ON: &[&str] = &["multipathd"];

pub(super) const SYSCTL: Pairs = &[
    ("kernel.msgmnb", "65536"),
    ("kernel.msgmax", "65536"),
    ("kernel.shmmax", "68719476736"),
    ("kernel.shmall", "4294967296"),
    ("kernel.shmmni", "4096"),
    ("kernel.sem", "50100 64128000 50100 1280"),
    ("fs.file-max", "7672460"),
    ("net.ipv4.ip_local_port_range", "9000 65000"),
    ("net.core.rmem_default", "1048576"),
    ("net.core.rmem_max", "4194304"),
    ("net.core.wmem_default", "262144"),
    ("net.core.wmem_max", "1048576"),
    ("net.ipv4.tcp_tw_recycle", "1"),
    ("net.ipv4.tcp_max_syn_backlog", "4096"),
    ("net.core.netdev_max_backlog", "10000"),
    ("vm.overcommit_memory", "0"),
    ("net.ipv4.ip_conntrack_max", "655360"),
    ("fs.aio-max-nr", "1048576"),
    ("net.ipv4.tcp_timestamps", "0"),
];

pub(super) const LIMITS: &[&str] = &[
    "* soft nofile 131072",
    "* hard nofile 131072",
    "* soft nproc 131072",
    "* hard nproc 131072",
    "* soft core unlimited",
    "* hard core unlimited",
    "* soft memlock 50000000",
    "* hard memlock 50000000",
];

pub(super) const IPTABLES: &str = "\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [369:57193]
:RH-Firewall-1-INPUT - [0:0]
-A INPUT -j RH-Firewall-1-INPUT
-A FORWARD -j RH-Firewall-1-INPUT
-A RH-Firewall-1-INPUT -s 192.168.0.0/255.255.0.0 -j ACCEPT
-A RH-Firewall-1-INPUT -s 10.0.0.0/255.0.0.0 -j ACCEPT
-A RH-Firewall-1-INPUT -s 172.16.0.0/255.255.0.0 -j ACCEPT
-A RH-Firewall-1-INPUT -i lo -j ACCEPT
-A RH-Firewall-1-INPUT -p icmp -m icmp --icmp-type any -j ACCEPT
-A RH-Firewall-1-INPUT -p esp -j ACCEPT
-A RH-Firewall-1-INPUT -p ah -j ACCEPT
-A RH-Firewall-1-INPUT -d 224.0.0.251 -p udp -m udp --dport 5353 -j ACCEPT
-A RH-Firewall-1-INPUT -p udp -m udp --dport 631 -j ACCEPT
-A RH-Firewall-1-INPUT -p tcp -m tcp --dport 631 -j ACCEPT
-A RH-Firewall-1-INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A RH-Firewall-1-INPUT -p udp -m state --state NEW -m udp --dport 161 -j ACCEPT
-A RH-Firewall-1-INPUT -p udp -m state --state NEW -m udp --dport 162 -j ACCEPT
-A RH-Firewall-1-INPUT -j REJECT --reject-with icmp-host-prohibited
COMMIT
";

/// Seconds that an answer to a check of lab.yaml may take.
pub(super) const WITHIN: &str = "10";

/// Nightly runs that are kept: two weeks.
pub(super) const KEEP: &str = "14";

pub(super) const VERSION: &str = "1.0.2";
pub(super) const SOURCE: &[&str] =
    &["./pgxc-v1.0.2.tar.gz", "https://sourceforge.net/projects/postgres-xc/files/latest/download"];
/// The document's version, where the project published it then.
pub(super) const FLEX: &[&str] =
    &["./flex-2.5.35.tar.bz2", "https://downloads.sourceforge.net/flex/flex-2.5.35.tar.bz2"];
/// Followed by `_` and the version for the prefix itself.
pub(super) const LINK: &str = "/opt/pgxc";
pub(super) const CONFIGURE: &[&str] = &[
    "--with-pgport=1921",
    "--with-perl",
    "--with-python",
    "--with-tcl",
    "--with-openssl",
    "--with-pam",
    "--without-ldap",
    "--with-libxml",
    "--with-libxslt",
    "--enable-thread-safety",
    "--with-wal-blocksize=16",
    "--enable-debug",
];
pub(super) const SUPERUSER: &str = "postgres";
pub(super) const ENCODING: &str = "UTF8";
pub(super) const CLUSTER_LOCALE: &str = "C";
pub(super) const HBA: &[&str] = &["host all all 0.0.0.0/0 md5"];
pub(super) const PRIMARY: &str = "first";

/// What a kind of component has by default.
pub(super) struct ComponentDefault {
    pub name: &'static str,
    /// Below the mount point.
    pub directory: &'static str,
    pub port: &'static str,
    pub pooler_port: Option<&'static str>,
    pub parameters: Pairs,
}

/// The default of a kind.
pub(super) fn component(role: Role) -> ComponentDefault {
    let (name, directory, port, pooler_port, parameters) = match role {
        Role::Gtm => ("one", "pgxc_gtm", "1921", None, GTM),
        Role::GtmStandby => ("two", "pgxc_gtm", "1921", None, GTM),
        Role::GtmProxy => ("{n}", "pgxc_gtm_proxy", "1924", None, GTM_PROXY),
        Role::Datanode => ("datanode_{n}", "pgxc_datanode", "1923", None, DATANODE),
        Role::Coordinator => ("coordinate_{n}", "pgxc_coordinate", "1921", Some("1922"), COORDINATOR),
    };
    ComponentDefault { name, directory, port, pooler_port, parameters }
}
