//! What a step does to which parameter: counts, decay, places put back.

use burn::{
    Tensor,
    module::Module,
    nn,
    tensor::{Device, Distribution},
};
use peft_train::{
    AdamWConfig, Schedule, ScheduleKind, TrainError, Trainer, TrainerConfig, TrainerState,
    core::{
        AdapterContext, AttachOptions, Method, NameMap, attach,
        format::{TargetModules, TargetSpec},
        nn::Linear,
    },
    trained_parameters,
};

use crate::common::{assert_close, cpu, values};

/// Two layers that know adapters, and a norm between them.
#[derive(Module, Debug)]
struct Stack {
    first: Linear,
    norm: nn::LayerNorm,
    second: Linear,
}

const RATE: f64 = 1e-2;

fn linear(inputs: usize, outputs: usize, device: &Device) -> Linear {
    let random = |shape| Tensor::<2>::random(shape, Distribution::Default, device);
    let bias = random([1, outputs]).reshape([outputs]);
    Linear::new(random([inputs, outputs]), Some(bias))
}

fn stack() -> Stack {
    let device = cpu().autodiff();
    device.seed(5);
    Stack {
        first: linear(16, 12, &device),
        norm: nn::LayerNormConfig::new(12).init(&device),
        second: linear(12, 16, &device),
    }
}

fn attached(model: Stack, method: &dyn Method, saved: &[&str], seed: u64) -> Stack {
    let saved: Vec<String> = saved.iter().map(|one| (*one).to_owned()).collect();
    let options = AttachOptions {
        targets: &TargetSpec::new(TargetModules::AllLinear),
        names: &NameMap::identity(),
        modules_to_save: &saved,
        heads: &[],
        seed,
        gradients: None,
    };
    attach(model, method, &options).unwrap().0
}

fn method(name: &str, settings: &[(&str, i64)]) -> Box<dyn Method> {
    let entry = peft_methods::by_name(name).unwrap();
    let mut all = (entry.defaults)();
    all.extend(
        settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).into())),
    );
    (entry.build)(&all).unwrap()
}

fn trainer(weight_decay: f64) -> Trainer {
    let config = TrainerConfig {
        learning_rate: RATE,
        head_learning_rate: RATE,
        clip_norm: None,
        optimizer: AdamWConfig {
            weight_decay,
            ..AdamWConfig::default()
        },
        seed: 0,
    };
    Trainer::new(config, Schedule::new(ScheduleKind::Constant, 0.0, 40))
}

fn input(device: &Device) -> Tensor<2> {
    let rows = (0..160).map(|i| ((i * 37 % 83) as f32) / 83.0 - 0.4);
    let rows: Vec<f32> = rows.collect();
    Tensor::<1>::from_floats(rows.as_slice(), device).reshape([10, 16])
}

/// The model, or its first layer alone.
fn loss(model: &Stack, whole: bool) -> Tensor<1> {
    let context = AdapterContext::training(0, 0);
    let x = input(&model.first.weight.base().device());
    let hidden = model.first.forward(x, &context);
    let out = match whole {
        true => model.second.forward(model.norm.forward(hidden), &context),
        false => hidden,
    };
    (out - 0.3).powi_scalar(2).mean()
}

fn step(trainer: &mut Trainer, method: &dyn Method, model: Stack, whole: bool) -> Stack {
    let step = trainer.step(model, method, 1, |model, _, _| {
        Ok((loss(model, whole), 1.0))
    });
    step.unwrap().0
}

fn parameter(model: &Stack, path: &str) -> Vec<f64> {
    let all = trained_parameters(model).unwrap();
    let numbers = all[path].to_f32().unwrap();
    numbers.into_iter().map(f64::from).collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// PyTorch's Adam: the first step of a parameter is its rate, whenever it comes.
#[test]
fn a_parameter_that_is_met_late_begins_with_its_first_step() {
    const LATE: &str = "second.weight.adapter.b";
    let lora = method("lora", &[]);
    for through_a_file in [false, true] {
        let mut trainer = trainer(0.0);
        let mut model = attached(stack(), lora.as_ref(), &[], 1);
        for _ in 0..6 {
            model = step(&mut trainer, lora.as_ref(), model, false);
        }
        if through_a_file {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("state");
            trainer.state(&model).unwrap().write(&path).unwrap();
            let state = TrainerState::read(&path).unwrap();
            assert_eq!(state, trainer.state(&model).unwrap());
            model = trainer.restore(model, &state).unwrap();
        }
        let before = parameter(&model, LATE);
        model = step(&mut trainer, lora.as_ref(), model, true);
        let moved = distance(&before, &parameter(&model, LATE));
        assert_close("the first step", &[moved], &[RATE], 1e-5);
        let counts = trainer.state(&model).unwrap().optimizer.counts;
        assert_eq!(counts[LATE], 1);
        assert_eq!(counts["first.weight.adapter.b"], 7);
    }
}

#[test]
fn moments_without_a_count_of_their_steps_are_refused() {
    let lora = method("lora", &[]);
    let mut trained = trainer(0.0);
    let model = attached(stack(), lora.as_ref(), &[], 1);
    let model = step(&mut trained, lora.as_ref(), model, true);
    let whole = trained.state(&model).unwrap();
    for count in [None, Some(0)] {
        let mut state = whole.clone();
        let path = "first.weight.adapter.b".to_owned();
        match count {
            None => drop(state.optimizer.counts.remove(&path)),
            Some(count) => drop(state.optimizer.counts.insert(path.clone(), count)),
        }
        let Err(TrainError::State { name, .. }) = trainer(0.0).restore(model.clone(), &state)
        else {
            panic!("restored");
        };
        assert_eq!(name, path);
    }
    let mut state = whole;
    state.optimizer.counts.insert("nowhere".into(), 1);
    assert!(trainer(0.0).restore(model, &state).is_err());
}

/// A checkpoint of the first format: the optimiser's steps, less those that a parameter was left out of.
#[test]
fn a_state_of_the_first_format_is_read() {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/goldens/run_v1/checkpoint"
    );
    let path = std::path::Path::new(folder).join("tensors.safetensors");
    let state = TrainerState::read(&path).unwrap();
    assert_eq!(state.step, 5);
    assert!(
        state
            .optimizer
            .means
            .keys()
            .eq(state.optimizer.counts.keys())
    );
    assert!(state.optimizer.counts.values().all(|count| *count == 5));
    assert!(state.chosen.is_empty());
}

/// As Hugging Face's Trainer groups parameters: weights decay, biases and norms do not.
#[test]
fn biases_and_norms_do_not_decay() {
    const DECAY: f64 = 0.5;
    let lora = method("lora", &[]);
    let start = attached(stack(), lora.as_ref(), &["first", "norm"], 1);
    let ends = [0.0, DECAY].map(|decay| {
        let mut trainer = trainer(decay);
        step(&mut trainer, lora.as_ref(), start.clone(), true)
    });
    let mut kinds = [0; 2];
    for path in trained_parameters(&start).unwrap().keys() {
        let [start, plain, decayed] =
            [&start, &ends[0], &ends[1]].map(|model| parameter(model, path));
        let decays = path.contains(".adapter.") || path == "first.weight";
        let share = if decays { RATE * DECAY } else { 0.0 };
        let expected: Vec<f64> = start
            .iter()
            .zip(plain)
            .map(|(w, p)| p - share * w)
            .collect();
        assert_close(path, &decayed, &expected, 1e-6);
        kinds[usize::from(decays)] += 1;
    }
    // A bias, a factor and a shift; a weight, and what adapts the other layer.
    assert!(kinds[0] >= 3 && kinds[1] >= 2, "{kinds:?}");
}

/// Places that are drawn by a seed are those of the state, not those that the model was attached with.
#[test]
fn restored_places_are_those_that_are_trained() {
    let all = [
        ("shira", &[("r", 2)][..]),
        ("sift", &[]),
        ("spiel", &[]),
        ("sdctft", &[("n_frequency", 20)]),
        ("ssh", &[("n_frequency", 20)]),
        ("fourierft", &[("n_frequency", 20)]),
        ("waveft", &[("n_frequency", 20)]),
        ("loca", &[("n_frequency", 20)]),
    ];
    for (name, settings) in all {
        let method = method(name, settings);
        let method = method.as_ref();
        if method.gradients().batches > 0 {
            continue;
        }
        let mut first = trainer(0.0);
        let mut model = attached(stack(), method, &[], 1);
        for _ in 0..3 {
            model = step(&mut first, method, model, true);
        }
        let state = first.state(&model).unwrap();
        let other = attached(stack(), method, &[], 2);
        // What was derived of the other places is known by now.
        values(loss(&other, true));
        let mut second = trainer(0.0);
        let mut again = second.restore(other, &state).unwrap();
        assert_eq!(
            values(loss(&again, true)),
            values(loss(&model, true)),
            "{name}"
        );
        for _ in 0..2 {
            model = step(&mut first, method, model, true);
            again = step(&mut second, method, again, true);
        }
        assert_eq!(
            second.state(&again).unwrap(),
            first.state(&model).unwrap(),
            "{name}"
        );
    }
}

/// With `scale_rate` off, a learning rate is that of the coefficients as they are, as PEFT takes it.
#[test]
fn a_rate_is_scaled_unless_it_is_to_be_taken_as_it_is() {
    for (name, field, setting, factor) in [
        (
            "waveft",
            "first.weight.adapter.coefficients",
            ("n_frequency", 20),
            1.0 / 25.0,
        ),
        (
            "c3a",
            "first.weight.adapter.kernel",
            ("block_size", 4),
            16.0 / 2.0,
        ),
    ] {
        for (scaled, factor) in [(true, factor), (false, 1.0)] {
            let entry = peft_methods::by_name(name).unwrap();
            let mut settings = entry.defaults_at(Some(RATE));
            assert_eq!(settings["scale_rate"], true, "{name}");
            settings.insert(setting.0.into(), setting.1.into());
            settings.insert("scale_rate".into(), scaled.into());
            let method = (entry.build)(&settings).unwrap();
            let model = attached(stack(), method.as_ref(), &[], 1);
            let before = parameter(&model, field);
            let model = step(&mut trainer(0.0), method.as_ref(), model, false);
            let moved = distance(&before, &parameter(&model, field));
            assert_close(name, &[moved], &[RATE * factor], 1e-5);
        }
    }
}
