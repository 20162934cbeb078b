//! Counting test functions by libtest's closing lines.

#[derive(Debug, Default, PartialEq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    /// Why the step was not run at all.
    pub skipped: Option<String>,
}

impl Tally {
    /// Says that this machine lacks what the step needs.
    pub fn skip(&mut self, why: impl Into<String>) {
        let why = why.into();
        println!("skipped: {why}");
        self.skipped = Some(why);
    }

    /// Adds `test result: ok. 5 passed; 0 failed; …`; other lines are nothing to it.
    pub fn read(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else {
            return;
        };
        let count = |word: &str| {
            rest.split(['.', ';'])
                .find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
        };
        self.passed += count("passed").unwrap_or(0);
        self.failed += count("failed").unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_closing_lines_only() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.1s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
            "not a test result: ok. 9 passed; 9 failed",
        ] {
            tally.read(line);
        }
        assert_eq!(
            tally,
            Tally {
                passed: 15,
                failed: 2,
                skipped: None
            }
        );
    }
}
