//! What objectives make of truths and of models' outputs.

use burn::tensor::{Device, Tensor, TensorData};
use peft_train::{
    Classification, Evaluation, MultiLabel, NextToken, Objective, Output, Prediction, Regression,
    Selector, Truth,
    core::{
        AdapterContext,
        kernels::normal,
        nn::{LanguageHead, Linear},
    },
};

use crate::common::{assert_close, cpu, values};

fn matrix(seed: u64, rows: usize, width: usize, device: &Device) -> Tensor<2> {
    Tensor::from_data(
        TensorData::new(normal(seed, rows * width), [rows, width]),
        device,
    )
}

/// Rows of a truth from one place to another.
fn cut<'a>(truth: &Truth<'a>, start: usize, end: usize) -> Truth<'a> {
    match truth {
        Truth::Classes(all) => Truth::Classes(&all[start..end]),
        Truth::Numbers(all) => Truth::Numbers(&all[start..end]),
        Truth::MultiHot { values, width } => Truth::MultiHot {
            values: &values[start * width..end * width],
            width: *width,
        },
        Truth::Tokens { .. } | Truth::Words { .. } => {
            unreachable!("their rows are cut where they are made")
        }
    }
}

/// The evaluation of predictions that come in parts cut at these places.
fn tallied(
    objective: &dyn Objective,
    predictions: &[Prediction],
    truth: &Truth,
    cuts: &[usize],
) -> Evaluation {
    let mut tally = objective.tally();
    let mut start = 0;
    for end in cuts.iter().copied().chain([predictions.len()]) {
        let part = cut(truth, start, end);
        tally.add(&predictions[start..end], &part).unwrap();
        start = end;
    }
    tally.finish().unwrap()
}

#[test]
fn parts_of_any_size_give_every_bit_of_the_whole() {
    const ROWS: usize = 97;
    let p = |row: usize, k: usize| (((row * 31 + k * 17) % 89) as f32 + 1.0) / 91.0;
    let rows = || 0..ROWS;
    let classes: Vec<u32> = rows().map(|r| (r % 3) as u32).collect();
    let numbers: Vec<f32> = rows().map(|r| p(r, 6)).collect();
    let labels: Vec<f32> = (0..2 * ROWS).map(|i| (i % 5 / 3) as f32).collect();
    let cases: [(Box<dyn Objective>, Vec<Prediction>, Truth); 3] = [
        (
            Box::new(Classification::new(3)),
            rows()
                .map(|r| Prediction::Class {
                    scores: vec![p(r, 0), p(r, 1), p(r, 2)],
                    probabilities: vec![p(r, 0), p(r, 1), p(r, 2)],
                })
                .collect(),
            Truth::Classes(&classes),
        ),
        (
            Box::new(Regression),
            rows().map(|r| Prediction::Number(p(r, 3))).collect(),
            Truth::Numbers(&numbers),
        ),
        (
            Box::new(MultiLabel::new(2)),
            rows()
                .map(|r| Prediction::Labels {
                    scores: vec![p(r, 4) - 0.5, p(r, 5) - 0.5],
                    probabilities: vec![p(r, 4), p(r, 5)],
                })
                .collect(),
            Truth::MultiHot {
                values: &labels,
                width: 2,
            },
        ),
    ];
    for (objective, predictions, truth) in &cases {
        let whole = tallied(objective.as_ref(), predictions, truth, &[]);
        assert_eq!(whole.rows, ROWS);
        assert!(whole.metrics.contains_key(objective.main_metric()));
        for cuts in [vec![1], vec![50, 96], (1..ROWS).collect()] {
            let parts = tallied(objective.as_ref(), predictions, truth, &cuts);
            assert_eq!(parts, whole, "{cuts:?}");
        }
        let other = match truth {
            Truth::Numbers(_) => Truth::Classes(&classes),
            _ => Truth::Numbers(&numbers),
        };
        assert!(objective.tally().finish().is_err());
        assert!(objective.tally().add(predictions, &other).is_err());
        assert!(objective.tally().add(&predictions[1..], truth).is_err());
        assert!(objective.targets(&other, &cpu()).is_err());
    }
}

#[test]
fn a_sure_mistake_about_a_label_keeps_its_cost() {
    let objective = MultiLabel::new(1);
    let device = cpu();
    // 1 - sigmoid(40) is 0 in f32, but its logarithm is -40.
    for (score, z, cost) in [(40.0, 0.0, 40.0), (-200.0, 1.0, 200.0), (40.0, 1.0, 0.0)] {
        let output = Output::Scores(Tensor::from_data([[score]], &device));
        let truth = Truth::MultiHot {
            values: &[z],
            width: 1,
        };
        let predictions = objective.predict(output, None).unwrap();
        let evaluation = tallied(&objective, &predictions, &truth, &[]);
        assert!((evaluation.loss - cost).abs() < 1e-12, "{evaluation:?}");
    }
}

#[test]
fn a_sure_mistake_about_a_class_keeps_its_cost() {
    let objective = Classification::new(2);
    let device = cpu();
    // exp(-200) is 0 in f32.
    for (score, class, cost) in [(200.0, 0, 200.0), (-95.0, 1, 95.0), (40.0, 1, 0.0)] {
        let output = Output::Scores(Tensor::from_data([[0.0, score]], &device));
        let truth = Truth::Classes(&[class]);
        let predictions = objective.predict(output, None).unwrap();
        let evaluation = tallied(&objective, &predictions, &truth, &[]);
        assert!((evaluation.loss - cost).abs() < 1e-12, "{evaluation:?}");
    }
}

/// Torch's `CrossEntropyLoss(weight=…)`: a mean weighted by the classes, however the batch is cut.
#[test]
fn classes_may_weigh_more_than_others() {
    let device = cpu();
    let weights = [0.5, 3.0, 1.0];
    let objective = Classification::new(3).with_weights(weights.to_vec());
    let scores = [
        [0.2, -1.0, 0.7],
        [1.5, 0.1, 0.0],
        [-0.3, 0.4, 0.9],
        [0.0, 2.0, -1.0],
    ];
    let classes = [0, 1, 2, 0];
    let loss = |rows: std::ops::Range<usize>| {
        let values = scores[rows.clone()].concat();
        let output = Tensor::<1>::from_floats(values.as_slice(), &device).reshape([rows.len(), 3]);
        let truth = Truth::Classes(&classes[rows]);
        let targets = objective.targets(&truth, &device).unwrap();
        let value = values_of(objective.loss(Output::Scores(output), targets));
        (value, objective.weight(&truth))
    };
    let cost = |row: usize| {
        let x: Vec<f64> = scores[row].to_vec();
        x.iter().map(|x| x.exp()).sum::<f64>().ln() - x[classes[row] as usize]
    };
    let all = 0.5 + 3.0 + 1.0 + 0.5;
    let of = |row: usize| weights[classes[row] as usize] * cost(row);
    let expected: f64 = (0..4).map(of).sum::<f64>() / all;
    let (whole, weight) = loss(0..4);
    assert!((whole - expected).abs() < 1e-6 && (weight - all).abs() < 1e-12);
    let parts = [loss(0..1), loss(1..4)];
    let together: f64 = parts.iter().map(|(loss, weight)| loss * weight / all).sum();
    assert!((together - expected).abs() < 1e-6);
    // Evaluations count all rows alike.
    let values = scores.concat();
    let output = Tensor::<1>::from_floats(values.as_slice(), &device).reshape([4, 3]);
    let predictions = objective.predict(Output::Scores(output), None).unwrap();
    let found = tallied(&objective, &predictions, &Truth::Classes(&classes), &[]);
    let plain = (0..4).map(cost).sum::<f64>() / 4.0;
    assert!((found.loss - plain).abs() < 1e-6, "{found:?}");
}

fn values_of(loss: Tensor<1>) -> f64 {
    values(loss)[0]
}

/// scikit-learn's `confusion_matrix` and `classification_report`.
#[test]
fn classes_are_reported_one_by_one() {
    let objective = Classification::new(4);
    let row = |class: usize| {
        let scores: Vec<f32> = (0..4).map(|c| if c == class { 3.0 } else { 0.0 }).collect();
        Prediction::Class {
            probabilities: scores.clone(),
            scores,
        }
    };
    let predictions: Vec<Prediction> = [0, 1, 1, 2, 0, 1].map(row).into();
    let actual = [0, 1, 0, 1, 0, 1];
    let found = tallied(&objective, &predictions, &Truth::Classes(&actual), &[2]);
    let confusion = found.confusion.unwrap();
    let matrix = [[2, 1, 0, 0], [0, 2, 1, 0], [0; 4], [0; 4]];
    assert_eq!(confusion.matrix(), matrix.map(|row| row.to_vec()));
    let figures = confusion.by_class();
    let told = figures
        .iter()
        .map(|of| (of.precision, of.recall, of.support));
    let expected = [
        (1.0, 2.0 / 3.0, 3),
        (2.0 / 3.0, 2.0 / 3.0, 3),
        (0.0, 0.0, 0),
        (0.0, 0.0, 0),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    assert!((figures[0].f1 - 0.8).abs() < 1e-12);
    assert_eq!(confusion.only_prediction(), None);
    let only = tallied(&objective, &[1, 1].map(row), &Truth::Classes(&[0, 1]), &[]);
    assert_eq!(only.confusion.unwrap().only_prediction(), Some(1));
    // Rows of one class have one answer.
    let right = tallied(&objective, &[1, 1].map(row), &Truth::Classes(&[1, 1]), &[]);
    assert_eq!(right.confusion.unwrap().only_prediction(), None);
}

#[test]
fn what_selects_is_a_figure_and_then_the_loss() {
    let objective = Classification::new(3);
    let of = |loss: f64, accuracy: f64, f1: f64| Evaluation {
        loss,
        metrics: [("accuracy", accuracy), ("f1", f1)]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        rows: 4,
        confusion: None,
    };
    let own = Selector::new(&objective, None).unwrap();
    assert_eq!(own.figure(), "accuracy");
    let (a, b) = (of(0.5, 0.8, 0.1), of(0.4, 0.8, 0.0));
    assert!(own.better(&b, &a) && !own.better(&a, &b) && !own.better(&a, &a));
    let earlier = own.clone().keeping_the_earlier();
    assert!(!earlier.better(&b, &a) && earlier.better(&of(0.9, 0.9, 0.0), &a));
    let by_f1 = Selector::new(&objective, Some("f1")).unwrap();
    assert!(by_f1.better(&a, &b));
    let by_loss = Selector::new(&objective, Some("loss")).unwrap();
    assert!(by_loss.better(&b, &a) && !by_loss.better(&of(f64::NAN, 1.0, 1.0), &a));
    assert!(by_loss.better(&a, &of(f64::NAN, 1.0, 1.0)));
    let error = Selector::new(&objective, Some("f2"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`f2`") && error.contains("matthews"),
        "{error}"
    );
    for objective in [
        &MultiLabel::new(2) as &dyn Objective,
        &Regression,
        &NextToken,
    ] {
        for figure in objective.figures() {
            assert!(Selector::new(objective, Some(figure)).is_ok(), "{figure}");
        }
        assert!(objective.figures().contains(&objective.main_metric()));
    }
}

const WIDTH: usize = 5;
const VOCABULARY: usize = 11;
/// Rows of 4, 1, 6 and 3 tokens; the second has nothing to predict.
const STARTS: [usize; 5] = [0, 4, 5, 11, 14];

fn head(device: &Device) -> LanguageHead {
    let weight = matrix(2, WIDTH, VOCABULARY, device);
    LanguageHead::new(Linear::new(weight, None), AdapterContext::inference())
}

fn text() -> (Vec<u32>, Vec<bool>) {
    let ids = (0..14).map(|i| (i * 7 % VOCABULARY) as u32).collect();
    let trained = (0..14)
        .map(|i| !STARTS.contains(&i) && i % 4 != 2)
        .collect();
    (ids, trained)
}

#[test]
fn tokens_weigh_alike_however_a_batch_is_cut() {
    let device = cpu().autodiff();
    let (ids, trained) = text();
    let hidden = matrix(1, ids.len(), WIDTH, &device);
    let objective = NextToken;
    let whole = Truth::Tokens {
        ids: &ids,
        starts: &STARTS,
        trained: &trained,
    };
    let count = trained.iter().filter(|flag| **flag).count() as f64;
    assert_eq!(objective.weight(&whole), count);

    let loss = |first: usize, last: usize, head: &LanguageHead| {
        let span = STARTS[first]..STARTS[last];
        let starts: Vec<usize> = STARTS[first..=last]
            .iter()
            .map(|start| start - span.start)
            .collect();
        let truth = Truth::Tokens {
            ids: &ids[span.clone()],
            starts: &starts,
            trained: &trained[span.clone()],
        };
        let rows = hidden.clone().slice([span]);
        let output = Output::tokens(rows, head.clone());
        let targets = objective.targets(&truth, &device).unwrap();
        let weight = objective.weight(&truth);
        (objective.loss(output, targets), weight)
    };
    let gradient = |parts: &[(usize, usize)]| {
        let linear = Linear::new(matrix(2, WIDTH, VOCABULARY, &device), None);
        let head = LanguageHead::new(linear.clone(), AdapterContext::inference());
        let mut total = Tensor::<1>::zeros([1], &device);
        for (first, last) in parts {
            let (value, weight) = loss(*first, *last, &head);
            total = total + value.mul_scalar(weight / count);
        }
        let grads = total.backward();
        let gradient = linear.weight.base().grad(&grads).unwrap();
        (values(total), values(gradient))
    };
    let one = gradient(&[(0, 4)]);
    let cut = gradient(&[(0, 1), (2, 3), (3, 4)]);
    assert_close("loss", &cut.0, &one.0, 1e-6);
    assert_close("gradient", &cut.1, &one.1, 1e-6);
    // Rows have not one weight: that would give another number.
    let by_rows: f64 = [(0, 1), (2, 3), (3, 4)]
        .map(|(first, last)| values(loss(first, last, &head(&device)).0)[0] / 3.0)
        .iter()
        .sum();
    assert!((by_rows - one.0[0]).abs() > 1e-3, "{by_rows} {:?}", one.0);
}

#[test]
fn perplexity_is_of_all_tokens_together() {
    let device = cpu();
    let (ids, trained) = text();
    let objective = NextToken;
    let truth = Truth::Tokens {
        ids: &ids,
        starts: &STARTS,
        trained: &trained,
    };
    let output = || Output::tokens(matrix(1, ids.len(), WIDTH, &device), head(&device));
    let predictions = objective.predict(output(), Some(&truth)).unwrap();
    let counts: Vec<usize> = predictions
        .iter()
        .map(|prediction| match prediction {
            Prediction::Tokens(costs) => costs.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected: Vec<usize> = STARTS
        .windows(2)
        .map(|row| trained[row[0]..row[1]].iter().filter(|flag| **flag).count())
        .collect();
    assert_eq!(counts, expected);
    let mut tally = objective.tally();
    tally.add(&predictions, &truth).unwrap();
    let evaluation = tally.finish().unwrap();
    assert_eq!(evaluation.rows, 4);
    let targets = objective.targets(&truth, &device).unwrap();
    let loss = values(objective.loss(output(), targets))[0];
    assert!((evaluation.loss - loss).abs() < 1e-6 * loss);
    let perplexity = evaluation.metrics["perplexity"];
    assert_eq!(perplexity, evaluation.loss.exp());
    // A better one costs less.
    let worse = Evaluation {
        loss: evaluation.loss + 1.0,
        ..evaluation.clone()
    };
    for figure in [None, Some("perplexity")] {
        let by = Selector::new(&objective, figure).unwrap();
        assert!(by.better(&evaluation, &worse) && !by.better(&worse, &evaluation));
        assert!(!by.better(&evaluation, &evaluation));
    }

    // What cannot be predicted, or does not fit, is refused.
    assert!(objective.predict(output(), None).is_err());
    let scores = Output::Scores(matrix(1, 4, 3, &device));
    assert!(objective.predict(scores, Some(&truth)).is_err());
    assert!(Regression.predict(output(), None).is_err());
    let mut first = trained.clone();
    first[4] = true;
    let broken = [
        (&STARTS[..], &first),
        (&STARTS[..4], &trained),
        (&[0, 9, 5, 14][..], &trained),
    ];
    for (starts, trained) in broken {
        let truth = Truth::Tokens {
            ids: &ids,
            starts,
            trained,
        };
        assert!(objective.targets(&truth, &device).is_err(), "{starts:?}");
    }
}
