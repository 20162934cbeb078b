//! Damaged and malicious files: an error that names the file and the place.

use std::fs;

use peft_format::gguf::{GgufFile, GgufModel};

use crate::build::{Raw, llama_metadata, llama_tensors, write};

fn refused(bytes: &[u8], words: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.gguf");
    fs::write(&path, bytes).unwrap();
    let message = GgufFile::open(&path).unwrap_err().to_string();
    for word in [&["bad.gguf"], words].concat() {
        assert!(message.contains(word), "{word} is not in: {message}");
    }
    assert!(message.len() < 1200, "{message}");
}

fn accepted(bytes: &[u8]) -> GgufFile {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("good.gguf");
    fs::write(&path, bytes).unwrap();
    GgufFile::open(&path).unwrap()
}

/// One metadata entry and no tensor.
fn entry(key: &[u8], kind: u32, value: &[u8]) -> Vec<u8> {
    Raw::head(3, 0, 1).entry(key, kind, value).bytes.clone()
}

/// One tensor and 64 bytes of data.
fn tensor(name: &[u8], ne: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut raw = Raw::head(3, 1, 0);
    raw.tensor(name, ne, kind, offset).data(64).bytes.clone()
}

#[test]
fn versions_and_byte_orders() {
    refused(b"", &["magic number"]);
    refused(b"GGML\x03\0\0\0", &["GGUF"]);
    refused(&Raw::head(1, 0, 0).bytes, &["version 1", "convert"]);
    refused(&Raw::head(4, 0, 0).bytes, &["version 4"]);
    refused(&Raw::head(3 << 24, 0, 0).bytes, &["big-endian"]);
    assert_eq!(accepted(&Raw::head(2, 0, 0).bytes).version(), 2);
}

#[test]
fn counts_beyond_the_file() {
    refused(&Raw::head(3, 1 << 60, 0).bytes, &["tensor count"]);
    refused(&Raw::head(3, 0, u64::MAX).bytes, &["metadata count"]);
    refused(&Raw::head(3, 0, 1).bytes, &["metadata count", "room for 0"]);
    let long = (1u64 << 40).to_le_bytes();
    refused(&entry(b"k", 8, &long), &["key `k`", "bytes of text"]);
    let array = [&4u32.to_le_bytes()[..], &long].concat();
    refused(&entry(b"k", 9, &array), &["key `k`", "values"]);
    refused(
        &entry(b"k", 4, b"\x01"),
        &["key `k`", "expected 4 more bytes"],
    );
}

#[test]
fn keys_and_values() {
    refused(&entry(b"", 7, &[1; 8]), &["its key is empty"]);
    refused(&entry(b"\xff", 7, &[1; 8]), &["not UTF-8"]);
    refused(&entry(b"k", 13, &[1; 8]), &["key `k`", "found 13"]);
    refused(&entry(b"k", 7, &[2; 8]), &["bool"]);
    let mut nested = 9u32.to_le_bytes().to_vec();
    nested.extend([0; 8]);
    refused(&entry(b"k", 9, &nested), &["arrays of arrays"]);
    let mut twice = Raw::head(3, 0, 2);
    twice.entry(b"k", 7, &[1]).entry(b"k", 7, &[1]).put(&[0; 8]);
    refused(&twice.bytes, &["key `k`", "twice"]);
    let split = entry(b"split.count", 2, &3u16.to_le_bytes());
    refused(&split, &["split.count", "--merge"]);
    accepted(&entry(b"split.count", 2, &1u16.to_le_bytes()));
}

#[test]
fn alignments() {
    for value in [0u32, 3, 48] {
        let bytes = entry(b"general.alignment", 4, &value.to_le_bytes());
        refused(&bytes, &["general.alignment", "power of two"]);
    }
    let wide = entry(b"general.alignment", 10, &32u64.to_le_bytes());
    refused(&wide, &["general.alignment", "u64"]);
    let fine = accepted(&entry(b"general.alignment", 4, &64u32.to_le_bytes()));
    assert_eq!(fine.alignment(), 64);
}

#[test]
fn tensor_descriptions() {
    let fine = accepted(&tensor(b"t", &[4, 2], 0, 0));
    assert_eq!(fine.tensor("t").unwrap().shape, [2, 4]);
    refused(&tensor(b"", &[4], 0, 0), &["name of 1 to 63 bytes"]);
    refused(&tensor(&[b'n'; 64], &[4], 0, 0), &["found 64"]);
    refused(&tensor(b"\xff", &[4], 0, 0), &["not UTF-8"]);
    refused(&tensor(b"t", &[1; 5], 0, 0), &["at most 4 dimensions"]);
    refused(&tensor(b"t", &[u64::MAX, 2], 0, 0), &["`t`", "countable"]);
    refused(&tensor(b"t", &[1 << 40, 1 << 40], 0, 0), &["countable"]);
    refused(&tensor(b"t", &[4, 0], 0, 0), &["countable"]);
    refused(
        &tensor(b"t", &[16, 2], 2, 0),
        &["whole blocks of 32", "Q4_0"],
    );
    refused(
        &tensor(b"t", &[128], 14, 0),
        &["whole blocks of 256", "Q6_K"],
    );
    refused(&tensor(b"t", &[256], 23, 0), &["IQ4_XS", "llama-quantize"]);
    refused(&tensor(b"t", &[4], 26, 0), &["I32"]);
    refused(&tensor(b"t", &[4], 99, 0), &["unknown element type 99"]);
}

#[test]
fn tensor_places() {
    refused(
        &tensor(b"t", &[4], 0, 32),
        &["start at offset 0", "found 32"],
    );
    refused(&tensor(b"t", &[4], 0, 1), &["found 1"]);
    refused(&tensor(b"t", &[4], 0, u64::MAX), &["`t`"]);
    refused(&tensor(b"t", &[17], 0, 0), &["ends at byte"]);
    let two = |offset: u64, data: usize| {
        let mut raw = Raw::head(3, 2, 0);
        raw.tensor(b"a", &[3], 0, 0).tensor(b"b", &[3], 0, offset);
        raw.data(data).bytes.clone()
    };
    accepted(&two(32, 44));
    refused(&two(12, 64), &["`b`", "start at offset 32", "found 12"]);
    refused(&two(0, 64), &["`b`", "start at offset 32"]);
    refused(&two(64, 96), &["`b`", "start at offset 32"]);
    refused(&two(32, 43), &["`b`", "ends at byte"]);
    let mut same = Raw::head(3, 2, 0);
    same.tensor(b"a", &[3], 0, 0).tensor(b"a", &[3], 0, 32);
    refused(&same.data(64).bytes, &["`a`", "twice"]);
}

#[test]
fn every_truncation_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), &llama_metadata(), &llama_tensors());
    let whole = fs::read(&path).unwrap();
    let end = GgufFile::open(&path).unwrap();
    let end = end.tensors().map(|(_, t)| t.range.end).max().unwrap();
    let cut = dir.path().join("cut.gguf");
    for len in (0..end).step_by(7).chain([end - 1]) {
        fs::write(&cut, &whole[..len]).unwrap();
        assert!(GgufModel::open(&cut).is_err(), "{len}");
    }
    fs::write(&cut, &whole[..end]).unwrap();
    GgufModel::open(&cut).unwrap();
}
