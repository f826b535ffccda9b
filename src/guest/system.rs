//! The guest systems that there are.

use super::{GuestSystem, Init, debian::Debian, el5::El5};
use crate::remote::SshProfile;

/// A guest system: each image names its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Debian with systemd.
    Debian,
    /// Enterprise Linux 5, such as CentOS 5.9: Linux 2.6.18, init scripts, OpenSSH 4.3.
    El5,
}

impl System {
    /// What is particular to its guests.
    pub fn guest(self) -> &'static dyn GuestSystem {
        match self {
            System::Debian => &Debian,
            System::El5 => &El5,
        }
    }

    /// What starts its services.
    pub fn init(self) -> Init {
        match self {
            System::Debian => Init::Systemd,
            System::El5 => Init::Scripts,
        }
    }

    /// How its sshd is spoken to.
    pub fn ssh(self) -> SshProfile {
        match self {
            System::Debian => SshProfile::Modern,
            System::El5 => SshProfile::OpenSsh43,
        }
    }
}
