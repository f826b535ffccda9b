//! The life of a lab: made, killed in the middle, gone on with, changed by hand, grown, rebooted, destroyed.

use super::bench::{Bench, Source, assert_no_leftovers, until};
use std::{fs, time::Duration};

const LAB: &str = include_str!("../labs/four.yaml");

#[test]
fn a_lab_converges_from_anything_half_made() {
    let bench = Bench::new(LAB, Source::XcOrStandin);
    bench.run(&["validate"]).succeeded();
    let plan = bench.run(&["plan", "--json"]).succeeded().json();
    // Image and build may be in the cache; of the lab itself nothing is there yet that could be let go of, or hold.
    let steps = plan["steps"].as_array().expect("steps");
    let holding: Vec<&str> =
        steps.iter().filter(|step| step["would"] != "run").filter_map(|step| step["step"]["id"].as_str()).collect();
    assert!(holding.iter().all(|step| ["image", "build", "let-go"].contains(step)), "{holding:?}");
    assert!(!bench.lab_directory("four").exists(), "plan touches nothing");

    // kill -9 in the middle: as soon as the first guest runs.
    let output = bench.path("up");
    let mut up = bench.start(&["up", "-v"], &output);
    until("the first guest boots", Duration::from_secs(900), || {
        let text = fs::read_to_string(&output).unwrap_or_default();
        assert!(!text.contains("failed"), "{text}");
        text.contains("waits for: address taken")
    });
    let other = bench.run(&["up"]).failed_with(9);
    assert!(other.stderr.contains("held by another run"), "{}", other.stderr);
    up.kill().expect("it runs");
    up.wait().expect("it ends");

    let resumed = bench.run(&["up", "-v"]).succeeded();
    assert!(resumed.stderr.contains("proved: 6000 rows"), "{}", resumed.stderr);
    let again = bench.run(&["up"]).succeeded();
    assert!(again.stderr.contains("nothing changed"), "{}", again.stderr);
    let plan = bench.run(&["plan", "--json"]).succeeded().json();
    assert_eq!(plan["changes"], 0, "{plan}");

    is_checked_and_a_wrong_catalogue_is_found(&bench);
    keeps_data_and_components_over_a_reboot(&bench);
    comes_back_after_a_guest_was_destroyed_by_hand(&bench);
    stops_and_starts_components(&bench);
    fails_over_and_knows_its_gtm(&bench);
    takes_a_changed_parameter(&bench);
    takes_one_node_more(&bench);

    // Destroy works without lab.yaml, and says so when there is nothing left to do.
    fs::remove_file(bench.lab_file()).expect("lab.yaml is there");
    let destroyed = bench.run(&["destroy", "--yes"]).succeeded();
    assert!(destroyed.took < Duration::from_secs(10), "destroy took {:?}", destroyed.took);
    assert_no_leftovers(&bench.lab_directory("four"));
    bench.write_lab(LAB);
    let nothing = bench.run(&["destroy", "--yes"]).succeeded();
    assert!(nothing.stderr.contains("nothing to destroy"), "{}", nothing.stderr);
}

/// All of them on the real thing; else those whose SQL the stand-in knows.
fn is_checked_and_a_wrong_catalogue_is_found(bench: &Bench) {
    let checks = ["verify", "--only", "components,registered,nodes,in-doubt,identity,ddl,hash,unchanged"];
    let right = bench.run(&checks).succeeded();
    assert!(right.stdout.contains("8 passed in"), "{}", right.stdout);
    if std::env::var_os("PGXC_SOURCE").is_some() {
        bench.run(&["verify", "--suite", "full"]).succeeded();
    }
    let alter = "alter node datanode_2 with (host = 'db-192-168-122-173')";
    bench.run(&["sql", "--on", "db-192-168-122-174", "-c", alter]).succeeded();
    bench.run(&["sql", "--on", "db-192-168-122-174", "-c", "select pgxc_pool_reload()"]).succeeded();
    let wrong = bench.run(&checks).failed_with(1);
    for line in ["FAIL  nodes ", "        coordinate_2\n", "datanode_2 as coordinate_2 reaches it", "FAIL  unchanged "]
    {
        assert!(wrong.stdout.contains(line), "{line} is missing in\n{}", wrong.stdout);
    }
    bench.run(&["up"]).succeeded();
    keeps_what_it_saw_when_it_is_interrupted(bench, &checks);
    bench.run(&checks).succeeded();
}

fn keeps_what_it_saw_when_it_is_interrupted(bench: &Bench, checks: &[&str]) {
    let (output, junit) = (bench.path("verify"), bench.path("junit"));
    let mut verify = bench.start(&[checks, &["--junit", &junit.display().to_string()]].concat(), &output);
    until("the first check is done", Duration::from_secs(60), || {
        fs::read_to_string(&output).unwrap_or_default().contains("ok    components")
    });
    let interrupted = std::process::Command::new("kill").args(["-INT", &verify.id().to_string()]).status();
    assert!(interrupted.expect("kill runs").success());
    assert_eq!(verify.wait().expect("it ends").code(), Some(130));
    let xml = fs::read_to_string(&junit).expect("the file");
    assert!(xml.contains("name=\"components\"") && xml.contains("<error message=\"interrupted"), "{xml}");
}

fn keeps_data_and_components_over_a_reboot(bench: &Bench) {
    bench.run(&["sql", "-c", "create table kept (k int) distribute by hash (k)"]).succeeded();
    bench.run(&["sql", "-c", "insert into kept select generate_series(1, 100)"]).succeeded();
    let booted = || bench.run(&["ssh", "db-192-168-122-173", "--", "cat /proc/sys/kernel/random/boot_id"]);
    let before = booted().succeeded().stdout;
    bench.run(&["ssh", "db-192-168-122-173", "--", "systemctl reboot"]);
    until("the guest is another boot", Duration::from_secs(120), || {
        let now = booted();
        now.code == Some(0) && now.stdout != before
    });
    until("the components come back by themselves", Duration::from_secs(120), || {
        bench.run(&["status"]).code == Some(0)
    });
    assert_eq!(count(bench, "kept"), "100");
}

fn comes_back_after_a_guest_was_destroyed_by_hand(bench: &Bench) {
    let socket = bench.lab_directory("four").join("run/libvirt/libvirt-sock");
    let uri = format!("qemu+unix:///system?socket={}", socket.display());
    let destroyed =
        std::process::Command::new("virsh").args(["-q", "-c", &uri, "destroy", "db-192-168-122-174"]).status();
    assert!(destroyed.expect("virsh runs").success());
    bench.run(&["status"]).failed_with(8);
    bench.run(&["up"]).succeeded();
    assert_eq!(count(bench, "kept"), "100");
}

fn stops_and_starts_components(bench: &Bench) {
    bench.run(&["stop", "--on", "db-192-168-122-174"]).succeeded();
    let status = bench.run(&["status", "--json"]).failed_with(8).json();
    let serving = |node: usize| {
        let components = status["nodes"][node]["components"].as_array().expect("components").clone();
        components.iter().map(|component| component["serves"] == true).collect::<Vec<_>>()
    };
    assert_eq!(serving(3), [false, false, false], "{status}");
    assert!(serving(0).into_iter().chain(serving(2)).all(|serves| serves), "{status}");
    let checks = bench.run(&["verify", "--only", "components,registered"]).failed_with(1);
    for line in ["FAIL  components ", "FAIL  registered "] {
        assert!(checks.stdout.contains(line), "{line} is missing in\n{}", checks.stdout);
    }
    let gone = bench.run(&["stop", "--on", "db-192-168-122-174", "--component", "datanode", "-v"]).succeeded();
    assert!(gone.stderr.contains("`datanode_2` does not run"), "{}", gone.stderr);
    bench.run(&["start"]).succeeded();
    bench.run(&["status"]).succeeded();
    assert_eq!(count(bench, "kept"), "100");
    bench.run(&["start", "--on", "db-192-168-122-171", "--component", "datanode"]).failed_with(2);
}

/// The second failover goes on with one that is killed: the lab is refused in between, and comes out with one GTM.
fn fails_over_and_knows_its_gtm(bench: &Bench) {
    let gtm = || {
        let status = bench.run(&["status", "--json"]).succeeded().json();
        let has_gtm = |node: &&serde_json::Value| node["components"][0]["role"] == "gtm";
        let nodes = status["nodes"].as_array().expect("nodes").clone();
        let with: Vec<_> = nodes.iter().filter(has_gtm).map(|node| node["node"].to_string()).collect();
        with.join(" ").replace('"', "")
    };
    bench.run(&["failover", "gtm"]).succeeded();
    assert_eq!(gtm(), "db-192-168-122-172");
    assert_eq!(count(bench, "kept"), "100");
    let again = bench.run(&["failover", "gtm", "--to", "db-192-168-122-172"]).succeeded();
    assert!(again.stderr.contains("nothing changed"), "{}", again.stderr);

    // Its journal: begin, end the old GTM, its node no longer serves, done, promote: neither of both is the GTM.
    let killed = bench.run_dying_after(5, &["failover", "gtm"]);
    assert_eq!(killed.code, None, "{}", killed.stderr);
    let refused = bench.run(&["up"]).failed_with(8);
    assert!(refused.stderr.contains("pgxc-lab failover gtm"), "{}", refused.stderr);
    bench.run(&["failover", "gtm"]).succeeded();
    assert_eq!(gtm(), "db-192-168-122-171");
    assert_eq!(count(bench, "kept"), "100");
    bench.run(&["up"]).succeeded();
    let plan = bench.run(&["plan", "--json"]).succeeded().json();
    assert_eq!(plan["changes"], 0, "{plan}");
}

fn takes_a_changed_parameter(bench: &Bench) {
    bench.write_lab(&LAB.replace("max_connections: 200", "max_connections: 210"));
    bench.run(&["up"]).succeeded();
    let shown = bench
        .run(&["ssh", "db-192-168-122-174", "--", "grep ^max_connections /data02/pgxc_datanode/postgresql.conf"])
        .succeeded();
    assert!(shown.stdout.contains("210"), "{}", shown.stdout);
    assert_eq!(count(bench, "kept"), "100");
}

fn takes_one_node_more(bench: &Bench) {
    let more = "  - {name: db-192-168-122-175, address: 192.168.122.175, roles: []}\ncluster:\n";
    bench.write_lab(&LAB.replace("cluster:\n", more));
    bench.run(&["up"]).succeeded();
    let hosts = bench.run(&["exec", "--on", "all", "--", "grep -c 192.168.122.175 /etc/hosts"]).succeeded();
    assert_eq!(hosts.stdout.lines().filter(|line| line.ends_with(": 1")).count(), 5, "{}", hosts.stdout);
    let status = bench.run(&["status", "--json"]).succeeded().json();
    assert_eq!(status["nodes"].as_array().map(Vec::len), Some(5));
}

fn count(bench: &Bench, table: &str) -> String {
    let rows = bench
        .run(&["sql", "--json", "--on", "db-192-168-122-174", "-c", &format!("select count(*) from {table}")])
        .succeeded()
        .json();
    rows[0]["rows"][0][0].as_str().unwrap_or_default().to_owned()
}
