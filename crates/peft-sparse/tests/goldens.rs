//! Against Hugging Face PEFT; the files are minted by `xtask/python/mint_goldens.py`. What adapters
//! compute is held against PEFT's logits in `peft-run`.

use std::path::PathBuf;

use peft_sparse::{Support, support};
use safetensors::SafeTensors;

fn read(path: &str) -> Vec<u8> {
    let goldens = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens");
    std::fs::read(goldens.join(path)).unwrap()
}

/// For each adapted module of a case: its name, its weight `[out, in]` and PEFT's entries.
fn modules(case: &str, base: &str, mut check: impl FnMut(&str, [usize; 2], &[f32], Support)) {
    let adapter = read(&format!("adapters/{case}/adapter_model.safetensors"));
    let adapter = SafeTensors::deserialize(&adapter).unwrap();
    let model = read(&format!("models/{base}/model.safetensors"));
    let model = SafeTensors::deserialize(&model).unwrap();
    let mut found = 0;
    for (key, indices) in adapter.iter() {
        let Some(module) = key.strip_suffix(".shira_indices") else {
            continue;
        };
        let module = module.strip_prefix("base_model.model.").unwrap();
        let weight = model.tensor(&format!("{module}.weight")).unwrap();
        let shape: [usize; 2] = weight.shape().try_into().unwrap();
        let number = |bytes: &[u8]| i32::from_le_bytes(bytes.try_into().unwrap()) as u64;
        let numbers: Vec<u64> = indices.data().chunks(4).map(number).collect();
        let (rows, cols) = numbers.split_at(numbers.len() / 2);
        let places = rows.iter().zip(cols);
        let places = places.map(|(row, col)| row * shape[1] as u64 + col);
        let weight: Vec<f32> = (weight.data().chunks(4))
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
            .collect();
        check(
            module,
            shape,
            &weight,
            Support::entries(shape, places).unwrap(),
        );
        found += 1;
    }
    assert!(found >= 4, "{case}: {found} modules");
}

#[test]
fn random_entries_are_pefts() {
    for (case, base, seed) in [
        ("shira_qv", "bert", 42),
        ("shira_feed_forward", "distilbert", 7),
    ] {
        modules(case, base, |module, shape, _, wanted| {
            let drawn = support::torch_random(shape, wanted.len(), seed).unwrap();
            assert_eq!(drawn, wanted, "{case}: {module}");
        });
    }
}

#[test]
fn the_largest_weights_are_torchs() {
    modules(
        "shira_magnitude",
        "bert",
        |module, shape, weight, wanted| {
            let largest = support::strongest(shape, wanted.len(), |place| f64::from(weight[place]));
            assert_eq!(largest.unwrap(), wanted, "{module}");
        },
    );
}
