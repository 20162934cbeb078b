//! Random damage to valid files: an error or a model, never a panic.

use std::fs;
use std::path::Path;

use peft_format::Checkpoint;
use peft_format::gguf::{GgufFile, GgufLora, GgufModel, HeadCounts, tokenizer};
use proptest::prelude::*;

use crate::build::{llama_metadata, llama_tensors, write};
use crate::tokenizers::{byte_level, sentencepiece};

/// Reads all there is to read.
fn read(path: &Path) {
    if let Ok(file) = GgufFile::open(path) {
        for (key, value) in file.metadata() {
            // As text, for a number of the file may be NaN, which no number equals.
            assert_eq!(
                format!("{:?}", file.value(key)),
                format!("{:?}", Some(value))
            );
        }
        for (name, tensor) in file.tensors() {
            let elements: usize = tensor.shape.iter().product();
            assert_eq!(file.to_f32(name).unwrap().len(), elements);
        }
        drop(tokenizer::read(&file));
    }
    if let Ok(model) = GgufModel::open(path) {
        for name in model.names() {
            let len = model.to_f32(name).unwrap().len();
            assert_eq!(model.stored(name).unwrap().to_f32().len(), len);
        }
    }
    if let Ok(checkpoint) = Checkpoint::open(path) {
        for name in checkpoint.names() {
            let info = checkpoint.info(name).unwrap();
            let bytes = checkpoint.bytes(name).unwrap();
            assert_eq!(info.byte_len(), Some(bytes.len()), "{name}");
            assert_eq!(checkpoint.view(name).unwrap().bytes, &*bytes, "{name}");
        }
    }
    let heads = HeadCounts {
        query: 2,
        key_value: 1,
    };
    drop(GgufLora::read(path, heads));
}

/// One way of damaging a file.
#[derive(Debug, Clone)]
enum Damage {
    Set(u8),
    Number(u64, usize),
    Remove(usize),
    Insert(Vec<u8>),
    Truncate,
}

fn damage() -> impl Strategy<Value = (prop::sample::Index, Damage)> {
    let number = prop_oneof![
        Just(0u64),
        Just(1),
        Just(u64::MAX),
        Just(1 << 31),
        Just(1 << 63),
        0..20u64,
        any::<u64>()
    ];
    let kinds = prop_oneof![
        any::<u8>().prop_map(Damage::Set),
        (number, prop_oneof![Just(4usize), Just(8)]).prop_map(|(n, size)| Damage::Number(n, size)),
        (1..16usize).prop_map(Damage::Remove),
        prop::collection::vec(any::<u8>(), 1..16).prop_map(Damage::Insert),
        Just(Damage::Truncate),
    ];
    (any::<prop::sample::Index>(), kinds)
}

fn apply(bytes: &mut Vec<u8>, (at, damage): (prop::sample::Index, Damage)) {
    if bytes.is_empty() {
        return;
    }
    let at = at.index(bytes.len());
    match damage {
        Damage::Set(byte) => bytes[at] = byte,
        Damage::Number(number, size) => {
            let end = bytes.len().min(at + size);
            let number = number.to_le_bytes();
            bytes[at..end].copy_from_slice(&number[..end - at]);
        }
        Damage::Remove(len) => {
            let end = bytes.len().min(at + len);
            bytes.drain(at..end);
        }
        Damage::Insert(more) => {
            bytes.splice(at..at, more);
        }
        Damage::Truncate => bytes.truncate(at),
    }
}

/// The valid files, by number.
fn valid(which: usize) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let mut metadata = llama_metadata();
    match which {
        0 => metadata.extend(byte_level("smollm")),
        _ => metadata.extend(sentencepiece()),
    }
    if which == 2 {
        crate::lora::write_example(&dir.path().join("test.gguf"));
    } else {
        write(dir.path(), &metadata, &llama_tensors());
    }
    fs::read(dir.path().join("test.gguf")).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_files_neither_panic_nor_lie(
        which in 0..3usize,
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let mut bytes = valid(which);
        damages.into_iter().for_each(|d| apply(&mut bytes, d));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("damaged.gguf");
        fs::write(&path, &bytes).unwrap();
        read(&path);
    }

    #[test]
    fn bytes_behind_the_magic_number(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("random.gguf");
        let head = [b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0", &bytes[..]].concat();
        fs::write(&path, &head).unwrap();
        read(&path);
    }
}

#[test]
fn the_valid_files_are_valid() {
    let dir = tempfile::tempdir().unwrap();
    for which in 0..2 {
        let path = dir.path().join(format!("{which}.gguf"));
        fs::write(&path, valid(which)).unwrap();
        GgufModel::open(&path).unwrap();
        tokenizer::read(&GgufFile::open(&path).unwrap()).unwrap();
        read(&path);
    }
}
