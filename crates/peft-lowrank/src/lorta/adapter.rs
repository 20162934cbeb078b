use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_core::{
    AdapterContext, BaseLinear, Cost, Fields, HostTensor, HostTensorExt, LowRankUpdate,
    WeightAdapter, add_delta, kernels,
};

pub(super) const A: &str = "lorta_A";
pub(super) const B: &str = "lorta_B";
pub(super) const HEADS: &str = "lorta_heads";

/// LoRTA's part of one weight.
///
/// ```text
/// ΔWᵀ for head i = s · A diag(H_i ∘ L_l ∘ M_m) B        l: the layer, m: which of its matrices
/// ```
///
/// A CP decomposition of the tensor of all updates over inputs, outputs of a head, heads, layers and
/// matrices. `A`, `B` and `H` are the same for all weights, `L_l` for those of a layer, `M_m` for those of
/// one name: fields of one [`tie`](WeightAdapter::tie) are one parameter, of which every adapter holds
/// a copy and the optimiser updates the first. `B` starts at zero.
///
/// For one weight the vectors are folded into `B`, and the product is LoRA's.
#[derive(Module, Debug)]
pub struct Lorta {
    /// `A`, `[in, r]`.
    pub a: Param<Tensor<2>>,
    /// `B`, `[r, out / heads]`.
    pub b: Param<Tensor<2>>,
    /// `H`, `[heads, r]`.
    pub heads: Param<Tensor<2>>,
    /// `L_l`, `[r]`.
    pub layer: Param<Tensor<1>>,
    /// `M_m`, `[r]`.
    pub matrix: Param<Tensor<1>>,
    /// The factor `s`.
    #[module(skip)]
    pub scaling: f64,
    /// Probability with which an input of `A` is dropped in training.
    #[module(skip)]
    pub dropout: f64,
    /// Which weight it is.
    #[module(skip)]
    pub at: LortaPlace,
}

/// A weight's layer and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LortaPlace {
    /// The path up to its first number, such as `encoder.layer.3`; empty without one.
    pub layer: String,
    /// The rest, such as `attention.self.query`.
    pub matrix: String,
    /// Hash of the whole path: where dropout is drawn from.
    pub key: u64,
}

impl LortaPlace {
    /// The place of a module.
    pub fn of(path: &str) -> Self {
        let number = |part: &str| part.parse::<usize>().is_ok();
        let parts: Vec<&str> = path.split('.').collect();
        let split = parts.iter().position(|part| number(part));
        let (layer, matrix) = parts.split_at(split.map_or(0, |index| index + 1));
        Self {
            layer: layer.join("."),
            matrix: matrix.join("."),
            key: kernels::key_of(0, path, 0),
        }
    }
}

impl Lorta {
    /// The rank.
    pub fn rank(&self) -> usize {
        self.a.lazy_shape()[1]
    }

    /// LoRA's `B`, `[r, out]`: the blocks of all heads side by side.
    fn folded(&self) -> Tensor<2> {
        let (b, heads) = (self.b.val(), self.heads.val());
        let ([r, width], [count, _]) = (b.dims(), heads.dims());
        let here = (self.layer.val() * self.matrix.val()).unsqueeze::<2>();
        let vectors = (heads * here).transpose().reshape([r, count, 1]);
        (vectors * b.reshape([r, 1, width])).reshape([r, count * width])
    }
}

impl WeightAdapter for Lorta {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, context: &AdapterContext) -> Tensor<2> {
        let (a, b) = (self.a.val(), self.folded());
        match context.dropout(self.dropout, self.at.key) {
            None => base.forward_low_rank(x, a, b, self.scaling),
            Some(dropout) => {
                let dropped = kernels::dropout(x.clone(), dropout);
                let low = kernels::linear(dropped, a, None).mul_scalar(self.scaling);
                base.forward_plus(x, low, b)
            }
        }
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let a = self.a.val().mul_scalar(self.scaling);
        add_delta(weight, a.matmul(self.folded()))
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn cost(&self, in_features: usize, out_features: usize) -> Cost {
        let heads = self.heads.lazy_shape()[0];
        cost(self.rank(), heads, self.dropout, in_features, out_features)
    }

    fn low_rank(&self) -> Option<LowRankUpdate> {
        let (a, b) = (self.a.val(), self.folded());
        Some(LowRankUpdate::new(a, b, self.scaling))
    }

    fn tie(&self, field: &str) -> Option<String> {
        tie(field, &self.at)
    }

    fn shared(&self) -> Fields<HostTensor> {
        let stored = [
            (A, self.a.val().transpose()),
            (B, self.b.val().transpose()),
            (HEADS, self.heads.val()),
        ];
        let stored = stored.map(|(name, tensor)| {
            let tensor = HostTensor::from_data(name, tensor.into_data());
            (name.to_owned(), tensor.expect("adapters hold f32 or f64"))
        });
        Fields::from(stored)
    }
}

/// What a field of an adapter is one with.
pub(super) fn tie(field: &str, at: &LortaPlace) -> Option<String> {
    match field {
        "a" | "b" | "heads" => Some(field.to_owned()),
        "layer" => Some(format!("layer {}", at.layer)),
        "matrix" => Some(format!("matrix {}", at.matrix)),
        _ => None,
    }
}

/// What an adapter costs, were it the only one.
pub(super) fn cost(
    r: usize,
    heads: usize,
    dropout: f64,
    in_features: usize,
    out_features: usize,
) -> Cost {
    Cost {
        parameters: r * (in_features + out_features / heads + heads + 2),
        flops_per_row: 6 * r * (in_features + out_features),
        saved_per_row: r + if dropout > 0.0 { in_features } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_split_at_the_first_number() {
        for (path, layer, matrix) in [
            (
                "bert.encoder.layer.3.attention.self.query",
                "bert.encoder.layer.3",
                "attention.self.query",
            ),
            ("layers.0.linears.1", "layers.0", "linears.1"),
            ("layer", "", "layer"),
        ] {
            let at = LortaPlace::of(path);
            assert_eq!((at.layer.as_str(), at.matrix.as_str()), (layer, matrix));
        }
    }
}
