use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_core::{
    AdapterContext,
    kernels::{RowLayout, SelectiveScan, selective_scan},
    nn::{Linear, parameter},
};

/// An S6 layer of theory ([2410.09016](https://arxiv.org/abs/2410.09016)): the selective scan of Mamba without its
/// convolution and gate.
///
/// ```text
/// [δ; B; C] = x_proj u        Δ = softplus(dt_proj δ)        h_t = exp(Δ_t A) h_{t−1} + Δ_t u_t B_t
/// y_t = relu(out_proj(h_t C_t)) + skip ∘ u_t
/// ```
#[derive(Module, Debug)]
pub struct S6Layer {
    /// Low-rank steps, `B` and `C`, `[D, R + 2 · N]`.
    pub x_proj: Linear,
    /// Steps of all channels, `[R, D]`.
    pub dt_proj: Linear,
    /// `ln(−A)`, `[D, N]`.
    pub a_log: Param<Tensor<2>>,
    /// `[D]`
    pub skip: Param<Tensor<1>>,
    /// Mixes the channels, `[D, D]`.
    pub out_proj: Linear,
}

impl S6Layer {
    /// What the states give before the channels are mixed, `[rows, D] -> [rows, D]`, of the sequences of a layout.
    pub fn space(&self, u: Tensor<2>, rows: &RowLayout, context: &AdapterContext) -> Tensor<2> {
        let a_log = parameter(&self.a_log, context);
        let [channels, states] = a_log.dims();
        let chosen = self.x_proj.forward(u.clone(), context);
        let rank = chosen.dims()[1] - 2 * states;
        let part = |from: usize, width: usize| chosen.clone().narrow(1, from, width);
        let none = Tensor::zeros([channels], (&u.device(), u.dtype()));
        let scan = SelectiveScan {
            u,
            delta: self.dt_proj.forward(part(0, rank), context),
            a_log,
            b: part(rank, states),
            c: part(rank + states, states),
            skip: none,
            gate: None,
            delta_bias: None,
            initial: None,
        };
        selective_scan(scan, rows).0
    }

    /// The whole layer, `[rows, D] -> [rows, D]`, of the sequences of a layout.
    pub fn forward(&self, u: Tensor<2>, rows: &RowLayout, context: &AdapterContext) -> Tensor<2> {
        let y = self.space(u.clone(), rows, context);
        let y = self.out_proj.forward(y, context);
        let y = y.clone().mask_fill(y.lower_elem(0.0), 0.0);
        y + u * parameter(&self.skip, context).unsqueeze::<2>()
    }
}
