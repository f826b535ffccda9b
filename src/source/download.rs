//! One download over HTTP: it goes on where an earlier try or run stopped, and never takes a cut file for a whole one.

use super::{
    partial::{Partial, Remote, megabytes},
    sentence,
};
use crate::{
    error::{Class, Error, Result},
    event::{Event, Events},
};
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{self, HeaderMap, HeaderName},
    redirect::Policy,
};
use std::{sync::Once, time::Duration};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence of a server, before its answer and within it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const REDIRECTIONS: usize = 10;
/// Tries after the first, and the wait before the first of them; it doubles.
const RETRIES: u32 = 3;
const BACKOFF: Duration = Duration::from_millis(250);
/// A try that brought this much was worth it: the count of tries begins anew.
const WORTH_IT: u64 = 1 << 20;
/// Progress is told each time that this much has come.
const TELL_EACH: u64 = 256 << 10;

/// Longest text that is taken at once: files of checksums have some kilobytes.
const TEXT: usize = 1 << 20;

/// Why a try ended.
enum Failure {
    /// Trying again cannot help.
    Final(Error),
    /// The server was never reached: on a host without internet every retry would only cost time.
    Unreached(Error),
    /// The server was reached, and next time may go better.
    Broken(Error),
}

impl Failure {
    fn into_error(self) -> Error {
        match self {
            Failure::Final(error) | Failure::Unreached(error) | Failure::Broken(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Final(error)
    }
}

/// Brings the file at `url` into `partial`, whole. On failure what came is kept for the next run.
///
/// # Errors
/// [`Class::Image`] when the server cannot be reached, refuses, or breaks off again and again; [`Class::Host`] when the
/// disk is full. Messages do not name the URL.
pub async fn download(url: &Url, partial: &mut Partial, events: &Events, step: &str) -> Result<()> {
    let client = client(url)?;
    let mut tries = 0;
    loop {
        let before = partial.length();
        let result = attempt(&client, url, partial, events, step).await;
        let settled = partial.settle().await;
        let (error, allowed) = match result {
            Ok(()) => return settled,
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Unreached(error)) => (error, 1),
            Err(Failure::Broken(error)) => (error, RETRIES),
        };
        settled?;
        if partial.length() >= before + WORTH_IT {
            tries = 0;
        }
        if tries >= allowed {
            return Err(error.hint(match partial.length() {
                0 => "look at the network of this host".to_owned(),
                length => format!("{} came and are kept; the next run goes on with them", megabytes(length)),
            }));
        }
        let text = format!("{}; tries again", sentence(&error));
        events.send(Event::Progress { step: step.into(), text });
        tokio::time::sleep(BACKOFF * 2u32.pow(tries)).await;
        tries += 1;
    }
}

/// A short text, such as a file of checksums.
///
/// # Errors
/// [`Class::Image`] when the server cannot be reached, refuses, breaks off again and again, or sends more than a megabyte.
/// Messages do not name the URL.
pub async fn text(url: &Url) -> Result<String> {
    let client = client(url)?;
    let mut tries = 0;
    loop {
        let (error, allowed) = match attempt_text(&client, url).await {
            Ok(text) => return Ok(text),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Unreached(error)) => (error, 1),
            Err(Failure::Broken(error)) => (error, RETRIES),
        };
        if tries >= allowed {
            return Err(error);
        }
        tokio::time::sleep(BACKOFF * 2u32.pow(tries)).await;
        tries += 1;
    }
}

/// Asks whether a file is there.
///
/// # Errors
/// [`Class::Image`] when the server cannot be reached or refuses.
pub async fn exists(url: &Url) -> Result<()> {
    let asked = client(url)?.head(url.clone()).send().await.map_err(not_answered);
    match asked {
        Ok(response) if response.status() == StatusCode::OK => Ok(()),
        Ok(response) => Err(refused(response.status()).into_error()),
        Err(failure) => Err(failure.into_error()),
    }
}

async fn attempt_text(client: &Client, url: &Url) -> Result<String, Failure> {
    let mut response = client.get(url.clone()).send().await.map_err(not_answered)?;
    if response.status() != StatusCode::OK {
        return Err(refused(response.status()));
    }
    let mut bytes = Vec::new();
    let broken = |error: reqwest::Error| {
        Failure::Broken(Error::caused(Class::Image, "the server broke off", error.without_url()))
    };
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > TEXT {
            return Err(Failure::Final(Error::new(Class::Image, "the server sends more than a short text")));
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn attempt(
    client: &Client,
    url: &Url,
    partial: &mut Partial,
    events: &Events,
    step: &str,
) -> Result<(), Failure> {
    if partial.is_whole() {
        return Ok(());
    }
    // A server that compresses on its own would give other bytes, of another number, than the file has.
    let mut request = client.get(url.clone()).header(header::ACCEPT_ENCODING, "identity");
    let resumable = partial.resumable().map(|(offset, validator)| (offset, validator.to_owned()));
    if let Some((offset, validator)) = &resumable {
        request = request.header(header::RANGE, format!("bytes={offset}-")).header(header::IF_RANGE, validator);
    }
    let response = request.send().await.map_err(not_answered)?;
    let status = response.status();
    match (status, resumable) {
        // Also the answer when the file has changed, or when the server knows no ranges.
        (StatusCode::OK, _) => partial.begin(remote(url, &response)).await?,
        (StatusCode::PARTIAL_CONTENT, Some((offset, _))) if continues(&response, offset, partial.remote()) => {
            partial.go_on().await?;
        }
        (StatusCode::RANGE_NOT_SATISFIABLE, Some((offset, _))) if ends_at(&response, offset, partial.remote()) => {
            return Ok(());
        }
        (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, Some(_)) => {
            partial.forget()?;
            let message = "the server's file does not go on where the download stopped, so it begins again";
            return Err(Failure::Broken(Error::new(Class::Image, message)));
        }
        _ => return Err(refused(status)),
    }
    receive(response, partial, events, step).await
}

async fn receive(mut response: Response, partial: &mut Partial, events: &Events, step: &str) -> Result<(), Failure> {
    let total = partial.remote().total;
    let tell = |done| events.send(Event::Bytes { step: step.into(), done, total });
    let mut told = partial.length();
    tell(told);
    loop {
        match response.chunk().await {
            Ok(Some(bytes)) => partial.append(&bytes).await?,
            Ok(None) => break,
            Err(error) => {
                let message = match total {
                    Some(total) => format!("the server broke off after {} of {total} bytes", partial.length()),
                    None => format!("the server broke off after {} bytes", partial.length()),
                };
                return Err(Failure::Broken(Error::caused(Class::Image, message, error.without_url())));
            }
        }
        if partial.length() >= told + TELL_EACH {
            told = partial.length();
            tell(told);
        }
    }
    // A write may fail as late as here; the bytes are counted on the disk.
    partial.settle().await?;
    tell(partial.length());
    match total {
        Some(total) if partial.length() != total => {
            let message = format!("the server sent {} of {total} bytes", partial.length());
            if partial.length() > total {
                partial.forget()?;
            }
            Err(Failure::Broken(Error::new(Class::Image, message)))
        }
        _ => Ok(()),
    }
}

/// The provider is a choice of the whole process; russh and we use the same. Certificates are those of the host.
fn client(url: &Url) -> Result<Client> {
    static PROVIDER: Once = Once::new();
    // It fails when somebody chose before us, which is as good.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let builder = || {
        let builder = Client::builder()
            .user_agent(concat!("pgxc-lab/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(IDLE_TIMEOUT)
            .redirect(Policy::limited(REDIRECTIONS));
        // A proxy in the environment cannot know our own loopback.
        if is_loopback(url) { builder.no_proxy() } else { builder }
    };
    match builder().build() {
        Err(_) if url.scheme() == "http" => builder().tls_certs_only([]).build(),
        result => result,
    }
    .map_err(|error| {
        Error::caused(Class::Image, "no secure connection can be made from this host", error)
            .hint("install the package ca-certificates")
    })
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn not_answered(error: reqwest::Error) -> Failure {
    let (connect, timeout, redirect) = (error.is_connect(), error.is_timeout(), error.is_redirect());
    let caused = |message: &str| Error::caused(Class::Image, message, error.without_url());
    match (connect, timeout, redirect) {
        (_, _, true) => Failure::Final(caused("the server's redirections cannot be followed")),
        (true, true, _) => Failure::Final(caused(&format!("the server does not answer within {CONNECT_TIMEOUT:?}"))),
        (true, false, _) => {
            let error = caused("the server cannot be reached");
            // TLS failures count as connecting, too; these words are those of rustls.
            match error.causes().iter().any(|cause| cause.contains("invalid peer certificate")) {
                true => Failure::Final(error.hint("look at this host's clock and its package ca-certificates")),
                false => Failure::Unreached(error),
            }
        }
        (false, true, _) => Failure::Broken(caused(&format!("the server was silent for {IDLE_TIMEOUT:?}"))),
        (false, false, _) => Failure::Broken(caused("the server gave no proper answer")),
    }
}

fn refused(status: StatusCode) -> Failure {
    let error = Error::new(Class::Image, format!("the server answered {status}"));
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Failure::Broken(error),
        status if status.is_server_error() => Failure::Broken(error),
        _ => Failure::Final(error),
    }
}

fn header_text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn remote(url: &Url, response: &Response) -> Remote {
    // `…/files/latest/download` says nothing; the mirror to which it leads has the name.
    let name = response.url().path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default().to_owned();
    let headers = response.headers();
    Remote {
        url: url.to_string(),
        name,
        etag: header_text(headers, header::ETAG),
        last_modified: header_text(headers, header::LAST_MODIFIED),
        total: response.content_length(),
    }
}

/// First byte, where told, and total, where known, of `Content-Range: bytes 5-9/10` or `bytes */10`.
fn content_range(headers: &HeaderMap) -> Option<(Option<u64>, Option<u64>)> {
    let value = header_text(headers, header::CONTENT_RANGE)?;
    let (range, total) = value.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let first = range.split_once('-').and_then(|(first, _)| first.trim().parse().ok());
    Some((first, total.trim().parse().ok()))
}

/// Servers are to compare the validator themselves; some ignore it, so an entity tag that is told is compared again.
fn same_file(response: &Response, known: &Remote) -> bool {
    header_text(response.headers(), header::ETAG).is_none_or(|etag| known.etag.is_none() || known.etag == Some(etag))
}

fn continues(response: &Response, offset: u64, known: &Remote) -> bool {
    let Some((first, total)) = content_range(response.headers()) else { return false };
    let same_size = total.is_none() || known.total.is_none() || total == known.total;
    first == Some(offset) && same_size && same_file(response, known)
}

fn ends_at(response: &Response, offset: u64, known: &Remote) -> bool {
    let total = content_range(response.headers()).and_then(|(_, total)| total);
    total == Some(offset) && same_file(response, known)
}
