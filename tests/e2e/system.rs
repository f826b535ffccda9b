//! `host: system` on a host that this test plays: `host.sh` in namespaces of its own, where other people have a network, a
//! reservation, a domain, an export and a firewall. Whatever happens, `destroy` leaves it as it was.

use super::{
    bench::{Bench, Source, assert_no_leftovers},
    host::Host,
};
use std::{fs, os::unix::fs::PermissionsExt};

const LAB: &str = include_str!("../labs/two.yaml");

/// What other people would miss, or wonder at.
const FINGERPRINT: &str = r#"
virsh list --all
for domain in $(virsh list --all --name); do virsh dumpxml "$domain"; done
for network in $(virsh net-list --all --name); do virsh net-dumpxml "$network"; virsh net-dhcp-leases "$network"; done
virsh pool-list --all
find /etc -xdev -type f -exec sha256sum {} + | sort -k2
ls / /etc /etc/exports.d
cat /var/lib/nfs/etab
cut -d' ' -f5- /proc/self/mountinfo
ip -br link
iptables-save | sed '/^#/d; s/\[[0-9:]*\]//'
ps -eo args | grep -E 'libvirtd|dnsmasq|chronyd|ganesha|rpcbind|qemu' | grep -v grep | sort
cat /root/.ssh/known_hosts 2>/dev/null || true
"#;

#[track_caller]
fn must_be(host: &Host, before: &str, when: &str) {
    let now = host.run(FINGERPRINT);
    let changes = similar::TextDiff::from_lines(before, &now).unified_diff().context_radius(1).to_string();
    assert_eq!(changes, "", "the host differs {when}");
}

#[test]
fn a_lab_on_the_machines_own_libvirt_leaves_it_as_it_was() {
    let host = Host::start("others.sh", "");
    let lab_yaml = LAB.replace("name: two", "name: two\nhost: system\nnetwork: {hosts_file: true}");
    let bench = Bench::on(host.entry(), &lab_yaml, Source::None);
    let before = host.run(FINGERPRINT);

    // A directory that is closed to everybody but root, and qemu is somebody else.
    fs::set_permissions(bench.path(""), fs::Permissions::from_mode(0o700)).expect("it is ours");
    let refused = bench.run(&["up"]).failed_with(4);
    assert!(refused.stderr.contains("qemu's user cannot pass"), "{}", refused.stderr);
    fs::set_permissions(bench.path(""), fs::Permissions::from_mode(0o711)).expect("it is ours");
    let theirs = "<host mac='52:54:00:99:99:98' name='clash' ip='192.168.122.172'/>";
    host.run(&format!("virsh net-update default add ip-dhcp-host --live --config \"{theirs}\""));
    host.run("cp -a /etc/hosts /run/theirs && echo '10.9.9.8 db2.sky-mobi.com' >>/etc/hosts");
    let refused = bench.run(&["up"]).failed_with(4);
    assert!(refused.stderr.contains("`/etc/hosts` says that `db2.sky-mobi.com` is 10.9.9.8"), "{}", refused.stderr);
    host.run("cp -a /run/theirs /etc/hosts && rm /run/theirs");
    assert!(refused.stderr.contains("address 192.168.122.172 of `db2` is in somebody else's"), "{}", refused.stderr);
    let doctor = bench.run(&["doctor"]).failed_with(7);
    assert!(doctor.stdout.contains("52:54:00:99:99:98"), "{}", doctor.stdout);
    host.run(&format!("virsh net-update default delete ip-dhcp-host --live --config \"{theirs}\""));
    bench.run(&["destroy", "--yes"]).succeeded();
    must_be(&host, &before, "after an `up` that was refused");

    the_kernels_server_gets_its_exports(&host, &bench, &before);
    for line in [5, 9, 14, 19] {
        assert_eq!(bench.run_dying_after(line, &["up"]).code, None, "it dies");
        bench.run(&["destroy", "--yes"]).succeeded();
        must_be(&host, &before, &format!("after an `up` that died at line {line}"));
    }

    // Killed in the middle and gone on with.
    assert_eq!(bench.run_dying_after(17, &["up"]).code, None, "it dies");
    bench.run(&["up"]).succeeded();
    let again = bench.run(&["up"]).succeeded();
    assert!(again.stderr.contains("nothing changed"), "{}", again.stderr);
    bench.run(&["status"]).succeeded();
    let rows = bench.run(&["sql", "--json", "-c", "select 1"]).succeeded().json();
    assert_eq!(rows[0]["rows"][0][0], "1");
    let doctor = bench.run(&["doctor"]).succeeded();
    assert!(doctor.stderr.contains(" 0 amiss"), "{}{}", doctor.stdout, doctor.stderr);
    let named = host.run("getent hosts db2.sky-mobi.com someones.example.org");
    let named: Vec<&str> = named.split_whitespace().filter(|word| word.contains('9')).collect();
    assert_eq!(named, ["192.168.122.172", "10.9.9.9"]);
    let mounted = bench.run(&["ssh", "db2", "--", "findmnt -n -o SOURCE /data02"]).succeeded();
    assert_eq!(mounted.stdout.trim(), "192.168.122.1:/data03/172");
    let snapshot = bench.run(&["snapshot", "create", "x"]).failed_with(4);
    assert!(snapshot.stderr.contains("`host: private` have snapshots"), "{}", snapshot.stderr);
    bench.write_lab(LAB);
    bench.run(&["up"]).failed_with(3);

    bench.run(&["destroy", "--yes"]).succeeded();
    must_be(&host, &before, "after the lab");
    assert_no_leftovers(&bench.lab_directory("two"));
}

/// Not every kernel that tests run on has an NFS server. What tells of one is played here; rpcbind, mountd and exportfs are
/// real, and so is what they write.
fn the_kernels_server_gets_its_exports(host: &Host, bench: &Bench, before: &str) {
    host.run(
        "mkdir -p /run/played /run/rpcbind && (cat /proc/filesystems; echo 'nodev nfsd') >/run/played/filesystems\n\
         mount --bind /run/played/filesystems /proc/filesystems\n\
         mount -t tmpfs played /proc/fs && mkdir /proc/fs/nfsd && echo 8 >/proc/fs/nfsd/threads\n\
         rpcbind </dev/null >/dev/null 2>&1 && rpc.mountd --port 44000 </dev/null >/dev/null 2>&1\n\
         until rpcinfo -p 127.0.0.1 | grep -q 44000; do sleep 0.05; done",
    );
    let played = host.run(FINGERPRINT);
    // The line in which the step after the exports begins.
    let ran = bench.run_dying_after(30, &["up"]);
    assert_eq!(ran.code, None, "{}", ran.stderr);
    let etab = host.run("cat /var/lib/nfs/etab");
    for node in ["171", "172"] {
        let ours = format!("/data03/{node}\t192.168.122.{node}(rw,");
        assert!(etab.contains(&ours) && etab.contains("no_root_squash"), "{etab}");
    }
    assert!(etab.contains("10.9.9.0/24(ro,"), "theirs: {etab}");
    let file = host.run("cat /etc/exports.d/pgxc-lab-two.exports; iptables -S INPUT; cat /data03/171/.[!.]*");
    assert!(file.contains("\"/data03/172\" 192.168.122.172(rw,no_root_squash,"), "{file}");
    assert!(file.contains("--dport 44000 -j ACCEPT") && file.contains("is mounted"), "{file}");
    bench.run(&["destroy", "--yes"]).succeeded();
    must_be(host, &played, "after exports of the kernel's server");
    host.run("pkill -x rpc.mountd; pkill -x rpcbind; umount /proc/fs /proc/filesystems; rm -r /run/played");
    must_be(host, before, "without the server");
}
