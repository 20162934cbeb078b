//! The schema of `study.toml`: what is read, and what is refused with which words.

use super::definition::{Checkpoint, Engine, Protocol, Study};

pub const EXAMPLE: &str = r#"
name = "example"
title = "An example"
question = "Does it work?"
protocol = "small"
model = "minilm"
data = "rotten_tomatoes"
rates = "sweep"
seeds = [0, 1]

[training]
max_length = 64
batch_size = 32
epochs = 2
head_learning_rate = 2e-3
schedule = "linear"
warmup = 0.06
clip = 1.0
weight_decay = 0.0
threads = 1

[[arm]]
name = "lora"
engine = "peft"
method = "lora"
learning_rate = 2e-3
learning_rates = [1e-3, 2e-3, 4e-3]
flags = { rank = 8, target-modules = "query,value" }

[[arm]]
name = "vera"
engine = "peft"
method = "vera"
learning_rate = 1e-2
learning_rates = [5e-3, 1e-2, 2e-2]

[[claim]]
kind = "equal"
arm = "lora"
against = "vera"
"#;

/// The example on two numbers of rows.
pub fn sampled() -> String {
    let samples = [(2, 4, 2), (4, 2, 1)].map(|(rows, epochs, every)| {
        format!("[[sample]]\nrows = {rows}\nepochs = {epochs}\nselect-epochs = {every}\n\n")
    });
    EXAMPLE
        .replacen("epochs = 2\n", "", 1)
        .replacen("[[arm]]", &format!("{}[[arm]]", samples.concat()), 1)
        .replacen("against = \"vera\"", "against = \"vera\"\nrows = [4]", 1)
}

#[test]
fn reads_the_example() {
    let study = Study::parse(EXAMPLE).unwrap();
    assert_eq!(study.protocol, Protocol::Small);
    assert_eq!(study.protocol.fit(), "fit_small.csv");
    assert_eq!(study.arms[0].engine, Engine::Peft);
    assert_eq!(study.rates_of(&study.arms[0]), [1e-3, 2e-3, 4e-3]);
    assert_eq!(study.claims[0].checkpoint, Checkpoint::Last);
}

#[test]
fn refuses_what_would_mislead() {
    let cases = [
        ("seeds = [0, 1]", "seeds = [0, 0]", "twice"),
        ("seeds = [0, 1]", "seed = [0]", "unknown field"),
        ("name = \"vera\"", "name = \"lora\"", "same name"),
        ("name = \"vera\"", "name = \"../vera\"", "names a folder"),
        (
            "against = \"vera\"",
            "against = \"dora\"",
            "not the name of an arm",
        ),
        (
            "[5e-3, 1e-2, 2e-2]",
            "[5e-3, 2e-2]",
            "must contain the default",
        ),
        ("[5e-3, 1e-2, 2e-2]", "[1e-2]", "same budget"),
        ("kind = \"equal\"", "kind = \"nicer\"", "unknown variant"),
        ("flags = { rank", "flags = { --rank", "without dashes"),
    ];
    for (from, to, message) in cases {
        let text = EXAMPLE.replacen(from, to, 1);
        assert_ne!(text, EXAMPLE, "{from} is not in the example");
        let error = format!("{:#}", Study::parse(&text).unwrap_err());
        assert!(error.contains(message), "{to}: {error}");
    }
}

#[test]
fn committed_studies_are_valid_and_named_after_their_folders() {
    let folder = crate::workspace::root().join("docs/studies");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // The study of selectors is a program's, without settings.
        if !path.is_dir() || path.ends_with(super::selectors::NAME) {
            continue;
        }
        let text = std::fs::read_to_string(path.join("study.toml")).unwrap();
        let other = super::causal::name_of(&text).or_else(|| super::search::name_of(&text));
        let name = match other {
            Some(name) => name.unwrap(),
            None => Study::parse(&text).unwrap().name,
        };
        assert_eq!(
            Some(name.as_str()),
            path.file_name().and_then(|name| name.to_str())
        );
    }
}
