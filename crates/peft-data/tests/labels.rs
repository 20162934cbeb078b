//! Several labels a row, labels that are lists, and labels of words.

use peft_data::{
    ColumnMap, DataError, Dataset, Format, LabelMap, Labels, LoadOptions, LoadReport, RowReader,
    Task, TextTokenizer,
};
use std::io::Cursor;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn load(
    text: &str,
    format: Format,
    options: &LoadOptions<'_>,
) -> Result<(Dataset, LoadReport), DataError> {
    let stream = Box::new(Cursor::new(text.as_bytes().to_vec()));
    let reader = RowReader::new(stream, "data", format, true)?;
    let tokenizer = TextTokenizer::from_dir(&fixture("wordpiece")).unwrap();
    Dataset::from_reader(reader, options, &tokenizer)
}

fn hot(text: &str, format: Format, options: &LoadOptions<'_>) -> (Vec<Vec<f32>>, Vec<String>) {
    let (set, report) = load(text, format, options).unwrap();
    let Labels::MultiHot { values, width } = set.labels() else {
        panic!("{:?}", set.labels());
    };
    assert_eq!(set.labels().len(), set.len());
    let names = set.label_map().unwrap().names().to_vec();
    for (label, (name, count)) in report.label_counts.iter().enumerate() {
        let rows = values.chunks(width).filter(|row| row[label] == 1.0).count();
        assert_eq!((name, *count), (&names[label], rows));
    }
    (values.chunks(width).map(<[f32]>::to_vec).collect(), names)
}

fn message(text: &str, format: Format, options: &LoadOptions<'_>) -> String {
    load(text, format, options).unwrap_err().to_string()
}

fn several() -> LoadOptions<'static> {
    LoadOptions::new(Task::MultiLabel, 16)
}

#[test]
fn lists_of_names_and_numbers() {
    let text = "{\"text\":\"a\",\"labels\":[\"joy\",\"anger\"]}\n\
                {\"text\":\"b\",\"labels\":[]}\n{\"text\":\"c\",\"labels\":[\"joy\"]}\n";
    let (rows, names) = hot(text, Format::Jsonl, &several());
    assert_eq!(names, ["anger", "joy"]);
    assert_eq!(rows, [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]);

    let map = LabelMap::from_names(["sad", "joy", "anger"]).unwrap();
    let known = LoadOptions {
        labels: Some(&map),
        ..several()
    };
    assert_eq!(hot(text, Format::Jsonl, &known).0[0], [0.0, 1.0, 1.0]);
    let ids = "{\"text\":\"a\",\"labels\":[2,0]}\n{\"text\":\"a\",\"labels\":1}\n";
    let (rows, names) = hot(ids, Format::Jsonl, &known);
    assert_eq!(rows, [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]);
    assert_eq!(names, map.names());
    let unknown = message(
        "{\"text\":\"a\",\"labels\":[\"fear\"]}\n",
        Format::Jsonl,
        &known,
    );
    assert!(
        unknown.contains("row 1 (line 1), column `labels`: unknown label `fear`"),
        "{unknown}"
    );
}

#[test]
fn lists_of_nought_and_one() {
    let text = "{\"text\":\"a\",\"labels\":[1.0,0.0,1.0]}\n{\"text\":\"b\",\"labels\":[false,false,true]}\n";
    let (rows, names) = hot(text, Format::Jsonl, &several());
    assert_eq!(rows, [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]);
    assert_eq!(names, ["LABEL_0", "LABEL_1", "LABEL_2"]);
    let short = "{\"text\":\"a\",\"labels\":[1.0,0.0]}\n{\"text\":\"b\",\"labels\":[1.0]}\n";
    assert!(
        message(short, Format::Jsonl, &several())
            .contains("row 2 (line 2), column `labels`: expected 2 values of 0 or 1, found 1")
    );
    let share = "{\"text\":\"a\",\"labels\":[0.5,0.0]}\n";
    assert!(message(share, Format::Jsonl, &several()).contains("expected 0 or 1, found `0.5`"));
    let whole = "{\"text\":\"a\",\"labels\":[0,1,0]}\n";
    assert!(
        message(whole, Format::Jsonl, &several())
            .contains("the label 0 is there twice; write a list of 0 and 1 with points")
    );
    let mixed = "{\"text\":\"a\",\"labels\":[\"x\"]}\n{\"text\":\"a\",\"labels\":[1.0]}\n";
    assert!(message(mixed, Format::Jsonl, &several()).contains("write all rows alike"));
}

#[test]
fn separated_texts_and_columns() {
    let text = "text,label\na,\"joy, anger\"\nb,\nc,joy\n";
    let (rows, names) = hot(text, Format::Csv, &several());
    assert_eq!(
        (rows[0].as_slice(), names[1].as_str()),
        (&[1.0, 1.0][..], "joy")
    );
    assert_eq!(rows[1..], [[0.0, 0.0], [0.0, 1.0]]);
    let bar = LoadOptions {
        label_separator: '|',
        ..several()
    };
    let (_, names) = hot("text\tlabel\na\tx, y|z\n", Format::Tsv, &bar);
    assert_eq!(names, ["x, y", "z"]);
    let map = LabelMap::from_names(["drama, comedy", "action"]).unwrap();
    let known = LoadOptions {
        labels: Some(&map),
        ..several()
    };
    let (rows, _) = hot("text,label\na,\"drama, comedy\"\n", Format::Csv, &known);
    assert_eq!(rows, [[1.0, 0.0]]);

    let columns = LoadOptions {
        columns: ColumnMap {
            label: Some("toxic,insult".into()),
            ..ColumnMap::default()
        },
        ..several()
    };
    let (rows, names) = hot(
        "id,text,insult,toxic\n1,a,0,1\n2,b,1,1.0\n",
        Format::Csv,
        &columns,
    );
    assert_eq!(names, ["toxic", "insult"]);
    assert_eq!(rows, [[1.0, 0.0], [1.0, 1.0]]);
    let error = message("text,insult,toxic\na,0,2\n", Format::Csv, &columns);
    assert!(
        error.contains("row 1 (line 2), column `toxic`: expected 0 or 1, found `2`"),
        "{error}"
    );
    assert!(message("text,label\na,\n", Format::Csv, &several()).contains("no row has a label"));
}

#[test]
fn lists_under_other_tasks_are_explained() {
    let classify = LoadOptions::new(Task::Classify, 8);
    let labels = "{\"text\":\"a b\",\"label\":[0,1]}\n";
    let error = message(labels, Format::Jsonl, &classify);
    assert!(
        error.contains("data: row 1 (line 1), column `label`: expected one label, found a list"),
        "{error}"
    );
    assert!(
        error.contains("token-classify") && error.contains("`task` multi-label"),
        "{error}"
    );
    let tokens = "{\"tokens\":[\"a\",\"b\"],\"ner_tags\":[0,1]}\n";
    let error = message(tokens, Format::Jsonl, &classify);
    assert!(
        error.contains("for one label a word, use the setting `task` token-classify"),
        "{error}"
    );
    let words = "{\"text\":[\"a\",\"b\"],\"label\":1}\n{\"text\":[\"a\"],\"label\":0}\n";
    assert!(message(words, Format::Jsonl, &classify).contains("expected text, found a list"));
}

#[test]
fn a_label_that_is_a_text_is_no_label() {
    let text = format!("text,label\na,{}\nb,x\n", "long ".repeat(1000));
    let error = message(&text, Format::Csv, &LoadOptions::new(Task::Classify, 8));
    assert!(
        error.contains("expected a label, found a text of 4999 bytes"),
        "{error}"
    );
}

#[test]
fn batches_carry_their_rows_labels() {
    let text: String = (0..9)
        .map(|i| format!("good,{}\n", ["x", "y", "\"x,y\""][i % 3]))
        .collect();
    let (set, _) = load(&format!("text,label\n{text}"), Format::Csv, &several()).unwrap();
    let batch = set.subset(&[8, 0, 4]).unwrap().batch(&[0, 2]).unwrap();
    let want = Labels::MultiHot {
        values: vec![1.0, 1.0, 0.0, 1.0],
        width: 2,
    };
    assert_eq!(batch.labels, want);
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_gives_classes_and_vectors() {
    let tokenizer = TextTokenizer::from_dir(&fixture("wordpiece")).unwrap();
    let load = |name, options: &LoadOptions<'_>| Dataset::load(&fixture(name), options, &tokenizer);
    let options = LoadOptions::new(Task::Classify, 8);
    let (set, report) = load("parquet/class_label.parquet", &options).unwrap();
    assert_eq!(set.labels(), Labels::Classes(vec![1, 0, 1, 0]));
    assert_eq!(
        report.label_counts,
        [("neg".to_owned(), 2), ("pos".to_owned(), 2)]
    );
    let (set, _) = load("parquet/multi_hot.parquet", &several()).unwrap();
    let want = vec![1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0];
    assert_eq!(
        set.labels(),
        Labels::MultiHot {
            values: want,
            width: 3
        }
    );
    let several = LoadOptions {
        columns: ColumnMap {
            label: Some("tags".into()),
            ..ColumnMap::default()
        },
        ..several()
    };
    let error = load("parquet/layouts_plain_v1.parquet", &several).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("row 8, column `tags`: expected labels, found null"),
        "{error}"
    );
}

fn words(
    text: &str,
    format: Format,
    options: &LoadOptions<'_>,
) -> (Vec<u32>, Vec<u32>, Vec<String>) {
    let (set, report) = load(text, format, options).unwrap();
    let Labels::Words { classes, words } = set.labels() else {
        panic!("{:?}", set.labels());
    };
    assert_eq!(classes.len(), set.tokens());
    let names = set
        .label_map()
        .map_or(Vec::new(), |map| map.names().to_vec());
    assert_eq!(report.label_counts.len(), names.len());
    let of_words = |values: Vec<u32>| {
        let begins = words.iter().map(|word| *word != Labels::IGNORED);
        let pairs = values.into_iter().zip(begins);
        pairs
            .filter(|(_, begins)| *begins)
            .map(|(value, _)| value)
            .collect()
    };
    (of_words(classes), of_words(words.clone()), names)
}

#[test]
fn words_have_a_label_each() {
    let options = LoadOptions::new(Task::TokenClassify, 64);
    let conll = "-DOCSTART- -X- O\n\nthe DT O\nfilm NN B-X\nplot NN I-X\n\n\nthe DT O\n";
    let expected = (
        vec![2, 0, 1, 2],
        vec![0, 1, 2, 0],
        ["B-X", "I-X", "O"].map(String::from).to_vec(),
    );
    assert_eq!(words(conll, Format::Conll, &options), expected);
    let json = "{\"tokens\": [\"the\", \"film\", \"plot\"], \"ner_tags\": [\"O\", \"B-X\", \"I-X\"]}\n\
                {\"tokens\": [\"the\"], \"ner_tags\": [\"O\"]}\n";
    assert_eq!(words(json, Format::Jsonl, &options), expected);
    let csv = "words,tags\n\"['the', 'film', 'plot']\",\"['O', 'B-X', 'I-X']\"\n['the'],['O']\n";
    assert_eq!(words(csv, Format::Csv, &options), expected);

    // Numbers are those of the names that are known; -100 is passed over.
    let map = LabelMap::from_names(["O", "B-X"]).unwrap();
    let known = LoadOptions {
        labels: Some(&map),
        ..options.clone()
    };
    let json = "{\"tokens\": [\"the\", \"film\"], \"tags\": [1, -100]}\n";
    let (classes, places, _) = words(json, Format::Jsonl, &known);
    assert_eq!((classes, places), (vec![1, Labels::IGNORED], vec![0, 1]));

    // Without labels every word is one that may be labelled, of a list or of a text.
    let unlabelled = LoadOptions {
        require_labels: false,
        ..options
    };
    for (text, format) in [
        ("{\"tokens\": [\"the\", \"film\"]}\n", Format::Jsonl),
        ("{\"text\": \"the  film\"}\n", Format::Jsonl),
        ("the\nfilm\n", Format::Conll),
        ("the film\n", Format::Text),
    ] {
        let (classes, places, _) = words(text, format, &unlabelled);
        assert_eq!(classes, [Labels::UNKNOWN; 2], "{text}");
        assert_eq!(places, [0, 1], "{text}");
    }
}

#[test]
fn words_and_labels_that_do_not_fit_are_refused() {
    let options = LoadOptions::new(Task::TokenClassify, 64);
    for (text, format, word) in [
        (
            "{\"tokens\": [\"a\"], \"tags\": [\"O\", \"O\"]}\n",
            Format::Jsonl,
            "1 words, but 2 labels",
        ),
        ("{\"tokens\": [], \"tags\": []}\n", Format::Jsonl, "empty"),
        (
            "{\"tokens\": [\"a\", null], \"tags\": [\"O\", \"O\"]}\n",
            Format::Jsonl,
            "null",
        ),
        (
            "{\"tokens\": [\"a\"], \"tags\": [null]}\n",
            Format::Jsonl,
            "null",
        ),
        (
            "{\"tokens\": \"a b\", \"tags\": [\"O\"]}\n",
            Format::Jsonl,
            "found a text",
        ),
        (
            "{\"tokens\": [\"a\"], \"tags\": \"O\"}\n",
            Format::Jsonl,
            "expected a list of labels",
        ),
        (
            "{\"tokens\": [\"a\"], \"tags\": [-100]}\n",
            Format::Jsonl,
            "passed over",
        ),
        (
            "{\"text\": \"a\", \"label\": \"b\"}\n",
            Format::Jsonl,
            "lists of words",
        ),
        (
            "{\"tokens\": [\"a\"], \"label\": \"b\"}\n",
            Format::Jsonl,
            "labels of words",
        ),
        ("a O\nb\n", Format::Conll, "others have none"),
        ("a\nb O\n", Format::Conll, "others have none"),
        ("a\nb\n", Format::Conll, "expected a list of labels"),
        ("", Format::Conll, "no data rows"),
    ] {
        let error = load(text, format, &options).unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
}
