//! What a method may do between two steps, and what adapters may ask of their own parameters.

mod method;

use burn::{Tensor, module::Module, nn, tensor::Distribution};
use peft_core::HostTensorExt;
use peft_train::{
    AdamWConfig, HostTensors, Schedule, ScheduleKind, TrainError, Trainer, TrainerConfig,
    TrainerState,
    core::{
        AttachOptions, DynAdapter, Method, NameMap, attach,
        format::{TargetModules, TargetSpec},
    },
};

use self::method::{Entries, Moving, STILL};
use crate::common::{assert_close, cpu, values};

#[derive(Module, Debug)]
struct Pair {
    first: nn::Linear,
    second: nn::Linear,
}

/// A task: model, input and wanted output.
struct Work {
    base: Pair,
    x: Tensor<2>,
    y: Tensor<2>,
}

impl Work {
    fn new() -> Self {
        let device = cpu().autodiff();
        Self {
            base: Pair {
                first: nn::LinearConfig::new(4, 5).init(&device),
                second: nn::LinearConfig::new(5, 3).init(&device),
            },
            x: Tensor::random([16, 4], Distribution::Default, &device),
            y: Tensor::random([16, 3], Distribution::Default, &device),
        }
    }

    fn attached(&self, method: &dyn Method) -> Pair {
        let options = AttachOptions {
            targets: &TargetSpec::new(TargetModules::AllLinear),
            names: &NameMap::identity(),
            modules_to_save: &[],
            heads: &[],
            seed: 3,
            gradients: None,
        };
        attach(self.base.clone(), method, &options).unwrap().0
    }

    fn loss(&self, model: &Pair) -> Tensor<1> {
        let out = model.second.forward(model.first.forward(self.x.clone()));
        (out - self.y.clone()).powi_scalar(2).mean()
    }

    fn steps(&self, trainer: &mut Trainer, method: &dyn Method, model: Pair, count: u64) -> Pair {
        (0..count).fold(model, |model, _| {
            let step = trainer.step(model, method, 1, |model, _, _| Ok((self.loss(model), 1.0)));
            step.unwrap().0
        })
    }
}

fn trainer(clip_norm: Option<f64>) -> Trainer {
    let config = TrainerConfig {
        learning_rate: 1e-2,
        head_learning_rate: 1e-2,
        clip_norm,
        optimizer: AdamWConfig::default(),
        seed: 0,
    };
    Trainer::new(config, Schedule::new(ScheduleKind::Constant, 0.0, 20))
}

fn numbers(tensors: &HostTensors, path: &str) -> Vec<f64> {
    let data = tensors[path].to_data(path).unwrap();
    data.iter::<f64>().collect()
}

#[test]
fn a_method_moves_values_places_and_moments() {
    let work = Work::new();
    let moving = Moving {
        moves: true,
        ..STILL
    };
    let mut with = trainer(Some(0.05));
    let before = work.steps(&mut with, &moving, work.attached(&moving), 2);
    let heat = numbers(&with.state(&before).unwrap().memory, "first.heat");
    // The same three steps without the move.
    let mut without = trainer(Some(0.05));
    let model = work.steps(&mut without, &STILL, work.attached(&STILL), 3);
    let still = without.state(&model).unwrap();
    assert!(still.memory.is_empty());
    let model = work.steps(&mut with, &moving, before, 1);
    let moved = with.state(&model).unwrap();

    let place = "first.weight.adapter.places";
    assert_eq!(numbers(&moved.parameters, place), [3.0, 4.0, 9.0, 0.0]);
    let path = "first.weight.adapter.values";
    let [old, new] = [&still, &moved].map(|state| numbers(&state.parameters, path));
    assert_eq!(new[..3], old[1..]);
    let heat_now = numbers(&moved.memory, "first.heat");
    assert_close("new value", &new[3..], &[heat_now[0] * 0.01], 1e-7);
    assert!(
        heat_now
            .iter()
            .zip(&heat)
            .all(|(now, before)| now >= before)
    );
    assert_eq!(numbers(&moved.memory, "first.moved"), [3.0]);
    for moments in [
        |state: &TrainerState| state.optimizer.means.clone(),
        |state: &TrainerState| state.optimizer.squares.clone(),
    ] {
        let [old, new] = [&still, &moved].map(|state| numbers(&moments(state), path));
        assert_eq!(new[..3], old[1..]);
        assert_eq!(new[3], 0.0);
    }
    // What is trained is still trained, and the moved entries take part in the loss.
    let after = work.steps(&mut with, &moving, model, 1);
    let state = with.state(&after).unwrap();
    assert_ne!(numbers(&state.parameters, path), new);
    assert_ne!(numbers(&state.optimizer.means, path)[3], 0.0);
}

#[test]
fn the_gradient_shown_is_the_clipped_one() {
    let work = Work::new();
    let moving = Moving {
        moves: true,
        ..STILL
    };
    let heat = |clip: Option<f64>| {
        let mut trainer = trainer(clip);
        let model = work.steps(&mut trainer, &moving, work.attached(&moving), 1);
        let memory = trainer.state(&model).unwrap().memory;
        let both = ["first.heat", "second.heat"].map(|path| numbers(&memory, path));
        both.concat()
    };
    let norm = |all: &[f64]| all.iter().map(|g| g * g).sum::<f64>().sqrt();
    let (free, clipped) = (heat(None), heat(Some(1e-3)));
    assert!(norm(&free) > 2e-3, "{free:?}");
    let scale = 1e-3 / (norm(&free) + 1e-6);
    let expected: Vec<f64> = free.iter().map(|g| g * scale).collect();
    assert_close("clipped", &clipped, &expected, 1e-8);
}

#[test]
fn a_run_with_a_memory_goes_on_to_the_same_bits() {
    let work = Work::new();
    let moving = Moving {
        penalty: 0.1,
        factor: 0.5,
        moves: true,
    };
    let mut whole = trainer(Some(1.0));
    let model = work.steps(&mut whole, &moving, work.attached(&moving), 11);
    let expected = whole.state(&model).unwrap();
    for stop in [2, 3, 7] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.safetensors");
        let mut first = trainer(Some(1.0));
        let model = work.steps(&mut first, &moving, work.attached(&moving), stop);
        first.state(&model).unwrap().write(&path).unwrap();
        let state = TrainerState::read(&path).unwrap();
        assert_eq!(state, first.state(&model).unwrap());
        let mut second = trainer(Some(1.0));
        let model = second.restore(work.attached(&moving), &state).unwrap();
        let model = work.steps(&mut second, &moving, model, 11 - stop);
        assert_eq!(second.state(&model).unwrap(), expected);
    }

    // A memory of an adapter that the model does not have is of another model.
    let mut stray = expected.clone();
    let heat = stray.memory.remove("first.heat").unwrap();
    stray.memory.insert("third.heat".into(), heat);
    let error = trainer(None).restore(work.attached(&moving), &stray);
    let Err(TrainError::State { name, .. }) = error else {
        panic!("restored")
    };
    assert_eq!(name, "third.heat");
}

#[test]
fn a_penalty_is_part_of_loss_and_gradients() {
    let work = Work::new();
    let weight = 0.7;
    let penalised = Moving {
        penalty: weight,
        ..STILL
    };
    let run = |method: &Moving, by_hand: bool, parts: usize| {
        let mut trainer = trainer(None);
        let mut model = work.attached(method);
        let mut seen = Vec::new();
        for _ in 0..5 {
            let (next, report) = trainer
                .step(model, method, parts, |model, _, _| {
                    let mut loss = work.loss(model);
                    if by_hand {
                        let squares = [&model.first, &model.second].map(|layer| {
                            let adapter = layer.weight.reparameterization::<DynAdapter>();
                            let entries = adapter.unwrap().downcast_ref::<Entries>().unwrap();
                            entries.values.val().powi_scalar(2).sum()
                        });
                        let [first, second] = squares;
                        // The mean over the two adapters.
                        loss = loss + (first + second).mul_scalar(weight / 2.0);
                    }
                    Ok((loss, 1.0 / parts as f64))
                })
                .unwrap();
            model = next;
            seen.extend([report.loss, report.gradient_norm]);
        }
        let layers = [&model.first, &model.second];
        let weights = layers.map(|layer| values(layer.weight.val()));
        (seen, weights.concat())
    };
    let (seen, weights) = run(&penalised, false, 1);
    let (by_hand, expected) = run(&STILL, true, 1);
    assert_close("losses and norms", &seen, &by_hand, 1e-5);
    assert_close("weights", &weights, &expected, 1e-5);
    // Once a step, however many parts the batch comes in.
    let (seen, _) = run(&penalised, false, 4);
    assert_close("in parts", &seen, &by_hand, 1e-5);
}

#[test]
fn a_penalty_does_not_hide_that_nothing_learns() {
    let work = Work::new();
    let method = Moving {
        penalty: 0.7,
        ..STILL
    };
    let result = trainer(None).step(work.attached(&method), &method, 1, |model, _, _| {
        Ok((work.loss(model).mul_scalar(0.0), 1.0))
    });
    assert!(matches!(result, Err(TrainError::NoGradient { .. })));
}

#[test]
fn the_factor_of_an_adapter_is_on_its_learning_rate() {
    let work = Work::new();
    let distance = |factor: f64| {
        let method = Moving { factor, ..STILL };
        let mut trainer = trainer(None);
        let fresh = work.attached(&method);
        let start = values(fresh.first.weight.val());
        let model = work.steps(&mut trainer, &method, fresh, 1);
        let end = values(model.first.weight.val());
        let pairs = start.iter().zip(&end);
        pairs
            .map(|(start, end)| (end - start).abs())
            .fold(0.0, f64::max)
    };
    // Adam's first step is the rate itself.
    assert_close("one", &[distance(1.0)], &[1e-2], 1e-5);
    assert_close("four", &[distance(4.0)], &[4e-2], 1e-5);
}
