use super::*;

fn resolve(map: &ColumnMap, names: &[&str]) -> Result<Columns, DataError> {
    let names: Vec<_> = names.iter().map(|&n| n.to_owned()).collect();
    map.resolve(&names, true, "f")
}

fn detect(names: &[&str]) -> (String, Option<String>, Option<String>) {
    let c = resolve(&ColumnMap::default(), names).unwrap();
    (c.text, c.text_pair, c.label)
}

#[test]
fn the_files_of_the_field_are_detected() {
    type Case<'a> = (&'a [&'a str], (&'a str, Option<&'a str>, &'a str));
    let cases: &[Case<'_>] = &[
        (&["sentence", "label"], ("sentence", None, "label")),
        (&["Text", "Label"], ("Text", None, "Label")),
        (
            &["index", "question", "sentence", "label"],
            ("question", Some("sentence"), "label"),
        ),
        (
            &[
                "id",
                "qid1",
                "qid2",
                "question1",
                "question2",
                "is_duplicate",
            ],
            ("question1", Some("question2"), "is_duplicate"),
        ),
        (
            &["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"],
            ("#1 String", Some("#2 String"), "Quality"),
        ),
        (
            &["sentence1", "sentence2", "label1", "gold_label"],
            ("sentence1", Some("sentence2"), "gold_label"),
        ),
        (&["text", "label", "label_text"], ("text", None, "label")),
    ];
    for (names, (text, pair, label)) in cases {
        let want = (
            text.to_string(),
            pair.map(str::to_owned),
            Some(label.to_string()),
        );
        assert_eq!(detect(names), want);
    }
}

#[test]
fn explicit_columns_win() {
    let text = ColumnMap {
        text: Some("sentence1".into()),
        ..ColumnMap::default()
    };
    let got = resolve(&text, &["sentence1", "sentence2", "label"]).unwrap();
    assert_eq!(got.text_pair, None);
    let label = ColumnMap {
        label: Some("sentence".into()),
        ..ColumnMap::default()
    };
    let got = resolve(&label, &["question", "sentence", "label"]).unwrap();
    assert_eq!((got.text.as_str(), got.text_pair), ("question", None));
}

#[test]
fn a_label_may_be_several_columns_where_rows_have_several_labels() {
    let map = ColumnMap {
        label: Some("toxic, insult".into()),
        ..ColumnMap::default()
    };
    let names = ["id", "text", "insult", "toxic"].map(str::to_owned);
    let got = map
        .resolve_for(Task::MultiLabel, &names, true, "f")
        .unwrap();
    assert_eq!(got.flags, ["toxic", "insult"]);
    assert_eq!(got.used(), ["text", "toxic", "insult"]);
    let missing = map.resolve_for(Task::MultiLabel, &names[..3], true, "f");
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .contains("no column `toxic`")
    );
    assert!(map.resolve_for(Task::Classify, &names, true, "f").is_err());
}

#[test]
fn token_classification_is_told_apart() {
    let error = resolve(&ColumnMap::default(), &["id", "tokens", "ner_tags"]).unwrap_err();
    assert!(error.to_string().contains("token-classify"), "{error}");
}

#[test]
fn failures_list_columns_and_flags() {
    let none = resolve(&ColumnMap::default(), &["foo", "bar"])
        .unwrap_err()
        .to_string();
    assert!(
        none.contains("`foo`, `bar`") && none.contains("the setting `text_column`"),
        "{none}"
    );
    let label = resolve(&ColumnMap::default(), &["text"])
        .unwrap_err()
        .to_string();
    assert!(label.ends_with("the setting `label_column`"), "{label}");
    let map = ColumnMap {
        text: Some("txt".into()),
        ..ColumnMap::default()
    };
    let missing = resolve(&map, &["text", "label"]).unwrap_err().to_string();
    assert!(missing.contains("no column `txt`"), "{missing}");
    let map = ColumnMap {
        text: Some("label".into()),
        ..ColumnMap::default()
    };
    assert!(
        resolve(&map, &["text", "label"])
            .unwrap_err()
            .to_string()
            .contains("two roles")
    );
}
