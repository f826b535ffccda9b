//! Publishers' disks from mirrors: whole, resumed, moved, wrong, refused; every mirror that was tried is named.

use super::server::{Server, answer, file, rest};
use pgxc_lab::{
    digest,
    error::{Class, Error},
    event::Events,
    source::{Checksum, Disk, DiskRequest, Proof, find_disk, obtain_disk},
};
use std::{fs, path::PathBuf, time::Duration};
use tempfile::TempDir;

const FILE: &str = "system-12.qcow2";

/// A file with the header of a qcow2 disk of 2 GiB, and other bytes for each seed.
fn disk(seed: u8) -> Vec<u8> {
    let mut bytes = vec![seed; 90_000];
    bytes[..104].fill(0);
    bytes[..4].copy_from_slice(b"QFI\xfb");
    bytes[4..8].copy_from_slice(&3u32.to_be_bytes());
    bytes[20..24].copy_from_slice(&16u32.to_be_bytes());
    bytes[24..32].copy_from_slice(&(2u64 << 30).to_be_bytes());
    bytes[100..104].copy_from_slice(&104u32.to_be_bytes());
    bytes
}

fn sha256(bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("file");
    fs::write(&path, bytes).expect("it can be written");
    digest::of_file(&path).expect("it can be read")
}

fn pinned(bytes: &[u8]) -> Proof {
    Proof::Sha256(sha256(bytes))
}

fn listed() -> Proof {
    Proof::Checksums("SHA256SUMS".into())
}

/// The file of checksums with the disk's.
fn sums(bytes: &[u8]) -> Vec<u8> {
    let text = format!("# made today\n{}  other.qcow2\nSHA256 ({FILE}) = {}\n", "0".repeat(64), sha256(bytes));
    answer("200 OK", &format!("content-length: {}\r\n", text.len()), text.as_bytes())
}

fn missing() -> Vec<u8> {
    answer("404 Not Found", "content-length: 0\r\n", b"")
}

/// A home of its own for each test.
struct Home(TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().expect("a temporary directory"))
    }

    fn cache(&self) -> PathBuf {
        self.0.path().join("cache/disks")
    }

    async fn ask(&self, mirrors: &[String], proof: &Proof, offline: bool) -> Result<Disk, Error> {
        let (base, cache) = (self.0.path(), &self.cache());
        let request = DiskRequest { mirrors, file: FILE, proof, base, cache, offline };
        let (events, _receiver) = Events::channel();
        let search = obtain_disk(&request, &events, "image");
        tokio::time::timeout(Duration::from_secs(60), search).await.expect("it ends")
    }

    async fn obtain(&self, mirrors: &[String], proof: &Proof) -> Disk {
        self.ask(mirrors, proof, false).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Names in the cache that end so.
    fn names(&self, end: &str) -> Vec<String> {
        let entries = fs::read_dir(self.cache()).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.ends_with(end)).collect()
    }
}

#[tokio::test]
async fn checked_against_its_publisher_and_kept() {
    let body = disk(1);
    let server = Server::start(vec![sums(&body), file("a", &body, body.len()), sums(&body)]);
    let home = Home::new();
    let mirrors = [server.url("images/")];
    let found = home.obtain(&mirrors, &listed()).await;
    assert_eq!(fs::read(&found.path).expect("it is there"), body);
    assert_eq!(
        (found.digest.as_str(), found.place.as_str()),
        (&*sha256(&body), &*server.url("images/system-12.qcow2"))
    );
    assert_eq!(found.header.size.as_mib(), 2048);
    assert!(server.requests()[0].starts_with("get /images/sha256sums "), "{:?}", server.requests());
    // Once more: only the checksums are asked for.
    assert_eq!(home.obtain(&mirrors, &listed()).await, found);
    assert_eq!(server.requests().len(), 3);
    // And without the network not even those.
    assert_eq!(home.ask(&mirrors, &listed(), true).await.expect("it is in the cache"), found);
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_cut_download_goes_on() {
    let body = disk(2);
    let server = Server::start(vec![file("a", &body, 40_000), rest("a", &body, 40_000)]);
    let home = Home::new();
    let found = home.obtain(&[server.url("")], &pinned(&body)).await;
    assert_eq!(fs::read(&found.path).expect("it is there"), body);
    let requests = server.requests();
    assert!(requests[1].contains("range: bytes=40000-") && requests[1].contains("if-range: \"a\""), "{requests:?}");
}

#[tokio::test]
async fn sha512_is_what_debian_publishes() {
    let body = disk(3);
    let home = Home::new();
    let path = home.0.path().join("disk");
    fs::write(&path, &body).expect("it can be written");
    let zeros: Checksum = "0".repeat(128).parse().expect("a checksum");
    let Checksum::Sha512(right) = zeros.same_of(&path).expect("it can be read") else { panic!("another kind") };
    let sums = |hex: &str| {
        let text = format!("{hex} *{FILE}\n");
        answer("200 OK", &format!("content-length: {}\r\n", text.len()), text.as_bytes())
    };
    let server = Server::start(vec![
        sums(&right),
        file("a", &body, body.len()),
        sums(&right),
        sums(&"0".repeat(128)),
        file("a", &body, body.len()),
    ]);
    let proof = Proof::Checksums("SHA512SUMS".into());
    let found = home.obtain(&[server.url("")], &proof).await;
    assert_eq!(found.digest, sha256(&body));
    assert_eq!(home.obtain(&[server.url("")], &proof).await, found, "from the cache, by its SHA-512");
    let error = home.ask(&[server.url("")], &proof, false).await.expect_err("it has another one");
    assert!(error.to_string().contains("must have sha512 000"), "{error}");
}

#[tokio::test]
async fn a_mirror_that_moved_is_followed() {
    let body = disk(4);
    let to = |path: &str| answer("301 Moved Permanently", &format!("location: {path}\r\ncontent-length: 0\r\n"), b"");
    let server = Server::start(vec![
        to("/vault/SHA256SUMS"),
        sums(&body),
        to("/vault/system-12.qcow2"),
        file("a", &body, body.len()),
    ]);
    Home::new().obtain(&[server.url("now")], &listed()).await;
    assert!(server.requests()[3].starts_with("get /vault/system-12.qcow2 "), "{:?}", server.requests());
}

#[tokio::test]
async fn the_next_mirror_is_asked_and_every_attempt_named() {
    let (body, other) = (disk(5), disk(6));
    let gone = Server::start(vec![missing(), missing(), missing()]);
    // Its file of checksums is right, its disk is another one.
    let wrong =
        Server::start(vec![sums(&body), file("a", &other, other.len()), sums(&body), file("a", &other, other.len())]);
    let good = Server::start(vec![sums(&body), file("a", &body, body.len())]);
    let home = Home::new();
    let two = [gone.url("a"), wrong.url("b")];
    let error = home.ask(&two, &listed(), false).await.expect_err("none has it");
    assert_eq!(error.class(), Class::Image);
    let said = error.to_string();
    for part in [
        &format!("{}/{FILE}: no `SHA256SUMS` there: the server answered 404", two[0]),
        &format!("{}/{FILE}: it has sha256 {}", two[1], sha256(&other)),
        "under `mirrors` in lab.yaml",
    ] {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
    assert_eq!(
        fs::read_dir(home.cache()).map_or(0, |files| files.count()),
        home.names("lock").len(),
        "nothing is kept"
    );
    let found = home.obtain(&[two[0].clone(), two[1].clone(), good.url("c")], &listed()).await;
    assert_eq!(found.place, good.url("c/system-12.qcow2"));
}

#[tokio::test]
async fn a_disk_on_another_file_is_refused_though_its_digest_is_right() {
    let mut body = disk(7);
    body[8..16].copy_from_slice(&512u64.to_be_bytes());
    let server = Server::start(vec![file("a", &body, body.len())]);
    let home = Home::new();
    let error = home.ask(&[server.url("")], &pinned(&body), false).await.expect_err("refused");
    assert!(error.to_string().contains("backing file"), "{error}");
    assert_eq!(home.names(".qcow2"), Vec::<String>::new());
}

#[tokio::test]
async fn a_directory_of_this_host_is_a_mirror() {
    let body = disk(8);
    let home = Home::new();
    let directory = home.0.path().join("mirror");
    fs::create_dir(&directory).expect("it can be made");
    fs::write(directory.join(FILE), &body).expect("it can be written");
    let error = home.ask(&["mirror".into()], &listed(), true).await.expect_err("no checksums");
    assert!(error.to_string().contains("no `SHA256SUMS` there: the file cannot be read"), "{error}");
    fs::write(directory.join("SHA256SUMS"), format!("{}  {FILE}\n", sha256(&body))).expect("it can be written");
    let found = home.ask(&["mirror".into()], &listed(), true).await.expect("it is there");
    assert_eq!(found.path, directory.join(FILE));
    assert_eq!(home.names(".qcow2"), Vec::<String>::new(), "used where it is");
}

#[tokio::test]
async fn offline_nobody_is_asked() {
    let server = Server::start(vec![]);
    let error = Home::new().ask(&[server.url("")], &listed(), true).await.expect_err("it is not there");
    assert!(error.to_string().contains("(offline)"), "{error}");
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn whether_it_can_be_had_is_asked_without_getting_it() {
    let home = Home::new();
    let there = || answer("200 OK", "content-length: 90000\r\n", b"");
    let server = Server::start(vec![missing(), missing(), there()]);
    let (one, two) = ([server.url("a")], [server.url("a"), server.url("b")]);
    let find = async |mirrors: &[String], offline: bool| {
        let (base, cache) = (home.0.path(), &home.cache());
        find_disk(&DiskRequest { mirrors, file: FILE, proof: &listed(), base, cache, offline }).await
    };
    let error = find(&one, false).await.expect_err("it is not there");
    assert!(error.to_string().contains(&format!("{}/{FILE}: the server answered 404", one[0])), "{error}");
    find(&two, false).await.expect("the second has it");
    assert!(server.requests().iter().all(|request| request.starts_with("head ")), "{:?}", server.requests());
    find(&two, true).await.expect_err("nobody is asked");
    find(&["/nowhere".into()], false).await.expect_err("there is no such directory");
    assert_eq!(server.requests().len(), 3);
}
