use super::*;
use crate::gp::{FitSettings, Prior};

/// Surrogates of objectives at ten points of one input, and the scores.
fn evidence_parts(objectives: usize) -> (Rows, Vec<Vec<f64>>, Vec<Ensemble>) {
    let rows = Rows::new(1, (0..10).map(|i| f64::from(i) / 9.0).collect());
    let functions: [fn(f64) -> f64; 3] = [
        |x| (5.0 * x).sin(),
        |x| 1.0 - 2.0 * x,
        |x| (x - 0.3).powi(2) * 2.0,
    ];
    let scores: Vec<Vec<f64>> = (0..10)
        .map(|i| {
            functions[..objectives]
                .iter()
                .map(|f| f(rows.row(i)[0]))
                .collect()
        })
        .collect();
    let surrogates = (0..objectives)
        .map(|objective| {
            let outputs: Vec<f64> = scores.iter().map(|row| row[objective]).collect();
            let mut counter = Counter::new(1, 0, 0);
            Ensemble::fit(
                &rows,
                &outputs,
                &[0],
                &[Prior::DimensionScaled],
                1e-6,
                &FitSettings::default(),
                &mut counter,
            )
            .unwrap()
        })
        .collect();
    (rows, scores, surrogates)
}

fn between() -> Rows {
    Rows::new(1, vec![0.05, 0.37, 0.62, 0.94])
}

#[test]
fn noise_free_is_the_box_decomposition() {
    let (rows, scores, surrogates) = evidence_parts(2);
    let reference = [-2.0, -2.0];
    let evidence = Evidence {
        surrogates: &surrogates,
        modelled: &[0, 1],
        rows: &rows,
        scores: &scores,
        observed: 10,
        reference: &reference,
        noisy: false,
        samples: 1,
    };
    let improvement = Improvement::new(&evidence, &mut Counter::new(0, 0, 0)).unwrap();
    let unread = vec![vec![0.0; 2]; 4];
    let found = improvement.ln_values(&between(), &unread);
    // The same with moments conditioned on the exact values, by Monte Carlo over WFG.
    let member = &improvement.members[0];
    let moments: Vec<_> = member
        .objectives
        .iter()
        .map(|o| o.predict(&between()))
        .collect();
    let mut counter = Counter::new(9, 0, 0);
    for (row, ln) in found.iter().enumerate() {
        let draws = 20_000;
        let mean: f64 = (0..draws)
            .map(|_| {
                let y: Vec<f64> = moments
                    .iter()
                    .map(|m| m.mean[(row, 0)] + m.deviation[row] * counter.normal())
                    .collect();
                crate::hypervolume::improvement(&scores, &reference, &y)
            })
            .sum::<f64>()
            / f64::from(draws);
        assert!(
            (mean - ln.exp()).abs() < 0.05 * mean + 1e-4,
            "{mean} {}",
            ln.exp()
        );
    }
    // At observed points nothing is to be had.
    for ln in improvement.ln_values(&rows, &vec![vec![0.0; 2]; 10]) {
        assert!(ln < -4.0, "{ln}");
    }
}

#[test]
fn known_objectives_of_any_number_agree_with_sampling() {
    // The second and the third objective are known: areas below the candidate instead of cells.
    let (rows, scores, surrogates) = evidence_parts(3);
    let reference = [-2.0, -2.0, -0.5];
    for modelled in [vec![0], vec![0, 2]] {
        let chosen: Vec<Ensemble> = modelled
            .iter()
            .map(|&o: &usize| surrogates[o].clone())
            .collect();
        let evidence = Evidence {
            surrogates: &chosen,
            modelled: &modelled,
            rows: &rows,
            scores: &scores,
            observed: 10,
            reference: &reference,
            noisy: false,
            samples: 512,
        };
        let improvement = Improvement::new(&evidence, &mut Counter::new(0, 0, 0)).unwrap();
        let known = [
            [0.0, 0.9, 0.3],
            [0.0, 0.2, 0.4],
            [0.0, -0.3, 0.5],
            [0.0, -0.9, 1.2],
        ]
        .map(|row| row.to_vec());
        let found = improvement.ln_values(&between(), &known);
        let member = &improvement.members[0];
        let moments: Vec<_> = member
            .objectives
            .iter()
            .map(|o| o.predict(&between()))
            .collect();
        let mut counter = Counter::new(9, 0, 0);
        for (row, ln) in found.iter().enumerate() {
            let draws = 4000;
            let mean: f64 = (0..draws)
                .map(|_| {
                    let mut y = known[row].clone();
                    for (&objective, m) in modelled.iter().zip(&moments) {
                        y[objective] = m.mean[(row, 0)] + m.deviation[row] * counter.normal();
                    }
                    crate::hypervolume::improvement(&scores, &reference, &y)
                })
                .sum::<f64>()
                / f64::from(draws);
            assert!(
                (mean - ln.exp()).abs() < 0.1 * mean + 2e-3,
                "{modelled:?} {mean} {}",
                ln.exp()
            );
        }
    }
}

#[test]
fn two_objectives_are_a_special_case_of_many() {
    let (rows, scores, surrogates) = evidence_parts(2);
    let reference = [-2.0, -2.0];
    let evidence = Evidence {
        surrogates: &surrogates[..1],
        modelled: &[0],
        rows: &rows,
        scores: &scores,
        observed: 10,
        reference: &reference,
        noisy: true,
        samples: 8,
    };
    let mut improvement = Improvement::new(&evidence, &mut Counter::new(4, 0, 0)).unwrap();
    let known: Vec<Vec<f64>> = [0.9, 0.2, -0.3, -3.0]
        .iter()
        .map(|k| vec![0.0, *k])
        .collect();
    let cells = improvement.ln_values(&between(), &known);
    assert_eq!(cells[3], f64::NEG_INFINITY, "not above the reference");
    // The same fronts as rows, by areas.
    for front in &mut improvement.members[0].fronts {
        let Front::Known(cells) = &front else {
            panic!("two objectives have cells")
        };
        let corners = cells
            .as_slice()
            .windows(2)
            .map(|w| (w[0].floor, vec![w[0].high]));
        let mut corners: Vec<_> = corners.collect();
        corners.sort_by(|a, b| b.0.total_cmp(&a.0));
        *front = Front::Many(corners);
    }
    let areas = improvement.ln_values(&between(), &known);
    for (a, b) in cells.iter().zip(&areas).take(3) {
        assert!((a - b).abs() < 1e-9, "{a} {b}");
    }
}

#[test]
fn less_noise_brings_the_noisy_form_to_the_exact_one() {
    let (rows, scores, surrogates) = evidence_parts(2);
    let reference = [-2.0, -2.0];
    let values = |noisy: bool| {
        let evidence = Evidence {
            surrogates: &surrogates[..1],
            modelled: &[0],
            rows: &rows,
            scores: &scores,
            observed: 10,
            reference: &reference,
            noisy,
            samples: 64,
        };
        let known: Vec<Vec<f64>> = [1.1, 0.2, -0.3, -0.9]
            .iter()
            .map(|k| vec![0.0, *k])
            .collect();
        Improvement::new(&evidence, &mut Counter::new(4, 0, 0))
            .unwrap()
            .ln_values(&between(), &known)
    };
    for (noisy, exact) in values(true).iter().zip(&values(false)) {
        assert!(
            (noisy.exp() - exact.exp()).abs() < 0.05 * exact.exp() + 1e-3,
            "{noisy} {exact}"
        );
    }
}

#[test]
fn pending_trials_make_their_neighbourhood_less_worth() {
    let (rows, scores, surrogates) = evidence_parts(2);
    let few = Rows::new(1, [0, 3, 9].iter().map(|&i| rows.row(i)[0]).collect());
    let few_scores: Vec<Vec<f64>> = [0, 3, 9].iter().map(|&i| scores[i].clone()).collect();
    let outputs: Vec<f64> = few_scores.iter().map(|row| row[0]).collect();
    let surrogate = Ensemble::fit(
        &few,
        &outputs,
        &[0],
        &[Prior::DimensionScaled],
        1e-6,
        &FitSettings::default(),
        &mut Counter::new(1, 0, 0),
    )
    .unwrap();
    drop(surrogates);
    let value = |pending: Option<f64>, noisy: bool| {
        let mut values: Vec<f64> = (0..3).map(|i| few.row(i)[0]).collect();
        let mut all = few_scores.clone();
        if let Some(x) = pending {
            values.push(x);
            all.push(vec![f64::NAN, 1.0 - 2.0 * x]);
        }
        let rows = Rows::new(1, values);
        let evidence = Evidence {
            surrogates: std::slice::from_ref(&surrogate),
            modelled: &[0],
            rows: &rows,
            scores: &all,
            observed: 3,
            reference: &[-2.0, -2.0],
            noisy,
            samples: 64,
        };
        let improvement = Improvement::new(&evidence, &mut Counter::new(4, 0, 0)).unwrap();
        improvement.ln_values(&Rows::new(1, vec![0.6]), &[vec![0.0, -0.2]])[0]
    };
    for noisy in [false, true] {
        assert!(
            value(Some(0.6), noisy) < value(None, noisy) - 1.0,
            "{noisy}"
        );
        assert!(value(Some(0.1), noisy) > value(Some(0.6), noisy), "{noisy}");
    }
}
