//! The gates `s` of the activations `x · s(x)`.

use super::real::Real;

const ROOT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
const CUBIC: f64 = 0.044_715;
const INVERSE_ROOT_2_PI: f64 = 0.398_942_280_401_432_7;

/// The factor `s` of an activation `x · s(x)`.
pub trait Gate: Send + Sync + Copy {
    /// `s(x)`, and `x · s'(x)`.
    fn gate<T: Real, const FMA: bool>(x: T) -> (T, T);
}

/// That of the exact GELU.
#[derive(Clone, Copy)]
pub struct Erf;
/// That of the GELU by tanh.
#[derive(Clone, Copy)]
pub struct Tanh;
/// That of SiLU.
#[derive(Clone, Copy)]
pub struct Logistic;

/// Calls a kernel with the gate of an activation.
macro_rules! with_gate {
    ($kind:expr, |$gate:ident| $call:expr) => {
        match $kind {
            crate::Activation::Gelu(crate::GeluKind::Erf) => {
                let $gate = crate::backends::flex::gate::Erf;
                $call
            }
            crate::Activation::Gelu(crate::GeluKind::Tanh) => {
                let $gate = crate::backends::flex::gate::Tanh;
                $call
            }
            crate::Activation::Silu => {
                let $gate = crate::backends::flex::gate::Logistic;
                $call
            }
        }
    };
}

pub(super) use with_gate;

/// `1 / (1 + exp(−u))` and 1 less that, both accurate in their tails: written with `exp(−|u|)`,
/// nothing overflows.
#[inline(always)]
fn logistic<T: Real, const FMA: bool>(u: T) -> (T, T) {
    let w = (-u.magnitude()).exponential::<FMA>();
    let upper = T::ONE / (T::ONE + w);
    let lower = w * upper;
    if u > T::ZERO {
        (upper, lower)
    } else {
        (lower, upper)
    }
}

impl Gate for Erf {
    #[inline(always)]
    fn gate<T: Real, const FMA: bool>(x: T) -> (T, T) {
        let (tail, bell) = T::normal_tail::<FMA>(x.magnitude());
        let cdf = if x > T::ZERO { T::ONE - tail } else { tail };
        (cdf, x * bell * T::of(INVERSE_ROOT_2_PI))
    }
}

impl Gate for Tanh {
    #[inline(always)]
    fn gate<T: Real, const FMA: bool>(x: T) -> (T, T) {
        // (1 + tanh u) / 2 is the logistic function of 2u.
        let square = x * x;
        let u = x * square.fma::<FMA>(T::of(CUBIC * ROOT_2_OVER_PI), T::of(ROOT_2_OVER_PI));
        let (s, rest) = logistic::<T, FMA>(u * T::of(2.0));
        let du = square.fma::<FMA>(T::of(3.0 * CUBIC * ROOT_2_OVER_PI), T::of(ROOT_2_OVER_PI));
        (s, T::of(2.0) * x * s * rest * du)
    }
}

impl Gate for Logistic {
    #[inline(always)]
    fn gate<T: Real, const FMA: bool>(x: T) -> (T, T) {
        let (s, rest) = logistic::<T, FMA>(x);
        (s, x * s * rest)
    }
}
