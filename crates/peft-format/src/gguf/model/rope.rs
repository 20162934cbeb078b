//! The rotary embedding: base, scaling, and factors that the file holds as tensors.

use serde_json::{Map, Value as Json, json};

use super::config::{Builder, decimal};
use super::{Architecture, ROPE_TENSORS};
use crate::error::{FormatError, Result, shorten};

/// llama.cpp's base where the file has none.
const BASE: f32 = 10_000.0;

/// Sets `rope_theta`, `rope_scaling` and their relatives.
pub(super) fn set(b: &mut Builder, head_dim: u64) -> Result<()> {
    let base = b.float("rope.freq_base")?.unwrap_or(BASE);
    b.set("rope_theta", decimal(base));
    if b.architecture == Architecture::Gemma3 {
        // The layers with windows have a base of their own, which the file may leave out.
        let local = b.float("rope.freq_base_swa")?.unwrap_or(BASE);
        b.set("rope_local_base_freq", decimal(local));
    }
    let key = b.key("rope.dimension_count");
    let rotated = b.file.unsigned(&key)?.unwrap_or(head_dim);
    let partial = b.architecture == Architecture::Phi3;
    if rotated == 0
        || !rotated.is_multiple_of(2)
        || rotated > head_dim
        || (rotated != head_dim && !partial)
    {
        let expected = match partial {
            true => format!("an even number of at most {head_dim} channels"),
            false => format!("all {head_dim} channels of a head, an even number"),
        };
        return Err(b.file.field(&key, expected, rotated.to_string()));
    }
    if rotated != head_dim {
        b.set("partial_rotary_factor", rotated as f64 / head_dim as f64);
    }
    let original = b.unsigned("rope.scaling.original_context_length")?;
    let [divisors, long, short] = ROPE_TENSORS;
    let divisors = factors(b, divisors, rotated)?;
    let (long, short) = (factors(b, long, rotated)?, factors(b, short, rotated)?);
    let scaling = match (divisors, long, short) {
        (None, None, None) => typed(b, original)?,
        (Some(divisors), None, None) => {
            refuse_type(b, &["none", "longrope", "llama3"])?;
            let mut scaling = longrope(&divisors, &divisors);
            scaling.insert("attention_factor".into(), json!(1.0));
            let context = b.size("context_length")?;
            scaling.insert("factor".into(), json!(1.0));
            scaling.insert("original_max_position_embeddings".into(), context.into());
            Some(scaling)
        }
        (None, Some(long), Some(short)) => {
            refuse_type(b, &["none", "longrope", "su"])?;
            let mut scaling = longrope(&long, &short);
            if let Some(factor) = b.float("rope.scaling.attn_factor")? {
                scaling.insert("attention_factor".into(), decimal(factor));
            }
            Some(scaling)
        }
        _ => {
            return Err(FormatError::Tensor {
                path: b.file.path().to_owned(),
                tensor: ROPE_TENSORS[1].into(),
                expected: "long and short factors, and no divisors beside them".into(),
                found: "some of the three".into(),
                fix: "download the file again, or convert the model again",
            });
        }
    };
    if let Some(scaling) = scaling {
        b.set("rope_scaling", scaling);
    }
    if b.architecture == Architecture::Phi3 {
        let context = b.size("context_length")?;
        b.set(
            "original_max_position_embeddings",
            original.unwrap_or(context),
        );
    }
    Ok(())
}

fn longrope(long: &[f32], short: &[f32]) -> Map<String, Json> {
    let list = |values: &[f32]| values.iter().map(|&v| decimal(v)).collect::<Vec<_>>();
    Map::from_iter([
        ("rope_type".to_owned(), json!("longrope")),
        ("long_factor".to_owned(), list(long).into()),
        ("short_factor".to_owned(), list(short).into()),
    ])
}

/// One factor for each pair of channels.
fn factors(b: &Builder, name: &str, rotated: u64) -> Result<Option<Vec<f32>>> {
    if b.file.tensor(name).is_err() {
        return Ok(None);
    }
    let values = b.file.to_f32(name)?;
    let usable = values.iter().all(|v| v.is_finite() && *v > 0.0);
    if values.len() as u64 != rotated / 2 || !usable {
        return Err(FormatError::Tensor {
            path: b.file.path().to_owned(),
            tensor: name.into(),
            expected: format!("{} finite factors above 0", rotated / 2),
            found: shorten(&format!("{} values, {values:?}", values.len())),
            fix: "download the file again, or convert the model again",
        });
    }
    Ok(Some(values))
}

fn refuse_type(b: &Builder, known: &[&str]) -> Result<()> {
    let key = b.key("rope.scaling.type");
    match b.file.text(&key)? {
        Some(kind) if !known.contains(&kind) => {
            let expected = format!("one of {known:?} beside factors in a tensor");
            Err(b.file.field(&key, expected, shorten(kind)))
        }
        _ => Ok(()),
    }
}

/// Scaling by numbers in the metadata alone.
fn typed(b: &Builder, original: Option<u64>) -> Result<Option<Map<String, Json>>> {
    let key = b.key("rope.scaling.type");
    let kind = b.file.text(&key)?;
    let old = b.float("rope.scale_linear")?;
    let factor = b.float("rope.scaling.factor")?.or(old);
    let factor = factor.filter(|&factor| factor != 0.0 && factor != 1.0);
    let attention = b.float("rope.scaling.attn_factor")?.unwrap_or(1.0);
    let kind = match kind {
        None if factor.is_some() => "linear",
        None | Some("none") => return Ok(None),
        Some(kind) => kind,
    };
    let Some(factor) = factor else {
        return match kind {
            "linear" | "yarn" => Ok(None),
            // Its factors would be in tensors, which are not there.
            _ => Err(b.file.field(&key, "none, linear or yarn", shorten(kind))),
        };
    };
    match kind {
        "linear" if attention == 1.0 => Ok(Some(Map::from_iter([
            ("rope_type".to_owned(), json!("linear")),
            ("factor".to_owned(), decimal(factor)),
        ]))),
        "yarn" => {
            let context = b.size("context_length")?;
            let mut scaling = Map::from_iter([
                ("rope_type".to_owned(), json!("yarn")),
                ("factor".to_owned(), decimal(factor)),
                (
                    "original_max_position_embeddings".to_owned(),
                    original.unwrap_or(context).into(),
                ),
            ]);
            for (name, key) in [
                ("rope.scaling.yarn_beta_fast", "beta_fast"),
                ("rope.scaling.yarn_beta_slow", "beta_slow"),
            ] {
                if let Some(value) = b.float(name)? {
                    scaling.insert(key.into(), decimal(value));
                }
            }
            if attention != 1.0 {
                // llama.cpp multiplies its factor onto YaRN's own.
                let own = 0.1 * factor.max(1.0).ln() + 1.0;
                scaling.insert("attention_factor".into(), decimal(attention * own));
            }
            Ok(Some(scaling))
        }
        _ => {
            let expected = "none, linear without an attention factor, or yarn";
            Err(b.file.field(&key, expected, shorten(kind)))
        }
    }
}
