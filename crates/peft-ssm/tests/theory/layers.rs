//! The layers against recurrences written out.

use burn::{
    module::Param,
    tensor::{Device, FloatDType, Tensor, TensorData},
};
use peft_core::{AdapterContext, kernels::RowLayout, nn::Linear};
use peft_ssm::{S4Layer, S6Layer};

use super::{Space, farthest, numbers};

pub fn tensor<const D: usize>(values: Vec<f64>, shape: [usize; D], device: &Device) -> Tensor<D> {
    let data = TensorData::new(values, shape);
    Tensor::from_data(data, (device, FloatDType::F64.into()))
}

pub fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

type Complex = (f64, f64);

fn times((a, b): Complex, (c, d): Complex) -> Complex {
    (a * c - b * d, a * d + b * c)
}

const CHANNELS: usize = 3;
const STATES: usize = 2;

fn s4(device: &Device) -> S4Layer {
    let matrix = |key: u64, columns: usize| {
        Param::from_tensor(tensor(
            numbers(key, CHANNELS * columns),
            [CHANNELS, columns],
            device,
        ))
    };
    let vector = |key: u64| Param::from_tensor(tensor(numbers(key, CHANNELS), [CHANNELS], device));
    S4Layer {
        log_rate: matrix(1, STATES),
        frequency: matrix(2, STATES),
        c_re: matrix(3, STATES),
        c_im: matrix(4, STATES),
        log_step: vector(5),
        skip: vector(6),
        output: Linear::new(
            tensor(numbers(7, CHANNELS * 2), [CHANNELS, 2], device),
            Some(tensor(numbers(8, 2), [2], device)),
        ),
    }
}

/// A state space with real modes as a layer of one channel: `exp(A) = a`, where a negative one turns by π in every step,
/// and `2 C B̄ = b c` with `B̄ = (a − 1) / A`.
fn as_s4(space: &Space, device: &Device) -> S4Layer {
    let states = space.a.len();
    let (mut parts, halved) = ([const { Vec::new() }; 4], |n: usize| {
        space.b[n] * space.c[n] / 2.0
    });
    for n in 0..states {
        let a = space.a[n];
        let (re, im) = (
            a.abs().ln(),
            if a < 0.0 { std::f64::consts::PI } else { 0.0 },
        );
        let factor = halved(n) / (a - 1.0);
        for (part, value) in parts
            .iter_mut()
            .zip([(-re).ln(), im, factor * re, factor * im])
        {
            part.push(value);
        }
    }
    let [log_rate, frequency, c_re, c_im] =
        parts.map(|values| Param::from_tensor(tensor(values, [1, states], device)));
    let zero = || tensor(vec![0.0], [1], device);
    S4Layer {
        log_rate,
        frequency,
        c_re,
        c_im,
        log_step: Param::from_tensor(zero()),
        skip: Param::from_tensor(zero()),
        output: Linear::new(tensor(vec![1.0], [1, 1], device), None),
    }
}

/// The outputs of a state space from states of zero on, as a layer gives them and as its recurrence does.
pub fn outputs(space: &Space, x: &[f64]) -> Vec<f64> {
    let device = Device::flex();
    let layer = as_s4(space, &device);
    let found = values(layer.space(tensor(x.to_vec(), [1, x.len(), 1], &device)));
    let apart = farthest(&found, &space.run(&space.zeros(), x));
    assert!(apart < 1e-12, "{apart}");
    found
}

#[test]
fn s4_is_its_recurrence() {
    let device = Device::flex();
    let layer = s4(&device);
    let (batch, length) = (2, 9);
    let input = numbers(9, batch * length * CHANNELS);
    let u = tensor(input.clone(), [batch, length, CHANNELS], &device);
    let found = values(layer.forward(u, &AdapterContext::inference()));
    let of = |x: &Param<Tensor<2>>| values(x.val());
    let (rate, frequency) = (of(&layer.log_rate), of(&layer.frequency));
    let (c_re, c_im) = (of(&layer.c_re), of(&layer.c_im));
    let (step, skip) = (values(layer.log_step.val()), values(layer.skip.val()));
    let weight = values(layer.output.weight.val());
    let bias = values(layer.output.bias.as_ref().unwrap().val());
    let mut wanted = Vec::new();
    for sequence in 0..batch {
        let mut h = [(0.0, 0.0); CHANNELS * STATES];
        for t in 0..length {
            let at = |d: usize| input[(sequence * length + t) * CHANNELS + d];
            let mut y = [0.0; CHANNELS];
            for (d, y) in y.iter_mut().enumerate() {
                *y = skip[d] * at(d);
                for n in 0..STATES {
                    let i = d * STATES + n;
                    let a = (-rate[i].exp(), frequency[i]);
                    let (re, im) = (a.0 * step[d].exp(), a.1 * step[d].exp());
                    let decay = (re.exp() * im.cos(), re.exp() * im.sin());
                    let size = a.0 * a.0 + a.1 * a.1;
                    let inverse = (a.0 / size, -a.1 / size);
                    let drive = times((decay.0 - 1.0, decay.1), inverse);
                    let kept = times(decay, h[i]);
                    h[i] = (kept.0 + drive.0 * at(d), kept.1 + drive.1 * at(d));
                    *y += 2.0 * times((c_re[i], c_im[i]), h[i]).0;
                }
            }
            for out in 0..2 {
                let mixed: f64 = (0..CHANNELS).map(|d| y[d] * weight[d * 2 + out]).sum();
                wanted.push((mixed + bias[out]).max(0.0));
            }
        }
    }
    assert!(wanted.iter().any(|y| *y > 0.0));
    assert!(farthest(&found, &wanted) < 1e-12);
}

#[test]
fn the_gradients_of_s4_are_its_differences() {
    let device = Device::flex().autodiff();
    let (batch, length) = (2, 6);
    let u = |device: &Device| {
        tensor(
            numbers(9, batch * length * CHANNELS),
            [batch, length, CHANNELS],
            device,
        )
    };
    let weights = |device: &Device| {
        tensor(
            numbers(10, batch * length * CHANNELS),
            [batch, length, CHANNELS],
            device,
        )
    };
    let layer = s4(&device);
    let loss = (layer.space(u(&device)) * weights(&device)).sum();
    let gradients = loss.backward();
    let plain = Device::flex();
    let at = |field: usize, index: usize, step: f64| {
        let mut layer = s4(&plain);
        let moved = |param: &mut Param<Tensor<2>>| {
            let shape = param.val().dims();
            let mut all = values(param.val());
            all[index] += step;
            *param = Param::from_tensor(tensor(all, shape, &plain));
        };
        match field {
            0 => moved(&mut layer.log_rate),
            1 => moved(&mut layer.frequency),
            2 => moved(&mut layer.c_re),
            _ => moved(&mut layer.c_im),
        }
        (layer.space(u(&plain)) * weights(&plain))
            .sum()
            .into_scalar::<f64>()
    };
    let fields = [&layer.log_rate, &layer.frequency, &layer.c_re, &layer.c_im];
    for (field, param) in fields.into_iter().enumerate() {
        let gradient = values(param.val().grad(&gradients).unwrap());
        for (index, gradient) in gradient.iter().enumerate() {
            let difference = (at(field, index, 1e-5) - at(field, index, -1e-5)) / 2e-5;
            assert!((difference - gradient).abs() < 1e-8, "{field} {index}");
        }
    }
}

pub fn s6(key: u64, [channels, states, rank]: [usize; 3], device: &Device) -> S6Layer {
    let linear = |key: u64, inputs: usize, outputs: usize, bias: bool| {
        let weight = tensor(numbers(key, inputs * outputs), [inputs, outputs], device);
        let bias = bias.then(|| tensor(numbers(key + 1, outputs), [outputs], device));
        Linear::new(weight.mul_scalar(0.5), bias)
    };
    S6Layer {
        x_proj: linear(key, channels, rank + 2 * states, false),
        dt_proj: linear(key + 10, rank, channels, true),
        a_log: Param::from_tensor(tensor(
            numbers(key + 20, channels * states),
            [channels, states],
            device,
        )),
        skip: Param::from_tensor(tensor(numbers(key + 30, channels), [channels], device)),
        out_proj: linear(key + 40, channels, channels, true),
    }
}

#[test]
fn s6_is_its_recurrence() {
    let device = Device::flex();
    let (channels, states, rank, length) = (4, 3, 2, 8);
    let layer = s6(50, [channels, states, rank], &device);
    let input = numbers(9, length * channels);
    let rows = RowLayout::new(vec![0, length], &device);
    let u = tensor(input.clone(), [length, channels], &device);
    let found = values(layer.forward(u, &rows, &AdapterContext::inference()));
    let linear = |layer: &Linear, x: &[f64]| -> Vec<f64> {
        let weight = values(layer.weight.val());
        let outputs = weight.len() / x.len();
        let bias = layer.bias.as_ref().map(|bias| values(bias.val()));
        (0..outputs)
            .map(|o| {
                let sum: f64 = x
                    .iter()
                    .enumerate()
                    .map(|(i, x)| x * weight[i * outputs + o])
                    .sum();
                sum + bias.as_ref().map_or(0.0, |bias| bias[o])
            })
            .collect()
    };
    let (a_log, skip) = (values(layer.a_log.val()), values(layer.skip.val()));
    let (mut h, mut wanted) = (vec![0.0; channels * states], Vec::new());
    for u in input.chunks(channels) {
        let chosen = linear(&layer.x_proj, u);
        let steps = linear(&layer.dt_proj, &chosen[..rank]);
        let (b, c) = (&chosen[rank..rank + states], &chosen[rank + states..]);
        let mut y = vec![0.0; channels];
        for (d, y) in y.iter_mut().enumerate() {
            let step = steps[d].exp().ln_1p();
            for n in 0..states {
                let h = &mut h[d * states + n];
                *h = (-a_log[d * states + n].exp() * step).exp() * *h + step * u[d] * b[n];
                *y += *h * c[n];
            }
        }
        let mixed = linear(&layer.out_proj, &y);
        wanted.extend((0..channels).map(|d| mixed[d].max(0.0) + skip[d] * u[d]));
    }
    assert!(farthest(&found, &wanted) < 1e-12);
}
