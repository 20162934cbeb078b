//! A deterministic study on AutoPEFT's space: learning curves of SynthPEFT, some trials failing and some diverging.

use peft_search::problems::SynthPeft;
use peft_search::study::*;
use peft_search::*;

pub const EPOCHS: u32 = 9;

pub fn problem() -> Problem {
    SynthPeft::SPACE
        .problem(Scale::Log10, [40.0, SynthPeft::ACCURACY])
        .unwrap()
}

pub fn description(trials: u64) -> Description {
    let bayes = Bayes {
        initial: 6,
        samples: 2,
        ..Bayes::default()
    };
    let settings = Settings::Bayes(bayes);
    Description {
        full: Some(EPOCHS),
        pruning: Some(Asha {
            grace: 1,
            most: EPOCHS,
            ..Asha::default()
        }),
        budget: Budget {
            trials: Some(trials),
            ..Budget::default()
        },
        ..Description::new("toy", &problem(), settings, 5).unwrap()
    }
}

/// A study whose journal does not depend on the time.
pub fn begin(folder: &std::path::Path, description: Description) -> Result<Study, SearchError> {
    Ok(Study::begin(folder, description, problem())?.with_clock(|| 1.0))
}

/// Trains: an epoch at a time, from the first one.
pub fn train(assignment: &Assignment, watch: &mut Watch<'_>) -> Result<Vec<f64>, Stopped> {
    let mut accuracy = 0.0;
    for epoch in 1..=EPOCHS {
        accuracy = SynthPeft::default().after(&assignment.configuration, epoch, EPOCHS);
        match assignment.trial {
            3 => return Err(Stopped::Failed("out of memory".into())),
            5 => accuracy = f64::NAN,
            _ => {}
        }
        watch.report(epoch, &[accuracy])?;
    }
    Ok(vec![accuracy])
}
