use burn::{
    Tensor,
    module::{Module, Param},
    tensor::{Device, FloatDType, Int, TensorData},
};
use peft_core::{AdapterContext, BaseLinear, Cost, WeightAdapter};

use super::layout::{Layout, LayoutCell, Route};
use crate::{Basis, Sandwich, SpectralError, Support};

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
    pub evaluation: Route,
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
        self.layout.get(&self.places).is_fast()
    }

    /// The way that a pass over so many rows takes on the CPU, for a weight in full precision: never
    /// [`Route::Auto`].
    pub fn evaluation(&self, rows: usize) -> Route {
        self.layout.get(&self.places).evaluation_for(rows)
    }
}

impl WeightAdapter for Spectral {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        let layout = self.layout.get(&self.places);
        layout.apply(x, base, self.coefficients.val())
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let layout = self.layout.get(&self.places);
        layout.merged(weight, self.coefficients.val())
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn cost(&self, _: usize, _: usize) -> Cost {
        self.layout.get(&self.places).cost()
    }

    fn learning_rate_factor(&self, field: &str) -> f64 {
        if field == "coefficients" {
            self.rate
        } else {
            1.0
        }
    }
}
