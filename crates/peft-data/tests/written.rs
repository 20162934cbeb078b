//! Files as programs write them: separators, quotes, line ends, lists and missing values in cells, and
//! what is no file of rows at all.

use peft_data::{
    DataError, Dataset, Format, Labels, LoadOptions, ReadOptions, Row, RowReader, Task,
    TextTokenizer,
};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn read(text: &str, format: Format, options: &ReadOptions) -> Result<Vec<Row>, DataError> {
    let stream = Box::new(Cursor::new(text.as_bytes().to_vec()));
    RowReader::from_stream(stream, "f", format, options)?.collect()
}

fn cells(text: &str, format: Format, options: &ReadOptions) -> Vec<[String; 2]> {
    let rows = read(text, format, options).unwrap();
    let columns = rows[0].names().to_vec();
    assert_eq!(columns.len(), 2, "{columns:?}");
    let cell = |row: &Row, at: usize| row.text(&columns[at], "f").unwrap().to_owned();
    rows.iter()
        .map(|row| [cell(row, 0), cell(row, 1)])
        .collect()
}

fn load(
    text: &str,
    format: Format,
    read: ReadOptions,
    task: Task,
) -> Result<(Dataset, Vec<String>), DataError> {
    let stream = Box::new(Cursor::new(text.as_bytes().to_vec()));
    let reader = RowReader::from_stream(stream, "rows", format, &read)?;
    let tokenizer = TextTokenizer::from_dir(&fixture("wordpiece")).unwrap();
    let (set, _) = Dataset::from_reader(reader, &LoadOptions::new(task, 16), &tokenizer)?;
    let names = set.label_map().map(|map| map.names().to_vec());
    Ok((set, names.unwrap_or_default()))
}

fn message(text: &str, format: Format, read: ReadOptions, task: Task) -> String {
    load(text, format, read, task).unwrap_err().to_string()
}

const PLAIN: ReadOptions = ReadOptions {
    format: None,
    header: true,
    delimiter: None,
};

#[test]
fn separators_are_told_by_the_header() {
    let want = [["a, b", "1"], ["c", "0"]];
    for (text, format) in [
        ("text;label\na, b;1\nc;0\n", Format::Csv),
        ("text|label\r\na, b|1\r\nc|0\r\n", Format::Csv),
        ("text\tlabel\na, b\t1\nc\t0\n", Format::Csv),
        ("sep=;\ntext;label\na, b;1\nc;0\n", Format::Csv),
        ("text,label\n\"a, b\",1\nc,0\n", Format::Csv),
        ("text,label\n\"a, b\",1\nc,0\n", Format::Tsv),
        // Of a Macintosh of old.
        ("text,label\r\"a, b\",1\rc,0\r", Format::Csv),
        ("text\tlabel\ra, b\t1\rc\t0", Format::Tsv),
    ] {
        assert_eq!(cells(text, format, &PLAIN), want, "{text:?}");
    }
    let lines = read("a\rb\rc", Format::Text, &PLAIN).unwrap();
    assert_eq!(lines.len(), 3);
    let objects = read(
        "{\"text\":\"a\"}\r{\"text\":\"b\"}\r",
        Format::Jsonl,
        &PLAIN,
    )
    .unwrap();
    assert_eq!(objects.len(), 2);
}

#[test]
fn separators_and_headers_may_be_given() {
    let given = |text: &str, header| ReadOptions {
        header,
        delimiter: Some(text.parse().unwrap()),
        ..PLAIN
    };
    let want = [["x;y", "1"]];
    assert_eq!(cells("a:b\nx;y:1\n", Format::Csv, &given(":", true)), want);
    let tabs = cells("a\tb\n\"x;y\"\t\"1\"\n", Format::Csv, &given("tab", true));
    assert_eq!(tabs, want);
    assert_eq!(cells("x;y|1\n", Format::Tsv, &given("pipe", false)), want);
    // Given, it is not guessed.
    let one = read("a;b\nx;y\n", Format::Csv, &given("comma", true)).unwrap();
    assert_eq!(one[0].names(), ["a;b"]);

    let bare = ReadOptions {
        header: false,
        ..PLAIN
    };
    let rows = read("so; it; goes,1\n", Format::Csv, &bare).unwrap();
    assert_eq!(rows[0].names(), ["column1", "column2"]);
    let text = "the film,bad\nthe book,good\n";
    let error = message(text, Format::Csv, PLAIN, Task::Classify);
    assert!(error.contains("`no_header`"), "{error}");
    let error = message("text:label\na:b\n", Format::Csv, PLAIN, Task::Classify);
    assert!(error.contains("`delimiter`"), "{error}");
}

#[test]
fn lists_in_cells_are_lists() {
    for text in [
        "text,labels\na,['joy']\nb,\"['joy', 'anger']\"\nc,[]\n",
        "text,labels\na,\"[\"\"joy\"\"]\"\nb,\"[\"\"joy\"\", \"\"anger\"\"]\"\nc,set()\n",
        "text,labels\na,['joy']\nb,['anger' 'joy']\nc,()\n",
        "text,labels\na,joy\nb,\"joy,anger\"\nc,\n",
    ] {
        let (set, names) = load(text, Format::Csv, PLAIN, Task::MultiLabel).unwrap();
        assert_eq!(names, ["anger", "joy"], "{text}");
        let Labels::MultiHot { values, .. } = set.labels() else {
            panic!("{:?}", set.labels());
        };
        assert_eq!(values, [0.0, 1.0, 1.0, 1.0, 0.0, 0.0], "{text}");
    }
    let hot = "text,labels\na,[1. 0.]\nb,\"[0.0, 1.0]\"\nc,\"[True, True]\"\n";
    let (_, names) = load(hot, Format::Csv, PLAIN, Task::MultiLabel).unwrap();
    assert_eq!(names, ["LABEL_0", "LABEL_1"]);

    for (cell, word) in [
        ("\"[joy, anger]\"", "cannot be read"),
        ("\"{'joy': 1}\"", "cannot be read"),
        ("['joy' nan]", "null"),
    ] {
        let text = format!("text,labels\na,b\nc,{cell}\n");
        let error = message(&text, Format::Csv, PLAIN, Task::MultiLabel);
        assert!(error.contains("row 2") && error.contains(word), "{error}");
    }
    // A name in brackets is a name.
    let (_, names) = load(
        "text,labels\na,[UNK]\nb,c\n",
        Format::Csv,
        PLAIN,
        Task::MultiLabel,
    )
    .unwrap();
    assert_eq!(names, ["[UNK]", "c"]);

    let one = "text,label\na,['joy']\nb,['anger']\n";
    let error = message(one, Format::Csv, PLAIN, Task::Classify);
    assert!(
        error.contains("row 1") && error.contains("`task` multi-label"),
        "{error}"
    );
}

#[test]
fn missing_values_and_measurements_are_no_classes() {
    for missing in ["NaN", "nan", "-nan", "<NA>", "NaT"] {
        let text = format!("text,label\na,0.0\nb,{missing}\nc,1.0\n");
        let error = message(&text, Format::Csv, PLAIN, Task::Classify);
        assert!(
            error.contains("row 2") && error.contains("missing value"),
            "{error}"
        );
    }
    // Of pandas: a column of numbers with a gap.
    let stream = fs::File::open(fixture("parquet/missing_label.parquet")).unwrap();
    let reader = RowReader::parquet(stream, "missing.parquet").unwrap();
    let tokenizer = TextTokenizer::from_dir(&fixture("wordpiece")).unwrap();
    let options = LoadOptions::new(Task::Classify, 16);
    let error = Dataset::from_reader(reader, &options, &tokenizer).unwrap_err();
    assert!(error.to_string().contains("missing value"), "{error}");

    let rows = |count: usize, step: f64| -> String {
        let row = |i: usize| format!("a,{}\n", step * (i % count) as f64);
        "text,label\n".to_owned() + &(0..400).map(row).collect::<String>()
    };
    let error = message(&rows(97, 0.13), Format::Csv, PLAIN, Task::Classify);
    assert!(
        error.contains("97 distinct labels") && error.contains("`task` regress"),
        "{error}"
    );
    // Half stars are classes, and so are many whole numbers.
    let (_, names) = load(&rows(9, 0.5), Format::Csv, PLAIN, Task::Classify).unwrap();
    assert_eq!(names.len(), 9);
    let (_, names) = load(&rows(97, 1.0), Format::Csv, PLAIN, Task::Classify).unwrap();
    assert_eq!(names.len(), 97);
}

#[test]
fn what_is_no_file_of_rows_is_called_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let error = |path: &Path| match RowReader::open(path, &PLAIN) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{}", path.display()),
    };
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 6208\n";
    for ending in ["csv", "tsv", "jsonl", "txt", "parquet"] {
        let path = dir.path().join("pointer").with_extension(ending);
        fs::write(&path, pointer).unwrap();
        assert!(error(&path).contains("Git LFS pointer"), "{ending}");
    }
    let stream = dir.path().join("data.arrow");
    fs::write(&stream, [0xFF; 16]).unwrap();
    let told = error(&stream);
    assert!(
        told.contains("Dataset.from_file") && told.contains("open_stream"),
        "{told}"
    );
    assert!(!told.contains("read_feather"), "{told}");
    for name in ["file.arrow", "file.feather"] {
        let file = dir.path().join(name);
        fs::write(&file, "ARROW1\0\0").unwrap();
        assert!(error(&file).contains("read_feather"));
    }
    fs::copy(&stream, dir.path().join("named.csv")).unwrap();
    assert!(error(&dir.path().join("named.csv")).contains("Arrow"));

    let folder = dir.path().join("saved");
    fs::create_dir(&folder).unwrap();
    assert!(error(&folder).contains("name one file in it"));
    fs::write(folder.join("state.json"), "{}").unwrap();
    assert!(error(&folder).contains("load_from_disk('DIR').to_parquet"));
    fs::write(folder.join("dataset_dict.json"), "{}").unwrap();
    assert!(error(&folder).contains("['train']"));
}

#[test]
fn a_token_without_an_embedding_is_found_with_its_row() {
    let tokenizer = TextTokenizer::from_dir(&fixture("wordpiece")).unwrap();
    let last = tokenizer.vocab_size() as u32 - 1;
    let word = tokenizer.token(last);
    let text = format!("text,label\na,0\nb,1\nb {word},1\n");
    for task in [Task::Classify, Task::CausalLm] {
        let reader = || {
            let stream = Box::new(Cursor::new(text.as_bytes().to_vec()));
            RowReader::new(stream, "rows.csv", Format::Csv, true).unwrap()
        };
        let mut options = LoadOptions::new(task, 16);
        Dataset::from_reader(reader(), &options, &tokenizer).unwrap();
        options.vocab_size = Some(last as usize);
        let error = Dataset::from_reader(reader(), &options, &tokenizer).unwrap_err();
        let told = error.to_string();
        assert!(told.starts_with("rows.csv: row 3"), "{told}");
        assert!(
            told.contains(&word) && told.contains(&last.to_string()),
            "{told}"
        );
    }
}
