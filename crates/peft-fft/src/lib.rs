#![warn(missing_docs)]
//! Plans of real FFTs for `f32` and `f64`: of single lines ([`RealFft`]), and of sixteen lines side by side
//! ([`LaneFft`]).
//!
//! A crate of its own because these few lines are where RustFFT's code for both types is compiled, which
//! takes longer than the rest of the workspace's own code together: here that happens once, and not again
//! in every crate and test that names an FFT.

mod lanes;

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

pub use lanes::{Bin, LANES, LaneFft, LaneWork, Lanes};
pub use realfft::{self, num_complex, num_traits};
use realfft::{ComplexToReal, FftNum, RealFftPlanner, RealToComplex};

/// The transform of real lines of one length, both ways, without normalisation.
pub struct RealFft<T> {
    /// `n` real values to their first `⌊n/2⌋ + 1` bins.
    pub forward: Arc<dyn RealToComplex<T>>,
    /// The bins back to `n` real values, times `n`.
    pub inverse: Arc<dyn ComplexToReal<T>>,
}

/// The types that have plans.
pub trait Planned: FftNum {
    /// The plan of a length; plans are shared by all who ask.
    fn real_fft(len: usize) -> RealFft<Self>;

    /// [`LaneFft::analyse`], compiled in this crate.
    #[doc(hidden)]
    fn analyse(work: lanes::Forward<'_, Self>);

    /// [`LaneFft::synthesise`], compiled in this crate.
    #[doc(hidden)]
    fn synthesise(work: lanes::Inverse<'_, Self>);
}

macro_rules! planned {
    ($type:ty) => {
        impl Planned for $type {
            fn real_fft(len: usize) -> RealFft<Self> {
                static PLANNER: LazyLock<Mutex<RealFftPlanner<$type>>> =
                    LazyLock::new(|| Mutex::new(RealFftPlanner::new()));
                // A panic while planning leaves the planner's cache as it was: it is safe to go on with.
                let mut planner = PLANNER.lock().unwrap_or_else(PoisonError::into_inner);
                RealFft {
                    forward: planner.plan_fft_forward(len),
                    inverse: planner.plan_fft_inverse(len),
                }
            }

            fn analyse(work: lanes::Forward<'_, Self>) {
                peft_simd::dispatch(work);
            }

            fn synthesise(work: lanes::Inverse<'_, Self>) {
                peft_simd::dispatch(work);
            }
        }
    };
}

planned!(f32);
planned!(f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_undoes_forward_times_the_length() {
        for len in [1, 2, 3, 7, 16, 45, 97] {
            let plan = f64::real_fft(len);
            let line: Vec<f64> = (0..len).map(|i| (i * i % 11) as f64 - 3.0).collect();
            let mut values = line.clone();
            let mut bins = plan.forward.make_output_vec();
            plan.forward.process(&mut values, &mut bins).unwrap();
            assert!((bins[0].re - line.iter().sum::<f64>()).abs() < 1e-12);
            plan.inverse.process(&mut bins, &mut values).unwrap();
            for (value, before) in values.iter().zip(&line) {
                assert!((value / len as f64 - before).abs() < 1e-13, "{len}");
            }
        }
    }
}
