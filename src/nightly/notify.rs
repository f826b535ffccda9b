//! Tells of a run: a command that gets its record on standard input, a webhook that it is posted to. Whatever goes
//! wrong here is a note in the record: the lab stands all the same.

use crate::lab::Notify;
use reqwest::{Client, StatusCode, Url, header, redirect::Policy};
use std::{net::IpAddr, process::Stdio, sync::Once, time::Duration};
use tokio::{io::AsyncWriteExt, process::Command};

/// How long a command may take: it only hands on a text.
const COMMAND: Duration = Duration::from_secs(30);
/// How long a webhook may take to answer.
const WEBHOOK: Duration = Duration::from_secs(10);
/// Time between the two tries of a webhook: a server that is just restarted may be back.
const PAUSE: Duration = Duration::from_secs(2);
/// Lines of a failed command's words that the note repeats.
const LINES: usize = 5;

/// Tells everyone; gives what went wrong, a sentence each.
pub async fn tell(notify: &Notify, json: &str) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(argv) = &notify.command
        && let Err(why) = command(argv, json, COMMAND).await
    {
        notes.push(format!("notify.command {why}"));
    }
    if let Some(url) = &notify.webhook
        && let Err(why) = webhook(url, json, WEBHOOK, PAUSE).await
    {
        notes.push(format!("notify.webhook {why}"));
    }
    notes
}

/// Runs the command; what it says goes nowhere unless it fails.
async fn command(argv: &[String], json: &str, patience: Duration) -> Result<(), String> {
    let Some((program, arguments)) = argv.split_first() else { return Err("names no program".into()) };
    let mut command = Command::new(program);
    // stdout is data of ours; nobody reads a second voice there.
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("`{program}` cannot be started: {error}"))?;
    let stdin = child.stdin.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            // A command that does not want to read everything may end before.
            let _ = stdin.write_all(json.as_bytes()).await;
        }
    };
    let both = async { tokio::join!(write, child.wait_with_output()).1 };
    match tokio::time::timeout(patience, both).await {
        Err(_) => Err(format!("`{program}` did not end within {} s", patience.as_secs())),
        Ok(Err(error)) => Err(format!("`{program}` cannot be waited for: {error}")),
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let words = crate::host::last_lines(&String::from_utf8_lossy(&output.stderr), LINES);
            Err(format!("`{program}` failed: {}: {words}", output.status).trim_end_matches([':', ' ']).to_owned())
        }
    }
}

/// Posts the record, twice at the most. Messages do not name the URL: it often holds a secret.
async fn webhook(url: &str, json: &str, patience: Duration, pause: Duration) -> Result<(), String> {
    let url: Url = url.parse().map_err(|_| "is no URL".to_owned())?;
    let client = client(&url, patience)?;
    let mut failures = Vec::new();
    for attempt in 0..2 {
        if attempt > 0 {
            tokio::time::sleep(pause).await;
        }
        let request = client.post(url.clone()).header(header::CONTENT_TYPE, "application/json").body(json.to_owned());
        match request.send().await {
            Ok(response) if response.status().is_success() => return Ok(()),
            Ok(response) => {
                failures.push(format!("answered {}", response.status()));
                if !may_pass(response.status()) {
                    break;
                }
            }
            Err(error) if error.is_timeout() => {
                failures.push(format!("did not answer within {} s", patience.as_secs()));
            }
            Err(error) => failures.push(reason(error)),
        }
    }
    failures.dedup();
    Err(failures.join("; then "))
}

/// Whether the next try may go better.
fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

/// The deepest cause tells most: `connection refused`.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    format!("cannot be reached: {cause}")
}

/// The provider is a choice of the whole process, see `source::download`.
fn client(url: &Url, patience: Duration) -> Result<Client, String> {
    static PROVIDER: Once = Once::new();
    // It fails when somebody chose before us, which is as good.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let builder = || {
        let builder = Client::builder()
            .user_agent(concat!("pgxc-lab/", env!("CARGO_PKG_VERSION")))
            .timeout(patience)
            // A redirected POST becomes a GET without the record: better an error.
            .redirect(Policy::none());
        // A proxy in the environment cannot know our own loopback.
        if loopback { builder.no_proxy() } else { builder }
    };
    match builder().build() {
        Err(_) if url.scheme() == "http" => builder().tls_certs_only([]).build(),
        result => result,
    }
    .map_err(|_| "needs certificates that this host lacks: install the package ca-certificates".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::TcpListener,
        sync::{Arc, Mutex},
    };

    const SOON: Duration = Duration::from_millis(10);

    fn shell(line: &str) -> Vec<String> {
        ["sh", "-c", line].map(str::to_owned).to_vec()
    }

    /// A server that gives one answer per connection; without answers left it is silent.
    fn server(answers: &'static [&'static str]) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/hook?token=secret", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let requests = seen.clone();
        std::thread::spawn(move || {
            let mut answers = answers.iter();
            let mut silent = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while !request.ends_with(b"}") {
                    match stream.read(&mut buffer) {
                        Ok(length) if length > 0 => request.extend_from_slice(&buffer[..length]),
                        _ => break,
                    }
                }
                requests.lock().expect("no panic").push(String::from_utf8_lossy(&request).into_owned());
                match answers.next() {
                    Some(status) => {
                        let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                        let _ = stream.write_all(head.as_bytes());
                    }
                    None => silent.push(stream),
                }
            }
        });
        (url, seen)
    }

    #[tokio::test]
    async fn a_command_gets_the_record() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("got");
        let json = format!("{{\"lab\":\"{}\"}}", "x".repeat(300_000));
        command(&shell(&format!("cat > '{}'", file.display())), &json, COMMAND).await.expect("it works");
        assert_eq!(std::fs::read_to_string(file).expect("it was written"), json);
        command(&shell("exit 0"), &json, COMMAND).await.expect("it need not read");
    }

    #[tokio::test]
    async fn a_command_that_fails_is_a_note() {
        let why = command(&shell("echo no channel >&2; exit 3"), "{}", COMMAND).await.expect_err("it fails");
        assert_eq!(why, "`sh` failed: exit status: 3: no channel");
        let why = command(&shell("sleep 60"), "{}", Duration::from_millis(100)).await.expect_err("it hangs");
        assert_eq!(why, "`sh` did not end within 0 s");
        let why = command(&["/no/such/program".to_owned()], "{}", COMMAND).await.expect_err("there is none");
        assert!(why.starts_with("`/no/such/program` cannot be started: "), "{why}");
    }

    #[tokio::test]
    async fn a_webhook_gets_the_record() {
        let (url, requests) = server(&["204 No Content"]);
        webhook(&url, "{\"lab\":\"pgxc\"}", WEBHOOK, SOON).await.expect("it works");
        let requests = requests.lock().expect("no panic");
        assert_eq!(requests.len(), 1);
        assert!(requests[0].starts_with("POST /hook?token=secret HTTP/1.1\r\n"), "{}", requests[0]);
        assert!(requests[0].to_lowercase().contains("content-type: application/json"), "{}", requests[0]);
        assert!(requests[0].ends_with("\r\n\r\n{\"lab\":\"pgxc\"}"), "{}", requests[0]);
    }

    #[tokio::test]
    async fn a_webhook_is_tried_twice_and_no_more() {
        for (answers, tries, expected) in [
            (&["503 Down", "200 OK"][..], 2, Ok(())),
            (
                &["503 Down", "502 Down", "200 OK"],
                2,
                Err("answered 503 Service Unavailable; then answered 502 Bad Gateway"),
            ),
            (&["404 Not Found", "200 OK"], 1, Err("answered 404 Not Found")),
            (&["302 Found\r\nlocation: /other", "200 OK"], 1, Err("answered 302 Found")),
            (&[], 2, Err("did not answer within 0 s")),
        ] {
            let (url, requests) = server(answers);
            let told = webhook(&url, "{}", Duration::from_millis(900), SOON).await;
            assert_eq!(told.as_ref().map_err(String::as_str), expected.as_ref().map(|()| &()).map_err(|why| *why));
            assert_eq!(requests.lock().expect("no panic").len(), tries, "{answers:?}");
        }
    }

    #[tokio::test]
    async fn what_goes_wrong_is_told_without_the_url() {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let notify = Notify {
            command: Some(shell("exit 1")),
            webhook: Some(format!("http://127.0.0.1:{port}/hook?token=secret")),
        };
        let notes = tell(&notify, "{}").await;
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[1].starts_with("notify.webhook cannot be reached: "), "{notes:?}");
        assert!(!notes[1].contains("secret"), "{notes:?}");
        assert!(tell(&Notify::default(), "{}").await.is_empty());
    }
}
