//! Pickles that ask for too much, and tensors that are not where they say.

use super::build::*;
use super::{accepted, read, refused};

/// A file whose state dict is this value.
fn value(value: &[u8]) -> Vec<u8> {
    legacy(value, &[])
}

#[test]
fn the_built_file_is_valid() {
    assert_eq!(accepted(&one(0, &[2, 4], &[4, 1])), 1);
    assert_eq!(accepted(&value(b"}")), 0);
}

#[test]
fn code_is_refused_by_name() {
    // What `__reduce__` gives when it returns `(os.system, ("touch …",))`.
    let call = [b"cposix\nsystem\n", &text("touch /tmp/owned")[..], b"\x85R"].concat();
    let message = refused("`posix.system`", &value(&call));
    // Magic number (15 bytes), version (13), facts (24), the protocol (2).
    assert!(message.contains("byte 54"), "{message}");
    assert!(
        message.contains("nothing in a pickle is ever run"),
        "{message}"
    );
    refused("`posix.system`", &value(&dict(&[("t", call)])));
    let archive = archive(&[("m/data.pkl", &pickle(b"cos\nsystem\n)R"))]);
    let message = refused("`os.system`", &archive);
    assert!(message.contains("byte 2 of `m/data.pkl`"), "{message}");
    for (module, name) in [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor_v3"),
        ("torch.storage", "TypedStorage"),
        ("torch.nn.modules.linear", "Linear"),
        ("collections", "OrderedDict.fromkeys"),
        ("numpy.core.multiarray", "_reconstruct"),
    ] {
        let names = [module, "\n", name, "\n"].concat();
        let full = format!("`{module}.{name}`");
        refused(&full, &value(&[b"c", names.as_bytes()].concat()));
        refused(&full, &value(&[b"(i", names.as_bytes()].concat()));
        let texts = [text(module), text(name)].concat();
        refused(&full, &value(&[&texts[..], b"\x93"].concat()));
    }
}

#[test]
fn opcodes_beyond_state_dicts() {
    for (code, name) in [
        (&b"(o"[..], "OBJ"),
        (b"NN\x81", "NEWOBJ"),
        (b"N2", "DUP"),
        (b"\x82\x01", "EXT"),
        (b"P1\n", "PERSID"),
        (b"\x8f", "EMPTY_SET"),
        (b"C\x01x", "BINBYTES"),
        (b"\x80\x02", "PROTO"),
        (b"\xff", "0xff"),
        (b"\x93", "STACK_GLOBAL"),
    ] {
        refused(name, &value(code));
    }
    refused("protocol 4", &archive(&[("m/data.pkl", b"\x80\x04N.")]));
    refused("expected a pickle", &archive(&[("m/data.pkl", b"(dp0\n.")]));
    refused(
        "`posix.system",
        &value(&[b"cposix\nsystem".as_slice(), &[b'm'; 900], b"\n"].concat()),
    );
    refused(
        "newline",
        &value(&[b"c".as_slice(), &[b'x'; 2000]].concat()),
    );
}

#[test]
fn calls_that_do_not_fit() {
    refused("do not fit", &value(b"ccollections\nOrderedDict\nN\x85R"));
    refused("do not fit", &value(b"ccollections\nOrderedDict\nNR"));
    refused(
        "do not fit",
        &value(b"ctorch._utils\n_rebuild_parameter\nN\x89N\x87R"),
    );
    refused("do not fit", &value(b"ctorch\nFloatStorage\n)R"));
    refused(
        "do not fit",
        &value(b"ctorch._utils\n_rebuild_tensor_v2\n)R"),
    );
    refused("a call of None", &value(b"N)R"));
    refused("state of its own", &value(b"}}b"));
    refused(
        "state of its own",
        &value(b"ccollections\nOrderedDict\n)R)b"),
    );
    refused("appended to", &value(b"}Na"));
    refused("gets items", &value(b"]NNs"));
    refused("a tensor on None", &value(&tensor(b"N", 0, &[], &[])));
    let metadata = tensor(&storage("k", 8, b""), 0, &[8], &[1]);
    let metadata = [&metadata[..metadata.len() - 2], b"}NNstR"].concat();
    refused("metadata", &value(&dict(&[("t", metadata)])));
}

#[test]
fn persistent_ids_that_name_no_storage() {
    refused(
        "whole module",
        &value(&[&tuple(&[text("module"), b"N".into()])[..], b"Q"].concat()),
    );
    refused("persistent id", &value(b"K\x01Q"));
    refused(
        "names no storage",
        &value(&[&tuple(&[text("file")])[..], b"Q"].concat()),
    );
    refused("storage view", &value(&storage("k", 8, b"K\x01")));
    refused("storage view", &value(&storage("k", 8, b"NN")));
    refused("expected a size", &value(&storage("k", -1, b"")));
    for (start, length) in [(0, 9), (8, 1), (i64::MAX, i64::MAX), (-1, 1)] {
        let view = tuple(&[text("v"), int(start), int(length)]);
        refused("damaged", &value(&storage("k", 8, &view)));
    }
}

#[test]
fn tensors_outside_their_storage() {
    let inside = [
        (0, [2, 4], [4, 1]),
        (1, [2, 2], [5, 1]),
        (8, [0, 1 << 40], [1, 1]),
    ];
    for (offset, shape, strides) in inside {
        assert_eq!(accepted(&one(offset, &shape, &strides)), 1);
    }
    let max = i64::MAX;
    for (offset, shape, strides) in [
        (1, [2, 4], [4, 1]),
        (0, [2, 4], [5, 1]),
        (0, [9, 1], [1, 1]),
        (max, [1, 1], [1, 1]),
        (9, [0, 1], [1, 1]),
        (0, [2, 2], [max, max]),
        (0, [max, max], [0, 0]),
        (0, [max, 4], [0, 0]),
        (0, [1, 2], [1, 8]),
        (-1, [1, 1], [1, 1]),
        (0, [-1, 1], [1, 1]),
        (0, [1, 1], [1, -1]),
    ] {
        refused("damaged", &one(offset, &shape, &strides));
    }
    refused("damaged", &one(0, &[2, 4], &[1]));
    refused("at most 16 dimensions", &one(0, &[1; 17], &[1; 17]));
    assert_eq!(accepted(&one(0, &[1; 16], &[max; 16])), 1);
    refused(
        "a list as a shape",
        &value(&tensor(&storage("k", 1, b""), 0, &[], &[]).replace(b"(t", b"] ")),
    );
}

trait Replace {
    fn replace(&self, from: &[u8; 2], to: &[u8; 2]) -> Vec<u8>;
}

impl Replace for Vec<u8> {
    /// The first occurrence exchanged; a blank is left out.
    fn replace(&self, from: &[u8; 2], to: &[u8; 2]) -> Vec<u8> {
        let at = self.windows(2).position(|w| w == from).unwrap();
        let to: Vec<u8> = to.iter().copied().filter(|b| *b != b' ').collect();
        [&self[..at], &to, &self[at + 2..]].concat()
    }
}

#[test]
fn elements_repeated_without_end() {
    let clue = "share storages";
    refused(clue, &one(0, &[1 << 40], &[0]));
    refused(clue, &one(0, &[1 << 20, 1 << 20], &[0, 1 - 1]));
    let whole = tensor(&storage("k", 1 << 20, b""), 0, &[1 << 20], &[1]);
    let names: Vec<String> = (0..100).map(|i| format!("t{i}")).collect();
    let entries: Vec<_> = names.iter().map(|n| (n.as_str(), whole.clone())).collect();
    let data = vec![0; 4 << 20];
    refused(clue, &legacy(&dict(&entries), &[("k", 1 << 20, &data)]));
    assert_eq!(
        accepted(&legacy(&dict(&entries[..24]), &[("k", 1 << 20, &data)])),
        24
    );
}

#[test]
fn things_that_are_no_state_dict() {
    refused("found a list", &value(b"]"));
    refused("found None", &value(b"N"));
    refused(
        "the integer 3",
        &value(&dict(&[("epoch", b"K\x03".into())])),
    );
    refused("the integer 1 as a name", &value(b"}K\x01Ns"));
    refused("a dictionary", &value(&dict(&[("encoder", b"}".into())])));
    refused(
        "more than one",
        &value(&dict(&[
            ("model", b"}".into()),
            ("state_dict", b"}".into()),
        ])),
    );
    assert_eq!(
        accepted(&value(&dict(&[
            ("model", b"}".into()),
            ("epoch", b"K\x01".into())
        ]))),
        0
    );
    let same = tensor(&storage("k", 8, b""), 0, &[8], &[1]);
    let twice = dict(&[("t", same.clone()), ("t", same)]);
    refused("occurs twice", &legacy(&twice, &[("k", 8, &[0; 32])]));
}

#[test]
fn storages_that_lie() {
    let t = |elements| dict(&[("t", tensor(&storage("k", elements, b""), 0, &[1], &[1]))]);
    refused("does not lie in its storage", &legacy(&t(8), &[]));
    refused("found 9", &legacy(&t(8), &[("k", 9, &[0; 36])]));
    refused("found 31 bytes", &legacy(&t(8), &[("k", 8, &[0; 31])]));
    refused(
        "the storages end here",
        &legacy(&t(8), &[("k", 8, &[0; 33])]),
    );
    refused("what type", &legacy(&t(8), &[("other", 8, &[0; 32])]));
    refused(
        "occurs twice",
        &legacy(&t(8), &[("k", 8, &[0; 32]), ("k", 8, &[0; 32])]),
    );
    refused(
        "found 4 bytes",
        &legacy(&t(i64::MAX), &[("k", i64::MAX as u64, &[0; 4])]),
    );
    let two = [8, 9].map(|n| tensor(&storage("k", n, b""), 0, &[1], &[1]));
    refused(
        "two sizes",
        &legacy(&dict(&[("a", two[0].clone()), ("b", two[1].clone())]), &[]),
    );
}

#[test]
fn stacks_that_are_misused() {
    for bytes in [
        &b"R"[..],
        b"\x85",
        b"t",
        b"u",
        b"a",
        b"q\0",
        b"h\0",
        b"Q",
        b"b",
        b"(",
        b"NN",
        b"",
    ] {
        refused("damaged", &value(bytes));
    }
    // What lies below a mark is out of reach.
    for bytes in [&b"N(\x85"[..], b"}NN(s", b"](Na", b"}(Nu", b"N(q\0"] {
        refused("damaged", &value(bytes));
    }
    refused(
        "integer of 9 bytes",
        &value(&[b"\x8a\x09".as_slice(), &[1; 9]].concat()),
    );
    refused("more bytes", &value(b"X\xff\xff\xff\xff"));
    refused("UTF-8", &value(b"X\x02\0\0\0\xff\xfe"));
}

#[test]
fn depth_and_cycles_cost_nothing() {
    refused(
        "a list",
        &value(&[b"]".repeat(500_000), b"a".repeat(499_999)].concat()),
    );
    refused(
        "a tuple",
        &value(&[b")".as_slice(), &b"\x85".repeat(500_000)].concat()),
    );
    refused("damaged", &value(&b"(".repeat(500_000)));
    refused("a list", &value(b"]q\0h\0a"));
    refused(
        "a dictionary",
        &value(&[b"}q\0", &text("x")[..], b"h\0s"].concat()),
    );
    refused(
        "more objects",
        &value(&[&b"]"[..], &b")a".repeat(1 << 21)].concat()),
    );
    refused(
        "opcodes",
        &value(&[&b"]"[..], &b"Na".repeat(1 << 22)].concat()),
    );
}

#[test]
fn one_tensor_under_very_many_names() {
    let t = [&one_float()[..], b"q\x01"].concat();
    let names: Vec<String> = (0..1 << 18).map(|i| i.to_string()).collect();
    let mut entries: Vec<_> = names
        .iter()
        .map(|n| (n.as_str(), b"h\x01".to_vec()))
        .collect();
    entries[0].1 = t;
    let data: &[(&str, u64, &[u8])] = &[("k", 1, &[0; 4])];
    assert_eq!(accepted(&legacy(&dict(&entries), data)), 1 << 18);
    entries.push(("more", b"h\x01".to_vec()));
    refused("262145 entries", &legacy(&dict(&entries), data));
}

fn one_float() -> Vec<u8> {
    tensor(&storage("k", 1, b""), 0, &[1], &[1])
}

#[test]
fn every_truncation_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["legacy.bin", "zip.bin", "view.bin"] {
        let bytes = read(name);
        super::open(dir.path(), &bytes).unwrap();
        for length in 0..bytes.len() {
            let message = super::open(dir.path(), &bytes[..length]).expect_err(name);
            assert!(message.contains(super::NAME), "{message}");
        }
        refused("damaged", &[&bytes[..], b"\0"].concat());
    }
}
