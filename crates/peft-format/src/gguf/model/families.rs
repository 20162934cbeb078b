//! What single families have in their configuration.

use serde_json::Value as Json;

use super::Architecture;
use super::config::{Builder, decimal};
use crate::error::{FormatError, Result, shorten};

/// The Gemmas' activation, query scale, caps and windows.
pub(super) fn gemma(
    b: &mut Builder,
    layers: u64,
    head_dim: u64,
    window: Option<u64>,
) -> Result<()> {
    b.set("hidden_activation", "gelu_pytorch_tanh");
    if b.architecture == Architecture::Gemma {
        return Ok(());
    }
    let width = b.size("embedding_length")?;
    let query = b.size("attention.head_count")?;
    // The file does not say it. As llama.cpp: the largest model of either family, told by its
    // number of blocks, divides by the width a head, the others by the head's own.
    let largest = match b.architecture {
        Architecture::Gemma2 => 46,
        _ => 62,
    };
    let scalar = if layers == largest {
        width / query
    } else {
        head_dim
    };
    b.set("query_pre_attn_scalar", scalar);
    let gemma2 = b.architecture == Architecture::Gemma2;
    for (key, default) in [
        ("attn_logit_softcapping", Some(50.0).filter(|_| gemma2)),
        ("final_logit_softcapping", Some(30.0).filter(|_| gemma2)),
    ] {
        let cap = b.float(key)?.or(default).filter(|&cap| cap != 0.0);
        b.set(key, cap.map_or(Json::Null, decimal));
    }
    let pattern = b.key("attention.sliding_window_pattern");
    if let Some(found) = b.file.value(&pattern) {
        let expected = "no pattern of its own";
        // The families' own patterns are every second and every sixth layer.
        let usual = if gemma2 { 2 } else { 6 };
        if found.as_u64() != Some(usual) {
            return Err(b
                .file
                .field(&pattern, expected, shorten(&format!("{found:?}"))));
        }
    }
    match (window, gemma2) {
        (Some(window), _) => b.set("sliding_window", window),
        (None, true) => b.set("sliding_window", 4096),
        // A Gemma 3 without windows: every layer sees all.
        (None, false) => {
            b.set("sliding_window", Json::Null);
            let full = vec!["full_attention"; layers.min(1 << 16) as usize];
            b.set("layer_types", full);
        }
    }
    if !gemma2 && window.is_some() {
        b.set("sliding_window_pattern", 6);
    }
    Ok(())
}

pub(super) fn gpt2(b: &mut Builder, layers: u64) -> Result<()> {
    b.set("n_embd", b.size("embedding_length")?);
    b.set("n_layer", layers);
    b.set("n_head", b.size("attention.head_count")?);
    b.set("n_positions", b.size("context_length")?);
    b.set("n_inner", b.size("feed_forward_length")?);
    b.set("activation_function", "gelu_new");
    b.epsilon("layer_norm_epsilon", "attention.layer_norm_epsilon")
}

pub(super) fn mamba(b: &mut Builder, layers: u64) -> Result<()> {
    // FalconMamba is written as Mamba; the ε of its norms of B, C and the time step is in no file, so that it is the default.
    if b.file.boolean(&b.key("ssm.dt_b_c_rms"))? == Some(true) {
        b.set("model_type", "falcon_mamba");
        b.set(
            "architectures",
            serde_json::json!(["FalconMambaForCausalLM"]),
        );
    }
    state_space(b, layers)?;
    b.set("time_step_rank", b.size("ssm.time_step_rank")?);
    Ok(())
}

/// Bounds of the step widths are in no file, so that there are none, as in llama.cpp.
pub(super) fn mamba2(b: &mut Builder, layers: u64) -> Result<()> {
    let inner = state_space(b, layers)?;
    let (heads, groups) = (b.size("ssm.time_step_rank")?, b.size("ssm.group_count")?);
    for (name, number, divided, what) in [
        ("ssm.time_step_rank", heads, inner, "channels"),
        ("ssm.group_count", groups, heads, "heads"),
    ] {
        if !divided.is_multiple_of(number) {
            let expected = format!("a divisor of the {divided} {what}");
            return Err(b.file.field(&b.key(name), expected, number.to_string()));
        }
    }
    b.set("num_heads", heads);
    b.set("head_dim", inner / heads);
    b.set("n_groups", groups);
    for (name, tensor) in b.file.tensors() {
        let shape: Vec<u64> = tensor.shape.iter().map(|&size| size as u64).collect();
        let rows = match name.rsplit_once("ssm_").map(|(_, part)| part) {
            Some("a" | "d") => [heads, 1],
            Some("norm.weight") => [groups, inner / groups],
            _ => continue,
        };
        // ggml leaves out outer dimensions of 1.
        let short = rows.contains(&1) && shape == [rows[0] * rows[1]];
        if shape != rows && !short {
            return Err(FormatError::Tensor {
                path: b.file.path().to_owned(),
                tensor: shorten(name),
                expected: format!(
                    "{rows:?}, for {heads} heads in {groups} groups over {inner} channels"
                ),
                found: format!("{:?}", tensor.shape),
                fix: "download the file again, or convert the model again",
            });
        }
    }
    Ok(())
}

/// What the Mambas have in common; the channels of a block.
fn state_space(b: &mut Builder, layers: u64) -> Result<u64> {
    let (width, inner) = (b.size("embedding_length")?, b.size("ssm.inner_size")?);
    if !inner.is_multiple_of(width) {
        let key = b.key("ssm.inner_size");
        let expected = format!("a multiple of the width {width}");
        return Err(b.file.field(&key, expected, inner.to_string()));
    }
    b.set("hidden_size", width);
    b.set("intermediate_size", inner);
    b.set("expand", inner / width);
    b.set("num_hidden_layers", layers);
    b.set("conv_kernel", b.size("ssm.conv_kernel")?);
    b.set("state_size", b.size("ssm.state_size")?);
    b.set("hidden_act", "silu");
    b.set("use_bias", b.biased(&["ssm_in", "ssm_out"])?);
    b.set("use_conv_bias", b.biased(&["ssm_conv1d"])?);
    b.epsilon("layer_norm_epsilon", "attention.layer_norm_rms_epsilon")?;
    Ok(inner)
}
