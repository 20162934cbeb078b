//! `peft generate` and `peft chat`, on tiny checkpoints.

mod common;

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use common::{done, goldens, peft, refused};

fn model() -> String {
    goldens().join("llama_tiny").to_str().unwrap().to_owned()
}

fn adapter(name: &str) -> String {
    let folder = goldens().join("causal/adapters").join(name);
    folder.to_str().unwrap().to_owned()
}

/// A copy of the model with a chat template.
fn talking() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(model()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), temp.path().join(file.file_name())).unwrap();
    }
    let template = "{% for m in messages %}{{ m.role[0] }}. {{ m.content }}</s>{% endfor %}\
                    {% if add_generation_prompt %}a. {% endif %}";
    std::fs::write(temp.path().join("chat_template.jinja"), template).unwrap();
    temp
}

fn object(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap()
}

fn generate(rest: &[&str]) -> String {
    let model = model();
    done(&[&["generate", "--model", &model, "--max-tokens", "12"], rest].concat())
}

#[test]
fn text_is_printed_alone_and_as_objects() {
    let text = generate(&["--prompt", "the cat"]);
    assert!(text.ends_with('\n') && text.trim().len() > 3, "{text:?}");
    let found = object(&generate(&["--prompt", "the cat", "--json"]));
    assert_eq!(
        found["text"].as_str().unwrap(),
        text.strip_suffix('\n').unwrap()
    );
    assert_eq!(found["prompt"], "the cat");
    assert_eq!((&found["index"], &found["tokens"]), (&0.into(), &12.into()));
    assert_eq!(found["finish_reason"], "length");
    // A text that ends where another begins.
    let stop = &text[2..4];
    let found = object(&generate(&[
        "--prompt", "the cat", "--json", "--stop", stop,
    ]));
    assert_eq!(found["finish_reason"], "stop");
    assert_eq!(
        found["text"].as_str().unwrap(),
        &text[..text.find(stop).unwrap()]
    );
}

#[test]
fn rows_of_a_file_come_in_their_order() {
    let temp = tempfile::tempdir().unwrap();
    let texts = ["the cat", "a", "o th.", "sat there on", "b c d e f"];
    let rows: String = texts
        .iter()
        .map(|text| serde_json::json!({"prompt": text, "n": 1}).to_string() + "\n")
        .collect();
    let data = temp.path().join("rows.jsonl");
    std::fs::write(&data, rows).unwrap();
    let data = data.to_str().unwrap();
    for size in ["1", "2", "8"] {
        let found = generate(&["--data", data, "--json", "--batch-size", size]);
        let lines: Vec<&str> = found.lines().collect();
        assert_eq!(lines.len(), texts.len());
        for (index, (line, text)) in lines.iter().zip(texts).enumerate() {
            let alone = object(&generate(&["--prompt", text, "--json"]));
            let found = object(line);
            assert_eq!(found["index"], index);
            assert_eq!(
                (&found["prompt"], &found["text"]),
                (&text.into(), &alone["text"])
            );
        }
    }
    let plain = generate(&["--data", data]);
    assert_eq!(plain.lines().count(), texts.len());
    let column = [
        "generate",
        "--model",
        &model(),
        "--data",
        data,
        "--text-column",
        "nothing",
    ];
    assert!(refused(&column).contains("nothing"));
}

#[test]
fn draws_are_those_of_their_seed() {
    let of = |rest: &[&str]| generate(&[&["--prompt", "the cat"], rest].concat());
    let greedy = of(&[]);
    assert_eq!(greedy, of(&["--temperature", "0"]));
    assert_eq!(greedy, of(&["--top-k", "1"]));
    let drawn = of(&["--temperature", "2", "--top-k", "0", "--seed", "3"]);
    assert_eq!(
        drawn,
        of(&["--temperature", "2", "--top-k", "0", "--seed", "3"])
    );
    assert_ne!(
        drawn,
        of(&["--temperature", "2", "--top-k", "0", "--seed", "4"])
    );
    assert_ne!(greedy, of(&["--repetition-penalty", "3"]));
}

#[test]
fn adapters_are_named_and_chosen_by_rows() {
    let one = format!("one={}", adapter("lora_all_linear"));
    let other = format!("other={}", adapter("dora_qv"));
    let named = ["--adapter", &one, "--adapter", &other];
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("rows.csv");
    std::fs::write(
        &data,
        "text,with\nthe cat,one\nthe cat,__base__\nthe cat,other\n",
    )
    .unwrap();
    let rows = ["--data", data.to_str().unwrap(), "--adapter-column", "with"];
    let found = generate(&[&named[..], &rows].concat());
    let lines: Vec<&str> = found.lines().collect();
    let prompt = ["--prompt", "the cat"];
    for (line, name) in lines.iter().zip(["one", "__base__", "other"]) {
        let chosen = generate(&[&named[..], &prompt, &["--adapter-name", name]].concat());
        assert_eq!(chosen.trim_end_matches('\n'), *line, "{name}");
    }
    assert_eq!(generate(&prompt).trim_end_matches('\n'), lines[1]);
    let single = generate(&[&["--adapter", &adapter("dora_qv")][..], &prompt].concat());
    assert_eq!(single.trim_end_matches('\n'), lines[2]);
    assert_ne!(lines[0], lines[1]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let model = model();
    let of = |rest: &[&str]| {
        refused(&[&["generate", "--model", &model, "--prompt", "a"], rest].concat())
    };
    for (rest, told) in [
        (
            &["--top-p", "1.5"][..],
            "--top-p: 1.5 is out of range; give a number from 0 to 1",
        ),
        (&["--max-tokens", "0"], "--max-tokens"),
        (&["--stop", ""], "--stop"),
        (&["--temperature", "inf"], "--temperature"),
        (
            &["--temperature", "-1"],
            "--temperature: -1 is out of range",
        ),
        (&["--batch-size", "0"], "--batch-size"),
        (&["--chat"], "no chat template"),
        (&["--adapter-column", "x"], "--adapter-column"),
    ] {
        let error = of(rest);
        assert!(error.contains(told), "{rest:?}: {error}");
    }
    let bert = goldens().join("models/bert");
    let bert = bert.to_str().unwrap();
    let error = refused(&["generate", "--model", bert, "--prompt", "a"]);
    assert!(error.contains("--model: `bert` is an encoder"), "{error}");
    let error = refused(&["chat", "--model", &model]);
    assert!(
        error.contains("no chat template") && error.contains("peft generate"),
        "{error}"
    );
    let temp = tempfile::tempdir().unwrap();
    let rows = temp.path().join("rows.csv");
    std::fs::write(&rows, "text,label\nthe cat,a\n").unwrap();
    let error = refused(&[
        "predict",
        "--model",
        &model,
        "--data",
        rows.to_str().unwrap(),
    ]);
    assert!(error.contains("peft generate"), "{error}");
}

#[test]
fn an_adapter_for_something_else_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        let from = Path::new(&adapter("lora_qv")).join(file);
        std::fs::copy(from, temp.path().join(file)).unwrap();
    }
    let task = r#"{"task": "classify", "labels": ["a", "b"], "max_length": 32}"#;
    std::fs::write(temp.path().join("task.json"), task).unwrap();
    let folder = temp.path().to_str().unwrap();
    let error = refused(&[
        "generate",
        "--model",
        &model(),
        "--prompt",
        "a",
        "--adapter",
        folder,
    ]);
    assert!(
        error.contains("trained for classify, not to predict"),
        "{error}"
    );
}

/// What `peft chat` answers to some lines.
fn chat(arguments: &[&str], lines: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_peft"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    common::stdout(&output)
}

#[test]
fn rows_of_conversations_are_answered() {
    let talking = talking();
    let folder = talking.path().to_str().unwrap();
    let rows = talking.path().join("rows.jsonl");
    let row =
        |turns: serde_json::Value| serde_json::json!({ "messages": turns }).to_string() + "\n";
    let turn = |role: &str, content: &str| serde_json::json!({ "role": role, "content": content });
    let said = [
        row(serde_json::json!([turn("user", "the cat")])),
        // What the row itself answers is not shown to the model.
        row(serde_json::json!([
            turn("user", "the cat"),
            turn("assistant", "sat.")
        ])),
        row(serde_json::json!([
            turn("user", "a"),
            turn("assistant", "b"),
            turn("user", "the cat")
        ])),
    ];
    std::fs::write(&rows, said.concat()).unwrap();
    let start = ["generate", "--model", folder, "--max-tokens", "6", "--json"];
    let run = |rest: &[&str]| -> Vec<serde_json::Value> {
        let told = done(&[&start[..], rest].concat());
        told.lines().map(object).collect()
    };
    let data = rows.to_str().unwrap();
    let answers = run(&["--data", data, "--chat"]);
    let alone = run(&["--prompt", "the cat", "--chat"]);
    assert_eq!(answers.len(), 3);
    assert_eq!(answers[0]["text"], alone[0]["text"]);
    assert_eq!(answers[1]["text"], alone[0]["text"]);
    assert_eq!(answers[2]["prompt"], "the cat");
    assert_ne!(answers[2]["text"], alone[0]["text"]);
    let error = refused(&[&start[..], &["--data", data]].concat());
    assert!(
        error.contains("add --chat") && error.contains("row 1"),
        "{error}"
    );
}

#[test]
fn lines_are_turns_and_are_remembered() {
    let talking = talking();
    let folder = talking.path().to_str().unwrap();
    let chat = |lines: &str, rest: &[&str]| {
        let start = ["chat", "--model", folder, "--max-tokens", "6"];
        chat(&[&start[..], rest].concat(), lines)
    };
    let answers = chat("hi\n\n  \nhi\n", &[]);
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert_ne!(answers[0], answers[1], "the second turn knows the first");
    // The first turn is what `generate --chat` answers.
    let start = ["generate", "--model", folder, "--max-tokens", "6", "--chat"];
    let alone = done(&[&start[..], &["--prompt", "hi"]].concat());
    assert_eq!(alone.trim_end_matches('\n'), answers[0]);
    assert_ne!(
        chat("hi\n", &["--system", "the cat sat"]).trim_end_matches('\n'),
        answers[0]
    );
    let with = chat("hi\n", &["--adapter", &adapter("lora_all_linear")]);
    assert_eq!(with.lines().count(), 1);
    assert_eq!(chat("", &[]), "");
}

/// Ctrl-C ends an answer that would never end, and the next line is answered.
#[cfg(unix)]
#[test]
fn an_interrupt_stops_the_answer_and_not_the_conversation() {
    use std::io::{BufRead, BufReader, Read};

    let talking = talking();
    for file in ["config.json", "model.safetensors"] {
        // A model without a longest sequence.
        let from = goldens().join("mamba_tiny").join(file);
        std::fs::copy(from, talking.path().join(file)).unwrap();
    }
    let template = "{% for m in messages %}{{ m.content }} {% endfor %}";
    std::fs::write(talking.path().join("chat_template.jinja"), template).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_peft"))
        .args(["chat", "--model", talking.path().to_str().unwrap()])
        // What was said once is said for ever.
        .args(["--max-tokens", "100000000", "--repetition-penalty", "0.01"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = child.stdin.take().unwrap();
    let mut answers = child.stdout.take().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    for line in ["the cat\n", "a\n"] {
        lines.write_all(line.as_bytes()).unwrap();
        // The answer has begun.
        answers.read_exact(&mut [0; 8]).unwrap();
        let interrupt = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status();
        assert!(interrupt.unwrap().success());
        // What is on its way is read, so that nothing waits for it.
        let mut byte = [0];
        while byte != *b"\n" {
            answers.read_exact(&mut byte).unwrap();
        }
        assert!(told.any(|line| line.unwrap() == "interrupted"));
    }
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A model without blocks says the same in whole numbers; training has no such products.
#[test]
fn whole_numbers_are_for_generating() {
    let text = generate(&["--prompt", "the cat"]);
    assert_eq!(
        text,
        generate(&["--prompt", "the cat", "--compute", "int8"])
    );
    let (model, adapter) = (model(), adapter("lora_qv"));
    let output = peft(&[
        "eval",
        "--model",
        &model,
        "--adapter",
        &adapter,
        "--data",
        "x.csv",
        "--compute",
        "int8",
    ]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("f32 and bf16"), "{error}");
}
