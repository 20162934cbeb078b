//! Generation of one sequence, and the streaming read that bounds it: a token needs every weight once.

use std::ops::ControlFlow;

use anyhow::{Result, ensure};
use burn::tensor::Device;
use peft_run::{
    GenerationConfig, Generator, Prompt, data::TextTokenizer, models::Model, tokenizer,
};
use rayon::prelude::*;

use crate::{
    Case, causal,
    protocol::{Measured, Setup},
};

/// Bytes that a read takes at least.
const LEAST: usize = 1 << 30;

pub struct GenerateCase {
    model: Model,
    tokenizer: TextTokenizer,
    device: Device,
    prompt: Vec<u32>,
    tokens: usize,
}

impl GenerateCase {
    /// `seq` tokens behind a prompt of `batch` random ones.
    pub fn new(setup: &Setup, device: &Device) -> Result<Self> {
        ensure!(
            setup.seq > 0 && setup.batch > 0,
            "language_generate needs tokens to begin with and to generate"
        );
        let model = causal::load(setup, device)?;
        Ok(Self {
            prompt: causal::tokens(&model, setup.seed, setup.batch),
            tokenizer: tokenizer(&setup.model)?,
            model,
            device: device.clone(),
            tokens: setup.seq,
        })
    }
}

impl Case for GenerateCase {
    fn trainable_parameters(&self) -> usize {
        0
    }

    fn run(&mut self) -> Result<Measured> {
        let generator = Generator {
            model: &self.model,
            tokenizer: &self.tokenizer,
            roster: None,
            device: &self.device,
            // No token ends it: every turn generates as many.
            config: GenerationConfig {
                max_tokens: self.tokens,
                ..GenerationConfig::default()
            },
            first: 0,
            stop: None,
        };
        let prompt = Prompt {
            ids: self.prompt.clone(),
            choice: None,
        };
        let done = generator.run(&[prompt], 1, &mut |_, _| ControlFlow::Continue(()))?;
        Ok(Measured::whole(done[0].ids.len(), None))
    }
}

/// Reads a buffer from end to end on all threads, as often as the weights fit into it.
pub struct ReadCase {
    buffer: Vec<u64>,
    /// Tokens whose weights the buffer's bytes would be.
    tokens: f64,
}

impl ReadCase {
    /// `weight_bytes` are those of the weights that a token needs.
    pub fn new(setup: &Setup) -> Result<Self> {
        ensure!(
            setup.weight_bytes > 0,
            "stream_read needs to know the bytes of the weights"
        );
        let words = LEAST / size_of::<u64>();
        let buffer: Vec<u64> = (0..words as u64).collect();
        Ok(Self {
            buffer,
            tokens: LEAST as f64 / setup.weight_bytes as f64,
        })
    }
}

impl Case for ReadCase {
    fn trainable_parameters(&self) -> usize {
        0
    }

    fn run(&mut self) -> Result<Measured> {
        let sum = self
            .buffer
            .par_chunks(1 << 16)
            .map(|part| {
                // Lanes of their own, so that no addition waits for another.
                let mut lanes = [0u64; 8];
                for words in part.chunks_exact(8) {
                    for (lane, word) in lanes.iter_mut().zip(words) {
                        *lane = lane.wrapping_add(*word);
                    }
                }
                lanes.iter().fold(0u64, |sum, lane| sum.wrapping_add(*lane))
            })
            .reduce(|| 0, u64::wrapping_add);
        std::hint::black_box(sum);
        Ok(Measured {
            tokens: self.tokens,
            loss: None,
        })
    }
}
