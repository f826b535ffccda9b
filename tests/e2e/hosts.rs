//! A lab of three hosts that this test plays, with sshd and libvirtd of their own, joined by one link each: guests on all of
//! them are one cluster. One host is cut off while its guest runs on, and another crashes; `destroy` leaves nothing on any.
//!
//! In place of the wire, two of them have bridges of other people that are one network.

use super::{
    bench::{Bench, Source, assert_no_leftovers, status},
    host::Host,
};
use pgxc_lab::status::{GuestState, Status};
use std::{process::Command, time::Duration};

const PREFIX: &str = "10.77.0";

/// A link to a switch on the first host, which sees the other one then: it may still be looking for who was there before, in
/// vain, and take that for an answer.
#[track_caller]
fn plug(first: &Host, host: &Host, number: usize) {
    let script = format!(
        "ip link show dev wire0 >/dev/null 2>&1 || {{ ip link add wire0 type bridge; ip addr add {PREFIX}.1/24 dev wire0
         ip link set wire0 up; }}
         ip link add to-{number} type veth peer name eth0 address 02:00:00:00:00:0{number} netns {pid} && ip link set to-{number} master wire0 up
         nsenter --target={pid} --net sh -c 'ip addr add {PREFIX}.{number}/24 dev eth0; ip link set eth0 up'
         n=0; until timeout 1 bash -c ': </dev/tcp/{PREFIX}.{number}/22'; do n=$((n + 1)); [ $n -lt 100 ]; sleep 0.1; done",
        pid = host.pid()
    );
    // Only the network is the host's: process ids are those of this machine.
    let mut command = Command::new("nsenter");
    command.args([&format!("--target={}", first.pid()), "--net", "--", "bash", "-euc", &script]);
    assert!(command.status().expect("nsenter runs").success());
}

/// A key, and the file with its public half.
fn key_in(directory: &tempfile::TempDir) -> (String, String) {
    let key = directory.path().join("key").display().to_string();
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &key]).status();
    assert!(made.expect("ssh-keygen runs").success());
    let public = format!("{key}.pub");
    (key, public)
}

fn lab(key: &str, lost: &str) -> String {
    let other = |name: &str, number: usize| {
        let connection = format!("qemu+ssh://root@{PREFIX}.{number}/system?keyfile={key}&no_verify=1");
        format!("  - {{name: {name}, address: {PREFIX}.{number}, memory: 2GiB, connection: '{connection}'}}\n")
    };
    format!(
        "name: spread\nvm: {{memory: 512MiB}}\nlost: {lost}\nhosts:\n  - {{name: here, address: {PREFIX}.1, memory: 2GiB}}\n\
         {}{}cluster: {{gtm: {{port: 1931}}}}\nnodes:\n  \
         - {{name: db1, address: 192.168.122.171, roles: [gtm, gtm_proxy, coordinator, datanode]}}\n  \
         - {{name: db2, address: 192.168.122.172, roles: [gtm_proxy, coordinator, datanode]}}\n",
        other("alpha", 2),
        other("beta", 3)
    )
}

fn seen(status: &Status) -> Vec<(&str, GuestState)> {
    status.nodes.iter().map(|node| (node.host.as_deref().unwrap_or_default(), node.domain)).collect()
}

#[test]
fn a_cluster_over_three_hosts_outlives_one() {
    let keys = tempfile::tempdir().expect("a directory");
    let (key, authorized) = key_in(&keys);
    let [first, mut alpha, mut beta] = [(); 3].map(|()| Host::start("peer.sh", &authorized));
    plug(&first, &alpha, 2);
    plug(&first, &beta, 3);
    let bench = Bench::on(first.entry(), &lab(&key, "wait"), Source::None);

    let doctor = bench.run(&["doctor"]);
    let fits = |host: &str| doctor.stdout.lines().any(|line| line.contains(host) && line.contains(" ok "));
    assert!(fits(" alpha ") && fits(" beta "), "{}", doctor.stdout);
    let plan = bench.run(&["plan"]).succeeded();
    let row = |step: &str| plan.stdout.lines().find(|line| line.starts_with(step)).unwrap_or_default().to_owned();
    assert!(row("db1/boot").ends_with("here") && row("db2/boot").ends_with("alpha"), "{}", plan.stdout);
    bench.run(&["up"]).succeeded();
    let again = bench.run(&["up"]).succeeded();
    assert!(again.stderr.contains("nothing changed"), "{}", again.stderr);
    let now = status(bench.run(&["status", "--json"]).succeeded().json());
    let running = |host| (host, GuestState::Running);
    assert_eq!(seen(&now), [running("here"), running("alpha")]);
    assert_eq!(alpha.run("virsh list --name").trim(), "db2");
    let mtu = bench.run(&["exec", "--on", "all", "--", "cat /sys/class/net/e*/mtu"]).succeeded().stdout;
    assert_eq!(mtu.matches("1450").count(), 2, "{mtu}");
    bench.run(&["sql", "--on", "db2", "-c", "create table kept as select 42 as answer"]).succeeded();
    // The document's `synchronous_commit = off` may lose the last 0.6 s of a server that is cut off; no checkpoint is lost.
    bench.run(&["sql", "--on", "db2", "-c", "checkpoint"]).succeeded();
    let logs = bench.run(&["logs", "db2"]).succeeded().stdout;
    let (_, console) = logs.split_once("db2-console.log <==").unwrap_or_default();
    assert!(!console.trim().is_empty(), "the console of another host: {logs}");

    // Cut off, while its guest runs on.
    first.run("ip link set to-2 down");
    let lost = bench.run(&["status", "--json"]).failed_with(8);
    assert!(lost.took < Duration::from_secs(10), "{:?}", lost.took);
    let now = status(lost.json());
    assert_eq!(seen(&now), [running("here"), ("alpha", GuestState::Lost)]);
    let waits = bench.run(&["up"]).failed_with(6);
    assert!(waits.stderr.contains("host `alpha`"), "{}", waits.stderr);
    bench.write_lab(&lab(&key, "replace"));
    bench.run(&["up"]).succeeded();
    let answer = |bench: &Bench| {
        let rows = bench.run(&["sql", "--json", "--on", "db2", "-c", "select answer from kept"]).succeeded().json();
        rows[0]["rows"][0][0].clone()
    };
    assert_eq!(answer(&bench), "42", "data is not on the host that was lost");
    let now = status(bench.run(&["status", "--json"]).succeeded().json());
    assert_eq!(seen(&now), [running("here"), running("beta")], "where no datanode is yet");

    // Back again: what still runs there is in a network that nobody else is in, until `up` ends it.
    first.run("ip link set to-2 up");
    assert_eq!(alpha.run("virsh list --name").trim(), "db2");
    assert_eq!(answer(&bench), "42");
    bench.run(&["up"]).succeeded();
    assert_eq!(alpha.run("virsh list --all --name").trim(), "");

    beta.crash();
    let kept = bench.run(&["destroy", "--yes"]).failed_with(10);
    assert!(kept.stderr.contains("host `beta`") && !kept.stderr.contains("host `alpha`"), "{}", kept.stderr);
    beta.crash_and_start();
    plug(&first, &beta, 3);
    bench.run(&["destroy", "--yes"]).succeeded();
    for host in [&mut alpha, &mut beta] {
        let left = host.run("virsh list --all --name; virsh pool-list --all --name; ls /var/lib/libvirt/images; ip -br link show type vxlan");
        assert_eq!(left.trim(), "");
        assert!(!host.run("ip -br link").contains("pgxc"));
    }
    assert_no_leftovers(&bench.lab_directory("spread"));
}

/// What other people have on their bridges, and could wonder at; not the state, which follows a link by a second.
const FINGERPRINT: &str = "ip -br link | awk '{$2 = \"\"; print}'; ip -br addr | awk '{$2 = \"\"; print}'; bridge link
    cat /sys/class/net/*/address /sys/class/net/*/mtu";

#[test]
fn a_cluster_on_bridges_that_are_there_leaves_them_as_they_were() {
    let keys = tempfile::tempdir().expect("a directory");
    let (key, authorized) = key_in(&keys);
    let [first, alpha] = [(); 2].map(|()| Host::start("peer.sh", &authorized));
    plug(&first, &alpha, 2);
    alpha.run(&format!(
        "ip link add br0 type bridge && ip link set br0 up && ip addr flush dev eth0 && ip link set eth0 master br0 && \
         ip addr add {PREFIX}.2/24 dev br0"
    ));
    let lab = format!(
        "name: bridged\nvm: {{memory: 512MiB}}\nhosts:\n  - {{name: here, bridge: wire0, memory: 1GiB}}\n  \
         - {{name: alpha, bridge: br0, memory: 1GiB, connection: 'qemu+ssh://root@{PREFIX}.2/system?keyfile={key}&no_verify=1'}}\n\
         cluster: {{gtm: {{port: 1931}}}}\nnodes:\n  \
         - {{name: db1, address: 192.168.122.171, roles: [gtm, gtm_proxy, coordinator, datanode]}}\n  \
         - {{name: db2, address: 192.168.122.172, roles: [gtm_proxy, coordinator, datanode]}}\n"
    );
    let bench = Bench::on(first.entry(), &lab, Source::None);
    let before = [&first, &alpha].map(|host| host.run(FINGERPRINT));
    let must_be_as_before = |when: &str| {
        for (host, before) in [&first, &alpha].into_iter().zip(&before) {
            let now = host.run(FINGERPRINT);
            let changes = similar::TextDiff::from_lines(before, &now).unified_diff().context_radius(1).to_string();
            assert_eq!(changes, "", "a host differs {when}");
        }
    };

    // Somebody has an address of the lab's, and somebody gives out others.
    alpha.run(
        "ip addr add 192.168.122.172/32 dev br0 && dnsmasq --port=0 --conf-file=/dev/null --interface=br0 --bind-interfaces \
         --dhcp-range=10.77.0.50,10.77.0.60 --dhcp-leasefile=/run/theirs.leases --pid-file=/run/theirs.pid >/dev/null 2>&1",
    );
    let refused = bench.run(&["up"]).failed_with(6);
    assert!(refused.stderr.contains("192.168.122.172, which is to be `db2`, is taken by"), "{}", refused.stderr);
    assert!(refused.stderr.contains("is a DHCP server"), "{}", refused.stderr);
    alpha.run("kill $(cat /run/theirs.pid) && ip addr del 192.168.122.172/32 dev br0");
    must_be_as_before("after an `up` that was refused");

    bench.run(&["up"]).succeeded();
    let again = bench.run(&["up"]).succeeded();
    assert!(again.stderr.contains("nothing changed"), "{}", again.stderr);
    let now = status(bench.run(&["status", "--json"]).succeeded().json());
    assert_eq!(seen(&now), [("here", GuestState::Running), ("alpha", GuestState::Running)]);
    assert!(alpha.run("bridge link").lines().any(|line| line.contains("vnet") && line.contains("master br0")));
    for host in [&first, &alpha] {
        assert_eq!(host.run("ip -br link show type vxlan"), "");
    }
    bench.run(&["sql", "--on", "db2", "-c", "create table kept as select 42 as answer"]).succeeded();
    let rows = bench.run(&["sql", "--json", "--on", "db2", "-c", "select answer from kept"]).succeeded().json();
    assert_eq!(rows[0]["rows"][0][0], "42");
    let doctor = bench.run(&["doctor"]).succeeded();
    assert!(doctor.stderr.contains(" 0 amiss"), "{}{}", doctor.stdout, doctor.stderr);

    bench.run(&["destroy", "--yes"]).succeeded();
    must_be_as_before("after the lab");
    assert_no_leftovers(&bench.lab_directory("bridged"));
}
