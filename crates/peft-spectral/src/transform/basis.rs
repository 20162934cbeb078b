use super::Wavelet;

/// A fixed basis of one axis of a weight.
///
/// With `n` features, `0 ≤ j < n`:
///
/// | basis | row `k` | rows |
/// |---|---|---|
/// | `Dct` | `s_k cos(πk(2j+1)/2n)`, `s₀ = √(1/n)`, else `√(2/n)`: the orthonormal DCT-II | `n` |
/// | `Hartley` | `cas(2πkj/n)/√n`, `cas = cos + sin` | `n` |
/// | `Fourier` | `cos(2πkj/n)/√n` for `k < n`, then `sin(2π(k−n)j/n)/√n` | `2n` |
/// | `Wavelet` | one level of an orthogonal wavelet, smooth rows first, then detail rows | see below |
/// | `Identity` | `δ_kj` | `n` |
///
/// The first two and the last are orthonormal bases; `Fourier` and `Wavelet` are tight frames
/// (`Bᵀ B = I` with more rows than columns; `coif4` alone is not, see [`Wavelet`]).
///
/// `Fourier` is the real form of the unitary DFT: a real coefficient at frequency `(u, v)` is
/// `a · cos(2π(up/M + vq/N))/√(MN) = a (c_u ⊗ c_v − s_u ⊗ s_v)`, one cosine and one sine entry that
/// share `a` (FourierFT, Gao et al. 2024, arXiv 2405.03003, Eq. 3).
///
/// `Wavelet` is the synthesis of Hugging Face's WaveFT (arXiv 2505.12532): `k` even-spaced
/// translates, every one of which overlaps the axis; a filter of `L` taps has
/// `n + L − 2 (+1 to be even)` rows, and those at the two ends are cut by the border.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Basis {
    /// Orthonormal DCT-II: sDCTFT, LoCA.
    Dct,
    /// Discrete Hartley transform: SSH.
    Hartley,
    /// Cosine and sine rows of the unitary DFT: FourierFT.
    Fourier,
    /// One level of an orthogonal wavelet: WaveFT.
    Wavelet(Wavelet),
    /// The entries themselves: WaveFT without its transform.
    Identity,
}

impl Basis {
    /// Frequencies along an axis of `features`: the side of the grid that supports index.
    #[must_use]
    pub fn frequencies(self, features: usize) -> usize {
        match self {
            Self::Wavelet(wavelet) => (features + wavelet.taps() - 2).next_multiple_of(2),
            Self::Dct | Self::Hartley | Self::Fourier | Self::Identity => features,
        }
    }

    /// Real rows that stand for one frequency: 2 for `Fourier` (cosine, sine), else 1.
    #[must_use]
    pub fn parts(self) -> usize {
        match self {
            Self::Fourier => 2,
            Self::Dct | Self::Hartley | Self::Wavelet(_) | Self::Identity => 1,
        }
    }

    /// Rows of the basis of an axis of `features`: [`parts`](Self::parts) times
    /// [`frequencies`](Self::frequencies).
    #[must_use]
    pub fn width(self, features: usize) -> usize {
        self.parts() * self.frequencies(features)
    }

    /// Operations of one analysis or synthesis of `features` values, as the usual count: half of
    /// a complex FFT's `5 n log₂ n` and a pass over the result, or two per filter tap.
    #[must_use]
    pub fn transform_flops(self, features: usize) -> f64 {
        let n = features as f64;
        match self {
            Self::Dct | Self::Hartley | Self::Fourier => n * (2.5 * n.log2().max(1.0) + 4.0),
            Self::Wavelet(wavelet) => 2.0 * n * wavelet.taps() as f64,
            Self::Identity => n,
        }
    }
}
