//! Gaussian processes with one length scale a parameter, fitted by maximum a posteriori or, with the feature `nuts`,
//! averaged over draws of the hyper-parameters.
//!
//! Model: `y = c + f(x) + ε`, `f ~ GP(0, k)`, `ε ~ N(0, σ²)`, on outputs of mean 0 and variance 1. The kernel is
//! Matérn-5/2, `k(x, x') = s² (1 + √5 r + 5r²/3) exp(−√5 r)` with `r² = Σ_i ρ_i (x_i − x'_i)²` and `ρ_i = 1/ℓ_i²`.

mod ensemble;
mod factor;
mod fit;
mod kernel;
mod minimise;
#[cfg(feature = "nuts")]
mod nuts;
mod posterior;
mod prior;
mod target;

pub use ensemble::Ensemble;
pub use factor::Factor;
pub use fit::{FitSettings, fit};
pub use kernel::{Kernel, Rows};
pub use minimise::{Minimum, minimise};
#[cfg(feature = "nuts")]
pub use nuts::{Draws, NutsSettings, SaasDensity};
pub use posterior::{Gp, Posterior};
pub use prior::{Prior, SAAS_SHRINKAGES};
pub use target::{Target, Theta};

#[cfg(test)]
mod tests;
