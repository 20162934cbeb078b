//! Whole runs on a tiny model: train, evaluate, predict, merge, continue.

use std::path::Path;

use peft_run::core::format::AdapterFile;
use peft_run::{
    BaseOptions, Event, MergeOptions, OpenOptions, Progress, RunConfig, RunError, TaskFile,
    data::{Dataset, LoadOptions, Task},
    evaluate, evaluate_parts, merge, open, plan, train,
};

use crate::{
    common::cpu,
    tiny::{config, workspace},
};

fn bytes(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("adapter_model.safetensors")).unwrap()
}

#[test]
fn a_run_learns_and_its_files_work() {
    let (dir, model, data) = workspace();
    let output = dir.path().join("out");
    let report = train(&config(&model, &data, &output), &mut ()).unwrap();
    assert!(report.selection.metrics["accuracy"] >= 0.9, "{report:?}");

    let device = cpu();
    let options = OpenOptions {
        model: &model,
        adapter: Some(&output),
        any_base: false,
        task: None,
        base: BaseOptions::default(),
        device: &device,
    };
    let adapted = open(&options).unwrap();
    assert_eq!(adapted.task.labels, ["blame", "praise"]);
    let labels = adapted.task.label_map().unwrap();
    let load = LoadOptions {
        labels: labels.as_ref(),
        ..LoadOptions::new(Task::Classify, 24)
    };
    let (rows, _) = Dataset::load(&data, &load, &adapted.tokenizer).unwrap();
    let before = evaluate(
        &adapted.model,
        &rows,
        adapted.task.objective().as_ref(),
        7,
        &device,
    )
    .unwrap();
    let parts = Dataset::parts(&data, &load, &adapted.tokenizer, 14).unwrap();
    let parted = evaluate_parts(
        &adapted.model,
        parts,
        adapted.task.objective().as_ref(),
        7,
        &device,
    )
    .unwrap();
    assert_eq!(
        (parted.rows, &parted.metrics),
        (before.rows, &before.metrics)
    );
    assert!((parted.loss - before.loss).abs() < 1e-6 * before.loss.max(1.0));

    let merged = dir.path().join("merged");
    merge(&MergeOptions::new(&model, &output, &merged, &device)).unwrap();
    let options = OpenOptions {
        model: &merged,
        adapter: None,
        any_base: false,
        task: None,
        base: BaseOptions::default(),
        device: &device,
    };
    let whole = open(&options).unwrap();
    assert_eq!(whole.task.labels, ["blame", "praise"]);
    let after = evaluate(
        &whole.model,
        &rows,
        whole.task.objective().as_ref(),
        7,
        &device,
    )
    .unwrap();
    assert!(
        (before.loss - after.loss).abs() < 1e-5,
        "{before:?} {after:?}"
    );
    assert_eq!(before.metrics, after.metrics);

    let events = std::fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    let kinds: Vec<String> = events
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|event| event["event"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds.first().map(String::as_str), Some("plan"));
    assert_eq!(kinds.last().map(String::as_str), Some("final"));
    assert!(output.join("last/adapter_config.json").exists());
}

#[test]
fn equal_seeds_give_equal_bits_at_any_number_of_threads() {
    let (dir, model, data) = workspace();
    let run = |name: &str, threads: usize, seed: u64| {
        let output = dir.path().join(name);
        let mut config = config(&model, &data, &output);
        config.steps = Some(12);
        config.seed = seed;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| train(&config, &mut ()).unwrap());
        bytes(&output.join("last"))
    };
    let one = run("one", 1, 0);
    assert_eq!(one, run("two", 2, 0));
    assert_eq!(one, run("four", 4, 0));
    assert_ne!(one, run("other", 1, 1));
}

#[test]
fn training_continues_from_an_adapter() {
    let (dir, model, data) = workspace();
    let first = dir.path().join("first");
    train(&config(&model, &data, &first), &mut ()).unwrap();
    let second = dir.path().join("second");
    let mut config = config(&model, &data, &second);
    config.adapter = Some(first.clone());
    config.steps = Some(2);
    config.learning_rate = Some(1e-6);
    config.head_learning_rate = Some(1e-6);
    let report = train(&config, &mut ()).unwrap();
    // Had it started afresh, two steps at this rate would have learned nothing.
    assert!(report.selection.metrics["accuracy"] >= 0.9, "{report:?}");
    assert_ne!(bytes(&first), bytes(&second));
    config.output = dir.path().join("third");
    config.method_config.insert("r".into(), 4.into());
    let error = train(&config, &mut ()).unwrap_err().to_string();
    assert!(
        error.contains("`r`") && error.contains("has 8, and 4 is given"),
        "{error}"
    );
    config.method = "nothing".into();
    assert!(
        train(&config, &mut ())
            .unwrap_err()
            .to_string()
            .contains("lora")
    );
}

/// What concerns training takes effect on an adapter that is continued; what concerns its start is refused.
#[test]
fn settings_that_no_adapter_file_holds_are_obeyed_or_refused_by_name() {
    let (dir, model, data) = workspace();
    let first = dir.path().join("first");
    train(&config(&model, &data, &first), &mut ()).unwrap();
    let go_on = |name: &str, settings: &[(&str, serde_json::Value)]| {
        let mut config = config(&model, &data, &dir.path().join(name));
        config.adapter = Some(first.clone());
        config.steps = Some(1);
        config.warmup = 0.0;
        config.learning_rate = Some(1e-3);
        let settings = settings.iter().cloned();
        config
            .method_config
            .extend(settings.map(|(key, value)| (key.to_owned(), value)));
        train(&config, &mut ()).map(|_| config.output)
    };
    let last = |output: &Path| AdapterFile::read(&output.join("last")).unwrap().tensors;
    let start = AdapterFile::read(&first).unwrap().tensors;
    // Adam's first step is the rate itself: 16 times as long for B.
    let output = go_on("plus", &[("loraplus_lr_ratio", 16.into())]).unwrap();
    for (key, tensor) in last(&output) {
        let rate = if key.contains("lora_B") { 16e-3 } else { 1e-3 };
        if key.contains("lora_") {
            let pairs = tensor.to_f32().unwrap().into_iter();
            let moved = pairs.zip(start[&key].to_f32().unwrap());
            let moved = moved.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!((moved / rate - 1.0).abs() < 1e-2, "{key}: {moved}");
        }
    }
    // Defaults and what the adapter has are no contradiction.
    go_on(
        "same",
        &[("lora_alpha", 16.into()), ("use_rslora", false.into())],
    )
    .unwrap();
    let error = go_on("start", &[("init_lora_weights", "gaussian".into())]);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("`init_lora_weights`") && error.contains("starts"),
        "{error}"
    );
}

/// An adapter of PEFT tells no names of its labels: which of the data's are taken for which is said.
#[test]
fn names_that_an_adapter_does_not_tell_are_told() {
    #[derive(Default)]
    struct Notices(Vec<String>);
    impl Progress for Notices {
        fn event(&mut self, _: &Event) {}
        fn notice(&mut self, text: &str) {
            self.0.push(text.to_owned());
        }
    }
    let (dir, model, data) = workspace();
    let first = dir.path().join("first");
    let mut config = config(&model, &data, &first);
    config.steps = Some(1);
    train(&config, &mut ()).unwrap();
    config.adapter = Some(first.clone());
    for (name, told) in [("known", false), ("unknown", true)] {
        if told {
            std::fs::remove_file(first.join("task.json")).unwrap();
        }
        config.output = dir.path().join(name);
        let mut notices = Notices::default();
        train(&config, &mut notices).unwrap();
        let text = notices.0.concat();
        let says = text.contains("0 is `blame`, 1 is `praise`");
        assert_eq!(says, told, "{text}");
    }
}

#[test]
fn layers_without_targets_restrict_the_default_targets() {
    let (dir, model, data) = workspace();
    let output = dir.path().join("out");
    let mut config = config(&model, &data, &output);
    config.steps = Some(1);
    config.layers = vec![1];
    train(&config, &mut ()).unwrap();
    let adapter = AdapterFile::read(&output).unwrap();
    let adapted = adapter.tensors.keys().filter(|key| key.contains("lora_A"));
    let layers: Vec<bool> = adapted.map(|key| key.contains("layer.1.")).collect();
    assert_eq!(layers, [true, true]);
    // So do they restrict all linear layers, beside which PEFT's files cannot name any.
    config.output = dir.path().join("all");
    config.target_modules = peft_run::core::format::TargetModules::AllLinear;
    train(&config, &mut ()).unwrap();
    let adapter = AdapterFile::read(&config.output).unwrap();
    let adapted: Vec<&String> = (adapter.tensors.keys())
        .filter(|key| key.contains("lora_A"))
        .collect();
    assert_eq!(adapted.len(), 6, "{adapted:?}");
    assert!(adapted.iter().all(|key| key.contains("layer.1.")));
}

#[test]
fn the_rate_of_a_head_depends_on_the_number_of_classes() {
    let (dir, model, data) = workspace();
    let many = dir.path().join("many.csv");
    let rows = (0..24).map(|i| format!("good word{i},class {}\n", i % 3));
    let text = format!("text,label\n{}", rows.collect::<String>());
    std::fs::write(&many, text).unwrap();
    for (data, given, saved, told) in [
        (&data, None, vec![], "2e-3"),
        (&many, None, vec![], "2e-2"),
        (&many, Some(5e-3), vec![], "5e-3"),
        // What is trained beside the head would take its rate.
        (&many, None, vec!["pooler".to_owned()], "2e-3"),
    ] {
        let output = dir.path().join("out");
        let mut config = config(&model, data, &output);
        config.head_learning_rate = given;
        config.modules_to_save = saved;
        (config.steps, config.overwrite) = (Some(1), true);
        train(&config, &mut ()).unwrap();
        let record = std::fs::read_to_string(output.join("run.toml")).unwrap();
        let line = record
            .lines()
            .find(|line| line.starts_with("head_learning_rate = "))
            .unwrap();
        let rate: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(rate, told.parse::<f64>().unwrap(), "{line}");
    }
    // A head that has learned already is no new one.
    let mut again = config(&model, &many, &dir.path().join("again"));
    (again.head_learning_rate, again.steps) = (None, Some(1));
    again.learning_rate = Some(1e-3);
    again.adapter = Some(dir.path().join("out"));
    train(&again, &mut ()).unwrap();
    let record = std::fs::read_to_string(again.output.join("run.toml")).unwrap();
    assert!(record.contains("head_learning_rate = 0.002"), "{record}");
}

#[test]
fn an_interrupted_run_saves_what_it_has() {
    struct StopAt(u64);
    impl Progress for StopAt {
        fn event(&mut self, event: &Event) {
            if let Event::Step { .. } = event {
                self.0 -= 1;
            }
        }
        fn should_stop(&self) -> bool {
            self.0 == 0
        }
    }
    let (dir, model, data) = workspace();
    let output = dir.path().join("out");
    let error = train(&config(&model, &data, &output), &mut StopAt(5)).unwrap_err();
    assert!(matches!(error, RunError::Interrupted { step: 5, .. }));
    assert!(error.to_string().contains("`resume`"), "{error}");
    assert!(TaskFile::read(&output.join("last")).unwrap().is_some());
    let card = std::fs::read_to_string(output.join("README.md")).unwrap();
    assert!(card.contains("interrupted after step 5"), "{card}");
    for file in ["loss.svg", "accuracy.svg", "run.toml"] {
        assert!(output.join(file).exists(), "{file}");
    }
}

#[test]
fn mistakes_are_errors_that_say_what_to_do() {
    let (dir, model, data) = workspace();
    let output = dir.path().join("out");
    let base = config(&model, &data, &output);
    let fails = |change: &dyn Fn(&mut RunConfig), word: &str| {
        let mut config = base.clone();
        change(&mut config);
        let error = train(&config, &mut ()).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
        assert!(!output.join("adapter_config.json").exists());
    };
    fails(&|c| c.learning_rate = Some(f64::NAN), "`learning_rate`");
    fails(&|c| c.batch_size = 0, "`batch_size`");
    fails(&|c| c.method = "lorra".into(), "lora");
    fails(&|c| c.model = "nowhere".into(), "nowhere");
    fails(&|c| c.data = "nowhere.csv".into(), "nowhere.csv");
    fails(
        &|c| drop(c.method_config.insert("rank".into(), 3.into())),
        "rank",
    );
    fails(
        &|c| drop(c.method_config.insert("r".into(), 0.into())),
        "rank is 0",
    );
    let one = dir.path().join("one.csv");
    std::fs::write(&one, "text,label\ngood,praise\nword9,praise\n").unwrap();
    fails(&|c| c.data = one.clone(), "one");
    // A rate that breaks training down is named, not saved.
    fails(
        &|c| (c.head_learning_rate, c.clip) = (Some(1e38), 0.0),
        "finite",
    );
}

#[test]
fn a_run_counts_what_is_shared_once() {
    let (dir, model, data) = workspace();
    let output = dir.path().join("out");
    let mut config = config(&model, &data, &output);
    config.method = "lorta".into();
    config.method_config.insert("num_heads".into(), 4.into());
    let expected = plan(&config).unwrap();
    // Rank 4, width 32, four heads of 8; layers and two matrices of each.
    let layers = expected.targets / 2;
    assert_eq!(expected.trainable_parameters, 4 * (32 + 8 + 4 + layers + 2));
    train(&config, &mut ()).unwrap();
    let file = std::fs::metadata(output.join("adapter_model.safetensors")).unwrap();
    assert_eq!(file.len(), expected.adapter_bytes);
}

/// Pairs of texts with a number, as STS-B has them.
#[test]
fn pairs_of_texts_have_a_similarity() {
    let (dir, model, _) = workspace();
    let [data, output] = ["pairs.csv", "out"].map(|name| dir.path().join(name));
    let mut rows = "sentence1,sentence2,score\n".to_owned();
    for i in 0..240 {
        let word = |k: usize| format!("word{}", 7 + (i * 31 + k * 17) % 92);
        let [first, second] = [["good", "good"], ["good", "bad"], ["bad", "bad"]][i % 3];
        let score = if first == second { 5.0 } else { 1.5 };
        rows += &format!("{} {first},{second} {},{score}\n", word(1), word(2));
    }
    std::fs::write(&data, rows).unwrap();
    let mut config = config(&model, &data, &output);
    config.task = Task::Regress;
    config.epochs = 20.0;
    let report = train(&config, &mut ()).unwrap();
    let metrics = &report.selection.metrics;
    assert!(
        metrics["pearson"] >= 0.8 && metrics.contains_key("spearman"),
        "{report:?}"
    );
    let saved = peft_run::core::format::AdapterConfig::read(&output).unwrap();
    assert_eq!(saved.task_type(), Some("SEQ_CLS"));

    // The second text is one of its own: segments tell it from the first, as transformers' pairs have them.
    let tokenizer = peft_run::data::TextTokenizer::from_dir(&model).unwrap();
    let load = LoadOptions::new(Task::Regress, 24);
    let (set, _) = Dataset::load(&data, &load, &tokenizer).unwrap();
    let first = set.batch(&[0]).unwrap();
    assert_eq!(first.type_ids, [0, 0, 0, 0, 1, 1, 1]);
}
