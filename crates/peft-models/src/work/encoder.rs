use super::{AttentionWork, BlockWork, LinearWork, Linears};
use crate::Role;

/// Values of the hidden width and of the feed-forward width that a forward pass of a block reads and
/// writes for a token, every product, norm, dropout and nonlinearity counted.
const HIDDEN_PASSES: usize = 26;
const WIDE_PASSES: usize = 4;

/// Attention and feed-forward part, each followed by residual and norm: a block of the BERT family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncoderFlow {
    /// Width of the model.
    pub hidden: usize,
    /// Width of the feed-forward part.
    pub wide: usize,
    /// Heads of the attention.
    pub heads: usize,
}

impl EncoderFlow {
    pub(crate) fn work(&self, linears: Linears, input: bool) -> BlockWork {
        let (hidden, wide) = (self.hidden, self.wide);
        let [query, key, value, output, up, down] = [
            Role::Query,
            Role::Key,
            Role::Value,
            Role::Output,
            Role::Up,
            Role::Down,
        ]
        .map(|role| linears(role).unwrap_or_default());
        let first = [query, key, value];
        let mut block = BlockWork {
            width: hidden,
            keeps_input: first.iter().any(|linear| linear.keeps_input),
            // Beside the widest pair, the allocator holds on to narrow values that were just given back.
            evaluated: 2 * wide + 3 * hidden,
            moved: HIDDEN_PASSES * hidden + WIDE_PASSES * wide,
            attention: Some(AttentionWork::new(hidden, false, None)),
            ..BlockWork::default()
        };
        // Attention keeps its three inputs, its output, and a number for each head.
        let attended = input || first.iter().any(LinearWork::trained);
        block.keep(attended, 4 * hidden + self.heads);
        block.keep(!attended && output.keeps_input, hidden);
        // Norms keep their sum, the nonlinearity its input.
        let normed = attended || output.trained();
        block.keep(normed, hidden);
        block.keep(up.keeps_input, hidden);
        let widened = normed || up.trained();
        block.keep(widened, wide);
        block.keep(down.keeps_input, wide);
        let last = widened || down.trained();
        block.keep(last, hidden);
        block.tracked = attended;
        block.output_tracked = last;
        // The gradients to both sides of the nonlinearity. By then, the input of the last product has been
        // given back, if it was kept.
        block.passing = match down.keeps_input {
            true => wide + hidden,
            false => 2 * wide + hidden,
        };
        let inputs = [input, input, input, attended, normed, widened];
        for (linear, tracked) in [query, key, value, output, up, down].iter().zip(inputs) {
            block.add(linear, tracked);
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use peft_core::{AdapterSpec, Cost, Fields};

    use super::*;

    const FLOW: EncoderFlow = EncoderFlow {
        hidden: 8,
        wide: 32,
        heads: 2,
    };

    fn spec() -> AdapterSpec {
        AdapterSpec {
            cost: Cost {
                parameters: 1,
                flops_per_row: 100,
                saved_per_row: 3,
            },
            keeps_input: true,
            tensors: Fields::default(),
        }
    }

    #[test]
    fn what_follows_an_adapter_is_kept() {
        use Role::{Down, Output, Query, Up, Value};
        let all = [Query, Role::Key, Value, Output, Up, Down];
        let (none, no_full): (&[Role], &[Role]) = (&[], &[]);
        // Adapted, trained in full, input tracked; kept, keeps the input, backward, tracked, to the output.
        let cases = [
            (none, no_full, false, (0, false, 0.0, false, false)),
            (none, no_full, true, (82, false, 1536.0, true, true)),
            (
                &[Query, Value],
                no_full,
                false,
                (88, true, 1352.0, true, true),
            ),
            (&[Down], no_full, false, (43, false, 100.0, false, true)),
            (&[Output], &[Up], false, (67, false, 1636.0, false, true)),
            (&all, no_full, true, (140, true, 2136.0, true, true)),
        ];
        let spec = spec();
        for (adapted, in_full, input, expected) in cases {
            let linears = |role: Role| {
                let adapter = adapted.contains(&role).then_some(&spec);
                let widths = match role {
                    Up => [8, 32],
                    Down => [32, 8],
                    _ => [8, 8],
                };
                Some(LinearWork::new(adapter, in_full.contains(&role)).with_widths(widths))
            };
            let block = FLOW.work(&linears, input);
            let found = (
                block.kept,
                block.keeps_input,
                block.backward,
                block.tracked,
                block.output_tracked,
            );
            assert_eq!(found, expected, "{adapted:?} {in_full:?} {input}");
            assert_eq!(block.forward, 1536.0);
            let keeps_wide = adapted.contains(&Down);
            assert_eq!(block.passing, if keeps_wide { 40 } else { 72 });
        }
    }
}
