//! The guest systems that there are.

use super::{
    GuestSystem, Init,
    debian::{self, Debian},
    el::{self, El},
    el5::El5,
};
use crate::remote::SshProfile;

/// A guest system: each image names its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Debian with systemd.
    Debian,
    /// Enterprise Linux 5, such as CentOS 5.9: Linux 2.6.18, init scripts, OpenSSH 4.3.
    El5,
    /// Enterprise Linux 6, such as CentOS 6.10: Linux 2.6.32, init scripts, OpenSSH 5.3.
    El6,
    /// Enterprise Linux 7, such as CentOS 7.9.
    El7,
    /// Enterprise Linux 9, such as Rocky Linux 9.
    El9,
    /// Ubuntu with systemd.
    Ubuntu,
}

impl System {
    /// What is particular to its guests.
    pub fn guest(self) -> &'static dyn GuestSystem {
        match self {
            System::Debian | System::Ubuntu => &Debian,
            System::El5 => &El5,
            System::El6 => &El::Six,
            System::El7 => &El::Seven,
            System::El9 => &El::Nine,
        }
    }

    /// What starts its services.
    pub fn init(self) -> Init {
        match self {
            System::Debian | System::Ubuntu | System::El7 | System::El9 => Init::Systemd,
            System::El5 | System::El6 => Init::Scripts,
        }
    }

    /// File with its firewall's rules.
    pub fn rules_file(self) -> &'static str {
        match self {
            System::Debian | System::Ubuntu => debian::RULES_FILE,
            System::El5 | System::El6 | System::El7 | System::El9 => el::RULES_FILE,
        }
    }

    /// How its sshd is spoken to.
    pub fn ssh(self) -> SshProfile {
        match self {
            System::Debian | System::Ubuntu | System::El7 | System::El9 => SshProfile::Modern,
            // OpenSSH 5.3 of EL6 has no ed25519, and signs with SHA-1 as 4.3 does.
            System::El5 | System::El6 => SshProfile::OpenSsh43,
        }
    }
}
