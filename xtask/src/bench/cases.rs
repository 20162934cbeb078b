//! What is measured: the commands that set the two sides up.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::space_cases;
use crate::fetch::smollm2;

/// The key of a setup of ours during whose case one core is kept busy.
pub const BUSY: &str = "one_core_taken";

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Ours, nothing beside it.
    Alone,
    /// Ours and PyTorch on the same task.
    AgainstTorch,
    /// Ours with an adapter and ours without, or with another one, in one process.
    Overhead,
    /// The same within PyTorch.
    TorchOverhead,
    /// What an adapter adds to a frozen model, in time and in memory: ours against PyTorch's.
    Added,
    /// The same of two adapters of ours.
    AddedAlone,
    /// Two things that ours does, in one process, called by their `label`s.
    Beside,
}

pub struct Case {
    pub name: String,
    pub kind: Kind,
    pub ours: Value,
    /// The other side of the pair.
    pub base: Option<Value>,
    /// Steps a turn: enough for one turn to outlast the clock's and the batches' unevenness.
    pub iterations: u32,
}

impl Case {
    pub fn needs_torch(&self) -> bool {
        matches!(
            self.kind,
            Kind::AgainstTorch | Kind::TorchOverhead | Kind::Added
        )
    }
}

/// What only this machine knows.
pub struct Places {
    pub data: PathBuf,
    pub threads: u32,
    /// Whether only to see that it runs.
    pub quick: bool,
}

impl Places {
    /// A command with threads and, where it names a case with data, paths filled in.
    pub fn fill(&self, setup: &Value) -> Value {
        let mut setup = setup.clone();
        setup["op"] = "setup".into();
        if setup.get("threads").is_none() {
            setup["threads"] = self.threads.into();
        }
        if setup["case"] == "minilm_step" || setup["case"] == "minilm_probe" {
            let path =
                |name: &str| Value::from(self.data.join(name).to_string_lossy().into_owned());
            setup["model"] = path("minilm");
            setup["data"] = path("rotten_tomatoes/fit.csv");
        }
        let case = setup["case"].as_str().unwrap_or_default().to_owned();
        if case.starts_with("language") || case == "tokenise" {
            let base = match setup["base"].as_str() {
                Some("q4_1") => self.data.join(smollm2::FILE),
                Some(kind) if space_cases::SHAPES.contains(&kind) => {
                    self.data.join(space_cases::folder_name(kind, self.quick))
                }
                _ => self.data.join(smollm2::folder_name(None)),
            };
            setup["model"] = base.to_string_lossy().into_owned().into();
        }
        if case == "tokenise" {
            let data = self.data.join("rotten_tomatoes/train.csv");
            setup["data"] = data.to_string_lossy().into_owned().into();
        }
        if self.quick && (case.starts_with("language") || case == "scan" || case == "mamba_block") {
            for (size, small) in [("batch", 2), ("seq", 8)] {
                setup[size] = small.into();
            }
        }
        if self.quick && setup["case"] == "linear" {
            setup["batch"] = 1.into();
        }
        if self.quick && setup["case"] == "bert_base_step" {
            for (size, small) in [("batch", 4), ("seq", 16), ("layers", 2)] {
                setup[size] = small.into();
            }
        }
        setup
    }
}

/// One BERT-base layer, batch 8 × 128.
fn layer(mode: &str, adapter: &str) -> Value {
    json!({"case": "bert_layer", "batch": 8, "seq": 128, "mode": mode, "adapter": adapter, "rank": 8, "alpha": 16})
}

/// A whole training step of MiniLM with LoRA on query and value.
fn minilm(padding: &str) -> Value {
    json!({"case": "minilm_step", "batch": 32, "max_length": 64, "padding": padding, "mode": "train",
        "adapter": "lora", "rank": 8, "alpha": 16, "targets": ["query", "value"]})
}

/// sDCTFT on query and value of a setup, in place of LoRA.
fn sdctft(mut setup: Value) -> Value {
    setup["adapter"] = "sdctft".into();
    setup["settings"] = json!({"n_frequency": 1200});
    setup
}

/// One square linear layer in the middle of a stack, 1024 rows.
fn single(features: u32, adapter: &str, settings: Value) -> Value {
    json!({"case": "linear", "features": features, "batch": 8, "seq": 128, "mode": "train", "adapter": adapter,
        "settings": settings})
}

/// A whole training step of BERT-base with LoRA on query and value, random weights and tokens.
fn bert_base(recompute: bool) -> Value {
    json!({"case": "bert_base_step", "batch": 32, "seq": 128, "layers": 12, "mode": "train", "adapter": "lora",
        "rank": 8, "alpha": 16, "targets": ["query", "value"], "recompute": recompute})
}

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, kind, ours, base, iterations| {
        cases.push(Case {
            name,
            kind,
            ours,
            base,
            iterations,
        });
    };
    for mode in ["forward", "train"] {
        for adapter in ["none", "lora", "all-linear"] {
            let name = format!("layer-{mode}-{adapter}");
            add(name.clone(), Kind::Alone, layer(mode, adapter), None, 3);
            let theirs = Some(layer(mode, adapter));
            add(
                format!("{name}-vs-torch"),
                Kind::AgainstTorch,
                layer(mode, adapter),
                theirs,
                3,
            );
        }
    }
    // Ours always groups rows of like length; PyTorch is measured both ways.
    add(
        "minilm-step".into(),
        Kind::Alone,
        minilm("grouped"),
        None,
        8,
    );
    for padding in ["dynamic", "grouped"] {
        let name = format!("minilm-step-vs-torch-{padding}");
        add(
            name,
            Kind::AgainstTorch,
            minilm("grouped"),
            Some(minilm(padding)),
            8,
        );
    }
    // A program takes one of the cores meanwhile; PyTorch comes to a crawl, so a step is a turn.
    let mut hindered = minilm("grouped");
    hindered[BUSY] = true.into();
    let name = "minilm-step-vs-torch-one-core-taken".to_owned();
    let theirs = Some(minilm("grouped"));
    add(name, Kind::AgainstTorch, hindered, theirs, 1);
    // Beside `minilm-step`: less memory for a second forward pass.
    let mut recomputing = minilm("grouped");
    recomputing["recompute"] = true.into();
    let name = "minilm-step-recompute".to_owned();
    add(name, Kind::Alone, recomputing, None, 8);
    for (name, recompute) in [
        ("bert-base-step", false),
        ("bert-base-step-recompute", true),
    ] {
        let setup = bert_base(recompute);
        add(name.to_owned(), Kind::Alone, setup.clone(), None, 1);
        let against = format!("{name}-vs-torch");
        add(against, Kind::AgainstTorch, setup.clone(), Some(setup), 1);
    }
    for adapter in ["lora", "all-linear"] {
        let pair = |name: &str| (format!("{name}-{adapter}"), layer("train", adapter));
        for (kind, name) in [
            (Kind::Overhead, "overhead"),
            (Kind::TorchOverhead, "torch-overhead"),
        ] {
            let (name, adapted) = pair(name);
            add(name, kind, adapted, Some(layer("train", "none")), 3);
        }
    }
    for (name, step, iterations) in [
        ("minilm-step", minilm("grouped"), 8),
        ("bert-base-step", bert_base(false), 1),
    ] {
        let name = format!("{name}-sdctft-vs-lora");
        add(
            name,
            Kind::Overhead,
            sdctft(step.clone()),
            Some(step),
            iterations,
        );
    }
    let count = json!({"n_frequency": 1000});
    for features in [768, 2048, 4096] {
        add(
            format!("added-sdctft-{features}-vs-fourierft"),
            Kind::Added,
            single(features, "sdctft", count.clone()),
            Some(single(features, "fourierft", count.clone())),
            1,
        );
        let structured =
            json!({"n_frequency": 1000, "select": "product", "max_rows": 32, "max_cols": 32});
        add(
            format!("added-sdctft-product-{features}-vs-lora"),
            Kind::AddedAlone,
            single(features, "sdctft", structured),
            Some(single(features, "lora", json!({"r": 8, "lora_alpha": 16}))),
            1,
        );
    }
    for features in [384, 768, 4096] {
        let iterations = if features < 1000 { 8 } else { 1 };
        for rank in [8, 64] {
            let lora = json!({"r": rank, "lora_alpha": 2 * rank});
            let dora = json!({"r": rank, "lora_alpha": 2 * rank, "use_dora": true});
            for (name, settings) in [("lora", &lora), ("dora", &dora)] {
                let setup = single(features, "lora", settings.clone());
                add(
                    format!("added-{name}-r{rank}-{features}-vs-torch"),
                    Kind::Added,
                    setup.clone(),
                    Some(setup),
                    iterations,
                );
            }
            add(
                format!("deep-lora-r{rank}-{features}-vs-lora"),
                Kind::Overhead,
                single(features, "deep_lora", json!({"r": rank})),
                Some(single(features, "lora", lora)),
                iterations,
            );
        }
    }
    let mut merge = single(4096, "sdctft", json!({"n_frequency": 1000}));
    merge["case"] = "merge".into();
    merge["threads"] = 1.into();
    add("merge-sdctft-4096".into(), Kind::Alone, merge, None, 1);
    cases.extend(super::sparse_cases::all());
    cases.extend(super::language_cases::all());
    cases.extend(space_cases::all());
    cases.extend(super::compute_cases::all(&[
        ("layer-train-lora", layer("train", "lora"), 3),
        ("minilm-step", minilm("grouped"), 8),
        ("bert-base-step", bert_base(false), 1),
        (
            "smollm2-step-lora",
            super::language_cases::step("lora", "f32", false),
            1,
        ),
    ]));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_paths_filled() {
        let cases = all();
        let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases.len());
        let places = Places {
            data: "/data".into(),
            threads: 1,
            quick: false,
        };
        let step = cases
            .iter()
            .find(|case| case.name == "minilm-step")
            .unwrap();
        assert_eq!(places.fill(&step.ours)["model"], "/data/minilm");
        assert_eq!(places.fill(&cases[0].ours)["threads"], 1);
        assert!(places.fill(&cases[0].ours).get("model").is_none());
        let large = cases.iter().find(|case| case.name == "bert-base-step");
        let large = &large.unwrap().ours;
        assert_eq!(places.fill(large)["layers"], 12);
        let quick = Places {
            quick: true,
            ..places
        };
        assert_eq!(quick.fill(large)["layers"], 2);
    }
}
