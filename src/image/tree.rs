//! An installation tree: where it is, what the machine boots from it, and how an installer reaches it.

use crate::{
    error::{Class, Error, Result, ResultExt},
    event::Events,
    source,
};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Environment variable that names another tree than image.yaml.
pub const TREE_VARIABLE: &str = "CENTOS_TREE";
/// This machine's own address, seen from a machine in qemu's user network.
const HOST: &str = "10.0.2.2";
/// Longest request that is read: an installer's have a few hundred bytes.
const REQUEST: u64 = 64 << 10;

/// A tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    /// On a server that both this machine and the installer reach.
    Url(String),
    /// On this machine.
    Directory(PathBuf),
}

/// A tree that is reached at a URL as long as this lives.
pub(super) struct Served {
    /// As the installer's machine reaches it.
    pub url: String,
    server: Option<JoinHandle<()>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

impl Tree {
    /// The tree that was named on purpose.
    pub(super) fn named() -> Option<Tree> {
        let named = std::env::var(TREE_VARIABLE).ok().filter(|named| !named.is_empty())?;
        Some(Tree::parse(&named))
    }

    /// A URL, or else a path.
    pub(super) fn parse(text: &str) -> Tree {
        let text = text.trim_end_matches('/');
        match text.strip_prefix("file://") {
            Some(path) => Tree::Directory(path.into()),
            None if text.contains("://") => Tree::Url(text.to_owned()),
            None => Tree::Directory(text.into()),
        }
    }

    /// A file of the tree, read where it is or brought into this directory.
    ///
    /// # Errors
    /// When there is no such file, or the network may not be used or does not reach it: with what to do.
    pub(super) async fn file(
        &self,
        name: &str,
        into: &Path,
        offline: bool,
        events: &Events,
        step: &str,
    ) -> Result<PathBuf> {
        let missing = |error: Error| {
            error.context(format!("the installation tree `{self}` gives no `{name}`")).hint(format!(
                "name a tree that this machine has or reaches, a directory (a mounted DVD) or a URL: {TREE_VARIABLE}=/mnt/dvd; \
                 or take another image: `image: debian-12`"
            ))
        };
        match self {
            Tree::Directory(directory) => {
                let path = directory.join(name);
                let read = fs::File::open(&path).or_error(Class::Image, || format!("cannot read `{}`", path.display()));
                read.map(|_| path).map_err(missing)
            }
            Tree::Url(_) if offline => {
                Err(missing(Error::new(Class::Image, "it was not asked, as the network may not be used (offline)")))
            }
            Tree::Url(url) => source::fetch(&format!("{url}/{name}"), into, events, step).await.map_err(missing),
        }
    }

    /// Has an installer reach it.
    ///
    /// # Errors
    /// When this machine gives no port.
    pub(super) async fn serve(&self) -> Result<Served> {
        let directory = match self {
            Tree::Url(url) => return Ok(Served { url: url.clone(), server: None }),
            Tree::Directory(directory) => directory.clone(),
        };
        let cannot = || "cannot serve the installation tree on 127.0.0.1".to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.or_error(Class::Host, cannot)?;
        let port = listener.local_addr().or_error(Class::Host, cannot)?.port();
        let server = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let directory = directory.clone();
                // Whoever hangs up in the middle has asked for it.
                tokio::spawn(async move { drop(answer(connection, &directory).await) });
            }
        });
        Ok(Served { url: format!("http://{HOST}:{port}"), server: Some(server) })
    }
}

impl std::fmt::Display for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Tree::Url(url) => f.write_str(url),
            Tree::Directory(directory) => write!(f, "{}", directory.display()),
        }
    }
}

/// Answers one request for a file below a directory, and closes: all that an installer needs of HTTP.
async fn answer(connection: TcpStream, directory: &Path) -> std::io::Result<()> {
    let (read, mut write) = connection.into_split();
    let mut lines = BufReader::new(read.take(REQUEST)).lines();
    let first = lines.next_line().await?.unwrap_or_default();
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let file = match (method, below(path)) {
        ("GET" | "HEAD", Some(path)) => tokio::fs::File::open(directory.join(path)).await.ok(),
        _ => None,
    };
    let data = match &file {
        Some(file) => file.metadata().await.ok().filter(fs::Metadata::is_file),
        None => None,
    };
    let (Some(mut file), Some(data)) = (file, data) else {
        return write.write_all(b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
    };
    write.write_all(format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", data.len()).as_bytes()).await?;
    if method == "GET" {
        tokio::io::copy(&mut file, &mut write).await?;
    }
    write.shutdown().await
}

/// The path of a request, relative; none when it leads out of the tree.
fn below(path: &str) -> Option<PathBuf> {
    let path = percent_decoded(path.split(['?', '#']).next()?)?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!parts.contains(&"..")).then(|| parts.iter().collect())
}

/// `%2B` and the like: names of packages have pluses.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(directory.path().join("CentOS")).expect("a directory");
        fs::write(directory.path().join("CentOS/libstdc++.rpm"), "a package").expect("a file");
        directory
    }

    async fn asked(served: &Served, request: &str) -> String {
        let port = served.url.rsplit_once(':').expect("a port").1.parse::<u16>().expect("a port");
        let mut connection = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
        connection.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.expect("it answers");
        answer
    }

    #[tokio::test]
    async fn a_directory_is_served_and_nothing_beside_it() {
        let directory = tree();
        let served = Tree::parse(&directory.path().display().to_string()).serve().await.expect("it serves");
        assert!(served.url.starts_with("http://10.0.2.2:"), "{}", served.url);
        let whole = "HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n";
        assert_eq!(asked(&served, "GET /CentOS/libstdc%2B%2B.rpm").await, format!("{whole}a package"));
        assert_eq!(asked(&served, "HEAD //CentOS/./libstdc++.rpm").await, whole);
        for request in
            ["GET /CentOS", "GET /none", "GET /../../etc/passwd", "GET /%2e%2e/%2e%2e/etc/passwd", "PUT /x", "x"]
        {
            assert!(asked(&served, request).await.starts_with("HTTP/1.0 404 "), "{request}");
        }
    }

    #[tokio::test]
    async fn what_is_missing_is_named_with_what_to_do() {
        let (events, _receiver) = Events::channel();
        let directory = tree();
        for (tree, why) in [
            (directory.path().display().to_string(), "No such file"),
            ("http://tree.invalid/os/".to_owned(), "it was not asked"),
        ] {
            let found = Tree::parse(&tree).file("images/vmlinuz", directory.path(), true, &events, "image").await;
            let error = found.expect_err("there is none");
            let text = format!("{error} {:?}", error.causes());
            assert!(text.contains("gives no `images/vmlinuz`") && text.contains(why), "{text}");
            assert!(error.hint_text().is_some_and(|hint| hint.contains(TREE_VARIABLE)), "{error}");
        }
    }

    #[test]
    fn urls_and_paths() {
        assert_eq!(Tree::parse("http://a/b/"), Tree::Url("http://a/b".into()));
        assert_eq!(Tree::parse("file:///mnt/dvd"), Tree::Directory("/mnt/dvd".into()));
        assert_eq!(Tree::parse("/mnt/dvd/"), Tree::Directory("/mnt/dvd".into()));
    }
}
