//! Product with a weight and a sine of a low-rank matrix, some outputs at a time.
//!
//! Tiles are kept as `[outputs, in]`, the layout of checkpoints: then the product with a fresh adapter's
//! tile takes the path, and gives the bits, of the product with the weight itself.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Scalar, TensorMetadata};
use burn::tensor::{FloatDType, Slice};

use crate::ops::KernelGrads;

/// Outputs of a tile. Fixed, so that the order of sums over tiles does not depend on the threads.
const WIDTH: usize = 256;

/// The operands, and the two numbers of the sine.
#[derive(Clone, Debug)]
pub struct Sine<B: KernelGrads> {
    /// `[rows, in]`
    pub x: FloatTensor<B>,
    /// `[in, out]`
    pub weight: FloatTensor<B>,
    /// `[in, r]`
    pub a: FloatTensor<B>,
    /// `[r, out]`
    pub b: FloatTensor<B>,
    /// What the product is multiplied by inside of the sine.
    pub frequency: f64,
    /// What the sine is multiplied by.
    pub scale: f64,
}

/// Gradients that are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// To `x`.
    pub x: bool,
    /// To `a` or `b`.
    pub factors: bool,
}

/// Gradients of [`Sine`].
#[derive(Debug)]
pub struct Gradients<B: KernelGrads> {
    /// To `x`.
    pub x: Option<FloatTensor<B>>,
    /// To `a` and `b`.
    pub factors: Option<[FloatTensor<B>; 2]>,
}

fn turned<B: KernelGrads>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_swap_dims(x, 0, 1)
}

fn columns<B: KernelGrads>(x: &FloatTensor<B>, from: usize, to: usize) -> FloatTensor<B> {
    let rows = x.shape()[0];
    B::float_slice(x.clone(), &[Slice::from(0..rows), Slice::from(from..to)])
}

impl<B: KernelGrads> Sine<B> {
    fn tiles(&self) -> impl Iterator<Item = (usize, usize)> + use<B> {
        let outputs = self.weight.shape()[1];
        (0..outputs)
            .step_by(WIDTH)
            .map(move |from| (from, outputs.min(from + WIDTH)))
    }

    /// `frequency · (a · b)ᵀ` of some outputs.
    fn angles(&self, from: usize, to: usize) -> FloatTensor<B> {
        let b = columns::<B>(&self.b, from, to);
        B::product_scaled(turned::<B>(b), turned::<B>(self.a.clone()), self.frequency)
    }

    /// The adapted weight of some outputs, `[outputs, in]`.
    fn weights(&self, angles: FloatTensor<B>, from: usize, to: usize) -> FloatTensor<B> {
        let weight = turned::<B>(columns::<B>(&self.weight, from, to));
        let wide = match self.x.dtype() {
            burn::tensor::DType::F64 => FloatDType::F64,
            _ => FloatDType::F32,
        };
        let sine = B::float_mul_scalar(B::float_sin(angles), Scalar::Float(self.scale));
        B::float_add(B::float_cast(weight, wide), sine)
    }

    /// `x · W'ᵀ + bias`; an empty bias is none.
    pub fn forward(&self, bias: FloatTensor<B>) -> FloatTensor<B> {
        let biased = bias.shape().num_elements() > 0;
        let parts = self.tiles().map(|(from, to)| {
            let weight = turned::<B>(self.weights(self.angles(from, to), from, to));
            if biased {
                let bias = B::float_slice(bias.clone(), &[Slice::from(from..to)]);
                B::product_bias(self.x.clone(), weight, bias)
            } else {
                B::product(self.x.clone(), weight)
            }
        });
        let mut parts: Vec<FloatTensor<B>> = parts.collect();
        match parts.len() {
            1 => parts.swap_remove(0),
            _ => B::float_cat(parts, 1),
        }
    }

    /// With `D = (dyᵀ x) ∘ cos(angles) · frequency · scale`: `dx = Σ dy W'`, `dA = Σ Dᵀ Bᵀ`,
    /// `dB = (D A)ᵀ`.
    pub fn backward(&self, grad: &FloatTensor<B>, wanted: Wanted) -> Gradients<B> {
        let add = |sum: Option<FloatTensor<B>>, part: FloatTensor<B>| match sum {
            Some(sum) => Some(B::float_add(sum, part)),
            None => Some(part),
        };
        let (mut to_x, mut to_a, mut to_b) = (None, None, Vec::new());
        for (from, to) in self.tiles() {
            let angles = self.angles(from, to);
            let dy = columns::<B>(grad, from, to);
            if wanted.x {
                let weight = self.weights(angles.clone(), from, to);
                to_x = add(to_x, B::product(dy.clone(), weight));
            }
            if wanted.factors {
                let slope = self.frequency * self.scale;
                let dense = B::product_scaled(turned::<B>(dy), self.x.clone(), slope);
                let dense = B::float_mul(dense, B::float_cos(angles));
                to_b.push(B::product(dense.clone(), self.a.clone()));
                let b = turned::<B>(columns::<B>(&self.b, from, to));
                to_a = add(to_a, B::product(turned::<B>(dense), b));
            }
        }
        Gradients {
            x: to_x,
            factors: to_a.map(|a| [a, turned::<B>(B::float_cat(to_b, 0))]),
        }
    }
}
