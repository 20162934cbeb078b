use peft_core::Site;

use crate::{EncoderConfig, encoder::Names};

/// What a model is made of, without loading it: names are the checkpoint's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelLayout {
    /// Prefix that checkpoints of the bare encoder leave out.
    pub prefix: &'static str,
    /// The linear layers, in the model's order.
    pub linears: Vec<Site>,
    /// Of each distinct block, the places in `linears` of query, key, value and output, and of the two
    /// halves of the feed-forward part.
    pub blocks: Vec<[usize; 6]>,
    /// All parameters and their shapes in the checkpoint (`[out, in]` for linear layers).
    pub parameters: Vec<(String, Vec<usize>)>,
    /// Linear layers that are made where the checkpoint has none.
    pub heads: Vec<String>,
}

impl ModelLayout {
    /// The layout of a `…ForSequenceClassification` with this many outputs.
    pub(crate) fn new(names: &Names, config: &EncoderConfig, outputs: usize) -> Self {
        let mut layout = Self {
            prefix: names.prefix,
            linears: Vec::new(),
            blocks: Vec::new(),
            parameters: Vec::new(),
            heads: vec![names.head_dense.clone(), names.classifier.clone()],
        };
        let (hidden, wide, embedding) = (
            config.hidden_size,
            config.intermediate_size,
            config.embedding_size,
        );
        layout.table(&names.word, config.vocab_size, embedding);
        layout.table(&names.position, config.max_positions, embedding);
        if config.type_vocab_size > 0 {
            layout.table(&names.token_type, config.type_vocab_size, embedding);
        }
        layout.norm(&names.embedding_norm, embedding);
        if let Some(projection) = &names.projection {
            layout.linear(projection, embedding, hidden);
        }
        for index in 0..config.distinct_layers {
            let name = |part: &str| part.replace("{}", &index.to_string());
            let first = layout.linears.len();
            layout
                .blocks
                .push(std::array::from_fn(|place| first + place));
            for part in [&names.query, &names.key, &names.value, &names.output] {
                layout.linear(&name(part), hidden, hidden);
            }
            layout.norm(&name(&names.attention_norm), hidden);
            layout.linear(&name(&names.up), hidden, wide);
            layout.linear(&name(&names.down), wide, hidden);
            layout.norm(&name(&names.norm), hidden);
        }
        layout.linear(&names.head_dense, hidden, hidden);
        layout.linear(&names.classifier, hidden, outputs);
        layout
    }

    /// Number of values.
    pub fn values(&self) -> usize {
        let sizes = self.parameters.iter();
        sizes
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum()
    }

    /// Paths of the linear layers.
    pub fn linear_names(&self) -> Vec<String> {
        self.linears.iter().map(|site| site.path.clone()).collect()
    }

    /// Names of all parameters.
    pub fn parameter_names(&self) -> Vec<String> {
        let names = self.parameters.iter();
        names.map(|(name, _)| name.clone()).collect()
    }

    fn table(&mut self, name: &str, entries: usize, width: usize) {
        self.push(name, "weight", vec![entries, width]);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.push(name, "weight", vec![width]);
        self.push(name, "bias", vec![width]);
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize) {
        self.linears.push(Site::linear(name, inputs, outputs));
        self.push(name, "weight", vec![outputs, inputs]);
        self.push(name, "bias", vec![outputs]);
    }

    fn push(&mut self, module: &str, leaf: &str, shape: Vec<usize>) {
        self.parameters.push((format!("{module}.{leaf}"), shape));
    }
}
