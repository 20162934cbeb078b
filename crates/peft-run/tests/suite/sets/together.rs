//! Adapters that are trained together.

use burn::{
    Tensor,
    tensor::{Device, FloatDType, Int, TensorData},
};
use peft_lowrank::{LoraConfig, LoraMethod};
use peft_run::{
    ScheduleKind, TrainError,
    core::{AdapterContext, AdapterRoster, HostTensor, HostTensorExt, Method, NamedMethods},
    differentiate, methods,
    models::{HeadSpec, PackedBatch, SequenceModel},
};
use peft_train::{
    AdamWConfig, Classification, HostTensors, Objective, Output, Schedule, Trainer, TrainerConfig,
    TrainerState, Truth, trained_parameters,
};

use super::{attached, choices};
use crate::common::*;

/// Two adapters of different methods, a rate for each, and the rows that choose them.
struct Tasks {
    lora: LoraMethod,
    spectral: Box<dyn Method>,
}

const TOPIC: &str = "topic";
const MOOD: &str = "mood";
const OF_ROWS: [&str; 5] = [TOPIC, MOOD, MOOD, TOPIC, MOOD];
const LABELS: [u32; 5] = [0, 2, 1, 1, 0];
const STEPS: u64 = 6;

impl Tasks {
    fn new() -> Self {
        let spectral = methods::by_name("sdctft").unwrap();
        let mut settings = (spectral.defaults)();
        settings.insert("n_frequency".into(), 40.into());
        Self {
            lora: LoraMethod::new(LoraConfig::new(3, 6.0)).unwrap(),
            spectral: (spectral.build)(&settings).unwrap(),
        }
    }

    fn method(&self, name: &str) -> (&dyn Method, f64) {
        match name {
            TOPIC => (&self.lora, 1.0),
            _ => (self.spectral.as_ref(), 10.0),
        }
    }

    fn base(&self, device: &Device) -> SequenceModel {
        let mut folder = folder("bert", FloatDType::F64);
        folder.set_dropout(0.0);
        let head = HeadSpec {
            outputs: 3,
            seed: 1,
        };
        SequenceModel::load(&folder, &head, device).unwrap().0
    }

    fn trainer(rate: f64) -> Trainer {
        let config = TrainerConfig {
            learning_rate: 1e-2 * rate,
            head_learning_rate: 2e-3,
            clip_norm: Some(0.5),
            optimizer: AdamWConfig::default(),
            seed: 0,
        };
        Trainer::new(config, Schedule::new(ScheduleKind::Linear, 0.0, STEPS))
    }

    /// The mean loss of the rows of one adapter.
    fn loss(outputs: Tensor<2>, rows: &[usize], device: &Device) -> Tensor<1> {
        let labels: Vec<u32> = rows.iter().map(|row| LABELS[*row]).collect();
        let objective = Classification::new(3);
        let targets = objective.targets(&Truth::Classes(&labels), device).unwrap();
        objective.loss(Output::Scores(outputs), targets)
    }

    /// Both adapters on one model, trained on batches of the rows of both.
    fn together(&self, device: &Device) -> SequenceModel {
        let model = self.base(device);
        let model = attached(model, Some(TOPIC), &self.lora, &["classifier"]);
        let mut model = attached(model, Some(MOOD), self.spectral.as_ref(), &["classifier"]);
        let roster = AdapterRoster::of(&model);
        let mut trainer = Self::trainer(1.0);
        let of_all = [TOPIC, MOOD].map(|name| self.method(name));
        let methods = NamedMethods::new()
            .with(TOPIC, of_all[0].0, of_all[0].1)
            .with(MOOD, of_all[1].0, of_all[1].1);
        let all = rows(&json("cases.json"), "bert");
        for _ in 0..STEPS {
            let step = trainer.step(model, &methods, 1, |model, _, context| {
                let batch = pack(model.config(), &all, device);
                let batch = batch.with_adapters(&roster, &choices(&OF_ROWS))?;
                let outputs = model.forward(&batch, context);
                let of = |name| {
                    let rows = rows_of(name);
                    let data: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
                    let data = TensorData::new(data, [rows.len()]);
                    let index = Tensor::<1, Int>::from_data(data, &device.clone().inner());
                    Self::loss(outputs.clone().select(0, index), &rows, device)
                };
                Ok((of(TOPIC) + of(MOOD), 1.0))
            });
            model = step.unwrap().0;
        }
        model
    }

    /// One adapter on a model of its own, trained on its rows.
    fn alone(&self, name: &str, device: &Device) -> SequenceModel {
        let (method, rate) = self.method(name);
        let mut model = attached(self.base(device), None, method, &["classifier"]);
        let mut trainer = Self::trainer(rate);
        let (rows, all) = (rows_of(name), rows(&json("cases.json"), "bert"));
        let own: Vec<_> = rows.iter().map(|row| all[*row].clone()).collect();
        for _ in 0..STEPS {
            let step = trainer.step(model, method, 1, |model, _, context| {
                let batch: PackedBatch = pack(model.config(), &own, device);
                let outputs = model.forward(&batch, context);
                Ok((Self::loss(outputs, &rows, device), 1.0))
            });
            model = step.unwrap().0;
        }
        model
    }
}

fn rows_of(name: &str) -> Vec<usize> {
    let rows = OF_ROWS.iter().enumerate();
    rows.filter(|(_, one)| **one == name)
        .map(|(row, _)| row)
        .collect()
}

/// The path that a parameter of an adapter with a name has where it is the only one.
fn path_alone(path: &str, name: &str) -> Option<String> {
    let (parameter, field) = path.split_once(&format!(".adapter.@{name}."))?;
    Some(match field {
        "value" => parameter.to_owned(),
        field => format!("{parameter}.adapter.{field}"),
    })
}

#[test]
fn adapters_trained_together_are_those_trained_apart() {
    let device = cpu().autodiff();
    let tasks = Tasks::new();
    let together: HostTensors = trained_parameters(&tasks.together(&device)).unwrap();
    let mut compared = 0;
    for name in [TOPIC, MOOD] {
        let start = attached(
            tasks.base(&device),
            None,
            tasks.method(name).0,
            &["classifier"],
        );
        let start = trained_parameters(&start).unwrap();
        let alone = trained_parameters(&tasks.alone(name, &device)).unwrap();
        let mut moved = 0.0;
        for (path, tensor) in &together {
            let Some(own) = path_alone(path, name) else {
                continue;
            };
            let of = |tensor: &HostTensor| -> Vec<f64> {
                let data = tensor.to_data("a parameter").unwrap();
                data.iter::<f64>().collect()
            };
            let wanted = of(&alone[&own]);
            assert_close(path, &of(tensor), &wanted, 1e-12);
            moved = f64::max(moved, difference(&wanted, &of(&start[&own])));
            compared += 1;
        }
        assert!(moved > 1e-3, "{name} learned nothing");
    }
    assert_eq!(compared, together.len());
}

#[test]
fn an_adapter_that_no_row_chooses_stays_as_it_is() {
    let device = cpu().autodiff();
    let tasks = Tasks::new();
    let model = attached(
        tasks.base(&device),
        Some(TOPIC),
        &tasks.lora,
        &["classifier"],
    );
    let spectral = tasks.spectral.as_ref();
    let mut model = attached(model, Some(MOOD), spectral, &["classifier"]);
    let before = trained_parameters(&model).unwrap();
    let all = rows(&json("cases.json"), "bert");
    // The first that came is active.
    let step = |model, methods: &NamedMethods, trainer: &mut Trainer| {
        trainer.step(model, methods, 1, |model: &SequenceModel, _, context| {
            let outputs = model.forward(&pack(model.config(), &all, &device), context);
            Ok((Tasks::loss(outputs, &[0, 1, 2, 3, 4], &device), 1.0))
        })
    };
    let mut trainer = Tasks::trainer(1.0);
    let methods = NamedMethods::new().with(TOPIC, &tasks.lora, 1.0);
    // Through the step at which silent adapters are refused.
    for _ in 0..STEPS {
        model = step(model, &methods, &mut trainer).unwrap().0;
    }
    for (path, tensor) in trained_parameters(&model).unwrap() {
        let still = path.contains("@mood");
        assert_eq!(before[&path] == tensor, still, "{path}");
    }
    let state = trainer.state(&model).unwrap();
    assert!(
        state
            .optimizer
            .means
            .keys()
            .all(|path| path.contains("@topic"))
    );
    let mut resumed = Tasks::trainer(1.0);
    let again = resumed.restore(model, &state).unwrap();
    assert_eq!(resumed.state(&again).unwrap(), state);

    let strange = NamedMethods::new().with(MOOD, spectral, 1.0);
    let error = step(again, &strange, &mut Tasks::trainer(1.0)).unwrap_err();
    assert!(matches!(error, TrainError::Setting { .. }), "{error}");
    assert!(error.to_string().contains("`topic`"), "{error}");
}

#[test]
fn blocks_that_are_computed_again_choose_the_same_adapters() {
    let device = cpu().autodiff();
    let tasks = Tasks::new();
    let model = attached(
        tasks.base(&device),
        Some(TOPIC),
        &tasks.lora,
        &["classifier"],
    );
    let model = attached(model, Some(MOOD), tasks.spectral.as_ref(), &["classifier"]);
    let roster = AdapterRoster::of(&model);
    let batch = pack(model.config(), &rows(&json("cases.json"), "bert"), &device);
    let batch = batch.with_adapters(&roster, &choices(&OF_ROWS)).unwrap();
    let context = AdapterContext::training(3, 0);
    let [kept, again] = [false, true].map(|recompute| {
        let all = [0, 1, 2, 3, 4];
        let loss = |output| match output {
            Output::Scores(scores) => Tasks::loss(scores, &all, &device),
            Output::Tokens { .. } => unreachable!("an encoder scores sequences"),
        };
        differentiate(&model, &batch, &context, recompute, loss)
    });
    assert_close("loss", &values(again.0), &values(kept.0), 1e-12);
    assert!(kept.1.paths().eq(again.1.paths()));
    for path in kept.1.paths() {
        let of = |gradients: &peft_train::GradientSet| values(gradients.get(path).unwrap().clone());
        assert_close(path, &of(&again.1), &of(&kept.1), 1e-12);
    }
}

/// One adapter of two is trained for some steps, then the other: either is what it would be alone, from the
/// first step on, penalties and the optimiser's count of steps included.
#[test]
fn adapters_trained_in_turns_know_nothing_of_each_other() {
    let device = cpu().autodiff();
    let tasks = Tasks::new();
    let entry = methods::by_name("adalora").unwrap();
    let mut settings = (entry.defaults)();
    let own = [("init_r", 4), ("target_r", 2), ("tinit", 9), ("tfinal", 2)];
    settings.extend(own.map(|(key, value)| (key.to_owned(), value.into())));
    let penalised = (entry.build)(&settings).unwrap();
    let penalised = penalised.as_ref();
    let trainer = || {
        let config = TrainerConfig {
            optimizer: AdamWConfig {
                weight_decay: 0.1,
                ..AdamWConfig::default()
            },
            ..*Tasks::trainer(1.0).config()
        };
        Trainer::new(config, Schedule::new(ScheduleKind::Constant, 0.0, 20))
    };
    let all = rows(&json("cases.json"), "bert");
    let step = |trainer: &mut Trainer, methods: &NamedMethods, model: SequenceModel, name: &str| {
        let roster = AdapterRoster::of(&model);
        let step = trainer.step(model, methods, 1, |model, _, context| {
            let batch = pack(model.config(), &all, &device);
            let batch = batch.with_adapters(&roster, &choices(&[name; 5]))?;
            let outputs = model.forward(&batch, context);
            Ok((Tasks::loss(outputs, &[0, 1, 2, 3, 4], &device), 1.0))
        });
        step.unwrap().0
    };
    let of = |model: &SequenceModel, name: &str| -> HostTensors {
        let mut all = trained_parameters(model).unwrap();
        all.retain(|path, _| path.contains(&format!("@{name}")));
        all
    };
    let fresh = || {
        let model = attached(
            tasks.base(&device),
            Some(TOPIC),
            &tasks.lora,
            &["classifier"],
        );
        attached(model, Some(MOOD), penalised, &["classifier"])
    };
    let both = NamedMethods::new()
        .with(TOPIC, &tasks.lora, 1.0)
        .with(MOOD, penalised, 1.0);

    let (mut turns, mut model) = (trainer(), fresh());
    let start = of(&model, MOOD);
    for _ in 0..4 {
        model = step(&mut turns, &both, model, TOPIC);
    }
    assert_eq!(of(&model, MOOD), start, "no row chose it");
    let after_four = of(&model, TOPIC);
    // Through a file, which knows what each parameter has seen.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    turns.state(&model).unwrap().write(&path).unwrap();
    let state = TrainerState::read(&path).unwrap();
    let mut turns = trainer();
    let mut model = turns.restore(fresh(), &state).unwrap();
    for _ in 0..3 {
        model = step(&mut turns, &both, model, MOOD);
    }
    assert_eq!(of(&model, TOPIC), after_four, "no row chose it any more");

    let (mut alone, mut own) = (trainer(), fresh());
    for _ in 0..3 {
        own = step(&mut alone, &both, own, MOOD);
    }
    assert_ne!(of(&own, MOOD), start);
    assert_eq!(of(&model, MOOD), of(&own, MOOD));
    let counts = turns.state(&model).unwrap().optimizer.counts;
    for (path, count) in counts {
        assert_eq!(count, if path.contains("@mood") { 3 } else { 4 }, "{path}");
    }
}
