//! What watches a study.

use peft_run::Event;

use crate::study::{Status, Study, words};
use crate::{Outcome, Trial};

/// A trial that has ended, and how the study stands then.
#[derive(Debug)]
pub struct Ended<'a> {
    /// The trial.
    pub trial: &'a Trial,
    /// Its configuration in words.
    pub words: &'a str,
    /// Whether it is on the front.
    pub on_front: bool,
    /// Seconds that it took.
    pub seconds: f64,
    /// How the study stands.
    pub status: &'a Status,
}

/// Watches a study.
pub trait View {
    /// A trial begins, of a configuration in words, or is gone on with.
    fn begins(&mut self, trial: u64, words: &str);

    /// Something happened in its run.
    fn event(&mut self, event: &Event);

    /// A trial ended, here or at another worker.
    fn ended(&mut self, ended: &Ended<'_>);

    /// Something that a user might not expect.
    fn notice(&mut self, text: &str);

    /// Whether to save and stop.
    fn should_stop(&self) -> bool {
        false
    }
}

/// Watches nothing.
impl View for () {
    fn begins(&mut self, _: u64, _: &str) {}

    fn event(&mut self, _: &Event) {}

    fn ended(&mut self, _: &Ended<'_>) {}

    fn notice(&mut self, _: &str) {}
}

/// Tells the trials that have ended since the last call.
#[derive(Debug, Default)]
pub(super) struct Told {
    trials: std::collections::BTreeSet<u64>,
}

impl Told {
    /// Those that have ended already count as told.
    pub fn of(study: &Study) -> Self {
        let ended = study.history().trials().iter();
        let ended = ended.filter(|trial| trial.outcome.is_some());
        Self {
            trials: ended.map(|trial| trial.number).collect(),
        }
    }

    pub fn tell(&mut self, study: &Study, view: &mut dyn View) {
        let ended =
            |trial: &&Trial| trial.outcome.is_some() && !self.trials.contains(&trial.number);
        let new: Vec<&Trial> = study.history().trials().iter().filter(ended).collect();
        if new.is_empty() {
            return;
        }
        let Ok(status) = study.standing() else {
            return;
        };
        let problem = study.problem();
        let front = study.history().front(problem);
        for trial in new {
            let words = words(problem.space(), &trial.configuration);
            let seconds = study
                .timing(trial.number)
                .map_or(0.0, |one| one.seconds(None));
            view.ended(&Ended {
                trial,
                words: &words,
                on_front: front.iter().any(|(one, _)| one.number == trial.number),
                seconds,
                status: &status,
            });
            self.trials.insert(trial.number);
        }
    }
}

impl Ended<'_> {
    /// How it ended, in a word.
    pub fn word(&self) -> &'static str {
        match &self.trial.outcome {
            None => "running",
            Some(Outcome::Complete { .. }) => "complete",
            Some(Outcome::Pruned) => "stopped early",
            Some(Outcome::Failed { .. }) => "failed",
            Some(Outcome::Diverged { .. }) => "diverged",
        }
    }
}
