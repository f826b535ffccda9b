//! What guests have to have in common to be clones of one template.

use super::{Lab, Node, Size};
use std::{collections::BTreeMap, fmt};

/// The size of a virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Shape {
    /// Memory.
    pub memory: Size,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Root disk.
    pub disk: Size,
}

impl Node {
    /// The size of its virtual machine.
    pub fn shape(&self) -> Shape {
        Shape { memory: self.memory, cpus: self.cpus, disk: self.disk }
    }
}

impl Lab {
    /// The shapes of its nodes, and how many nodes have each.
    pub fn shapes(&self) -> BTreeMap<Shape, usize> {
        let mut shapes = BTreeMap::new();
        for node in &self.nodes {
            *shapes.entry(node.shape()).or_default() += 1;
        }
        shapes
    }
}

/// As in the name of a step, e.g. `1792MiB-1cpu-4096MiB`.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}MiB-{}cpu-{}MiB", self.memory.as_mib(), self.cpus, self.disk.as_mib())
    }
}

#[cfg(test)]
mod tests {
    use crate::{engine::fixture::document, lab::Size};

    #[test]
    fn nodes_of_one_size_have_one_shape() {
        let mut lab = document();
        assert_eq!(lab.shapes().into_values().collect::<Vec<_>>(), [8]);
        lab.nodes[2].memory = Size::mib(512);
        let shapes: Vec<_> = lab.shapes().into_iter().map(|(shape, count)| (shape.to_string(), count)).collect();
        assert_eq!(shapes, [("512MiB-1cpu-20480MiB".to_owned(), 1), ("8192MiB-1cpu-20480MiB".to_owned(), 7)]);
    }
}
