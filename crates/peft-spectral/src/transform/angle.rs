use std::f64::consts::FRAC_PI_2;

/// Cosine and sine of `2π · numerator / denominator`, reduced in integers.
///
/// The products of frequency and place in a basis row reach billions; multiplied by `2π` in
/// floating point they would lose as many digits. Reduced first, every value is within an ulp or
/// so, and exactly 0, ±1/2-symmetric or ±1 where the true one is: the angle given to `sin` and
/// `cos` is never more than `π/4`.
pub(crate) fn cos_sin(numerator: u64, denominator: u64) -> (f64, f64) {
    let wide = u128::from(numerator % denominator) * 4;
    let denominator = u128::from(denominator);
    let (quarter, rest) = (wide / denominator, wide % denominator);
    let (cos, sin) = if 2 * rest <= denominator {
        let angle = FRAC_PI_2 * (rest as f64 / denominator as f64);
        (angle.cos(), angle.sin())
    } else {
        let angle = FRAC_PI_2 * ((denominator - rest) as f64 / denominator as f64);
        (angle.sin(), angle.cos())
    };
    match quarter {
        0 => (cos, sin),
        1 => (-sin, cos),
        2 => (-cos, -sin),
        _ => (sin, -cos),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarter_turns_are_exact() {
        for (quarter, want) in [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)]
            .into_iter()
            .enumerate()
        {
            let (cos, sin) = cos_sin(1_000_000_007 * 12 + 3 * quarter as u64, 12);
            assert_eq!((cos + 0.0, sin + 0.0), want);
        }
    }

    #[test]
    fn far_angles_are_those_of_the_first_turn() {
        for place in 0..97 {
            assert_eq!(cos_sin(place + 97 * (1 << 50), 97), cos_sin(place, 97));
            let angle = std::f64::consts::TAU * place as f64 / 97.0;
            let (cos, sin) = cos_sin(place, 97);
            assert!((cos - angle.cos()).abs() < 1e-15 && (sin - angle.sin()).abs() < 1e-15);
        }
    }
}
