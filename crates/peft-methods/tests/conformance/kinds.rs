//! What methods must hold that adapt plain parameters, or that stand in slots.

use burn::{
    Tensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Device, FloatDType, TensorData},
};
use peft_core::{
    AdapterContext, AttachOptions, AttachReport, DefaultTargets, Hidden, InitialState, InputRows,
    KeyValues, Method, NameMap, ParamPath, Prefixes, Readout, ScannedStates, SiteKind, Slot,
    attach,
    format::{AdapterConfig, AdapterFile, TargetModules, TargetSpec},
    kernels::{key_of, normal},
    load_adapter, nn, read_adapter, save_adapter, trainable_parameters,
};
use peft_methods::{Entry, METHODS};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::model::{assert_close, backend, device, values};

/// A norm's parameters, read as blocks read theirs.
#[derive(Module, Debug)]
struct Norm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

/// A bias, a norm, a matrix that is no weight, and slots.
#[derive(Module, Debug)]
struct Net {
    bias: Param<Tensor<1>>,
    norm: Norm,
    a_log: Param<Tensor<2>>,
    after: Slot<Hidden>,
    state_start: Slot<InitialState>,
    affix: Slot<InitialState>,
    more_states: Slot<ScannedStates>,
    state_readout: Slot<Readout>,
    keys_values: Slot<KeyValues>,
    prompt: Slot<InputRows>,
    tokens: nn::Embedding,
}

struct Case {
    entry: &'static Entry,
    method: Box<dyn Method>,
    width: usize,
    states: usize,
    seed: u64,
    /// Whether settings say that it starts at zero.
    from_zero: bool,
}

fn random<const D: usize>(key: u64, shape: [usize; D], like: (&Device, FloatDType)) -> Tensor<D> {
    let values = normal(key, shape.iter().product());
    let data = TensorData::new(values, shape).convert_dtype(like.1.into());
    Tensor::from_data(data, (like.0, like.1.into()))
}

impl Net {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let context = AdapterContext::inference();
        let rates = nn::parameter(&self.a_log, &context).exp().sum_dim(1);
        let y = x.clone() * rates.transpose() + nn::parameter(&self.bias, &context).unsqueeze();
        let weight = nn::parameter(&self.norm.weight, &context).unsqueeze::<2>();
        let y = y * weight + nn::bias_alone(&self.norm.bias, &context).unsqueeze();
        let y = self.seen(&x, y, &context);
        let normed = |y: Tensor<2>, x: Tensor<2>| (y + x).tanh();
        let y = self.after.through(y, &x, normed, &context);
        self.states(x, y, &context)
    }

    /// With what a prefix and rows before the input add, if anything is there.
    fn seen(&self, x: &Tensor<2>, y: Tensor<2>, context: &AdapterContext) -> Tensor<2> {
        let seen = KeyValues {
            keys: x.clone(),
            values: y,
            prefix: Prefixes::None,
        };
        let seen = self.keys_values.pass(seen, context);
        let y = match seen.prefix {
            Prefixes::All(prefix) => {
                let scores = x.clone().matmul(prefix.keys.transpose()).tanh();
                seen.values + scores.matmul(prefix.values)
            }
            Prefixes::None | Prefixes::Apart { .. } => seen.values,
        };
        match self.prompt.pass(InputRows::default(), context) {
            Some(rows) => y + rows.sum_dim(0).tanh(),
            None => y,
        }
    }

    /// With a state space of its own behind it, if anything is there.
    fn states(&self, x: Tensor<2>, y: Tensor<2>, context: &AdapterContext) -> Tensor<2> {
        let start = |slot: &Slot<InitialState>| slot.pass(InitialState { state: None }, context);
        let [rows, width] = x.dims();
        let a_log = self.a_log.val();
        let states = a_log.dims()[1];
        // Input and output matrices of some kind.
        let matrices = |x: &Tensor<2>, shift: f64| {
            let like = (&x.device(), x.dtype());
            x.clone()
                .mean_dim(1)
                .matmul(Tensor::ones([1, states], like))
                + shift
        };
        let [c, b] = [matrices(&x, 0.5), matrices(&x, -0.25)];
        let all = self.more_states.pass(
            ScannedStates {
                x: x.clone(),
                a_log,
                b,
                c: c.clone(),
            },
            context,
        );
        let decay = all.a_log.clone().exp().neg().exp();
        let [_, count] = decay.dims();
        let like = (&x.device(), x.dtype());
        let mut h = Tensor::zeros([width, count], like);
        if let Some(state) = start(&self.state_start) {
            h = h.slice_assign([0..width, 0..states], state);
        }
        if let Some(rows) = start(&self.affix) {
            h = h + rows.sum_dim(0).tanh().transpose();
        }
        let mut given = Vec::new();
        for row in 0..rows {
            let at = |x: &Tensor<2>| x.clone().narrow(0, row, 1);
            h = decay.clone() * h + at(&x).transpose() * at(&all.b);
            given.push((h.clone() * at(&all.c)).sum_dim(1).transpose());
        }
        let readout = Readout {
            y: y + Tensor::cat(given, 0),
            c,
        };
        self.state_readout.pass(readout, context)
    }
}

impl Case {
    fn dtype(&self) -> FloatDType {
        match backend().as_str() {
            "wgpu" => FloatDType::F32,
            _ => FloatDType::F64,
        }
    }

    fn base(&self, dtype: FloatDType, device: &Device) -> Net {
        let key = |what: &str| key_of(self.seed, what, 0);
        let like = (device, dtype);
        Net {
            bias: Param::from_tensor(random(key("bias"), [self.width], like)),
            norm: Norm {
                weight: Param::from_tensor(random(key("scale"), [self.width], like)),
                bias: Param::from_tensor(random(key("shift"), [self.width], like)),
            },
            a_log: Param::from_tensor(random(key("a_log"), [self.width, self.states], like)),
            after: Slot::new([self.width]),
            state_start: Slot::new([self.width, self.states]),
            affix: Slot::new([self.width]),
            more_states: Slot::new([self.width, self.states]),
            state_readout: Slot::new([self.width, self.states]),
            keys_values: Slot::new([self.width]),
            prompt: Slot::new([self.width]),
            tokens: nn::Embedding::new(random(key("tokens"), [11, self.width], like)),
        }
    }

    fn is_bottleneck(&self) -> bool {
        ["bottleneck", "parallel", "serial_parallel"].contains(&self.entry.name)
    }

    fn targets(&self) -> TargetSpec {
        let names: &[&str] = match self.method.site_kinds() {
            [SiteKind::Slot] => match self.method.default_targets() {
                DefaultTargets::Named(names) if !self.is_bottleneck() => names,
                _ => &["after"],
            },
            // One of two dimensions and one of one, where it takes either.
            _ if ["sdt", "sdlora"].contains(&self.entry.name) => &["a_log"],
            // A norm by the name of its module, and by that of its weight.
            _ if self.entry.name == "ln_tuning" => &["norm"],
            _ if self.entry.name == "ssf" => &["norm.weight"],
            _ => &["a_log", "bias"],
        };
        TargetSpec::new(TargetModules::List(
            names.iter().map(|n| n.to_string()).collect(),
        ))
    }

    fn fresh(&self, dtype: FloatDType, device: &Device) -> (Net, AttachReport) {
        let options = AttachOptions {
            targets: &self.targets(),
            names: &NameMap::identity(),
            modules_to_save: &[],
            heads: &[],
            seed: self.seed,
            gradients: None,
        };
        let attached = attach(self.base(dtype, device), self.method.as_ref(), &options);
        attached.unwrap()
    }

    /// With random values in the adapter, as after training.
    fn trained(&self, dtype: FloatDType, device: &Device) -> Net {
        self.fresh(dtype, device).0.map(&mut Nudge {
            path: ParamPath::default(),
            change: |path: &str, old: Vec<f64>| {
                let draws = normal(key_of(self.seed, path, 1), old.len()).into_iter();
                let moved = old.into_iter().zip(draws);
                moved
                    .map(|(old, draw)| old + 0.3 * f64::from(draw))
                    .collect()
            },
        })
    }

    fn input(&self, dtype: FloatDType, device: &Device) -> Tensor<2> {
        random(key_of(self.seed, "x", 0), [3, self.width], (device, dtype))
    }

    fn probe(&self, device: &Device) -> Tensor<2> {
        let like = (device, self.dtype());
        random(key_of(self.seed, "probe", 0), [3, self.width], like)
    }
}

/// The path of a field of an adapter; of the copy that a bias carries that of the weight's, which it is one with.
fn trained_path(path: &ParamPath) -> Option<String> {
    let text = path.text();
    let here = path.adapter_place().is_some() || text.contains(".implied.");
    here.then(|| text.replace(".bias.adapter.implied.", ".weight.adapter."))
}

/// Changes the values of trained fields.
struct Nudge<F> {
    path: ParamPath,
    change: F,
}

impl<F: Fn(&str, Vec<f64>) -> Vec<f64>> ModuleMapper for Nudge<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(path) = trained_path(&self.path) else {
            return param;
        };
        param.map(|old| {
            let trained = old.is_require_grad();
            let (shape, device, dtype) = (old.dims(), old.device(), old.dtype());
            let new = (self.change)(&path, old.into_data().iter::<f64>().collect());
            let data = TensorData::new(new, shape).convert_dtype(dtype);
            Tensor::from_data(data, (&device, dtype)).set_require_grad(trained)
        })
    }
}

/// Gradients of trained fields.
struct Read<'a>(
    ParamPath,
    &'a burn::tensor::Gradients,
    Vec<(String, Vec<f64>)>,
);

impl ModuleVisitor for Read<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.0.enter(name, container);
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.0.exit();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (Some(path), Some(gradient)) = (trained_path(&self.0), param.base().grad(self.1))
        else {
            return;
        };
        let gradient = values(gradient);
        match self.2.iter_mut().find(|(known, _)| *known == path) {
            Some((_, sum)) => sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g),
            None => self.2.push((path, gradient)),
        }
    }
}

fn variants(entry: &Entry) -> Vec<Map<String, Value>> {
    let with = |json: Value| {
        let mut settings = (entry.defaults)();
        settings.extend(json.as_object().expect("an object").clone());
        settings
    };
    match entry.name {
        "bottleneck" => vec![
            with(json!({ "reduction_factor": 2.0 })),
            with(json!({ "non_linearity": "swish", "reads": "plain", "scaling": 0.5 })),
            with(json!({ "non_linearity": "gelu", "reads": "residual", "reduction_factor": 3.0 })),
            with(json!({ "non_linearity": "tanh", "reduction_factor": 0.5 })),
        ],
        "prefix" => vec![
            with(json!({ "num_virtual_tokens": 3 })),
            with(
                json!({ "num_virtual_tokens": 2, "init_weights": "zero", "shift_positions": false }),
            ),
            with(json!({
                "num_virtual_tokens": 4, "prefix_projection": true, "encoder_hidden_size": 5,
            })),
        ],
        "prompt" => vec![
            with(json!({ "num_virtual_tokens": 3 })),
            with(json!({ "num_virtual_tokens": 1, "prompt_tuning_init": "RANDOM" })),
        ],
        "p_tuning" => vec![
            with(json!({ "num_virtual_tokens": 3 })),
            with(json!({ "num_virtual_tokens": 2, "encoder_hidden_size": 4 })),
        ],
        "parallel" => vec![
            with(json!({})),
            with(json!({ "non_linearity": "tanh", "reduction_factor": 3.0, "scaling": 0.5 })),
        ],
        "serial_parallel" => vec![
            with(json!({ "serial_size": 3, "parallel_size": 2, "non_linearity": "gelu" })),
            with(json!({ "serial_size": 0, "parallel_size": 5, "non_linearity": "swish" })),
            with(json!({ "serial_size": 1, "parallel_size": 0 })),
        ],
        "bitfit" | "ln_tuning" => vec![Map::new()],
        "ssf" => vec![with(json!({ "norms": false }))],
        "sdt" => vec![
            with(json!({ "selector": "random" })),
            with(json!({ "selector": "random", "channels": 0.5, "states": 1.0 })),
            with(json!({ "selector": "random", "channels": 1.0, "states": 0.1 })),
        ],
        "sdlora" => vec![with(json!({ "selector": "random" }))],
        "ssm_components" | "lorap_x" => {
            vec![with(json!({ "full": ["a_log", "bias"], "lora": [] }))]
        }
        "initial_state" | "state_offset" => vec![Map::new()],
        "additional_scan" => vec![with(json!({})), with(json!({ "extra_states": 1 }))],
        "affix" => vec![with(json!({})), with(json!({ "affix_tokens": 1 }))],
        other => panic!("{other}: say here which of its settings to test"),
    }
}

fn check(property: impl Fn(&Case)) {
    let others = METHODS.iter().filter(|entry| super::adapts_others(entry));
    let mut met = 0;
    for entry in others {
        for settings in variants(entry) {
            let run = |width, states, seed| {
                let method = (entry.build)(&settings).unwrap();
                property(&Case {
                    entry,
                    method,
                    width,
                    states,
                    seed,
                    from_zero: settings.get("init_weights") == Some(&json!("zero")),
                });
            };
            met += 1;
            run(1, 1, 1);
            run(17, 5, 2);
            if backend() == "wgpu" {
                continue;
            }
            let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
                cases: 12,
                failure_persistence: None,
                rng_seed: proptest::test_runner::RngSeed::Fixed(7),
                ..ProptestConfig::default()
            });
            runner
                .run(
                    &(1..40usize, 1..9usize, 0..1000u64),
                    |(width, states, seed)| {
                        run(width, states, seed);
                        Ok(())
                    },
                )
                .unwrap();
        }
    }
    assert!(met >= 8, "{met}");
}

#[test]
fn fresh_ones_change_no_bit() {
    check(|case| {
        let (device, dtype) = (device(), case.dtype());
        let x = case.input(dtype, &device);
        let before = values(case.base(dtype, &device).forward(x.clone()));
        let fresh = values(case.fresh(dtype, &device).0.forward(x.clone()));
        // Rows before others are seen from the start.
        let name = case.entry.name;
        let seen = ["affix", "prefix", "prompt", "p_tuning"].contains(&name) && !case.from_zero;
        if name == "additional_scan" && backend() != "flex" {
            // Longer sums over the states: only flex adds what is new behind what was there.
            let rounding = if dtype == FloatDType::F64 {
                1e-14
            } else {
                1e-6
            };
            assert_close(name, &fresh, &before, rounding);
        } else {
            assert_eq!(
                before == fresh,
                !seen,
                "{name} with {} channels and {} states: {before:?} and {fresh:?}",
                case.width,
                case.states
            );
        }
        let trained = values(case.trained(dtype, &device).forward(x));
        assert_ne!(before, trained, "{name}");
    });
}

#[test]
fn what_folds_computes_the_same_when_folded() {
    check(|case| {
        if case.method.site_kinds() == [SiteKind::Slot] {
            return;
        }
        let (device, dtype) = (device(), case.dtype());
        let x = case.input(dtype, &device);
        let model = case.trained(dtype, &device);
        let apart = values(model.forward(x.clone()));
        let folded = model.materialize();
        assert!(
            trainable_parameters(&folded)
                .iter()
                .all(|one| !one.path.contains(".adapter."))
        );
        let tolerance = if dtype == FloatDType::F64 {
            1e-12
        } else {
            1e-5
        };
        assert_close(
            case.entry.name,
            &values(folded.forward(x)),
            &apart,
            tolerance,
        );
    });
}

#[test]
fn their_gradients_match_finite_differences_and_are_all_there_are() {
    if backend() == "wgpu" {
        return;
    }
    check(|case| {
        // A positive part has no derivative at 0, and differences across it are none.
        if case.entry.name == "p_tuning"
            || case.is_bottleneck() && case.method.config()["non_linearity"] == "relu"
        {
            return;
        }
        let device = device().autodiff();
        let dtype = case.dtype();
        let model = case.trained(dtype, &device);
        let loss = (model.forward(case.input(dtype, &device)) * case.probe(&device)).sum();
        let gradients = loss.backward();
        let mut read = Read(ParamPath::default(), &gradients, Vec::new());
        model.visit(&mut read);
        let mut trained = trainable_parameters(&model);
        trained.retain(|one| !one.path.contains(".implied."));
        assert_eq!(read.2.len(), trained.len());
        let counted: usize = trained.iter().map(|one| one.len()).sum();
        let (_, report) = case.fresh(dtype, &device);
        assert_eq!(report.adapter_parameters, counted, "{}", case.entry.name);
        let plain = device.clone().inner();
        let valid = model.valid();
        for (field, gradient) in read.2 {
            for index in (0..gradient.len()).step_by(gradient.len().div_ceil(5)) {
                let at = |step: f64| {
                    let moved = valid.clone().map(&mut Nudge {
                        path: ParamPath::default(),
                        change: |path: &str, mut old: Vec<f64>| {
                            if path == field {
                                old[index] += step;
                            }
                            old
                        },
                    });
                    let y = moved.forward(case.input(dtype, &plain));
                    values((y * case.probe(&plain)).sum())[0]
                };
                let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
                let error = (numeric - gradient[index]).abs() / numeric.abs().max(1.0);
                let name = case.entry.name;
                assert!(
                    error < 1e-7,
                    "{name} {field}[{index}]: {numeric} {}",
                    gradient[index]
                );
            }
        }
    });
}

#[test]
fn their_files_keep_every_bit_and_broken_ones_are_refused() {
    check(|case| {
        let (device, names) = (device(), NameMap::identity());
        let method = case.method.as_ref();
        let model = case.trained(FloatDType::F32, &device);
        let dir = tempfile::tempdir().unwrap();
        let targets = case.targets();
        let mut config = AdapterConfig::builder(method.peft_type()).target(&targets);
        for (key, value) in method.config() {
            config = config.field(&key, value);
        }
        let config = config.build().unwrap();
        save_adapter(&model, dir.path(), &config, method, &names).unwrap();
        let x = case.input(FloatDType::F32, &device);
        let written = values(model.forward(x.clone()));
        let load = |file: &AdapterFile| {
            file.write(&dir.path().join("adapter_model.safetensors"))
                .unwrap();
            let config = AdapterConfig::read(dir.path()).unwrap();
            let method = peft_methods::from_config(&config)?;
            let loaded = read_adapter(dir.path(), config, method.as_ref())?;
            let base = case.base(FloatDType::F32, &device);
            load_adapter(base, &loaded, method.as_ref(), &names, &device)
        };
        let whole = AdapterFile::read(dir.path()).unwrap();
        let (again, _) = load(&whole).unwrap();
        let found = values(again.forward(x));
        match method.of_files().is_some() {
            // What a network makes is computed anew for the file.
            true => assert_close(case.entry.name, &found, &written, 1e-5),
            false => assert_eq!(found, written, "{}", case.entry.name),
        }
        for key in whole.tensors.keys() {
            let mut file = whole.clone();
            let bytes = &mut file.tensors[key].bytes;
            let last = bytes.len() - 4;
            bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
            assert!(load(&file).is_err(), "{key}");
            let mut file = whole.clone();
            file.tensors[key].shape.insert(0, 1);
            assert!(load(&file).is_err(), "{key}");
            let mut file = whole.clone();
            let tensor = file.tensors.swap_remove(key).unwrap();
            let elsewhere = match key.contains("base_model.") {
                true => key.replacen("base_model.", "base_model.elsewhere.", 1),
                false => format!("base_model.model.elsewhere.{key}"),
            };
            file.tensors.insert(elsewhere, tensor);
            assert!(load(&file).is_err(), "{key}");
        }
    });
}
