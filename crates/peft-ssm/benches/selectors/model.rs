//! The deep S4 model of theory in double precision with its gradients, without a tensor library: the toys train hundreds of
//! models of a few dozen numbers.

/// Rows of a batch, and how long they are.
pub const BATCH: usize = 8;
pub const LENGTH: usize = 50;
/// Channels.
pub const WIDTH: usize = 4;

type Complex = (f64, f64);

fn times((a, b): Complex, (c, d): Complex) -> Complex {
    (a * c - b * d, a * d + b * c)
}

/// `conj(m) g`: what a gradient becomes behind a product with `m`.
fn back((a, b): Complex, (c, d): Complex) -> Complex {
    (a * c + b * d, a * d - b * c)
}

/// Numbers of one layer, or the gradients of them.
#[derive(Clone, Debug)]
pub struct Layer {
    /// `ln(−Re A)`, `Im A`, `Re C` and `Im C`, `[D · N]` each.
    pub entries: [Vec<f64>; 4],
    /// `ln Δ`, `[D]`
    pub log_step: Vec<f64>,
    /// `[D]`
    pub skip: Vec<f64>,
    /// `[outputs · D]`, a row an output.
    pub weight: Vec<f64>,
    /// `[outputs]`
    pub bias: Vec<f64>,
}

impl Layer {
    pub fn states(&self) -> usize {
        self.entries[0].len() / WIDTH
    }

    pub fn zeros(states: usize) -> Self {
        Self {
            entries: [0; 4].map(|_| vec![0.0; WIDTH * states]),
            log_step: vec![0.0; WIDTH],
            skip: vec![0.0; WIDTH],
            weight: vec![0.0; WIDTH * WIDTH],
            bias: vec![0.0; WIDTH],
        }
    }

    /// All of its numbers, in a fixed order.
    pub fn numbers(&mut self) -> impl Iterator<Item = &mut f64> {
        let [a, b, c, d] = &mut self.entries;
        let rest = [
            &mut self.log_step,
            &mut self.skip,
            &mut self.weight,
            &mut self.bias,
        ];
        [a, b, c, d].into_iter().chain(rest).flatten()
    }

    /// Let an entry of `A` and `C` add nothing any more.
    pub fn silence(&mut self, entry: usize) {
        self.entries[2][entry] = 0.0;
        self.entries[3][entry] = 0.0;
    }

    /// `A`, `exp(ΔA)` and `(exp(ΔA) − 1) / A` of an entry.
    pub fn modes(&self, entry: usize) -> [Complex; 3] {
        let step = self.log_step[entry / self.states()].exp();
        let a = (-self.entries[0][entry].exp(), self.entries[1][entry]);
        let size = (a.0 * step).exp();
        let decay = (size * (a.1 * step).cos(), size * (a.1 * step).sin());
        let drive = times((decay.0 - 1.0, decay.1), inverse(a));
        [a, decay, drive]
    }
}

fn inverse((a, b): Complex) -> Complex {
    let size = a * a + b * b;
    (a / size, -b / size)
}

/// What a layer's forward pass keeps.
struct Kept {
    /// States of the entries that are read, `[entry][row · LENGTH + t]`; nothing of others.
    states: Vec<Vec<Complex>>,
    /// Before the layer that mixes, `[d][row · LENGTH + t]`.
    y: Vec<Vec<f64>>,
    /// Behind it and before the relu.
    mixed: Vec<Vec<f64>>,
}

/// Channels of rows, `[d][row · LENGTH + t]`.
pub type Rows = Vec<Vec<f64>>;

fn forward(layer: &Layer, u: &Rows) -> Kept {
    let n = layer.states();
    let mut states = vec![Vec::new(); WIDTH * n];
    let mut y: Rows = Vec::with_capacity(WIDTH);
    for (d, u) in u.iter().enumerate() {
        let mut out: Vec<f64> = u.iter().map(|u| layer.skip[d] * u).collect();
        for (entry, kept) in states.iter_mut().enumerate().skip(d * n).take(n) {
            let c = (layer.entries[2][entry], layer.entries[3][entry]);
            if c == (0.0, 0.0) {
                continue;
            }
            let [_, decay, drive] = layer.modes(entry);
            for (out, u) in out.chunks_mut(LENGTH).zip(u.chunks(LENGTH)) {
                let mut h = (0.0, 0.0);
                for (out, u) in out.iter_mut().zip(u) {
                    h = times(decay, h);
                    h = (h.0 + drive.0 * u, h.1 + drive.1 * u);
                    *out += 2.0 * (c.0 * h.0 - c.1 * h.1);
                    kept.push(h);
                }
            }
        }
        y.push(out);
    }
    let mixed = (0..WIDTH).map(|o| {
        let mut row = vec![layer.bias[o]; y[0].len()];
        for (d, y) in y.iter().enumerate() {
            let w = layer.weight[o * WIDTH + d];
            for (row, y) in row.iter_mut().zip(y) {
                *row += w * y;
            }
        }
        row
    });
    let mixed = mixed.collect();
    Kept { states, y, mixed }
}

fn relu(x: &Rows) -> Rows {
    let rows = x.iter();
    rows.map(|row| row.iter().map(|x| x.max(0.0)).collect())
        .collect()
}

/// What a model makes of rows.
pub fn output(model: &[Layer], u: &Rows) -> Rows {
    model
        .iter()
        .fold(u.clone(), |u, layer| relu(&forward(layer, &u).mixed))
}

fn mean_square(found: &Rows, wanted: &Rows) -> f64 {
    let pairs = found.iter().flatten().zip(wanted.iter().flatten());
    let sum: f64 = pairs.map(|(a, b)| (a - b) * (a - b)).sum();
    sum / (found.len() * found[0].len()) as f64
}

/// The mean square of what a model is off by.
pub fn loss(model: &[Layer], u: &Rows, wanted: &Rows) -> f64 {
    mean_square(&output(model, u), wanted)
}

/// The loss, and its gradients to all numbers. A silenced entry has none.
pub fn gradients(model: &[Layer], u: &Rows, wanted: &Rows) -> (f64, Vec<Layer>) {
    let mut inputs = vec![u.clone()];
    let mut kept = Vec::new();
    for layer in model {
        let one = forward(layer, &inputs[kept.len()]);
        inputs.push(relu(&one.mixed));
        kept.push(one);
    }
    let found = &inputs[model.len()];
    let loss = mean_square(found, wanted);
    let count = (WIDTH * found[0].len()) as f64;
    let pairs = found.iter().zip(wanted);
    let mut behind: Rows = pairs
        .map(|(a, b)| {
            let pairs = a.iter().zip(b);
            pairs.map(|(a, b)| 2.0 * (a - b) / count).collect()
        })
        .collect();
    let mut all = Vec::new();
    for (depth, layer) in model.iter().enumerate().rev() {
        let (gradient, before) = backward(layer, &inputs[depth], &kept[depth], behind);
        all.push(gradient);
        behind = before;
    }
    all.reverse();
    (loss, all)
}

fn backward(layer: &Layer, u: &Rows, kept: &Kept, mut behind: Rows) -> (Layer, Rows) {
    let n = layer.states();
    let mut own = Layer::zeros(n);
    for (g, mixed) in behind.iter_mut().zip(&kept.mixed) {
        for (g, mixed) in g.iter_mut().zip(mixed) {
            if *mixed <= 0.0 {
                *g = 0.0;
            }
        }
    }
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let mut before: Rows = Vec::with_capacity(WIDTH);
    for (d, u) in u.iter().enumerate() {
        let mut g = vec![0.0; u.len()];
        for (o, behind) in behind.iter().enumerate() {
            own.weight[o * WIDTH + d] = dot(behind, &kept.y[d]);
            let w = layer.weight[o * WIDTH + d];
            for (g, behind) in g.iter_mut().zip(behind) {
                *g += w * behind;
            }
        }
        own.skip[d] = dot(&g, u);
        let mut du: Vec<f64> = g.iter().map(|g| g * layer.skip[d]).collect();
        for entry in d * n..(d + 1) * n {
            if kept.states[entry].is_empty() {
                continue;
            }
            let through = of_entry(layer, entry, u, &kept.states[entry], &g, &mut du);
            for (own, through) in own.entries.iter_mut().zip(&through) {
                own[entry] = *through;
            }
            own.log_step[d] += through[4];
        }
        before.push(du);
    }
    own.bias = behind.iter().map(|g| g.iter().sum()).collect();
    (own, before)
}

/// Gradients to the four numbers of an entry and to the step of its channel; those to the input are added up.
fn of_entry(
    layer: &Layer,
    entry: usize,
    u: &[f64],
    states: &[Complex],
    g: &[f64],
    du: &mut [f64],
) -> [f64; 5] {
    let [a, decay, drive] = layer.modes(entry);
    let c = (layer.entries[2][entry], layer.entries[3][entry]);
    let (mut to_c, mut to_decay, mut to_drive) = ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0));
    for from in (0..u.len()).step_by(LENGTH) {
        let mut later = (0.0, 0.0);
        for t in (from..from + LENGTH).rev() {
            let h = states[t];
            to_c = (to_c.0 + 2.0 * g[t] * h.0, to_c.1 - 2.0 * g[t] * h.1);
            let passed = back(decay, later);
            later = (passed.0 + 2.0 * g[t] * c.0, passed.1 - 2.0 * g[t] * c.1);
            to_drive = (to_drive.0 + later.0 * u[t], to_drive.1 + later.1 * u[t]);
            du[t] += later.0 * drive.0 + later.1 * drive.1;
            if t > from {
                let part = back(states[t - 1], later);
                to_decay = (to_decay.0 + part.0, to_decay.1 + part.1);
            }
        }
    }
    let by_a = inverse(a);
    let of_drive = back(by_a, to_drive);
    let to_decay = (to_decay.0 + of_drive.0, to_decay.1 + of_drive.1);
    let of_a = back(times(drive, by_a), to_drive);
    let exponent = back(decay, to_decay);
    let step = layer.log_step[entry / layer.states()].exp();
    let to_a = (step * exponent.0 - of_a.0, step * exponent.1 - of_a.1);
    let to_step = a.0 * exponent.0 + a.1 * exponent.1;
    [to_a.0 * a.0, to_a.1, to_c.0, to_c.1, to_step * step]
}

/// How far the gradients of a model are from its differences, over all of its numbers.
pub fn gradient_error(model: &[Layer], u: &Rows, wanted: &Rows) -> f64 {
    let (_, mut slopes) = gradients(model, u, wanted);
    let slopes: Vec<f64> = slopes
        .iter_mut()
        .flat_map(Layer::numbers)
        .map(|x| *x)
        .collect();
    let at = |place: usize, step: f64| {
        let mut model = model.to_vec();
        if let Some(number) = model.iter_mut().flat_map(Layer::numbers).nth(place) {
            *number += step;
        }
        loss(&model, u, wanted)
    };
    let errors = slopes.iter().enumerate().map(|(place, slope)| {
        let difference = (at(place, 1e-6) - at(place, -1e-6)) / 2e-6;
        (difference - slope).abs() / slope.abs().max(1e-2)
    });
    errors.fold(0.0, f64::max)
}
