//! The lab's ssh key and the guests' host keys: all made here, so that a guest is known before it first answers.

use super::profile::SshProfile;
use crate::{
    error::{Class, Error, Result, ResultExt},
    host::LabDir,
};
use russh::keys::{PrivateKey, PublicKey, load_secret_key};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The keys of one lab.
#[derive(Clone, Debug)]
pub struct Keys {
    directory: PathBuf,
}

impl Keys {
    /// Those of this lab.
    pub fn new(lab: &LabDir) -> Keys {
        Keys { directory: lab.keys() }
    }

    /// File of the lab's private key.
    pub fn lab_key(&self) -> PathBuf {
        self.directory.join("lab")
    }

    /// File with the public host keys of all guests, as ssh(1) reads it.
    pub fn known_hosts(&self) -> PathBuf {
        self.directory.join("known_hosts")
    }

    /// File of a guest's private host key.
    pub fn host_key(&self, node: &str) -> PathBuf {
        self.directory.join(format!("{node}.host"))
    }

    /// Makes the keys that are missing or of another kind than the guests' ssh knows. Tells how many.
    ///
    /// # Errors
    /// When ssh-keygen fails.
    pub fn ensure(&self, profile: SshProfile, nodes: &[(&str, std::net::Ipv4Addr)]) -> Result<usize> {
        fs::create_dir_all(&self.directory)
            .or_error(Class::Host, || format!("cannot make `{}`", self.directory.display()))?;
        let mut made = usize::from(self.generate(profile, &self.lab_key(), "pgxc-lab")?);
        let mut known = String::new();
        for (node, address) in nodes {
            let key = self.host_key(node);
            made += usize::from(self.generate(profile, &key, node)?);
            let public = self.public_text(&key)?;
            let public = public.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
            known.push_str(&format!("{node},{address} {public}\n"));
        }
        let path = self.known_hosts();
        if fs::read_to_string(&path).ok().as_ref() != Some(&known) {
            fs::write(&path, known).or_error(Class::Host, || format!("cannot write `{}`", path.display()))?;
        }
        Ok(made)
    }

    /// The public half of a key, one line.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn public_text(&self, private: &Path) -> Result<String> {
        let path = private.with_file_name(format!("{}.pub", private.file_name().unwrap_or_default().to_string_lossy()));
        fs::read_to_string(&path).or_error(Class::Host, || format!("cannot read `{}`", path.display()))
    }

    /// The lab's private key.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn load_lab_key(&self) -> Result<PrivateKey> {
        let path = self.lab_key();
        load_secret_key(&path, None).or_error(Class::Host, || format!("cannot read the lab's key `{}`", path.display()))
    }

    /// The public host key of a guest.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn load_host_key(&self, node: &str) -> Result<PublicKey> {
        let text = self.public_text(&self.host_key(node))?;
        PublicKey::from_openssh(text.trim())
            .or_error(Class::Host, || format!("cannot understand the host key of `{node}`"))
    }

    /// Makes a key unless it is there.
    fn generate(&self, profile: SshProfile, path: &Path, comment: &str) -> Result<bool> {
        if path.exists() {
            if self.public_text(path)?.starts_with(profile.key_type()) {
                return Ok(false);
            }
            // Of another image, whose ssh spoke otherwise; ssh-keygen would ask.
            fs::remove_file(path).or_error(Class::Host, || format!("cannot remove `{}`", path.display()))?;
        }
        let output = Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-C", comment])
            .args(profile.key_options())
            .arg("-f")
            .arg(path)
            .output()
            .or_error(Class::Host, || "cannot run ssh-keygen".into())?;
        if !output.status.success() {
            return Err(Error::new(Class::Host, format!("cannot make the key `{}`", path.display()))
                .evidence(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(true)
    }
}
