use burn::{
    Tensor,
    module::{Module, Param, ParamId},
    tensor::{Device, FloatDType, IndexingUpdateOp, Int, TensorData},
};
use peft_core::{AdapterContext, BaseLinear, Cost, WeightAdapter, add_delta, kernels};

/// An adapter that trains a core, or some entries of it, between two frozen bases:
///
/// ```text
/// ΔW = V S Uᵀ   ([out, in])      y += ((x U) Sᵀ) Vᵀ
/// ```
///
/// with `U: [in, q]` and `V: [out, p]`. This is SparseGrad (2410.07383) without its rotations: training
/// entries of `Vᵀ W U` is training the same entries of `S`, and the weight stays as it is. The backward
/// pass keeps `x U` and nothing else; the core's gradient is `[p, q]`. With `S = 0` the adapted layer
/// computes exactly what the base does.
#[derive(Module, Debug)]
pub struct GradientCore {
    /// Trained values, `[n]`: the core row by row, or its entries at `places`.
    pub core: Param<Tensor<1>>,
    /// Flat places `row · q + column` of the values, rising, if they are not the whole core.
    pub places: Option<Param<Tensor<1, Int>>>,
    /// `U`, `[in, q]`, frozen.
    pub input_basis: Param<Tensor<2>>,
    /// `Vᵀ`, `[p, out]`, frozen.
    pub output_basis: Param<Tensor<2>>,
}

/// What a [`GradientCore`] is made of.
#[derive(Debug, Clone)]
pub struct CoreParts {
    /// Trained values.
    pub core: TensorData,
    /// Their places, if they are not the whole core.
    pub places: Option<Vec<u32>>,
    /// `U`, `[in, q]`.
    pub input_basis: Tensor<2>,
    /// `Vᵀ`, `[p, out]`.
    pub output_basis: Tensor<2>,
}

impl GradientCore {
    /// An adapter on `device`, its values of type `dtype`. Bases on the same device are shared with
    /// other adapters that were given them.
    ///
    /// # Panics
    /// If there is not one value for each place.
    pub fn new(parts: CoreParts, dtype: FloatDType, device: &Device) -> Self {
        let ([_, q], [p, _]) = (parts.input_basis.dims(), parts.output_basis.dims());
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
        }
    }

    /// Rows and columns of the core, `[p, q]`.
    pub fn window(&self) -> [usize; 2] {
        [
            self.output_basis.lazy_shape()[0],
            self.input_basis.lazy_shape()[1],
        ]
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
        let inside = kernels::linear(x.clone(), self.input_basis.val(), None);
        let low = kernels::linear(inside, self.turned_core(), None);
        base.forward_plus(x, low, self.output_basis.val())
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let right = self.turned_core().matmul(self.output_basis.val());
        add_delta(weight, self.input_basis.val().matmul(right))
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn cost(&self, in_features: usize, out_features: usize) -> Cost {
        core_cost(
            [out_features, in_features],
            self.window(),
            self.core.lazy_shape()[0],
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
