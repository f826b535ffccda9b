//! pg_hba.conf, the same for both engines (spec 1.12 and 1.14.5).

use super::conf::MARK;
use crate::lab::{Lab, Role};

/// The whole file. Connections between nodes carry no password, so every coordinator's address is trusted on
/// datanodes and coordinators; the document's lines for everyone else come last.
pub(crate) fn render(lab: &Lab) -> String {
    let mut text =
        format!("{MARK}# initdb's own lines\nlocal all all trust\nhost all all 127.0.0.1/32 trust\n# coordinators\n");
    for coordinator in lab.placed(Role::Coordinator) {
        text.push_str(&format!("host all all {}/32 trust\n", coordinator.node.address));
    }
    text.push_str("# lab.yaml\n");
    for line in &lab.cluster.hba {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::engine::fixture::document;

    #[test]
    fn is_the_documents() {
        let text = super::render(&document());
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines.first(), Some(&"local all all trust"));
        assert_eq!(lines.get(2), Some(&"host all all 192.168.122.173/32 trust"));
        assert_eq!(lines.get(7), Some(&"host all all 192.168.122.178/32 trust"));
        assert_eq!(lines.last(), Some(&"host all all 0.0.0.0/0 md5"));
    }
}
