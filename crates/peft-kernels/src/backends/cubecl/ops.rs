//! The extension traits of the CubeCL backends: what their kernels compute.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};

/// The sizes of a [`SparseCore`](crate::SparseCore), and the factor of its entries.
#[derive(Clone, Copy, Debug)]
pub struct CoreShape {
    /// Columns of the input.
    pub inputs: usize,
    /// Columns of the output.
    pub outputs: usize,
    /// Values that the entries share.
    pub values: usize,
    /// What every entry is multiplied by.
    pub factor: f64,
}

impl CoreShape {
    /// Of the transposed core.
    pub fn transposed(self) -> Self {
        Self {
            inputs: self.outputs,
            outputs: self.inputs,
            ..self
        }
    }
}

/// The forward body, routed by Burn's dispatch.
#[backend_extension(Cube, Autodiff)]
pub trait CoreOps: Backend {
    /// See [`sparse_core`](crate::sparse_core). The tables list the
    /// core's entries by output, by input and by value.
    fn sparse_core(
        x: FloatTensor<Self>,
        values: FloatTensor<Self>,
        by_output: IntTensor<Self>,
        by_input: IntTensor<Self>,
        by_value: IntTensor<Self>,
        shape: CoreShape,
    ) -> FloatTensor<Self>;
}

/// What forward and backward pass call on the inner backend. Not routed: a gradient of a gradient is
/// not offered.
pub trait CoreKernels: CoreOps {
    /// `z[t, o] = factor · Σ ± values[k] x[t, i]` over the entries `(i, ±k)` that a table lists of
    /// every `o`.
    fn core_product(
        x: FloatTensor<Self>,
        values: FloatTensor<Self>,
        table: IntTensor<Self>,
        shape: CoreShape,
    ) -> FloatTensor<Self>;

    /// `dv[k] = factor · Σ ± Σ_t dz[t, o] x[t, i]` over the entries `(o, ±i)` that a table lists of
    /// every `k`.
    fn core_value_grads(
        x: FloatTensor<Self>,
        dz: FloatTensor<Self>,
        table: IntTensor<Self>,
        shape: CoreShape,
    ) -> FloatTensor<Self>;
}
