//! The toys: models, data, choices, training.

use peft_core::kernels::{key_of, normal, uniform};
use serde_json::{Value, json};

use super::{
    model::{BATCH, LENGTH, Layer, Rows, WIDTH, gradient_error, gradients, loss, output},
    selectors::{SELECTORS, Selected, choose},
};

/// Entries of each layer, rising.
pub type Choice = Vec<Vec<usize>>;

pub struct Toy {
    pub name: &'static str,
    pub layers: usize,
    pub states: usize,
    target_states: usize,
    /// Channels of a layer that are chosen, and states of each.
    pub channels: usize,
    pub chosen_states: usize,
    /// Whether what is not chosen is silenced.
    pub silences: bool,
}

/// A trained model, and what it is to become.
pub struct Instance {
    pub frozen: Vec<Layer>,
    target: Vec<Layer>,
    seed: u64,
}

const PRETRAINING: usize = 50;
const WARM_UP: usize = 20;

impl Instance {
    /// Rows of whole numbers from 0 to 9, and what the target makes of them.
    pub fn rows(&self, phase: &str, step: usize) -> (Rows, Rows) {
        let key = key_of(self.seed, phase, step as u64);
        let draws = uniform(key, WIDTH * BATCH * LENGTH);
        let values: Vec<f64> = draws
            .iter()
            .map(|u| (10.0 * f64::from(*u)).floor().min(9.0))
            .collect();
        let rows: Rows = values.chunks(BATCH * LENGTH).map(<[f64]>::to_vec).collect();
        let wanted = output(&self.target, &rows);
        (rows, wanted)
    }
}

/// AdamW without decay, on the numbers of a mask.
pub struct Adam {
    moments: Vec<(f64, f64)>,
    rate: f64,
    step: i32,
}

impl Adam {
    pub fn new(rate: f64) -> Self {
        Self {
            moments: Vec::new(),
            rate,
            step: 0,
        }
    }

    pub fn step(&mut self, model: &mut [Layer], gradients: &mut [Layer], mask: Option<&[bool]>) {
        self.step += 1;
        let numbers = model.iter_mut().flat_map(Layer::numbers);
        let slopes = gradients.iter_mut().flat_map(Layer::numbers);
        for (place, (number, slope)) in numbers.zip(slopes).enumerate() {
            if self.moments.len() <= place {
                self.moments.push((0.0, 0.0));
            }
            if mask.is_some_and(|mask| !mask[place]) {
                continue;
            }
            let (mean, square) = &mut self.moments[place];
            *mean = 0.9 * *mean + 0.1 * *slope;
            *square = 0.999 * *square + 0.001 * *slope * *slope;
            let mean = *mean / (1.0 - 0.9_f64.powi(self.step));
            let square = *square / (1.0 - 0.999_f64.powi(self.step));
            *number -= self.rate * mean / (square.sqrt() + 1e-8);
        }
    }
}

impl Toy {
    pub fn keep() -> Self {
        Self {
            name: "keep",
            layers: 2,
            states: 2,
            target_states: 1,
            channels: 2,
            chosen_states: 1,
            silences: true,
        }
    }

    pub fn train() -> Self {
        Self {
            name: "train",
            layers: 1,
            states: 4,
            target_states: 4,
            channels: 2,
            chosen_states: 2,
            silences: false,
        }
    }

    fn layer(&self, seed: u64, what: &str, states: usize) -> Layer {
        let flat = |part: &str, count: usize| -> Vec<f64> {
            let key = key_of(seed, &format!("{what}.{part}"), 0);
            uniform(key, count).into_iter().map(f64::from).collect()
        };
        let bell = |part: &str, count: usize| -> Vec<f64> {
            let key = key_of(seed, &format!("{what}.{part}"), 0);
            normal(key, count).into_iter().map(f64::from).collect()
        };
        let all = WIDTH * states;
        let rates = flat("rate", all).into_iter();
        let turns = flat("frequency", all).into_iter();
        let (least, most) = (0.001_f64.ln(), 0.1_f64.ln());
        let steps = flat("step", WIDTH).into_iter();
        let bound = 1.0 / (WIDTH as f64).sqrt();
        let wide = |part: &str, count: usize| -> Vec<f64> {
            let values = flat(part, count).into_iter();
            values.map(|u| (2.0 * u - 1.0) * bound).collect()
        };
        // A complex number of unit variance.
        let half = |part: &str| -> Vec<f64> {
            let values = bell(part, all).into_iter();
            values.map(|z| z * 0.5_f64.sqrt()).collect()
        };
        Layer {
            entries: [
                rates.map(|u| u.max(1e-3).ln()).collect(),
                turns
                    .map(|u| std::f64::consts::PI * (u * states as f64).floor())
                    .collect(),
                half("c_re"),
                half("c_im"),
            ],
            log_step: steps.map(|u| least + u * (most - least)).collect(),
            skip: bell("skip", WIDTH),
            weight: wide("weight", WIDTH * WIDTH),
            bias: wide("bias", WIDTH),
        }
    }

    fn instance(&self, seed: u64) -> Instance {
        let layer = |what: String, states| self.layer(seed, &what, states);
        let mut instance = Instance {
            frozen: (0..self.layers)
                .map(|index| layer(format!("{}.frozen.{index}", self.name), self.states))
                .collect(),
            target: vec![layer(format!("{}.target", self.name), self.target_states)],
            seed,
        };
        let mut model = instance.frozen.clone();
        let mut adam = Adam::new(1e-2);
        for step in 0..PRETRAINING {
            let (rows, wanted) = instance.rows("pretraining", step);
            let (_, mut slopes) = gradients(&model, &rows, &wanted);
            adam.step(&mut model, &mut slopes, None);
        }
        instance.frozen = model;
        instance
    }

    /// Choices of one layer.
    pub fn of_layer(&self) -> Vec<Vec<usize>> {
        let mut all = Vec::new();
        for channels in subsets(WIDTH, self.channels) {
            let mut entries = vec![Vec::new()];
            for channel in channels {
                let more = subsets(self.states, self.chosen_states);
                entries = entries
                    .iter()
                    .flat_map(|before: &Vec<usize>| {
                        more.iter().map(|states| {
                            let own = states.iter().map(|state| channel * self.states + state);
                            before.iter().copied().chain(own).collect()
                        })
                    })
                    .collect();
            }
            all.extend(entries);
        }
        all
    }

    /// All choices there are.
    pub fn choices(&self) -> Vec<Choice> {
        (0..self.layers).fold(vec![Vec::new()], |all: Vec<Choice>, _| {
            let one = self.of_layer();
            all.iter()
                .flat_map(|before| {
                    one.iter().map(|entries| {
                        let mut choice = before.clone();
                        choice.push(entries.clone());
                        choice
                    })
                })
                .collect()
        })
    }

    /// A model as a choice leaves it.
    pub fn silenced(&self, model: &[Layer], choice: &Choice) -> Vec<Layer> {
        let mut model = model.to_vec();
        if self.silences {
            for (layer, chosen) in model.iter_mut().zip(choice) {
                for entry in 0..WIDTH * self.states {
                    if !chosen.contains(&entry) {
                        layer.silence(entry);
                    }
                }
            }
        }
        model
    }

    /// Which numbers a choice lets be trained: its entries, steps, skips and biases of all channels, and the columns of the
    /// chosen channels in the layer that mixes.
    fn mask(&self, choice: &Choice) -> Vec<bool> {
        let mut mask = Vec::new();
        for chosen in choice {
            let entries = 0..WIDTH * self.states;
            for _ in 0..4 {
                mask.extend(entries.clone().map(|entry| chosen.contains(&entry)));
            }
            mask.extend([true; 2 * WIDTH]);
            let is_chosen = |d: usize| chosen.iter().any(|entry| entry / self.states == d);
            mask.extend((0..WIDTH * WIDTH).map(|place| is_chosen(place % WIDTH)));
            mask.extend([true; WIDTH]);
        }
        mask
    }

    /// The mean loss of so many steps, from the frozen model on.
    fn area(&self, instance: &Instance, choice: &Choice, data: &[(Rows, Rows)]) -> f64 {
        let mut model = self.silenced(&instance.frozen, choice);
        let mask = self.mask(choice);
        let mut adam = Adam::new(5e-3);
        let mut sum = 0.0;
        for (rows, wanted) in data {
            let (loss, mut slopes) = gradients(&model, rows, wanted);
            sum += loss;
            adam.step(&mut model, &mut slopes, Some(&mask));
        }
        sum / data.len() as f64
    }

    /// Train every choice, and look up what the selectors choose.
    pub fn run(&self, seed: u64, steps: usize) -> Value {
        let instance = self.instance(seed);
        let data: Vec<(Rows, Rows)> = (0..steps)
            .map(|step| instance.rows("training", step))
            .collect();
        let (rows, wanted) = &data[0];
        let off = gradient_error(&instance.frozen, rows, wanted);
        assert!(off < 1e-4, "gradients are off by {off}");
        let warmed = self.warm_up(&instance);
        let choices = self.choices();
        let areas: Vec<f64> = choices
            .iter()
            .map(|choice| self.area(&instance, choice, &data))
            .collect();
        let mut order: Vec<usize> = (0..areas.len()).collect();
        order.sort_by(|a, b| areas[*a].total_cmp(&areas[*b]));
        let selected = SELECTORS.map(|selector| {
            let choice = choose(self, &instance, &warmed, selector);
            let place = choices.iter().position(|other| *other == choice);
            let place = place.expect("a choice there is");
            let rank = order.iter().position(|one| *one == place);
            json!({
                "selector": selector, "rank": rank.map(|rank| rank + 1), "area": areas[place],
                "choice": choice,
            })
        });
        let (rows, wanted) = instance.rows("training", 0);
        json!({
            "seed": seed, "frozen_loss": loss(&instance.frozen, &rows, &wanted),
            "best": areas[order[0]], "median": areas[order[order.len() / 2]],
            "worst": areas[order[order.len() - 1]], "selectors": selected,
        })
    }

    /// Everything is trained for a few steps.
    fn warm_up(&self, instance: &Instance) -> Selected {
        let mut model = instance.frozen.clone();
        let mut adam = Adam::new(1e-2);
        let sizes: Vec<usize> = vec![WIDTH * self.states; self.layers];
        let mut warmed = Selected::new(&sizes);
        for step in 0..WARM_UP {
            let (rows, wanted) = instance.rows("warm-up", step);
            let (_, mut slopes) = gradients(&model, &rows, &wanted);
            let (before, gradient) = (model.clone(), slopes.clone());
            adam.step(&mut model, &mut slopes, None);
            warmed.look(&before, &model, &gradient);
        }
        warmed.model = model;
        warmed
    }
}

/// All sets of `count` of the first numbers.
fn subsets(of: usize, count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    (count - 1..of)
        .flat_map(|last| {
            subsets(last, count - 1).into_iter().map(move |mut set| {
                set.push(last);
                set
            })
        })
        .collect()
}
