//! Source packages from places: whole, cut, resumed, changed, wrong, unreachable, cached, damaged.

use super::server::{Server, answer, file, rest};
use pgxc_lab::{
    digest,
    error::{Class, Error},
    event::{Event, Events},
    source::{Found, Request, Source, obtain},
};
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;

/// A file of chunks: its size is not told.
fn chunked(body: &[u8]) -> Vec<u8> {
    let mut chunks = Vec::new();
    for part in body.chunks(10_000) {
        chunks.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        chunks.extend_from_slice(part);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    answer("200 OK", "transfer-encoding: chunked\r\netag: \"c\"\r\n", &chunks)
}

/// Bytes that look like a gzip file, other ones for each seed.
fn package(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    [0x1f, 0x8b, 8, 0].into_iter().chain(noise).take(length).collect()
}

/// What a request has besides its places.
#[derive(Default)]
struct With<'a> {
    override_path: Option<PathBuf>,
    pinned: Option<&'a str>,
    offline: bool,
}

const OFFLINE: With<'_> = With { override_path: None, pinned: None, offline: true };

fn pinned(digest: &str) -> With<'_> {
    With { pinned: Some(digest), ..With::default() }
}

/// A home of its own for each test.
struct Home {
    directory: TempDir,
    events: Events,
    receiver: UnboundedReceiver<Event>,
}

impl Home {
    fn new() -> Home {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (events, receiver) = Events::channel();
        Home { directory, events, receiver }
    }

    fn cache(&self) -> PathBuf {
        self.directory.path().join("cache/sources")
    }

    async fn obtain_with(&self, places: &[&str], with: With<'_>) -> Result<Found, Error> {
        let places: Vec<String> = places.iter().map(|place| place.to_string()).collect();
        let With { override_path, pinned, offline } = with;
        let (base, cache) = (self.directory.path(), &self.cache());
        let request = Request { override_path, variable: "PGXC_SOURCE", places: &places, base, cache, pinned, offline };
        let search = obtain(&request, &self.events, "build/source");
        tokio::time::timeout(Duration::from_secs(60), search).await.expect("it ends")
    }

    async fn obtain(&self, places: &[&str]) -> Found {
        self.obtain_with(places, With::default()).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Obtains from one place that must give exactly `body`.
    async fn obtains(&self, place: &str, body: &[u8]) -> Source {
        let found = self.obtain(&[place]).await;
        let source = found.source.unwrap_or_else(|| panic!("{:?}", found.passed_over));
        assert_eq!(source.place, place);
        assert_eq!(fs::read(&source.path).expect("it is there"), body);
        assert_eq!(source.digest, digest::of_file(&source.path).expect("it is there"));
        source
    }

    /// Why the only place was passed over.
    async fn passes_over(&self, place: &str) -> String {
        let found = self.obtain(&[place]).await;
        assert_eq!(found.source, None);
        let [(passed, why)] = found.passed_over.try_into().expect("one place");
        assert_eq!(passed, place);
        assert!(!why.contains('\n') && !why.contains(place), "not one sentence: {why}");
        why
    }

    /// Names in the cache that end so.
    fn names(&self, end: &str) -> Vec<String> {
        let entries = fs::read_dir(self.cache()).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(end))
            .collect()
    }

    fn parts(&self) -> usize {
        self.names(".part").len() + self.names(".part.json").len()
    }
}

#[tokio::test]
async fn a_whole_download_with_progress() {
    let body = package(1, 700_000);
    let server = Server::start(vec![file("a", &body, body.len())]);
    let mut home = Home::new();
    let source = home.obtains(&server.url("dir/pgxc-v1.0.2.tar.gz"), &body).await;
    let name = source.path.file_name().expect("a name").to_string_lossy().into_owned();
    assert_eq!(name, format!("{}-pgxc-v1.0.2.tar.gz", &source.digest[..16]));
    assert_eq!(home.parts(), 0);
    let requests = server.requests();
    assert!(!requests[0].contains("range:") && requests[0].contains("accept-encoding: identity"), "{}", requests[0]);
    let mut moved = Vec::new();
    while let Ok(event) = home.receiver.try_recv() {
        if let Event::Bytes { step, done, total } = event {
            assert_eq!((step.as_str(), total), ("build/source", Some(700_000)));
            moved.push(done);
        }
    }
    assert_eq!((moved.first(), moved.last()), (Some(&0), Some(&700_000)));
    assert!(moved.len() >= 3 && moved.is_sorted(), "{moved:?}");
}

#[tokio::test]
async fn a_cut_download_goes_on_where_it_was_cut() {
    let body = package(2, 90_000);
    let server = Server::start(vec![file("a", &body, 40_000), rest("a", &body, 40_000)]);
    let home = Home::new();
    home.obtains(&server.url("x.tar.gz"), &body).await;
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[1].contains("\r\nrange: bytes=40000-\r\n"), "{}", requests[1]);
    assert!(requests[1].contains("\r\nif-range: \"a\"\r\n"), "{}", requests[1]);
}

#[tokio::test]
async fn the_next_run_goes_on_too() {
    let body = package(3, 90_000);
    // One answer that is cut and three that are no answer: the first run gives up.
    let server = Server::start(vec![file("a", &body, 50_000), vec![], vec![], vec![], rest("a", &body, 50_000)]);
    let home = Home::new();
    let url = server.url("x.tar.gz");
    let why = home.passes_over(&url).await;
    assert!(why.contains("the next run goes on with them"), "{why}");
    assert_eq!((home.parts(), home.names(".tar.gz").len()), (2, 0));
    home.obtains(&url, &body).await;
    let requests = server.requests();
    assert_eq!(requests.len(), 5);
    assert!(requests[4].contains("\r\nrange: bytes=50000-\r\n"), "{}", requests[4]);
    assert_eq!(home.parts(), 0);
}

#[tokio::test]
async fn a_server_without_ranges_sends_all_again() {
    let body = package(4, 90_000);
    let server = Server::start(vec![file("a", &body, 40_000), file("a", &body, body.len())]);
    Home::new().obtains(&server.url("x.tar.gz"), &body).await;
    assert!(server.requests()[1].contains("range: bytes=40000-"));
}

#[tokio::test]
async fn a_file_that_changed_in_between_is_taken_whole() {
    let (old, new) = (package(5, 90_000), package(6, 80_000));
    let server = Server::start(vec![file("old", &old, 40_000), file("new", &new, new.len())]);
    Home::new().obtains(&server.url("x.tar.gz"), &new).await;
    assert!(server.requests()[1].contains("if-range: \"old\""));
}

#[tokio::test]
async fn the_rest_of_another_file_is_not_appended() {
    let (old, new) = (package(7, 90_000), package(8, 90_000));
    // A server that ignores If-Range, as some do.
    let server =
        Server::start(vec![file("old", &old, 40_000), rest("new", &new, 40_000), file("new", &new, new.len())]);
    Home::new().obtains(&server.url("x.tar.gz"), &new).await;
    let requests = server.requests();
    assert!(requests[1].contains("range:") && !requests[2].contains("range:"), "{requests:?}");
}

#[tokio::test]
async fn without_a_strong_validator_it_begins_again() {
    let body = package(9, 90_000);
    let weak = |sent: usize| {
        let headers = format!("content-length: {}\r\netag: W/\"a\"\r\n", body.len());
        answer("200 OK", &headers, &body[..sent])
    };
    let server = Server::start(vec![weak(40_000), weak(body.len())]);
    Home::new().obtains(&server.url("x.tar.gz"), &body).await;
    assert!(!server.requests()[1].contains("range:"));
}

#[tokio::test]
async fn range_not_satisfiable_ends_or_restarts() {
    let body = package(10, 60_000);
    // All chunks but not the end: only the server can say that nothing is missing.
    let all = chunked(&body);
    let cut = all[..all.len() - 5].to_vec();
    for (size, requests) in [(60_000, 2), (50_000, 3)] {
        let unsatisfiable = answer("416 Range Not Satisfiable", &format!("content-range: bytes */{size}\r\n"), b"");
        let server = Server::start(vec![cut.clone(), unsatisfiable, chunked(&body)]);
        Home::new().obtains(&server.url("x.tar.gz"), &body).await;
        assert_eq!(server.requests().len(), requests, "{size}");
        assert!(server.requests()[1].contains("range: bytes=60000-"));
    }
}

#[tokio::test]
async fn a_server_in_trouble_is_asked_again() {
    let body = package(11, 20_000);
    let busy = answer("503 Service Unavailable", "content-length: 0\r\n", b"");
    let server = Server::start(vec![busy.clone(), busy, file("a", &body, body.len())]);
    Home::new().obtains(&server.url("x.tar.gz"), &body).await;
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn redirections_are_followed_and_give_the_name() {
    let body = package(12, 20_000);
    let to = |path: &str| answer("302 Found", &format!("location: {path}\r\ncontent-length: 0\r\n"), b"");
    let server = Server::start(vec![to("/mirror/pgxc-v1.0.2.tar.gz"), file("a", &body, body.len())]);
    let home = Home::new();
    let source = home.obtains(&server.url("files/latest/download"), &body).await;
    assert!(source.path.to_string_lossy().ends_with("-pgxc-v1.0.2.tar.gz"), "{source:?}");
}

#[tokio::test]
async fn a_wrong_digest_is_refused_and_replaces_nothing() {
    let (recorded, other) = (package(13, 20_000), package(14, 20_000));
    let server = Server::start(vec![file("a", &recorded, 20_000), file("b", &other, 20_000)]);
    let home = Home::new();
    let url = server.url("x.tar.gz");
    let first = home.obtains(&url, &recorded).await;
    let index = fs::read_to_string(home.cache().join("places.json")).expect("an index");
    fs::remove_file(&first.path).expect("it is there");
    let error = home.obtain_with(&[&url], pinned(&first.digest)).await.expect_err("refused");
    assert_eq!(error.class(), Class::Image);
    let [kept] = home.names(".tar.gz").try_into().expect("one file");
    let kept = home.cache().join(kept);
    let new = digest::of_file(&kept).expect("it stays");
    let said = error.to_string();
    for part in [&url, &first.digest, &new, &kept.display().to_string(), "lab.lock", "PGXC_SOURCE"] {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
    assert_eq!(fs::read_to_string(home.cache().join("places.json")).expect("an index"), index);

    // The same for a file of this host, which nobody touches.
    fs::write(home.directory.path().join("mine.tar.gz"), &other).expect("it can be written");
    let error = home.obtain_with(&["mine.tar.gz", &url], pinned("0123")).await.expect_err("refused");
    assert!(error.to_string().contains(&new), "{error}");
    assert_eq!(fs::read(home.directory.path().join("mine.tar.gz")).expect("it stays"), other);
}

#[tokio::test]
async fn a_web_page_is_no_package() {
    let page = b"<!DOCTYPE html><html><title>Choose a mirror</title></html>";
    let server = Server::start(vec![file("a", page, page.len()), file("a", page, page.len())]);
    let home = Home::new();
    for tries in 1..=2 {
        let why = home.passes_over(&server.url("x.tar.gz")).await;
        assert!(why.contains("not a source package") && why.contains("web page"), "{why}");
        // It is not kept, or the next run would find it whole and never ask again.
        assert_eq!((home.parts(), home.names(".gz").len(), server.requests().len()), (0, 0, tries));
    }
}

#[tokio::test]
async fn places_are_tried_in_order_and_the_reasons_are_told() {
    let body = package(15, 20_000);
    let server = Server::start(vec![answer("404 Not Found", "content-length: 0\r\n", b"")]);
    let unreachable = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        format!("http://{}/x.tar.gz", listener.local_addr().expect("an address"))
    };
    let home = Home::new();
    let base = home.directory.path();
    fs::create_dir(base.join("directory")).expect("it can be made");
    fs::write(base.join("note.tar.gz"), "download it yourself\n").expect("it can be written");
    fs::write(base.join("good.tar.gz"), &body).expect("it can be written");
    let gone = server.url("x.tar.gz");
    let found =
        home.obtain(&["gone.tar.gz", "directory", "note.tar.gz", &gone, &unreachable, "good.tar.gz", "later"]).await;
    let reasons: Vec<_> = found.passed_over.iter().map(|(place, why)| (place.as_str(), why.as_str())).collect();
    let expected = [
        ("gone.tar.gz", "there is no such file"),
        ("directory", "this is a directory"),
        ("note.tar.gz", "it begins with `download it yourself`"),
        (gone.as_str(), "the server answered 404 Not Found"),
        (unreachable.as_str(), "the server cannot be reached: Connection refused"),
    ];
    assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
    for ((place, why), (expected_place, part)) in reasons.into_iter().zip(expected) {
        assert!(place == expected_place && why.contains(part), "{place}: {why}");
    }
    let source = found.source.expect("the last but one");
    assert_eq!((source.path, source.place.as_str()), (base.join("good.tar.gz"), "good.tar.gz"));
    assert_eq!(server.requests().len(), 1);
    assert_eq!(home.obtain(&[]).await, Found { source: None, passed_over: vec![] });
}

#[tokio::test]
async fn a_place_that_is_none_is_an_error_before_anything_is_tried() {
    let server = Server::start(vec![]);
    let error = Home::new().obtain_with(&[&server.url("a"), "ftp://x/y"], With::default()).await.expect_err("ftp");
    assert_eq!(error.class(), Class::LabFile);
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn pgxc_source_is_taken_or_is_an_error() {
    let home = Home::new();
    let path = home.directory.path().join("mine.tar.gz");
    let fallback = home.directory.path().join("fallback.tar.gz");
    fs::write(&fallback, package(16, 1000)).expect("it can be written");
    let ask = async |path: &Path| {
        home.obtain_with(&["fallback.tar.gz"], With { override_path: Some(path.into()), ..With::default() }).await
    };
    for wrong in [path.as_path(), home.directory.path()] {
        let error = ask(wrong).await.expect_err("no package");
        assert_eq!(error.class(), Class::Image);
        assert!(
            error.message().contains("PGXC_SOURCE") && error.message().contains(&*wrong.to_string_lossy()),
            "{error}"
        );
    }
    fs::write(&path, package(17, 1000)).expect("it can be written");
    let source = ask(&path).await.expect("a package").source.expect("a package");
    assert_eq!((source.path, source.place.as_str()), (path, "PGXC_SOURCE"));
}

#[tokio::test]
async fn the_second_time_comes_from_the_cache_also_offline() {
    let body = package(18, 20_000);
    let server = Server::start(vec![file("a", &body, body.len())]);
    let home = Home::new();
    let url = server.url("x.tar.gz");
    let why = home.obtain_with(&[&url], OFFLINE).await.expect("no error").passed_over;
    assert!(why[0].1.contains("offline"), "{why:?}");
    assert_eq!(server.requests().len(), 0);
    let first = home.obtains(&url, &body).await;
    assert_eq!(home.obtains(&url, &body).await, first);
    let offline = home.obtain_with(&[&url], OFFLINE).await.expect("no error");
    assert_eq!(offline.source.as_ref(), Some(&first));
    // The digest of lab.lock is enough, though the index knows nothing of that URL.
    let found = home.obtain_with(&["http://127.0.0.1:1/other.tar.gz"], pinned(&first.digest)).await.expect("no error");
    assert_eq!(found.source.expect("it is cached").path, first.path);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_damaged_copy_is_downloaded_again() {
    let body = package(19, 20_000);
    let server = Server::start(vec![file("a", &body, body.len()), file("a", &body, body.len())]);
    let mut home = Home::new();
    let url = server.url("x.tar.gz");
    let first = home.obtains(&url, &body).await;
    fs::write(&first.path, &body[..100]).expect("it can be written");
    let offline = home.obtain_with(&[&url], OFFLINE).await.expect("no error");
    assert!(offline.passed_over[0].1.contains("damaged"), "{offline:?}");
    assert_eq!(home.obtains(&url, &body).await, first);
    assert_eq!((server.requests().len(), home.names(".gz").len()), (2, 1));
    let events = std::iter::from_fn(|| home.receiver.try_recv().ok());
    assert_eq!(events.filter(|event| matches!(event, Event::Note { text } if text.contains("damaged"))).count(), 1);
    // An index that is no JSON costs a download, no more.
    fs::write(home.cache().join("places.json"), "{").expect("it can be written");
    assert!(home.passes_over(&url).await.contains("no proper answer"));
}

#[tokio::test]
async fn two_runs_at_once_download_once() {
    let body = package(20, 20_000);
    let server = Server::start(vec![file("a", &body, body.len())]);
    let home = Home::new();
    let url = server.url("x.tar.gz");
    let (one, other) = tokio::join!(home.obtains(&url, &body), home.obtains(&url, &body));
    assert_eq!(one, other);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_download_that_cannot_fit_is_refused_before_it_begins() {
    let headers = format!("content-length: {}\r\netag: \"a\"\r\n", 1u64 << 60);
    let server = Server::start(vec![answer("200 OK", &headers, b"\x1f\x8b")]);
    let error = Home::new().obtain_with(&[&server.url("x.tar.gz")], With::default()).await.expect_err("no room");
    assert_eq!(error.class(), Class::Host);
    let hint = error.hint_text().expect("a hint");
    assert!(hint.contains("make room") && hint.contains("are free"), "{error}");
}

/// Runs [`on_a_small_disk`] with a small disk for temporary files, in a mount namespace of its own.
#[test]
fn a_full_disk_keeps_what_came() {
    let disk = tempfile::tempdir().expect("a temporary directory");
    let test = std::env::current_exe().expect("this program");
    let script = "mount -t tmpfs -o size=256k none \"$TMPDIR\" && exec \"$0\" on_a_small_disk --ignored --nocapture";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", script]).arg(&test).env("TMPDIR", disk.path());
    let output = command.output().expect("unshare, of util-linux");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "needs a small disk; a_full_disk_keeps_what_came runs it"]
async fn on_a_small_disk() {
    let body = package(21, 600_000);
    let server = Server::start(vec![chunked(&body), rest("c", &body, 0)]);
    let home = Home::new();
    let error = home.obtain_with(&[&server.url("x.tar.gz")], With::default()).await.expect_err("the disk is full");
    println!("{error}");
    assert_eq!(error.class(), Class::Host);
    assert!(error.hint_text().is_some_and(|hint| hint.contains("make room")), "{error}");
    let [part] = home.names(".part").try_into().expect("it stays");
    let kept = fs::read(home.cache().join(part)).expect("it stays");
    assert!(kept.len() > 100_000 && body.starts_with(&kept), "{}", kept.len());
    // A full disk is not the server's fault: it is not asked again and again.
    assert_eq!(server.requests().len(), 1);
}
