use super::{AttentionWork, BlockWork, LinearWork, Linears};
use crate::Role;

/// Attention and feed-forward part, each after a norm and before the residual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecoderFlow {
    /// Width of the model.
    pub hidden: usize,
    /// Width of all queries.
    pub query: usize,
    /// Width of all keys, and of all values.
    pub key_value: usize,
    /// Query heads.
    pub heads: usize,
    /// Width of the feed-forward part.
    pub wide: usize,
    /// Whether a gate lies beside its first half.
    pub gated: bool,
    /// Whether queries and keys of each head are normalised.
    pub head_norms: bool,
    /// Whether attention and feed-forward part end in a norm of their own.
    pub post_norms: bool,
    /// Whether both read the block's input.
    pub parallel: bool,
    /// Whether a query sees only keys up to its own.
    pub causal: bool,
    /// How many keys a query sees at most, on each side that it sees.
    pub window: Option<usize>,
}

impl DecoderFlow {
    pub(crate) fn work(&self, linears: Linears, input: bool) -> BlockWork {
        let (hidden, wide) = (self.hidden, self.wide);
        let (query, key_value) = (self.query, self.key_value);
        let group = |roles: &[Role]| -> Vec<LinearWork> {
            roles.iter().filter_map(|role| linears(*role)).collect()
        };
        let first = group(&[Role::Query, Role::Key, Role::Value, Role::QueryKeyValue]);
        let second = group(&[Role::Gate, Role::Up, Role::GateUp]);
        let output = linears(Role::Output).unwrap_or_default();
        let down = linears(Role::Down).unwrap_or_default();
        let mut block = BlockWork {
            width: hidden,
            // A norm keeps what it reads.
            keeps_input: input,
            evaluated: 3 * wide + 3 * hidden,
            moved: self.moved(),
            attention: Some(AttentionWork::new(query, self.causal, self.window)),
            ..BlockWork::default()
        };
        let keeps = |group: &[LinearWork]| group.iter().any(|linear| linear.keeps_input);
        let trained = |group: &[LinearWork]| group.iter().any(LinearWork::trained);
        block.keep(keeps(&first), hidden);
        let attended = input || trained(&first);
        // Attention keeps its inputs, its output, and a number for each head.
        block.keep(attended, 2 * query + 2 * key_value + self.heads);
        block.keep(attended && self.head_norms, query + key_value);
        block.keep(!attended && output.keeps_input, query);
        let added = attended || output.trained();
        block.keep(added && self.post_norms, hidden);
        // The second norm keeps what it reads, its products what it gives.
        let between = if self.parallel { input } else { added || input };
        block.keep(between && !self.parallel, hidden);
        block.keep(keeps(&second), hidden);
        let widened = between || trained(&second);
        block.keep(widened, if self.gated { 2 * wide } else { wide });
        block.keep(down.keeps_input, wide);
        let lowered = widened || down.trained();
        block.keep(lowered && self.post_norms, hidden);
        block.tracked = attended;
        block.output_tracked = input || added || lowered;
        let gradients = if self.gated { 3 * wide } else { 2 * wide };
        block.passing = match down.keeps_input {
            true => gradients - wide + 2 * hidden,
            false => gradients + 2 * hidden,
        };
        first.iter().for_each(|linear| block.add(linear, input));
        block.add(&output, attended);
        second.iter().for_each(|linear| block.add(linear, between));
        block.add(&down, widened);
        block
    }

    /// Two norms, two residual sums, and what each product, rotation and nonlinearity reads and writes.
    fn moved(&self) -> usize {
        let norms = if self.post_norms { 8 } else { 4 };
        let heads = if self.head_norms { 4 } else { 2 };
        let products = if self.gated { 2 } else { 1 };
        (norms + 6 + 3 + products + 2) * self.hidden
            + (4 + heads) * (self.query + self.key_value)
            + 4 * self.key_value
            + (3 * products + 1) * self.wide
    }
}
