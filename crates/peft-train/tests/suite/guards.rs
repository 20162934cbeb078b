//! Training that would learn nothing stops and names the cause.

use burn::{
    module::Module,
    nn,
    tensor::{Device, Distribution, Tensor},
};
use peft_lowrank::{LoraConfig, LoraMethod};
use peft_train::{
    AdamWConfig, Schedule, ScheduleKind, TrainError, Trainer, TrainerConfig,
    core::{
        AttachOptions, NameMap, attach,
        format::{TargetModules, TargetSpec},
    },
};

use crate::common::cpu;

/// Two layers, of which the second may be left out of the result.
#[derive(Module, Debug)]
struct Pair {
    first: nn::Linear,
    second: nn::Linear,
}

impl Pair {
    fn forward(&self, x: Tensor<2>, both: bool) -> Tensor<2> {
        let y = self.first.forward(x);
        if both { self.second.forward(y) } else { y }
    }
}

/// Ten steps on a pair that uses its second layer in step `used`.
fn train_pair(device: &Device, used: Option<u64>) -> Result<(), TrainError> {
    let pair = Pair {
        first: nn::LinearConfig::new(5, 5).init(device),
        second: nn::LinearConfig::new(5, 5).init(device),
    };
    let method = LoraMethod::new(LoraConfig::new(2, 4.0)).unwrap();
    let options = AttachOptions {
        targets: &TargetSpec::new(TargetModules::AllLinear),
        names: &NameMap::identity(),
        modules_to_save: &[],
        heads: &[],
        seed: 3,
        gradients: None,
    };
    let (mut model, _) = attach(pair, &method, &options).unwrap();
    let trainer = TrainerConfig {
        learning_rate: 1e-2,
        head_learning_rate: 1e-2,
        clip_norm: None,
        optimizer: AdamWConfig::default(),
        seed: 0,
    };
    let schedule = Schedule::new(ScheduleKind::Constant, 0.0, 100);
    let mut trainer = Trainer::new(trainer, schedule);
    let x = Tensor::<2>::random([8, 5], Distribution::Default, device);
    for step in 0..10 {
        // Where a trainer is made anew between steps, it still knows what the old one saw.
        let state = trainer.state(&model)?;
        trainer = Trainer::new(*trainer.config(), schedule);
        model = trainer.restore(model, &state)?;
        let (next, _) = trainer.step(model, &method, 1, |model, _, _| {
            let y = model.forward(x.clone(), used == Some(step));
            Ok((y.powi_scalar(2).mean(), 1.0))
        })?;
        model = next;
    }
    Ok(())
}

#[test]
fn an_adapter_needs_one_gradient_in_the_first_ten_steps() {
    let device = cpu().autodiff();
    for step in [0, 4, 9] {
        train_pair(&device, Some(step)).unwrap();
    }
    let error = train_pair(&device, None).unwrap_err();
    let TrainError::SilentAdapters { step: 10, modules } = &error else {
        panic!("{error}");
    };
    assert_eq!(modules, &["second"]);
}
