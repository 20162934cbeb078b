//! The factors of LoRA outside of PEFT's files.

/// The two factors of an update `W + scale B A`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraPair {
    /// The rank.
    pub rank: usize,
    /// `A`, `[rank, in]`, row-major.
    pub a: Vec<f32>,
    /// `B`, `[out, rank]`, row-major.
    pub b: Vec<f32>,
    /// What the product is multiplied with, `alpha / rank` of the pair.
    pub scale: f32,
}

impl LoraPair {
    /// Columns of `A` and rows of `B`; `None` unless both are whole and not empty.
    pub(crate) fn sizes(&self) -> Option<(usize, usize)> {
        let sizes = (
            self.a.len().checked_div(self.rank)?,
            self.b.len().checked_div(self.rank)?,
        );
        let whole = sizes.0 * self.rank == self.a.len() && sizes.1 * self.rank == self.b.len();
        (whole && sizes.0 > 0 && sizes.1 > 0).then_some(sizes)
    }

    /// `alpha` of the pair, `scale rank`: in `f64`, so that the usual whole numbers come out whole.
    pub(crate) fn alpha(&self) -> f32 {
        (f64::from(self.scale) * self.rank as f64) as f32
    }

    /// `B` times a factor, for a file that multiplies the product with another scale.
    pub(crate) fn b_times(&self, factor: f32) -> Vec<f32> {
        self.b.iter().map(|value| value * factor).collect()
    }
}
