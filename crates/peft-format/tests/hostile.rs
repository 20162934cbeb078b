//! Damaged and malicious files: always an error that names the file, never a panic.

use std::fs;
use std::path::Path;

use peft_format::{AdapterFile, Checkpoint};
use proptest::prelude::*;

const NAME: &str = "model.safetensors";

fn raw(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

fn valid() -> Vec<u8> {
    raw(
        br#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F16","shape":[2,2],"data_offsets":[8,16]}}"#,
        &[7; 16],
    )
}

/// Opens the bytes both ways and reads all there is.
fn open(dir: &Path, bytes: &[u8]) -> Result<(), String> {
    let path = dir.join(NAME);
    fs::write(&path, bytes).unwrap();
    let adapter = AdapterFile::read(&path);
    let model = Checkpoint::open(&path).map_err(|e| e.to_string())?;
    assert!(adapter.is_ok(), "the two readers disagree");
    for name in model.names() {
        let view = model.view(name).unwrap();
        assert_eq!(view.bytes.len() * 8, view.elements() * view.dtype.bitsize());
        let _ = model.to_f32(name);
    }
    Ok(())
}

fn refused(what: &str, bytes: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let message = open(dir.path(), bytes).expect_err(what);
    assert!(message.contains(NAME), "{what}: {message}");
    assert!(message.len() < 1200, "{what}: {} characters", message.len());
}

fn one(info: &str, data: usize) -> Vec<u8> {
    raw(format!(r#"{{"t":{info}}}"#).as_bytes(), &vec![0; data])
}

#[test]
fn the_valid_file_is_valid() {
    open(tempfile::tempdir().unwrap().path(), &valid()).unwrap();
}

#[test]
fn every_truncation_is_refused() {
    for len in 0..valid().len() {
        refused("truncated", &valid()[..len]);
    }
    refused("trailing bytes", &[&valid()[..], &[0]].concat());
}

#[test]
fn lying_header_lengths() {
    for length in [
        0u64,
        1,
        139,
        100_000_001,
        1 << 40,
        i64::MAX as u64,
        u64::MAX - 7,
        u64::MAX,
    ] {
        let mut bytes = valid();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        refused("header length", &bytes);
    }
}

#[test]
fn headers_that_are_none() {
    refused("spaces", &raw(&[b' '; 64], &[]));
    refused("not UTF-8", &raw(b"{\"\xff\xfe\":1}", &[]));
    refused("an array", &raw(b"[]", &[]));
    refused("a number", &raw(b"1e999", &[]));
    refused("deep nesting", &raw(&[b'['; 100_000], &[]));
    refused(
        "deep nesting in a tensor",
        &raw(&[b"{\"a\":".repeat(50_000), vec![b'1']].concat(), &[]),
    );
    refused("text after it", &raw(b"{} {}", &[]));
    refused(
        "metadata of numbers",
        &raw(br#"{"__metadata__":{"a":1}}"#, &[]),
    );
    refused(
        "repeated metadata",
        &raw(br#"{"__metadata__":{},"__metadata__":{}}"#, &[]),
    );
    refused(
        "repeated metadata key",
        &raw(br#"{"__metadata__":{"a":"","a":""}}"#, &[]),
    );
}

#[test]
fn repeated_tensors() {
    let t = r#""t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    refused(
        "twice the same",
        &raw(format!("{{{t},{t}}}").as_bytes(), &[0]),
    );
    let other = r#""t":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}"#;
    refused(
        "twice, elsewhere",
        &raw(format!("{{{t},{other}}}").as_bytes(), &[0; 2]),
    );
}

#[test]
fn lying_offsets() {
    let offsets = |start: &str, end: &str| {
        one(
            &format!(r#"{{"dtype":"U8","shape":[4],"data_offsets":[{start},{end}]}}"#),
            4,
        )
    };
    open(tempfile::tempdir().unwrap().path(), &offsets("0", "4")).unwrap();
    for (start, end) in [
        ("0", "5"),
        ("1", "5"),
        ("4", "0"),
        ("-1", "3"),
        ("0", "3"),
        ("0", "4.5"),
    ] {
        refused("offsets", &offsets(start, end));
    }
    for (start, end) in [
        ("18446744073709551612", "0"),
        ("0", "18446744073709551615"),
        ("0", "1e3"),
    ] {
        refused("huge offsets", &offsets(start, end));
    }
}

#[test]
fn overlaps_and_holes() {
    let two = |a: (usize, usize), b: (usize, usize)| {
        let t = |n, (s, e): (usize, usize)| {
            format!(
                r#""{n}":{{"dtype":"U8","shape":[{}],"data_offsets":[{s},{e}]}}"#,
                e - s
            )
        };
        raw(
            format!("{{{},{}}}", t("a", a), t("b", b)).as_bytes(),
            &[0; 8],
        )
    };
    open(tempfile::tempdir().unwrap().path(), &two((4, 8), (0, 4))).unwrap();
    refused("overlap", &two((0, 5), (4, 8)));
    refused("the same bytes", &two((0, 8), (0, 8)));
    refused("a hole", &two((0, 3), (4, 8)));
    refused("a hole at the end", &two((0, 3), (3, 7)));
}

#[test]
fn shapes_that_do_not_fit() {
    let shape = |dtype: &str, shape: &str, bytes: usize| {
        one(
            &format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{bytes}]}}"#),
            bytes,
        )
    };
    refused("too few bytes", &shape("F32", "[3]", 8));
    refused("too many bytes", &shape("F32", "[]", 8));
    refused(
        "a product that overflows",
        &shape("F32", "[4294967296,4294967296,4]", 8),
    );
    refused(
        "bits that overflow",
        &shape("F64", "[2305843009213693952]", 0),
    );
    refused(
        "overflow hidden by a zero",
        &shape("F32", "[18446744073709551615,2,0]", 0),
    );
    refused("half a byte", &shape("F4", "[1]", 1));
    refused("negative", &shape("F32", "[-1]", 4));
    refused("no such type", &shape("F33", "[1]", 4));
    refused("no type", &one(r#"{"shape":[1],"data_offsets":[0,4]}"#, 4));
}

/// Eight tensors whose lengths add up to 2^64: the sum wraps to what the file has.
#[test]
fn lengths_whose_sum_wraps() {
    let step = 1u128 << 60;
    let tensors: Vec<String> = (0..16u128)
        .map(|i| {
            let (start, end) = (i * step, ((i + 1) * step).min(u64::MAX as u128));
            format!(
                r#""t{i:02}":{{"dtype":"U8","shape":[{}],"data_offsets":[{start},{end}]}}"#,
                end - start
            )
        })
        .collect();
    refused(
        "wrapping sum",
        &raw(format!("{{{}}}", tensors.join(",")).as_bytes(), &[]),
    );
}

#[test]
fn things_that_are_no_files() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(NAME)).unwrap();
    for path in [
        dir.path().join(NAME),
        dir.path().to_owned(),
        dir.path().join("gone"),
    ] {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let model = Checkpoint::open(&path).unwrap_err().to_string();
        let adapter = AdapterFile::read(&path).unwrap_err().to_string();
        assert!(
            model.contains(&name) && adapter.contains(&name),
            "{model} {adapter}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_does_not_block() {
    let path = Path::new("/dev/null");
    assert!(
        Checkpoint::open(path)
            .unwrap_err()
            .to_string()
            .contains("special file")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn random_damage_never_panics(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 0..6),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        let mut bytes = valid();
        for (place, mask) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= mask;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let dir = tempfile::tempdir().unwrap();
        if let Err(message) = open(dir.path(), &bytes) {
            prop_assert!(message.contains(NAME), "{}", message);
        }
    }
}
