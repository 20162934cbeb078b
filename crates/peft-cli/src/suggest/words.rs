//! How other programs call what we have.

/// What other programs call verbs, or people do, and ours.
pub const VERBS: &[(&[&str], &str)] = &[
    (
        &[
            "fine-tune",
            "finetune",
            "tune",
            "fit",
            "sft",
            "lora",
            "adapt",
        ],
        "train",
    ),
    (&["resume", "continue"], "train --output DIR --resume"),
    (&["evaluate", "test", "score"], "eval"),
    (&["infer", "inference", "classify", "label"], "predict"),
    (&["complete", "completion", "run"], "generate"),
    (&["fuse", "merge-lora", "bake"], "merge"),
    (&["export"], "convert"),
    (&["quantize", "quantise"], "train --quantize nf4"),
    (&["grid", "grid-search"], "sweep"),
    (&["hpo", "optimize", "optimise", "autotune"], "search"),
    (&["estimate", "memory", "dry-run"], "plan"),
    (&["preview", "dataset"], "data preview"),
    (&["list", "ls", "compare"], "runs"),
    (&["check", "validate", "doctor"], "verify"),
    (&["info", "show", "describe"], "inspect"),
    (&["demo", "example", "tutorial"], "quickstart"),
];

/// Flags of other programs (Transformers' Trainer, PEFT, Axolotl, LLaMA-Factory, Unsloth, MLX-LM), ours, and what
/// there is to say of it.
pub const ELSEWHERE: &[(&[&str], &str, &str)] = &[
    (
        &[
            "r",
            "lora-r",
            "lora-rank",
            "lora-dim",
            "adapter-rank",
            "dim",
        ],
        "rank",
        "",
    ),
    (&["lora-alpha", "scale", "lora-scale"], "alpha", ""),
    (&["lora-dropout", "dropout"], "adapter-dropout", ""),
    (
        &["lora-target", "lora-target-modules", "target", "targets"],
        "target-modules",
        "",
    ),
    (
        &["num-layers", "lora-layers", "layers-to-transform"],
        "layers",
        "such as 0,1,5-9",
    ),
    (
        &["peft-type", "peft", "tuner", "adapter-type"],
        "method",
        "",
    ),
    (&["lora"], "method lora", ""),
    (&["use-dora", "dora"], "method dora", ""),
    (&["lr", "rate"], "learning-rate", ""),
    (
        &["num-epochs", "num-train-epochs", "epoch", "n-epochs"],
        "epochs",
        "",
    ),
    (
        &["max-steps", "iters", "iterations", "num-steps"],
        "steps",
        "",
    ),
    (
        &[
            "per-device-train-batch-size",
            "per-device-eval-batch-size",
            "micro-batch-size",
            "train-batch-size",
            "bs",
        ],
        "batch-size",
        "",
    ),
    (
        &[
            "gradient-accumulation-steps",
            "gradient-accumulation",
            "accumulation",
        ],
        "grad-accumulation",
        "",
    ),
    (
        &["warmup-ratio", "warmup-steps"],
        "warmup",
        "a share of the steps, or a number of them from 1 up",
    ),
    (
        &[
            "lr-scheduler-type",
            "lr-scheduler",
            "scheduler",
            "lr-schedule",
        ],
        "schedule",
        "",
    ),
    (
        &[
            "max-seq-length",
            "max-seq-len",
            "sequence-len",
            "seq-len",
            "cutoff-len",
            "max-len",
            "model-max-length",
        ],
        "max-length",
        "",
    ),
    (
        &["output-dir", "out", "save-dir", "adapter-path"],
        "output",
        "",
    ),
    (
        &[
            "model-name-or-path",
            "model-name",
            "base-model",
            "model-path",
            "pretrained",
        ],
        "model",
        "",
    ),
    (
        &[
            "dataset",
            "train-file",
            "train-data",
            "train",
            "data-path",
            "train-dataset",
        ],
        "data",
        "",
    ),
    (
        &[
            "validation-file",
            "validation",
            "valid-data",
            "dev-data",
            "test-data",
            "test-file",
        ],
        "eval-data",
        "it only reports; rows that choose the adapter go to --select-data",
    ),
    (
        &[
            "gradient-checkpointing",
            "grad-checkpoint",
            "activation-checkpointing",
        ],
        "recompute",
        "",
    ),
    (
        &["load-in-4bit", "qlora", "use-4bit", "quantization-bit"],
        "quantize nf4",
        "",
    ),
    (&["load-in-8bit", "use-8bit"], "quantize int8", ""),
    (
        &["fp16", "bf16", "half", "torch-dtype", "dtype", "precision"],
        "base-dtype bf16",
        "it keeps the frozen matrices in half precision",
    ),
    (
        &[
            "early-stopping-patience",
            "early-stop",
            "earlystopping",
            "patience",
        ],
        "early-stopping",
        "how many selections in a row may be no better",
    ),
    (
        &["metric-for-best-model", "best-metric", "monitor", "metric"],
        "select-metric",
        "",
    ),
    (
        &["load-best-model-at-end", "save-best", "save-total-limit"],
        "select-metric",
        "the best adapter is kept in any case",
    ),
    (
        &["eval-every", "evaluation-steps", "steps-per-eval"],
        "eval-steps",
        "",
    ),
    (
        &["save-every", "checkpoint-steps", "checkpoint-every"],
        "save-steps",
        "",
    ),
    (
        &[
            "max-grad-norm",
            "clip-norm",
            "gradient-clip-val",
            "grad-clip",
        ],
        "clip",
        "",
    ),
    (
        &["resume-from-checkpoint", "continue", "resume-adapter-file"],
        "resume",
        "",
    ),
    (&["overwrite-output-dir", "force"], "overwrite", ""),
    (&["cpu", "no-cuda", "use-cpu"], "device cpu", ""),
    (&["gpu", "cuda", "use-cuda"], "device cuda", ""),
    (
        &["num-threads", "cores", "cpus", "num-workers", "jobs"],
        "threads",
        "",
    ),
    (
        &["class-weight", "balanced", "weighted-loss"],
        "class-weights balanced",
        "",
    ),
    (&["random-seed", "random-state"], "seed", ""),
    (
        &["log", "logging", "verbose", "quiet", "json"],
        "log-format",
        "",
    ),
    (
        &["max-new-tokens", "num-predict", "max-gen-len", "n-predict"],
        "max-tokens",
        "",
    ),
    (&["temp"], "temperature", ""),
    (
        &["stop-sequence", "stop-string", "stop-strings"],
        "stop",
        "",
    ),
    (&["repeat-penalty"], "repetition-penalty", ""),
    (
        &["text-field", "text-key", "prompt-column", "input-column"],
        "text-column",
        "",
    ),
    (
        &["target-column", "label-field", "label-key", "labels"],
        "label-column",
        "",
    ),
    (
        &[
            "lora-path",
            "peft-model",
            "lora-adapter",
            "adapter-name-or-path",
        ],
        "adapter",
        "",
    ),
];

/// Words that say nothing by themselves.
const EMPTY: &[&str] = &[
    "lora", "peft", "num", "number", "of", "n", "the", "train", "training", "per", "use",
];

/// The words of a flag that say something, each as it is looked up: `stopping` and `stop` are one word.
pub fn words_of(flag: &str) -> Vec<String> {
    let words = flag.split(['-', '_']).map(str::to_lowercase);
    let words = words.filter(|word| !word.is_empty() && !EMPTY.contains(&word.as_str()));
    words.map(|word| stem(&word).to_owned()).collect()
}

fn stem(word: &str) -> &str {
    let word = word
        .strip_suffix('s')
        .filter(|left| left.len() > 2)
        .unwrap_or(word);
    match word.strip_suffix("ing") {
        // `stopping` doubles the letter.
        Some(left) if left.len() > 3 => {
            let bytes = left.as_bytes();
            match bytes {
                [.., a, b] if a == b => &left[..left.len() - 1],
                _ => left,
            }
        }
        _ => word,
    }
}
