//! Against SciPy, PyTorch and Hugging Face PEFT; see `xtask/python/mint_spectral.py`.

mod common;

use common::{Tensors, error, json};
use peft_core::randperm::randperm_prefix;
use peft_spectral::{
    Basis, Sandwich, Support,
    circulant::{self, BlockCirculant, peft_scale},
    gain::Convention,
    merge::delta_weight,
    support::{
        Bands, Hierarchical, Metric, Reach, fourierft_support, hierarchical, waveft_support,
    },
    transform::{Wavelet, spectrum},
};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn size(case: &Value, key: &str) -> usize {
    case[key].as_u64().unwrap() as usize
}

#[test]
fn spectra_are_scipys() {
    let tensors = Tensors::open("transforms.safetensors");
    for case in ["square", "oblong", "odd", "prime", "row", "column", "one"] {
        let [m, n] = tensors.shape(&format!("{case}.x"));
        let x = tensors.get(&format!("{case}.x"));
        for (name, basis) in [
            ("dct", Basis::Dct),
            ("dht", Basis::Hartley),
            ("dft", Basis::Fourier),
        ] {
            let wanted = tensors.get(&format!("{case}.{name}"));
            let found = spectrum(basis, &x, m, n);
            assert!(error(&found, &wanted) < 1e-14, "{case} {name}");
        }
    }
}

#[test]
fn selections_are_those_of_the_specification() {
    let tensors = Tensors::open("transforms.safetensors");
    for case in json("selection.json").as_array().unwrap() {
        let name = case["case"].as_str().unwrap();
        let [m, n] = tensors.shape(&format!("{name}.x"));
        let scores = spectrum(Basis::Dct, &tensors.get(&format!("{name}.x")), m, n);
        let settings = Hierarchical {
            bands: size(case, "bands") as u32,
            energy_share: case["share"].as_f64().unwrap(),
            metric: match case["metric"].as_str().unwrap() {
                "corner" => Metric::Corner,
                "normalized" => Metric::Normalized,
                _ => Metric::Centre,
            },
            reach: match case["reach"].as_str().unwrap() {
                "grid" => Reach::Grid,
                _ => Reach::Paper,
            },
        };
        let bands = Bands::new(m, n, settings.bands, settings.metric, settings.reach).unwrap();
        let populations: Vec<u64> = serde_json::from_value(case["populations"].clone()).unwrap();
        assert_eq!(bands.populations(), populations, "{case}");
        let key = case["key"].as_str().unwrap().parse().unwrap();
        let found = hierarchical(&scores, m, n, size(case, "count"), &settings, key).unwrap();
        let wanted: Vec<[u32; 2]> = serde_json::from_value(case["entries"].clone()).unwrap();
        assert_eq!(found.entries(), wanted, "{case}");
    }
}

#[test]
fn permutations_are_torchs() {
    for case in json("randperm.json").as_array().unwrap() {
        let total = case["total"].as_u64().unwrap();
        let found = randperm_prefix(total, size(case, "count"), case["seed"].as_u64().unwrap());
        let first: Vec<u64> = serde_json::from_value(case["first"].clone()).unwrap();
        assert_eq!(found[..first.len()], first, "{total}");
        let bytes: Vec<u8> = found.iter().flat_map(|place| place.to_le_bytes()).collect();
        let hash: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hash, case["sha256"].as_str().unwrap(), "{total}");
    }
}

#[test]
fn published_index_vectors_hold() {
    let first = |m, n, seed| fourierft_support(m, n, 5, seed).unwrap().entries().to_vec();
    assert_eq!(
        first(768, 768, 777),
        [[509, 359], [239, 147], [538, 367], [500, 200], [567, 103]]
    );
    assert_eq!(
        first(1024, 4096, 777),
        [
            [335, 2151],
            [987, 3525],
            [628, 167],
            [556, 3600],
            [537, 3927]
        ]
    );
}

fn delta(basis: Basis, m: usize, n: usize, support: &Support, a: &[f64], gamma: f64) -> Vec<f64> {
    delta_weight(&Sandwich::new(basis, m, n, support).unwrap(), a, gamma)
}

#[test]
fn updates_are_pefts() {
    let tensors = Tensors::open("adapters.safetensors");
    for (name, case) in json("adapters.json").as_object().unwrap() {
        let (m, n) = (size(case, "out"), size(case, "in"));
        let wanted = tensors.get(&format!("{name}.delta"));
        let (found, tolerance) = match case["method"].as_str().unwrap() {
            "fourierft" => {
                let a = tensors.get(&format!("{name}.spectrum"));
                let support =
                    fourierft_support(m, n, a.len(), case["seed"].as_u64().unwrap()).unwrap();
                let scaling = case["scaling"].as_f64().unwrap();
                let gamma = Convention::FourierFt.gamma(scaling, m, n);
                (delta(Basis::Fourier, m, n, &support, &a, gamma), 1e-6)
            }
            "waveft" => {
                let a = tensors.get(&format!("{name}.spectrum"));
                let wavelet = case["wavelet"].as_str().map(|w| Wavelet::named(w).unwrap());
                let seed = case["seed"].as_u64().unwrap();
                let support = waveft_support(m, n, a.len(), seed, wavelet).unwrap();
                let basis = wavelet.map_or(Basis::Identity, Basis::Wavelet);
                let gamma = case["scaling"].as_f64().unwrap();
                (delta(basis, m, n, &support, &a, gamma), 1e-14)
            }
            _ => {
                let kernels = tensors.get(&format!("{name}.kernel"));
                let mut delta = vec![0.0; m * n];
                let block = size(case, "block");
                circulant::merge_into(&kernels, m, n, block, peft_scale(n), &mut delta).unwrap();
                (delta, 1e-6)
            }
        };
        assert!(error(&found, &wanted) < tolerance, "{name}");
    }
}

#[test]
fn circulant_products_are_pefts() {
    let tensors = Tensors::open("adapters.safetensors");
    for (name, case) in json("adapters.json").as_object().unwrap() {
        if case["method"] != "c3a" {
            continue;
        }
        let (m, n) = (size(case, "out"), size(case, "in"));
        let get = |key: &str| tensors.get(&format!("{name}.{key}"));
        let update =
            BlockCirculant::new(&get("kernel"), m, n, size(case, "block"), peft_scale(n)).unwrap();
        let (x, g) = (get("x"), get("g"));
        let mut y = vec![0.0; g.len()];
        update.forward(&x, &mut y);
        assert!(error(&y, &get("y")) < 1e-6, "{name}");
        let mut dx = vec![0.0; x.len()];
        update.input_gradient(&g, &mut dx);
        assert!(error(&dx, &get("dx")) < 1e-6, "{name}");
        let mut dw = vec![0.0; get("kernel").len()];
        update.kernel_gradient(&x, &g, &mut dw);
        // PEFT divides after its own backward pass, so autograd scales this one as well.
        assert!(error(&dw, &get("dw")) < 1e-6, "{name}");
    }
}
