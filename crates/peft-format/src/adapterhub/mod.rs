//! Adapter folders of AdapterHub's library `adapters`: bottleneck modules.
//!
//! A folder holds `adapter_config.json`, whose `config` has the settings, and `pytorch_adapter.bin` or
//! `adapter.safetensors`, whose keys have the adapter's name in them:
//! `bert.encoder.layer.0.output.adapters.NAME.adapter_down.0.weight`. Both are read in the words of the slots that such
//! modules stand in here. The head of a class that classifies sequences lies beside them, as `model_head.safetensors` or
//! `pytorch_model_head.bin`, and is read as modules saved in full; heads that the library makes itself are left where they are.
//!
//! [`AdapterHubFolder`] writes such a folder.

mod write;

pub use write::{AdapterHubFolder, AdapterHubHead};

use std::path::{Path, PathBuf};

use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Value, json};

use crate::HostTensor;
use crate::adapter::{PREFIX, join_key};
use crate::checkpoint::Shard;
use crate::error::{FormatError, Result, shorten};

/// The weights in safetensors, which are preferred.
const SAFETENSORS: &str = "adapter.safetensors";
/// Names of the weights.
const WEIGHTS: [&str; 2] = [SAFETENSORS, "pytorch_adapter.bin"];
/// What says which head is beside an adapter, and names of its weights.
const HEAD_CONFIG: &str = "head_config.json";
const HEADS: [&str; 2] = ["model_head.safetensors", "pytorch_model_head.bin"];
/// How classes end whose heads are read.
const CLASSIFIES: &str = "ForSequenceClassification";
/// The object that holds the settings.
const SETTINGS: &str = "config";

/// What stands in a key between the block and the adapter's name, the slot that it means, and whether a norm follows the
/// part: where one goes before it, a module reads what the part gives.
const PLACES: [(&str, &str, bool); 4] = [
    (".attention.output.adapters.", "after_attention", true),
    (".output.adapters.", "after_feed_forward", true),
    (".attention_adapters.adapters.", "after_attention", false),
    (".output_adapters.adapters.", "after_feed_forward", false),
];

/// Tensors of a module, as the library has them and as they are read.
const TENSORS: [(&str, &str); 4] = [
    ("adapter_down.0.weight", "adapter_down.weight"),
    ("adapter_down.0.bias", "adapter_down.bias"),
    ("adapter_up.weight", "adapter_up.weight"),
    ("adapter_up.bias", "adapter_up.bias"),
];

/// Settings that must be as they are here: others are other modules.
const FIXED: [(&str, Value); 8] = [
    ("cross_adapter", Value::Bool(false)),
    ("inv_adapter", Value::Null),
    ("phm_layer", Value::Bool(false)),
    ("use_gating", Value::Bool(false)),
    ("ln_before", Value::Bool(false)),
    ("ln_after", Value::Bool(false)),
    ("adapter_residual_before_ln", Value::Bool(false)),
    ("original_ln_after", Value::Bool(true)),
];

/// Whether the keys of an `adapter_config.json` are AdapterHub's.
pub(crate) fn is_config(fields: &Map<String, Value>) -> bool {
    let settings = fields.get(SETTINGS).is_some_and(Value::is_object);
    settings && fields.contains_key("model_type") && !fields.contains_key("peft_type")
}

/// Whether a file is the weights of such a folder.
pub(crate) fn is_weights(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| WEIGHTS.contains(&name))
}

/// The weights of a folder, if it has such.
pub(crate) fn weights_in(folder: &Path) -> Option<PathBuf> {
    let mut paths = WEIGHTS.iter().map(|name| folder.join(name));
    paths.find(|path| path.is_file())
}

/// The weights of the head beside an adapter, if it is one of transformers' own that classifies sequences.
fn head_in(folder: &Path) -> Result<Option<Shard>> {
    let mut paths = HEADS.iter().map(|name| folder.join(name));
    let (Some(weights), config) = (paths.find(|path| path.is_file()), folder.join(HEAD_CONFIG))
    else {
        return Ok(None);
    };
    if !config.is_file() {
        return Ok(None);
    }
    let fields: IndexMap<String, Value> = crate::json::read_object(&config)?;
    let class = fields.get("model_class").and_then(Value::as_str);
    let own = fields.get(SETTINGS).is_none_or(Value::is_null);
    match own && class.is_some_and(|class| class.ends_with(CLASSIFIES)) {
        true => Ok(Some(Shard::open(&weights)?)),
        false => Ok(None),
    }
}

/// A tensor as a file has it.
fn stored(shard: &Shard, key: &str) -> Result<HostTensor> {
    let (Some(info), Some(bytes)) = (shard.info(key), shard.bytes(key)) else {
        // Cannot be: the header was checked against the file's length.
        return Err(FormatError::corrupt(
            shard.path(),
            shorten(key),
            "its range left the file",
        ));
    };
    Ok(HostTensor {
        dtype: info.dtype,
        shape: info.shape,
        bytes: bytes.into_owned(),
    })
}

/// Where a tensor goes.
struct Place<'a> {
    block: &'a str,
    slot: &'static str,
    norm_follows: bool,
    suffix: &'static str,
}

fn place(key: &str) -> Option<Place<'_>> {
    PLACES.iter().find_map(|(between, slot, norm_follows)| {
        let (block, rest) = key.split_once(between)?;
        // The adapter's name has no dot.
        let (name, theirs) = rest.split_once('.')?;
        let (_, suffix) = TENSORS.iter().find(|(known, _)| *known == theirs)?;
        let named = !block.is_empty() && !name.is_empty();
        named.then_some(Place {
            block,
            slot,
            norm_follows: *norm_follows,
            suffix,
        })
    })
}

fn places(shard: &Shard) -> Result<Vec<(&str, Place<'_>)>> {
    let of = |key| match place(key) {
        Some(place) => Ok((key, place)),
        None => Err(FormatError::Tensor {
            path: shard.path().to_owned(),
            tensor: shorten(key),
            expected: "`adapter_down` and `adapter_up` of bottleneck modules".into(),
            found: "another tensor".into(),
            fix: "use an adapter of the kinds seq_bn, double_seq_bn or par_bn",
        }),
    };
    shard.names().map(of).collect()
}

/// The keys of a configuration in PEFT's form that means the same as AdapterHub's `fields`, read from `path`.
pub(crate) fn config(path: &Path, fields: &Map<String, Value>) -> Result<Map<String, Value>> {
    let empty = Map::new();
    let own = fields.get(SETTINGS).and_then(Value::as_object);
    let own = own.unwrap_or(&empty);
    let wrong = |key: &str, expected: &str| FormatError::Field {
        path: path.to_owned(),
        key: format!("{SETTINGS}.{key}"),
        expected: expected.into(),
        found: own
            .get(key)
            .map_or("no such key".into(), |value| shorten(&value.to_string())),
    };
    for (key, only) in &FIXED {
        if own.get(*key).is_some_and(|value| value != only) {
            return Err(wrong(key, &only.to_string()));
        }
    }
    let flag = |key: &str| own.get(key).and_then(Value::as_bool);
    let (Some(parallel), Some(normed)) = (flag("is_parallel"), flag("original_ln_before")) else {
        return Err(wrong("is_parallel", "a bottleneck module's settings"));
    };
    let number = |key: &str| {
        let value = own.get(key).and_then(Value::as_f64);
        value.ok_or_else(|| wrong(key, "one number for all layers"))
    };
    let (factor, scaling) = (number("reduction_factor")?, number("scaling")?);
    let activation = match own.get("non_linearity").and_then(Value::as_str) {
        Some("swish" | "silu") => "swish",
        Some(known @ ("relu" | "gelu" | "tanh")) => known,
        _ => return Err(wrong("non_linearity", "relu, swish, gelu or tanh")),
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let Some(weights) = weights_in(folder) else {
        return Err(FormatError::WrongKind {
            path: folder.to_owned(),
            expected: "an adapter folder of AdapterHub",
            found: format!("its configuration is one, but there is no `{}`", WEIGHTS[1]),
            fix: "copy the weights beside it".into(),
        });
    };
    let shard = Shard::open(&weights)?;
    let places = places(&shard)?;
    let follows = places.iter().any(|(_, place)| place.norm_follows);
    let reads = match (parallel, normed) {
        (true, false) => "residual",
        (false, false) => "plain",
        (false, true) if follows && flag("residual_before_ln") == Some(true) => "normed",
        // Without a norm behind the part the library adds the residual to what the module reads.
        _ => {
            return Err(wrong(
                "original_ln_before",
                "false in a model whose norms go before its parts",
            ));
        }
    };
    let slots: IndexSet<&str> = places.iter().map(|(_, place)| place.slot).collect();
    let mut out = Map::new();
    let mut set = |key: &str, value: Value| out.insert(key.to_owned(), value);
    set(
        "peft_type",
        if parallel { "PARALLEL" } else { "BOTTLENECK" }.into(),
    );
    if let Some(Value::String(model)) = fields.get("model_name") {
        set("base_model_name_or_path", model.as_str().into());
    }
    set("inference_mode", true.into());
    set("target_modules", json!(slots));
    set("reduction_factor", factor.into());
    set("non_linearity", activation.into());
    set("scaling", scaling.into());
    set("reads", reads.into());
    if let Some(head) = head_in(folder)? {
        // Whole heads, as PEFT names them: `classifier`, whatever is in it.
        let modules = head.names().filter_map(|name| name.split('.').next());
        let modules: IndexSet<&str> = modules.collect();
        set("task_type", "SEQ_CLS".into());
        set("modules_to_save", json!(modules));
    }
    Ok(out)
}

/// The tensors by the keys of the slots.
pub(crate) fn tensors(shard: &Shard) -> Result<IndexMap<String, HostTensor>> {
    let mut tensors = IndexMap::new();
    for (key, place) in places(shard)? {
        let tensor = stored(shard, key)?;
        let module = format!("{}.{}", place.block, place.slot);
        if tensors
            .insert(join_key(&module, place.suffix), tensor)
            .is_some()
        {
            return Err(FormatError::Tensor {
                path: shard.path().to_owned(),
                tensor: shorten(key),
                expected: "one adapter".into(),
                found: "a second one of another name".into(),
                fix: "save one adapter a folder",
            });
        }
    }
    let folder = shard.path().parent().unwrap_or(Path::new("."));
    if let Some(head) = head_in(folder)? {
        for name in head.names() {
            tensors.insert(format!("{PREFIX}{name}"), stored(&head, name)?);
        }
    }
    Ok(tensors)
}
