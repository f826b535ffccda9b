//! What many nights tell: history and report through the command line, and the report in a real browser.

use jiff::{Timestamp, ToSpan};
use pgxc_lab::{
    error::Class,
    host::Home,
    nightly::{History, Outcome, RunRecord, RunSpan, trend},
    ui::Ending,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// How long the browser may take: a cold start on two busy cores.
const BROWSER: Duration = Duration::from_secs(60);

fn pgxc_lab(home: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pgxc-lab"))
        .arg("--home")
        .arg(home)
        .args(arguments)
        .env_remove("PGXC_LAB_FILE")
        .env_remove("PGXC_SOURCE")
        .env_remove("FLEX_SOURCE")
        .output()
        .expect("the binary of this crate runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Milliseconds of noise: the same for the same numbers.
fn noise(night: u64, step: u64, most: u64) -> u64 {
    let mixed = (night * 2_654_435_761 + step * 40_503).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) % most.max(1)
}

/// Steps of a night of the document's eight nodes; two emulated guests boot at a time.
fn spans(night: u64, way: &str, slower: u64) -> (Vec<String>, Vec<RunSpan>) {
    let nodes: Vec<String> = (171..179).map(|number| format!("db-192-168-122-{number}")).collect();
    let mut spans = Vec::new();
    let mut add = |node: Option<&String>, rest: &str, start: u64, took: u64, ending: Ending| {
        let step = node.map_or(rest.to_owned(), |node| format!("{node}/{rest}"));
        let phase = rest.split('/').next().unwrap_or(rest).to_owned();
        spans.push(RunSpan { step, node: node.cloned(), phase, start_ms: start, end_ms: start + took, ending });
        start + took
    };
    let scale = |base: u64, step: u64| base + noise(night, step, base / 8 + 1);
    if way == "restored" {
        let read = add(None, "verify", 0, scale(1800, 1), Ending::Changed);
        let ready = add(None, "namespaces", read, scale(900, 2), Ending::Changed);
        for (number, node) in nodes.iter().enumerate() {
            let memory = add(Some(node), "memory", ready, scale(4200, 10 + number as u64) + slower, Ending::Changed);
            add(Some(node), "resume", memory, scale(400, 30 + number as u64), Ending::Changed);
        }
        let last = spans_end(&spans);
        let step = |spans: &mut Vec<RunSpan>, step: &str, start: u64, took: u64| {
            let phase = step.to_owned();
            let (step, end_ms) = (step.to_owned(), start + took);
            spans.push(RunSpan { step, node: None, phase, start_ms: start, end_ms, ending: Ending::Changed });
            end_ms
        };
        let clocks = step(&mut spans, "clocks", last, scale(700, 50));
        step(&mut spans, "proof", clocks, scale(1500, 51));
        return (nodes, spans);
    }
    add(None, "image", 0, 120, Ending::Unchanged);
    add(None, "build", 120, 90, Ending::Unchanged);
    let ready = ["namespaces", "libvirt", "network", "exports", "nfs", "time"]
        .iter()
        .enumerate()
        .fold(0, |start, (number, step)| add(None, step, start, scale(500, number as u64), Ending::Changed));
    let mut free = [ready, ready];
    for (number, node) in nodes.iter().enumerate() {
        let number = number as u64;
        let token = usize::from(free[1] < free[0]);
        let initialised = add(Some(node), "initialise", free[token], scale(3000, number), Ending::Changed);
        let booted = add(Some(node), "boot", initialised, scale(14_000, number) + slower, Ending::Changed);
        let tuned = add(Some(node), "tune", booted, scale(2200, number), Ending::Changed);
        free[token] = add(Some(node), "serve", tuned, scale(5200, number), Ending::Changed);
    }
    let mut at = free[0].max(free[1]);
    for node in &nodes[2..] {
        at = add(Some(node), "register", at, scale(900, 9), Ending::Changed);
    }
    add(None, "proof", at, scale(3100, 10), Ending::Changed);
    (nodes, spans)
}

fn spans_end(spans: &[RunSpan]) -> u64 {
    spans.iter().map(|span| span.end_ms).max().unwrap_or_default()
}

/// Nights of three weeks: mostly restored, cold on Sundays, some failures, and one that grew; then the last one.
fn nights(home: &Path, last: Last) -> History {
    let history = History::new(&Home::new(home), "pgxc");
    let start: Timestamp = "2025-06-22T02:30:00Z".parse().expect("a time");
    let count = 24;
    for night in 0..count {
        let begin = start + (24 * night as i64).hours();
        let way = if night % 7 == 0 || night + 1 == count { "built" } else { "restored" };
        let slower = if night == 17 { 6_000 } else { 0 };
        let mut record = history.begin(begin).expect("it begins");
        (record.nodes, record.spans) = spans(night, way, slower);
        record.took_ms = spans_end(&record.spans) + 300;
        record.end = Some(begin + Duration::from_millis(record.took_ms));
        record.how = Some(if way == "built" { "built".into() } else { "restored pristine-3f9a1c22".into() });
        record.outcome = Outcome::Succeeded;
        record.exit_code = Some(0);
        record.proof = Some("proved: 1000 rows through coordinate_1, datanode_1 167, datanode_2 165, datanode_3 171, datanode_4 164, datanode_5 168, datanode_6 165; 1000 through coordinate_6".into());
        record.cache_hits = vec!["image: debian-12-5d1f is made".into(), "build: the engine is built".into()];
        for (name, version) in [("pgxc-lab", "0.1.0"), ("libvirt", "11.3.0"), ("qemu", "10.0.2")] {
            record.versions.insert(name.into(), version.into());
        }
        let failure = match night {
            5 | 11 => Some((Class::Guest, "db-192-168-122-174/resume", "the guest does not answer on port 22")),
            12 => Some((Class::Host, "", "the guests of lab `pgxc` want 4096 MiB of memory, 3120 MiB are available")),
            _ if night + 1 == count && last == Last::Failed => {
                Some((Class::Guest, "db-192-168-122-176/boot", "the guest does not answer on port 22"))
            }
            _ => None,
        };
        if let Some((class, step, message)) = failure {
            fail(&mut record, class, step, message);
            let bundle = history.run(&record.id).join("bundle.tar.zst");
            fs::write(bundle, "evidence").expect("a file");
        }
        record.slow = trend::slow(&record, &history.list().0);
        history.write(&record).expect("it is written");
    }
    history
}

/// How the last of the nights went.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    Good,
    Failed,
}

fn fail(record: &mut RunRecord, class: Class, step: &str, message: &str) {
    record.how = None;
    record.proof = None;
    record.exit_code = Some(class.exit_code());
    record.bundle = Some("bundle.tar.zst".into());
    record.outcome = Outcome::Failed {
        class,
        message: message.into(),
        causes: vec!["waiting for port 22: connection refused\n[    4.211904] EXT4-fs error (device vda): ext4_find_entry:1463: inode #2: comm systemd: reading directory lblock 0".into()],
        hint: Some("`pgxc-lab logs` shows the console; the evidence has it too".into()),
        step: Some(step.to_owned()).filter(|step| !step.is_empty()),
        node: step.split_once('/').map(|(node, _)| node.to_owned()),
    };
    let begun = record.spans.iter().find(|span| span.step == step).map_or(0, |span| span.start_ms);
    let (end, node) = (begun + 40_000, step.split('/').next());
    // Others went on until the failing step gave up; its own node did not.
    record.spans.retain(|span| {
        span.step == step
            || span.end_ms <= begun
            || span.end_ms <= end && span.node.is_some() && span.node.as_deref() != node
    });
    record.spans.retain(|_| !step.is_empty());
    for span in record.spans.iter_mut().filter(|span| span.step == step) {
        (span.end_ms, span.ending) = (end, Ending::Failed);
    }
    record.took_ms = end;
}

#[test]
fn history_lists_runs() {
    let home = tempfile::tempdir().expect("a directory");
    nights(home.path(), Last::Failed);
    let all = pgxc_lab(home.path(), &["--lab", "pgxc", "nightly", "history"]);
    assert!(all.status.success() && all.stderr.is_empty(), "{}", text(&all.stderr));
    let lines: Vec<String> = text(&all.stdout).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 25);
    assert!(lines[0].starts_with("RUN               RESULT"), "{}", lines[0]);
    assert!(
        lines[6].contains("failed (guest)") && lines[6].contains("db-192-168-122-174/resume: the guest"),
        "{}",
        lines[6]
    );
    assert!(lines[18].contains("slow") && lines[18].contains("phase memory grew most"), "{}", lines[18]);
    assert_eq!(lines.iter().filter(|line| line.contains("slow")).count(), 1, "noise is not flagged: {lines:#?}");

    let since =
        pgxc_lab(home.path(), &["--lab", "pgxc", "--json", "nightly", "history", "--since", "2025-07-10T00:00:00Z"]);
    let records: Vec<RunRecord> = serde_json::from_slice(&since.stdout).expect("JSON");
    assert_eq!(records.len(), 6);
    assert_eq!(records[0].id, "20250710T023000Z");

    let wrong = pgxc_lab(home.path(), &["--lab", "pgxc", "nightly", "history", "--since", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("hint: write one such as"), "{}", text(&wrong.stderr));
    let none = pgxc_lab(home.path(), &["--lab", "other", "nightly", "history"]);
    assert!(none.status.success() && none.stdout.is_empty() && text(&none.stderr).contains("no such run"));
}

#[test]
fn a_report_stands_beside_the_runs_or_where_it_is_wanted() {
    let home = tempfile::tempdir().expect("a directory");
    let history = nights(home.path(), Last::Failed);
    let report = pgxc_lab(home.path(), &["--lab", "pgxc", "nightly", "report"]);
    assert!(report.status.success(), "{}", text(&report.stderr));
    let path = history.path().join("report.html");
    assert_eq!(text(&report.stdout), format!("{}\n", path.display()));
    let page = fs::read_to_string(&path).expect("it is there");
    assert!(page.contains("href=\"20250703T023000Z/bundle.tar.zst\""));
    let out = home.path().join("www/lab.html");
    let report = pgxc_lab(
        home.path(),
        &["--lab", "pgxc", "nightly", "report", "--since", "2025-07-10", "--out", out.to_str().expect("UTF-8")],
    );
    assert!(report.status.success(), "{}", text(&report.stderr));
    let page = fs::read_to_string(&out).expect("it is there");
    assert!(page.contains("href=\"../nightly/pgxc/20250715T023000Z/bundle.tar.zst\""));
    assert!(!page.contains("20250703T023000Z"));
}

/// A night that fails before anything is touched, from the lock to the exit code.
#[test]
fn a_night_that_cannot_be_leaves_a_record() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("lab.yaml");
    let told = home.path().join("told.json");
    let lab = format!(
        "name: small\nfit: refuse\nvm: {{memory: 100TiB}}\nnotify: {{command: \"cat > '{}'\"}}\ncluster: {{password: hunter22}}\n\
         nodes:\n  - {{name: a, address: 192.168.122.2, roles: [gtm]}}\n  - {{name: b, address: 192.168.122.3, roles: [gtm_proxy, datanode, coordinator]}}\n",
        told.display()
    );
    fs::write(&file, lab).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let night = pgxc_lab(home.path(), &["--file", file, "nightly", "run"]);
    assert_eq!(night.status.code(), Some(4), "{}", text(&night.stderr));
    let history = History::new(&Home::new(home.path()), "small");
    let (records, _) = history.list();
    assert_eq!(records.len(), 1);
    assert!(matches!(&records[0].outcome, Outcome::Failed { class: Class::Host, .. }), "{:?}", records[0]);
    let bundle = history.run(&records[0].id).join(records[0].bundle.as_ref().expect("evidence"));
    let listed = Command::new("tar").args(["--zstd", "-xOf"]).arg(&bundle).arg("lab.yaml").output().expect("tar runs");
    assert!(text(&listed.stdout).contains("fit: refuse"), "{}", text(&listed.stderr));
    assert!(!text(&listed.stdout).contains("hunter22"));
    let told: RunRecord = serde_json::from_slice(&fs::read(told).expect("it was told")).expect("JSON");
    assert_eq!(told.id, records[0].id);

    fs::write(file, "name: small\nnodes: []\n").expect("a file");
    let night = pgxc_lab(home.path(), &["--file", file, "nightly", "run"]);
    assert_eq!(night.status.code(), Some(3), "{}", text(&night.stderr));
    assert_eq!(history.list().0.len(), 2);

    let lock = pgxc_lab::host::Lock::take(&home.path().join("nightly/small.lock"), "it", Duration::ZERO).expect("free");
    let night = pgxc_lab(home.path(), &["--file", file, "nightly", "run"]);
    assert_eq!(night.status.code(), Some(9), "{}", text(&night.stderr));
    assert_eq!(history.list().0.len(), 2, "a refused run is none");
    drop(lock);
    let night = pgxc_lab(home.path(), &["--lab", "small", "nightly", "run"]);
    assert_eq!(night.status.code(), Some(2), "{}", text(&night.stderr));
}

#[test]
fn removing_nothing_is_no_failure() {
    let home = tempfile::tempdir().expect("a directory");
    let removed = pgxc_lab(home.path(), &["--lab", "pgxc", "nightly", "remove"]);
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    assert!(text(&removed.stderr).contains("nothing of lab `pgxc` is installed"), "{}", text(&removed.stderr));
}

/// The report in headless Chromium, wide and narrow, bright and dark: nothing overflows, overlaps, is cut, is too small
/// or too pale to be read. Pictures of it are left in target/tmp/nightly.
#[test]
fn the_report_is_readable_in_a_browser() {
    for (name, last) in [("good", Last::Good), ("failed", Last::Failed)] {
        let home = tempfile::tempdir().expect("a directory");
        let history = nights(home.path(), last);
        let written = pgxc_lab(home.path(), &["--lab", "pgxc", "nightly", "report"]);
        assert!(written.status.success(), "{}", text(&written.stderr));
        let page = fs::read_to_string(history.path().join("report.html")).expect("it is there");
        for (width, theme) in [(1280, 1), (400, 1), (1280, 0), (400, 0)] {
            let measured = measure(home.path(), &page, width, theme);
            let dark = if theme == 0 { "-dark" } else { "" };
            let height = measured["height"].as_u64().expect("a height");
            picture(home.path(), &page, width, height, theme, &format!("{name}-{width}{dark}.png"));
            let what = format!("{name} at {width} px, theme {theme}: {measured:#}");
            assert_eq!(measured["client"], width, "{what}");
            assert_eq!(measured["scroll"], width, "the page scrolls sideways: {what}");
            assert_eq!(measured["wrong"], serde_json::json!([]), "{what}");
            assert!(measured["bars"].as_u64() > Some(20) && measured["critical"].as_u64() > Some(4), "{what}");
            assert!(measured["labels"].as_u64() > Some(if width == 400 { 3 } else { 10 }), "{what}");
        }
    }
}

/// What the browser makes of the page in a frame of this width: windows of headless Chromium are never narrower than
/// 500 pixels.
fn measure(home: &Path, page: &str, width: u64, theme: u64) -> serde_json::Value {
    let file = home.join("measure.html");
    let script = include_str!("nightly/measure.js");
    fs::write(&file, frame(page, width, 800, &format!("<pre id=measured></pre><script>{script}</script>")))
        .expect("a file");
    let arguments = ["--dump-dom", "--hide-scrollbars", "--virtual-time-budget=5000", "--window-size=1500,1000"];
    let dom = text(&chromium(home, theme, &arguments, &file).stdout);
    let measured = dom.split_once("id=\"measured\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let measured = measured.unwrap_or_else(|| panic!("nothing was measured: {dom}")).0;
    let measured = measured.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&measured).unwrap_or_else(|error| panic!("{error}: {measured}"))
}

fn picture(home: &Path, page: &str, width: u64, height: u64, theme: u64, name: &str) {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("nightly");
    fs::create_dir_all(&directory).expect("a directory");
    let file = home.join("picture.html");
    fs::write(&file, frame(page, width, height, "")).expect("a file");
    let picture = directory.join(name);
    let (shot, size) =
        (format!("--screenshot={}", picture.display()), format!("--window-size={},{height}", width.max(500)));
    chromium(home, theme, &[&shot, &size, "--hide-scrollbars"], &file);
    assert!(picture.exists(), "no picture {}", picture.display());
}

fn frame(page: &str, width: u64, height: u64, rest: &str) -> String {
    let page = page.replace('&', "&amp;").replace('"', "&quot;");
    format!(
        "<!DOCTYPE html><meta charset=utf-8><body style='margin:0'>\
         <iframe style='border:0;display:block;width:{width}px;height:{height}px' srcdoc=\"{page}\"></iframe>{rest}"
    )
}

/// A browser with a profile of its own, without network.
fn chromium(home: &Path, theme: u64, arguments: &[&str], file: &Path) -> Output {
    let profile = tempfile::tempdir_in(home).expect("a directory");
    let output = home.join("chromium.out");
    let mut child = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
        ])
        .arg(format!("--blink-settings=preferredColorScheme={theme}"))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .arg(format!("file://{}", file.display()))
        .stdin(Stdio::null())
        .stdout(fs::File::create(&output).expect("a file"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("chromium cannot be started ({error}): ./scripts/setup installs it"));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            break status;
        }
        if begun.elapsed() > BROWSER {
            let _ = child.kill();
            let _ = child.wait();
            panic!("chromium did not end within {BROWSER:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(status.success(), "chromium: {status}");
    Output { status, stdout: fs::read(output).expect("its output"), stderr: Vec::new() }
}
