//! Fields of adapters as tensors of files, whose layout is the field's own.

use burn::{
    Tensor,
    module::Param,
    tensor::{Device, TensorData},
};
use peft_core::{AdapterError, Fields, HostTensor, Target};

/// A trained field of given values.
pub fn param<const D: usize>(
    data: TensorData,
    target: &Target,
    device: &Device,
) -> Param<Tensor<D>> {
    let options = (device, target.dtype.into());
    Param::from_tensor(Tensor::from_data(data, options))
}

/// A trained field out of a file's tensors, which must be of this shape.
///
/// # Errors
/// If there is none, it has another shape, or a value is not finite.
pub fn restored<const D: usize>(
    target: &Target,
    tensors: &Fields<HostTensor>,
    suffix: &str,
    shape: [usize; D],
    device: &Device,
) -> Result<Param<Tensor<D>>, AdapterError> {
    let data = target.values(tensors, suffix, &shape)?;
    Ok(param(data, target, device))
}
