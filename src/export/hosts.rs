//! A block for /etc/hosts.

use super::MARK;
use crate::{guest::name_lines, lab::Lab};

/// The names that the guests have for each other, between two lines by which the block can be found again.
pub fn hosts(lab: &Lab) -> String {
    format!(
        "# {MARK}: lab {0} begins. These addresses answer inside of the lab's network only.\n{1}# lab {0} ends\n",
        lab.name,
        name_lines(lab)
    )
}

#[cfg(test)]
mod tests {
    use crate::engine::fixture::document;

    #[test]
    fn of_the_document() {
        insta::assert_snapshot!(super::hosts(&document()));
    }
}
