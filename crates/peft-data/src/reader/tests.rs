use super::*;
use std::io::{BufReader, Cursor, Read};

fn read_with(text: &[u8], format: Format, header: bool) -> Result<Vec<Row>, DataError> {
    RowReader::new(Box::new(Cursor::new(text.to_vec())), "f", format, header)?.collect()
}

fn read(text: &[u8], format: Format) -> Result<Vec<Row>, DataError> {
    read_with(text, format, true)
}

fn message(text: &[u8], format: Format) -> String {
    read(text, format).unwrap_err().to_string()
}

#[test]
fn bom_crlf_and_unnamed_index_column() {
    let rows = read(b"\xEF\xBB\xBF,text,label\r\n0,hi,1\r\n", Format::Csv).unwrap();
    assert_eq!(rows[0].names(), ["column1", "text", "label"]);
    assert_eq!(rows[0].get("label"), Some(&Value::Text("1".into())));
    assert_eq!((rows[0].number(), rows[0].line()), (1, 2));
}

#[test]
fn tsv_has_no_quoting_and_may_lack_a_header() {
    let rows = read(b"sentence\tlabel\n\"half a quote\t0\n", Format::Tsv).unwrap();
    assert_eq!(rows[0].text("sentence", "f").unwrap(), "\"half a quote");
    let rows = read_with(b"gj04\t1\t\tOur friends\n", Format::Tsv, false).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].text("column4", "f").unwrap(), "Our friends");
}

#[test]
fn jsonl_keeps_order_and_types() {
    let rows = read(
        b"\n{\"b\":1.5,\"a\":null}\n{\"a\":[1],\"c\":true}\n",
        Format::Jsonl,
    )
    .unwrap();
    assert_eq!(rows[0].names(), ["b", "a"]);
    assert_eq!(rows[0].get("b"), Some(&Value::Number("1.5".into())));
    assert_eq!(
        rows[1].get("a"),
        Some(&Value::List(vec![Value::Number("1".into())]))
    );
    assert_eq!(rows[1].iter().count(), 2);
    assert!(
        rows[1]
            .text("b", "f")
            .unwrap_err()
            .to_string()
            .contains("missing")
    );
}

#[test]
fn text_keeps_blank_lines_so_that_indices_match_lines() {
    assert_eq!(read(b"a\n\nb", Format::Text).unwrap().len(), 3);
}

#[test]
fn hostile_input_is_located_and_explained() {
    let ragged = message(b"a,b\n1,2\n1,2,3\n", Format::Csv);
    assert!(
        ragged.contains("row 2 (line 3): expected 2 fields, found 3"),
        "{ragged}"
    );
    let nul = message(b"a,b\n1,\0\n", Format::Csv);
    assert!(
        nul.contains("row 1 (line 2)") && nul.contains("NUL"),
        "{nul}"
    );
    let latin = message(b"a\tb\n1\tcaf\xE9\n", Format::Tsv);
    assert!(
        latin.contains("byte 5") && latin.contains("iconv"),
        "{latin}"
    );
    let array = message(b"[\n{\"a\":1}]", Format::Jsonl);
    assert!(array.contains("jq -c '.[]'"), "{array}");
    let cut = message(b"{\"a\":1}\n{\"a\":\n", Format::Jsonl);
    assert!(cut.contains("row 2 (line 2)"), "{cut}");
    let deep = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
    let rows = read(deep.as_bytes(), Format::Jsonl).unwrap();
    assert_eq!(rows[0].get("a"), Some(&Value::Nested));
    assert!(message(b"a,a\n1,2\n", Format::Csv).contains("two columns are called `a`"));
    assert!(message(b"", Format::Csv).contains("no data rows"));
    assert!(message(b"PAR1\x15", Format::Csv).contains("Parquet"));
}

#[test]
fn sizes_are_bounded() {
    let mut field = b"a,b\n1,".to_vec();
    field.resize(MAX_FIELD_BYTES + 100, b'x');
    let error = message(&field, Format::Csv);
    assert!(error.contains("column `b`: the field is larger"), "{error}");
    // An endless stream without a newline, and an endless quoted field, must both stop.
    let endless = || Box::new(BufReader::new(std::io::repeat(b'x')));
    let error = RowReader::new(endless(), "f", Format::Csv, true)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("the row is larger"), "{error}");
    let quoted = b"a,b\n1,\"".chain(Cursor::new("line\n".repeat(MAX_ROW_BYTES / 5 + 10)));
    let reader = RowReader::new(Box::new(quoted), "f", Format::Csv, true).unwrap();
    let error = reader.last().unwrap().unwrap_err().to_string();
    assert!(
        error.contains("row 1 (line 2): the row is larger"),
        "{error}"
    );
}

#[test]
fn json_rows_are_bounded_and_the_last_of_equal_keys_counts() {
    let rows = read(
        b"{\"a\":1,\"b\":[[2]],\"a\":{\"c\":[3]},\"a\":-4.0}\n",
        Format::Jsonl,
    )
    .unwrap();
    assert_eq!(rows[0].names(), ["a", "b"]);
    assert_eq!(rows[0].get("a"), Some(&Value::Number("-4.0".into())));
    assert_eq!(rows[0].get("b"), Some(&Value::Nested));
    let keys: Vec<String> = (0..MAX_COLUMNS + 1)
        .map(|i| format!("\"k{i}\":0"))
        .collect();
    let wide = format!("{{{}}}", keys.join(","));
    assert!(message(wide.as_bytes(), Format::Jsonl).contains("more than 4096 keys"));
    let again = format!("{{{},\"k17\":9}}", keys[..MAX_COLUMNS].join(","));
    let rows = read(again.as_bytes(), Format::Jsonl).unwrap();
    assert_eq!(rows[0].names().len(), MAX_COLUMNS);
    assert_eq!(rows[0].get("k17"), Some(&Value::Number("9".into())));
    let long = format!("{{\"a\":[{}1]}}", "0,".repeat(MAX_LIST));
    let rows = read(long.as_bytes(), Format::Jsonl).unwrap();
    assert_eq!(rows[0].get("a"), Some(&Value::Nested));
}
