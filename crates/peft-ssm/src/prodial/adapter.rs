use burn::{
    Tensor,
    module::{Module, Param},
    tensor::Bool,
};
use peft_core::{AdapterContext, BaseLinear, Cost, WeightAdapter, add_delta, kernels};

/// ProDiaL ([2411.15224](https://arxiv.org/abs/2411.15224)): the inputs of a frozen weight through a block-diagonal matrix,
/// its outputs scaled, and a low-rank update beside it. In PyTorch's layout `[out, in]`:
///
/// ```text
/// W' = diag(s) W D_b + γ · B A
/// D_b = offdiag(D_a) + I − relu(diag(D_a))      D_a of square blocks along its diagonal
/// ```
///
/// All of `D_a` and `B` start at 0 and `s` at 1, so that `W' = W`. The slope of the relu at 0 is 1 here; with 0, as in
/// the released code, the diagonal would never move.
#[derive(Module, Debug)]
pub struct ProDial {
    /// The blocks of `D_a`, `[blocks, width, width]`.
    pub blocks: Param<Tensor<3>>,
    /// `s`, `[1, out]`.
    pub scale: Param<Tensor<2>>,
    /// `Aᵀ`, `[in, r]`.
    pub a: Param<Tensor<2>>,
    /// `Bᵀ`, `[r, out]`.
    pub b: Param<Tensor<2>>,
    /// `γ`
    #[module(skip)]
    pub gamma: f64,
    /// Probability with which an input of `A` is dropped in training, and the key of that.
    #[module(skip)]
    pub dropout: (f64, u64),
}

impl ProDial {
    /// The blocks of `D_b`, `[blocks, width, width]`.
    fn transform(&self) -> Tensor<3> {
        let blocks = self.blocks.val();
        let [count, width, _] = blocks.dims();
        let device = blocks.device().without_autodiff();
        let off: Tensor<3, Bool> = Tensor::<2, Bool>::diag_mask([width, width], 0, &device)
            .reshape([1, width, width])
            .expand([count, width, width]);
        // Gradients pass where values are not below 0, so at 0, too.
        let positive = blocks
            .clone()
            .mask_fill(blocks.clone().lower_elem(0.0), 0.0);
        let diagonal = positive.neg().add_scalar(1.0).mask_fill(off.clone(), 0.0);
        blocks.mask_fill(off.bool_not(), 0.0) + diagonal
    }

    /// `D_b` times columns: `[in, rest] -> [in, rest]`, transposed or not.
    fn times(blocks: Tensor<3>, x: Tensor<2>) -> Tensor<2> {
        let [inputs, rest] = x.dims();
        let [count, width, _] = blocks.dims();
        let x = x.reshape([count, width, rest]);
        let y = match width {
            1 => blocks.expand([count, 1, rest]) * x,
            _ => blocks.matmul(x),
        };
        y.reshape([inputs, rest])
    }

    /// `D_b x` of rows `x`, `[rows, in]`.
    fn transformed(&self, x: Tensor<2>) -> Tensor<2> {
        let blocks = self.transform();
        let [count, width, _] = blocks.dims();
        if width == 1 {
            return x * blocks.reshape([1, count]);
        }
        let rows = x.dims()[0];
        let x = x.reshape([rows, count, width]).swap_dims(0, 1);
        let y = x.matmul(blocks.swap_dims(1, 2));
        y.swap_dims(0, 1).reshape([rows, count * width])
    }
}

impl WeightAdapter for ProDial {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, context: &AdapterContext) -> Tensor<2> {
        let scale = self.scale.val();
        let y = base.forward(self.transformed(x.clone())) * scale.clone();
        // The bias stays as it is.
        let y = match base.bias() {
            Some(bias) => y + (scale.neg() + 1.0) * bias.unsqueeze::<2>(),
            None => y,
        };
        let (probability, key) = self.dropout;
        let x = match context.dropout(probability, key) {
            Some(dropout) => kernels::dropout(x, dropout),
            None => x,
        };
        let low = kernels::linear(x, self.a.val(), None).mul_scalar(self.gamma);
        y + kernels::linear(low, self.b.val(), None)
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let dtype = weight.dtype();
        let weight = weight.cast(self.scale.val().dtype());
        let transformed = Self::times(self.transform().swap_dims(1, 2), weight);
        let delta = self.a.val().mul_scalar(self.gamma).matmul(self.b.val());
        add_delta(transformed * self.scale.val(), delta).cast(dtype)
    }

    fn cost(&self, in_features: usize, out_features: usize) -> Cost {
        let width = self.blocks.lazy_shape()[1];
        let rank = self.b.lazy_shape()[0];
        cost([in_features, out_features], width, rank, self.dropout.0)
    }
}

/// What it costs with blocks of a width and low-rank updates of a rank.
pub fn cost([inputs, outputs]: [usize; 2], width: usize, rank: usize, dropout: f64) -> Cost {
    Cost {
        parameters: inputs * width + outputs + rank * (inputs + outputs),
        flops_per_row: 6 * (inputs * width + outputs + rank * (inputs + outputs)),
        saved_per_row: inputs + outputs + rank + if dropout > 0.0 { inputs } else { 0 },
    }
}
