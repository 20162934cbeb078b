use burn::{
    Tensor,
    module::{Module, Param},
    tensor::{Int, TensorData},
};
use peft_core::{AdapterContext, nn::Linear};

/// A deep S4 layer of theory (S4D, Gu et al. 2022; used by [2410.09016](https://arxiv.org/abs/2410.09016)): a state space
/// with complex diagonal `A` for every channel, and a layer that mixes the channels.
///
/// ```text
/// A = −exp(log_rate) + i · frequency        Δ = exp(log_step)        B = 1
/// k_d[l] = 2 Re Σ_n C_dn (exp(Δ_d A_dn) − 1) / A_dn · exp(Δ_d A_dn l)
/// y_t = relu(W (Σ_{s ≤ t} k[t − s] ∘ u_s + skip ∘ u_t) + b)
/// ```
///
/// There is neither a norm nor a residual. The convolution is the recurrence `h_t = Ā h_{t−1} + B̄ u_t` with
/// `Ā = exp(ΔA)` and `B̄ = (Ā − 1) / A`, read by `2 Re⟨C, h_t⟩`.
#[derive(Module, Debug)]
pub struct S4Layer {
    /// `ln(−Re A)`, `[D, N]`.
    pub log_rate: Param<Tensor<2>>,
    /// `Im A`, `[D, N]`.
    pub frequency: Param<Tensor<2>>,
    /// `Re C`, `[D, N]`.
    pub c_re: Param<Tensor<2>>,
    /// `Im C`, `[D, N]`.
    pub c_im: Param<Tensor<2>>,
    /// `ln Δ`, `[D]`.
    pub log_step: Param<Tensor<1>>,
    /// `[D]`
    pub skip: Param<Tensor<1>>,
    /// Mixes the channels, `[D, outputs]`.
    pub output: Linear,
}

impl S4Layer {
    /// `k`, `[D, length]`.
    pub fn kernel(&self, length: usize) -> Tensor<2> {
        let step = self.log_step.val().exp().unsqueeze_dim::<2>(1);
        let (rate, frequency) = (self.log_rate.val().exp(), self.frequency.val());
        // ΔA, exp(ΔA) − 1, and that over A times C.
        let (re, im) = (rate.clone().neg() * step.clone(), frequency.clone() * step);
        let size = re.clone().exp();
        let (x, y) = (
            size.clone() * im.clone().cos() - 1.0,
            size * im.clone().sin(),
        );
        let norm = rate.clone() * rate.clone() + frequency.clone() * frequency.clone();
        let b_re = (y.clone() * frequency.clone() - x.clone() * rate.clone()) / norm.clone();
        let b_im = (x * frequency + y * rate).neg() / norm;
        let (c_re, c_im) = (self.c_re.val(), self.c_im.val());
        let g_re = c_re.clone() * b_re.clone() - c_im.clone() * b_im.clone();
        let g_im = c_re * b_im + c_im * b_re;
        let [channels, states] = g_re.dims();
        let place = Tensor::<1, Int>::arange(0..length as i64, &re.device());
        let place = place
            .float()
            .cast(re.dtype())
            .reshape([1, 1, length])
            .expand([channels, states, length]);
        let along = |x: Tensor<2>| x.unsqueeze_dim::<3>(2) * place.clone();
        let (size, turn) = (along(re).exp(), along(im));
        let real = size.clone() * turn.clone().cos() * g_re.unsqueeze_dim::<3>(2)
            - size * turn.sin() * g_im.unsqueeze_dim::<3>(2);
        real.sum_dim(1).reshape([channels, length]).mul_scalar(2.0)
    }

    /// What the states and the skip give before the channels are mixed, `[batch, length, D] -> [batch, length, D]`.
    pub fn space(&self, u: Tensor<3>) -> Tensor<3> {
        let [_, length, channels] = u.dims();
        let kernel = self.kernel(length);
        // A zero stands for what a row does not see.
        let zero = Tensor::zeros([channels, 1], (&kernel.device(), kernel.dtype()));
        let kernel = Tensor::cat(vec![kernel, zero], 1);
        let places: Vec<i64> = (0..length * length)
            .map(|place| {
                let (t, s) = (place / length, place % length);
                if s <= t { t - s } else { length }
            })
            .map(|place| place as i64)
            .collect();
        let places = TensorData::new(places, [length * length]);
        let places = Tensor::<1, Int>::from_data(places, &kernel.device());
        let matrices = kernel.select(1, places).reshape([channels, length, length]);
        let by_channel = u.clone().permute([2, 1, 0]);
        let y = matrices.matmul(by_channel).permute([2, 1, 0]);
        y + u * self.skip.val().reshape([1, 1, channels])
    }

    /// The whole layer, `[batch, length, D] -> [batch, length, outputs]`.
    pub fn forward(&self, u: Tensor<3>, context: &AdapterContext) -> Tensor<3> {
        let [batch, length, channels] = u.dims();
        let y = self.space(u).reshape([batch * length, channels]);
        let y = self.output.forward(y, context);
        let outputs = y.dims()[1];
        let y = y.clone().mask_fill(y.lower_elem(0.0), 0.0);
        y.reshape([batch, length, outputs])
    }
}
