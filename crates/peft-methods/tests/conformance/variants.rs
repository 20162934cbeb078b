//! The methods that adapt linear layers, each with the settings to test.

use peft_methods::Entry;
use serde_json::json;

/// Settings of a method worth telling apart, beside its defaults, for a weight of these widths.
pub fn variants(
    entry: &Entry,
    [inputs, outputs]: [usize; 2],
) -> Vec<serde_json::Map<String, serde_json::Value>> {
    let with = |json: serde_json::Value| {
        let mut settings = (entry.defaults)();
        settings.extend(json.as_object().expect("an object").clone());
        settings
    };
    let smaller = inputs.min(outputs);
    // A few coefficients, or as many as there are.
    let few = (inputs * outputs).min(11);
    let many = inputs * outputs;
    let block = (1..=inputs.min(outputs))
        .rev()
        .find(|b| inputs % b == 0 && outputs % b == 0)
        .unwrap_or(1);
    match entry.name {
        "lora" => vec![
            with(json!({ "r": 3, "lora_alpha": 6 })),
            with(json!({ "r": 2, "use_rslora": true })),
            with(json!({ "r": 5, "init_lora_weights": "gaussian" })),
            with(
                json!({ "r": 2, "rank_pattern": { "layer": 4 }, "alpha_pattern": { "layer": 3.5 } }),
            ),
            with(json!({ "r": smaller.min(3), "init_lora_weights": "pissa" })),
            with(json!({
                "r": smaller.min(2), "init_lora_weights": "pissa_niter_4", "use_rslora": true,
                "alpha_pattern": { "layer": 3.5 },
            })),
            with(json!({
                "r": 1, "init_lora_weights": "olora", "rank_pattern": { "layer": smaller.min(4) },
            })),
        ],
        "dora" => vec![
            with(json!({ "r": 3, "lora_alpha": 6 })),
            with(json!({ "r": 2, "dora_detach_norm": false, "loraplus_lr_ratio": 4.0 })),
        ],
        "adalora" => vec![
            with(json!({ "init_r": 3, "target_r": 2 })),
            with(json!({ "init_r": 2, "target_r": 1, "lora_alpha": 0, "orth_reg_weight": 0 })),
        ],
        "sine_lora" => vec![
            with(json!({ "r": 3, "frequency": 5.0 })),
            with(
                json!({ "r": 2, "frequency": 2.5, "divisor": 3.0, "rank_pattern": { "layer": 4 } }),
            ),
        ],
        "deep_lora" => {
            let most = inputs.min(outputs);
            vec![
                with(json!({ "r": most.min(4) })),
                with(json!({ "r": most.min(3), "outer_rate": 0.0, "epsilon": 0.1 })),
                with(json!({ "r": 1, "rank_pattern": { "layer": most } })),
                with(json!({ "compressed": false })),
                with(json!({ "compressed": false, "width": 3 })),
            ]
        }
        "vera" => vec![
            with(json!({ "r": 3 })),
            with(json!({ "r": 7, "save_projection": false, "projection_prng_key": 5 })),
            with(json!({ "r": 2, "d_initial": -0.5, "projection_prng_key": 1u64 << 40 })),
        ],
        "lorta" => {
            let heads = (1..=outputs.min(4)).rev().find(|n| outputs % n == 0);
            vec![
                with(json!({ "r": 3, "num_heads": heads })),
                with(json!({ "r": 5, "num_heads": outputs, "scaling": 2.5, "init_scale": 0.2 })),
            ]
        }
        "sdctft" => vec![
            with(json!({ "n_frequency": few, "evaluation": "fast" })),
            with(json!({ "n_frequency": few, "evaluation": "factored", "gamma": 0.3 })),
            with(json!({ "n_frequency": many, "evaluation": "fast", "metric": "centre" })),
            with(json!({ "n_frequency": many, "evaluation": "merged", "gamma": 1.7 })),
            with(json!({ "n_frequency": few, "select": "energy", "delta": 0.5 })),
            with(json!({ "n_frequency": few, "select": "random" })),
            with(json!({ "n_frequency": few, "select": "lowblock" })),
            with(json!({ "n_frequency": few, "select": "grad" })),
            with(json!({ "n_frequency": 1, "select": "product", "max_rows": 2, "max_cols": 3 })),
        ],
        "ssh" => vec![
            with(json!({ "n_frequency": few, "evaluation": "fast" })),
            with(json!({ "n_frequency": many, "evaluation": "factored", "delta": 0.2 })),
        ],
        "fourierft" => vec![
            with(json!({ "n_frequency": few, "evaluation": "fast" })),
            with(json!({ "n_frequency": many, "evaluation": "factored", "scaling": 40.0 })),
            with(json!({ "n_frequency": few, "evaluation": "merged" })),
        ],
        "waveft" => vec![
            with(json!({ "n_frequency": few, "evaluation": "fast" })),
            with(json!({ "n_frequency": few, "wavelet_family": "db3", "evaluation": "factored" })),
            with(json!({ "n_frequency": few, "wavelet_family": "db2", "evaluation": "merged" })),
            with(json!({ "n_frequency": few, "use_idwt": false, "scaling": 2.0 })),
        ],
        "loca" => vec![
            with(json!({ "n_frequency": few, "evaluation": "fast" })),
            with(json!({ "n_frequency": few, "evaluation": "factored", "location_share": 0.0 })),
            with(json!({ "n_frequency": few, "evaluation": "merged" })),
        ],
        "c3a" => vec![
            with(json!({ "block_size": 1 })),
            with(json!({ "block_size": block })),
        ],
        "shira" => {
            // `r` takes at least as many entries as both widths together.
            let smallest = match inputs + outputs <= inputs * outputs {
                true => json!({ "r": 1, "random_seed": 3 }),
                false => json!({ "density": 0.5 }),
            };
            vec![
                with(smallest),
                with(json!({ "density": 0.1, "mask_type": "magnitude" })),
                with(json!({ "density": 0.3, "mask_type": "gradient" })),
                with(json!({ "density": 1e-9, "mask_type": "snip" })),
                with(json!({ "density": 1.0 })),
            ]
        }
        "sparsegrad" => vec![
            with(json!({ "density": 0.1 })),
            with(json!({ "density": 1.0, "shared_basis": false })),
            with(json!({ "density": 0.05, "mask": "topk_fixed" })),
            with(json!({ "density": 0.05, "mask": "topk_refresh", "refresh": 2 })),
            with(json!({ "density": 0.02, "mask": "topk_each_step", "window": 3.0 })),
            with(json!({ "density": 0.1, "mask": "topk_each_step", "legacy": true })),
        ],
        "sift" => vec![with(json!({})), with(json!({ "density": 0.4 }))],
        "spiel" => vec![with(json!({})), with(json!({ "density": 0.3 }))],
        "smt" => vec![
            with(json!({})),
            with(json!({ "density": 0.3, "block_size": 4 })),
            with(json!({ "density": 0.2, "block_shape": "row", "score": "mean_abs" })),
            with(json!({ "density": 0.2, "block_shape": "column", "pools": "per_matrix" })),
        ],
        "gmt" => vec![
            with(json!({})),
            with(json!({ "density": 1.0, "mask_update": true })),
        ],
        // With more of the gradient than there is: cut ones are not the loss's.
        "meprop" => vec![
            with(json!({ "k": 64 })),
            with(json!({ "k": 64, "unified": false })),
        ],
        // Drawn: what else chooses is a run's.
        "sdt" => vec![
            with(json!({ "selector": "random" })),
            with(json!({ "selector": "random", "channels": 0.4 })),
        ],
        "sdlora" => vec![with(
            json!({ "selector": "random", "r": 3, "lora_alpha": 6 }),
        )],
        "ia3" => vec![
            with(json!({})),
            with(json!({ "feedforward_modules": ["ayer"] })),
            with(json!({ "feedforward_modules": "(inner|lay.r)" })),
        ],
        "ssf" => vec![with(json!({}))],
        // A target of another name is asked for, too.
        "ssm_components" => {
            let half = outputs.div_ceil(2);
            let mut pieces = json!({ "a": [0, half] });
            let mut names = vec!["layer_a", "other_a"];
            if half < outputs {
                pieces["b"] = json!([half, outputs]);
                names.extend(["layer_b", "other_b"]);
            }
            let both = json!({ "layer": pieces, "other": pieces });
            let whole = ["layer", "other"];
            vec![
                with(json!({ "full": whole })),
                with(json!({ "lora": whole, "r": 2, "lora_alpha": 6 })),
                with(json!({ "lora": names, "r": 3, "pieces": both })),
            ]
        }
        "lorap_x" => {
            let last = json!({ "last": [outputs - 1, outputs] });
            vec![with(json!({
                "lora": ["layer_last", "other_last"], "r": 2,
                "pieces": { "layer": last, "other": last },
            }))]
        }
        "sll_lora" => vec![with(json!({ "r": 3, "lora_alpha": 6 }))],
        "prodial" => {
            let width = (1..=inputs.min(6)).rev().find(|width| inputs % width == 0);
            vec![
                with(json!({ "r": 2 })),
                with(json!({ "r": 3, "block_width": width, "lora_alpha": 1.5 })),
            ]
        }
        "topk_grad" => vec![with(json!({ "mask_update": true }))],
        other => panic!("{other}: say here which of its settings to test"),
    }
}

/// Whether a method adapts the weights of linear layers.
pub fn adapts_weights(entry: &Entry) -> bool {
    let method = (entry.build)(&(entry.defaults)()).unwrap();
    method.site_kinds().iter().any(|kind| kind.is_linear())
}
