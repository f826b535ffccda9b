//! Two labs with the same addresses side by side, with the engine that needs no source.

use super::bench::{Bench, Source, assert_no_leftovers};
use std::{
    io::{BufRead, BufReader},
    net::TcpStream,
};

const LAB: &str = include_str!("../labs/two.yaml");

#[test]
fn two_labs_with_the_same_addresses_live_side_by_side() {
    let first = Bench::new(&named("left"), Source::None);
    let second = Bench::new(&named("right"), Source::None);
    let up = first.run(&["up", "-v"]).succeeded();
    assert!(up.stderr.contains("passed over"), "it says why it does not take Postgres-XC: {}", up.stderr);
    second.run(&["up"]).succeeded();

    first.run(&["sql", "-c", "create table here (k int); insert into here select generate_series(1, 5)"]).succeeded();
    let rows = first.run(&["sql", "--json", "-c", "select count(*) from here"]).succeeded().json();
    assert_eq!(rows[0]["rows"][0][0], "5");
    let missing = second.run(&["sql", "-c", "select count(*) from here"]).failed_with(8);
    assert!(missing.stderr.contains("here"), "the server's own words: {}", missing.stderr);

    let host = first.run(&["ssh", "db2", "--", "hostname; findmnt -n -o SOURCE /data02"]).succeeded();
    assert_eq!(host.stdout.lines().collect::<Vec<_>>(), ["db2", "192.168.122.1:/data03/172"]);
    let both = first.run(&["exec", "--on", "all", "--", "cat /etc/timezone"]).succeeded();
    assert_eq!(both.stdout, "db1: Asia/Shanghai\ndb2: Asia/Shanghai\n");
    // An export is its own node's only.
    let foreign = first.run(&[
        "ssh",
        "db1",
        "--",
        "mkdir -p /tmp/x; mount -t nfs -o vers=3,nolock,tcp,retry=0 192.168.122.1:/data03/172 /tmp/x",
    ]);
    assert_ne!(foreign.code, Some(0), "db1 mounted the export of db2");

    let doctor = first.run(&["doctor"]).succeeded();
    assert!(doctor.stderr.contains(" 0 amiss"), "{}{}", doctor.stdout, doctor.stderr);
    first.run(&["ssh", "db1", "--", "sysctl -qw net.core.rmem_default=212992"]).succeeded();
    let drift = first.run(&["doctor"]).failed_with(7);
    assert!(drift.stdout.contains("net.core.rmem_default"), "{}", drift.stdout);
    first.run(&["doctor", "--apply"]);
    first.run(&["doctor"]).succeeded();

    forwarded_port_leads_to_the_server(&first);

    first.run(&["destroy", "--yes"]).succeeded();
    assert_no_leftovers(&first.lab_directory("left"));
    second.run(&["sql", "-c", "select 1"]).succeeded();
    second.run(&["destroy", "--yes"]).succeeded();
    assert_no_leftovers(&second.lab_directory("right"));
}

fn named(name: &str) -> String {
    LAB.lines()
        .map(|line| if line.starts_with("name:") { format!("name: {name}\n") } else { format!("{line}\n") })
        .collect()
}

fn forwarded_port_leads_to_the_server(bench: &Bench) {
    let output = bench.path("forward");
    let mut forward = bench.start(&["forward", "db2:1921", "0"], &output);
    let address = || {
        let file = std::fs::File::open(&output).expect("the output");
        BufReader::new(file)
            .lines()
            .map_while(Result::ok)
            .find(|line| line.starts_with("127.0.0.1:"))
            .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
    };
    super::bench::until("forward listens", std::time::Duration::from_secs(10), || address().is_some());
    let address = address().expect("forward told its address");
    let mut socket = TcpStream::connect(&address).expect("the forwarded port accepts");
    // SSLRequest: a PostgreSQL server answers one byte, `N` without TLS or `S` with it.
    std::io::Write::write_all(&mut socket, &[0, 0, 0, 8, 4, 210, 22, 47]).expect("it takes a request");
    let mut answer = [0u8; 1];
    std::io::Read::read_exact(&mut socket, &mut answer).expect("the server answers");
    assert!(matches!(answer[0], b'N' | b'S'), "{answer:?}");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(forward.id()).expect("a pid")),
        nix::sys::signal::Signal::SIGINT,
    )
    .expect("it is there");
    assert!(forward.wait().expect("it ends").success());
}
