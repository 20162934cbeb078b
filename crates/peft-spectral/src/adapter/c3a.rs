use burn::{
    Tensor,
    module::{Module, Param},
    tensor::{Device, FloatDType, Int, TensorData},
};
use peft_core::{
    AdapterContext, BaseLinear, Cost, WeightAdapter, add_delta,
    kernels::{Applied, HostUpdate, RowUpdate},
};

use super::bases::lift;
use crate::{Real, SpectralError, circulant::BlockCirculant};

/// C3A's adapter: the update is made of circulant blocks of side `b`, given by their kernels.
///
/// ```text
/// ΔW[ib + t, jb + s] = σ · w[i, j, (s − t) mod b]   ([out, in])   σ = 1/in, as in PEFT
/// ```
///
/// Applied by FFT on the CPU, by products with the real DFT elsewhere; never formed in training.
#[derive(Module, Debug)]
pub struct Circulant {
    /// The kernels `w`, `[out / b, in / b, b]`.
    pub kernel: Param<Tensor<3>>,
    /// The factor `σ`.
    #[module(skip)]
    pub scale: f64,
    /// Factor on the learning rate: at first what makes a step move the weight as far as one of orthonormal
    /// coefficients does, for a kernel value stands `b` times in its block, with factor `σ`.
    #[module(skip)]
    pub rate: f64,
    #[module(skip)]
    update: RowUpdate,
}

impl Circulant {
    /// What an adapter of a kernel `[p, q, b]` costs.
    pub(crate) fn cost_of([p, q, b]: [usize; 3]) -> Cost {
        let transform = 5 * b * (b as f64).log2().ceil().max(1.0) as usize;
        Cost {
            parameters: p * q * b,
            flops_per_row: 3 * (p + q) * transform + 12 * p * q * b,
            saved_per_row: 0,
        }
    }

    /// An adapter of kernels `[out / b, in / b, b]`, with PEFT's factor.
    pub fn new(kernel: Tensor<3>) -> Self {
        let [out_blocks, in_blocks, block] = kernel.dims();
        let scale = crate::circulant::peft_scale(in_blocks * block);
        let update = RowUpdate::new(CirculantUpdate {
            out_features: out_blocks * block,
            in_features: in_blocks * block,
            block,
            scale,
        });
        Self {
            kernel: Param::from_tensor(kernel),
            rate: 1.0 / (scale * (block as f64).sqrt()),
            scale,
            update,
        }
    }

    /// The same, its kernel trained at the learning rate as it is given.
    #[must_use]
    pub fn with_plain_rate(self) -> Self {
        Self { rate: 1.0, ..self }
    }

    fn dims(&self) -> [usize; 3] {
        let shape = self.kernel.lazy_shape();
        [shape[0], shape[1], shape[2]]
    }
}

impl WeightAdapter for Circulant {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        let kernel = self.kernel.val();
        let values = kernel.clone().flatten::<1>(0, 2);
        match base.forward_updated(&x, values, &self.update) {
            Some(y) => y,
            None => base.forward(x.clone()) + by_dft(x, kernel).mul_scalar(self.scale),
        }
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let [p, q, b] = self.dims();
        let device = self.kernel.val().device();
        // Entry (s, t) of a block, transposed for Burn's `[in, out]`, is value (s − t) mod b.
        let places: Vec<i64> = (0..b * b)
            .map(|place| ((place / b + b - place % b) % b) as i64)
            .collect();
        let places = Tensor::<1, Int>::from_data(TensorData::new(places, [b * b]), &device);
        let delta = (self.kernel.val().reshape([p * q, b]))
            .select(1, places)
            .reshape([p, q, b, b])
            .permute([1, 2, 0, 3])
            .reshape([q * b, p * b])
            .mul_scalar(self.scale);
        add_delta(weight, delta)
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn cost(&self, _: usize, _: usize) -> Cost {
        Self::cost_of(self.dims())
    }

    fn learning_rate_factor(&self, _field: &str) -> f64 {
        self.rate
    }
}

/// `F⁻¹ Σ_j conj(F w_ij) ∘ F x_j`, with the real DFT as matrices.
fn by_dft(x: Tensor<2>, kernel: Tensor<3>) -> Tensor<2> {
    let ([rows, _], [p, q, b]) = (x.dims(), kernel.dims());
    let bins = b / 2 + 1;
    let device = x.device();
    let dtype = FloatDType::from(x.dtype());
    let [cos, sin] = [f64::cos, f64::sin].map(|of| dft(b, of, dtype, &device));
    // `[…, b]` to `[bins, …]`: cosine and sine sums of every block.
    let analyse = |values: Tensor<3>| {
        let [m, n, _] = values.dims();
        let lines = values.reshape([m * n, b]);
        [&cos, &sin].map(|basis| {
            lines
                .clone()
                .matmul(basis.clone())
                .reshape([m, n, bins])
                .permute([2, 0, 1])
        })
    };
    let [x_cos, x_sin] = analyse(x.reshape([rows, q, b]));
    let [w_cos, w_sin] = analyse(kernel).map(|w| w.swap_dims(1, 2));
    // conj(w_cos − i w_sin) (x_cos − i x_sin)
    let real = x_cos.clone().matmul(w_cos.clone()) + x_sin.clone().matmul(w_sin.clone());
    let imaginary = x_cos.matmul(w_sin) - x_sin.matmul(w_cos);
    // Bins that have a conjugate twin count twice.
    let weights: Vec<f64> = (0..bins)
        .map(|k| if k == 0 || 2 * k == b { 1.0 } else { 2.0 } / b as f64)
        .collect();
    let weights = TensorData::new(weights, [1, bins]).convert_dtype(dtype.into());
    let weights = Tensor::<2>::from_data(weights, (&device, dtype.into()));
    let synthesise = |spectrum: Tensor<3>, basis: Tensor<2>| {
        let lines = spectrum.permute([1, 2, 0]).reshape([rows * p, bins]);
        (lines * weights.clone()).matmul(basis.transpose())
    };
    (synthesise(real, cos) - synthesise(imaginary, sin)).reshape([rows, p * b])
}

/// `of(2π j k / b)`, `[b, b/2 + 1]`.
fn dft(b: usize, of: fn(f64) -> f64, dtype: FloatDType, device: &Device) -> Tensor<2> {
    let bins = b / 2 + 1;
    let values: Vec<f64> = (0..b * bins)
        .map(|place| {
            let angle = (place / bins) * (place % bins) % b;
            of(std::f64::consts::TAU * angle as f64 / b as f64)
        })
        .collect();
    let data = TensorData::new(values, [b, bins]).convert_dtype(dtype.into());
    let inner = device.clone().inner();
    lift(Tensor::from_data(data, (&inner, dtype.into())), device)
}

/// The update on rows of the host, by FFT.
#[derive(Debug)]
struct CirculantUpdate {
    out_features: usize,
    in_features: usize,
    block: usize,
    scale: f64,
}

impl CirculantUpdate {
    fn of<T: Real>(&self, kernel: &[T]) -> BlockCirculant<T> {
        let scale = T::of(self.scale);
        BlockCirculant::new(
            kernel,
            self.out_features,
            self.in_features,
            self.block,
            scale,
        )
        .unwrap_or_else(|error: SpectralError| unreachable!("blocks of a tensor: {error}"))
    }
}

impl<T: Real> Applied<T> for CirculantUpdate {
    fn forward(&self, x: &[T], a: &[T], y: &mut [T], _: &mut [T]) {
        self.of(a).forward(x, y);
    }

    fn backward(&self, x: &[T], dy: &[T], a: &[T], dx: Option<&mut [T]>, da: &mut [f64]) {
        let update = self.of(a);
        if let Some(dx) = dx {
            update.input_gradient(dy, dx);
        }
        let mut dw = vec![T::zero(); a.len()];
        update.kernel_gradient(x, dy, &mut dw);
        for (da, dw) in da.iter_mut().zip(dw) {
            *da += dw.wide();
        }
    }
}

impl HostUpdate for CirculantUpdate {
    fn in_features(&self) -> usize {
        self.in_features
    }

    fn out_features(&self) -> usize {
        self.out_features
    }

    fn coefficients(&self) -> usize {
        self.out_features * self.in_features / self.block
    }

    fn saved_per_row(&self) -> usize {
        0
    }

    fn keeps_input(&self) -> bool {
        true
    }
}
