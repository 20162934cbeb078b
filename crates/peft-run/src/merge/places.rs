//! Which tensors of a checkpoint an adapter changes.

use std::collections::BTreeMap;

use burn::{
    Tensor,
    tensor::{Device, FloatDType},
};
use peft_core::{HostTensor, LoadedAdapter, Method, Target};
use peft_format::{Dtype, TensorInfo};
use peft_models::{HeadKind, HeadState, ModelFolder};

use super::change::Change;
use crate::RunError;

/// Where the tensors of an adapter go in a checkpoint.
pub struct Places<'a> {
    /// The checkpoint's name of each adapted weight, and its module.
    pub adapted: BTreeMap<String, String>,
    /// Tensors that replace the checkpoint's, or join them: the head.
    pub replaced: BTreeMap<String, &'a HostTensor>,
    /// The largest widths of the adapted weights: of an input, and of an output.
    pub widest: [usize; 2],
}

impl<'a> Places<'a> {
    /// # Errors
    /// If the adapter has tensors that this base has no place for.
    pub fn find(folder: &'a ModelFolder, loaded: &'a LoadedAdapter) -> Result<Self, RunError> {
        let outputs = outputs(folder);
        let layout = folder.layout(HeadKind::Sequence { outputs })?;
        loaded.expect_places(&layout.linears, &layout.parameter_names())?;
        let stored = |name: &str| folder.find(name);
        let mut places = Self {
            adapted: BTreeMap::new(),
            replaced: BTreeMap::new(),
            widest: loaded.widest(&layout.linears),
        };
        for (name, tensor) in &loaded.saved {
            let stored = stored(name).unwrap_or_else(|| name.clone());
            places.replaced.insert(stored, tensor);
        }
        for module in loaded.modules.keys() {
            let weight = format!("{module}.weight");
            let Some(stored) = stored(&weight) else {
                return Err(RunError::setting(
                    "--model",
                    format!("the checkpoint has no `{weight}`"),
                    "give the base that the adapter was trained on",
                ));
            };
            places.adapted.insert(stored, module.clone());
        }
        Ok(places)
    }
}

/// The weight that the checkpoint calls `name`, before and after the adapter of `module`; none where
/// either has no such thing.
///
/// # Errors
/// If the adapter does not fit the weight.
pub fn change(
    folder: &ModelFolder,
    name: &str,
    module: &str,
    loaded: &LoadedAdapter,
    method: &dyn Method,
    widest: [usize; 2],
    device: &Device,
) -> Result<Option<Change>, RunError> {
    let checkpoint = folder.checkpoint();
    let Some(info) = checkpoint.info(name) else {
        return Ok(None);
    };
    let base = HostTensor {
        dtype: info.dtype,
        shape: info.shape.clone(),
        bytes: checkpoint.bytes(name)?.into_owned(),
    };
    let target = target_of(name, module, &info)?;
    let dtype = target.dtype;
    let Some(adapter) = loaded.restore(method, &target, widest, device)? else {
        return Ok(None);
    };
    let weight = base.to_float(name, dtype)?;
    let weight = Tensor::<2>::from_data(weight, (device, dtype.into())).transpose();
    Ok(Some(Change {
        after: adapter.effective(weight.clone()).transpose().into_data(),
        before: weight.transpose().into_data(),
        stored: base.dtype,
    }))
}

/// The target at the weight that the checkpoint calls `name`.
///
/// # Errors
/// If it is no matrix.
pub fn target_of(name: &str, module: &str, info: &TensorInfo) -> Result<Target, RunError> {
    let &[out_features, in_features] = info.shape.as_slice() else {
        return Err(RunError::setting(
            "--model",
            format!("`{name}` has shape {:?}, not that of a matrix", info.shape),
            "give the base that the adapter was trained on",
        ));
    };
    let dtype = match info.dtype {
        Dtype::F64 => FloatDType::F64,
        _ => FloatDType::F32,
    };
    Ok(Target::linear(module, in_features, out_features, dtype))
}

/// Outputs of a checkpoint's own head; 1 where there is none and the number changes nothing.
pub fn outputs(folder: &ModelFolder) -> usize {
    match folder.head() {
        HeadState::Present { outputs, .. } => outputs,
        HeadState::Absent => 1,
    }
}

/// Outputs of the head that the adapter holds, if it does.
pub fn saved_outputs(folder: &ModelFolder, loaded: &LoadedAdapter) -> Option<usize> {
    let layout = folder.layout(HeadKind::Sequence { outputs: 1 });
    let classifier = layout.ok()?.heads.pop()?;
    let weight = loaded.saved.get(&format!("{classifier}.weight"))?;
    weight.shape.first().copied()
}
