use super::{BlockWork, Linears, MambaFlow};
use crate::Role;

/// State space and feed-forward part with a gate, each after a norm and before the residual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceFlow {
    /// The state space.
    pub space: MambaFlow,
    /// Width of the feed-forward part.
    pub wide: usize,
}

impl SpaceFlow {
    pub(crate) fn work(&self, linears: Linears, input: bool) -> BlockWork {
        let (hidden, wide) = (self.space.hidden, self.wide);
        let mut block = self.space.work(linears, input);
        let [gate, up, down] =
            [Role::Gate, Role::Up, Role::Down].map(|role| linears(role).unwrap_or_default());
        // The norm keeps what it reads, its products what it gives.
        let between = block.output_tracked;
        block.keep(between, hidden);
        block.keep(gate.keeps_input || up.keeps_input, hidden);
        let widened = between || gate.trained() || up.trained();
        block.keep(widened, 2 * wide);
        block.keep(down.keeps_input, wide);
        block.output_tracked = widened || down.trained();
        let gradients = if down.keeps_input { 2 * wide } else { 3 * wide };
        block.passing = block.passing.max(gradients + 2 * hidden);
        block.evaluated = block.evaluated.max(3 * wide + 3 * hidden);
        block.moved += 8 * hidden + 7 * wide;
        block.add(&gate, between);
        block.add(&up, between);
        block.add(&down, widened);
        block
    }
}
