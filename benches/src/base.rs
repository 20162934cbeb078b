//! A training step of a model of BERT-base's size with random weights, or of a folder's encoder, on random
//! tokens: time and memory need no checkpoint.

use anyhow::{Result, ensure};
use burn::{module::Param, tensor::Device};
use peft_run::{
    core::{Slot, kernels::uniform},
    models::{
        Embedding, Encoder, EncoderConfig, EncoderLayer, HeadSpec, ModelFolder, SequenceModel,
    },
};
use peft_train::Truth;

use crate::{
    Case,
    layer::{HIDDEN, config, linear, norm, random, random_layer},
    protocol::{Measured, Setup},
    training::{Inputs, Training},
};

pub struct BaseCase {
    training: Training,
    ids: Vec<u32>,
    starts: Vec<usize>,
    labels: Vec<u32>,
}

impl BaseCase {
    pub fn new(setup: &Setup, device: &Device) -> Result<Self> {
        ensure!(
            setup.trains(),
            "bert_base_step knows the mode train, not {}",
            setup.mode
        );
        let device = device.clone().autodiff();
        let dropout = if setup.dropout { 0.1 } else { 0.0 };
        let config = EncoderConfig {
            layers: setup.layers,
            distinct_layers: setup.layers,
            hidden_dropout: dropout,
            attention_dropout: dropout,
            head_dropout: dropout,
            ..config()
        };
        let model = match setup.model.as_os_str().is_empty() {
            true => random_model(config, &device),
            false => stored_model(setup, &device)?,
        };
        let words = model.config().vocab_size as f32;
        let tokens = uniform(setup.seed, setup.batch * setup.seq);
        let ids: Vec<u32> = tokens.iter().map(|u| (u * words) as u32).collect();
        let starts: Vec<usize> = (0..=setup.batch).map(|row| row * setup.seq).collect();
        let labels: Vec<u32> = (0..setup.batch as u32).map(|row| row % 2).collect();
        let inputs = Inputs {
            ids: &ids,
            type_ids: &[],
            starts: &starts,
            truth: Truth::Classes(&labels),
        };
        Ok(Self {
            training: Training::new(model, setup, &device, &inputs)?,
            ids,
            starts,
            labels,
        })
    }
}

impl Case for BaseCase {
    fn trainable_parameters(&self) -> usize {
        self.training.trained
    }

    fn run(&mut self) -> Result<Measured> {
        self.training.step(&Inputs {
            ids: &self.ids,
            type_ids: &[],
            starts: &self.starts,
            truth: Truth::Classes(&self.labels),
        })
    }
}

/// The model of a folder, in place of one of random weights.
fn stored_model(setup: &Setup, device: &Device) -> Result<SequenceModel> {
    let mut folder = ModelFolder::open(&setup.model)?;
    if !setup.dropout {
        folder.set_dropout(0.0);
    }
    if let Some(dtype) = setup.base_dtype {
        folder.set_base_dtype(dtype.into());
    }
    let head = HeadSpec {
        outputs: 2,
        seed: setup.seed,
    };
    Ok(SequenceModel::load(&folder, &head, device)?.0)
}

fn random_model(config: EncoderConfig, device: &Device) -> SequenceModel {
    let table = |key: u64, entries: usize| Embedding {
        weight: Param::from_tensor(random(key, [entries, HIDDEN], 0.02, device)),
    };
    let layers = (0..config.layers)
        .map(|_| EncoderLayer::PostNorm(random_layer(device)))
        .collect();
    let encoder = Encoder {
        word: table(21, config.vocab_size),
        position: Some(table(22, config.max_positions)),
        token_type: Some(table(23, config.type_vocab_size)),
        embedding_norm: norm(device),
        projection: None,
        relative: None,
        layers,
        prompt: Slot::new([HIDDEN]),
        norm: None,
        config,
    };
    let dense = linear(24, HIDDEN, HIDDEN, device);
    SequenceModel::new(encoder, dense, linear(25, HIDDEN, 2, device))
}
