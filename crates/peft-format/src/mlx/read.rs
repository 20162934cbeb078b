//! A folder in PEFT's words.

use std::collections::BTreeMap;
use std::path::Path;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::names::{is_embedding, peft_module};
use super::{A, B, KIND, LENGTHS, PARAMETERS, weights_in};
use crate::adapter::join_key;
use crate::checkpoint::Shard;
use crate::config::CONFIG_NAME;
use crate::error::{FormatError, Result, shorten};
use crate::host::HostTensor;

/// Tensors of PEFT's by MLX-LM's suffixes: of linear modules, and of tables.
const SUFFIXES: [(&str, &str, &str); 3] = [
    (A, "lora_A.weight", "lora_embedding_A"),
    (B, "lora_B.weight", "lora_embedding_B"),
    (LENGTHS, "lora_magnitude_vector", "lora_magnitude_vector"),
];

/// Module and suffix of a tensor.
fn split(name: &str) -> Option<(&str, &'static str)> {
    let (module, suffix) = name.rsplit_once('.')?;
    let known = SUFFIXES.iter().find(|(mlx, ..)| *mlx == suffix)?;
    (!module.is_empty()).then_some((module, known.0))
}

fn refuse(path: &Path, tensor: &str, expected: &str, found: String) -> FormatError {
    FormatError::Tensor {
        path: path.to_owned(),
        tensor: shorten(tensor),
        expected: expected.into(),
        found,
        fix: "use an adapter that MLX-LM trained with `fine_tune_type` lora or dora on a dense model",
    }
}

/// The shapes of each module's tensors, checked against each other; the module's rank is that of `lora_a`.
fn ranks(shard: &Shard) -> Result<IndexMap<String, usize>> {
    let path = shard.path();
    let mut shapes: IndexMap<&str, BTreeMap<&str, Vec<usize>>> = IndexMap::new();
    for name in shard.names() {
        let shape = shard.info(name).map(|info| info.shape).unwrap_or_default();
        let Some((module, suffix)) = split(name) else {
            let expected = "`lora_a`, `lora_b` and `m` of adapted modules alone";
            return Err(refuse(path, name, expected, "another tensor".into()));
        };
        shapes.entry(module).or_default().insert(suffix, shape);
    }
    let mut ranks = IndexMap::new();
    for (module, shapes) in shapes {
        let of = |suffix: &str| shapes.get(suffix).map(Vec::as_slice);
        let (rank, rows) = match (of(A), of(B)) {
            (Some(&[_, rank]), Some(&[same, rows])) if rank == same && rank > 0 => (rank, rows),
            (a, b) => {
                let name = format!("{module}.{A}");
                let expected = "lora_a [in, rank] and lora_b [rank, out]";
                let shown = |shape: Option<&[usize]>| match shape {
                    Some(shape) => format!("{shape:?}"),
                    None => "none".to_owned(),
                };
                let found = format!("{} and {}", shown(a), shown(b));
                return Err(refuse(path, &name, expected, found));
            }
        };
        if let Some(lengths) = of(LENGTHS)
            && lengths != [rows]
        {
            let name = format!("{module}.{LENGTHS}");
            let expected = format!("[{rows}], the outputs of the module");
            return Err(refuse(path, &name, &expected, format!("{lengths:?}")));
        }
        ranks.insert(peft_module(module), rank);
    }
    Ok(ranks)
}

/// The keys of a PEFT configuration that means the same as MLX-LM's `fields`, read from `path`. Ranks are
/// those of the tensors beside it.
pub(crate) fn config(path: &Path, fields: &Map<String, Value>) -> Result<Map<String, Value>> {
    let wrong = |key: &str, expected: &str, found: Option<&Value>| FormatError::Field {
        path: path.to_owned(),
        key: key.into(),
        expected: expected.into(),
        found: found.map_or("no such key".into(), |value| shorten(&value.to_string())),
    };
    let dora = match fields.get(KIND) {
        None | Some(Value::Null) => false,
        Some(Value::String(kind)) if kind == "lora" => false,
        Some(Value::String(kind)) if kind == "dora" => true,
        Some(Value::String(kind)) if kind == "full" => {
            return Err(FormatError::WrongKind {
                path: path.to_owned(),
                expected: "an adapter of MLX-LM",
                found: "`fine_tune_type` is `full`: the weights of a whole model".into(),
                fix: "write the model with `mlx_lm.fuse`, and give its folder as the model".into(),
            });
        }
        other => return Err(wrong(KIND, "\"lora\" or \"dora\"", other)),
    };
    let Some(Value::Object(parameters)) = fields.get(PARAMETERS) else {
        return Err(wrong(PARAMETERS, "an object", fields.get(PARAMETERS)));
    };
    let number = |key: &str| {
        let value = parameters.get(key);
        let number = value.and_then(Value::as_f64).filter(|n| n.is_finite());
        number.ok_or_else(|| wrong(&format!("{PARAMETERS}.{key}"), "a finite number", value))
    };
    let scale = number("scale")?;
    let dropout = match parameters.get("dropout") {
        None | Some(Value::Null) => 0.0,
        Some(_) => number("dropout")?,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let Some(weights) = weights_in(folder) else {
        return Err(no_weights(folder));
    };
    let ranks = ranks(&Shard::open(&weights)?)?;
    let usual = ranks.values().next().copied().unwrap_or(1);
    let others = || ranks.iter().filter(|(_, rank)| **rank != usual);
    let alpha = |rank: usize| Value::from(scale * rank as f64);
    let alphas: Map<String, Value> = others()
        .map(|(module, rank)| (module.clone(), alpha(*rank)))
        .collect();
    let other_ranks: Map<String, Value> = others()
        .map(|(module, rank)| (module.clone(), (*rank).into()))
        .collect();
    let mut names: Vec<&String> = ranks.keys().collect();
    names.sort();
    let mut out = Map::new();
    let mut set = |key: &str, value: Value| {
        out.insert(key.to_owned(), value);
    };
    set("peft_type", "LORA".into());
    // MLX-LM has no other models.
    set("task_type", "CAUSAL_LM".into());
    if let Some(Value::String(model)) = fields.get("model") {
        set("base_model_name_or_path", model.as_str().into());
    }
    set("inference_mode", true.into());
    set("target_modules", serde_json::json!(names));
    set("r", usual.into());
    set("lora_alpha", alpha(usual));
    set("lora_dropout", dropout.into());
    if dora {
        set("use_dora", true.into());
    }
    // MLX-LM reads an adapted table the other way round, too, where the head is the table.
    if !dora && names.iter().any(|name| is_embedding(name)) {
        set("ensure_weight_tying", true.into());
    }
    if !other_ranks.is_empty() {
        set("rank_pattern", other_ranks.into());
        set("alpha_pattern", alphas.into());
    }
    Ok(out)
}

/// The tensors by PEFT's keys, in PEFT's layout.
pub(crate) fn tensors(shard: &Shard) -> Result<IndexMap<String, HostTensor>> {
    ranks(shard)?;
    let mut tensors = IndexMap::new();
    for name in shard.names() {
        let parts = split(name).zip(shard.info(name)).zip(shard.bytes(name));
        let Some((((module, suffix), info), bytes)) = parts else {
            // Cannot be: the names and the header were checked.
            return Err(FormatError::corrupt(
                shard.path(),
                shorten(name),
                "its range left the file",
            ));
        };
        let module = peft_module(module);
        let (_, linear, table) = SUFFIXES
            .into_iter()
            .find(|(mlx, ..)| *mlx == suffix)
            .unwrap_or(SUFFIXES[0]);
        let suffix = if is_embedding(&module) { table } else { linear };
        let tensor = HostTensor {
            dtype: info.dtype,
            shape: info.shape,
            bytes: bytes.into_owned(),
        };
        tensors.insert(join_key(&module, suffix), tensor.transposed());
    }
    Ok(tensors)
}

fn no_weights(folder: &Path) -> FormatError {
    FormatError::WrongKind {
        path: folder.to_owned(),
        expected: "an adapter folder of MLX-LM",
        found: format!(
            "`{CONFIG_NAME}` is one, but there is no `{}`",
            super::WEIGHTS_NAME
        ),
        fix: "copy the checkpoint that you want, such as `0000100_adapters.safetensors`, to that name"
            .into(),
    }
}
