//! Token classification: a label for each word.

use std::{fmt::Write as _, path::Path};

use burn::tensor::FloatDType;
use peft_run::{
    BaseOptions, MergeOptions, OpenOptions, Prediction, RunConfig, TaskFile,
    core::{
        AdapterContext,
        format::{AdapterConfig, AdapterFile},
        load_adapter, read_adapter, save_adapter,
    },
    data::{Dataset, LoadOptions, Task},
    evaluate, merge, methods,
    models::{HeadKind, SequenceModel},
    open, plan, predict, train, verify,
};

use crate::{
    common::*,
    tiny::{config, workspace},
};

/// Every family's `…ForTokenClassification` with an adapter of PEFT's: head and all.
#[test]
fn logits_of_tokens_are_those_of_peft() {
    let device = cpu();
    let cases = json("cases.json");
    let mut count = 0;
    for entry in std::fs::read_dir(goldens().join("tokens")).unwrap() {
        let dir = entry.unwrap().path();
        let name = dir.file_name().unwrap().to_str().unwrap();
        let expected = json(&format!("tokens/{name}/expected.json"));
        let base = expected["base"].as_str().unwrap().replace("models/", "");
        let rows = rows(&cases, expected["inputs"].as_str().unwrap());
        let wanted = flat(&expected["logits_f64"]);
        // In single precision no closer than the reference is to itself.
        let own = difference(&flat(&expected["logits_f32"]), &wanted);
        let single = (2.0 * own).max(1e-5);
        for (dtype, tolerance) in [(FloatDType::F32, single), (FloatDType::F64, 1e-11)] {
            let mut folder = folder(&base, dtype);
            folder.drop_head();
            let head = HeadKind::Tokens { outputs: 5 };
            let (model, _) = SequenceModel::load_with(&folder, head, 0, &device).unwrap();
            let config = AdapterConfig::read(&dir).unwrap();
            let method = methods::from_config(&config).unwrap();
            let adapter = read_adapter(&dir, config.clone(), method.as_ref()).unwrap();
            let names = model.names();
            let method = method.as_ref();
            let (model, _) = load_adapter(model, &adapter, method, &names, &device).unwrap();
            let batch = pack(model.config(), &rows, &device);
            let scores = model.forward(&batch, &AdapterContext::inference());
            assert_close(name, &values(scores), &wanted, tolerance);

            let out = tempfile::tempdir().unwrap();
            save_adapter(&model, out.path(), &config, method, &names).unwrap();
            let [old, new] = [&dir, out.path()].map(|dir| AdapterFile::read(dir).unwrap().tensors);
            assert_eq!(old.len(), new.len(), "{name}");
        }
        let report = verify(&goldens().join("models").join(&base), &dir, &device).unwrap();
        assert!(report.problems.is_empty(), "{name}: {:?}", report.problems);
        count += 1;
    }
    assert_eq!(count, 8);
}

/// Sentences whose entities are `good`, maybe with `bad` behind it, and `word90`.
fn sentences() -> Vec<(Vec<String>, Vec<&'static str>)> {
    let sentence = |i: usize| {
        let word = |k: usize| format!("word{}", 7 + (i * 31 + k * 17 + i * k * 7) % 80);
        let length = 4 + i * 5 % 7;
        let mut words: Vec<String> = (0..length).map(word).collect();
        let mut tags = vec!["O"; length];
        let place = i % (length - 1);
        let mut mark = |place: usize, word: &str, tag| {
            words[place] = word.into();
            tags[place] = tag;
        };
        match i % 4 {
            0 => {
                mark(place, "good", "B-PRAISE");
                mark(place + 1, "bad", "I-PRAISE");
            }
            1 => mark(place, "good", "B-PRAISE"),
            2 => mark(place, "word90", "B-BLAME"),
            _ => {}
        }
        (words, tags)
    };
    (0..240).map(sentence).collect()
}

fn write_conll(path: &Path) {
    let mut text = "-DOCSTART- O\n\n".to_owned();
    for (words, tags) in sentences() {
        for (word, tag) in words.iter().zip(tags) {
            writeln!(text, "{word} NN {tag}").unwrap();
        }
        text.push('\n');
    }
    std::fs::write(path, text).unwrap();
}

fn write_jsonl(path: &Path, labelled: bool) {
    let rows = sentences().into_iter().map(|(words, tags)| {
        let row = match labelled {
            true => serde_json::json!({"tokens": words, "ner_tags": tags}),
            false => serde_json::json!({ "tokens": words }),
        };
        row.to_string() + "\n"
    });
    std::fs::write(path, rows.collect::<String>()).unwrap();
}

fn settings(model: &Path, data: &Path, output: &Path) -> RunConfig {
    let mut config = config(model, data, output);
    config.task = Task::TokenClassify;
    config.epochs = 12.0;
    config
}

#[test]
fn entities_are_learned_and_files_work() {
    let (dir, model, _) = workspace();
    let [data, rows, output, merged] =
        ["train.conll", "rows.jsonl", "out", "merged"].map(|name| dir.path().join(name));
    write_conll(&data);
    write_jsonl(&rows, true);
    let config = settings(&model, &data, &output);
    // Queries and values of two layers.
    assert_eq!(plan(&config).unwrap().targets, 4);
    let report = train(&config, &mut ()).unwrap();
    let metrics = &report.selection.metrics;
    assert!(
        metrics["f1"] >= 0.9 && metrics["accuracy"] >= 0.9,
        "{report:?}"
    );
    assert!(metrics.contains_key("precision") && metrics.contains_key("recall"));

    let saved = AdapterConfig::read(&output).unwrap();
    assert_eq!(saved.task_type(), Some("TOKEN_CLS"));
    let task = TaskFile::read(&output).unwrap().unwrap();
    assert_eq!(task.labels, ["B-BLAME", "B-PRAISE", "I-PRAISE", "O"]);

    let device = cpu();
    merge(&MergeOptions::new(&model, &output, &merged, &device)).unwrap();
    let config = std::fs::read_to_string(merged.join("config.json")).unwrap();
    assert!(config.contains("BertForTokenClassification") && config.contains("B-PRAISE"));
    let mut found = Vec::new();
    for (base, adapter, task) in [
        (&model, Some(output.as_path()), None),
        (&merged, None, Some(Task::TokenClassify)),
    ] {
        let options = OpenOptions {
            model: base,
            adapter,
            any_base: false,
            task,
            base: BaseOptions::default(),
            device: &device,
        };
        let opened = open(&options).unwrap();
        let labels = opened.task.label_map().unwrap();
        let load = LoadOptions {
            labels: labels.as_ref(),
            ..LoadOptions::new(Task::TokenClassify, 24)
        };
        let (set, _) = Dataset::load(&rows, &load, &opened.tokenizer).unwrap();
        let objective = opened.task.objective();
        let figures = evaluate(&opened.model, &set, objective.as_ref(), 7, &device).unwrap();
        assert!(figures.metrics["f1"] >= 0.9, "{figures:?}");
        found.push(figures);
    }
    assert!((found[0].loss - found[1].loss).abs() < 1e-5, "{found:?}");
    assert_eq!(found[0].metrics, found[1].metrics);
}

#[test]
fn words_without_labels_are_predicted() {
    let (dir, model, _) = workspace();
    let [data, rows, output] =
        ["train.conll", "rows.jsonl", "out"].map(|name| dir.path().join(name));
    write_conll(&data);
    write_jsonl(&rows, false);
    train(&settings(&model, &data, &output), &mut ()).unwrap();
    let device = cpu();
    let options = OpenOptions {
        model: &model,
        adapter: Some(&output),
        any_base: false,
        task: None,
        base: BaseOptions::default(),
        device: &device,
    };
    let opened = open(&options).unwrap();
    let load = LoadOptions {
        require_labels: false,
        ..LoadOptions::new(Task::TokenClassify, 24)
    };
    let (set, _) = Dataset::load(&rows, &load, &opened.tokenizer).unwrap();
    let objective = opened.task.objective();
    let predictions = predict(&opened.model, &set, objective.as_ref(), 16, &device).unwrap();
    let (mut right, mut all) = (0, 0);
    for (prediction, (words, tags)) in predictions.iter().zip(sentences()) {
        let classes = prediction.classes().unwrap();
        let Prediction::Words { words: places, .. } = prediction else {
            panic!("{prediction:?}")
        };
        assert_eq!(places.len(), words.len());
        all += tags.len();
        let names = classes
            .iter()
            .map(|class| &opened.task.labels[*class as usize]);
        right += names.zip(tags).filter(|(found, tag)| found == tag).count();
    }
    assert!(right as f64 >= 0.95 * all as f64, "{right} of {all}");
}

#[test]
fn labels_that_are_all_passed_over_stop_with_the_cause() {
    let (dir, model, _) = workspace();
    let [data, output] = ["train.jsonl", "out"].map(|name| dir.path().join(name));
    let write = |row: &str| std::fs::write(&data, format!("{row}\n").repeat(20)).unwrap();
    let fails = || {
        let error = train(&settings(&model, &data, &output), &mut ()).unwrap_err();
        error.to_string()
    };
    write(r#"{"tokens": ["good", "bad"], "tags": [-100, -100]}"#);
    let error = fails();
    assert!(error.contains("-100"), "{error}");
    write(r#"{"tokens": ["good", "bad"], "tags": ["O", "O"]}"#);
    let error = fails();
    assert!(error.contains("all words have the label `O`"), "{error}");
    write(r#"{"tokens": ["good", "bad"], "tags": ["O"]}"#);
    let error = fails();
    assert!(error.contains("2 words, but 1 labels"), "{error}");
    // Words that are passed over beside some that count are no fault, but a step of nothing else is.
    let rows = [
        r#"{"tokens": ["good", "bad"], "tags": ["O", -100]}"#,
        r#"{"tokens": ["bad", "good"], "tags": ["B-X", -100]}"#,
        r#"{"tokens": ["word9", "word8"], "tags": [-100, -100]}"#,
    ];
    let rows = rows.map(|row| format!("{row}\n").repeat(16)).concat();
    std::fs::write(&data, rows).unwrap();
    let mut config = settings(&model, &data, &output);
    config.epochs = 1.0;
    let report = train(&config, &mut ()).unwrap();
    assert!(report.selection.loss.is_finite());
    config.output = dir.path().join("single");
    config.batch_size = 1;
    let error = train(&config, &mut ()).unwrap_err().to_string();
    assert!(error.contains("token-classify"), "{error}");
}
