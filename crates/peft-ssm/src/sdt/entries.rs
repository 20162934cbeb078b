use burn::{
    Tensor,
    module::{Module, Param},
    tensor::{IndexingUpdateOp, Int},
};
use peft_core::{Cost, ParameterAdapter};

/// `A_log` of a channel that is given up: its decay is 0 but for step widths below a thousandth.
pub const GIVEN_UP: f32 = 10.0;

/// A parameter of which some entries have a trained offset, `p[places] + δ`, and some rows another value.
#[derive(Module, Debug)]
pub struct SparseOffset {
    /// `δ`, `[count]`
    pub offsets: Param<Tensor<1>>,
    /// Indices of the entries in row-major order, rising, `[count]`.
    pub places: Param<Tensor<1, Int>>,
    /// Rows, channels of `A_log`, of which every entry is 10, rising.
    pub zeroed: Option<Param<Tensor<1, Int>>>,
}

impl ParameterAdapter for SparseOffset {
    fn effective(&self, values: Tensor<1>, shape: &[usize]) -> Tensor<1> {
        let dtype = values.dtype();
        let offsets = self.offsets.val();
        let mut values = values.cast(offsets.dtype());
        if let (Some(rows), &[channels, states]) = (&self.zeroed, shape) {
            let rows = rows.val();
            let ones = Tensor::<1>::ones(rows.dims(), (&values.device(), values.dtype()));
            let marked = Tensor::<1>::zeros([channels], (&values.device(), values.dtype()))
                .select_assign(0, rows, ones, IndexingUpdateOp::Add);
            let marked = marked.reshape([channels, 1]).expand([channels, states]);
            let marked = marked.greater_elem(0.5).reshape([channels * states]);
            values = values.mask_fill(marked, GIVEN_UP);
        }
        let places = self.places.val();
        values
            .scatter(0, places, offsets, IndexingUpdateOp::Add)
            .cast(dtype)
    }

    fn cost(&self, _: &[usize]) -> Cost {
        Cost {
            parameters: self.offsets.lazy_shape().num_elements(),
            ..Cost::default()
        }
    }

    fn is_additive(&self) -> bool {
        self.zeroed.is_none()
    }
}

/// A parameter with an offset on every entry: `p + δ`, the warm-up's.
#[derive(Module, Debug)]
pub struct WholeOffset {
    /// `δ`, `[n]`
    pub offset: Param<Tensor<1>>,
}

impl ParameterAdapter for WholeOffset {
    fn effective(&self, values: Tensor<1>, _: &[usize]) -> Tensor<1> {
        let dtype = values.dtype();
        let offset = self.offset.val();
        (values.cast(offset.dtype()) + offset).cast(dtype)
    }

    fn cost(&self, shape: &[usize]) -> Cost {
        Cost {
            parameters: shape.iter().product(),
            ..Cost::default()
        }
    }

    fn is_additive(&self) -> bool {
        true
    }
}
