use burn::tensor::{DType, Device, Tensor};
use peft_kernels::*;

use crate::common::*;
use crate::{agree, same_for_any_threads};

type Conv = fn(Tensor<2>, Tensor<2>, Option<Tensor<1>>, Option<Tensor<3>>, &RowLayout) -> Tensor<2>;

#[derive(Clone, Copy)]
struct Form {
    starts: &'static [usize],
    d: usize,
    kernel: usize,
}

impl Form {
    fn inputs(self) -> Vec<Vec<f64>> {
        let Self { starts, d, kernel } = self;
        let (t, n) = (starts[starts.len() - 1], starts.len() - 1);
        let sizes = [t * d, d * kernel, d, n * (kernel - 1) * d];
        (1..).zip(sizes).map(|(key, n)| numbers(key, n)).collect()
    }

    fn op(self, by: Conv) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> + Sync {
        let Self { starts, d, kernel } = self;
        move |t| {
            let [x, weight, bias, state] = t.try_into().expect("four");
            let rows = RowLayout::new(starts.to_vec(), &Device::flex());
            let state = state.reshape([rows.len(), kernel - 1, d]);
            let x = x.reshape([rows.rows(), d]);
            let weight = weight.reshape([d, kernel]);
            by(x, weight, Some(bias), Some(state), &rows).flatten(0, 1)
        }
    }
}

const FORMS: [Form; 3] = [
    Form {
        starts: &[0, 1, 4, 300],
        d: 130,
        kernel: 4,
    },
    Form {
        starts: &[0, 2],
        d: 3,
        kernel: 6,
    },
    Form {
        starts: &[0, 400, 900],
        d: 64,
        kernel: 2,
    },
];

#[test]
fn convolutions_agree() {
    for form in FORMS {
        let (fast, portable) = (form.op(causal_conv1d), form.op(portable::causal_conv1d));
        agree("causal_conv1d", &fast, &portable, &form.inputs());
    }
}

#[test]
fn bits_do_not_depend_on_the_thread_count() {
    for form in FORMS {
        same_for_any_threads("causal_conv1d", &form.op(causal_conv1d), &form.inputs());
    }
}

#[test]
fn half_of_a_wider_matrix_is_read_in_place() {
    let device = Device::flex();
    let wide = tensor(&numbers(1, 9 * 12), DType::F64, &device).reshape([9, 12]);
    let half = wide.slice([0..9, 6..12]);
    let weight = tensor(&numbers(2, 24), DType::F64, &device).reshape([6, 4]);
    let rows = RowLayout::new(vec![0, 4, 9], &device);
    let fast = causal_conv1d(half.clone(), weight.clone(), None, None, &rows);
    let portable = portable::causal_conv1d(half, weight, None, None, &rows);
    assert_close("view", &values(fast), &values(portable), 1e-14);
}
