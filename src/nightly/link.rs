//! Links from one file to another.

use std::path::{Component, Path};

/// The link to `file` from a page in `directory`; both are absolute.
pub(super) fn relative(directory: &Path, file: &Path) -> String {
    let (from, to): (Vec<Component>, Vec<Component>) = (directory.components().collect(), file.components().collect());
    let same = from.iter().zip(&to).take_while(|(left, right)| left == right).count();
    let up = std::iter::repeat_n("..".to_owned(), from.len() - same);
    let down = to[same..].iter().map(|part| encoded(&part.as_os_str().to_string_lossy()));
    up.chain(down).collect::<Vec<_>>().join("/")
}

/// A name as it can stand in a URL.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative() {
        for (from, to, expected) in [
            ("/home/nightly/two", "/home/nightly/two/1/bundle.tar.zst", "1/bundle.tar.zst"),
            ("/var/www", "/home/nightly/a b/1/x", "../../home/nightly/a%20b/1/x"),
            ("/", "/x?#", "x%3F%23"),
        ] {
            assert_eq!(relative(Path::new(from), Path::new(to)), expected);
        }
    }
}
