//! The entries of the troubleshooting page are what is printed: each is brought about.

use std::collections::BTreeSet;
use std::fs;

use crate::common::{Workspace, done, goldens, peft, refused, stdout};
use crate::{copy, edit, train};

/// The messages that the page explains.
fn entries() -> BTreeSet<String> {
    let page = goldens().join("../../docs/guide/src/troubleshooting.md");
    let page = fs::read_to_string(page).unwrap();
    let lines: Vec<&str> = page.lines().collect();
    let entries = lines.windows(2).filter(|pair| pair[1].starts_with(": "));
    entries
        .map(|pair| pair[0].trim_matches('`').to_owned())
        .collect()
}

/// The printed messages that the page explains, with what brings them about.
#[test]
fn entries_of_the_troubleshooting_page_are_printed() {
    let work = Workspace::new();
    let [model, rows, out] = ["model", "rows.csv", "out"].map(|name| work.path(name));
    let entries = entries();
    let mut seen = BTreeSet::new();
    let mut expect = |entry: &str, told: String| {
        assert!(entries.contains(entry), "the page has no entry `{entry}`");
        assert!(told.contains(entry), "expected `{entry}`: {told}");
        assert!(seen.insert(entry.to_owned()), "{entry} twice");
    };
    let with = |flags: &[&str]| refused(&train(&model, &rows, &out, flags));
    let of = |data: &str, flags: &[&str]| refused(&train(&model, data, &out, flags));
    let write = |name: &str, text: &str| {
        fs::write(work.path(name), text).unwrap();
        work.path(name)
    };

    // Modules and methods.
    expect(
        "no module matches target_modules",
        with(&["--target-modules", "qeury"]),
    );
    expect(
        "no module of the model",
        with(&["--modules-to-save", "nowhere"]),
    );
    expect("no adapted module", with(&["--rank-pattern", "nowhere=4"]));
    expect(
        "no module that could be adapted",
        with(&["--exclude-modules", "nowhere"]),
    );
    expect("no target is in layer", with(&["--layers", "99"]));
    expect(
        "adapts no modules",
        with(&["--method", "head", "--target-modules", "query"]),
    );
    let bare = [
        "eval", "--model", &model, "--data", &rows, "--task", "classify",
    ];
    expect("the checkpoint has no classification head", refused(&bare));
    let tuned = work.path("tuned");
    copy(&goldens().join("models/bert"), &tuned);
    fs::copy(work.path("model/vocab.txt"), format!("{tuned}/vocab.txt")).unwrap();
    expect(
        "the checkpoint's own head has no label",
        refused(&train(&tuned, &rows, &out, &[])),
    );
    expect(
        "its head has",
        refused(&train(
            &tuned,
            &write("one.csv", "text,score\ngood,1.5\nbad,0.25\n"),
            &out,
            &["--task", "regress", "--label-column", "score"],
        )),
    );
    let decoder = work.path("decoder");
    copy(work.path("model").as_ref(), &decoder);
    edit(&format!("{decoder}/config.json"), |config| {
        config.insert("is_decoder".into(), true.into());
    });
    expect(
        "this is a decoder of encoder blocks",
        refused(&train(&decoder, &rows, &out, &[])),
    );

    // Data.
    let pointer = work.path("pointer");
    copy(work.path("model").as_ref(), &pointer);
    let text = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 5\n",
        "0".repeat(64)
    );
    fs::write(format!("{pointer}/model.safetensors"), text).unwrap();
    expect(
        "is a Git LFS pointer",
        refused(&train(&pointer, &rows, &out, &[])),
    );
    let plain = write("plain.csv", "good word9,praise\nbad word10,blame\n");
    expect("if the first line is no header", of(&plain, &[]));
    let strange = write("strange.csv", "text^label\ngood^praise\nbad^blame\n");
    expect("the first line is one field", of(&strange, &[]));
    let gap = write("gap.csv", "text,label\ngood,1.0\nbad,nan\nbad,0.0\n");
    expect("a missing value", of(&gap, &["--label-column", "label"]));
    let real: String = (0..400)
        .map(|i| format!("good word{},{}.{i}5\n", 7 + i % 90, i % 7))
        .collect();
    expect(
        "do not look like classes",
        of(&write("real.csv", &format!("text,label\n{real}")), &[]),
    );
    let list = write(
        "list.csv",
        "text,labels\ngood,\"[praise, blame]\"\nbad,blame\n",
    );
    expect(
        "is a list that cannot be read",
        of(&list, &["--task", "multi-label"]),
    );
    let vocabulary = work.path("wide");
    copy(work.path("model").as_ref(), &vocabulary);
    let mut words = fs::read_to_string(format!("{vocabulary}/vocab.txt")).unwrap();
    words += "added\n";
    fs::write(format!("{vocabulary}/vocab.txt"), words).unwrap();
    let added = write("added.csv", "text,label\ngood added,praise\nbad,blame\n");
    expect(
        "the tokenizer has more tokens than the model",
        refused(&train(&vocabulary, &added, &out, &[])),
    );
    let saved = work.path("saved");
    fs::create_dir(&saved).unwrap();
    fs::write(format!("{saved}/dataset_info.json"), "{}").unwrap();
    fs::write(format!("{saved}/state.json"), "{}").unwrap();
    expect("this is a folder, written by", of(&saved, &[]));
    let same = write(
        "same.csv",
        "text,label\ngood,praise\nbad,praise\nbad,praise\n",
    );
    expect("every row has the label", of(&same, &[]));

    // Training.
    expect(
        "nothing would be trained",
        refused(&[
            "train", "--model", &model, "--data", &rows, "--output", &out, "--epochs", "0",
        ]),
    );
    expect(
        "is not finite: lower the learning rate",
        refused(&[
            "train",
            "--model",
            &model,
            "--data",
            &rows,
            "--output",
            &out,
            "--steps",
            "20",
            "--learning-rate",
            "1e30",
            "--head-learning-rate",
            "1e30",
            "--clip",
            "0",
            "--warmup",
            "0",
        ]),
    );
    expect("has no such flag", with(&["--lora-rank", "4"]));
    let nowhere = work.path("nowhere");
    expect(
        "there is no run to resume",
        refused(&["train", "--output", &nowhere, "--resume"]),
    );
    expect(
        "models of the hub have an organisation in front of their names",
        refused(&["eval", "--model", "bert-base-uncased", "--data", &rows]),
    );
    let done_once = work.path("done");
    done(&train(&model, &rows, &done_once, &[]));
    expect(
        "it holds a finished run",
        refused(&train(&model, &rows, &done_once, &[])),
    );
    let mine = work.path("mine");
    fs::create_dir(&mine).unwrap();
    fs::write(format!("{mine}/README.md"), "my notes").unwrap();
    expect(
        "which no command of this kind wrote",
        refused(&train(&model, &rows, &mine, &[])),
    );
    expect(
        "it is the model's own folder",
        refused(&[
            "merge",
            "--model",
            &model,
            "--adapter",
            &done_once,
            "--output",
            &model,
        ]),
    );

    // Devices and the network, as far as this binary was built without them.
    #[cfg(not(feature = "cuda"))]
    expect(
        "this binary was built without it",
        with(&["--device", "cuda"]),
    );
    #[cfg(not(feature = "hub"))]
    expect(
        "this binary downloads no models",
        refused(&["eval", "--model", "nobody/nothing", "--data", &rows]),
    );
    expect(
        "--offline forbids a download",
        refused(&[
            "eval",
            "--offline",
            "--model",
            "nobody/nothing",
            "--data",
            &rows,
        ]),
    );
    assert!(
        seen.len() >= 28,
        "{} entries were brought about",
        seen.len()
    );
}

/// Rows of which the answer lies beyond the maximum length are counted and said to be left out, and the others keep their
/// numbers.
#[test]
fn rows_that_are_left_out_are_told() {
    let model = goldens().join("llama_tiny");
    let model = model.to_str().unwrap();
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("rows.jsonl");
    let long = format!(
        "{{\"prompt\": \"{}\", \"completion\": \"a\"}}\n",
        "the cat ".repeat(9)
    );
    let short = "{\"prompt\": \"the\", \"completion\": \"cat\"}\n";
    std::fs::write(&data, format!("{long}{short}{short}")).unwrap();
    let rows = [
        "--model",
        model,
        "--data",
        data.to_str().unwrap(),
        "--task",
        "causal-lm",
        "--max-length",
        "12",
    ];
    let because = "1 because what is to be predicted lies beyond the maximum length";

    let shown = done(&[&["data", "preview"], &rows[..]].concat());
    assert!(shown.contains(&format!("left out   {because}")), "{shown}");
    let planned = done(&[&["plan"], &rows[..]].concat());
    assert!(
        planned.contains(&format!("left out      {because}")),
        "{planned}"
    );
    let measured = peft(&[&["eval", "--each-row"], &rows[..]].concat());
    let errors = String::from_utf8_lossy(&measured.stderr);
    assert!(errors.contains(because), "{errors}");
    let lines: Vec<serde_json::Value> = stdout(&measured)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&lines[0]["index"], &lines[2]["left_out_rows"]),
        (&1.into(), &1.into())
    );
}
