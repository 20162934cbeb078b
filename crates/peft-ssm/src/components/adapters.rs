use std::ops::Range;

use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_core::{
    AdapterContext, BaseLinear, Cost, LowRankUpdate, WeightAdapter, add_delta, kernels,
};

/// Low-rank updates of pieces of a weight's outputs, in Burn's layout `[in, out]`:
///
/// ```text
/// W'[:, P_i] = W[:, P_i] + s · A_i B_i         P_i a range of outputs, A_i [in, r], B_i [r, |P_i|]
/// ```
///
/// It is what LoRA on the layers is where the projection is split into one layer a piece. All are computed as one product
/// of narrow matrices, in which `B` has zeros where a factor is not of an output's piece.
#[derive(Module, Debug)]
pub struct PieceLora {
    /// The `A_i` side by side, `[in, pieces · r]`.
    pub a: Param<Tensor<2>>,
    /// The `B_i` side by side, `[r, Σ |P_i|]`.
    pub b: Param<Tensor<2>>,
    /// The pieces, rising and apart.
    #[module(skip)]
    pub pieces: Vec<Range<usize>>,
    /// Outputs of the weight.
    #[module(skip)]
    pub outputs: usize,
    /// `s`
    #[module(skip)]
    pub scale: f64,
    /// Probability with which an input of `A` is dropped in training, and the key of that.
    #[module(skip)]
    pub dropout: (f64, u64),
}

impl PieceLora {
    /// `B` with its zeros, `[pieces · r, out]`.
    fn spread(&self) -> Tensor<2> {
        let b = self.b.val();
        let rank = b.dims()[0];
        let zeros = |width: usize| Tensor::<2>::zeros([rank, width], (&b.device(), b.dtype()));
        let mut from = 0;
        let rows = self.pieces.iter().map(|piece| {
            let own = b.clone().narrow(1, from, piece.len());
            from += piece.len();
            let mut row = Vec::with_capacity(3);
            if piece.start > 0 {
                row.push(zeros(piece.start));
            }
            row.push(own);
            if piece.end < self.outputs {
                row.push(zeros(self.outputs - piece.end));
            }
            Tensor::cat(row, 1)
        });
        let rows: Vec<Tensor<2>> = rows.collect();
        Tensor::cat(rows, 0)
    }
}

impl WeightAdapter for PieceLora {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, context: &AdapterContext) -> Tensor<2> {
        let (a, b) = (self.a.val(), self.spread());
        let (probability, key) = self.dropout;
        match context.dropout(probability, key) {
            None => base.forward_low_rank(x, a, b, self.scale),
            Some(dropout) => {
                let dropped = kernels::dropout(x.clone(), dropout);
                let low = kernels::linear(dropped, a, None).mul_scalar(self.scale);
                base.forward_plus(x, low, b)
            }
        }
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let delta = self.a.val().mul_scalar(self.scale);
        add_delta(weight, delta.matmul(self.spread()))
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn cost(&self, in_features: usize, _: usize) -> Cost {
        let rank = self.b.lazy_shape()[0];
        pieces_cost(
            rank,
            &self.pieces,
            [in_features, self.outputs],
            self.dropout.0,
        )
    }

    fn low_rank(&self) -> Option<LowRankUpdate> {
        Some(LowRankUpdate::new(self.a.val(), self.spread(), self.scale))
    }
}

/// What low-rank updates of these pieces cost.
pub fn pieces_cost(
    rank: usize,
    pieces: &[Range<usize>],
    [inputs, outputs]: [usize; 2],
    dropout: f64,
) -> Cost {
    let all = rank * pieces.len();
    let width: usize = pieces.iter().map(ExactSizeIterator::len).sum();
    Cost {
        parameters: all * inputs + rank * width,
        flops_per_row: 6 * all * (inputs + outputs),
        saved_per_row: all + if dropout > 0.0 { inputs } else { 0 },
    }
}

/// A weight with an offset on every entry, `W + Δ`, both `[in, out]`: it is trained in full, and the base stays as it is.
#[derive(Module, Debug)]
pub struct WholeWeight {
    /// `Δ`, `[in, out]`
    pub offset: Param<Tensor<2>>,
}

impl WeightAdapter for WholeWeight {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        base.forward_plus(x.clone(), x, self.offset.val())
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        add_delta(weight, self.offset.val())
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn cost(&self, in_features: usize, out_features: usize) -> Cost {
        whole_cost([in_features, out_features])
    }
}

/// What an offset on every entry of a weight costs.
pub fn whole_cost([inputs, outputs]: [usize; 2]) -> Cost {
    Cost {
        parameters: inputs * outputs,
        flops_per_row: 6 * inputs * outputs,
        saved_per_row: 0,
    }
}
