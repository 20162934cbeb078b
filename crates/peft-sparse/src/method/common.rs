//! What the methods have in common.

use burn::{
    Tensor,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterError, Cost, DynAdapter, Fields, HostTensor, HostTensorExt, InitContext, Target,
    format::{Dtype, TensorInfo},
    kernels::{key_of, normal},
};

use crate::{
    SparseDelta, SparseError, Support,
    support::{self, code_len},
};

/// Stream of the places that are drawn for a weight.
const PLACES: u64 = 1;

pub fn fault(method: &str, problem: impl ToString, fix: &str) -> AdapterError {
    AdapterError::Config {
        method: method.into(),
        problem: problem.to_string(),
        fix: fix.into(),
    }
}

/// The fault of a target that the settings do not fit.
pub fn unfit(method: &str, target: &Target, error: &SparseError) -> AdapterError {
    let fix = "change the setting, or leave this module out";
    fault(method, format!("`{}`: {error}", target.path), fix)
}

/// Outputs and inputs of a target.
pub fn shape_of(target: &Target) -> [usize; 2] {
    [target.out_features, target.in_features]
}

/// A share of a weight's entries, as a number of them: one at least.
pub fn share_of([out, inner]: [usize; 2], density: f64) -> usize {
    let entries = out as f64 * inner as f64;
    ((density * entries).round() as usize).max(1)
}

/// Require a share of entries, more than none.
pub fn check_density(method: &str, density: f64) -> Result<(), AdapterError> {
    match density > 0.0 && density <= 1.0 {
        true => Ok(()),
        false => {
            let problem = format!("density = {density} is no share of a weight's entries");
            Err(fault(method, problem, "use more than 0, and 1 at most"))
        }
    }
}

/// Values that start at nothing.
pub fn zeros(target: &Target, count: usize) -> TensorData {
    TensorData::zeros::<f32, _>([count]).convert_dtype(target.dtype.into())
}

/// A fresh or restored adapter of some entries.
pub fn entries_adapter(
    support: Support,
    values: TensorData,
    target: &Target,
    device: &Device,
) -> DynAdapter {
    DynAdapter::new(SparseDelta::new(support, values, target.dtype, device))
}

/// Standard normal values, a function of seed and path.
pub fn normals(target: &Target, seed: u64, count: usize) -> TensorData {
    let values = normal(key_of(seed, &target.path, 0), count);
    TensorData::new(values, [count]).convert_dtype(target.dtype.into())
}

/// The entries of a matrix `[in, out]`, in PyTorch's order.
pub fn host(matrix: &Tensor<2>) -> Vec<f64> {
    let transposed = matrix.clone().transpose().into_data();
    transposed.iter::<f64>().collect()
}

/// The gradient that a choice by gradients needs.
pub fn gradient<'a>(
    method: &str,
    target: &Target,
    start: &InitContext<'a>,
) -> Result<&'a Tensor<2>, AdapterError> {
    start.gradient.ok_or_else(|| {
        fault(
            method,
            format!("the gradient of `{}` is needed", target.path),
            "give attach the gradients of the weights on a few batches",
        )
    })
}

/// Entries at random: a function of seed and path.
pub fn random_entries(
    method: &str,
    target: &Target,
    start: &InitContext,
    count: usize,
) -> Result<Support, AdapterError> {
    let key = key_of(start.seed, &target.path, PLACES);
    support::random(shape_of(target), count, key).map_err(|error| unfit(method, target, &error))
}

/// What entries cost that nothing is known of but their number.
pub fn entry_cost(target: &Target, count: usize) -> Cost {
    Cost {
        parameters: count,
        flops_per_row: 6 * count,
        // The inputs of the entries, unless those are many: then the input itself is kept.
        saved_per_row: count.min(target.in_features / 2),
    }
}

/// The code of the entries that a file holds.
pub fn stored_entries(
    target: &Target,
    tensors: &Fields<HostTensor>,
    suffix: &str,
    shape: [usize; 2],
    count: usize,
) -> Result<Support, AdapterError> {
    let name = target.tensor_name(suffix);
    let code = target.stored(tensors, suffix)?;
    let code = code.expect_shape(&name, &[code_len(count, shape[0] * shape[1])])?;
    Support::decode(shape, [1, 1], count, &code.bytes).map_err(|error| AdapterError::Places {
        name,
        problem: error.to_string(),
    })
}

/// A field of flat places, as the code of a file.
pub fn entries_to_store(
    target: &Target,
    fields: &mut Fields<TensorData>,
    field: &str,
    suffix: &str,
    shape: [usize; 2],
) -> Result<HostTensor, AdapterError> {
    let name = target.tensor_name(suffix);
    let places = target.to_store(fields, field, suffix)?.to_ints(&name)?;
    let support = Support::entries(shape, places.into_iter().map(|place| place as u64));
    let support = support.map_err(|error| AdapterError::Places {
        name,
        problem: error.to_string(),
    })?;
    let bytes = support.encode();
    Ok(HostTensor {
        dtype: Dtype::U8,
        shape: vec![bytes.len()],
        bytes,
    })
}

/// What is known of such a code.
pub fn code_info(shape: [usize; 2], count: usize) -> TensorInfo {
    TensorInfo {
        dtype: Dtype::U8,
        shape: vec![code_len(count, shape[0] * shape[1])],
    }
}
