use burn::tensor::{Bool, Tensor, TensorData};

use crate::RowLayout;
use crate::rows::indices;

/// [`causal_conv1d`](crate::causal_conv1d) by Burn's operations.
pub fn causal_conv1d(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    state: Option<Tensor<3>>,
    rows: &RowLayout,
) -> Tensor<2> {
    let ([t, d], [_, kernel]) = (x.dims(), weight.dims());
    let before = kernel - 1;
    let device = rows.device();
    let led = if before == 0 {
        x
    } else {
        let (dtype, x_device) = (x.dtype(), x.device());
        // The rows before each sequence lie behind all rows; without a state they are one row of zeros.
        let (given, lead) = match state {
            Some(state) => (true, state.reshape([rows.len() * before, d])),
            None => (false, Tensor::zeros([1, d], (&x_device, dtype))),
        };
        let spans = rows.starts().windows(2).enumerate();
        let order = spans.flat_map(|(sequence, span)| {
            let lead = move |i: usize| t + if given { sequence * before + i } else { 0 };
            (0..before).map(lead).chain(span[0]..span[1])
        });
        Tensor::cat(vec![x, lead], 0).select(0, indices(order, device))
    };
    let sequence_of = rows.starts().windows(2).enumerate();
    let places: Vec<usize> = sequence_of
        .flat_map(|(sequence, span)| (span[0]..span[1]).map(move |row| row + sequence * before))
        .collect();
    let mut y = None;
    for k in 0..kernel {
        let shifted = led
            .clone()
            .select(0, indices(places.iter().map(|p| p + k), device));
        let column = weight.clone().slice([0..d, k..k + 1]).reshape([1, d]);
        let part = shifted * column;
        y = Some(match y {
            Some(sum) => sum + part,
            None => part,
        });
    }
    let y: Tensor<2> = y.expect("at least one column");
    match bias {
        Some(bias) => y + bias.unsqueeze::<2>(),
        None => y,
    }
}

/// [`conv_state`](crate::conv_state) by Burn's operations.
pub fn conv_state(
    x: Tensor<2>,
    state: Option<Tensor<3>>,
    kernel: usize,
    rows: &RowLayout,
) -> Tensor<3> {
    let ([_, d], n, before) = (x.dims(), rows.len(), kernel - 1);
    let device = rows.device();
    if before == 0 {
        return Tensor::zeros([n, 0, d], (&x.device(), x.dtype()));
    }
    // Each of the last rows, or the place in the earlier state that stands for it.
    let places: Vec<Result<usize, usize>> = rows
        .starts()
        .windows(2)
        .enumerate()
        .flat_map(|(sequence, span)| {
            let place = move |i: usize| {
                let back = before - i;
                if back <= span[1] - span[0] {
                    Ok(span[1] - back)
                } else {
                    Err(sequence * before + i + (span[1] - span[0]))
                }
            };
            (0..before).map(place)
        })
        .collect();
    let own = x.select(0, indices(places.iter().map(|p| p.unwrap_or(0)), device));
    if places.iter().all(Result::is_ok) {
        return own.reshape([n, before, d]);
    }
    let earlier: Vec<bool> = places.iter().map(Result::is_err).collect();
    let earlier = TensorData::new(earlier, [n * before, 1]);
    let earlier: Tensor<2, Bool> = Tensor::from_data(earlier, device);
    let old = match state {
        Some(state) => {
            let from = indices(places.iter().map(|p| p.err().unwrap_or(0)), device);
            state.reshape([n * before, d]).select(0, from)
        }
        None => own.zeros_like(),
    };
    let earlier = earlier.expand([n * before, d]);
    own.mask_where(earlier, old).reshape([n, before, d])
}
