//! Sparse methods: SparseGrad's step against training the same layers in full and against LoRA of as many values,
//! what it adds in memory, its probe, and SHiRA against PEFT's.

use serde_json::{Value, json};

use super::cases::{Case, Kind};

/// The linear layers of the feed-forward blocks.
const FEED_FORWARD: &str = r".*\.layer\.\d+\.(intermediate|output)\.dense";

/// A layer of BERT-base's feed-forward blocks in the middle of a stack, 1024 rows, AdamW's step included.
fn step([inputs, outputs]: [u32; 2], adapter: &str, settings: Value) -> Value {
    json!({"case": "linear", "features": inputs, "outputs": outputs, "batch": 8, "seq": 128, "mode": "train",
        "optimizer": true, "adapter": adapter, "settings": settings})
}

/// LoRA of rank 7: 26,880 values.
fn lora() -> Value {
    json!({"r": 7, "lora_alpha": 14})
}

/// As many values of SparseGrad, but for the window's sides being whole: 26,896.
fn sparsegrad(mask: &str) -> Value {
    json!({"density": 26_880.0 / (768.0 * 3072.0), "mask": mask})
}

/// A whole training step with adapters on the feed-forward layers.
fn model(case: &str, adapter: &str, settings: Value) -> Value {
    match case {
        "bert_base_step" => {
            json!({"case": case, "batch": 32, "seq": 128, "layers": 12, "mode": "train",
            "adapter": adapter, "settings": settings, "targets": [FEED_FORWARD]})
        }
        _ => {
            json!({"case": case, "batch": 32, "max_length": 64, "mode": "train", "adapter": adapter,
            "settings": settings, "targets": [FEED_FORWARD]})
        }
    }
}

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, kind, ours, base, iterations| {
        cases.push(Case {
            name,
            kind,
            ours,
            base: Some(base),
            iterations,
        });
    };
    for shape @ [inputs, outputs] in [[768, 3072], [3072, 768]] {
        let name = format!("{inputs}x{outputs}");
        for (against, base) in [
            ("full", step(shape, "full", json!({}))),
            ("lora", step(shape, "lora", lora())),
        ] {
            let ours = step(shape, "sparsegrad", sparsegrad("leading_block"));
            add(
                format!("sparsegrad-step-{name}-vs-{against}"),
                Kind::Overhead,
                ours,
                base,
                4,
            );
        }
    }
    for mask in ["topk_fixed", "topk_refresh", "topk_each_step"] {
        let shape = [768, 3072];
        let ours = step(shape, "sparsegrad", sparsegrad(mask));
        let base = step(shape, "full", json!({}));
        add(
            format!("sparsegrad-step-{mask}-vs-full"),
            Kind::Overhead,
            ours,
            base,
            4,
        );
    }
    // Of whole models: in a case of one layer its input is kept anyway, and bases are shared with none.
    // Rank 4 and rank 7: 7,680 and 26,880 values a layer.
    let quarter = json!({"r": 4, "lora_alpha": 8});
    let block = json!({"density": 7_680.0 / (384.0 * 1536.0)});
    // Bases take long to make at this size, and how good they are does not matter here.
    let mut few = sparsegrad("leading_block");
    few["probe_batches"] = 1.into();
    for (name, case, settings, base, iterations) in [
        ("minilm", "minilm_step", block.clone(), quarter, 8),
        ("bert-base", "bert_base_step", few, lora(), 1),
    ] {
        let ours = model(case, "sparsegrad", settings);
        let base = model(case, "lora", base);
        add(
            format!("added-sparsegrad-{name}-vs-lora"),
            Kind::AddedAlone,
            ours,
            base,
            iterations,
        );
    }
    // A probe's seconds by those of three epochs of steps.
    add(
        "sparsegrad-probe-minilm-vs-run".to_owned(),
        Kind::Overhead,
        model("minilm_probe", "sparsegrad", block.clone()),
        model("minilm_step", "sparsegrad", block),
        1,
    );
    for features in [768, 2048, 4096] {
        let setup = json!({"case": "linear", "features": features, "batch": 8, "seq": 128, "mode": "train",
            "adapter": "shira", "settings": {"r": 8}});
        let name = format!("added-shira-r8-{features}-vs-torch");
        add(
            name,
            Kind::Added,
            setup.clone(),
            setup,
            if features < 1000 { 4 } else { 1 },
        );
    }
    cases
}
