//! Snapshots: the whole running lab at one instant, brought back, whatever happens in the middle.

use super::bench::{Bench, Source, assert_no_leftovers, until};
use std::{fs, path::PathBuf, process::Command, time::Duration};

const LAB: &str = include_str!("../labs/snap.yaml");

#[test]
fn a_running_lab_comes_back_from_whatever_is_there() {
    let bench = Bench::new(LAB, Source::None);
    bench.run(&["up"]).succeeded();
    sql(&bench, "select pgxc_lab.create_distributed_table('kept', 'k int', 'k')");
    sql(&bench, "insert into kept select generate_series(1, 100)");

    survives_kill_9_while_it_is_taken(&bench);
    survives_a_guest_that_does_not_listen(&bench);
    survives_a_guest_that_dies_while_it_is_taken(&bench);

    leaves_a_transaction_open_in_a_guest(&bench);
    bench.run(&["snapshot", "create", "first", "--note", "a hundred rows"]).succeeded();
    let again = bench.run(&["snapshot", "create", "first"]).failed_with(2);
    assert!(again.stderr.contains("already has a snapshot"), "{}", again.stderr);
    let listed = bench.run(&["snapshot", "list", "--json"]).succeeded().json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    let shown = bench.run(&["snapshot", "show", "first", "--json"]).succeeded().json();
    assert_eq!((&shown["complete"], &shown["serving"]), (&true.into(), &true.into()), "{shown}");

    sql(&bench, "insert into kept select generate_series(101, 150)");
    sql(&bench, "create table later (k int)");
    bench.run(&["restore", "first", "--yes"]).succeeded();
    the_hundred_rows_are_there(&bench);
    let later = bench.run(&["sql", "-c", "select count(*) from later"]).failed_with(8);
    assert!(later.stderr.contains("later"), "{}", later.stderr);
    the_open_transaction_commits(&bench);
    nobody_noticed(&bench);
    let up = bench.run(&["up"]).succeeded();
    assert!(up.stderr.contains("nothing changed"), "{}", up.stderr);

    goes_through_with_a_restore_that_was_killed(&bench);
    refuses_a_damaged_snapshot_before_it_touches_anything(&bench);
    comes_back_when_the_lab_is_gone_and_lab_yaml_is_another(&bench);
    comes_back_by_booting_from_disks_only(&bench);
    brings_back_a_lab_with_a_node_down(&bench);

    bench.run(&["snapshot", "delete", "first", "--yes"]).succeeded();
    let destroyed = bench.run(&["destroy", "--yes"]).succeeded();
    assert!(destroyed.stderr.contains("snapshots are kept"), "{}", destroyed.stderr);
    assert_no_leftovers(&bench.lab_directory("snap"));
}

#[test]
fn a_rebuild_restores_what_was_built_from_the_same_inputs() {
    let bench = Bench::new(LAB, Source::None);
    let small = Small::mounted(bench.home().join("snapshots"));
    let why = bench.run(&["rebuild", "--why"]).succeeded();
    assert!(why.stdout.contains("no pristine snapshot yet"), "{}", why.stdout);
    bench.run(&["rebuild", "--yes"]).succeeded();
    sql(&bench, "select pgxc_lab.create_distributed_table('mine', 'k int', 'k')");
    let warm = bench.run(&["rebuild", "--yes", "-v"]).succeeded();
    assert!(warm.stderr.contains("is restored to `pristine-"), "{}", warm.stderr);
    bench.run(&["sql", "-c", "select count(*) from mine"]).failed_with(8);
    let up = bench.run(&["up"]).succeeded();
    assert!(up.stderr.contains("nothing changed"), "{}", up.stderr);

    survives_a_full_disk(&bench, &small);

    bench.write_lab(&format!("{LAB}guest: {{timezone: Europe/Berlin}}\n"));
    let why = bench.run(&["rebuild", "--why"]).succeeded();
    assert!(why.stdout.contains("lab.yaml guest: ") && !why.stdout.contains("lab.yaml nodes"), "{}", why.stdout);
    bench.write_lab(LAB);
    let cold = bench.run(&["rebuild", "--cold", "--yes", "-v"]).succeeded();
    assert!(cold.stderr.contains("proved: 6000 rows"), "{}", cold.stderr);
    bench.run(&["destroy", "--yes"]).succeeded();
    assert_no_leftovers(&bench.lab_directory("snap"));
}

/// A filesystem for snapshots with little room. The lab sees it, since it was mounted before the lab was made.
struct Small(PathBuf);

impl Small {
    fn mounted(directory: PathBuf) -> Small {
        fs::create_dir_all(&directory).expect("a directory");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4g", "small"]).arg(&directory).status();
        assert!(done.expect("mount runs").success());
        Small(directory)
    }

    /// Takes all the room that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let _ = Command::new("dd").arg("if=/dev/zero").arg(format!("of={}", path.display())).args(["bs=1M"]).output();
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: when the test fails, the lab in whose namespace it is mounted too is destroyed only after this.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn survives_a_full_disk(bench: &Bench, small: &Small) {
    let output = bench.path("full");
    let mut create = bench.start(&["snapshot", "create", "full", "-v"], &output);
    // After the check for room, before the memory is written.
    until("memory is being written", Duration::from_secs(60), || {
        fs::read_to_string(&output).unwrap_or_default().contains("db1: write memory")
    });
    // It stands still meanwhile, so that the disk is full for certain before the rest is written.
    let process = i32::try_from(create.id()).expect("a process id");
    signal("STOP", process);
    let filler = small.fill();
    signal("CONT", process);
    let status = create.wait().expect("it ends");
    let said = fs::read_to_string(&output).unwrap_or_default();
    assert_eq!(status.code(), Some(4), "{said}");
    assert!(said.contains("space left on device") || said.contains("could not be written"), "{said}");
    let refused = bench.run(&["snapshot", "create", "full"]).failed_with(4);
    assert!(refused.stderr.contains("free below"), "it says how much room there is: {}", refused.stderr);
    fs::remove_file(filler).expect("it is there");
    let listed = bench.run(&["snapshot", "list", "--json"]).succeeded().json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "only the pristine one: {listed}");
    until("all guests go on and serve", Duration::from_secs(30), || bench.run(&["status"]).code == Some(0));
}

/// Lines of the journal: 1 begin, 2-3 survey, 4-11 the memory of three guests and the exports, 12 stand still, 13 pause,
/// 14 copy (all stand still), 15 resume (still), 16 stood still, 17-18 hash, 19 end.
fn survives_kill_9_while_it_is_taken(bench: &Bench) {
    for line in [2, 6, 12, 13, 14, 15, 17] {
        let killed = bench.run_dying_after(line, &["snapshot", "create", "killed"]);
        assert_eq!(killed.code, None, "it was to die after line {line}: {}", killed.stderr);
        let listed = bench.run(&["snapshot", "list", "--json"]).succeeded().json();
        assert_eq!(listed.as_array().map(Vec::len), Some(0), "after line {line}: {listed}");
        until("all guests go on and serve", Duration::from_secs(30), || bench.run(&["status"]).code == Some(0));
    }
}

fn survives_a_guest_that_does_not_listen(bench: &Bench) {
    let stopped = hypervisor_of(bench, "db3");
    signal("STOP", stopped);
    let refused = bench.run(&["snapshot", "create", "deaf"]);
    signal("CONT", stopped);
    assert_eq!(refused.code, Some(6), "{}", refused.stderr);
    assert!(refused.stderr.contains("`db3`") && refused.stderr.contains("does not listen"), "{}", refused.stderr);
    until("all guests go on and serve", Duration::from_secs(60), || bench.run(&["status"]).code == Some(0));
}

fn survives_a_guest_that_dies_while_it_is_taken(bench: &Bench) {
    let output = bench.path("create");
    let mut create = bench.start(&["snapshot", "create", "dying", "-v"], &output);
    until("memory is being written", Duration::from_secs(60), || {
        fs::read_to_string(&output).unwrap_or_default().contains("db1: write memory")
    });
    signal("KILL", hypervisor_of(bench, "db3"));
    assert!(!create.wait().expect("it ends").success(), "{}", fs::read_to_string(&output).unwrap_or_default());
    let listed = bench.run(&["snapshot", "list", "--json"]).succeeded().json();
    assert_eq!(listed.as_array().map(Vec::len), Some(0), "{listed}");
    bench.run(&["up"]).succeeded();
    the_hundred_rows_are_there(bench);
}

fn leaves_a_transaction_open_in_a_guest(bench: &Bench) {
    sql(bench, "select pgxc_lab.create_distributed_table('open', 'k int', 'k')");
    let script = "cat > /tmp/open.sql <<'SQL'\n\
                  begin; insert into open select generate_series(1, 10); select pg_sleep(20);\n\
                  insert into open select generate_series(11, 20); commit;\n\
                  SQL\n\
                  chmod 644 /tmp/open.sql\n\
                  setsid su - pgxc -c 'psql -v ON_ERROR_STOP=1 -f /tmp/open.sql' >/tmp/open.out 2>&1 </dev/null &\n";
    bench.run(&["ssh", "db2", "--", script]).succeeded();
    until("the transaction is open", Duration::from_secs(20), || {
        let waiting =
            "select count(*) from pg_stat_activity where query like '%pg_sleep(20)%' and wait_event = 'PgSleep'";
        value(bench, "db2", waiting) == "1"
    });
}

fn the_open_transaction_commits(bench: &Bench) {
    until("the open transaction ended", Duration::from_secs(60), || {
        let seen = bench.run(&["ssh", "db2", "--", "cat /tmp/open.out"]).succeeded().stdout;
        assert!(!seen.contains("ERROR"), "{seen}");
        seen.contains("COMMIT")
    });
    assert_eq!(value(bench, "db3", "select count(*) from open"), "20");
}

fn the_hundred_rows_are_there(bench: &Bench) {
    for coordinator in ["db2", "db3"] {
        let seen = value(bench, coordinator, "select count(*) || ' ' || sum(k) from kept");
        assert_eq!(seen, "100 5050", "through {coordinator}");
    }
}

/// No stale file handle in any guest, no panic of any server, clocks that are right.
fn nobody_noticed(bench: &Bench) {
    let script = "{ dmesg; journalctl -q --no-pager 2>/dev/null; cat /data02/*/log/* /data02/*/pg_log/* 2>/dev/null; } \
                  | grep -ciE 'stale file|ESTALE|PANIC' || true";
    let seen = bench.run(&["exec", "--on", "all", "--", script]).succeeded();
    assert_eq!(seen.stdout, "db1: 0\ndb2: 0\ndb3: 0\n");
    // Sockets on the exports are still what they were, also for a server that never saw them made.
    let script = "su - pgxc -c 'psql -h /data02/pgxc_coordinate -Atc \"select 1\"' && ls -la /data02/*/ >/dev/null && echo listed";
    let seen = bench.run(&["exec", "--on", "coordinator", "--", script]).succeeded();
    assert_eq!(seen.stdout, "db2: 1\ndb2: listed\ndb3: 1\ndb3: listed\n");
    let here = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let clocks = bench.run(&["exec", "--on", "all", "--", "date +%s"]).succeeded();
    for line in clocks.stdout.lines() {
        let there: u64 = line.rsplit(' ').next().and_then(|text| text.parse().ok()).expect("a time");
        assert!(there.abs_diff(here) < 20, "{line}, the host at {here}");
    }
}

fn goes_through_with_a_restore_that_was_killed(bench: &Bench) {
    for line in [1, 4, 12, 18] {
        let killed = bench.run_dying_after(line, &["restore", "first", "--yes"]);
        assert_eq!(killed.code, None, "it was to die after line {line}: {}", killed.stderr);
        let up = bench.run(&["up"]).failed_with(4);
        assert!(up.stderr.contains("a restore of `first` did not end"), "{}", up.stderr);
    }
    bench.run(&["restore", "first", "--yes"]).succeeded();
    the_hundred_rows_are_there(bench);
}

fn refuses_a_damaged_snapshot_before_it_touches_anything(bench: &Bench) {
    sql(bench, "create table untouched (k int)");
    let file = bench.home().join("snapshots/snap/first/memory/db2");
    let whole = fs::read(&file).expect("the memory of db2");
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&file, &damaged).expect("it can be written");
    let refused = bench.run(&["restore", "first", "--yes"]);
    assert!(refused.code != Some(0) && refused.stderr.contains("memory/db2"), "{}", refused.stderr);
    assert_ne!(bench.run(&["snapshot", "verify", "first"]).code, Some(0));
    assert_eq!(value(bench, "db2", "select count(*) from untouched"), "0");
    fs::write(&file, &whole).expect("it can be written");
    bench.run(&["snapshot", "verify", "first"]).succeeded();
}

fn comes_back_when_the_lab_is_gone_and_lab_yaml_is_another(bench: &Bench) {
    bench.run(&["destroy", "--yes"]).succeeded();
    assert_no_leftovers(&bench.lab_directory("snap"));
    bench.write_lab(&LAB.replace("512MiB", "640MiB"));
    let restored = bench.run(&["restore", "first", "--yes"]).succeeded();
    assert!(
        restored.stderr.contains("has changed since") && restored.stderr.contains("+vm: {memory: 640MiB}"),
        "{}",
        restored.stderr
    );
    the_hundred_rows_are_there(bench);
    bench.write_lab(LAB);
    let up = bench.run(&["up"]).succeeded();
    assert!(up.stderr.contains("nothing changed"), "{}", up.stderr);
}

fn comes_back_by_booting_from_disks_only(bench: &Bench) {
    bench.run(&["snapshot", "create", "disks", "--disk-only"]).succeeded();
    sql(bench, "delete from kept");
    bench.run(&["restore", "disks", "--yes"]).succeeded();
    the_hundred_rows_are_there(bench);
}

fn brings_back_a_lab_with_a_node_down(bench: &Bench) {
    signal("KILL", hypervisor_of(bench, "db1"));
    until("libvirt sees that db1 is off", Duration::from_secs(20), || {
        bench.run(&["status", "--json"]).json()["nodes"][0]["domain"] == "off"
    });
    bench.run(&["snapshot", "create", "lame"]).succeeded();
    let restored = bench.run(&["restore", "lame", "--yes"]).succeeded();
    assert!(restored.stderr.contains("no guest runs on db1"), "{}", restored.stderr);
    the_hundred_rows_are_there(bench);
    bench.run(&["up"]).succeeded();
    bench.run(&["status"]).succeeded();
}

fn sql(bench: &Bench, statement: &str) {
    bench.run(&["sql", "-c", statement]).succeeded();
}

fn value(bench: &Bench, node: &str, query: &str) -> String {
    let rows = bench.run(&["sql", "--json", "--on", node, "-c", query]).succeeded().json();
    rows[0]["rows"][0][0].as_str().unwrap_or_default().to_owned()
}

/// The process that runs a guest of this test.
fn hypervisor_of(bench: &Bench, node: &str) -> i32 {
    let disk = bench.lab_directory("snap").join("disks").join(format!("{node}.qcow2"));
    let processes = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    let found = processes.filter(|path| {
        let command = fs::read(path.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&disk.display().to_string())
    });
    let found: Vec<PathBuf> = found.collect();
    assert_eq!(found.len(), 1, "one hypervisor with {}", disk.display());
    found[0].file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()).expect("a process id")
}

fn signal(name: &str, process: i32) {
    let status = Command::new("kill").args([format!("-{name}"), process.to_string()]).status();
    assert!(status.expect("kill runs").success());
}
