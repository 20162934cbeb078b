use super::wavelet_tables::TABLES;
use crate::SpectralError;

/// An orthogonal wavelet, by the taps of its low-pass synthesis filter.
///
/// The tables are PyWavelets', as Hugging Face PEFT ships them: `db1` (Haar) to `db10`, `sym2` to
/// `sym10`, `coif1` to `coif4`. PEFT's configuration accepts longer ones (`db38`, `coif17`), but its
/// layers have no taps for them either and fail when they are used; its `coif5` has 48 taps instead
/// of 30, and its updates come out too small to be cropped.
///
/// PEFT's `coif4` is off by 2 % from an orthogonal wavelet (checked: `Σ hᵢ² ≠ 1`). It is kept as it
/// is, because checkpoints mean it; for new adapters take another one. The others are orthogonal to
/// 5e-12 or better.
#[derive(Clone, Copy, PartialEq)]
pub struct Wavelet {
    name: &'static str,
    low: &'static [f64],
}

impl Wavelet {
    /// The wavelet of a name such as `db1`; `haar` is `db1`.
    ///
    /// # Errors
    /// If there is no table of that name.
    pub fn named(name: &str) -> Result<Self, SpectralError> {
        let lower = name.to_ascii_lowercase();
        let wanted = if lower == "haar" { "db1" } else { &lower };
        TABLES
            .iter()
            .find(|(known, _)| *known == wanted)
            .map(|&(name, low)| Self { name, low })
            .ok_or_else(|| SpectralError::Wavelet(name.to_owned()))
    }

    /// The names that [`named`](Self::named) knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TABLES.iter().map(|&(name, _)| name)
    }

    /// The name in PyWavelets and in settings, such as `db1`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Taps of the filter, an even number.
    #[must_use]
    pub fn taps(self) -> usize {
        self.low.len()
    }

    /// Tap `i` of the smooth (`false`) or detail (`true`) synthesis filter:
    /// `high[i] = (−1)ⁱ low[L−1−i]`.
    #[inline(always)]
    pub(crate) fn tap(self, detail: bool, i: usize) -> f64 {
        match (detail, i % 2) {
            (false, _) => self.low[i],
            (true, 0) => self.low[self.low.len() - 1 - i],
            (true, _) => -self.low[self.low.len() - 1 - i],
        }
    }
}

impl std::fmt::Debug for Wavelet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
