//! The only file that imports russh's client: one connection to one guest.

use super::{keys::Keys, profile::SshProfile};
use crate::error::{Class, Error, Result, ResultExt};
use russh::{
    ChannelMsg,
    client::{self, Handle},
    keys::{PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate},
};
use std::{sync::Arc, time::Duration};
use tokio::net::TcpStream;

/// Guests under emulation may be silent for long; a dead one is found by its domain's state, not by this.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// An open connection to a guest, as root.
pub struct Ssh {
    node: String,
    handle: Handle<Pinned>,
}

/// What a command gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit status; `None` when a signal ended it.
    pub status: Option<u32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Accepts exactly the host key that we gave the guest.
struct Pinned {
    key: PublicKey,
}

impl client::Handler for Pinned {
    type Error = russh::Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(match offered {
            PublicKeyOrCertificate::PublicKey { key, .. } => key.key_data() == self.key.key_data(),
            PublicKeyOrCertificate::Certificate(_) => false,
        })
    }
}

impl Ssh {
    /// Logs in over an open socket.
    ///
    /// # Errors
    /// When the guest is not the one that we made, or refuses the lab's key.
    pub async fn login(node: &str, socket: TcpStream, keys: &Keys) -> Result<Ssh> {
        let pinned = Pinned { key: keys.load_host_key(node)? };
        let config = client::Config {
            preferred: SshProfile::of(&pinned.key).algorithms(),
            keepalive_interval: Some(KEEPALIVE),
            keepalive_max: 4,
            nodelay: true,
            ..client::Config::default()
        };
        let key = keys.load_lab_key()?;
        let failed = || format!("no ssh session with `{node}`");
        let mut handle =
            client::connect_stream(Arc::new(config), socket, pinned).await.or_error(Class::Guest, failed)?;
        let accepted = handle
            .authenticate_publickey("root", PrivateKeyWithHashAlg::new(Arc::new(key), None))
            .await
            .or_error(Class::Guest, failed)?;
        if !accepted.success() {
            return Err(Error::new(Class::Guest, format!("`{node}` refuses the lab's ssh key"))
                .hint("the guest was made with other keys: `pgxc-lab destroy` and `pgxc-lab up` make it anew"));
        }
        Ok(Ssh { node: node.to_owned(), handle })
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn run(&self, command: &str, input: &[u8]) -> Result<Output> {
        let broken = || format!("the ssh connection to `{}` broke", self.node);
        let mut channel = self.handle.channel_open_session().await.or_error(Class::Guest, broken)?;
        channel.exec(true, command).await.or_error(Class::Guest, broken)?;
        if !input.is_empty() {
            channel.data(input).await.or_error(Class::Guest, broken)?;
        }
        channel.eof().await.or_error(Class::Guest, broken)?;
        let (mut stdout, mut stderr, mut status) = (Vec::new(), Vec::new(), None);
        let mut ended = false;
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => stdout.extend_from_slice(&data),
                ChannelMsg::ExtendedData { data, .. } => stderr.extend_from_slice(&data),
                // Data may still follow.
                ChannelMsg::ExitStatus { exit_status } => (status, ended) = (Some(exit_status), true),
                ChannelMsg::ExitSignal { .. } => ended = true,
                ChannelMsg::Failure => {
                    return Err(Error::new(Class::Guest, format!("`{}` refuses to run a command", self.node)));
                }
                _ => {}
            }
        }
        if !ended {
            return Err(Error::new(Class::Guest, broken()));
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Output { status, stdout: text(stdout), stderr: text(stderr) })
    }

    /// Runs a shell script, given on standard input, and gives its standard output.
    ///
    /// # Errors
    /// When the connection breaks or the script fails: its last lines.
    pub async fn script(&self, what: &str, script: &str) -> Result<String> {
        let output = self.run("sh -s", script.as_bytes()).await?;
        if output.status == Some(0) {
            return Ok(output.stdout);
        }
        let text = format!("{}{}", output.stdout, output.stderr);
        let status =
            output.status.map_or_else(|| "ended by a signal".to_owned(), |status| format!("exit status {status}"));
        Err(Error::new(Class::Guest, format!("cannot {what} on `{}`: {status}", self.node))
            .evidence(crate::host::last_lines(&text, 20)))
    }
}
