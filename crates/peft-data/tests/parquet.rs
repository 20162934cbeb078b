//! Parquet files of other writers, and what is told about broken ones.
#![cfg(feature = "parquet")]

use peft_data::{ReadOptions, Row, RowReader, Value};
use serde_json::Value as Json;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parquet")
}

fn rows(file: &str) -> Vec<Row> {
    let reader = RowReader::open(&folder().join(file), &ReadOptions::default()).unwrap();
    reader.collect::<Result<_, _>>().unwrap()
}

fn same(found: &Value, expected: &Json) -> bool {
    match (found, expected) {
        (Value::Null, Json::Null) => true,
        (Value::Text(text), Json::String(want)) => text == want,
        (Value::Bool(flag), Json::Bool(want)) => flag == want,
        (Value::Number(text), Json::Number(want)) => {
            *text == want.to_string() || text.parse::<f64>().ok() == want.as_f64()
        }
        (Value::List(values), Json::Array(want)) => {
            values.len() == want.len() && values.iter().zip(want).all(|(v, w)| same(v, w))
        }
        _ => false,
    }
}

fn check(file: &str, expected: &str) {
    let text = fs::read_to_string(folder().join(expected)).unwrap();
    let (rows, mut lines) = (rows(file), text.lines());
    for row in &rows {
        let want: Json = serde_json::from_str(lines.next().unwrap()).unwrap();
        for (name, want) in want.as_object().unwrap() {
            let found = row.get(name).unwrap();
            assert!(
                same(found, want),
                "{file}, row {}, {name}: {found:?} for {want}",
                row.number()
            );
        }
        let others = row.iter().filter(|(name, _)| name.starts_with("other"));
        assert!(others.into_iter().all(|(_, value)| *value == Value::Nested));
    }
    assert_eq!(lines.next(), None, "{file} has {} rows", rows.len());
}

/// `tests/fixtures/mint_parquet.py` wrote the files and the expectations with pyarrow.
#[test]
fn rows_equal_pyarrows_in_every_layout() {
    let mut layouts = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("layouts_") {
            check(&name, "layouts.jsonl");
            layouts += 1;
        }
    }
    assert_eq!(layouts, 8);
    for name in ["types", "class_label", "multi_hot"] {
        check(&format!("{name}.parquet"), &format!("{name}.jsonl"));
    }
}

#[test]
fn numbers_keep_their_kind() {
    let row = &rows("types.parquet")[1];
    assert_eq!(row.get("u64"), Some(&Value::Number(u64::MAX.to_string())));
    assert_eq!(row.get("price"), Some(&Value::Number("12.30".to_owned())));
    let hot = &rows("multi_hot.parquet")[0];
    let one = |v: &str| Value::Number(v.to_owned());
    let want = vec![one("1.0"), one("0.0"), one("1.0")];
    assert_eq!(hot.get("labels"), Some(&Value::List(want)));
    assert_eq!((hot.number(), hot.line()), (1, 0));
}

#[test]
fn columns_nobody_wants_are_not_read() {
    let path = folder().join("layouts_zstd_v2.parquet");
    let mut reader = RowReader::open(&path, &ReadOptions::default()).unwrap();
    reader.keep(&["text"]);
    let rows: Vec<Row> = reader.collect::<Result<_, _>>().unwrap();
    assert_eq!(rows.len(), 150);
    assert!(
        rows.iter()
            .all(|r| r.get("big") == Some(&Value::Null) && r.text("text", "f").is_ok())
    );
}

#[test]
fn class_names_come_from_the_file() {
    let path = folder().join("class_label.parquet");
    let reader = RowReader::open(&path, &ReadOptions::default()).unwrap();
    assert_eq!(reader.class_names("label").unwrap(), ["neg", "pos"]);
    assert_eq!(reader.class_names("text"), None);
}

fn message(bytes: Vec<u8>) -> String {
    match RowReader::parquet(Cursor::new(bytes), "data.parquet") {
        Ok(reader) => reader
            .collect::<Result<Vec<_>, _>>()
            .unwrap_err()
            .to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn broken_files_are_located_and_explained() {
    let whole = fs::read(folder().join("layouts_snappy_groups.parquet")).unwrap();
    for length in [0, 3, 11, 100, whole.len() - 1] {
        let error = message(whole[..length].to_vec());
        assert!(error.starts_with("data.parquet: "), "{error}");
        assert!(
            error.contains("PAR1") && error.contains("write or download it again"),
            "{error}"
        );
    }
    let mut damaged = whole.clone();
    // The first page's data, behind its header.
    damaged[60..90].fill(0xFF);
    let error = message(damaged);
    assert!(error.starts_with("data.parquet: row 1: "), "{error}");
    let mut length = whole.clone();
    let at = length.len() - 8;
    length[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(message(length).contains("a footer of 4294967295 bytes"));
}

/// Every cut and every flipped byte: an error or rows, never a panic.
#[test]
fn no_byte_is_trusted() {
    let whole = fs::read(folder().join("multi_hot.parquet")).unwrap();
    let read = |bytes: Vec<u8>| {
        if let Ok(reader) = RowReader::parquet(Cursor::new(bytes), "f") {
            let _ = reader.take(100).collect::<Result<Vec<_>, _>>();
        }
    };
    for at in 0..whole.len() {
        read(whole[..at].to_vec());
        for flip in [0x01, 0x80, 0xFF] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            read(bytes);
        }
    }
}

/// `mint_turns.py` wrote both files.
#[test]
fn lists_of_objects_are_json_where_that_is_wanted() {
    let mut reader =
        RowReader::open(&folder().join("turns.parquet"), &ReadOptions::default()).unwrap();
    reader.keep_nested();
    let rows: Vec<Row> = reader.collect::<Result<_, _>>().unwrap();
    let text = fs::read_to_string(folder().join("turns.jsonl")).unwrap();
    assert_eq!(rows.len(), text.lines().count());
    for (row, line) in rows.iter().zip(text.lines()) {
        let want: Json = serde_json::from_str(line).unwrap();
        let found = match row.get("messages").unwrap() {
            Value::Null => Json::Null,
            Value::Json(text) => serde_json::from_str(text).unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(found, want["messages"], "row {}", row.number());
    }
    let plain = self::rows("turns.parquet");
    assert_eq!(plain[0].get("messages"), Some(&Value::Nested));
}
