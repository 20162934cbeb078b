//! Noisy curves made readable.

/// An exponential moving average `mₖ = Σ (1−a)ᵏ⁻ⁱ yᵢ / Σ (1−a)ᵏ⁻ⁱ` over `i ≤ k`, with `a = 2 / (span + 1)`:
/// the first values are means of what there is, not drawn towards zero.
pub fn smoothed(points: &[(f64, f64)], span: f64) -> Vec<(f64, f64)> {
    let keep = 1.0 - 2.0 / (span.max(1.0) + 1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    let smooth = |(x, y): &(f64, f64)| {
        sum = sum * keep + y;
        weight = weight * keep + 1.0;
        (*x, sum / weight)
    };
    points.iter().map(smooth).collect()
}

/// At most about `most` points that look the same: of each stretch the lowest and the highest.
pub fn thinned(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    if points.len() <= most {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil((most / 2).max(1));
    let by_height = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
    let ends = points.chunks(stretch).flat_map(|part| {
        let low = part.iter().min_by(by_height);
        let high = part.iter().max_by(by_height);
        let mut ends: Vec<(f64, f64)> = low.into_iter().chain(high).copied().collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends.dedup();
        ends
    });
    ends.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_not_drawn_towards_zero() {
        let flat: Vec<(f64, f64)> = (0..20).map(|x| (f64::from(x), 3.0)).collect();
        for (_, y) in smoothed(&flat, 9.0) {
            assert!((y - 3.0).abs() < 1e-12, "{y}");
        }
        assert_eq!(
            smoothed(&[(1.0, 2.0), (2.0, 4.0)], 1.0),
            [(1.0, 2.0), (2.0, 4.0)]
        );
        // a = 1/2: (0.5 · 2 + 4) / 1.5
        let last = smoothed(&[(1.0, 2.0), (2.0, 4.0)], 3.0)[1].1;
        assert!((last - 10.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn thinning_keeps_the_peaks() {
        let mut points: Vec<(f64, f64)> = (0..10_000).map(|x| (f64::from(x), 1.0)).collect();
        points[1234].1 = 9.0;
        points[4321].1 = -9.0;
        let few = thinned(&points, 100);
        assert!(few.len() <= 102, "{}", few.len());
        assert!(few.contains(&(1234.0, 9.0)) && few.contains(&(4321.0, -9.0)));
        assert!(few.is_sorted_by(|a, b| a.0 < b.0));
    }
}
