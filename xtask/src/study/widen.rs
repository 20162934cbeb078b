//! The same function at a greater width: for what depends on the width of a model alone.
//!
//! Every hidden unit, every unit of a feed-forward layer and every attention head of a BERT encoder is
//! repeated `k` times; weights are divided by `k`, so that the `k` equal inputs of a unit add up to what
//! the one was. A hidden state is then `k` copies of the narrow model's, layer normalisation sees the
//! same mean and variance, and the model computes the same function at `k` times the width.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use peft_format::{Checkpoint, atomic::write_atomic_bytes};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

use crate::files;

/// Settings of a configuration that count repeated units.
const COUNTS: [&str; 3] = ["hidden_size", "intermediate_size", "num_attention_heads"];

/// The folder under `data` of `model` at `times` its width.
pub fn folder(data: &Path, model: &str, times: usize) -> PathBuf {
    match times {
        1 => data.join(model),
        _ => data.join(format!("{model}-{times}-times-as-wide")),
    }
}

/// Makes that folder where it is not.
pub fn ensure(data: &Path, model: &str, times: usize) -> Result<()> {
    let (narrow, wide) = (folder(data, model, 1), folder(data, model, times));
    let weights = wide.join("model.safetensors");
    if times == 1 || weights.is_file() {
        return Ok(());
    }
    fs::create_dir_all(&wide).with_context(|| format!("cannot create {}", wide.display()))?;
    for entry in fs::read_dir(&narrow)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .context("an entry of a folder has a name")?;
        match name.to_str() {
            Some("config.json") => {
                let config = widened_config(&files::read(&path)?, times)
                    .with_context(|| format!("in {}", path.display()))?;
                files::write_atomic(&wide.join(name), config.as_bytes())?;
            }
            Some("model.safetensors") => {}
            _ => {
                fs::copy(&path, wide.join(name))
                    .with_context(|| format!("cannot copy {}", path.display()))?;
            }
        }
    }
    // Last: a folder with weights is whole.
    write_atomic_bytes(&weights, &widened_weights(&narrow, times)?)?;
    Ok(())
}

fn widened_config(text: &str, times: usize) -> Result<String> {
    let mut config: Value = serde_json::from_str(text)?;
    ensure!(
        config["model_type"] == "bert",
        "only BERT encoders can be widened, not {}",
        config["model_type"]
    );
    for key in COUNTS {
        let count = config[key].as_u64().with_context(|| format!("no {key}"))?;
        config[key] = json!(count * times as u64);
    }
    Ok(serde_json::to_string_pretty(&config)?)
}

fn widened_weights(folder: &Path, times: usize) -> Result<Vec<u8>> {
    let checkpoint = Checkpoint::open(folder)?;
    let mut tensors = Vec::new();
    for name in checkpoint.names() {
        // Not a weight: the places 0, 1, 2 … that some exporters leave.
        if name.ends_with("position_ids") {
            continue;
        }
        let info = checkpoint.info(name).context("a tensor that is listed")?;
        let values = checkpoint.to_f32(name)?;
        let (shape, values) = match (info.shape.as_slice(), name) {
            (&[units], _) => (vec![units * times], tiled(&values, units, 1, times, 1.0)),
            (&[rows, cols], name) if name.contains("embeddings.") => (
                vec![rows, cols * times],
                tiled(&values, cols, 1, times, 1.0),
            ),
            (&[rows, cols], _) => {
                let scale = 1.0 / times as f32;
                let wide = tiled(&values, cols, times, times, scale);
                (vec![rows * times, cols * times], wide)
            }
            (shape, _) => bail!("{name} has shape {shape:?}: not a weight of a BERT encoder"),
        };
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        tensors.push((name.to_owned(), shape, bytes));
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        view.map(|view| (name, view))
    });
    let views = views.collect::<Result<Vec<_>, _>>()?;
    Ok(safetensors::serialize(views, None)?)
}

/// Rows of `cols` values, every row `across` times side by side, all of it `down` times one below the
/// other, each value times `scale`.
fn tiled(values: &[f32], cols: usize, down: usize, across: usize, scale: f32) -> Vec<f32> {
    let mut wide = Vec::with_capacity(values.len() * down * across);
    for _ in 0..down {
        for row in values.chunks(cols) {
            for _ in 0..across {
                wide.extend(row.iter().map(|value| value * scale));
            }
        }
    }
    wide
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_widened_product_gives_copies_of_the_narrow_one() {
        let (rows, cols, times) = (3, 2, 4);
        let weight = [1.0, -2.0, 0.5, 3.0, 4.0, 0.25];
        let x = [2.0, -1.0];
        let product = |weight: &[f32], x: &[f32]| -> Vec<f32> {
            let row = |row: &[f32]| row.iter().zip(x).map(|(w, x)| w * x).sum();
            weight.chunks(x.len()).map(row).collect()
        };
        let wide = tiled(&weight, cols, times, times, 1.0 / times as f32);
        let wide_x = tiled(&x, cols, 1, times, 1.0);
        let narrow = product(&weight, &x);
        assert_eq!(wide.len(), rows * cols * times * times);
        assert_eq!(product(&wide, &wide_x), narrow.repeat(times));
    }

    #[test]
    fn only_counts_of_units_change_in_a_configuration() {
        let text = r#"{"model_type": "bert", "hidden_size": 8, "intermediate_size": 32,
            "num_attention_heads": 2, "vocab_size": 7}"#;
        let config: Value = serde_json::from_str(&widened_config(text, 3).unwrap()).unwrap();
        assert_eq!(config["hidden_size"], 24);
        assert_eq!(config["intermediate_size"], 96);
        assert_eq!(config["num_attention_heads"], 6);
        assert_eq!(config["vocab_size"], 7);
        let other = text.replace("bert", "albert");
        let error = widened_config(&other, 3).unwrap_err().to_string();
        assert!(error.contains("albert"), "{error}");
    }
}
