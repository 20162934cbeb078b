//! Zip archives that lie.

use super::build::*;
use super::{accepted, refused};

/// A state dict of one tensor on eight floats.
fn state() -> Vec<u8> {
    let t = tensor(&storage("0", 8, b""), 0, &[8], &[1]);
    pickle(&dict(&[("t", t)]))
}

fn valid() -> Vec<u8> {
    archive(&[("m/data.pkl", &state()), ("m/data/0", &[1; 32])])
}

/// The place of the `n`-th occurrence.
fn find(bytes: &[u8], pattern: &[u8], n: usize) -> usize {
    let mut places = (0..bytes.len()).filter(|i| bytes[*i..].starts_with(pattern));
    places.nth(n).unwrap()
}

/// The valid archive with bytes changed at an offset from a signature.
fn changed(signature: &[u8], n: usize, offset: usize, to: &[u8]) -> Vec<u8> {
    let mut bytes = valid();
    let at = find(&bytes, signature, n) + offset;
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";

#[test]
fn the_built_archive_is_valid() {
    assert_eq!(accepted(&valid()), 1);
    let little = [
        ("m/data.pkl", &state()[..]),
        ("m/data/0", &[1; 32]),
        ("m/byteorder", b"little"),
    ];
    assert_eq!(accepted(&archive(&little)), 1);
    assert_eq!(accepted(&archive_with(&little, true)), 1);
    // A comment is allowed, and may look like an end.
    let mut bytes = valid();
    let length = bytes.len();
    bytes[length - 2] = 8;
    bytes.extend(b"PK\x05\x06abcd");
    assert_eq!(accepted(&bytes), 1);
}

#[test]
fn archives_that_are_not_pytorchs() {
    refused("without a `data.pkl`", &archive(&[("data.pkl", &state())]));
    refused(
        "without a `data.pkl`",
        &archive(&[("a/b/data.pkl", &state())]),
    );
    refused("without a `data.pkl`", &archive(&[("a.txt", b"")]));
    let two = [("a/data.pkl", &state()[..]), ("b/data.pkl", &state()[..])];
    refused("two pickles", &archive(&two));
    let script = [("a/data.pkl", &state()[..]), ("a/constants.pkl", b"")];
    refused("TorchScript", &archive(&script));
}

#[test]
fn storages_that_lie() {
    refused("m/data/0", &archive(&[("m/data.pkl", &state())]));
    for length in [0, 31, 36, 64] {
        let bytes = vec![0; length];
        refused(
            "8 elements",
            &archive(&[("m/data.pkl", &state()), ("m/data/0", &bytes)]),
        );
    }
    // The end of an element may be there, as PyTorch writes it.
    assert_eq!(
        accepted(&archive(&[
            ("m/data.pkl", &state()),
            ("m/data/0", &[0; 34])
        ])),
        1
    );
    let key = tensor(&storage("../../m/data/0", 8, b""), 0, &[8], &[1]);
    let key = pickle(&dict(&[("t", key)]));
    refused(
        "the archive lacks it",
        &archive(&[("m/data.pkl", &key), ("m/data/0", &[0; 32])]),
    );
    let trailing = [&state()[..], b"x"].concat();
    refused(
        "ends before",
        &archive(&[("m/data.pkl", &trailing), ("m/data/0", &[0; 32])]),
    );
}

#[test]
fn byte_orders() {
    let with = |order: &[u8]| {
        archive(&[
            ("m/data.pkl", &state()),
            ("m/data/0", &[0; 32]),
            ("m/byteorder", order),
        ])
    };
    refused("big-endian", &with(b"big"));
    refused("expected `little` or `big`", &with(b"middle"));
    refused("expected `little` or `big`", &with(&[b'x'; 100_000]));
}

#[test]
fn names_given_twice_and_entries_that_overlap() {
    let twice = [
        ("m/data.pkl", &state()[..]),
        ("m/data/0", &[0; 32]),
        ("m/data/0", &[1; 32]),
    ];
    refused("two entries of this name", &archive(&twice));
    // The first entry claims the bytes of the second, in both its lengths.
    let longer = (state().len() as u32 + 20).to_le_bytes();
    refused(
        "overlap",
        &changed(CENTRAL, 0, 20, &[longer, longer].concat()),
    );
}

#[test]
fn headers_that_contradict_each_other() {
    refused("two lengths", &changed(CENTRAL, 0, 20, &[1, 0, 0, 0]));
    refused("contradict", &changed(LOCAL, 0, 8, &[8]));
    refused("contradict", &changed(LOCAL, 1, 30, b"x"));
    refused("where it is not", &changed(CENTRAL, 1, 42, &[1]));
    refused("where it is not", &changed(CENTRAL, 1, 42, &[0xff; 3]));
    refused(
        "longer than the archive",
        &changed(LOCAL, 1, 28, &[0xff; 2]),
    );
    refused(
        "longer than the archive",
        &changed(CENTRAL, 1, 20, &[0xfe; 8]),
    );
    refused("expected an entry", &changed(CENTRAL, 0, 0, b"XX"));
    refused("expected an entry", &changed(CENTRAL, 1, 28, &[0xff; 2]));
    refused("expected an entry", &changed(CENTRAL, 1, 24, &[0xff; 4])); // no 64-bit field
}

#[test]
fn what_is_packed_is_refused_by_name() {
    let both = |to: &[u8]| {
        let mut bytes = changed(CENTRAL, 1, 10, to);
        let at = find(&bytes, LOCAL, 1) + 8;
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    refused("`m/data/0` is compressed (deflate)", &both(&[8]));
    refused("`m/data/0` is compressed (method 93)", &both(&[93]));
    refused("`m/data/0` is encrypted", &changed(CENTRAL, 1, 8, &[1]));
}

#[test]
fn ends_that_lie() {
    for (offset, to) in [
        (4, &[1u8][..]),    // disks
        (8, &[3, 0, 3, 0]), // more entries than there are
        (8, &[1, 0, 1, 0]), // fewer
        (8, &[1, 0]),       // two counts
        (8, &[0xff; 4]),    // a 64-bit count that is not there
        (12, &[0xff; 4]),   // the directory's length
        (16, &[1]),         // its start
        (16, &[0xff; 4]),
        (20, &[1]), // a comment that is not there
    ] {
        refused("damaged", &changed(END, 0, offset, to));
    }
}

/// The records that archives beyond 4 GiB need, which PyTorch writes into small ones, too.
#[test]
fn wide_ends_that_lie() {
    let valid = super::read("zip.bin");
    let (wide, locator) = (
        find(&valid, b"PK\x06\x06", 0),
        find(&valid, b"PK\x06\x07", 0),
    );
    for at in [wide, wide + 32, wide + 40, wide + 48, locator + 8] {
        for to in [1u64 << 40, u64::MAX, u64::MAX >> 1, 0] {
            let mut bytes = valid.clone();
            bytes[at..at + 8].copy_from_slice(&to.to_le_bytes());
            refused("damaged", &bytes);
        }
    }
}
