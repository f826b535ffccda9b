//! What an ssh server of a guest can do: the keys and the algorithms that it is met with.

use russh::{
    Preferred, cipher, compression, kex,
    keys::{Algorithm, PublicKey},
    mac,
};
use std::borrow::Cow;

/// A generation of OpenSSH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum SshProfile {
    /// Every OpenSSH of the last ten years: ed25519 keys, russh's own choice of algorithms, nothing with SHA-1.
    Modern,
    /// OpenSSH 4.3 of EL5, of 2006: RSA keys in PEM, signatures and MACs with SHA-1. Safe enough inside of a lab whose
    /// network nobody else is in, and nowhere else.
    OpenSsh43,
}

impl SshProfile {
    /// The profile of the guest with this host key. The keys were made by us for the guest's system, so they tell what
    /// it is: nothing else has to be carried along, and no server can talk a client of modern guests into SHA-1.
    pub(super) fn of(host_key: &PublicKey) -> SshProfile {
        if host_key.algorithm().is_rsa() { SshProfile::OpenSsh43 } else { SshProfile::Modern }
    }

    /// What ssh-keygen is asked for.
    pub(super) fn key_options(self) -> &'static [&'static str] {
        match self {
            SshProfile::Modern => &["-t", "ed25519"],
            // It reads no other form, and 2048 bits are what its own ssh-keygen makes.
            SshProfile::OpenSsh43 => &["-t", "rsa", "-b", "2048", "-m", "PEM"],
        }
    }

    /// The first word of a public key of it.
    pub(super) fn key_type(self) -> &'static str {
        match self {
            SshProfile::Modern => "ssh-ed25519",
            SshProfile::OpenSsh43 => "ssh-rsa",
        }
    }

    /// File in a guest that its sshd reads the host key from.
    pub fn host_key_file(self) -> &'static str {
        match self {
            SshProfile::Modern => "/etc/ssh/ssh_host_ed25519_key",
            SshProfile::OpenSsh43 => "/etc/ssh/ssh_host_rsa_key",
        }
    }

    /// The algorithms that a client offers.
    pub(super) fn algorithms(self) -> Preferred {
        match self {
            SshProfile::Modern => Preferred::DEFAULT,
            SshProfile::OpenSsh43 => Preferred {
                kex: Cow::Borrowed(&[kex::DH_G14_SHA1]),
                key: Cow::Borrowed(&[Algorithm::Rsa { hash: None }]),
                host_key_certificates: Cow::Borrowed(&[]),
                cipher: Cow::Borrowed(&[cipher::AES_256_CTR, cipher::AES_128_CTR]),
                mac: Cow::Borrowed(&[mac::HMAC_SHA1]),
                compression: Cow::Borrowed(&[compression::NONE]),
            },
        }
    }
}
