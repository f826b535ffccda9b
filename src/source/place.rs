//! A place where a file may be: a path, a file URL, or an http(s) URL.

use crate::error::{Class, Error, Result};
use reqwest::Url;
use std::path::{Path, PathBuf};

/// One entry of the list of places, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file of this host, as an absolute path if the base was one.
    File(PathBuf),
    /// Something to be downloaded.
    Url(Url),
}

impl Place {
    /// Understands `text`; relative paths start at `base`.
    ///
    /// # Errors
    /// [`Class::LabFile`] when it is neither a path nor a file, http or https URL.
    pub fn parse(text: &str, base: &Path) -> Result<Place> {
        let text = text.trim();
        let wrong = |why: &str| {
            Error::new(Class::LabFile, format!("`{text}` is not a place of a file: {why}")).hint(
                "write a path, such as ./pgxc-v1.0.2.tar.gz, or a URL that starts with file:///, http:// or https://",
            )
        };
        if text.is_empty() {
            return Err(wrong("it is empty"));
        }
        if text.starts_with('~') {
            return Err(wrong("only a shell replaces `~`; write the whole path"));
        }
        // `name:1.tar.gz` is a good file name, so a scheme counts only with its slashes.
        let Some((scheme, rest)) = text.split_once(":/").filter(|(scheme, _)| is_scheme(scheme)) else {
            return Ok(Place::File(base.join(text)));
        };
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "file" => {
                let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
                if url.query().is_some() || url.fragment().is_some() {
                    return Err(wrong("a file URL has no `?` or `#`; write them as %3F and %23"));
                }
                // Fails for a host other than localhost: files of other machines cannot be reached so.
                url.to_file_path().map(Place::File).map_err(|()| wrong("it does not name a file of this host"))
            }
            // The parser of URLs would take `https:/name` as the host `name`.
            "http" | "https" if rest.starts_with('/') => {
                Url::parse(text).map(Place::Url).map_err(|error| wrong(&error.to_string()))
            }
            "http" | "https" => Err(wrong("a `/` is missing after the colon")),
            _ => Err(wrong(&format!("`{scheme}` is not supported"))),
        }
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Place> {
        Place::parse(text, Path::new("/lab"))
    }

    #[track_caller]
    fn file(text: &str, path: &str) {
        assert_eq!(parse(text).expect(text), Place::File(path.into()));
    }

    #[test]
    fn paths_start_at_the_base() {
        file("pgxc.tar.gz", "/lab/pgxc.tar.gz");
        file("./down/pgxc.tar.gz", "/lab/./down/pgxc.tar.gz");
        file(" /srv/pgxc.tar.gz ", "/srv/pgxc.tar.gz");
        file("pgxc:1.0.tar.gz", "/lab/pgxc:1.0.tar.gz");
        file("a b/源.tar.gz", "/lab/a b/源.tar.gz");
    }

    #[test]
    fn file_urls_are_paths() {
        file("file:///srv/pgxc.tar.gz", "/srv/pgxc.tar.gz");
        file("FILE:///srv/a%20b.tar.gz", "/srv/a b.tar.gz");
        file("file://localhost/srv/pgxc.tar.gz", "/srv/pgxc.tar.gz");
        file("file:/srv/pgxc.tar.gz", "/srv/pgxc.tar.gz");
    }

    #[test]
    fn web_urls() {
        for text in ["http://example.org/a.tar.gz", "HTTPS://example.org:8443/files/latest/download?use=1"] {
            assert!(matches!(parse(text), Ok(Place::Url(_))), "{text}");
        }
    }

    #[test]
    fn anything_else_is_an_error_that_says_why() {
        for (text, why) in [
            ("", "it is empty"),
            ("  ", "it is empty"),
            ("~/pgxc.tar.gz", "write the whole path"),
            ("ftp://example.org/a.tar.gz", "`ftp` is not supported"),
            ("git+ssh://example.org/a", "`git+ssh` is not supported"),
            ("https:/example.org/a.tar.gz", "a `/` is missing"),
            ("http://", "empty host"),
            ("http://example.org:99999/a", "invalid port"),
            ("file://elsewhere/srv/a.tar.gz", "not name a file of this host"),
            ("file:///srv/a?b", "%3F"),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.class(), Class::LabFile, "{text}");
            assert!(error.message().contains(why), "{error}");
            assert!(error.hint_text().is_some());
        }
    }
}
