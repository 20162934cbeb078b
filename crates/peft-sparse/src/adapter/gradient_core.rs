use burn::{
    Tensor,
    module::{Module, Param, ParamId},
    tensor::{Device, FloatDType, IndexingUpdateOp, Int, TensorData},
};
use peft_core::{AdapterContext, BaseLinear, Cost, WeightAdapter, add_delta};

/// An adapter that trains a core, or some entries of it, between two frozen bases:
///
/// ```text
/// ΔW = V S Uᵀ   ([out, in])      y += ((x U) Sᵀ) Vᵀ
/// ```
///
/// with `U: [in, q]` and `V: [out, p]`, both orthonormal. This is SparseGrad (2410.07383) without its rotations: training
/// entries of `Vᵀ W U` is training the same entries of `S`, and the weight stays as it is. The backward
/// pass keeps `x U` and nothing else; the core's gradient is `[p, q]`. With `S = 0` the adapted layer
/// computes exactly what the base does.
///
/// Where bases are made anew while it trains, what the old ones hold is a frozen offset of the adapter,
/// in the same form and in the same products, so that nothing is ever rounded to the weight's type:
///
/// ```text
/// ΔW = [V V₁ …] diag(S, S₁, …) [U U₁ …]ᵀ      S₁, … frozen
/// ```
#[derive(Module, Debug)]
pub struct GradientCore {
    /// Trained values, `[n]`: the core row by row, or its entries at `places`.
    pub core: Param<Tensor<1>>,
    /// Flat places `row · q + column` of the values, rising, if they are not the whole core.
    pub places: Option<Param<Tensor<1, Int>>>,
    /// `U` and those before it, `[in, q · (1 + n)]`, frozen.
    pub input_basis: Param<Tensor<2>>,
    /// `Vᵀ` and those before it, `[p · (1 + n), out]`, frozen.
    pub output_basis: Param<Tensor<2>>,
    /// `S₁, …`, `[n · p, q]` for `n` earlier bases, the latest first, frozen; those that are still to come
    /// are zero.
    pub past: Option<Param<Tensor<2>>>,
}

/// What a [`GradientCore`] is made of.
#[derive(Debug, Clone)]
pub struct CoreParts {
    /// Trained values.
    pub core: TensorData,
    /// Their places, if they are not the whole core.
    pub places: Option<Vec<u32>>,
    /// `U` and those before it, `[in, q · (1 + n)]`.
    pub input_basis: Tensor<2>,
    /// `Vᵀ` and those before it, `[p · (1 + n), out]`.
    pub output_basis: Tensor<2>,
    /// The cores of the `n` bases before, `[n · p, q]`.
    pub past: Option<Tensor<2>>,
}

impl GradientCore {
    /// An adapter on `device`, its values of type `dtype`. Bases on the same device are shared with
    /// other adapters that were given them.
    ///
    /// # Panics
    /// If there is not one value for each place, or bases and earlier cores do not fit.
    pub fn new(parts: CoreParts, dtype: FloatDType, device: &Device) -> Self {
        let [_, wide_q] = parts.input_basis.dims();
        let [wide_p, _] = parts.output_basis.dims();
        let [p, q] = match &parts.past {
            None => [wide_p, wide_q],
            Some(past) => {
                let [rows, q] = past.dims();
                [wide_p - rows, q]
            }
        };
        let bases = wide_p / p;
        assert_eq!([bases * p, bases * q], [wide_p, wide_q], "a core a basis");
        let places = parts.places.map(|places| {
            let places: Vec<i64> = places.into_iter().map(i64::from).collect();
            let places = TensorData::new(places.clone(), [places.len()]);
            Param::initialized(ParamId::new(), Tensor::from_data(places, device))
        });
        let wanted = places
            .as_ref()
            .map_or(p * q, |places| places.lazy_shape()[0]);
        assert_eq!(parts.core.num_elements(), wanted, "a value for each place");
        let frozen = |basis: Tensor<2>| {
            let basis = match device.is_autodiff() && !basis.is_autodiff() {
                true => basis.autodiff(),
                false => basis,
            };
            Param::from_tensor(basis.cast(dtype)).set_require_grad(false)
        };
        Self {
            core: Param::from_tensor(Tensor::from_data(parts.core, (device, dtype.into()))),
            places,
            input_basis: frozen(parts.input_basis),
            output_basis: frozen(parts.output_basis),
            past: parts.past.map(frozen),
        }
    }

    /// Rows and columns of the core, `[p, q]`.
    pub fn window(&self) -> [usize; 2] {
        let wide = [
            self.output_basis.lazy_shape()[0],
            self.input_basis.lazy_shape()[1],
        ];
        match &self.past {
            None => wide,
            Some(past) => {
                let past = past.lazy_shape();
                [wide[0] - past[0], past[1]]
            }
        }
    }

    /// The transpose of all cores, those of earlier bases along the diagonal.
    fn turned_cores(&self) -> Tensor<2> {
        let core = self.turned_core();
        let Some(past) = &self.past else {
            return core;
        };
        let [p, q] = self.window();
        let past = past.val();
        let count = past.dims()[0] / p;
        let options = (&core.device(), core.dtype());
        let rows = (0..=count).map(|index| {
            let block = match index {
                0 => core.clone(),
                _ => (past.clone()).narrow(0, (index - 1) * p, p).transpose(),
            };
            let zeros = |blocks: usize| Tensor::zeros([q, blocks * p], options);
            match (index, count - index) {
                (0, after) => Tensor::cat(vec![block, zeros(after)], 1),
                (before, 0) => Tensor::cat(vec![zeros(before), block], 1),
                (before, after) => Tensor::cat(vec![zeros(before), block, zeros(after)], 1),
            }
        });
        Tensor::cat(rows.collect(), 0)
    }

    /// `Sᵀ`, `[q, p]`.
    fn turned_core(&self) -> Tensor<2> {
        let [p, q] = self.window();
        let values = self.core.val();
        let flat = match &self.places {
            None => values,
            Some(places) => {
                let options = (&values.device(), values.dtype());
                Tensor::<1>::zeros([p * q], options).scatter(
                    0,
                    places.val(),
                    values,
                    IndexingUpdateOp::Add,
                )
            }
        };
        flat.reshape([p, q]).transpose()
    }
}

impl WeightAdapter for GradientCore {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        let (right, left) = (self.input_basis.val(), self.output_basis.val());
        base.forward_core(x, right, self.turned_cores(), left)
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let right = self.turned_cores().matmul(self.output_basis.val());
        add_delta(weight, self.input_basis.val().matmul(right))
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn cost(&self, in_features: usize, out_features: usize) -> Cost {
        let [p, q] = self.window();
        let bases = self.output_basis.lazy_shape()[0] / p;
        let trained = self.core.lazy_shape()[0];
        core_cost(
            [out_features, in_features],
            [p, q].map(|side| bases * side),
            trained,
        )
    }
}

/// What a core costs of which `trained` values are trained.
pub(crate) fn core_cost([out, inner]: [usize; 2], [p, q]: [usize; 2], trained: usize) -> Cost {
    Cost {
        parameters: trained,
        flops_per_row: 4 * (q * inner + p * out) + 6 * p * q,
        saved_per_row: q,
    }
}
