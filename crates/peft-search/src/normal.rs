//! The normal distribution, as expected improvements need it: far into its tails, and in logarithms.

use std::f64::consts::{FRAC_1_SQRT_2, PI, SQRT_2};

/// `½ ln 2π`.
pub const HALF_LN_TWO_PI: f64 = 0.918_938_533_204_672_7;

/// Density of the standard normal, `φ(z) = exp(−z²/2)/√(2π)`.
pub fn density(z: f64) -> f64 {
    (-0.5 * z * z - HALF_LN_TWO_PI).exp()
}

/// Distribution function of the standard normal, `Φ(z) = ½ erfc(−z/√2)`, to full relative precision in both tails.
pub fn distribution(z: f64) -> f64 {
    0.5 * erfc(-z * FRAC_1_SQRT_2)
}

/// The inverse of [`distribution`] on `(0, 1)`; −∞ at 0 and +∞ at 1, NaN outside.
///
/// Acklam's rational approximation and one step of Halley's method, which leaves rounding errors only.
pub fn quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.383_577_518_672_69e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 6] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 5] = [
        7.784695709041462e-3,
        3.224671290700398e-1,
        2.445134137142996,
        3.754408661907416,
        1.0,
    ];
    if !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    if p == 0.0 || p == 1.0 {
        return if p == 0.0 {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        };
    }
    if p > 0.5 {
        // The upper half by symmetry, so that both halves are equally exact; 1 − p is exact there.
        return -quantile(1.0 - p);
    }
    let z = if p < 0.02425 {
        let q = (-2.0 * p.ln()).sqrt();
        horner(&C, q) / horner(&D, q)
    } else {
        let q = p - 0.5;
        q * horner(&A, q * q) / horner(&B, q * q)
    };
    let error = distribution(z) - p;
    let step = error / density(z);
    z - step / (1.0 + 0.5 * z * step)
}

/// `erfc(x) = 1 − erf(x)`.
pub fn erfc(x: f64) -> f64 {
    if x > -0.46875 && x < 0.46875 {
        return 1.0 - erf_small(x);
    }
    // exp(−x²) with x² in two parts: its rounding error would grow with x².
    let y = x.abs();
    let cut = (y * 16.0).trunc() / 16.0;
    let rest = (y - cut) * (y + cut);
    let upper = (-cut * cut).exp() * (-rest).exp() * erfcx_positive(y);
    if x < 0.0 { 2.0 - upper } else { upper }
}

/// The scaled complementary error function `erfcx(x) = exp(x²) erfc(x)`.
///
/// Cody's rational approximations (W. J. Cody, "Rational Chebyshev approximations for the error function",
/// Mathematics of Computation 23, 1969). +∞ below about −26.6, where it leaves the range of `f64`.
pub fn erfcx(x: f64) -> f64 {
    if x > -0.46875 && x < 0.46875 {
        (x * x).exp() * (1.0 - erf_small(x))
    } else if x < 0.0 {
        2.0 * (x * x).exp() - erfcx_positive(-x)
    } else {
        erfcx_positive(x)
    }
}

fn horner(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().fold(0.0, |sum, c| sum * x + c)
}

/// `erf(x)` for |x| ≤ 0.46875.
fn erf_small(x: f64) -> f64 {
    const A: [f64; 5] = [
        1.857_777_061_846_031_5e-1,
        3.161_123_743_870_565_5,
        1.138_641_541_510_501_6e2,
        3.774_852_376_853_02e2,
        3.209_377_589_138_469_4e3,
    ];
    const B: [f64; 5] = [
        1.0,
        2.360_129_095_234_412_2e1,
        2.440_246_379_344_441_7e2,
        1.282_616_526_077_372_3e3,
        2.844_236_833_439_171e3,
    ];
    x * horner(&A, x * x) / horner(&B, x * x)
}

/// `erfcx(y)` for y ≥ 0.46875.
fn erfcx_positive(y: f64) -> f64 {
    const C: [f64; 9] = [
        2.153_115_354_744_038_3e-8,
        5.641_884_969_886_701e-1,
        8.883_149_794_388_377,
        6.611_919_063_714_163e1,
        2.986_351_381_974_001e2,
        8.819_522_212_417_69e2,
        1.712_047_612_634_070_7e3,
        2.051_078_377_826_071_6e3,
        1.230_339_354_797_997_2e3,
    ];
    const D: [f64; 9] = [
        1.0,
        1.574_492_611_070_983_5e1,
        1.176_939_508_913_125e2,
        5.371_811_018_620_099e2,
        1.621_389_574_566_690_3e3,
        3.290_799_235_733_459_7e3,
        4.362_619_090_143_247e3,
        3.439_367_674_143_721_6e3,
        1.230_339_354_803_749_5e3,
    ];
    const P: [f64; 6] = [
        1.631_538_713_730_209_7e-2,
        3.053_266_349_612_323_6e-1,
        3.603_448_999_498_044_5e-1,
        1.257_817_261_112_292_6e-1,
        1.608_378_514_874_227_5e-2,
        6.587_491_615_298_378e-4,
    ];
    const Q: [f64; 6] = [
        1.0,
        2.568_520_192_289_822,
        1.872_952_849_923_467_3,
        5.279_051_029_514_285e-1,
        6.051_834_131_244_132e-2,
        2.335_204_976_268_691_8e-3,
    ];
    if y <= 4.0 {
        horner(&C, y) / horner(&D, y)
    } else {
        let inverse = 1.0 / (y * y);
        (1.0 / PI.sqrt() - inverse * horner(&P, inverse) / horner(&Q, inverse)) / y
    }
}

/// `h₁(t) = E[max(t + Z, 0)] = φ(t) + t Φ(t)` of a standard normal `Z`: the expected improvement in units of the
/// standard deviation, down to where `f64` underflows (t ≈ −38).
pub fn expected_excess(t: f64) -> f64 {
    if t > -1.0 {
        density(t) + t * distribution(t)
    } else {
        density(t) * excess_factor(t)
    }
}

/// `1 + t √(π/2) erfcx(−t/√2)`, `h₁(t)/φ(t)` for negative `t`.
fn excess_factor(t: f64) -> f64 {
    // The difference cancels like 1/t²; beyond 200 four terms of the asymptotic series are the more exact.
    if t < -200.0 {
        let s = 1.0 / (t * t);
        s * (1.0 - s * (3.0 - s * (15.0 - 105.0 * s)))
    } else {
        1.0 + t * (PI / 2.0).sqrt() * erfcx(-t / SQRT_2)
    }
}

/// `ln h₁(t)` of [`expected_excess`], finite down to `t = −10¹⁵⁰` (Ament et al., "Unexpected improvements to
/// expected improvement", arXiv 2310.20708).
pub fn ln_expected_excess(t: f64) -> f64 {
    if t > -1.0 {
        expected_excess(t).ln()
    } else {
        -0.5 * t * t - HALF_LN_TWO_PI + excess_factor(t).ln()
    }
}

/// `ln Σ exp(values)`; −∞ of nothing.
pub fn ln_sum_exp(values: &[f64]) -> f64 {
    let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        return top;
    }
    top + values.iter().map(|v| (v - top).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close_to(value: f64, expected: f64, tolerance: f64) {
        assert!(
            (value / expected - 1.0).abs() < tolerance,
            "{value} {expected}"
        );
    }

    fn close(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 2e-14, "{value} {expected}");
    }

    /// Values of mpmath with 30 digits.
    #[test]
    fn values_of_reference() {
        close(erfcx(0.3), 0.734_599_334_567_655_1);
        close(erfcx(1.0), 0.427_583_576_155_807);
        close(erfcx(3.5), 0.155_293_655_608_894_3);
        close(erfcx(5.0), 0.110_704_637_733_068_63);
        close(erfcx(12.0), 0.046_854_221_014_893_76);
        close(erfcx(-2.0), 108.940_904_389_977_97);
        close(erfcx(-0.7), 2.738702102561317);
        close_to(distribution(-30.0), 4.906_713_927_148_187e-198, 1e-12);
        close_to(distribution(-8.0), 6.220_960_574_271_784e-16, 1e-12);
        close(distribution(-1.5), 0.066_807_201_268_858_07);
        close(distribution(0.5), 0.691_462_461_274_013_1);
        close(distribution(3.0), 0.998_650_101_968_369_9);
        close_to(expected_excess(-35.0), 3.208_804_482_602_477e-270, 1e-12);
        close(ln_expected_excess(-35.0), -620.532_076_675_948);
        close_to(expected_excess(-29.0), 1.131_726_850_613_585_8e-186, 1e-12);
        close(ln_expected_excess(-29.0), -428.157_082_644_273_1);
        close_to(expected_excess(-10.0), 7.474_560_254_589_328e-25, 1e-12);
        close(ln_expected_excess(-10.0), -55.553_122_036_122_35);
        close_to(expected_excess(-2.0), 0.008_490_702_616_829_637, 1e-12);
        close(ln_expected_excess(-2.0), -4.768_783_523_917_114);
        close_to(expected_excess(-0.5), 0.19779655740130603, 1e-12);
        close(ln_expected_excess(-0.5), -1.620_516_264_387_319_9);
        close_to(expected_excess(1.0), 1.0833154705876863, 1e-12);
        close(ln_expected_excess(1.0), 0.08002621884930694);
    }

    #[test]
    fn quantile_inverts_the_distribution() {
        for p in [1e-300, 1e-20, 1e-4, 0.02, 0.1, 0.3, 0.5, 0.75, 0.999] {
            // The argument is rounded: an error of its size times its square.
            close_to(distribution(quantile(p)), p, 1e-12);
        }
        assert!((quantile(0.9999) - 3.719_016_485_455_709).abs() < 1e-12);
        assert!(quantile(1.5).is_nan() && quantile(1.0) == f64::INFINITY);
    }

    #[test]
    fn logarithm_agrees_and_goes_on() {
        let mut last = f64::INFINITY;
        for step in 0..4000 {
            let t = 5.0 - 0.01 * f64::from(step);
            let ln = ln_expected_excess(t);
            assert!(ln < last, "{t}");
            assert!(
                (expected_excess(t).ln() - ln).abs() < 1e-12 * ln.abs().max(1.0),
                "{t}"
            );
            last = ln;
        }
        for t in [-1e2, -1e3, -1e6, -1e150] {
            let ln = ln_expected_excess(t);
            let expected = -0.5 * t * t - HALF_LN_TWO_PI - 2.0 * (-t).ln();
            assert!((ln / expected - 1.0).abs() < 1e-4, "{t} {ln} {expected}");
        }
    }

    #[test]
    fn sum_of_exponentials() {
        assert!((ln_sum_exp(&[-1000.0, -1000.0]) + 1000.0 - 2f64.ln()).abs() < 1e-12);
        assert_eq!(ln_sum_exp(&[]), f64::NEG_INFINITY);
    }
}
