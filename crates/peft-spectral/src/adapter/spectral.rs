use burn::{
    Tensor,
    module::{Module, Param},
    tensor::{Device, FloatDType, Int, TensorData},
};
use peft_core::{AdapterContext, BaseLinear, Cost, WeightAdapter, kernels};

use super::layout::{Evaluation, Layout, LayoutCell};
use crate::{Basis, Real, Sandwich, SpectralError, Support, merge};

/// An adapter whose update has few coefficients in a fixed basis:
///
/// ```text
/// ΔW = γ · B_outᵀ S B_in   ([out, in]; S is zero but for S[u_l, v_l] = a_l)
/// ```
///
/// Never formed in training: activations are projected on the used basis rows (or transformed as a
/// whole, which costs `O(d log d)`), mixed, and projected out. The backward pass keeps the projected
/// input and nothing else. With `a = 0` at the start the adapted layer computes exactly what the base
/// does.
#[derive(Module, Debug)]
pub struct Spectral {
    /// Trained values `a`, `[n]`.
    pub coefficients: Param<Tensor<1>>,
    /// Where they are, `[2, n]`: output frequencies `u`, then input frequencies `v`.
    pub places: Param<Tensor<2, Int>>,
    /// The factor `γ`.
    #[module(skip)]
    pub gamma: f64,
    /// Factor on the learning rate of the coefficients.
    #[module(skip)]
    pub rate: f64,
    #[module(skip)]
    layout: LayoutCell,
}

/// What a [`Spectral`] is made of.
#[derive(Debug, Clone)]
pub struct SpectralParts {
    /// The basis of both sides.
    pub basis: Basis,
    /// Outputs and inputs of the weight.
    pub shape: [usize; 2],
    /// Where the coefficients are.
    pub support: Support,
    /// Their values, in the support's order.
    pub coefficients: TensorData,
    /// The factor `γ`.
    pub gamma: f64,
    /// Factor on the learning rate of the coefficients: what makes a step of theirs move the weight
    /// as far as one of orthonormal coefficients does.
    pub rate: f64,
    /// How to apply it.
    pub evaluation: Evaluation,
}

impl Spectral {
    /// An adapter on `device`, its coefficients of type `dtype`.
    ///
    /// # Errors
    /// If the support is for another grid than the basis has for this weight.
    pub fn new(
        parts: SpectralParts,
        dtype: FloatDType,
        device: &Device,
    ) -> Result<Self, SpectralError> {
        let [out, inner] = parts.shape;
        let sandwich = Sandwich::new(parts.basis, out, inner, &parts.support)?;
        let entries = parts.support.entries();
        let side = |axis: usize| entries.iter().map(move |entry| i64::from(entry[axis]));
        let places: Vec<i64> = side(0).chain(side(1)).collect();
        let places = TensorData::new(places, [2, entries.len()]);
        let places = Param::initialized(
            burn::module::ParamId::new(),
            Tensor::from_data(places, device),
        );
        let layout = Layout::new(sandwich, parts.gamma, parts.evaluation);
        Ok(Self {
            coefficients: Param::from_tensor(Tensor::from_data(
                parts.coefficients,
                (device, dtype.into()),
            )),
            layout: LayoutCell::new(&places, layout),
            places,
            gamma: parts.gamma,
            rate: parts.rate,
        })
    }

    /// Whether activations are transformed as a whole, rather than projected on basis rows.
    pub fn is_fast(&self) -> bool {
        self.layout.get(&self.places).fast
    }
}

impl WeightAdapter for Spectral {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        let layout = self.layout.get(&self.places);
        let a = self.coefficients.val();
        if layout.fast
            && let Some(y) = base.forward_updated(&x, a.clone(), &layout.update)
        {
            return y;
        }
        let device = a.device();
        let pieces = layout.on_device(FloatDType::from(a.dtype()), &device);
        let q = kernels::linear(x.clone(), pieces.in_rows(&device).transpose(), None);
        let low = kernels::linear(q, pieces.core(a), None);
        base.forward_plus(x, low, pieces.out_rows(&device))
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let layout = self.layout.get(&self.places);
        let a = self.coefficients.val();
        let device = a.device();
        let delta = if a.is_require_grad() || !kernels::has_fast_body(&a) {
            let pieces = layout.on_device(FloatDType::from(a.dtype()), &device);
            let right = pieces.core(a).matmul(pieces.out_rows(&device));
            pieces.in_rows(&device).transpose().matmul(right)
        } else {
            // In Burn's layout the weight is `[in, out]`.
            let turned = layout.sandwich.transposed();
            let shape = [turned.out_features(), turned.in_features()];
            let dtype = FloatDType::from(a.dtype());
            let data = match dtype {
                FloatDType::F64 => TensorData::new(delta::<f64>(a, &turned, self.gamma), shape),
                _ => TensorData::new(delta::<f32>(a, &turned, self.gamma), shape),
            };
            Tensor::from_data(data, (&device, dtype.into()))
        };
        let dtype = weight.dtype();
        // A half-precision base is widened for the sum and rounded once.
        (weight.cast(delta.dtype()) + delta).cast(dtype)
    }

    fn cost(&self, in_features: usize, out_features: usize) -> Cost {
        let layout = self.layout.get(&self.places);
        let core = layout.sandwich.core();
        let (p, q) = (core.rows(), core.cols());
        let flops_per_row = if layout.fast {
            let basis = layout.sandwich.basis();
            let transforms =
                basis.transform_flops(in_features) + basis.transform_flops(out_features);
            2 * transforms as usize + 6 * core.places()
        } else {
            4 * (q * in_features + p * out_features) + 6 * p * q
        };
        Cost {
            parameters: core.coefficients(),
            flops_per_row,
            saved_per_row: q,
        }
    }

    fn learning_rate_factor(&self, field: &str) -> f64 {
        if field == "coefficients" {
            self.rate
        } else {
            1.0
        }
    }
}

/// `ΔW` of coefficients that are on the CPU.
fn delta<T: Real + burn::tensor::Element>(a: Tensor<1>, sandwich: &Sandwich, gamma: f64) -> Vec<T> {
    let values: Vec<T> = a.into_data().iter::<T>().collect();
    merge::delta_weight(sandwich, &values, gamma)
}
