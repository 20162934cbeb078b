//! Files to batches, through the public interface.

use peft_data::{
    BatchPlan, ColumnMap, DataError, Dataset, Format, LabelMap, Labels, LoadOptions, LoadReport,
    RowReader, Task, TextTokenizer,
};
use std::io::Cursor;
use std::path::Path;

fn tokenizer() -> TextTokenizer {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wordpiece");
    TextTokenizer::from_dir(&dir).unwrap()
}

fn load_as(
    text: &str,
    format: Format,
    options: &LoadOptions<'_>,
) -> Result<(Dataset, LoadReport), DataError> {
    let stream = Box::new(Cursor::new(text.as_bytes().to_vec()));
    Dataset::from_reader(
        RowReader::new(stream, "data", format, true)?,
        options,
        &tokenizer(),
    )
}

fn load(text: &str, options: &LoadOptions<'_>) -> Result<(Dataset, LoadReport), DataError> {
    load_as(text, Format::Csv, options)
}

fn message(text: &str, options: &LoadOptions<'_>) -> String {
    load(text, options).unwrap_err().to_string()
}

const REVIEWS: &str = "text,label\nthe film is great,pos\na dull noisy mess,neg\n,neg\ngood,pos\n";

#[test]
fn classes_are_learned_or_given() {
    let (set, report) = load(REVIEWS, &LoadOptions::new(Task::Classify, 5)).unwrap();
    assert_eq!(set.labels(), Labels::Classes(vec![1, 0, 0, 1]));
    assert_eq!(
        report.label_counts,
        [("neg".to_owned(), 2), ("pos".to_owned(), 2)]
    );
    assert_eq!((report.rows, report.empty_texts), (4, 1));
    assert!(report.truncated_rows >= 1 && report.truncated_tokens >= 1);
    assert_eq!((report.lengths.min, report.lengths.max), (2, 5));

    let given = LabelMap::from_names(["pos", "neg"]).unwrap();
    let options = LoadOptions {
        labels: Some(&given),
        ..LoadOptions::new(Task::Classify, 5)
    };
    assert_eq!(
        load(REVIEWS, &options).unwrap().0.labels(),
        Labels::Classes(vec![0, 1, 1, 0])
    );
    let error = message("text,label\na,pos\na,meh\n", &options);
    assert!(
        error.contains("row 2 (line 3), column `label`: unknown label `meh`"),
        "{error}"
    );
    assert!(error.contains("`pos`, `neg`"), "{error}");
}

#[test]
fn numbers_are_targets() {
    let options = LoadOptions::new(Task::Regress, 16);
    let jsonl = "{\"sentence1\":\"a\",\"sentence2\":\"good\",\"score\":2.5}\n\
                 {\"score\":3,\"sentence2\":\"a\",\"sentence1\":\"\"}\n";
    let (set, report) = load_as(jsonl, Format::Jsonl, &options).unwrap();
    assert_eq!(set.labels(), Labels::Numbers(vec![2.5, 3.0]));
    assert_eq!((report.label_counts.len(), report.empty_texts), (0, 1));
    assert!(set.batch(&[0]).unwrap().type_ids.contains(&1));
    for bad in ["inf", "NaN", "x", ""] {
        let error = message(&format!("text,score\na,1\na,{bad}\n"), &options);
        assert!(
            error.contains("row 2") && error.contains("finite number"),
            "{error}"
        );
    }
}

#[test]
fn labels_that_are_no_classes_are_refused() {
    let options = LoadOptions::new(Task::Classify, 8);
    let scores: String = (0..50)
        .map(|i| format!("a,{}\n", f64::from(i) / 7.0))
        .collect();
    let error = message(&format!("text,score\n{scores}"), &options);
    assert!(error.contains("50 distinct labels in 50 rows"), "{error}");
    assert!(error.contains("`task` regress"), "{error}");
    let many: String = (0..=10_000).map(|i| format!("a,id{i}\n")).collect();
    assert!(message(&format!("text,label\n{many}"), &options).contains("10000 distinct"));
    assert!(message("text,label\na,x\nb,x\n", &options).contains("nothing to learn"));
    assert!(message("text,label\na,x\nb,\n", &options).contains("row 2"));
    assert!(message("text,label\n", &options).contains("no data rows"));
}

#[test]
fn prediction_needs_no_labels() {
    let options = LoadOptions {
        require_labels: false,
        limit: Some(2),
        ..LoadOptions::new(Task::Classify, 8)
    };
    let (set, _) = load_as("a\nb\nc\n", Format::Text, &options).unwrap();
    assert_eq!((set.len(), set.labels()), (2, Labels::None));
    let columns = ColumnMap {
        text: Some("foo".into()),
        ..ColumnMap::default()
    };
    let (set, _) = load("foo,bar\na,1\n", &LoadOptions { columns, ..options }).unwrap();
    assert_eq!(set.len(), 1);
}

#[test]
fn batches_are_packed_and_cover_the_set() {
    let texts: Vec<String> = (0..57).map(|i| "good film ".repeat(i % 9 + 1)).collect();
    let pairs = texts
        .iter()
        .enumerate()
        .map(|(i, t)| (t.as_str(), (i > 30).then_some("a")));
    let labels = Labels::Classes((0..57).map(|i| i % 2).collect());
    let map = LabelMap::from_names(["no", "yes"]).unwrap();
    let (set, _) = Dataset::from_texts(pairs, labels, Some(map), 64, &tokenizer()).unwrap();
    let plan = BatchPlan::new(&set.lengths(), 8, 5, 0).unwrap();
    let mut seen = 0;
    for rows in plan.iter_from(0) {
        let batch = set.batch(rows).unwrap();
        assert_eq!(batch.row_starts.last(), Some(&batch.tokens()));
        assert_eq!(batch.ids.len(), batch.type_ids.len());
        assert_eq!((batch.rows(), batch.labels.len()), (rows.len(), rows.len()));
        for (i, &row) in rows.iter().enumerate() {
            let range = batch.row_starts[i]..batch.row_starts[i + 1];
            assert_eq!(Some(&batch.ids[range.clone()]), set.ids(row));
            assert_eq!(batch.type_ids[range].contains(&1), row > 30);
        }
        assert_eq!(batch.lengths().max(), Some(batch.max_length()));
        seen += batch.rows();
    }
    assert_eq!(seen, set.len());
    assert!(set.batch(&[57]).is_err());

    let (fit, select) = set.split(0.1, 9).unwrap();
    let (fit_set, select_set) = (set.subset(&fit).unwrap(), set.subset(&select).unwrap());
    assert_eq!((fit_set.len(), select_set.len()), (51, 6));
    assert_eq!(select_set.ids(3), set.ids(select[3]));
    assert_eq!(select_set.labels(), set.batch(&select).unwrap().labels);
}

#[test]
fn texts_and_labels_must_agree() {
    let from = |labels, map| {
        Dataset::from_texts([("a", None), ("b", None)], labels, map, 8, &tokenizer()).map(|_| ())
    };
    assert!(matches!(
        from(Labels::Classes(vec![0]), None),
        Err(DataError::LabelCount { .. })
    ));
    let map = LabelMap::from_names(["x"]).ok();
    let unknown = from(Labels::Classes(vec![0, 1]), map);
    assert!(matches!(unknown, Err(DataError::UnknownLabel { .. })));
    assert!(from(Labels::None, None).is_ok());
}
