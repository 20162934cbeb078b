//! Trained checkpoints do what they were trained for.

use burn::tensor::{FloatDType, Tensor, TensorData};
use peft_run::{
    core::{
        AdapterContext,
        kernels::{GeluKind, gelu, layer_norm},
    },
    data::TextTokenizer,
    models::{HeadSpec, HeadState, ModelFolder, PackedBatch, SequenceModel},
};

use crate::common::*;

/// The reaction model recovers 103 of 103 masked tokens, each masked alone, as it does in PyTorch.
#[test]
fn albert_recovers_every_masked_token() {
    let device = cpu();
    let golden = json("rxn.json");
    let golden = &golden["models"]["rxnmapper_albert"];
    let ids: Vec<u32> = serde_json::from_value(golden["ids"].clone()).unwrap();
    let mask = golden["mask_id"].as_u64().unwrap() as u32;
    let folder = folder("rxnmapper_albert", FloatDType::F32);
    assert_eq!(folder.head(), HeadState::Absent);
    let head = HeadSpec {
        outputs: 2,
        seed: 0,
    };
    let (model, _) = SequenceModel::load(&folder, &head, &device).unwrap();

    // Between the first and the last, which are special.
    let places = 1..ids.len() - 1;
    let rows: Vec<_> = places
        .clone()
        .map(|place| {
            let mut masked = ids.clone();
            masked[place] = mask;
            (masked, None)
        })
        .collect();
    let batch = pack(model.config(), &rows, &device);
    let hidden = model.encoder.forward(&batch, &AdapterContext::inference());
    let at: Vec<i64> = places
        .clone()
        .enumerate()
        .map(|(row, place)| (row * ids.len() + place) as i64)
        .collect();
    let length = at.len();
    let at = Tensor::from_data(TensorData::new(at, [length]), &device);
    let hidden = hidden.select(0, at);

    // The masked-language head: dense, GELU, norm, then the table of tokens again.
    let checkpoint = folder.checkpoint();
    let matrix = |name: &str| {
        let shape = checkpoint.info(name).unwrap().shape;
        let data = TensorData::new(checkpoint.to_f32(name).unwrap(), [shape[0], shape[1]]);
        Tensor::<2>::from_data(data, &device)
    };
    let vector = |name: &str| {
        let values = checkpoint.to_f32(name).unwrap();
        let length = values.len();
        Tensor::<1>::from_data(TensorData::new(values, [length]), &device)
    };
    let dense = hidden.matmul(matrix("predictions.dense.weight").transpose())
        + vector("predictions.dense.bias").unsqueeze::<2>();
    let normed = layer_norm(
        gelu(dense, GeluKind::Erf),
        vector("predictions.LayerNorm.weight"),
        vector("predictions.LayerNorm.bias"),
        1e-12,
    );
    let table = matrix("albert.embeddings.word_embeddings.weight");
    let logits = normed.matmul(table.transpose()) + vector("predictions.bias").unsqueeze::<2>();
    let first: Vec<f64> = values(logits.clone().narrow(0, 0, 1).narrow(1, 0, 8));
    assert_close(
        "logits",
        &first,
        &flat(&golden["masked_first_row_logits_first8_f64"]),
        1e-5,
    );
    let found: Vec<u32> = logits
        .argmax(1)
        .into_data()
        .iter::<i64>()
        .map(|id| id as u32)
        .collect();
    let hits = found
        .iter()
        .zip(places)
        .filter(|(found, place)| **found == ids[*place])
        .count();
    assert_eq!((hits, found.len()), (103, 103));
}

/// all-MiniLM-L6-v2, from its own text to its own cosines. `PEFT_TEST_MINILM` names the folder.
#[test]
#[ignore = "needs all-MiniLM-L6-v2; `cargo xtask test --all` fetches it"]
fn minilm_cosines() {
    let device = cpu();
    let path = std::env::var_os("PEFT_TEST_MINILM").expect("PEFT_TEST_MINILM names the folder");
    let folder = ModelFolder::open(path.as_ref()).unwrap();
    let tokenizer = TextTokenizer::from_dir(path.as_ref()).unwrap();
    let (model, _) = SequenceModel::load(
        &folder,
        &HeadSpec {
            outputs: 2,
            seed: 0,
        },
        &device,
    )
    .unwrap();
    let golden = json("minilm.json");
    let embed = |text: &str| -> Vec<f64> {
        let encoded = tokenizer.encode(text, None, 128).unwrap();
        let starts = [0, encoded.ids.len()];
        let batch = PackedBatch::new(
            model.config(),
            &encoded.ids,
            &encoded.type_ids,
            &starts,
            &device,
        );
        let hidden = model
            .encoder
            .forward(&batch.unwrap(), &AdapterContext::inference());
        values(hidden.mean_dim(0))
    };
    for sentence in golden["sentences"].as_array().unwrap() {
        let text = sentence["text"].as_str().unwrap();
        let ids: Vec<u32> = serde_json::from_value(sentence["ids"].clone()).unwrap();
        assert_eq!(
            tokenizer.encode(text, None, 128).unwrap().ids,
            ids,
            "{text}"
        );
        let first = flat(&sentence["mean_pooled_first8_f64"]);
        assert_close(text, &embed(text)[..8], &first, 1e-5);
    }
    for pair in golden["pairs"].as_array().unwrap() {
        let (a, b) = (
            embed(pair["a"].as_str().unwrap()),
            embed(pair["b"].as_str().unwrap()),
        );
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let cosine = dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt();
        assert!(
            (cosine - pair["cosine_f64"].as_f64().unwrap()).abs() < 1e-5,
            "{cosine}"
        );
    }
}
