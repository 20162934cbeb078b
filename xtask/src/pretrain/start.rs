//! Folders that training begins from: a configuration and random weights as Hugging Face's modules start.

use std::f64::consts::LN_10;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use peft_format::{Dtype, Metadata, SafetensorsWriter, TensorSpec};
use serde_json::{Map, Value, json};

use super::Family;
use crate::files;
use crate::study::Random;

/// Tokens of the vocabulary.
pub const VOCABULARY: usize = 1024;
const WIDTH: usize = 256;
const LAYERS: usize = 6;
/// `D`, twice the width.
const CHANNELS: usize = 2 * WIDTH;
const CONVOLUTION: usize = 4;
/// Standard deviation of what is not drawn by the width of its input.
const SPREAD: f64 = 0.1;
/// Seed of the weights.
pub const SEED: u64 = 20_261_130;

/// Writes the folder, unless it is there.
pub fn write(family: Family, folder: &Path, tokenizer: &Path) -> Result<()> {
    let weights = folder.join("model.safetensors");
    if weights.is_file() {
        return Ok(());
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let text = |value: Value| anyhow::Ok(serde_json::to_string_pretty(&value)? + "\n");
    files::write_atomic(
        &folder.join("config.json"),
        text(config(family).into())?.as_bytes(),
    )?;
    files::write_atomic(
        &folder.join("tokenizer.json"),
        files::read(tokenizer)?.as_bytes(),
    )?;
    let end = "<|endoftext|>";
    let settings = json!({
        "bos_token": end,
        "eos_token": end,
        "model_max_length": 1 << 20,
        "pad_token": end,
        "tokenizer_class": "PreTrainedTokenizerFast",
    });
    files::write_atomic(
        &folder.join("tokenizer_config.json"),
        text(settings)?.as_bytes(),
    )?;
    // Last: a folder with weights is whole.
    let tensors = tensors(family);
    let specs = tensors
        .iter()
        .map(|(name, shape, _)| TensorSpec::new(name, Dtype::F32, shape.clone()))
        .collect();
    let metadata = Metadata::from([("format".to_owned(), "pt".to_owned())]);
    let mut writer = SafetensorsWriter::create(&weights, specs, &metadata)?;
    let order: Vec<String> = writer.order().map(|tensor| tensor.name.clone()).collect();
    for name in order {
        let tensor = tensors.iter().find(|(own, ..)| *own == name);
        let (.., values) = tensor.context("a tensor that is listed")?;
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        writer.write(&name, &bytes)?;
    }
    Ok(writer.finish()?)
}

fn config(family: Family) -> Map<String, Value> {
    let shared = json!({
        "bos_token_id": 0,
        "conv_kernel": CONVOLUTION,
        "dtype": "float32",
        "eos_token_id": 0,
        "expand": 2,
        "hidden_act": "silu",
        "hidden_size": WIDTH,
        "initializer_range": SPREAD,
        "layer_norm_epsilon": 1e-5,
        "num_hidden_layers": LAYERS,
        "pad_token_id": 0,
        "rescale_prenorm_residual": false,
        "residual_in_fp32": true,
        "tie_word_embeddings": true,
        "time_step_floor": 1e-4,
        "time_step_max": 0.1,
        "time_step_min": 0.001,
        "time_step_rank": WIDTH / 16,
        "use_bias": false,
        "use_conv_bias": true,
        "vocab_size": VOCABULARY,
    });
    let own = match family {
        Family::Mamba => json!({
            "architectures": ["MambaForCausalLM"],
            "model_type": "mamba",
            "state_size": family.states(),
            "time_step_init_scheme": "random",
            "time_step_scale": 1.0,
        }),
        Family::Mamba2 => json!({
            "architectures": ["Mamba2ForCausalLM"],
            "chunk_size": 64,
            "head_dim": CHANNELS / HEADS,
            "model_type": "mamba2",
            "n_groups": 1,
            "num_heads": HEADS,
            "state_size": family.states(),
        }),
    };
    [shared, own]
        .into_iter()
        .filter_map(|part| match part {
            Value::Object(map) => Some(map),
            _ => None,
        })
        .flatten()
        .collect()
}

/// Heads of Mamba-2.
const HEADS: usize = 16;

impl Family {
    const fn states(self) -> usize {
        match self {
            Self::Mamba => 16,
            Self::Mamba2 => 64,
        }
    }
}

/// A tensor's name, shape and values.
type Tensor = (String, Vec<usize>, Vec<f32>);

/// All tensors, drawn one after the other. What Hugging Face draws from a normal distribution is uniform here, of the same spread.
fn tensors(family: Family) -> Vec<Tensor> {
    let mut random = Random::new(SEED);
    let mut tensors = Vec::new();
    let normal = SPREAD * 3f64.sqrt();
    let by_inputs = |inputs: usize| 1.0 / (inputs as f64).sqrt();
    let mut add = |name: String, shape: &[usize], start: Start| {
        let count = shape.iter().product();
        tensors.push((name, shape.to_vec(), start.values(count, &mut random)));
    };
    add(
        "backbone.embeddings.weight".into(),
        &[VOCABULARY, WIDTH],
        Start::Uniform(normal),
    );
    let states = family.states();
    for layer in 0..LAYERS {
        let path = format!("backbone.layers.{layer}");
        let of = |name: &str| format!("{path}.mixer.{name}");
        add(format!("{path}.norm.weight"), &[WIDTH], Start::Ones);
        let (decays, heads, read, inner) = match family {
            Family::Mamba => (
                vec![CHANNELS, states],
                CHANNELS,
                CHANNELS,
                vec![2 * CHANNELS, WIDTH],
            ),
            Family::Mamba2 => {
                let read = CHANNELS + 2 * states;
                (
                    vec![HEADS],
                    HEADS,
                    read,
                    vec![CHANNELS + read + HEADS, WIDTH],
                )
            }
        };
        let period = decays[decays.len() - 1];
        add(of("A_log"), &decays, Start::Decays(period));
        add(of("D"), &[heads], Start::Ones);
        if family == Family::Mamba2 {
            add(of("dt_bias"), &[heads], Start::Steps);
        }
        let convolution = Start::Uniform(by_inputs(CONVOLUTION));
        add(of("conv1d.weight"), &[read, 1, CONVOLUTION], convolution);
        add(of("conv1d.bias"), &[read], Start::Zeros);
        add(of("in_proj.weight"), &inner, Start::Uniform(normal));
        if family == Family::Mamba {
            let rank = WIDTH / 16;
            let x_proj = [rank + 2 * states, CHANNELS];
            add(of("x_proj.weight"), &x_proj, Start::Uniform(normal));
            let steps = Start::Uniform(by_inputs(rank));
            add(of("dt_proj.weight"), &[CHANNELS, rank], steps);
            add(of("dt_proj.bias"), &[CHANNELS], Start::Steps);
        } else {
            add(of("norm.weight"), &[CHANNELS], Start::Ones);
        }
        let out = Start::Uniform(by_inputs(CHANNELS));
        add(of("out_proj.weight"), &[WIDTH, CHANNELS], out);
    }
    add("backbone.norm_f.weight".into(), &[WIDTH], Start::Ones);
    tensors
}

/// How the values of a tensor start.
#[derive(Clone, Copy)]
enum Start {
    Ones,
    Zeros,
    /// Between minus this and this.
    Uniform(f64),
    /// Logarithms of 1 to this, over and over.
    Decays(usize),
    /// Biases behind which softplus gives steps from 0.001 to 0.1, uniform in their logarithms.
    Steps,
}

impl Start {
    fn values(self, count: usize, random: &mut Random) -> Vec<f32> {
        let mut draw = |one: &dyn Fn(f64) -> f64| -> Vec<f32> {
            (0..count).map(|_| one(random.share()) as f32).collect()
        };
        match self {
            Self::Ones => vec![1.0; count],
            Self::Zeros => vec![0.0; count],
            Self::Uniform(bound) => draw(&|share| (2.0 * share - 1.0) * bound),
            Self::Decays(period) => {
                let number = |place: usize| ((place % period + 1) as f64).ln() as f32;
                (0..count).map(number).collect()
            }
            Self::Steps => draw(&|share| {
                let step = ((2.0 * share - 3.0) * LN_10).exp().max(1e-4);
                step + (-(-step).exp_m1()).ln()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_small_models() {
        let count = |family| -> usize { tensors(family).iter().map(|one| one.2.len()).sum() };
        assert_eq!(count(Family::Mamba), 2_890_496);
        assert_eq!(count(Family::Mamba2), 2_866_976);
        for (name, shape, values) in tensors(Family::Mamba2) {
            assert_eq!(shape.iter().product::<usize>(), values.len(), "{name}");
        }
    }

    #[test]
    fn steps_and_decays_are_where_mamba_starts() {
        let softplus = |x: f32| f64::from(x).exp().ln_1p();
        for (name, _, values) in tensors(Family::Mamba) {
            if name.ends_with("dt_proj.bias") {
                let steps: Vec<f64> = values.into_iter().map(softplus).collect();
                assert!(steps.iter().all(|step| (0.000_99..0.101).contains(step)));
                let small = steps.iter().filter(|step| **step < 0.01).count();
                assert!((180..330).contains(&small), "{small} of 512 below 0.01");
            } else if name.ends_with("A_log") {
                assert_eq!((values[0], values[16]), (0.0, 0.0));
                assert!((f64::from(values[31]) - 16f64.ln()).abs() < 1e-6);
            } else if name.ends_with("in_proj.weight") {
                let squares: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
                let spread = (squares / values.len() as f64).sqrt();
                assert!((spread - SPREAD).abs() < 1e-3, "{spread}");
            }
        }
    }
}
