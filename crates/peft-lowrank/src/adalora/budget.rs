/// How many triplets a run may keep, step by step.
///
/// All of them for `start` steps; then, with `b₀` of them at the start and `b₁` in the end,
/// `b = (b₀ − b₁)(1 − (t − start) / (end − start))³ + b₁`, rounded down, until step `end`; from there on
/// `b₁`, and which ones no longer changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The last step with all triplets.
    pub start: u64,
    /// The step from which on nothing changes.
    pub end: u64,
    /// Steps in all.
    pub total: u64,
    /// Steps from one sharing out to the next.
    pub every: u64,
}

/// What is done after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Sensitivities are observed.
    Observe,
    /// Sensitivities are observed, and triplets are shared out by them: so many may stay.
    Share(usize),
    /// Triplets are shared out for the last time.
    Settle(usize),
    /// Triplets stay as they are.
    Hold,
}

impl Budget {
    /// What PEFT does in `update_and_allocate(step)`, for `step` steps done.
    pub(super) fn act(&self, step: u64, first: usize, last: usize) -> Act {
        if step > self.end {
            return Act::Hold;
        }
        if step == self.end {
            return Act::Settle(last);
        }
        if step <= self.start || !step.is_multiple_of(self.every) {
            return Act::Observe;
        }
        let done = (step - self.start) as f64 / (self.end - self.start) as f64;
        let over = (first - last) as f64 * (1.0 - done).powf(3.0);
        Act::Share((over + last as f64) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_falls_by_the_cube_from_start_to_end() {
        let budget = Budget {
            start: 10,
            end: 70,
            total: 100,
            every: 20,
        };
        let act = |step| budget.act(step, 48, 32);
        assert_eq!(act(1), Act::Observe);
        assert_eq!(act(10), Act::Observe);
        assert_eq!(act(11), Act::Observe);
        // 16 · (5/6)³ + 32 and 16 · (1/2)³ + 32.
        assert_eq!(act(20), Act::Share(41));
        assert_eq!(act(40), Act::Share(34));
        assert_eq!(act(69), Act::Observe);
        assert_eq!(act(70), Act::Settle(32));
        assert_eq!(act(71), Act::Hold);
        assert_eq!(act(1000), Act::Hold);
    }

    #[test]
    fn it_never_rises() {
        let budget = Budget {
            start: 3,
            end: 91,
            total: 100,
            every: 1,
        };
        let mut before = 60;
        for step in 4..91 {
            let Act::Share(now) = budget.act(step, 60, 7) else {
                panic!("step {step}")
            };
            assert!(now <= before && now >= 7, "step {step}: {now}");
            before = now;
        }
    }
}
