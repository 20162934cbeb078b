//! State-space models: the scan, a block with adapters, steps of models of the shape of mamba-130m, generation.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::cases::{Case, Kind};
use super::language_cases::{generate, step};
use crate::fetch::smollm2;
use crate::python;

/// Models of random weights, by what `random_model.py` calls their shapes.
pub const SHAPES: [&str; 2] = ["mamba-130m", "mamba2-130m"];

/// Name of the folder of a model of random weights.
pub fn folder_name(shape: &str, quick: bool) -> String {
    format!("random-{shape}-{}", size(quick))
}

fn size(quick: bool) -> &'static str {
    if quick { "small" } else { "large" }
}

/// Makes the models of the cases that are not there, in f32, with SmolLM2's tokenizer.
pub fn folders(cases: &[Case], data: &Path, quick: bool, given: Option<&PathBuf>) -> Result<()> {
    for shape in SHAPES {
        if !cases.iter().any(|case| case.ours["base"] == shape) {
            continue;
        }
        let folder = data.join(folder_name(shape, quick));
        let output = std::process::Command::new(python::interpreter(given)?)
            .arg(python::scripts().join("random_model.py"))
            .args([shape, size(quick)])
            .arg(&folder)
            .arg("f32")
            .output()
            .context("cannot start Python")?;
        ensure!(
            output.status.success(),
            "random_model.py did not make {}: {}",
            folder.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            let from = smollm2::folder(data, None)?.join(name);
            std::fs::copy(&from, folder.join(name))
                .with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    Ok(())
}

/// One sequence of 512 tokens, 1,536 channels of 16 states.
fn scan(mode: &str) -> Value {
    json!({"case": "scan", "batch": 1, "seq": 512, "features": 1536, "states": 16, "mode": mode,
        "label": format!("scan, {mode}")})
}

/// The same, forward, in another form.
fn of_form(form: &str) -> Value {
    let mut setup = scan("forward");
    setup["form"] = form.into();
    setup
}

fn on_one_thread(mut setup: Value) -> Value {
    setup["threads"] = 1.into();
    setup
}

/// A step of a row of 128 tokens, with LoRA of rank 8 on what Hugging Face PEFT adapts of such a model. PyTorch's
/// step takes time by the square of the length: the gradient of every token that it reads of a scan is a tensor of the whole.
fn model_step(shape: &str, targets: &[&str]) -> Value {
    let mut setup = step("lora", shape, false);
    setup["batch"] = 1.into();
    setup["seq"] = 128.into();
    setup["targets"] = targets.into();
    setup
}

/// A block on four rows of 512 tokens.
fn block(adapter: &str, targets: &[&str], settings: Value) -> Value {
    json!({"case": "mamba_block", "batch": 4, "seq": 512, "mode": "train", "adapter": adapter, "rank": 2, "alpha": 4,
        "targets": targets, "settings": settings})
}

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: &str, kind, ours: Value, base| {
        // A scan takes milliseconds: threads that must wake first would be a part of them.
        let iterations = if ours["case"] == "scan" { 16 } else { 1 };
        cases.push(Case {
            name: name.to_owned(),
            kind,
            ours,
            base: Some(base),
            iterations,
        });
    };
    add(
        "scan-forward-one-thread-vs-c",
        Kind::AgainstTorch,
        on_one_thread(scan("forward")),
        on_one_thread(of_form("c")),
    );
    for form in ["tensors", "transformers"] {
        let name = format!("scan-forward-vs-{form}");
        add(&name, Kind::AgainstTorch, scan("forward"), of_form(form));
    }
    add(
        "scan-forward-and-backward-vs-forward",
        Kind::Beside,
        scan("train"),
        scan("forward"),
    );
    for (shape, targets) in [
        (SHAPES[0], ["in_proj", "x_proj"].as_slice()),
        (SHAPES[1], &["in_proj"]),
    ] {
        let setup = model_step(shape, targets);
        add(
            &format!("{shape}-step-lora-vs-torch"),
            Kind::AgainstTorch,
            setup.clone(),
            setup,
        );
        let mut setup = generate(shape);
        setup["seq"] = 32.into();
        add(
            &format!("{shape}-generate-vs-torch"),
            Kind::AgainstTorch,
            setup.clone(),
            setup,
        );
    }
    // They train 18,688 and 18,684 values: LoRA of rank 2 on all four projections, and LoRA of rank 8 on one with 7 channels of 4 states.
    let everywhere = block(
        "lora",
        &["in_proj", "x_proj", "dt_proj", "out_proj"],
        json!({}),
    );
    let chosen = block(
        "sdlora",
        &["a_log", "x_proj", "out_proj"],
        json!({"r": 8, "lora_alpha": 8, "channels": 7.0 / 1536.0, "states": 0.25, "state_size": 16, "selector": "random"}),
    );
    add(
        "added-sdlora-vs-lora-on-all",
        Kind::AddedAlone,
        chosen.clone(),
        everywhere.clone(),
    );
    add(
        "mamba-block-sdlora-vs-lora-on-all",
        Kind::Overhead,
        chosen,
        everywhere,
    );
    cases
}
