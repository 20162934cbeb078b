//! What a method chose by a warm-up, as a file.

use std::path::Path;

use peft_core::WarmUpChoice;
use peft_format::{AdapterFile, Metadata, SafetensorsWriter, TensorSpec};

use super::hash;
use crate::RunError;

/// What the file's metadata call its format.
const FORMAT: (&str, &str) = ("format", "peft-chosen-1");

/// Between a target's name, which has none, and the name of a tensor of it.
const BETWEEN: char = '/';

/// Write a safetensors file: `<target>/<name>`. It appears whole or not at all.
pub fn write(chosen: &WarmUpChoice, path: &Path) -> Result<(), RunError> {
    let mut tensors = std::collections::HashMap::new();
    for (target, fields) in chosen {
        for (name, tensor) in fields {
            tensors.insert(format!("{target}{BETWEEN}{name}"), tensor);
        }
    }
    let specs = tensors
        .iter()
        .map(|(name, tensor)| TensorSpec::new(name, tensor.dtype, &*tensor.shape))
        .collect();
    let metadata = Metadata::from_iter([(FORMAT.0.to_owned(), FORMAT.1.to_owned())]);
    let mut writer = SafetensorsWriter::create(path, specs, &metadata)?;
    let order: Vec<String> = writer.order().map(|spec| spec.name.clone()).collect();
    for name in order {
        writer.write(&name, &tensors[&name].bytes)?;
    }
    Ok(writer.finish()?)
}

/// Read a file that [`write`] wrote.
pub fn read(path: &Path) -> Result<WarmUpChoice, RunError> {
    let fault = |problem: String| RunError::File {
        path: path.to_owned(),
        problem,
        fix: "restore the file, or train from the beginning".into(),
    };
    let file = AdapterFile::read(path)?;
    if file.metadata.get(FORMAT.0).map(String::as_str) != Some(FORMAT.1) {
        return Err(fault("it does not hold what a method chose".into()));
    }
    let mut chosen = WarmUpChoice::new();
    for (name, tensor) in file.tensors {
        let Some((target, field)) = name.split_once(BETWEEN) else {
            return Err(fault(format!("tensor `{name}` has no place in it")));
        };
        let fields = chosen.entry(target.to_owned()).or_default();
        fields.insert(field.to_owned(), tensor);
    }
    Ok(chosen)
}

/// Of all that was chosen.
pub fn digest(chosen: &WarmUpChoice) -> String {
    let all = chosen
        .iter()
        .flat_map(|(target, fields)| fields.iter().map(move |field| (target, field)));
    hash::bytes(
        all.flat_map(|(target, (name, tensor))| {
            [target.as_bytes(), name.as_bytes(), &tensor.bytes]
        }),
    )
}
