use burn::tensor::{DType, Tensor, TensorData};
use peft_kernels::*;

use crate::common::*;
use crate::matches;

fn cases() -> Vec<Case> {
    vec![
        Case::new(&[5], 2, 2, 8, false),
        Case::new(&[1], 1, 1, 8, false),
        Case::new(&[1, 1, 1], 3, 1, 8, true),
        Case::new(&[3, 1, 7], 2, 2, 32, false),
        Case::new(&[4, 4, 4], 4, 2, 8, true),
        Case::new(&[70, 1, 66], 2, 1, 64, true),
        Case::new(&[130, 9], 2, 2, 64, false),
        Case::new(&[6, 11], 4, 2, 8, true).dropped(0.25),
        Case::new(&[67, 3], 2, 2, 32, false).dropped(0.1),
        Case::new(&[1, 1, 1], 3, 1, 8, true).with_prefix(1),
        Case::new(&[3, 1, 7], 2, 2, 32, false).with_prefix(5),
        Case::new(&[70, 1, 66], 2, 1, 64, true).with_prefix(20),
        Case::new(&[6, 11], 4, 2, 8, true)
            .dropped(0.25)
            .with_prefix(3),
        Case::new(&[5, 11], 4, 2, 8, true).windowed(1),
        Case::new(&[140, 3, 300], 2, 1, 8, true).windowed(7),
        Case::new(&[140, 3], 2, 1, 8, true).windowed(129),
        Case::new(&[9, 4], 2, 1, 8, true).windowed(500),
        Case::new(&[6, 11], 4, 2, 8, true)
            .windowed(4)
            .dropped(0.25)
            .with_prefix(3),
        Case::new(&[5, 11], 4, 2, 8, false).windowed(1),
        Case::new(&[140, 3, 300], 2, 1, 8, false).windowed(7),
        Case::new(&[140, 3], 2, 1, 8, false).windowed(129),
        Case::new(&[9, 4], 2, 1, 8, false).windowed(usize::MAX),
        Case::new(&[6, 11], 4, 2, 8, false)
            .windowed(4)
            .dropped(0.25)
            .with_prefix(3),
        Case::new(&[6, 11], 4, 2, 8, false).capped(0.7),
        Case::new(&[70, 3], 2, 1, 32, true)
            .capped(2.0)
            .dropped(0.25)
            .with_prefix(3),
        Case::new(&[1, 1, 1], 4, 2, 8, true).after(&[0, 5, 130]),
        Case::new(&[3, 1, 7], 2, 2, 8, true).after(&[2, 0, 4]),
        Case::new(&[3, 1, 7], 2, 2, 8, false).after(&[2, 0, 4]),
        Case::new(&[3, 1, 140], 2, 1, 8, true)
            .after(&[9, 40, 150])
            .windowed(6)
            .capped(1.0)
            .dropped(0.2)
            .with_prefix(2),
    ]
}

#[test]
fn attention_is_its_formula() {
    for case in cases() {
        let inputs = case.inputs();
        let want = case.reference(&inputs);
        let op: Op<'_> = &|x| case.attend(x, &device());
        matches(&format!("{case:?}"), op, &inputs, &want);
    }
}

#[test]
fn attention_survives_extreme_scores() {
    let case = Case::new(&[9, 4], 2, 1, 8, true);
    let mut inputs = case.inputs();
    // Scores of about ±1e4: softmax becomes a choice.
    inputs[0].iter_mut().for_each(|v| *v = (*v * 100.0).round());
    inputs[1].iter_mut().for_each(|v| *v = (*v * 100.0).round());
    let want = case.reference(&inputs);
    let op: Op<'_> = &|x| case.attend(x, &device());
    let got = values(op(inputs
        .iter()
        .map(|v| tensor(v, DType::F32, &device()))
        .collect()));
    // One unit in the last place of a score of 1e4 is 1e-3.
    assert_close("extreme scores", &got, &want, 5e-3);
}

#[test]
fn nan_stays_within_its_sequence() {
    let case = Case::new(&[3, 5], 2, 2, 8, false);
    let mut inputs = case.inputs();
    inputs[1][0] = f64::NAN; // key of the first row, first head
    let device = device();
    let [q, k, v] = case.shaped(
        inputs
            .iter()
            .map(|v| tensor(v, DType::F32, &device))
            .collect(),
    );
    let out = values(attention(q, k, v, &case.layout(&device), &case.options()));
    for (i, y) in out.iter().enumerate() {
        let (row, head) = (i / 16, i % 16 / 8);
        assert_eq!(y.is_nan(), row < 3 && head == 0, "row {row}, head {head}");
    }
}

#[test]
fn attention_gradients_are_difference_quotients() {
    if !has_f64() {
        return;
    }
    for case in [
        Case::new(&[5], 2, 2, 8, false),
        Case::new(&[1, 1], 2, 1, 8, true),
        Case::new(&[3, 1, 4], 4, 2, 8, true),
        Case::new(&[2, 3], 1, 1, 32, false),
        Case::new(&[2, 1], 1, 1, 64, true),
        Case::new(&[3, 4], 2, 1, 8, true).dropped(0.3),
        Case::new(&[5, 2], 2, 2, 8, false).dropped(0.3),
        Case::new(&[1], 1, 1, 8, true).with_prefix(2),
        Case::new(&[3, 1, 4], 4, 2, 8, true).with_prefix(3),
        Case::new(&[3, 4], 2, 1, 8, false)
            .dropped(0.3)
            .with_prefix(2),
        Case::new(&[5, 4], 2, 1, 8, true).windowed(2),
        Case::new(&[5, 4], 2, 1, 8, true).windowed(2).with_prefix(1),
        Case::new(&[7, 4], 2, 1, 8, false)
            .windowed(3)
            .with_prefix(1)
            .dropped(0.3),
        Case::new(&[3, 4], 2, 1, 8, false).capped(0.5),
        Case::new(&[3, 4], 2, 1, 8, true).capped(0.5).dropped(0.3),
        Case::new(&[2, 1], 2, 1, 8, true).after(&[3, 0]),
        Case::new(&[2, 3], 2, 1, 8, true)
            .after(&[3, 4])
            .windowed(3)
            .capped(2.0)
            .dropped(0.3)
            .with_prefix(1),
    ] {
        let op: Op<'_> = &|x| case.attend(x, &device());
        check_gradients(&format!("{case:?}"), op, &case.inputs());
    }
}

/// What is added to the scores comes of queries and keys themselves: half a product more is a larger scale.
#[test]
fn biases_are_added_to_the_scores() {
    for case in [
        Case::new(&[5, 2, 9], 4, 2, 8, false),
        Case::new(&[4, 4], 2, 2, 8, false).dropped(0.25),
        Case::new(&[3, 7], 2, 1, 8, true),
    ] {
        let inputs = case.inputs();
        let want = case.reference(&inputs);
        let op: Op<'_> = &|x| {
            let [q, k, v] = case.shaped(x);
            let options = case.options();
            let half = AttentionOptions {
                scale: options.scale / 2.0,
                ..options
            };
            let rows = case.layout(&device());
            let y = biased_attention(q, k, v, None, &rows, &half, |q, k| {
                q.clone().matmul(k.clone().swap_dims(2, 3)) * half.scale
            });
            y.flatten(0, 1)
        };
        matches(&format!("{case:?}"), op, &inputs, &want);
    }
}

#[test]
fn decoding_with_a_cache_gives_the_last_rows_of_the_whole() {
    let whole = Case::new(&[7, 5], 4, 2, 8, true).windowed(4).capped(3.0);
    let inputs = whole.inputs();
    let want = whole.reference(&inputs);
    let last = Case::new(&[1, 1], 4, 2, 8, true)
        .windowed(4)
        .capped(3.0)
        .after(&[6, 4]);
    let row = |x: &[f64], row: usize| x[row * 32..(row + 1) * 32].to_vec();
    let rows = |x: &[f64]| [row(x, 6), row(x, 11)].concat();
    let cached = vec![rows(&inputs[0]), inputs[1].clone(), inputs[2].clone()];
    let op: Op<'_> = &|x| last.attend(x, &device());
    matches("cached", op, &cached, &rows(&want));
}

#[test]
#[should_panic(expected = "sequence 1 has 3 queries, but 2 keys")]
fn a_sequence_needs_a_key_for_every_query() {
    let device = device();
    let zeros = |rows: usize| Tensor::<2>::zeros([rows, 8], &device);
    cached_attention(
        zeros(4),
        zeros(4),
        zeros(4),
        None,
        &RowLayout::new(vec![0, 1, 4], &device),
        &RowLayout::new(vec![0, 2, 4], &device),
        &AttentionOptions::new(1, 1, 1.0),
    );
}

#[test]
#[should_panic(expected = "a window has one key at least")]
fn a_window_is_not_empty() {
    let device = device();
    let x = Tensor::<2>::zeros([2, 8], &device);
    let options = AttentionOptions {
        window: Some(0),
        ..AttentionOptions::new(1, 1, 1.0)
    };
    let rows = RowLayout::new(vec![0, 2], &device);
    attention(x.clone(), x.clone(), x, &rows, &options);
}

#[test]
#[should_panic(expected = "prefix keys [3, 8] and values [3, 6] must both be [P, 8]")]
fn a_prefix_must_be_as_wide_as_the_keys() {
    let device = device();
    let zeros = |shape: [usize; 2]| Tensor::<2>::zeros(shape, &device);
    let case = Case::new(&[2], 1, 1, 8, false);
    let prefix = AttentionPrefix {
        keys: zeros([3, 8]),
        values: zeros([3, 6]),
    };
    let x = || zeros([2, 8]);
    prefix_attention(
        x(),
        x(),
        x(),
        prefix,
        &case.layout(&device),
        &case.options(),
    );
}

#[test]
#[should_panic(expected = "kv_heads 2 must divide heads 3")]
fn attention_rejects_heads() {
    let device = device();
    let x = Tensor::<2>::from_data(TensorData::zeros::<f32, _>([2, 6]), &device);
    let rows = RowLayout::new(vec![0, 2], &device);
    let opts = AttentionOptions::new(3, 2, 1.0);
    attention(x.clone(), x.clone(), x, &rows, &opts);
}
