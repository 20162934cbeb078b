//! What every backend does: cases of random weights and tokens, which need no files.

use serde_json::{Value, json};

pub struct Case {
    pub name: &'static str,
    pub setup: Value,
    /// Whether a device that is a program on the processor does it in seconds.
    pub tiny: bool,
}

fn linear(features: u32, rows: [u32; 2], adapter: &str, settings: Value) -> Value {
    let [batch, seq] = rows;
    json!({"case": "linear", "features": features, "batch": batch, "seq": seq, "mode": "train",
        "adapter": adapter, "settings": settings, "optimizer": true})
}

fn layer(rows: [u32; 2], mode: &str, adapter: &str) -> Value {
    let [batch, seq] = rows;
    json!({"case": "bert_layer", "batch": batch, "seq": seq, "mode": mode, "adapter": adapter, "rank": 8,
        "alpha": 16})
}

fn bert(rows: [u32; 2], layers: u32, recompute: bool) -> Value {
    let [batch, seq] = rows;
    json!({"case": "bert_base_step", "batch": batch, "seq": seq, "layers": layers, "mode": "train",
        "adapter": "lora", "rank": 8, "alpha": 16, "targets": ["query", "value"], "recompute": recompute})
}

pub fn all() -> Vec<Case> {
    let lora = |rank: u32| json!({"r": rank, "lora_alpha": 2 * rank});
    let sdctft = |count: u32| json!({"n_frequency": count});
    let tiny = [
        ("tiny-linear-lora", linear(64, [2, 16], "lora", lora(4))),
        (
            "tiny-linear-sdctft",
            linear(64, [2, 16], "sdctft", sdctft(64)),
        ),
        ("tiny-layer-lora", layer([1, 16], "train", "lora")),
        ("tiny-bert-step", bert([2, 16], 1, false)),
    ];
    let whole = [
        ("linear-4096-lora", linear(4096, [8, 128], "lora", lora(8))),
        (
            "linear-4096-sdctft",
            linear(4096, [8, 128], "sdctft", sdctft(1000)),
        ),
        ("layer-forward", layer([8, 128], "forward", "none")),
        ("layer-train-lora", layer([8, 128], "train", "lora")),
        (
            "layer-train-all-linear",
            layer([8, 128], "train", "all-linear"),
        ),
        ("bert-base-step", bert([32, 128], 12, false)),
        ("bert-base-step-recompute", bert([32, 128], 12, true)),
    ];
    let case = |tiny: bool| move |(name, setup)| Case { name, setup, tiny };
    tiny.into_iter()
        .map(case(true))
        .chain(whole.into_iter().map(case(false)))
        .collect()
}
