//! VeRA on several layers: one pair of projections, PyTorch's.

#![cfg(feature = "flex")]

use std::sync::Arc;

use burn::{
    Tensor,
    module::Module,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterContext, AttachOptions, DynAdapter, NameMap, adapter_tensors, attach,
    format::{AdapterFile, TargetModules, TargetSpec},
    kernels::{Mt19937, normal},
    nn::Linear,
};
use peft_lowrank::{Vera, VeraConfig, VeraMethod, torch_kaiming_uniform};

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    second: Linear,
}

fn linear(inputs: usize, outputs: usize, key: u64) -> Linear {
    let data = TensorData::new(normal(key, inputs * outputs), [inputs, outputs]);
    Linear::new(Tensor::from_data(data, &Device::flex()), None)
}

fn attached(config: VeraConfig) -> (Net, VeraMethod) {
    let net = Net {
        first: linear(5, 9, 1),
        second: linear(9, 4, 2),
    };
    let method = VeraMethod::new(config).unwrap();
    let options = AttachOptions {
        targets: &TargetSpec::new(TargetModules::AllLinear),
        names: &NameMap::identity(),
        modules_to_save: &[],
        heads: &[],
        seed: 0,
        gradients: None,
    };
    let (net, report) = attach(net, &method, &options).unwrap();
    assert_eq!(report.targets.len(), 2);
    // The vectors alone are trained: r + out of each.
    assert_eq!(report.adapter_parameters, 2 * 3 + 9 + 4);
    (net, method)
}

fn vera(layer: &Linear) -> &Vera {
    let adapter = layer.weight.reparameterization::<DynAdapter>().unwrap();
    adapter.downcast_ref().unwrap()
}

#[test]
fn layers_share_projections_as_large_as_the_widest() {
    let config = VeraConfig {
        r: 3,
        projection_prng_key: 4,
        ..VeraConfig::default()
    };
    let (net, method) = attached(config.clone());
    let (first, second) = (vera(&net.first), vera(&net.second));
    assert!(Arc::ptr_eq(&first.projections, &second.projections));
    let tensors = adapter_tensors(&net, &method, &NameMap::identity(), &[]).unwrap();
    assert_eq!(tensors.len(), 2 + 4);
    assert_eq!(tensors["base_model.vera_A"].shape, [3, 9]);
    assert_eq!(tensors["base_model.vera_B"].shape, [9, 3]);

    // A first, then B, of one generator.
    let mut generator = Mt19937::new(4);
    for (name, rows, columns) in [("vera_A", 3, 9), ("vera_B", 9, 3)] {
        let wanted = torch_kaiming_uniform(&mut generator, rows, columns);
        let bytes: Vec<u8> = wanted.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(tensors[&format!("base_model.{name}")].bytes, bytes);
    }

    let (net, method) = attached(VeraConfig {
        save_projection: false,
        ..config
    });
    let tensors = adapter_tensors(&net, &method, &NameMap::identity(), &[]).unwrap();
    assert_eq!(tensors.len(), 4);
}

#[test]
fn copies_and_other_modes_keep_sharing() {
    let config = VeraConfig {
        r: 3,
        ..VeraConfig::default()
    };
    let (net, _) = attached(config);
    let copy = net.clone().valid();
    let projections = &vera(&net.first).projections;
    assert!(Arc::ptr_eq(projections, &vera(&copy.second).projections));
    let x = Tensor::<2>::ones([2, 5], &Device::flex());
    let context = AdapterContext::inference();
    let plain = net.first.weight.base();
    let y = net.first.forward(x.clone(), &context);
    let difference = (y - x.matmul(plain)).abs().max().into_scalar::<f32>();
    assert!(difference < 1e-6, "{difference}");
}

/// `vera_A` and `vera_B` that Hugging Face PEFT drew, bit by bit.
#[test]
fn projections_are_those_of_torch() {
    let goldens = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/adapters/");
    for (case, key) in [("vera_qv", 0), ("vera_feed_forward", 3)] {
        let file = AdapterFile::read(format!("{goldens}{case}").as_ref()).unwrap();
        let mut generator = Mt19937::new(key);
        for name in ["base_model.vera_A", "base_model.vera_B"] {
            let tensor = file.tensor(name).unwrap();
            let [rows, columns] = tensor.shape[..] else {
                panic!("{name} is no matrix");
            };
            let wanted = torch_kaiming_uniform(&mut generator, rows, columns);
            let bytes: Vec<u8> = wanted.iter().flat_map(|v| v.to_le_bytes()).collect();
            assert_eq!(tensor.bytes, bytes, "{case} {name}");
        }
    }
}

#[test]
fn settings_without_sense_are_refused() {
    for config in [
        VeraConfig {
            r: 0,
            ..VeraConfig::default()
        },
        VeraConfig {
            d_initial: 0.0,
            ..VeraConfig::default()
        },
        VeraConfig {
            vera_dropout: 1.0,
            ..VeraConfig::default()
        },
    ] {
        assert!(VeraMethod::new(config).is_err());
    }
}
