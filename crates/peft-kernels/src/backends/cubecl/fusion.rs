//! The kernels in Burn's queue of operations to be fused: they wait for their turn, and are not fused
//! with others.

use std::marker::PhantomData;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::Shape;
use burn_fusion::custom::{
    CustomOpIr, HandleContainer, Operation, OperationIr, OperationOutput, ScalarIr, StreamId,
    TensorIr,
};
use burn_fusion::{ExecutionError, Fusion, FusionBackend, FusionRuntime};

use super::ops::{CoreKernels, CoreOps, CoreShape};

#[derive(Debug, Clone, Copy)]
enum Kernel {
    Product,
    ValueGrads,
}

impl Kernel {
    fn name(self) -> &'static str {
        match self {
            Self::Product => "peft::core_product",
            Self::ValueGrads => "peft::core_value_grads",
        }
    }
}

/// A kernel that waits: two tensors of numbers and a table.
#[derive(Debug)]
struct Waiting<B> {
    kernel: Kernel,
    shape: CoreShape,
    described: CustomOpIr,
    backend: PhantomData<B>,
}

impl<B: FusionBackend + CoreKernels> Operation<B::FusionRuntime> for Waiting<B> {
    fn execute(
        &self,
        handles: &mut HandleContainer<<B::FusionRuntime as FusionRuntime>::FusionHandle>,
    ) -> Result<(), ExecutionError> {
        let ([first, second, table], [out]) = self.described.as_fixed();
        let first = handles.get_float_tensor::<B>(first);
        let second = handles.get_float_tensor::<B>(second);
        let table = handles.get_int_tensor::<B>(table);
        let result = match self.kernel {
            Kernel::Product => B::core_product(first, second, table, self.shape),
            Kernel::ValueGrads => B::core_value_grads(first, second, table, self.shape),
        };
        handles.register_float_tensor::<B>(&out.id, result);
        Ok(())
    }
}

fn queue<B: FusionBackend + CoreKernels>(
    kernel: Kernel,
    first: FloatTensor<Fusion<B>>,
    second: FloatTensor<Fusion<B>>,
    table: IntTensor<Fusion<B>>,
    out: Shape,
    shape: CoreShape,
) -> FloatTensor<Fusion<B>> {
    let client = first.client.clone();
    let out = TensorIr::uninit(client.create_empty_handle(), out, first.dtype);
    let inputs = [first.into_ir(), second.into_ir(), table.into_ir()];
    // Queues are told apart by what is in them, these included.
    let scalars = vec![
        ScalarIr::UInt(shape.inputs as u64),
        ScalarIr::UInt(shape.outputs as u64),
        ScalarIr::UInt(shape.values as u64),
        ScalarIr::Float(shape.factor),
    ];
    let described = CustomOpIr::with_scalars(kernel.name(), &inputs, &[out], scalars);
    let waiting = Waiting::<B> {
        kernel,
        shape,
        described: described.clone(),
        backend: PhantomData,
    };
    client
        .register(StreamId::current(), OperationIr::Custom(described), waiting)
        .output()
}

impl<B: FusionBackend + CoreKernels> CoreOps for Fusion<B> {
    fn sparse_core(
        x: FloatTensor<Self>,
        values: FloatTensor<Self>,
        by_output: IntTensor<Self>,
        _: IntTensor<Self>,
        _: IntTensor<Self>,
        shape: CoreShape,
    ) -> FloatTensor<Self> {
        Self::core_product(x, values, by_output, shape)
    }
}

impl<B: FusionBackend + CoreKernels> CoreKernels for Fusion<B> {
    fn core_product(
        x: FloatTensor<Self>,
        values: FloatTensor<Self>,
        table: IntTensor<Self>,
        shape: CoreShape,
    ) -> FloatTensor<Self> {
        let out = Shape::new([x.shape[0], shape.outputs]);
        queue::<B>(Kernel::Product, x, values, table, out, shape)
    }

    fn core_value_grads(
        x: FloatTensor<Self>,
        dz: FloatTensor<Self>,
        table: IntTensor<Self>,
        shape: CoreShape,
    ) -> FloatTensor<Self> {
        let out = Shape::new([shape.values]);
        queue::<B>(Kernel::ValueGrads, x, dz, table, out, shape)
    }
}
