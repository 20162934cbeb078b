use burn::tensor::{DType, Tensor};
use peft_kernels::*;

use crate::common::*;
use crate::matches;

/// Lengths of the sequences, channels, kernel, whether there is a state.
type Form = (&'static [usize], usize, usize, bool);

const FORMS: [Form; 7] = [
    (&[1], 1, 1, false),
    (&[4], 2, 1, true),
    (&[5, 1, 2], 3, 4, false),
    (&[5, 1, 2], 3, 4, true),
    (&[1, 1, 1], 5, 4, true),
    (&[70, 3], 33, 4, true),
    (&[4, 2], 1, 3, false),
];

fn starts(lengths: &[usize]) -> Vec<usize> {
    let ends = lengths.iter().scan(0, |sum, l| {
        *sum += l;
        Some(*sum)
    });
    std::iter::once(0).chain(ends).collect()
}

/// Rows, weight, bias and, if there is one, the state.
fn inputs((lengths, d, kernel, state): Form) -> Vec<Vec<f64>> {
    let t: usize = lengths.iter().sum();
    let mut inputs = vec![numbers(1, t * d), numbers(2, d * kernel), numbers(3, d)];
    if state && kernel > 1 {
        inputs.push(numbers(4, lengths.len() * (kernel - 1) * d));
    }
    inputs
}

/// The convolution, and behind it the state for what follows.
fn op((lengths, d, kernel, state): Form) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> {
    move |mut t| {
        let rows = RowLayout::new(starts(lengths), &device());
        let shape = [lengths.len(), kernel - 1, d];
        let given = (t.len() > 3).then(|| t.pop().unwrap().reshape(shape));
        let given = match given {
            None if state => Some(Tensor::zeros(shape, (&t[0].device(), t[0].dtype()))),
            given => given,
        };
        let bias = t.pop();
        let weight = t.remove(1).reshape([d, kernel]);
        let x = t.remove(0).reshape([rows.rows(), d]);
        let next = conv_state(x.clone(), given.clone(), kernel, &rows).flatten(0, 2);
        let y = causal_conv1d(x, weight, bias, given, &rows).flatten(0, 1);
        match kernel {
            1 => y,
            _ => Tensor::cat(vec![y, next], 0),
        }
    }
}

fn by_hand((lengths, d, kernel, _): Form, inputs: &[Vec<f64>]) -> Vec<f64> {
    let (mut all, mut next) = (Vec::new(), Vec::new());
    for (sequence, span) in starts(lengths).windows(2).enumerate() {
        let before = (kernel - 1) * d;
        let mut rows = match inputs.get(3) {
            Some(state) => state[sequence * before..(sequence + 1) * before].to_vec(),
            None => vec![0.0; before],
        };
        rows.extend(&inputs[0][span[0] * d..span[1] * d]);
        for t in 0..span[1] - span[0] {
            for c in 0..d {
                let product = |k: usize| inputs[1][c * kernel + k] * rows[(t + k) * d + c];
                all.push(inputs[2][c] + (0..kernel).map(product).sum::<f64>());
            }
        }
        next.extend_from_slice(&rows[rows.len() - before..]);
    }
    [all, next].concat()
}

#[test]
fn convolutions_are_their_formula() {
    for form in FORMS {
        let inputs = inputs(form);
        let want = by_hand(form, &inputs);
        matches(&format!("{form:?}"), &op(form), &inputs, &want);
    }
}

#[test]
fn gradients_are_difference_quotients() {
    if !has_f64() {
        return;
    }
    for form in FORMS.into_iter().filter(|form| form.1 < 10) {
        check_gradients(&format!("{form:?}"), &op(form), &inputs(form));
    }
}

#[test]
fn a_row_after_the_other_gives_the_whole() {
    let (device, d, kernel) = (device(), 3, 4);
    let x = tensor(&numbers(1, 6 * d), DType::F32, &device).reshape([6, d]);
    let weight = tensor(&numbers(2, d * kernel), DType::F32, &device).reshape([d, kernel]);
    let rows = |n: usize| RowLayout::new(vec![0, n], &device);
    let whole = causal_conv1d(x.clone(), weight.clone(), None, None, &rows(6));
    let mut state = None;
    let mut parts = Vec::new();
    for span in [0..2, 2..3, 3..4, 4..6] {
        let (n, part) = (span.len(), x.clone().slice(span));
        let y = causal_conv1d(part.clone(), weight.clone(), None, state.clone(), &rows(n));
        state = Some(conv_state(part, state, kernel, &rows(n)));
        parts.push(y);
    }
    let parts = Tensor::cat(parts, 0);
    assert_close("steps", &values(parts), &values(whole), 1e-6);
}

#[test]
#[should_panic(expected = "state must be [2, 3, 5]")]
fn a_state_is_of_every_sequence() {
    let device = device();
    let x = Tensor::<2>::zeros([4, 5], &device);
    let state = Tensor::zeros([1, 3, 5], &device);
    let rows = RowLayout::new(vec![0, 1, 4], &device);
    causal_conv1d(x, Tensor::zeros([5, 4], &device), None, Some(state), &rows);
}
