//! Postgres-XC's placement of rows, to know beforehand how many come to lie on which datanode.
//!
//! A port of `hash_any` and `hash_uint32` of PostgreSQL 9.1 (Bob Jenkins' lookup3, little-endian) and of the locator's
//! use of them (spec 4.0; reproduces every node_id that the document prints).

/// The start value of PostgreSQL's variant for a key of `length` bytes.
fn start(length: u32) -> u32 {
    0x9e37_79b9_u32.wrapping_add(length).wrapping_add(3_923_095)
}

fn mix([mut a, mut b, mut c]: [u32; 3]) -> [u32; 3] {
    a = a.wrapping_sub(c) ^ c.rotate_left(4);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(6);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(8);
    b = b.wrapping_add(a);
    a = a.wrapping_sub(c) ^ c.rotate_left(16);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(19);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(4);
    b = b.wrapping_add(a);
    [a, b, c]
}

fn last([mut a, mut b, mut c]: [u32; 3]) -> u32 {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// What Postgres-XC puts into pgxc_node.node_id for a node of this name (where no other name has the same hash).
pub fn node_id(name: &str) -> i32 {
    hash_any(name.as_bytes()).cast_signed()
}

/// PostgreSQL 9.1's hash of a byte string.
fn hash_any(key: &[u8]) -> u32 {
    let little = |bytes: &[u8]| bytes.iter().rev().fold(0u32, |word, byte| (word << 8) | u32::from(*byte));
    // Lengths are taken modulo 2^32, as the C code does.
    let mut state = [start(key.len() as u32); 3];
    let mut chunks = key.chunks_exact(12);
    for chunk in &mut chunks {
        for (word, bytes) in state.iter_mut().zip(chunk.chunks_exact(4)) {
            *word = word.wrapping_add(little(bytes));
        }
        state = mix(state);
    }
    let rest = chunks.remainder();
    for (index, (word, bytes)) in state.iter_mut().zip(rest.chunks(4)).enumerate() {
        // The lowest byte of the third word is reserved for the length.
        let shift = if index == 2 { 8 } else { 0 };
        *word = word.wrapping_add(little(bytes) << shift);
    }
    last(state)
}

/// PostgreSQL 9.1's hash of an int4.
fn hash_uint32(key: u32) -> u32 {
    let first = start(4);
    last([first.wrapping_add(key), first, first])
}

/// The datanode, counted from 0 in the order of names, that holds the row with this distribution key
/// (`DISTRIBUTE BY HASH` of an int4).
pub fn placement(key: i32, datanodes: usize) -> usize {
    (hash_uint32(key.cast_unsigned()).cast_signed().unsigned_abs() as usize) % datanodes
}

/// How many of the keys 1 to `rows` come to lie on each datanode.
pub fn counts(rows: i32, datanodes: usize) -> Vec<u64> {
    let mut counts = vec![0; datanodes];
    for key in 1..=rows {
        counts[placement(key, datanodes)] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_of_the_document() {
        for (name, id) in [
            ("coordinate_1", -922_782_310),
            ("coordinate_2", 1_027_955_327),
            ("coordinate_3", 183_504_851),
            ("coordinate_4", -1_338_651_536),
            ("coordinate_5", 2_058_409_530),
            ("coordinate_6", 15_814_306),
            ("datanode_1", -675_012_441),
            ("datanode_2", -1_047_623_914),
            ("datanode_3", 1_787_525_382),
            ("datanode_4", -83_063_638),
            ("datanode_5", 137_889_650),
            ("datanode_6", -678_318_491),
        ] {
            assert_eq!(node_id(name), id, "{name}");
        }
    }

    #[test]
    fn golden_placements() {
        let places: Vec<usize> = (1..=12).map(|key| placement(key, 6) + 1).collect();
        assert_eq!(places, [3, 5, 2, 6, 5, 5, 4, 3, 3, 6, 2, 5]);
    }

    #[test]
    fn golden_counts() {
        for (rows, expected) in [
            (600, [93, 99, 122, 109, 81, 96]),
            (6000, [1001, 1005, 1056, 942, 997, 999]),
            (60000, [9965, 9879, 9901, 10043, 10066, 10146]),
        ] {
            assert_eq!(counts(rows, 6), expected, "{rows}");
        }
    }
}
