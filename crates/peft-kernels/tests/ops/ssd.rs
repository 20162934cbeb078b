use burn::tensor::{DType, Tensor};
use peft_kernels::*;

use crate::common::*;
use crate::matches;

/// Sequence lengths, heads, channels, states, groups, and whether there are bias and initial states.
#[derive(Clone, Copy, Debug)]
struct Case(&'static [usize], usize, usize, usize, usize, bool);

const CASES: [Case; 5] = [
    Case(&[1], 1, 1, 1, 1, false),
    Case(&[1, 1], 2, 2, 3, 1, true),
    Case(&[5, 1, 3], 4, 2, 3, 2, true),
    Case(&[4, 4], 2, 3, 2, 2, false),
    // More rows than a chunk.
    Case(&[70, 3, 130], 2, 3, 2, 1, true),
];

const LIMIT: (f64, f64) = (0.05, 2.5);

impl Case {
    fn starts(self) -> Vec<usize> {
        let ends = self.0.iter().scan(0, |sum, l| {
            *sum += l;
            Some(*sum)
        });
        std::iter::once(0).chain(ends).collect()
    }

    fn inputs(self) -> Vec<Vec<f64>> {
        let Self(lengths, heads, p, n, groups, all) = self;
        let t: usize = lengths.iter().sum();
        let mut sizes = vec![
            t * heads * p,
            t * heads,
            heads,
            t * groups * n,
            t * groups * n,
            heads,
        ];
        if all {
            sizes.extend([heads, lengths.len() * heads * p * n]);
        }
        (1..).zip(sizes).map(|(key, n)| numbers(key, n)).collect()
    }

    fn shaped(self, x: Vec<Tensor<1>>) -> StateSpaceDual {
        let Self(lengths, heads, p, n, groups, _) = self;
        let t: usize = lengths.iter().sum();
        let mut x = x.into_iter();
        let mut next = || x.next().expect("as many as inputs");
        StateSpaceDual {
            x: next().reshape([t, heads * p]),
            dt: next().reshape([t, heads]),
            a_log: next(),
            b: next().reshape([t, groups * n]),
            c: next().reshape([t, groups * n]),
            skip: next(),
            dt_bias: self.5.then(&mut next),
            dt_limit: LIMIT,
            initial: self.5.then(|| next().reshape([lengths.len(), heads, p, n])),
            groups,
        }
    }

    /// Output and last states, one behind the other.
    fn op(self) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> {
        move |x| {
            let rows = RowLayout::new(self.starts(), &device());
            let (y, last) = ssd(self.shaped(x), &rows);
            Tensor::cat(vec![y.flatten(0, 1), last.flatten(0, 3)], 0)
        }
    }

    fn reference(self, x: &[Vec<f64>]) -> Vec<f64> {
        let Self(_, heads, p, n, groups, all) = self;
        let (mut y, mut last) = (vec![0.0; x[0].len()], Vec::new());
        for (sequence, span) in self.starts().windows(2).enumerate() {
            for head in 0..heads {
                let group = head / (heads / groups);
                for channel in 0..p {
                    let from = ((sequence * heads + head) * p + channel) * n;
                    let mut h = match all {
                        true => x[7][from..from + n].to_vec(),
                        false => vec![0.0; n],
                    };
                    for t in span[0]..span[1] {
                        let raw = x[1][t * heads + head] + if all { x[6][head] } else { 0.0 };
                        let delta = (1.0 + raw.exp()).ln().clamp(LIMIT.0, LIMIT.1);
                        let decay = (-delta * x[2][head].exp()).exp();
                        let at = (t * heads + head) * p + channel;
                        y[at] = x[5][head] * x[0][at];
                        for (i, h) in h.iter_mut().enumerate() {
                            let entry = (t * groups + group) * n + i;
                            *h = decay * *h + delta * x[0][at] * x[3][entry];
                            y[at] += x[4][entry] * *h;
                        }
                    }
                    last.extend(h);
                }
            }
        }
        [y, last].concat()
    }
}

#[test]
fn scans_are_their_formula() {
    for case in CASES {
        let inputs = case.inputs();
        let want = case.reference(&inputs);
        matches(&format!("{case:?}"), &case.op(), &inputs, &want);
    }
}

#[test]
fn gradients_are_difference_quotients() {
    if !has_f64() {
        return;
    }
    let longer = Case(&[66, 2], 1, 1, 2, 1, true);
    for case in CASES[..4].iter().copied().chain([longer]) {
        check_gradients(&format!("{case:?}"), &case.op(), &case.inputs());
    }
}

#[test]
fn a_part_and_then_single_rows_give_the_whole() {
    let device = device();
    let case = Case(&[9], 2, 3, 4, 1, true);
    let on_device = |v: &Vec<f64>| tensor(v, DType::F32, &device);
    let whole = case.shaped(case.inputs().iter().map(on_device).collect());
    let rows = |n: usize| RowLayout::new(vec![0, n], &device);
    let (want, want_last) = ssd(whole.clone(), &rows(9));
    let (mut states, mut parts) = (whole.initial.clone(), Vec::new());
    for span in [0..5, 5..6, 6..7, 7..9] {
        let part = |x: &Tensor<2>| x.clone().slice(span.clone());
        let inputs = StateSpaceDual {
            x: part(&whole.x),
            dt: part(&whole.dt),
            b: part(&whole.b),
            c: part(&whole.c),
            initial: states,
            ..whole.clone()
        };
        let (y, last) = ssd(inputs, &rows(span.len()));
        states = Some(last);
        parts.push(y);
    }
    let got = Tensor::cat(parts, 0);
    assert_close("output", &values(got), &values(want), 1e-5);
    let got = values(states.unwrap());
    assert_close("states", &got, &values(want_last), 1e-5);
}

#[test]
#[should_panic(expected = "ssd: 3 groups must divide 4 heads")]
fn groups_divide_the_heads() {
    let device = device();
    let case = Case(&[2], 4, 1, 3, 1, false);
    let on_device = |v: &Vec<f64>| tensor(v, DType::F32, &device);
    let mut x = case.shaped(case.inputs().iter().map(on_device).collect());
    x.groups = 3;
    ssd(x, &RowLayout::new(case.starts(), &device));
}
