//! The way into a lab from outside of its namespaces, as ssh(1) and whatever calls it can be told.

use crate::{
    error::{Class, Error, Result},
    lab::NodeName,
    remote::Keys,
};
use std::path::Path;

/// Options of ssh that lead to any node of a lab by its name.
///
/// The values can stand in a line of ssh_config, inside single quotes of a shell, and in a text of Ansible's alike:
/// paths with characters that any of these would change are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Value of ProxyCommand: connects its standard input and output to the port `%p` of node `%h`.
    pub proxy: String,
    /// Path of the lab's private key.
    pub key: String,
    /// Path of the guests' host keys.
    pub known_hosts: String,
}

impl Reach {
    /// The way into a lab for this program, with the home that the lab is kept in.
    ///
    /// # Errors
    /// When a path cannot be written so that every reader understands it.
    pub fn new(program: &Path, home: &Path, lab: &NodeName, keys: &Keys) -> Result<Reach> {
        let proxy =
            format!("{} --home {} --lab {lab} forward --stdio %h:%p", word(&plain(program)?), word(&plain(home)?));
        Ok(Reach { proxy, key: plain(&keys.lab_key())?, known_hosts: plain(&keys.known_hosts())? })
    }

    /// Options that every connection needs, besides user and key.
    pub fn options(&self) -> [(&'static str, String); 5] {
        [
            ("ProxyCommand", self.proxy.clone()),
            ("UserKnownHostsFile", word(&self.known_hosts)),
            // The guests' keys were made before the guests: none is ever new.
            ("StrictHostKeyChecking", "yes".to_owned()),
            ("IdentitiesOnly", "yes".to_owned()),
            // Emulated guests may be silent for long, dead ones for ever.
            ("ServerAliveInterval", "30".to_owned()),
        ]
    }
}

/// A path that reads the same for ssh (`%`, `"`, `\`, `${`), a shell (quotes, `$`, a backquote, `!`) and a template (`{`).
fn plain(path: &Path) -> Result<String> {
    let text = path.to_str().unwrap_or("\u{fffd}");
    match text.chars().find(|c| c.is_control() || "\u{fffd}%\"'\\$`!{}".contains(*c)) {
        None => Ok(text.to_owned()),
        Some(c) => Err(Error::new(
            Class::Usage,
            format!("`{}` has {c:?} in it, which a configuration of ssh cannot hold", path.display()),
        )
        .hint("keep program and `--home` in directories with plain names")),
    }
}

/// One word of ssh_config or of a shell.
pub(super) fn word(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if !text.is_empty() && text.chars().all(bare) { text.to_owned() } else { format!("\"{text}\"") }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::host::Home;

    /// The way into a lab of this home.
    pub fn reach(home: &str) -> Result<Reach> {
        let dir = Home::new(home).lab("pgxc");
        let name = "pgxc".parse().expect("a name");
        Reach::new(Path::new("/usr/local/bin/pgxc-lab"), Path::new(home), &name, &Keys::new(&dir))
    }

    #[test]
    fn paths_are_words_or_refused() {
        let reach = |home| super::tests::reach(home);
        let plain = reach("/var/lib/pgxc-lab").expect("plain");
        assert_eq!(plain.proxy, "/usr/local/bin/pgxc-lab --home /var/lib/pgxc-lab --lab pgxc forward --stdio %h:%p");
        let spaced = reach("/srv/my labs").expect("a space is well");
        assert_eq!(spaced.key, "/srv/my labs/labs/pgxc/keys/lab");
        assert!(spaced.proxy.contains("--home \"/srv/my labs\" --lab"), "{}", spaced.proxy);
        assert_eq!(spaced.options()[1].1, "\"/srv/my labs/labs/pgxc/keys/known_hosts\"");
        for home in ["/a%h", "/a'b", "/a\"b", "/a$b", "/a\\b", "/a`b", "/{{a", "/a\nb", "/a!b"] {
            assert_eq!(reach(home).expect_err(home).class(), Class::Usage);
        }
    }
}
