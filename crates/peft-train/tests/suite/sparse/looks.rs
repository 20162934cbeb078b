//! Bases and entries that are chosen anew among all while training goes on.

use peft_train::TrainError;

use super::*;

const TOTAL: u64 = 40;

/// The gradients of some batches to the effective weight, each with a disturbance of its own.
fn gradients(model: &Net, method: &dyn Method, batches: usize) -> WeightGradients {
    let weight = &model.layer.weight;
    let adapter = weight.reparameterization::<DynAdapter>().unwrap();
    let effective = adapter.effective(weight.base()).inner();
    let dtype = effective.dtype();
    let mut all = WeightGradients::new();
    for batch in 0..batches {
        let moved = effective.clone().cast(DType::F64)
            + random(50 + batch as u64, [INPUTS, OUTPUTS], &cpu()).mul_scalar(0.1);
        let found = gradient(&moved).cast(match dtype {
            DType::F64 => DType::F64,
            _ => DType::F32,
        });
        all.add([("layer".to_owned(), found)], method);
    }
    all
}

fn look(trainer: &mut Trainer, method: &dyn Method, model: Net) -> Net {
    let shown = trainer.look(model, method, |model, batches| {
        Ok(gradients(model, method, batches))
    });
    shown.unwrap()
}

/// Steps, each with the look that is due after it.
fn go_on(trainer: &mut Trainer, method: &dyn Method, model: Net, count: usize) -> Net {
    (0..count).fold(model, |model, _| {
        let model = step(trainer, method, model);
        look(trainer, method, model)
    })
}

fn refreshing(mask: &str) -> Box<dyn Method> {
    let settings = json!({
        "density": 0.2, "mask": mask, "window": 1.4, "refresh": 4, "basis_refreshes": 2, "probe_batches": 3
    });
    method("sparsegrad", &settings)
}

const MASKS: [&str; 4] = [
    "leading_block",
    "topk_fixed",
    "topk_refresh",
    "topk_each_step",
];

#[test]
fn new_bases_leave_the_effective_weight_as_it_is() {
    for mask in MASKS {
        let method = refreshing(mask);
        let mut trainer = trainer();
        let mut model = attached(method.as_ref());
        let field = |state: &TrainerState, name: &str| {
            numbers(&state.parameters, &format!("layer.weight.adapter.{name}"))
        };
        let first = field(&trainer.state(&model).unwrap(), "input_basis");
        let mut looks = Vec::new();
        for index in 1..=TOTAL {
            model = step(&mut trainer, method.as_ref(), model);
            let before = effective(&model);
            model = look(&mut trainer, method.as_ref(), model);
            let after = effective(&model);
            if method.looks_after(index, TOTAL) == 0 {
                assert_eq!(before, after);
                continue;
            }
            looks.push(index);
            assert_close(&format!("{mask}, {index}"), &after, &before, 1e-13);
            let state = trainer.state(&model).unwrap();
            assert!(field(&state, "core").iter().all(|value| *value == 0.0));
            assert!(state.memory.is_empty() && state.optimizer.means.is_empty());
            let nonzero = |values: &[f64]| values.iter().filter(|value| **value != 0.0).count();
            let past = field(&state, "past");
            let (now, later) = past.split_at(past.len() / 2);
            assert!(nonzero(now) > 0, "{mask}: nothing was kept");
            assert_eq!(nonzero(later) > 0, looks.len() == 2, "{mask}");
            assert_ne!(field(&state, "input_basis"), first, "{mask}");
        }
        assert_eq!(looks, [14, 27]);
        // What is trained goes on to be trained.
        let state = trainer.state(&model).unwrap();
        assert!(field(&state, "core").iter().any(|value| *value != 0.0));
    }
}

#[test]
fn runs_with_looks_go_on_to_the_same_bits() {
    let settings = json!({
        "density": 0.2, "select_every": 6, "replace": 0.5, "growth": "accumulated_gradient"
    });
    let spiel = method("spiel", &settings);
    for method in MASKS.map(refreshing).into_iter().chain([spiel]) {
        let method = method.as_ref();
        let mut whole = trainer();
        let model = go_on(&mut whole, method, attached(method), 30);
        let expected = whole.state(&model).unwrap();
        for stop in [13, 14, 20] {
            let mut first = trainer();
            let model = go_on(&mut first, method, attached(method), stop);
            let state = first.state(&model).unwrap();
            let mut second = trainer();
            let model = second.restore(attached(method), &state).unwrap();
            let model = go_on(&mut second, method, model, 30 - stop);
            assert_eq!(second.state(&model).unwrap(), expected, "{method:?} {stop}");
        }
    }
}

#[test]
fn a_look_that_is_due_cannot_be_left_out() {
    let method = refreshing("leading_block");
    let mut trainer = trainer();
    let model = go_on(&mut trainer, method.as_ref(), attached(method.as_ref()), 13);
    let model = step(&mut trainer, method.as_ref(), model);
    let due = |error| matches!(error, TrainError::LookDue { step: 14 });
    assert!(due(trainer.state(&model).unwrap_err()));
    let more = trainer.step(model, method.as_ref(), 1, |_: &Net, _, _| unreachable!());
    assert!(due(more.map(|_| ()).unwrap_err()));
}

#[test]
fn files_hold_the_offset_of_earlier_bases() {
    for mask in MASKS {
        let method = refreshing(mask);
        let mut trainer = trainer();
        let model = go_on(&mut trainer, method.as_ref(), attached(method.as_ref()), 20);
        let names = NameMap::identity();
        let targets = TargetSpec::new(TargetModules::AllLinear);
        let mut config = AdapterConfig::builder(method.peft_type()).target(&targets);
        for (key, value) in method.config() {
            config = config.field(&key, value);
        }
        let config = config.build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        save_adapter(&model, dir.path(), &config, method.as_ref(), &names).unwrap();
        let loaded = read_adapter(dir.path(), config, method.as_ref()).unwrap();
        let base = Net {
            layer: Linear::new(start(&cpu()), None),
        };
        let (again, _) = load_adapter(base, &loaded, method.as_ref(), &names, &cpu()).unwrap();
        assert_close(mask, &effective(&again), &effective(&model), 1e-13);
        // Without what the file holds of the first bases it is another weight.
        let file = AdapterFile::read(dir.path()).unwrap();
        let past = file.tensors.iter().find(|(key, _)| key.ends_with("past"));
        assert!(past.unwrap().1.bytes.iter().any(|byte| *byte != 0));
    }
}

#[test]
fn a_base_in_half_precision_keeps_what_was_trained() {
    let method = refreshing("leading_block");
    let device = cpu().autodiff();
    let half = |device: &Device| start(device).mul_scalar(30.0).cast(DType::BF16);
    let base = Net {
        layer: Linear::new(half(&device), None),
    };
    let mut probe = WeightGradients::new();
    let found = gradient(&half(&cpu()).cast(DType::F64)).cast(DType::F32);
    probe.add([("layer".to_owned(), found)], method.as_ref());
    let options = AttachOptions {
        targets: &TargetSpec::new(TargetModules::AllLinear),
        names: &NameMap::identity(),
        modules_to_save: &[],
        heads: &[],
        seed: 5,
        gradients: Some(&probe),
    };
    let (mut model, _) = attach(base, method.as_ref(), &options).unwrap();
    let before = values(model.layer.weight.base().cast(DType::F32));
    let output = |model: &Net, device: &Device| {
        let x = random(1, [ROWS, INPUTS], device).cast(DType::F32);
        model.layer.forward(x, &AdapterContext::inference())
    };
    let unadapted = values(output(&model, &device));
    let mut trainer = trainer();
    for _ in 0..14 {
        let step = trainer.step(model, method.as_ref(), 1, |model: &Net, _, _| {
            let wanted = random(2, [ROWS, OUTPUTS], &device).cast(DType::F32);
            Ok(((output(model, &device) - wanted).powi_scalar(2).mean(), 1.0))
        });
        model = step.unwrap().0;
    }
    let trained = values(output(&model, &device));
    model = look(&mut trainer, method.as_ref(), model);
    let refreshed = values(output(&model, &device));
    assert_eq!(values(model.layer.weight.base().cast(DType::F32)), before);
    let norm = |a: &[f64], b: &[f64]| {
        let squares = a.iter().zip(b).map(|(a, b)| (a - b).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let moved = norm(&trained, &unadapted);
    assert!(moved > 0.0);
    // A weight of this size is rounded in its type by more than the whole run has moved it.
    let lost = norm(&refreshed, &trained);
    assert!(lost < 1e-3 * moved, "{lost} of {moved}");
}

#[test]
fn entries_go_where_the_sum_of_all_gradients_is_largest() {
    let settings = json!({
        "density": 0.2, "select_every": 5, "select_batches": 3, "growth": "accumulated_gradient"
    });
    let method = method("spiel", &settings);
    let mut trainer = trainer();
    let model = go_on(&mut trainer, method.as_ref(), attached(method.as_ref()), 4);
    let model = step(&mut trainer, method.as_ref(), model);
    let shown = gradients(&model, method.as_ref(), 3);
    let model = look(&mut trainer, method.as_ref(), model);

    let turned = |sum: &Tensor<2>| values(sum.clone().transpose());
    let (sum, squares) = (
        turned(&shown.sums["layer"]),
        turned(&shown.squares["layer"]),
    );
    let mut order: Vec<usize> = (0..sum.len()).collect();
    order.sort_by(|&a, &b| sum[b].abs().total_cmp(&sum[a].abs()));
    let mut wanted = order[..7].to_vec();
    wanted.sort_unstable();
    let state = trainer.state(&model).unwrap();
    let tiles = numbers(&state.parameters, "layer.weight.adapter.tiles");
    let tiles: Vec<usize> = tiles.into_iter().map(|tile| tile as usize).collect();
    // The first change takes all.
    assert_eq!(tiles, wanted);
    assert_eq!(numbers(&state.memory, "layer.age"), [3.0; 7]);
    let of = |all: &[f64], rest: f64| -> Vec<f64> {
        tiles.iter().map(|&tile| all[tile] / 3.0 * rest).collect()
    };
    let mean = numbers(&state.memory, "layer.mean");
    assert_close("mean", &mean, &of(&sum, 1.0 - 0.9f64.powi(3)), 1e-12);
    let square = numbers(&state.memory, "layer.square");
    let rest = 1.0 - 0.999f64.powi(3);
    assert_close("square", &square, &of(&squares, rest), 1e-12);

    // The next replaces 0.2 · (1 − 10/40) of seven: one. Its place is free, too, and may be chosen again.
    let model = go_on(&mut trainer, method.as_ref(), model, 5);
    let state = trainer.state(&model).unwrap();
    let ages = numbers(&state.memory, "layer.age");
    assert_eq!(ages.iter().filter(|age| **age == 3.0).count(), 1);
    assert_eq!(ages.iter().filter(|age| **age == 8.0).count(), 6);
    let values = numbers(&state.parameters, "layer.weight.adapter.values");
    let fresh = ages.iter().position(|age| *age == 3.0).unwrap();
    assert_eq!(values[fresh], 0.0);
}
