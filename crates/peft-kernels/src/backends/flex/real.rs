//! Element types of the flex bodies, and their elementary functions.

use core::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

use burn::tensor::{DType, Element};
use bytemuck::Pod;
use peft_blocks::BlockType;

use super::matmul::{self, Vector};
use crate::{Applied, RowUpdate};

/// `f32` or `f64`.
pub trait Real:
    Pod
    + Element
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + Default
{
    /// The widest registers, AVX-512's.
    #[cfg(target_arch = "x86_64")]
    type Wide: Vector<Elem = Self>;
    /// AVX2's registers.
    #[cfg(target_arch = "x86_64")]
    type Middle: Vector<Elem = Self>;
    /// What every machine of the architecture has.
    type Narrow: Vector<Elem = Self>;

    /// Burn's name of the type.
    const TYPE: DType;
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// −∞.
    const LOWEST: Self;

    /// The side of an update that takes this type.
    fn applied(update: &RowUpdate) -> &dyn Applied<Self>;
    /// Rounds a constant.
    fn of(value: f64) -> Self;
    /// Widens or keeps.
    fn of_single(value: f32) -> Self;
    /// Decodes whole blocks, by way of `narrow` if they must be widened, which has room for as many.
    fn decode(kind: BlockType, bytes: &[u8], narrow: &mut [f32], to: &mut [Self]);
    /// Widens.
    fn wide(self) -> f64;
    /// Square root.
    fn root(self) -> Self;
    /// Natural logarithm.
    fn log(self) -> Self;
    /// Absolute value.
    fn magnitude(self) -> Self;
    /// `self · b + c`, fused where that is one instruction.
    fn fma<const FMA: bool>(self, b: Self, c: Self) -> Self;
    /// `exp(self)` for arguments up to 88; NaN gives NaN.
    fn exponential<const FMA: bool>(self) -> Self;
    /// Hyperbolic tangent; NaN gives NaN.
    fn hyperbolic_tangent<const FMA: bool>(self) -> Self;
    /// `ln(1 + exp(self))` and its slope, the logistic function; NaN gives NaN.
    fn soft_plus<const FMA: bool>(self) -> (Self, Self);
    /// For `a ≥ 0`: the normal distribution's upper tail `1 − Φ(a)`, and `exp(−a²/2)`.
    fn normal_tail<const FMA: bool>(a: Self) -> (Self, Self);
}

impl Real for f32 {
    #[cfg(target_arch = "x86_64")]
    type Wide = matmul::F32x16;
    #[cfg(target_arch = "x86_64")]
    type Middle = matmul::F32x8;
    type Narrow = matmul::Four<Self>;

    const TYPE: DType = DType::F32;
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const LOWEST: Self = f32::NEG_INFINITY;

    fn applied(update: &RowUpdate) -> &dyn Applied<Self> {
        &**update
    }

    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }
    #[inline(always)]
    fn of_single(value: f32) -> Self {
        value
    }
    #[inline(always)]
    fn decode(kind: BlockType, bytes: &[u8], _: &mut [f32], to: &mut [Self]) {
        kind.decode_inline(bytes, to);
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn log(self) -> Self {
        self.ln()
    }
    #[inline(always)]
    fn magnitude(self) -> Self {
        self.abs()
    }
    #[inline(always)]
    fn fma<const FMA: bool>(self, b: Self, c: Self) -> Self {
        if FMA {
            self.mul_add(b, c)
        } else {
            self * b + c
        }
    }

    /// Relative error below 2⁻²²; 0 below −87, where the true value is under 1.7e-38.
    #[inline(always)]
    fn exponential<const FMA: bool>(self) -> Self {
        // Adding 1.5 · 2²³ rounds to an integer and leaves it in the low bits.
        const MAGIC: f32 = 12_582_912.0;
        // ln 2 in two parts, the first short enough that n · LN2_HIGH is exact.
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        // Comparisons and not `max`, for `max` would turn NaN into the bound.
        let x = if self < -87.0 { -87.0 } else { self };
        let x = if x > 88.0 { 88.0 } else { x };
        let shifted = x.fma::<FMA>(core::f32::consts::LOG2_E, MAGIC);
        let n = shifted - MAGIC;
        let r = n.fma::<FMA>(-LN2_HIGH, x);
        let r = n.fma::<FMA>(-LN2_LOW, r);
        // Minimax polynomial of (exp r − 1 − r) / r² on |r| ≤ ln 2 / 2 (Cephes).
        let p = 1.987_569_1e-4_f32;
        let p = p.fma::<FMA>(r, 1.398_199_9e-3);
        let p = p.fma::<FMA>(r, 8.333_452e-3);
        let p = p.fma::<FMA>(r, 4.166_579_6e-2);
        let p = p.fma::<FMA>(r, 1.666_666_5e-1);
        let p = p.fma::<FMA>(r, 0.5);
        let p = (p * r).fma::<FMA>(r, r) + 1.0;
        let exponent = shifted
            .to_bits()
            .wrapping_sub(MAGIC.to_bits())
            .wrapping_add(127);
        let y = p * f32::from_bits(exponent << 23);
        if self < -87.0 { 0.0 } else { y }
    }

    /// Relative error below 2⁻²¹: an odd polynomial (Cephes) where the form by `exp` would cancel.
    #[inline(always)]
    fn hyperbolic_tangent<const FMA: bool>(self) -> Self {
        let a = self.abs();
        let z = self * self;
        let p = -5.704_988_7e-3_f32;
        let p = p.fma::<FMA>(z, 2.063_909e-2);
        let p = p.fma::<FMA>(z, -5.373_971_6e-2);
        let p = p.fma::<FMA>(z, 1.333_144_2e-1);
        let p = p.fma::<FMA>(z, -3.333_328e-1);
        let near = (p * z).fma::<FMA>(self, self);
        let e = (a * -2.0).exponential::<FMA>();
        let far = ((1.0 - e) / (1.0 + e)).copysign(self);
        if a < 0.625 { near } else { far }
    }

    /// Relative error below 2⁻²⁰: with `e = exp(−|x|)`, `ln(1 + e) = 2 artanh(e / (2 + e))` by its series, of
    /// which the argument is at most 1/3.
    #[inline(always)]
    fn soft_plus<const FMA: bool>(self) -> (Self, Self) {
        let e = (-self.abs()).exponential::<FMA>();
        let s = e / (2.0 + e);
        let z = s * s;
        let p = 1.0 / 15.0_f32;
        let p = p.fma::<FMA>(z, 1.0 / 13.0);
        let p = p.fma::<FMA>(z, 1.0 / 11.0);
        let p = p.fma::<FMA>(z, 1.0 / 9.0);
        let p = p.fma::<FMA>(z, 1.0 / 7.0);
        let p = p.fma::<FMA>(z, 0.2);
        let p = p.fma::<FMA>(z, 1.0 / 3.0);
        let log = 2.0 * (p * z).fma::<FMA>(s, s);
        let upper = 1.0 / (1.0 + e);
        if self > 0.0 {
            (self + log, upper)
        } else {
            (log, e * upper)
        }
    }

    /// `erfc(z) = exp(−z²) · t · P(t)` with `t = 1 / (1 + 0.4 z)`, `z = a/√2`.
    ///
    /// `P` is a minimax fit of this project: relative error 6.6e-8 up to z = 10.5, where `f32` has
    /// long underflowed. The tail keeps its relative accuracy, which `1 + erf` would lose to
    /// cancellation.
    #[inline(always)]
    fn normal_tail<const FMA: bool>(a: Self) -> (Self, Self) {
        let bell = (a * a * -0.5).exponential::<FMA>();
        let t = 1.0 / a.fma::<FMA>(0.4 * core::f32::consts::FRAC_1_SQRT_2, 1.0);
        let p = 0.042_118_482_f32;
        let p = p.fma::<FMA>(t, -0.144_551_29);
        let p = p.fma::<FMA>(t, 0.092_782_62);
        let p = p.fma::<FMA>(t, 0.077_845_22);
        let p = p.fma::<FMA>(t, 0.086_785_4);
        let p = p.fma::<FMA>(t, 0.190_383_67);
        let p = p.fma::<FMA>(t, 0.202_661_02);
        let p = p.fma::<FMA>(t, 0.226_334_32);
        let p = p.fma::<FMA>(t, 0.225_640_63);
        (0.5 * bell * (t * p), bell)
    }
}

/// The functions of `f64` are those of the libraries: this type serves checks, not speed.
impl Real for f64 {
    #[cfg(target_arch = "x86_64")]
    type Wide = matmul::F64x8;
    #[cfg(target_arch = "x86_64")]
    type Middle = matmul::F64x4;
    type Narrow = matmul::Four<Self>;

    const TYPE: DType = DType::F64;
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const LOWEST: Self = f64::NEG_INFINITY;

    fn applied(update: &RowUpdate) -> &dyn Applied<Self> {
        &**update
    }

    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn of_single(value: f32) -> Self {
        f64::from(value)
    }
    #[inline(always)]
    fn decode(kind: BlockType, bytes: &[u8], narrow: &mut [f32], to: &mut [Self]) {
        let narrow = &mut narrow[..to.len()];
        kind.decode_inline(bytes, narrow);
        for (wide, &value) in to.iter_mut().zip(&*narrow) {
            *wide = value.into();
        }
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn log(self) -> Self {
        self.ln()
    }
    #[inline(always)]
    fn magnitude(self) -> Self {
        self.abs()
    }
    #[inline(always)]
    fn fma<const FMA: bool>(self, b: Self, c: Self) -> Self {
        if FMA {
            self.mul_add(b, c)
        } else {
            self * b + c
        }
    }
    #[inline(always)]
    fn exponential<const FMA: bool>(self) -> Self {
        libm::exp(self)
    }
    #[inline(always)]
    fn hyperbolic_tangent<const FMA: bool>(self) -> Self {
        libm::tanh(self)
    }
    #[inline(always)]
    fn soft_plus<const FMA: bool>(self) -> (Self, Self) {
        let e = libm::exp(-self.abs());
        let log = libm::log1p(e);
        if self > 0.0 {
            (self + log, 1.0 / (1.0 + e))
        } else {
            (log, e / (1.0 + e))
        }
    }
    #[inline(always)]
    fn normal_tail<const FMA: bool>(a: Self) -> (Self, Self) {
        let tail = 0.5 * libm::erfc(a * core::f64::consts::FRAC_1_SQRT_2);
        (tail, libm::exp(-0.5 * a * a))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(from: f64, to: f64) -> impl Iterator<Item = f32> {
        (0..=200_000).map(move |i| (from + (to - from) * f64::from(i) / 200_000.0) as f32)
    }

    #[test]
    fn exponential_is_close_to_the_library_and_keeps_nan() {
        for x in sweep(-86.9, 87.9) {
            let want = f64::from(x).exp();
            for got in [x.exponential::<true>(), x.exponential::<false>()] {
                assert!(
                    (f64::from(got) / want - 1.0).abs() < 2.4e-7,
                    "exp({x}) = {got}, not {want}"
                );
            }
        }
        assert_eq!((-200.0_f32).exponential::<true>(), 0.0);
        assert_eq!(f32::NEG_INFINITY.exponential::<true>(), 0.0);
        assert_eq!(0.0_f32.exponential::<true>(), 1.0);
        assert!(f32::NAN.exponential::<true>().is_nan());
    }

    #[test]
    fn tangent_is_close_to_the_library_and_keeps_nan() {
        for x in sweep(-12.0, 12.0).chain([1e-30, -1e-30, 100.0, -1e30]) {
            let want = f64::from(x).tanh();
            for got in [
                x.hyperbolic_tangent::<true>(),
                x.hyperbolic_tangent::<false>(),
            ] {
                assert!(
                    (f64::from(got) - want).abs() <= 4.8e-7 * want.abs(),
                    "tanh({x}) = {got}, not {want}"
                );
            }
        }
        assert!(f32::NAN.hyperbolic_tangent::<true>().is_nan());
    }

    #[test]
    fn soft_plus_is_close_to_the_library_and_keeps_nan() {
        for x in sweep(-60.0, 60.0).chain([0.0, 1e30]) {
            let wide = f64::from(x);
            let want = wide.max(0.0) + (-wide.abs()).exp().ln_1p();
            let slope = 1.0 / (1.0 + (-wide).exp());
            for (got, got_slope) in [x.soft_plus::<true>(), x.soft_plus::<false>()] {
                assert!(
                    (f64::from(got) - want).abs() <= 9.6e-7 * want
                        && (f64::from(got_slope) - slope).abs() <= 9.6e-7 * slope,
                    "softplus({x}) = {got}, slope {got_slope}, not {want}, {slope}"
                );
            }
        }
        assert!(f32::NAN.soft_plus::<true>().0.is_nan());
    }

    #[test]
    fn tail_is_close_to_erfc() {
        for a in sweep(0.0, 12.0) {
            let want = 0.5 * libm::erfc(f64::from(a) / core::f64::consts::SQRT_2);
            let (tail, _) = f32::normal_tail::<true>(a);
            // erf = 1 − 2 tail: the bound on erf is 1e-6, and relatively the tail loses a² / 2
            // rounding errors.
            assert!(
                (f64::from(tail) - want).abs() < 2e-7,
                "tail({a}) = {tail}, not {want}"
            );
            let bound = 1e-6 + 1.2e-7 * f64::from(a * a);
            assert!(
                (f64::from(tail) - want).abs() < bound * want,
                "tail({a}) = {tail}, not {want}"
            );
        }
        assert!(f32::normal_tail::<true>(f32::NAN).0.is_nan());
    }
}
