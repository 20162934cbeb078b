//! Which tensor of Hugging Face a tensor of the file is.

use super::change::Change;
use super::{Architecture, HeadCounts};
use crate::error::{FormatError, Result, shorten};
use crate::gguf::{GgufFile, GgufTensor};

/// Hugging Face's name of a tensor, and what became of its values.
pub(super) fn find(
    file: &GgufFile,
    architecture: Architecture,
    heads: HeadCounts,
    name: &str,
    tensor: &GgufTensor,
) -> Result<(String, Change)> {
    let refuse = |expected: String, found: String, fix| FormatError::Tensor {
        path: file.path().to_owned(),
        tensor: shorten(name),
        expected,
        found,
        fix,
    };
    let (module, suffix) = match name.rsplit_once('.') {
        Some((module, "weight")) => (module, ".weight"),
        Some((module, "bias")) => (module, ".bias"),
        _ => (name, ""),
    };
    let part = module.rsplit('.').next().unwrap_or_default();
    let bare = matches!(part, "ssm_a" | "ssm_d");
    let dual = architecture == Architecture::Mamba2;
    // The bias of the steps belongs to no module of Hugging Face's Mamba-2, and there is no weight beside it.
    let steps = dual && part == "ssm_dt";
    let known = architecture
        .hf_module(module)
        .filter(|_| bare == suffix.is_empty() && (!steps || suffix == ".bias"));
    let Some(module) = known else {
        return Err(refuse(
            format!("a tensor of the architecture `{}`", architecture.name()),
            "a name that it does not have".into(),
            "use a file that llama.cpp converted from Hugging Face's model without extra parts",
        ));
    };
    let rank = tensor.shape.len();
    let change = match part {
        "attn_q" | "attn_k" if architecture == Architecture::Llama => {
            let heads = if part == "attn_q" {
                heads.query
            } else {
                heads.key_value
            };
            let rows = tensor.shape.first().copied().unwrap_or(0);
            // One dimension is a row an element, which blocks of more than one do not have.
            let split = rank == 1 && !tensor.kind.is_float();
            if heads == 0 || !rows.is_multiple_of(2 * heads) || !matches!(rank, 1 | 2) || split {
                return Err(refuse(
                    format!("rows in {heads} heads of an even size"),
                    format!("{} {:?}", tensor.kind, tensor.shape),
                    "download the file again, or convert the model again",
                ));
            }
            Change::Interleaved { heads }
        }
        norm if norm.ends_with("norm") && architecture.is_gemma() => Change::PlusOne,
        "attn_qkv" | "attn_output" | "ffn_up" | "ffn_down"
            if architecture == Architecture::Gpt2 && suffix == ".weight" =>
        {
            if rank != 2 {
                let found = format!("{:?}", tensor.shape);
                let fix = "download the file again, or convert the model again";
                return Err(refuse("a matrix".into(), found, fix));
            }
            Change::Transposed
        }
        "ssm_a" => Change::NegativeExponential { column: dual },
        "ssm_d" | "ssm_norm" if dual => Change::Folded,
        "ssm_conv1d" if suffix == ".weight" => Change::Squeezed,
        _ => Change::None,
    };
    Ok((if steps { module } else { module + suffix }, change))
}
