use burn::tensor::Tensor;

use crate::portable;

/// The Euclidean norm of each tensor: `√(Σ xᵢ²)`, 0 for an empty one.
///
/// NaN and infinities give a norm that is not finite. On flex all tensors are read in one parallel
/// loop and summed in double precision, so that finite `f32` always has a finite norm; elsewhere
/// there is one transfer from the device.
#[must_use]
pub fn norms(tensors: &[Tensor<1>]) -> Vec<f64> {
    #[cfg(feature = "flex")]
    if tensors.iter().all(crate::route::is_fast) {
        return crate::backends::flex::norms(tensors);
    }
    portable::norms(tensors)
}
