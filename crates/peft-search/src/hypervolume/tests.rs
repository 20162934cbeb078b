use super::*;
use crate::Counter;

fn rows<const D: usize>(rows: &[[f64; D]]) -> Vec<Vec<f64>> {
    rows.iter().map(|row| row.to_vec()).collect()
}

#[track_caller]
fn close(value: f64, expected: f64) {
    assert!(
        (value - expected).abs() <= 1e-10 * expected.abs().max(1.0),
        "{value} {expected}"
    );
}

/// BoTorch's tests of `Hypervolume` and of the box decompositions.
#[test]
fn volumes_of_reference() {
    let two = rows(&[[8.5, 3.0], [8.5, 3.5], [5.0, 5.0], [9.0, 1.0], [4.0, 5.0]]);
    close(hypervolume(&two, &[0.0, 0.0]), 37.75);
    close(hypervolume(&two, &[1.0, 0.5]), 28.75);
    let identity = |n: usize| -> Vec<Vec<f64>> {
        (0..n)
            .map(|i| (0..n).map(|j| if i == j { -1.0 } else { 0.0 }).collect())
            .collect()
    };
    close(hypervolume(&identity(3), &[-2.1, -2.5, -2.3]), 11.075);
    close(hypervolume(&identity(4), &[-2.1, -2.5, -2.3, -2.0]), 23.15);
    let stairs = rows(&[
        [3.0, 8.0],
        [4.0, 7.0],
        [5.0, 6.0],
        [6.0, 5.0],
        [7.0, 4.0],
        [8.0, 3.0],
        [8.0, 2.0],
        [7.0, 1.0],
    ]);
    close(hypervolume(&stairs, &[0.0, 0.0]), 49.0);
    close(hypervolume(&stairs, &[10.0, 10.0]), 0.0);
    let pairs: Vec<[f64; 2]> = stairs.iter().map(|row| [row[0], row[1]]).collect();
    let cells = Cells::new(&pairs, [0.0, 0.0]);
    let corners: Vec<[f64; 2]> = cells.as_slice().iter().map(|c| [c.low, c.floor]).collect();
    let expected = [
        [0.0, 8.0],
        [3.0, 7.0],
        [4.0, 6.0],
        [5.0, 5.0],
        [6.0, 4.0],
        [7.0, 3.0],
        [8.0, 0.0],
    ];
    assert_eq!(corners, expected);
    assert_eq!(Cells::new(&pairs, [10.0, 10.0]).as_slice().len(), 1);
}

const FRONT: [[f64; 2]; 3] = [[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]];

#[test]
fn improvements_of_reference() {
    let cells = Cells::new(&FRONT, [0.0, 0.0]);
    close(hypervolume(&rows(&FRONT), &[0.0, 0.0]), 6.0);
    for (y, expected) in [
        ([2.5, 2.5], 1.25),
        ([4.0, 4.0], 10.0),
        ([3.0, 3.0], 3.0),
        ([1.5, 2.5], 0.25),
        ([0.5, 0.5], 0.0),
    ] {
        close(cells.improvement(y), expected);
        close(improvement(&rows(&FRONT), &[0.0, 0.0], &y), expected);
    }
    let mut joint = rows(&FRONT);
    joint.extend(rows(&[[2.5, 2.5], [1.5, 3.5]]));
    close(hypervolume(&joint, &[0.0, 0.0]) - 6.0, 2.25);
}

#[test]
fn expected_improvements_of_reference() {
    let cells = Cells::new(&FRONT, [0.0, 0.0]);
    for (mean, deviation, expected) in [
        ([2.5, 2.5], 0.5, 1.415_086_653_7),
        ([1.5, 1.5], 1.0, 0.285_657_833_5),
        ([4.0, 0.5], 0.2, 0.500_801_660_2),
    ] {
        close(cells.expected(mean, [deviation; 2]), expected);
        close(
            cells.ln_expected(mean, [deviation; 2]),
            cells.expected(mean, [deviation; 2]).ln(),
        );
    }
    // A first objective without spread is a known one.
    let known = cells.expected_known(2.5, 1.7, 0.4);
    close(cells.expected([2.5, 1.7], [1e-12, 0.4]), known);
    close(cells.ln_expected_known(2.5, 1.7, 0.4), known.ln());
    let far = cells.ln_expected([-200.0, -300.0], [0.5, 0.5]);
    assert!(far.is_finite() && far < -1e5, "{far}");
    assert_eq!(cells.ln_expected_known(-1.0, 5.0, 1.0), f64::NEG_INFINITY);
}

#[test]
fn expected_improvement_is_the_mean_of_improvements() {
    let cells = Cells::new(&FRONT, [0.0, 0.0]);
    let mut counter = Counter::new(5, 0, 0);
    let (mean, deviation) = ([1.8, 2.1], [0.7, 0.4]);
    let draws = 200_000;
    let mut sum = 0.0;
    for _ in 0..draws {
        let y = [0, 1].map(|i| mean[i] + deviation[i] * counter.normal());
        sum += cells.improvement(y);
    }
    let exact = cells.expected(mean, deviation);
    assert!(
        (sum / f64::from(draws) / exact - 1.0).abs() < 0.01,
        "{sum} {exact}"
    );
}

#[test]
fn reference_is_below_the_front() {
    let reference = infer_reference(&rows(&FRONT)).unwrap();
    close(reference[0], 0.8);
    close(infer_reference(&rows(&[[2.0, -4.0]])).unwrap()[1], -4.4);
    assert!(infer_reference(&[]).is_none());
}
