//! Whole runs of Jamba: attention in some blocks, state spaces in the others, a feed-forward part in all.

use peft_run::core::format::AdapterFile;
use serde_json::json;

use super::{
    runs::{config, measured, workspace},
    state_families::{check, settings},
};

const MODEL: &str = "jamba_tiny";
/// Every linear layer of either kind of block.
const PROJECTIONS: &[&str] = &[
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "in_proj",
    "x_proj",
    "dt_proj",
    "out_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
];

#[test]
fn methods_of_layers_train_on_blocks_of_both_kinds() {
    check(MODEL, "lora", json!({ "r": 2 }), None);
    check(MODEL, "lora", json!({ "r": 2 }), Some(PROJECTIONS));
    check(MODEL, "dora", json!({ "r": 2 }), Some(PROJECTIONS));
    check(MODEL, "ia3", json!({}), None);
    check(
        MODEL,
        "bitfit",
        json!({}),
        Some(&["bias", "A_log", "D", "b_layernorm.weight"]),
    );
    check(MODEL, "ln_tuning", json!({}), None);
}

#[test]
fn methods_of_parts_train_on_the_blocks_that_have_them() {
    check(
        MODEL,
        "initial_state",
        json!({}),
        Some(&["state_start", "conv_start"]),
    );
    check(MODEL, "state_offset", json!({}), None);
    check(MODEL, "additional_scan", json!({ "extra_states": 2 }), None);
    check(MODEL, "affix", json!({}), None);
    check(MODEL, "sdlora", json!({}), None);
    check(MODEL, "parallel", json!({}), None);
    for preset in ["ssm", "projections", "all", "ssm_full", "norms"] {
        check(MODEL, "ssm_components", json!({ "preset": preset }), None);
    }
}

/// A prefix begins at random, away from the base: what it gains shows against its own start.
#[test]
fn a_prefix_learns_in_the_blocks_that_attend() {
    let (dir, folder, data) = workspace(MODEL);
    let loss_after = |steps| {
        let output = dir.path().join(format!("prefix-{steps}"));
        let mut settings = settings(&folder, &data, &output, "prefix");
        settings
            .method_config
            .insert("num_virtual_tokens".into(), json!(4));
        settings.steps = Some(steps);
        peft_run::train(&settings, &mut ()).unwrap();
        measured(&folder, Some(&output), &data).1.loss
    };
    let (first, last) = (loss_after(1), loss_after(40));
    assert!(last < first, "{first} {last}");
}

/// Eleven layers in four blocks, seven in each, both factors of each.
#[test]
fn all_linear_means_the_layers_of_both_kinds() {
    let (dir, folder, data) = workspace(MODEL);
    let output = dir.path().join("out");
    let mut settings = config(&folder, &data, &output, "lora");
    settings.method_config.insert("r".into(), json!(2));
    settings.steps = Some(1);
    peft_run::train(&settings, &mut ()).unwrap();
    let file = AdapterFile::read(&output).unwrap();
    assert_eq!(file.tensors.len(), 4 * 7 * 2);
    for name in PROJECTIONS {
        let of = |key: &&String| key.contains(&format!(".{name}."));
        let count = file.tensors.keys().filter(of).count();
        let blocks = if ["gate_proj", "up_proj", "down_proj"].contains(name) {
            4
        } else {
            2
        };
        assert_eq!(count, 2 * blocks, "{name}");
    }
}
