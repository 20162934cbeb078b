//! Against dense training: where all entries are trained, the two are one.

use super::*;

/// AdamW over the change of a matrix, as PyTorch computes it.
struct Dense {
    start: Tensor<2>,
    config: AdamWConfig,
    value: Tensor<2>,
    mean: Tensor<2>,
    square: Tensor<2>,
    steps: i32,
}

impl Dense {
    fn new(value: Tensor<2>, config: AdamWConfig) -> Self {
        Self {
            start: value.clone(),
            config,
            mean: value.zeros_like(),
            square: value.zeros_like(),
            value,
            steps: 0,
        }
    }

    fn step(&mut self, gradient: Tensor<2>) {
        self.steps += 1;
        let AdamWConfig {
            beta1,
            beta2,
            eps,
            weight_decay,
        } = self.config;
        self.mean = self.mean.clone().mul_scalar(beta1) + gradient.clone().mul_scalar(1.0 - beta1);
        self.square =
            self.square.clone().mul_scalar(beta2) + gradient.powi_scalar(2).mul_scalar(1.0 - beta2);
        let mean = (self.mean.clone()).div_scalar(1.0 - beta1.powi(self.steps));
        let root = (self.square.clone())
            .div_scalar(1.0 - beta2.powi(self.steps))
            .sqrt();
        let decay = (self.value.clone() - self.start.clone()).mul_scalar(RATE * weight_decay);
        self.value = self.value.clone() - decay - (mean / root.add_scalar(eps)).mul_scalar(RATE);
    }
}

#[test]
fn a_full_window_is_dense_training_in_the_rotated_basis() {
    let masks = [
        "leading_block",
        "topk_fixed",
        "topk_refresh",
        "topk_each_step",
    ];
    for (mask, config) in masks
        .into_iter()
        .flat_map(|mask| [AdamWConfig::default(), OTHER].map(|config| (mask, config)))
    {
        let settings = json!({ "density": 1.0, "mask": mask, "refresh": 4 });
        let method = method("sparsegrad", &settings);
        let mut model = attached(method.as_ref());
        let mut trainer = trainer_with(config);
        // W = U A Vᵀ with A = Uᵀ W V, and A is what dense training in the basis trains.
        let stored = trainer.state(&model).unwrap().parameters;
        let basis = |field: &str, shape: [usize; 2]| {
            let flat = numbers(&stored, &format!("layer.weight.adapter.{field}"));
            Tensor::<2>::from_data(TensorData::new(flat, shape), (&cpu(), DType::F64))
        };
        let u = basis("input_basis", [INPUTS, INPUTS]);
        let vt = basis("output_basis", [OUTPUTS, OUTPUTS]);
        let rotated = |w: Tensor<2>| {
            u.clone()
                .transpose()
                .matmul(w)
                .matmul(vt.clone().transpose())
        };
        let back = |a: Tensor<2>| u.clone().matmul(a).matmul(vt.clone());
        let mut dense = Dense::new(rotated(start(&cpu())), config);
        assert_close(mask, &effective(&model), &values(start(&cpu())), 1e-15);
        for index in 0..15 {
            model = step(&mut trainer, method.as_ref(), model);
            dense.step(rotated(gradient(&back(dense.value.clone()))));
            let wanted = values(back(dense.value.clone()));
            assert_close(
                &format!("{mask}, {index}"),
                &effective(&model),
                &wanted,
                1e-9,
            );
        }
    }
}

#[test]
fn masked_gradients_of_all_entries_are_dense_training() {
    // All entries: once by the trainer's optimiser, then by the method.
    let cases = [
        (1.0, false, 2),
        (1.0 - 1e-9, false, 0),
        (1.0 - 1e-9, true, 0),
    ];
    for ((density, mask_update, kept), config) in cases
        .into_iter()
        .flat_map(|case| [(case, AdamWConfig::default()), (case, OTHER)])
    {
        let method = method(
            "gmt",
            &json!({ "density": density, "mask_update": mask_update }),
        );
        let mut model = attached(method.as_ref());
        let (mut trainer, mut dense) = (trainer_with(config), Dense::new(start(&cpu()), config));
        for _ in 0..12 {
            model = step(&mut trainer, method.as_ref(), model);
            dense.step(gradient(&dense.value));
            assert_close(
                "gmt",
                &effective(&model),
                &values(dense.value.clone()),
                1e-10,
            );
        }
        let count = INPUTS * OUTPUTS;
        assert_eq!(trainer.optimizer().state_len(), kept * count);
        // Moments of 8 bytes, and an age of 4 where values have one.
        let age = if mask_update { 4 } else { 0 };
        assert_eq!(trainer.state_bytes(), (16 + age) * count);
    }
}

#[test]
fn entries_that_come_and_go_are_trained_by_the_runs_settings() {
    let settings = json!({ "density": 1.0, "select_every": 100 });
    let method = method("spiel", &settings);
    let mut model = attached(method.as_ref());
    let (mut trainer, mut dense) = (trainer_with(OTHER), Dense::new(start(&cpu()), OTHER));
    for _ in 0..12 {
        model = step(&mut trainer, method.as_ref(), model);
        dense.step(gradient(&dense.value));
        let wanted = values(dense.value.clone());
        assert_close("spiel", &effective(&model), &wanted, 1e-10);
    }
}
