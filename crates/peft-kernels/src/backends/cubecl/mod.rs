//! Bodies for the GPU backends, as CubeCL kernels: one source for CUDA, Vulkan, Metal and WebGPU.

mod autodiff;
mod fusion;
mod kernels;
mod ops;
mod scan;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_cubecl::CubeBackend;

pub use ops::{CoreOps, CoreShape};
pub use scan::{MOST_STATES, SCAN_CHUNK};

use ops::CoreKernels;

impl CoreOps for CubeBackend {
    fn sparse_core(
        x: FloatTensor<Self>,
        values: FloatTensor<Self>,
        by_output: IntTensor<Self>,
        _: IntTensor<Self>,
        _: IntTensor<Self>,
        shape: CoreShape,
    ) -> FloatTensor<Self> {
        kernels::product(x, values, by_output, shape)
    }
}

impl CoreKernels for CubeBackend {
    fn core_product(
        x: FloatTensor<Self>,
        values: FloatTensor<Self>,
        table: IntTensor<Self>,
        shape: CoreShape,
    ) -> FloatTensor<Self> {
        kernels::product(x, values, table, shape)
    }

    fn core_value_grads(
        x: FloatTensor<Self>,
        dz: FloatTensor<Self>,
        table: IntTensor<Self>,
        shape: CoreShape,
    ) -> FloatTensor<Self> {
        kernels::value_grads(x, dz, table, shape)
    }
}
