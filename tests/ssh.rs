//! `Ssh` against an ssh server in this process: who is let in on both sides, and what a command gives however it ends.

use pgxc_lab::{
    error::{Class, Error},
    host::Home,
    remote::{Keys, Output, Ssh, SshProfile},
};
use russh::{
    Channel, ChannelId, Preferred, Sig, cipher, kex,
    keys::{Algorithm, HashAlg, PublicKey, load_secret_key},
    mac,
    server::{self, Auth, ChannelOpenHandle, Config, Handler, Msg, Session, VerifiedPublicKey},
};
use std::{
    net::{Ipv4Addr, Shutdown},
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

const NODE: &str = "db1";

/// Nothing here waits for anything but this process.
const STUCK: Duration = Duration::from_secs(20);

/// Keys of one lab, in a directory of their own.
struct LabKeys {
    keys: Keys,
    _directory: TempDir,
}

fn lab_keys() -> LabKeys {
    lab_keys_of(SshProfile::Modern)
}

fn lab_keys_of(profile: SshProfile) -> LabKeys {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let keys = Keys::new(&Home::new(directory.path()).lab("x"));
    assert_eq!(keys.ensure(profile, &[(NODE, Ipv4Addr::LOCALHOST)]).expect("ssh-keygen makes keys"), 2);
    LabKeys { keys, _directory: directory }
}

/// The guest: what it does with a command stands in the command.
struct Guest {
    /// The one key that is let in.
    client: PublicKey,
    /// A second handle of the connection, to cut it.
    socket: std::net::TcpStream,
    command: String,
    input: Arc<Mutex<Vec<u8>>>,
}

impl Handler for Guest {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let known = user == "root" && key.public_key.key_data() == self.client.key_data();
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.command = String::from_utf8_lossy(data).into_owned();
        // As sshd does when it cannot fork: it refuses, and leaves it to the client to close.
        if self.command == "refuse" { session.channel_failure(channel) } else { session.channel_success(channel) }
    }

    async fn data(&mut self, _: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Self::Error> {
        self.input.lock().expect("no test panics with it").extend_from_slice(data);
        Ok(())
    }

    /// Commands act when their input has ended.
    async fn channel_eof(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        let input = self.input.lock().expect("no test panics with it").clone();
        match self.command.as_str() {
            "speak" => {
                session.data(channel, "one ")?;
                session.extended_data(channel, 1, "warning")?;
                session.data(channel, "two")?;
                session.exit_status_request(channel, 3)?;
            }
            "late" => {
                session.data(channel, "before ")?;
                session.exit_status_request(channel, 0)?;
                session.data(channel, "after")?;
                session.extended_data(channel, 1, "after too")?;
            }
            "cat" | "sh -s" if input != b"fail" => {
                session.data(channel, input)?;
                session.exit_status_request(channel, 0)?;
            }
            "sh -s" => {
                session.data(channel, (1..=30).map(|line| format!("line {line}\n")).collect::<String>())?;
                session.extended_data(channel, 1, "it went wrong\n")?;
                session.exit_status_request(channel, 4)?;
            }
            "killed" => {
                session.data(channel, "so far")?;
                session.exit_signal_request(channel, Sig::KILL, false, "", "")?;
            }
            "refuse" => return Ok(()),
            "silent" => session.data(channel, "so far")?,
            "cut" => {
                self.socket.shutdown(Shutdown::Both)?;
                return Ok(());
            }
            other => panic!("no such command: {other}"),
        }
        session.eof(channel)?;
        session.close(channel)
    }
}

/// Starts a server that has the host key of `host` and lets in the lab key of `client`; gives a socket to it, and what
/// commands get as input.
async fn serve(host: &Keys, client: &Keys) -> (TcpStream, Arc<Mutex<Vec<u8>>>) {
    serve_with(Preferred::DEFAULT, host, client).await
}

/// The same with a server that knows these algorithms only.
async fn serve_with(preferred: Preferred, host: &Keys, client: &Keys) -> (TcpStream, Arc<Mutex<Vec<u8>>>) {
    let config = Config {
        keys: vec![load_secret_key(host.host_key(NODE), None).expect("a host key")],
        // A test needs no protection against guessing.
        auth_rejection_time: Duration::ZERO,
        preferred,
        ..Config::default()
    };
    let text = client.public_text(&client.lab_key()).expect("a public key");
    let client = PublicKey::from_openssh(text.trim()).expect("a public key");
    let input = Arc::new(Mutex::new(Vec::new()));
    let given = input.clone();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let stream = stream.into_std().expect("a socket");
        let socket = stream.try_clone().expect("a second handle");
        let stream = TcpStream::from_std(stream).expect("a socket");
        let guest = Guest { client, socket, command: String::new(), input: given };
        // How the session ends is the client's to tell.
        if let Ok(session) = server::run_stream(Arc::new(config), stream, guest).await {
            let _ = session.await;
        }
    });
    (TcpStream::connect(address).await.expect("a connection"), input)
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(STUCK, future).await.expect("it is stuck")
}

/// A session with a guest of the same lab.
async fn session(lab: &LabKeys) -> Ssh {
    let (socket, _) = serve(&lab.keys, &lab.keys).await;
    in_time(Ssh::login(NODE, socket, &lab.keys)).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A login that must not succeed.
async fn refused(host: &Keys, client: &Keys, keys: &Keys) -> Error {
    let (socket, _) = serve(host, client).await;
    in_time(Ssh::login(NODE, socket, keys)).await.err().expect("nobody is let in")
}

async fn run(command: &str) -> pgxc_lab::error::Result<Output> {
    let lab = lab_keys();
    let ssh = session(&lab).await;
    in_time(ssh.run(command, b"")).await
}

fn output(status: Option<u32>, stdout: &str, stderr: &str) -> Output {
    Output { status, stdout: stdout.into(), stderr: stderr.into() }
}

#[tokio::test]
async fn another_host_key_is_refused() {
    let (ours, theirs) = (lab_keys(), lab_keys());
    let error = refused(&theirs.keys, &ours.keys, &ours.keys).await;
    assert_eq!((error.class(), error.message()), (Class::Guest, "no ssh session with `db1`"));
    assert!(error.causes().iter().any(|cause| cause.contains("server key")), "{error}");
}

#[tokio::test]
async fn a_guest_that_refuses_the_labs_key_says_how_to_go_on() {
    let (ours, theirs) = (lab_keys(), lab_keys());
    let error = refused(&ours.keys, &theirs.keys, &ours.keys).await;
    assert_eq!((error.class(), error.message()), (Class::Guest, "`db1` refuses the lab's ssh key"));
    assert!(error.hint_text().is_some_and(|hint| hint.contains("pgxc-lab destroy")), "{error}");
}

#[tokio::test]
async fn a_guest_that_hangs_up_at_once_is_a_guest_error() {
    let lab = lab_keys();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let socket = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
    drop(listener.accept().await.expect("a client"));
    let error = in_time(Ssh::login(NODE, socket, &lab.keys)).await.err().expect("nobody is there");
    assert_eq!((error.class(), error.message()), (Class::Guest, "no ssh session with `db1`"));
}

#[tokio::test]
async fn keys_that_are_missing_are_the_hosts_fault() {
    let (lab, empty) = (lab_keys(), tempfile::tempdir().expect("a temporary directory"));
    let error = refused(&lab.keys, &lab.keys, &Keys::new(&Home::new(empty.path()).lab("x"))).await;
    assert_eq!(error.class(), Class::Host);
}

#[tokio::test]
async fn a_command_gives_both_outputs_and_its_status() {
    assert_eq!(run("speak").await.expect("it runs"), output(Some(3), "one two", "warning"));
}

#[tokio::test]
async fn output_after_the_exit_status_is_not_lost() {
    assert_eq!(run("late").await.expect("it runs"), output(Some(0), "before after", "after too"));
}

#[tokio::test]
async fn a_command_that_a_signal_ended_has_no_status() {
    assert_eq!(run("killed").await.expect("it runs"), output(None, "so far", ""));
}

#[tokio::test]
async fn a_command_without_an_end_is_a_broken_connection() {
    for command in ["silent", "cut"] {
        let error = run(command).await.expect_err("it never ended");
        assert_eq!((error.class(), error.message()), (Class::Guest, "the ssh connection to `db1` broke"), "{command}");
    }
}

#[tokio::test]
async fn a_command_that_is_refused_is_a_guest_error() {
    let error = run("refuse").await.expect_err("it never ran");
    assert_eq!(error.class(), Class::Guest);
}

#[tokio::test]
async fn a_connection_that_broke_stays_broken() {
    let lab = lab_keys();
    let ssh = session(&lab).await;
    for _ in 0..2 {
        let error = in_time(ssh.run("cut", b"")).await.expect_err("it is cut");
        assert_eq!(error.class(), Class::Guest);
    }
}

#[tokio::test]
async fn input_arrives_whole() {
    let lab = lab_keys();
    let (socket, input) = serve(&lab.keys, &lab.keys).await;
    let ssh = in_time(Ssh::login(NODE, socket, &lab.keys)).await.unwrap_or_else(|error| panic!("{error}"));
    // More than a packet (32 KiB) and more than a window (2 MiB).
    let text: String = (0..400_000).map(|number| format!("{number}\n")).collect();
    let output = in_time(ssh.run("cat", text.as_bytes())).await.expect("it runs");
    assert_eq!(output.status, Some(0));
    assert!(*input.lock().expect("no test panics with it") == text.as_bytes(), "the input is not what was sent");
    assert!(output.stdout == text, "the output is not what came back");
}

#[tokio::test]
async fn one_session_runs_many_commands() {
    let lab = lab_keys();
    let ssh = session(&lab).await;
    for _ in 0..3 {
        assert_eq!(in_time(ssh.run("speak", b"")).await.expect("it runs").status, Some(3));
    }
}

#[tokio::test]
async fn a_script_gives_its_output_or_its_last_lines() {
    let lab = lab_keys();
    assert_eq!(in_time(session(&lab).await.script("say it", "words")).await.expect("it runs"), "words");
    let error = in_time(session(&lab).await.script("say it", "fail")).await.expect_err("it fails");
    assert_eq!((error.class(), error.message()), (Class::Guest, "cannot say it on `db1`: exit status 4"));
    let said = error.causes().join("\n");
    assert!(said.contains("line 30") && said.ends_with("it went wrong"), "{said}");
    assert!(!said.contains("line 1\n"), "only the last lines: {said}");
}

/// A key is made once, since a running guest knows only the first one, and ssh(1) finds guests by name and address.
#[test]
fn keys_are_kept_and_known() {
    let lab = lab_keys();
    let keys = &lab.keys;
    let read = |path: &std::path::Path| std::fs::read_to_string(path).expect("it reads");
    let before = (read(&keys.lab_key()), read(&keys.host_key(NODE)));
    let nodes = [(NODE, Ipv4Addr::LOCALHOST), ("db2", Ipv4Addr::new(192, 168, 122, 2))];
    assert_eq!(keys.ensure(SshProfile::Modern, &nodes).expect("it makes one more"), 1);
    assert_eq!(keys.ensure(SshProfile::Modern, &nodes).expect("it makes none"), 0);
    assert_eq!((read(&keys.lab_key()), read(&keys.host_key(NODE))), before);
    let known = read(&keys.known_hosts());
    let lines: Vec<&str> = known.lines().collect();
    assert_eq!(lines.len(), 2);
    for ((name, address), line) in nodes.iter().zip(lines) {
        let public = keys.public_text(&keys.host_key(name)).expect("a public key");
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[0], format!("{name},{address}"));
        assert!(public.starts_with(&words[1..].join(" ")), "{line}");
    }
}

/// What OpenSSH 4.3 has of what russh knows: its sshd_config(5) and the lists of its myproposal.h.
fn openssh_43() -> Preferred {
    Preferred {
        kex: vec![kex::DH_GEX_SHA1, kex::DH_G14_SHA1, kex::DH_G1_SHA1].into(),
        key: vec![Algorithm::Rsa { hash: None }].into(),
        cipher: vec![
            cipher::AES_128_CTR,
            cipher::AES_192_CTR,
            cipher::AES_256_CTR,
            cipher::AES_128_CBC,
            cipher::AES_192_CBC,
            cipher::AES_256_CBC,
        ]
        .into(),
        mac: vec![mac::HMAC_SHA1].into(),
        ..Preferred::DEFAULT
    }
}

#[tokio::test]
async fn a_guest_with_openssh_4_3_is_spoken_to_in_its_own_words() {
    let lab = lab_keys_of(SshProfile::OpenSsh43);
    let private = std::fs::read_to_string(lab.keys.host_key(NODE)).expect("a key");
    assert!(private.starts_with("-----BEGIN RSA PRIVATE KEY-----"), "it reads PEM only");
    let (socket, _) = serve_with(openssh_43(), &lab.keys, &lab.keys).await;
    let ssh = in_time(Ssh::login(NODE, socket, &lab.keys)).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(in_time(ssh.run("speak", b"")).await.expect("it runs").status, Some(3));
}

/// Neither does a modern client give in to an old server, nor does the old profile take anything but its own.
#[tokio::test]
async fn old_algorithms_are_for_old_guests_only() {
    let modern = lab_keys();
    let mut old_server = openssh_43();
    old_server.key = vec![Algorithm::Ed25519].into();
    let (socket, _) = serve_with(old_server, &modern.keys, &modern.keys).await;
    let error = in_time(Ssh::login(NODE, socket, &modern.keys)).await.err().expect("they have nothing in common");
    assert!(error.causes().iter().any(|cause| cause.contains("No common")), "{error} {:?}", error.causes());

    let old = lab_keys_of(SshProfile::OpenSsh43);
    let sha2 = Preferred { key: vec![Algorithm::Rsa { hash: Some(HashAlg::Sha256) }].into(), ..Preferred::DEFAULT };
    let (socket, _) = serve_with(sha2, &old.keys, &old.keys).await;
    assert!(in_time(Ssh::login(NODE, socket, &old.keys)).await.is_err());
}

/// A lab whose image changes gets keys that the new guests can read.
#[test]
fn keys_follow_the_guests_system() {
    let lab = lab_keys();
    let nodes = [(NODE, Ipv4Addr::LOCALHOST)];
    assert_eq!(lab.keys.ensure(SshProfile::OpenSsh43, &nodes).expect("it makes both anew"), 2);
    assert_eq!(lab.keys.ensure(SshProfile::OpenSsh43, &nodes).expect("it makes none"), 0);
    let known = std::fs::read_to_string(lab.keys.known_hosts()).expect("it reads");
    assert!(known.starts_with("db1,127.0.0.1 ssh-rsa "), "{known}");
}
