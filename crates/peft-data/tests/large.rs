//! Sets beyond memory, files in parts, and a look at a file.

use peft_data::{
    Dataset, Format, LabelMap, Labels, LoadOptions, Parts, Preview, RowReader, Task, TextTokenizer,
};
use std::io::Cursor;
use std::path::Path;

fn tokenizer() -> TextTokenizer {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wordpiece");
    TextTokenizer::from_dir(&dir).unwrap()
}

fn reader(text: &str, format: Format) -> RowReader {
    RowReader::new(
        Box::new(Cursor::new(text.as_bytes().to_vec())),
        "data",
        format,
        true,
    )
    .unwrap()
}

fn pairs(rows: usize) -> String {
    let row = |i: usize| {
        let pair = if i < 40 { "" } else { "a dull mess" };
        format!(
            "{},{pair},{}\n",
            "good film ".repeat(i % 9 + 1),
            ["no", "yes"][i % 3 % 2]
        )
    };
    let rows: String = (0..rows).map(row).collect();
    format!("text,text_pair,label\n{rows}")
}

#[test]
fn a_spilled_set_is_the_same_set() {
    let (tokenizer, text) = (tokenizer(), pairs(3000));
    let options = LoadOptions::new(Task::Classify, 24);
    let small = LoadOptions {
        spill: 100,
        ..options.clone()
    };
    let load = |o| Dataset::from_reader(reader(&text, Format::Csv), o, &tokenizer).unwrap();
    let ((memory, report), (spilled, spilled_report)) = (load(&options), load(&small));
    assert!(spilled.is_spilled() && !memory.is_spilled());
    assert_eq!(report, spilled_report);
    assert_eq!(memory, spilled);
    assert_eq!(memory.lengths(), spilled.lengths());
    assert_eq!(memory.max_id(), spilled.max_id());
    assert_eq!(
        memory.plan(8, 3, 1).unwrap(),
        spilled.plan(8, 3, 1).unwrap()
    );
    let (fit, select) = spilled.split_sets(0.1, 7).unwrap();
    let (fit_rows, select_rows) = memory.split(0.1, 7).unwrap();
    assert_eq!(fit, memory.subset(&fit_rows).unwrap());
    assert_eq!(select, memory.subset(&select_rows).unwrap());
    assert_eq!(select.tokens() + fit.tokens(), memory.tokens());
}

#[test]
fn parts_are_the_whole() {
    let (tokenizer, text) = (tokenizer(), pairs(2500));
    let map = LabelMap::from_names(["no", "yes"]).unwrap();
    let options = LoadOptions {
        labels: Some(&map),
        ..LoadOptions::new(Task::Classify, 24)
    };
    let (whole, report) =
        Dataset::from_reader(reader(&text, Format::Csv), &options, &tokenizer).unwrap();
    let mut parts = Parts::new(reader(&text, Format::Csv), &options, &tokenizer, 700).unwrap();
    let mut rows = 0;
    for part in parts.by_ref() {
        let part = part.unwrap();
        assert!(part.len() <= 700);
        let same: Vec<usize> = (rows..rows + part.len()).collect();
        assert_eq!(part, whole.subset(&same).unwrap());
        rows += part.len();
    }
    assert_eq!((rows, parts.report()), (2500, report));

    let unknown = LoadOptions::new(Task::Classify, 24);
    let error = Parts::new(reader(&text, Format::Csv), &unknown, &tokenizer, 10)
        .err()
        .unwrap();
    assert!(error.to_string().contains("give their names"), "{error}");
    let empty = Parts::new(
        reader("text,label\n", Format::Csv),
        &options,
        &tokenizer,
        10,
    );
    let errors: Vec<_> = empty.unwrap().collect();
    assert!(matches!(&errors[..], [Err(e)] if e.to_string().contains("no data rows")));
    let broken = format!("{text}a,b,maybe\n");
    let parts = Parts::new(reader(&broken, Format::Csv), &options, &tokenizer, 1000).unwrap();
    let last = parts.last().unwrap().unwrap_err().to_string();
    assert!(
        last.contains("row 2501 (line 2502), column `label`"),
        "{last}"
    );
}

#[test]
fn exact_multiples_end_cleanly() {
    let tokenizer = tokenizer();
    let options = LoadOptions {
        require_labels: false,
        ..LoadOptions::new(Task::Classify, 8)
    };
    let lines = "a good film\n".repeat(20);
    let parts = Parts::new(reader(&lines, Format::Text), &options, &tokenizer, 10).unwrap();
    let sizes: Vec<usize> = parts.map(|p| p.unwrap().len()).collect();
    assert_eq!(sizes, [10, 10]);
}

#[test]
fn a_preview_tells_what_training_would_see() {
    let (tokenizer, text) = (tokenizer(), pairs(300));
    let options = LoadOptions::new(Task::Classify, 12);
    let preview =
        Preview::from_reader(reader(&text, Format::Csv), &options, &tokenizer, 2).unwrap();
    assert_eq!(preview.columns, ["text", "text_pair", "label"]);
    assert_eq!(preview.roles.text_pair.as_deref(), Some("text_pair"));
    assert_eq!(
        (preview.rows, preview.first.len(), preview.empty_texts),
        (300, 2, 40)
    );
    assert_eq!(preview.first[0].tokens[..2], ["[CLS]", "good"]);
    assert_eq!(preview.first[0].tokens.len(), preview.first[0].length);
    assert_eq!(
        preview.label_counts,
        [("no".to_owned(), 200), ("yes".to_owned(), 100)]
    );
    let cut = preview.truncated_rows as f64 / 300.0;
    assert!(preview.truncated_share == cut && cut > 0.1);
    assert!(preview.lengths.max > 12 && preview.lengths.p50 <= preview.lengths.p99);
    assert_eq!(
        preview
            .lengths
            .histogram
            .iter()
            .map(|b| b.rows)
            .sum::<u64>(),
        300
    );
    let json = serde_json::to_value(&preview).unwrap();
    assert_eq!(json["roles"]["text"], "text");

    let regress = LoadOptions::new(Task::Regress, 12);
    let scores = "text,score\na,1\nb,4\n";
    let preview =
        Preview::from_reader(reader(scores, Format::Csv), &regress, &tokenizer, 0).unwrap();
    let targets = preview.targets.unwrap();
    assert_eq!((targets.min, targets.mean, targets.max), (1.0, 2.5, 4.0));
    let unlabelled = LoadOptions {
        require_labels: false,
        ..options
    };
    let lines = reader("one\ntwo\n", Format::Text);
    let preview = Preview::from_reader(lines, &unlabelled, &tokenizer, 5).unwrap();
    assert!(preview.label_counts.is_empty() && preview.first.len() == 2);
}

#[test]
fn multi_hot_labels_survive_memory() {
    let values = vec![1.0, 0.0, 0.0, 1.0, 1.0, 1.0];
    let labels = Labels::MultiHot { values, width: 2 };
    let texts = ["a", "b", "c"].map(|t| (t, None));
    let (set, _) = Dataset::from_texts(texts, labels.clone(), None, 8, &tokenizer()).unwrap();
    assert_eq!(set.labels(), labels);
    let three = LabelMap::from_names(["x", "y", "z"]).ok();
    let error = Dataset::from_texts(texts, labels, three, 8, &tokenizer()).unwrap_err();
    assert!(
        error.to_string().contains("3 names for 2 labels"),
        "{error}"
    );
}
