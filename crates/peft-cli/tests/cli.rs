//! The binary as scripts use it: verbs, names of flags, streams, exit codes.

mod common;

use std::path::Path;

use common::{Workspace, done, goldens, peft, refused, stdout};
use serde_json::Value;

#[test]
fn the_verbs_and_flags_of_the_contract_are_there() {
    let contract = [
        (
            "train",
            "--model --data --eval-data --task --method --output --rank --alpha --target-modules --layers \
             --epochs --steps --batch-size --grad-accumulation --learning-rate --head-learning-rate \
             --schedule --warmup --config --resume --n-frequency --max-length --seed --threads --device --adapter --resume --log-format \
             --new-head --overwrite --delimiter --no-header",
        ),
        (
            "eval",
            "--model --adapter --data --task --delimiter --no-header",
        ),
        ("predict", "--model --adapter --data --output --overwrite"),
        ("merge", "--model --adapter --output --overwrite --offline"),
        (
            "convert",
            "--model --adapter --output --overwrite --any-base",
        ),
        (
            "quickstart",
            "--model --output --steps --seed --threads --resume --overwrite --offline",
        ),
    ];
    for (verb, flags) in contract {
        let all = if verb == "train" {
            "--help-all"
        } else {
            "--help"
        };
        let help = done(&[verb, all]);
        for flag in flags.split_whitespace() {
            assert!(
                [" ", "\n", "["]
                    .iter()
                    .any(|end| help.contains(&format!("{flag}{end}"))),
                "{verb} has no {flag}"
            );
        }
    }
    assert!(done(&["--version"]).starts_with("peft "));
    assert!(done(&["devices"]).contains("cpu"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(done(&["completions", shell]).contains("target-modules"));
    }
}

#[test]
fn the_main_job_runs_from_train_to_merge() {
    let work = Workspace::new();
    let [model, rows, out] = ["model", "rows.csv", "out"].map(|name| work.path(name));
    let run = done(&[
        "train",
        "--model",
        &model,
        "--data",
        &rows,
        "--eval-data",
        &rows,
        "--task",
        "classify",
        "--method",
        "lora",
        "--output",
        &out,
        "--epochs",
        "3",
        "--batch-size",
        "16",
        "--learning-rate",
        "1e-2",
        "--head-learning-rate",
        "1e-2",
        "--max-length",
        "16",
        "--threads",
        "1",
        "--log-format",
        "json",
    ]);
    let result: Value = serde_json::from_str(run.lines().last().unwrap()).unwrap();
    assert!(result.is_object(), "{run}");
    for line in std::fs::read_to_string(work.path("out/metrics.jsonl"))
        .unwrap()
        .lines()
    {
        let event: Value = serde_json::from_str(line).unwrap();
        let kind = event["event"].as_str().unwrap();
        assert!(["plan", "step", "eval", "final"].contains(&kind), "{line}");
    }

    let evaluated = done(&[
        "eval",
        "--model",
        &model,
        "--adapter",
        &out,
        "--data",
        &rows,
    ]);
    let evaluated: Value = serde_json::from_str(&evaluated).unwrap();
    assert_eq!(evaluated["rows"], 160);
    assert!(evaluated["accuracy"].as_f64().unwrap() > 0.9, "{evaluated}");

    let predicted = done(&[
        "predict",
        "--model",
        &model,
        "--adapter",
        &out,
        "--data",
        &rows,
    ]);
    assert_eq!(predicted.lines().count(), 160);
    let first: Value = serde_json::from_str(predicted.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["index"], &first["label"]),
        (&0.into(), &"praise".into())
    );
    let names: Vec<&String> = first["probabilities"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["blame", "praise"]);

    let merged = work.path("merged");
    let report = done(&[
        "merge",
        "--model",
        &model,
        "--adapter",
        &out,
        "--output",
        &merged,
    ]);
    assert!(serde_json::from_str::<Value>(&report).unwrap().is_object());
    let again = done(&[
        "eval", "--model", &merged, "--data", &rows, "--task", "classify",
    ]);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["accuracy"], evaluated["accuracy"]);
    // Class by class, in the order of the labels.
    assert_eq!(again["classes"].as_object().unwrap().len(), 2);
    assert!(
        again["classes"]["praise"]["recall"].as_f64().unwrap() > 0.5,
        "{again}"
    );
    assert_eq!(again["confusion_matrix"].as_array().unwrap().len(), 2);

    let inspected = done(&["inspect", &out, "--json"]);
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["peft_type"], "LORA");
    assert!(!inspected["modules"].as_array().unwrap().is_empty());
    assert_eq!(inspected["not_finite"].as_array().unwrap().len(), 0);
    assert!(done(&["inspect", &merged, "--tensors"]).contains("word_embeddings"));
}

#[test]
fn rows_may_have_several_labels() {
    let work = Workspace::new();
    let mut rows = String::new();
    for i in 0..200 {
        let (good, bad) = (i % 2 == 0, i % 3 == 0);
        let mut words = vec![format!("word{}", 7 + i * 31 % 90)];
        let mut labels = Vec::new();
        for (there, word, label) in [(good, "good", "praise"), (bad, "bad", "blame")] {
            if there {
                words.push(word.to_owned());
                labels.push(label);
            }
        }
        let row = serde_json::json!({ "text": words.join(" "), "labels": labels });
        rows += &format!("{row}\n");
    }
    std::fs::write(work.path("rows.jsonl"), rows).unwrap();
    let [model, rows, out] = ["model", "rows.jsonl", "out"].map(|name| work.path(name));
    done(&[
        "train",
        "--model",
        &model,
        "--data",
        &rows,
        "--task",
        "multi-label",
        "--output",
        &out,
        "--epochs",
        "15",
        "--batch-size",
        "16",
        "--learning-rate",
        "1e-2",
        "--head-learning-rate",
        "1e-2",
        "--threads",
        "1",
    ]);
    let evaluated = done(&[
        "eval",
        "--model",
        &model,
        "--adapter",
        &out,
        "--data",
        &rows,
    ]);
    let evaluated: Value = serde_json::from_str(&evaluated).unwrap();
    assert!(evaluated["f1"].as_f64().unwrap() > 0.9, "{evaluated}");
    let predicted = done(&[
        "predict",
        "--model",
        &model,
        "--adapter",
        &out,
        "--data",
        &rows,
    ]);
    let first: Value = serde_json::from_str(predicted.lines().next().unwrap()).unwrap();
    assert_eq!(first["labels"], serde_json::json!(["blame", "praise"]));
}

/// Pairs of sentences with a score, as STS-B has them: one output, squared errors, correlations.
#[test]
fn pairs_of_sentences_are_scored() {
    let work = Workspace::new();
    let mut rows = "sentence1\tsentence2\tscore\n".to_owned();
    for i in 0..200 {
        let word = |good: bool| if good { "good" } else { "bad" };
        let (first, second) = (i % 2 == 0, i % 3 == 0);
        let score = if first == second { 4.5 } else { 0.5 };
        let other = 7 + i * 31 % 90;
        rows += &format!("{} word{other}\t{}\t{score}\n", word(first), word(second));
    }
    std::fs::write(work.path("pairs.tsv"), rows).unwrap();
    let [model, rows, out, merged] =
        ["model", "pairs.tsv", "out", "merged"].map(|name| work.path(name));
    let rates = ["--learning-rate", "2e-2", "--head-learning-rate", "2e-2"];
    let fixed = [
        "train",
        "--model",
        &model,
        "--data",
        &rows,
        "--task",
        "regress",
        "--output",
        &out,
        "--epochs",
        "25",
        "--batch-size",
        "16",
        "--threads",
        "1",
    ];
    done(&[&fixed[..], &rates].concat());
    let used = ["--model", &model, "--adapter", &out, "--data", &rows];
    let evaluated = done(&[&["eval"], &used[..]].concat());
    let evaluated: Value = serde_json::from_str(&evaluated).unwrap();
    for metric in ["pearson", "spearman"] {
        assert!(
            evaluated[metric].as_f64().unwrap() > 0.7,
            "{metric}: {evaluated}"
        );
    }
    let predicted = done(&[&["predict"], &used[..]].concat());
    let first: Value = serde_json::from_str(predicted.lines().next().unwrap()).unwrap();
    assert!(
        first["value"].is_number() && first.get("probabilities").is_none(),
        "{first}"
    );
    done(&[
        "merge",
        "--model",
        &model,
        "--adapter",
        &out,
        "--output",
        &merged,
    ]);
    let config = std::fs::read_to_string(work.path("merged/config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["problem_type"], "regression");
    assert_eq!(config["id2label"].as_object().unwrap().len(), 1);
    let again = done(&["eval", "--model", &merged, "--data", &rows]);
    let again: Value = serde_json::from_str(&again).unwrap();
    let gap = again["mse"].as_f64().unwrap() - evaluated["mse"].as_f64().unwrap();
    assert!(gap.abs() < 1e-3, "{again}: {evaluated}");
}

#[test]
fn memory_saving_flags_train_the_same_task() {
    let work = Workspace::new();
    let train = |name: &str, flags: &[&str]| {
        work.train(name, &[&["--steps", "4", "--threads", "1"], flags].concat());
        std::fs::read(work.path(name) + "/last/adapter_model.safetensors").unwrap()
    };
    let plain = train("plain", &[]);
    assert_eq!(train("again", &[]), plain);
    // The same sums in the same order, computed twice.
    assert_eq!(train("recomputed", &["--recompute"]), plain);
    assert_ne!(train("half", &["--base-dtype", "bf16"]), plain);
}

#[test]
fn products_in_bf16_are_a_setting_with_bits_of_its_own() {
    let work = Workspace::new();
    let train = |output: &str, flags: &str| {
        let fixed = "--steps 6 --batch-size 16 --max-length 24 --learning-rate 1e-2";
        let flags: Vec<&str> = fixed.split(' ').chain(flags.split(' ')).collect();
        let printed: Value = serde_json::from_str(&work.train(output, &flags)).unwrap();
        let path = Path::new(&work.path(output)).join("adapter_model.safetensors");
        let loss = printed["selection"]["loss"].as_f64().unwrap();
        (std::fs::read(path).unwrap(), loss)
    };
    let (plain, exact) = train("f32", "--compute f32");
    let (one, loss) = train("one", "--compute bf16 --threads 1");
    let (two, _) = train("two", "--compute bf16 --threads 2");
    assert!(one == two, "other bits with two threads");
    assert!(one != plain, "the setting does nothing");
    assert!((loss - exact).abs() < 2e-2, "{loss} and {exact}");
    let record = std::fs::read_to_string(work.path("one/run.toml")).unwrap();
    assert!(record.contains("compute = \"bf16\""), "{record}");
    // What a run computes in is a part of it.
    let [model, rows, out] = ["model", "rows.csv", "one"].map(|name| work.path(name));
    let again = "--steps 6 --batch-size 16 --max-length 24 --learning-rate 1e-2 --resume";
    let paths = [
        "train", "--model", &model, "--data", &rows, "--output", &out,
    ];
    let again: Vec<&str> = paths.into_iter().chain(again.split(' ')).collect();
    let told = refused(&again);
    assert!(
        told.contains("--compute") && told.contains("bf16") && told.contains("f32"),
        "{told}"
    );
    let measured = |compute: &str| {
        let place = [
            "eval",
            "--model",
            &model,
            "--data",
            &rows,
            "--adapter",
            &out,
            "--compute",
        ];
        let printed: Value =
            serde_json::from_str(&done(&[&place[..], &[compute]].concat())).unwrap();
        printed["loss"].as_f64().unwrap()
    };
    let (exact, rounded) = (measured("f32"), measured("bf16"));
    assert!(
        exact != rounded && (exact - rounded).abs() < 2e-2,
        "{exact} and {rounded}"
    );
}

#[test]
fn data_is_previewed_without_a_model_being_run() {
    let work = Workspace::new();
    let [model, rows] = ["model", "rows.csv"].map(|name| work.path(name));
    let shown = done(&[
        "data",
        "preview",
        "--model",
        &model,
        "--data",
        &rows,
        "--max-length",
        "4",
    ]);
    assert!(shown.contains("praise: 80 (50.0 %)"), "{shown}");
    assert!(shown.contains("cut        160 rows (100.0 %)"), "{shown}");
    assert!(shown.contains("[CLS]"), "{shown}");
    let object = done(&[
        "data", "preview", "--model", &model, "--data", &rows, "--json",
    ]);
    let object: Value = serde_json::from_str(&object).unwrap();
    assert_eq!(
        (&object["rows"], &object["truncated_rows"]),
        (&160.into(), &0.into())
    );
}

#[test]
fn bad_input_ends_with_2_and_one_line_that_helps() {
    let work = Workspace::new();
    let [model, rows, out] = ["model", "rows.csv", "out"].map(|name| work.path(name));
    let train = |change: &[&str]| {
        let mut arguments = vec![
            "train", "--model", &model, "--data", &rows, "--output", &out, "--steps", "1",
        ];
        arguments.extend(change);
        refused(&arguments)
    };
    assert!(train(&["--target-modules", "qeury"]).contains("query"));
    assert!(train(&["--method", "lroa"]).contains("lora"));
    assert!(train(&["--learning-rate", "0"]).contains("--learning-rate"));
    assert!(train(&["--label-column", "lable"]).contains("label"));
    // A typing error must not take the machine's memory.
    assert!(train(&["--rank", "10000000000"]).contains("this machine has"));
    assert!(train(&["--threads", "100000"]).contains("--threads 100000"));
    assert!(!Path::new(&out).exists(), "a refused run left files");

    let [broken, empty, nowhere] = ["broken.csv", "empty.csv", "nowhere.csv"].map(|n| work.path(n));
    std::fs::write(&broken, "text,label\n\"unclosed,good\n").unwrap();
    std::fs::write(&empty, "").unwrap();
    for data in [&broken, &empty, &nowhere] {
        let line = refused(&["train", "--model", &model, "--data", data, "--output", &out]);
        assert!(line.contains(data.as_str()), "{line}");
    }
    let cut = work.path("cut");
    std::fs::create_dir(&cut).unwrap();
    std::fs::copy(work.path("model/config.json"), work.path("cut/config.json")).unwrap();
    std::fs::copy(work.path("model/vocab.txt"), work.path("cut/vocab.txt")).unwrap();
    let bytes = std::fs::read(work.path("model/model.safetensors")).unwrap();
    std::fs::write(
        work.path("cut/model.safetensors"),
        &bytes[..bytes.len() / 2],
    )
    .unwrap();
    let line = refused(&["train", "--model", &cut, "--data", &rows, "--output", &out]);
    assert!(line.contains("model.safetensors"), "{line}");
    assert!(refused(&["inspect", &cut]).contains("model.safetensors"));
    assert!(refused(&["inspect", &nowhere]).contains("nowhere.csv"));
    // An adapter that no command can use is shown, and yet no success.
    let strange = work.path("strange");
    std::fs::create_dir(&strange).unwrap();
    let from = goldens().join("adapters/lora_qv");
    let weights = "adapter_model.safetensors";
    std::fs::copy(from.join(weights), Path::new(&strange).join(weights)).unwrap();
    let text = r#"{"peft_type": "LOHA", "target_modules": ["query", "value"]}"#;
    std::fs::write(Path::new(&strange).join("adapter_config.json"), text).unwrap();
    let output = peft(&["inspect", &strange]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(stdout(&output).contains("LOHA"));
    assert!(
        errors.contains("strange") && errors.contains("ADALORA"),
        "{errors}"
    );
    let line = refused(&[
        "eval", "--model", &model, "--data", &rows, "--task", "classify",
    ]);
    assert!(line.contains("head"), "{line}");
}
