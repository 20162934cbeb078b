use std::ops::Range;

use super::Wavelet;
use crate::Real;

/// One level of a wavelet along an axis of `n` features, `K` smooth and `K` detail rows.
///
/// Row `k` of either kind is `j ↦ filter[j + L − 2 − 2k]`: the transposed convolution of stride 2
/// with both ends cut by `L − 2`, as PEFT's `waverec2d` computes it.
#[derive(Debug, Clone)]
pub(crate) struct Filter<T> {
    low: Vec<T>,
    high: Vec<T>,
}

impl<T: Real> Filter<T> {
    pub(crate) fn new(wavelet: Wavelet) -> Self {
        let taps = |detail| {
            (0..wavelet.taps())
                .map(|i| T::of(wavelet.tap(detail, i)))
                .collect()
        };
        Self {
            low: taps(false),
            high: taps(true),
        }
    }

    /// The part of row `k` inside an axis of `n`: its features and its taps, equally many.
    fn window(&self, k: usize, n: usize) -> (Range<usize>, Range<usize>) {
        let taps = self.low.len();
        let start = (2 * k + 2).saturating_sub(taps);
        let first_tap = (taps - 2).saturating_sub(2 * k);
        let count = (taps - first_tap).min(n.saturating_sub(start));
        (start..start + count, first_tap..first_tap + count)
    }

    pub(crate) fn analyse(&self, x: &[T], out: &mut [T]) {
        let half = out.len() / 2;
        let (smooth, detail) = out.split_at_mut(half);
        for (k, (smooth, detail)) in smooth.iter_mut().zip(detail).enumerate() {
            let (features, taps) = self.window(k, x.len());
            let (mut low, mut high) = (T::zero(), T::zero());
            let pairs = self.low[taps.clone()].iter().zip(&self.high[taps]);
            for (&value, (&l, &h)) in x[features].iter().zip(pairs) {
                low += value * l;
                high += value * h;
            }
            (*smooth, *detail) = (low, high);
        }
    }

    pub(crate) fn synthesise(&self, z: &[T], out: &mut [T]) {
        out.fill(T::zero());
        let (smooth, detail) = z.split_at(z.len() / 2);
        for (k, (&low, &high)) in smooth.iter().zip(detail).enumerate() {
            let (features, taps) = self.window(k, out.len());
            let pairs = self.low[taps.clone()].iter().zip(&self.high[taps]);
            for (value, (&l, &h)) in out[features].iter_mut().zip(pairs) {
                *value += low * l + high * h;
            }
        }
    }
}
