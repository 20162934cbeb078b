//! Texts to packed rows of tokens.

use anyhow::Result;
use peft_run::{
    data::{ColumnMap, Dataset, LoadOptions, Task, TextTokenizer},
    tokenizer,
};

use crate::{
    Case,
    protocol::{Measured, Setup},
};

pub struct TokeniseCase {
    tokenizer: TextTokenizer,
    setup: Setup,
}

impl TokeniseCase {
    /// The column `text` of the setup's file, by the tokenizer of its model.
    pub fn new(setup: &Setup) -> Result<Self> {
        Ok(Self {
            tokenizer: tokenizer(&setup.model)?,
            setup: setup.clone(),
        })
    }
}

impl Case for TokeniseCase {
    fn trainable_parameters(&self) -> usize {
        0
    }

    /// Reads the file, tokenises it, and packs all rows into batches, as training does.
    fn run(&mut self) -> Result<Measured> {
        let options = LoadOptions {
            columns: ColumnMap {
                text: Some("text".into()),
                ..ColumnMap::default()
            },
            ..LoadOptions::new(Task::CausalLm, self.setup.max_length)
        };
        let (rows, _) = Dataset::load(&self.setup.data, &options, &self.tokenizer)?;
        let mut tokens = 0;
        for batch in rows
            .plan(self.setup.batch, self.setup.seed, 0)?
            .iter_from(0)
        {
            tokens += rows.batch(batch)?.tokens();
        }
        Ok(Measured::whole(tokens, None))
    }
}
