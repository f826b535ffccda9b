//! Two labs with the same addresses side by side, with the engine that needs no source.

use super::{
    bench::{Bench, Source, assert_no_leftovers, status as told, until},
    native::up_initialises_what_the_guest_would,
    old_ssh::an_old_openssh_is_spoken_to_in_its_own_words,
};
use std::{
    io::{BufRead, BufReader},
    net::TcpStream,
    process::Command,
    time::Duration,
};

const LAB: &str = include_str!("../labs/two.yaml");

#[test]
fn two_labs_with_the_same_addresses_live_side_by_side() {
    let first = Bench::new(&named("left"), Source::None);
    let second = Bench::new(&named("right"), Source::None);
    let up = first.run_locked(&["up", "-v"]).succeeded();
    assert!(up.stderr.contains("passed over"), "it says why it does not take Postgres-XC: {}", up.stderr);
    assert_eq!(up.stderr.matches("cloned from the template").count(), 2, "{}", up.stderr);
    assert!(up.stderr.contains("verify, quick: unchanged, 6 passed in"), "what was made is checked: {}", up.stderr);
    clones_share_nothing_that_is_a_guests_own(&first);
    let up = up_initialises_what_the_guest_would(&second, "right", &["up", "-v", "--boot", "cold"]);
    assert_eq!(up.stderr.matches("booted, ssh login works").count(), 2, "{}", up.stderr);

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
    checks_tell_right_from_wrong(&first);
    openssh_gets_in_from_outside(&first);
    an_old_openssh_is_spoken_to_in_its_own_words(&first, "left", "db2");
    collected_evidence_keeps_the_password(&first);
    a_parameter_is_reloaded(&first);
    faults_are_mended_whatever_ends_the_run(&first);
    drills_find_the_books_right(&first);
    a_node_is_added_and_taken_away(&first);

    first.run(&["destroy", "--yes"]).succeeded();
    assert_no_leftovers(&first.lab_directory("left"));
    a_damaged_template_costs_time_and_nothing_else(&first);
    second.run(&["sql", "-c", "select 1"]).succeeded();
    let status = told(second.run(&["status", "--json"]).succeeded().json());
    let databases =
        status.nodes.iter().flat_map(|node| &node.components).filter(|one| one.database.is_some() && one.wal > Some(0));
    assert_eq!(databases.count(), 2, "{status:?}");
    second.run(&["destroy", "--yes"]).succeeded();
    assert_no_leftovers(&second.lab_directory("right"));
}

fn named(name: &str) -> String {
    LAB.lines()
        .map(|line| if line.starts_with("name:") { format!("name: {name}\n") } else { format!("{line}\n") })
        .collect()
}

/// Two guests of one memory: whatever tells one machine from another must differ, and their clocks must not.
fn clones_share_nothing_that_is_a_guests_own(bench: &Bench) {
    let told = |command: &str| -> Vec<String> {
        let said = bench.run(&["exec", "--on", "all", "--", command]).succeeded().stdout;
        let lines = said.lines().filter_map(|line| line.split_once(": ")).map(|(_, told)| told.trim().to_owned());
        let lines: Vec<String> = lines.collect();
        assert_eq!(lines.len(), 2, "{command}: {said}");
        lines
    };
    for own in [
        "hostname",
        "cat /etc/machine-id",
        "cat /proc/sys/kernel/random/boot_id",
        "cat /etc/ssh/ssh_host_ed25519_key.pub",
        "head -c 16 /dev/urandom | od -An -tx1",
        "grep ^CLIENTID= /run/systemd/netif/leases/2",
        // systemd's own idea of the boot, which it keeps in memory.
        "journalctl -q -n 1 -o json --output-fields=_BOOT_ID,_MACHINE_ID | tr , '\\n' | grep _BOOT_ID",
    ] {
        let told = told(own);
        assert_ne!(told[0], told[1], "{own}");
        assert!(told.iter().all(|told| !told.is_empty()), "{own}: {told:?}");
    }
    for same in ["systemctl is-system-running", "findmnt -n -o FSTYPE /data02"] {
        let told = told(same);
        assert_eq!(told[0], told[1], "{same}");
    }
    // How far each is off, by its own account, in seconds. The hardware clock tells whole seconds, the rest is slewed.
    until("the clocks are within 100 ms", Duration::from_secs(60), || {
        told("chronyc -c tracking | cut -d, -f5").iter().all(|off| off.parse::<f64>().expect("a number").abs() < 0.1)
    });
}

/// The memory of the template is cut short: guests boot instead, that is said, and the next run makes another template.
fn a_damaged_template_costs_time_and_nothing_else(bench: &Bench) {
    let templates = std::fs::read_dir(bench.home().join("cache/templates")).expect("templates");
    for template in templates.flatten() {
        let memory = template.path().join("memory");
        let length = std::fs::metadata(&memory).expect("its memory").len();
        let file = std::fs::OpenOptions::new().write(true).open(&memory).expect("root may write");
        file.set_len(length / 2).expect("it is cut");
    }
    let up = bench.run(&["up", "-v"]).succeeded();
    assert!(up.stderr.contains("it could not be cloned: the memory of template"), "{}", up.stderr);
    assert!(up.stderr.contains("booted, ssh login works"), "{}", up.stderr);
    bench.run(&["destroy", "--yes"]).succeeded();
    let plan = bench.run(&["plan", "--json"]).succeeded().json();
    let steps = plan["steps"].as_array().expect("steps");
    let template = steps.iter().find(|step| step["step"]["id"] == "template").expect("the step");
    assert_eq!(template["would"], "run", "a template that cannot be read counts no longer");
}

/// Two logins: a file goes in by scp, and comes back by ssh.
fn openssh_gets_in_from_outside(bench: &Bench) {
    let config = bench.path("lab.ssh");
    bench.run(&["export", "ssh-config", "--out", config.to_str().expect("UTF-8")]).succeeded();
    let copied = Command::new("scp").arg("-qF").arg(&config).arg(bench.lab_file()).arg("db2:/tmp/copied").output();
    let copied = copied.expect("scp runs");
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let ssh = ["db2.sky-mobi.com", "hostname; cat /tmp/copied; exit 3"];
    let back = Command::new("ssh").arg("-F").arg(&config).args(ssh).output().expect("ssh runs");
    let file = std::fs::read_to_string(bench.lab_file()).expect("lab.yaml");
    assert_eq!(String::from_utf8_lossy(&back.stdout), format!("db2\n{file}"));
    assert_eq!(back.status.code(), Some(3), "the command's own exit code");
}

/// All parameters of the document run as they are written; one that changes needs no restart.
fn a_parameter_is_reloaded(bench: &Bench) {
    let same = bench.run(&["config", "diff"]).succeeded();
    assert_eq!(same.stdout, "", "{}", same.stderr);
    let started = || {
        let sql = "select pg_postmaster_start_time(), current_setting('track_activity_query_size'), current_setting('work_mem')";
        bench.run(&["sql", "--on", "db2", "--json", "-c", sql]).succeeded().json()[0]["rows"][0].clone()
    };
    let before = started();
    bench.write_lab(&format!("{}cluster:\n  coordinator: {{parameters: {{work_mem: 9MB}}}}\n", named("left")));
    let other = bench.run(&["config", "diff", "--json"]).failed_with(8).json();
    assert_eq!(other.as_array().map(Vec::len), Some(1), "{other}");
    assert_eq!(
        (&other[0]["parameter"], &other[0]["wanted"], &other[0]["needs"]),
        (&"work_mem".into(), &"9MB".into(), &"reload".into())
    );
    bench.run(&["config", "apply"]).succeeded();
    let after = started();
    assert_eq!((&before[0], &before[1], after[2].as_str()), (&after[0], &after[1], Some("9MB")), "no restart");
    bench.run(&["config", "diff"]).succeeded();
}

/// What was there stays, the new node takes rows, and `up` finds nothing left to do.
fn a_node_is_added_and_taken_away(bench: &Bench) {
    let file = format!("# mine\n{}  # and no more\n", named("left"));
    bench.write_lab(&file);
    let refused = bench.run(&["scale", "add", "gtm"]).failed_with(3);
    assert!(refused.stderr.contains("`gtm` is a role of `db1` and of `db3`"), "{}", refused.stderr);
    assert_eq!(std::fs::read_to_string(bench.lab_file()).expect("lab.yaml"), file, "it was not touched");

    let added = bench.run(&["scale", "add", "datanode"]).succeeded();
    let line = "  - {name: db3, address: 192.168.122.173, roles: [gtm_proxy, datanode]}\n";
    assert!(added.stderr.contains(&format!("\n+{line}")), "the change is shown: {}", added.stderr);
    let edited = std::fs::read_to_string(bench.lab_file()).expect("lab.yaml");
    assert!(edited.contains(line) && edited.replace(line, "") == file, "{edited}");
    let old = bench.run(&["sql", "--json", "-c", "select count(*) from orders"]).succeeded().json();
    assert_eq!(old[0]["rows"][0][0], "3", "rows of before");
    let make = "select pgxc_lab.create_distributed_table('wide', 'k int', 'k'); insert into wide select generate_series(1, 100)";
    bench.run(&["sql", "-c", make]).succeeded();
    let rows = bench.run(&["sql", "--on", "db3", "--json", "-c", "select count(*) > 0 from wide"]).succeeded().json();
    assert_eq!(rows[0]["rows"][0][0], "t", "the new datanode has its share");
    let again = bench.run(&["up"]).succeeded();
    assert!(again.stderr.contains("nothing changed") && !again.stderr.contains("passed in"), "{}", again.stderr);

    // A guest that lab.yaml lost is told. Nothing that holds rows goes.
    bench.write_lab(&file);
    let plan = bench.run(&["plan", "--json"]).succeeded().json();
    assert!(plan["notes"].to_string().contains("guest `db3` is not in lab.yaml any more"), "{plan}");
    bench.write_lab(&edited);
    let holds = bench.run(&["scale", "remove", "db3"]).failed_with(8);
    assert!(
        holds.stderr.contains("`db3` of lab `left` still hold foreign table wide_datanode_2, table public.wide;"),
        "{}",
        holds.stderr
    );
    assert_eq!(std::fs::read_to_string(bench.lab_file()).expect("lab.yaml"), edited, "it was not touched");
    bench.run(&["sql", "-c", "select pgxc_lab.drop_distributed_table('wide')"]).succeeded();
    let removed = bench.run(&["scale", "remove", "db3"]).succeeded();
    assert!(removed.stderr.contains(&format!("\n-{line}")), "the change is shown: {}", removed.stderr);
    assert_eq!(std::fs::read_to_string(bench.lab_file()).expect("lab.yaml"), file);
    let lab = bench.lab_directory("left");
    let left = |directory: &str| {
        let entries = std::fs::read_dir(lab.join(directory)).expect("it is there").flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("db3")).count()
    };
    assert_eq!((left("disks"), left("keys")), (0, 0));
    let again = bench.run(&["up"]).succeeded();
    assert!(again.stderr.contains("nothing changed") && !again.stderr.contains("db3"), "{}", again.stderr);
    let old = bench.run(&["sql", "--json", "-c", "select count(*) from orders"]).succeeded().json();
    assert_eq!(old[0]["rows"][0][0], "3", "rows of before");
}

/// The password goes into a log and the journal of a guest first.
fn collected_evidence_keeps_the_password(bench: &Bench) {
    let password = std::fs::read_to_string(bench.lab_directory("left").join("keys/password")).expect("it was made");
    let password = password.trim();
    let leak = format!("echo {password} >> /data02/pgxc_datanode/pg_log/leak.log; logger -t leak {password}");
    bench.run(&["ssh", "db2", "--", &leak]).succeeded();
    let file = bench.path("evidence.tar.zst");
    let file = file.to_str().expect("UTF-8");
    let collected = bench.run(&["collect", "--since", "1h", "--out", file]).succeeded();
    assert_eq!(collected.stdout, format!("{file}\n"));
    bench.run(&["collect", "--out", file]).failed_with(2);
    let tar = |arguments: &[&str]| {
        let output = Command::new("tar").args(arguments).output().expect("tar runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let names = tar(&["--zstd", "-tf", file]);
    for name in ["status.json", "lab.yaml", "journal.jsonl", "logs/db1-console.log", "guests/db1/journal.txt"] {
        assert!(names.lines().any(|known| known == name), "{name} is not in {names}");
    }
    let everything = tar(&["--zstd", "-xOf", file]);
    assert!(!everything.contains(password), "the password is in it");
    let log = tar(&["--zstd", "-xOf", file, "components/db2/pgxc_datanode/pg_log/leak.log"]);
    assert_eq!(log, "(left out)\n");
    let journal = tar(&["--zstd", "-xOf", file, "guests/db2/journal.txt"]);
    assert!(journal.lines().any(|line| line.contains("leak") && line.ends_with("(left out)")), "{journal}");
    let status = tar(&["--zstd", "-xOf", file, "status.json"]);
    assert!(status.contains("\"healthy\": true"), "{status}");
}

/// By time, by Ctrl-C, and after a `kill -9` by whoever comes next.
fn faults_are_mended_whatever_ends_the_run(bench: &Bench) {
    let output = bench.path("fault");
    let domain = || bench.run(&["status", "--json"]).json()["nodes"][1]["domain"].to_string();
    let in_force = || bench.run(&["fault", "list", "--json"]).succeeded().json().as_array().map_or(0, Vec::len);
    let until_in_force = || {
        until("the fault is in force", Duration::from_secs(20), || {
            std::fs::read_to_string(&output).unwrap_or_default().contains("in force")
        });
    };

    let mut pause = bench.start(&["fault", "pause", "db2", "--for", "5m"], &output);
    until_in_force();
    assert_eq!((domain(), in_force()), ("\"paused\"".to_owned(), 1));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pause.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it is there");
    assert_eq!(pause.wait().expect("it ends").code(), Some(130));
    assert_eq!(in_force(), 0);
    bench.run(&["status"]).succeeded();

    let mut stall = bench.start(&["fault", "stall-nfs", "--for", "5m"], &output);
    until_in_force();
    stall.kill().expect("it runs");
    stall.wait().expect("it ends");
    let status = bench.run(&["status"]).failed_with(8);
    assert!(status.stdout.contains("! broken on purpose: stall-nfs"), "{}", status.stdout);
    bench.run(&["up"]).succeeded();
    assert_eq!(in_force(), 0);

    // One disk of two. On a node without a database the export is root's.
    bench.run(&["exec", "--on", "all", "--", "install -d -o pgxc -g pgxc /data02/own"]).succeeded();
    bench.run(&["fault", "disk-full", "db2"]).succeeded();
    let write = |node: &str, file: &str| {
        let command = format!("runuser -u pgxc -- sh -c 'head -c 500000 /dev/zero >/data02/own/{file}'");
        bench.run(&["ssh", node, "--", &command])
    };
    let full = write("db2", "x");
    assert!(full.stderr.contains("No space left on device"), "{}", full.stderr);
    write("db1", "x").succeeded();
    bench.run(&["fault", "mend"]).succeeded();
    // Another file: an NFS client tells once more of what it could not write, when that file is closed the next time.
    write("db2", "y").succeeded();
    // The whole host goes, as with a power cut. What the fault did is in the exports' image, which stays.
    bench.run(&["fault", "disk-full", "db2"]).succeeded();
    let holder =
        std::fs::read_to_string(bench.lab_directory("left").join("holder.json")).expect("the lab has a holder");
    let holder: serde_json::Value = serde_json::from_str(&holder).expect("JSON");
    let holder = i32::try_from(holder["pid"].as_i64().expect("a pid")).expect("a pid");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(holder), nix::sys::signal::Signal::SIGKILL).expect("it is there");
    until("the host is gone", Duration::from_secs(20), || {
        !std::path::Path::new(&format!("/proc/{holder}/ns/ipc")).exists()
    });
    bench.run(&["up"]).succeeded();
    assert_eq!(in_force(), 0);
    write("db2", "z").succeeded();
    bench.run(&["exec", "--on", "all", "--", "rm -r /data02/own"]).succeeded();
}

/// Real clients, real faults, and nothing left of either: all drills that apply to this lab.
fn drills_find_the_books_right(bench: &Bench) {
    bench.run(&["drill", "run", "gtm-killed"]).failed_with(2);
    let report = bench.run(&["drill", "run", "--all", "--json"]).succeeded().json();
    assert_eq!(report["exit_code"], 0, "{report}");
    let drills = report["drills"].as_array().expect("drills");
    let names: Vec<&str> = drills.iter().filter_map(|drill| drill["name"].as_str()).collect();
    assert_eq!(names, ["clock-skewed", "nfs-stalled"], "{report}");
    for drill in drills {
        assert_eq!(drill["verdict"], "as-expected", "{report}");
        assert!(drill["audit"]["acknowledged"].as_u64() > Some(2), "{report}");
        let stages = drill["stages"].as_array().expect("stages").iter();
        let stages: Vec<&str> = stages.filter_map(|one| one["stage"].as_str()).collect();
        assert_eq!(stages, ["load", "break", "see", "mend", "go on", "books", "verify"]);
    }
    let left = "select count(*) from pg_class where relname like 'pgxc_lab_verify_%'";
    let rows = bench.run(&["sql", "--json", "-c", left]).succeeded().json();
    assert_eq!(rows[0]["rows"][0][0], "0", "drills leave nothing behind");
}

/// Checks of the tool and of the user, green and red.
fn checks_tell_right_from_wrong(bench: &Bench) {
    let make =
        "select pgxc_lab.create_distributed_table('orders', 'k int', 'k'); insert into orders values (1), (2), (3)";
    bench.run(&["sql", "-c", make]).succeeded();
    let own = "checks:\n  - {name: orders, sql: select count(*) from orders, expected: 3}\n  \
               - {name: zone, command: cat /etc/timezone, expected: /^Asia.Sh/}\n";
    bench.write_lab(&format!("{}{own}", named("left")));
    let report = bench.path("verify.xml");
    let full = bench.run(&["verify", "--suite", "full", "--junit", &report.display().to_string()]).succeeded();
    assert!(full.stdout.contains("\nok    lab/orders"), "{}", full.stdout);
    let report = std::fs::read_to_string(report).expect("the report");
    assert!(report.contains("<testcase name=\"bank\"") && report.contains("failures=\"0\""), "{report}");

    // A row goes on its datanode, behind the coordinator's back.
    let psql = "su - pgxc -c 'psql -p 1923 -h /data02/pgxc_datanode -c \"delete from orders where k = 2\"'";
    bench.run(&["ssh", "db2", "--", psql]).succeeded();
    let wrong = bench.run(&["verify", "--only", "lab/orders,lab/zone", "--json"]).failed_with(1).json();
    assert_eq!(wrong["checks"][0]["findings"][0]["seen"], "2", "{wrong}");
    assert_eq!(wrong["checks"][1]["verdict"], "passed", "{wrong}");
    bench.run(&["sql", "-c", "alter server datanode_1 options (set host 'elsewhere')"]).succeeded();
    let wrong = bench.run(&["verify", "--only", "nodes"]).failed_with(1);
    assert!(wrong.stdout.contains("\nFAIL  nodes") && wrong.stdout.contains("coordinate_1"), "{}", wrong.stdout);
    checks_see_what_they_are_for(bench);
    // It ends with checks, but those of lab.yaml only when they are asked for.
    bench.run(&["up"]).succeeded();
    let wrong = bench.run(&["up", "--verify", "quick"]).failed_with(8);
    assert!(wrong.stderr.contains("checks failed: lab/orders"), "{}", wrong.stderr);
    bench.run(&["sql", "-c", "insert into orders values (2)"]).succeeded();
    let right = bench.run(&["verify", "--only", "nodes,lab/orders", "--tap"]).succeeded();
    assert!(right.stdout.starts_with("TAP version 13\n1..2\nok 1 - nodes: "), "{}", right.stdout);
    let left = "select count(*) from pg_class where relname like 'pgxc_lab_verify_%'";
    let rows = bench.run(&["sql", "--json", "-c", left]).succeeded().json();
    assert_eq!(rows[0]["rows"][0][0], "0", "checks leave nothing behind");
    bench.write_lab(&named("left"));
}

/// A function that makes tables on its own coordinator only, and a datanode that was stopped. What needs two servers of a kind
/// (`settings`, `visible`) cannot be broken here.
fn checks_see_what_they_are_for(bench: &Bench) {
    let only_here = "create or replace function pgxc_lab.create_distributed_table(name text, columns text, key text) \
         returns void language plpgsql as $$ begin execute format('create table %s (%s)', name, columns); end $$";
    let on_the_coordinator = |sql: &str| bench.run(&["sql", "--on", "db2", "-c", sql]).succeeded();
    on_the_coordinator(only_here);
    // By it `up` tells the functions that it made.
    on_the_coordinator("comment on function pgxc_lab.create_distributed_table(text, text, text) is null");
    let failed = |checks: &str| {
        let report = bench.run(&["verify", "--json", "--only", checks]).failed_with(1).json();
        let checks = report["checks"].as_array().expect("checks").clone();
        let failed = checks.iter().filter(|check| check["verdict"] == "failed");
        failed.map(|check| check["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(failed("components,ddl,spread,plan-key"), ["ddl", "spread", "plan-key"]);
    // Which is no distributed table, so that the checks could not remove it.
    on_the_coordinator("drop table pgxc_lab_verify_spread");
    bench.run(&["stop", "--on", "db2", "--component", "datanode"]).succeeded();
    assert_eq!(failed("components"), ["components"]);
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
    until("forward listens", Duration::from_secs(10), || address().is_some());
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
