//! Who serves NFS on this machine, and what the kernel's server is told: one file of ours in /etc/exports.d for the next
//! boot, and one call of `exportfs` per entry for now. Entries of others are never read again or touched.

use crate::{
    hypervisor::uuid_of,
    lab::{Lab, Node},
};
use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

/// Where the kernel tells how many threads serve.
const THREADS: &str = "/proc/fs/nfsd/threads";
/// Where `exportfs` notes what is exported.
const EXPORTED: &str = "/var/lib/nfs/etab";
/// How every export of ours begins.
const MARK: &str = "# Written by pgxc-lab, removed by `pgxc-lab destroy`";

/// A server of NFS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// The kernel's.
    Kernel,
    /// nfs-ganesha, which this kernel needs because it has none.
    Ganesha,
}

impl Server {
    /// The kernel's where there is one.
    pub fn of_this_machine() -> Server {
        let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        match has_nfsd(&filesystems) {
            true => Server::Kernel,
            false => Server::Ganesha,
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Server::Kernel => "the kernel's NFS server",
            Server::Ganesha => "nfs-ganesha",
        }
    }

    /// Whether it serves already, for everybody: ganesha is ours and serves when it is started.
    pub fn serves(self) -> bool {
        let threads = || fs::read_to_string(THREADS).ok().and_then(|text| text.trim().parse::<u32>().ok());
        self == Server::Ganesha || threads().is_some_and(|threads| threads > 0)
    }
}

/// Where a mount of version 3 is answered, by `rpcinfo -p`.
pub fn mount_port(registered: &str) -> Option<u16> {
    const MOUNT: &str = "100005";
    registered.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [MOUNT, "3", "tcp", port, ..] => port.parse().ok(),
        _ => None,
    })
}

fn has_nfsd(filesystems: &str) -> bool {
    filesystems.lines().any(|line| line.split_whitespace().last() == Some("nfsd"))
}

/// Our file below /etc/exports.d.
pub fn exports_file(lab: &str) -> PathBuf {
    Path::new("/etc/exports.d").join(format!("pgxc-lab-{lab}.exports"))
}

/// Its text.
pub fn exports_text(lab: &Lab) -> String {
    let mut text = format!("{MARK} --lab {}.\n", lab.name);
    for node in &lab.nodes {
        text.push_str(&format!("\"{}\" {}({})\n", node.export, node.address, options(lab, node)));
    }
    text
}

/// Whether a file below /etc/exports.d was written by us.
pub fn is_ours(text: &str) -> bool {
    text.starts_with(MARK)
}

/// Options of a node's export: those of the document; an identity that a restart of the server does not change; and
/// nothing is served after a boot of the host until the filesystem is mounted again.
pub fn options(lab: &Lab, node: &Node) -> String {
    let identity = uuid_of(&[lab.name.as_str(), node.name.as_str(), "export"]);
    format!("rw,no_root_squash,sync,no_subtree_check,mountpoint,fsid={identity}")
}

/// Whether exactly this is exported to this client now.
pub fn is_exported(client: Ipv4Addr, directory: &Path, fsid: &str) -> bool {
    is_listed(&fs::read_to_string(EXPORTED).unwrap_or_default(), client, directory, fsid)
}

fn is_listed(exported: &str, client: Ipv4Addr, directory: &Path, fsid: &str) -> bool {
    exported
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .any(|(path, to)| Path::new(path) == directory && to.starts_with(&format!("{client}(")) && to.contains(fsid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::document;

    #[test]
    fn a_kernel_without_nfsd_has_no_server() {
        assert!(has_nfsd("nodev\tproc\n\text4\nnodev\tnfsd\n"));
        assert!(!has_nfsd("nodev\tproc\n\text4\nnodev\tnfs\n"));
    }

    #[test]
    fn mounts_are_answered_where_version_3_over_tcp_is_registered() {
        let registered = "   program vers proto   port  service\n    100000    4   tcp    111  portmapper\n\
             \x20   100005    1   tcp  44001  mountd\n    100005    3   udp  44002  mountd\n    100005    3   tcp  44003  mountd\n";
        assert_eq!(mount_port(registered), Some(44003));
        assert_eq!(mount_port("   program vers proto   port  service\n"), None);
    }

    #[test]
    fn every_node_has_one_export_for_its_own_address() {
        let lab = document();
        let text = exports_text(&lab);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines.len(), lab.nodes.len());
        assert!(
            lines[0].starts_with("\"/data03/171\" 192.168.122.171(rw,no_root_squash,sync,no_subtree_check,mountpoint,"),
            "{text}"
        );
        let mut identities: Vec<&str> =
            lines.iter().filter_map(|line| line.split_once("fsid=")).map(|(_, id)| id).collect();
        identities.dedup();
        assert_eq!(identities.len(), lines.len());
    }

    #[test]
    fn an_export_to_another_or_of_another_is_not_ours() {
        let etab = "/data03/171\t192.168.122.171(rw,sync,fsid=a)\n/data03\t10.0.0.0/8(ro)\n";
        let client = Ipv4Addr::new(192, 168, 122, 171);
        assert!(is_listed(etab, client, Path::new("/data03/171"), "fsid=a"));
        assert!(!is_listed(etab, client, Path::new("/data03/171"), "fsid=b"));
        assert!(!is_listed(etab, client, Path::new("/data03"), "fsid=a"));
        assert!(!is_listed(etab, Ipv4Addr::new(192, 168, 122, 17), Path::new("/data03/171"), "fsid=a"));
    }
}
