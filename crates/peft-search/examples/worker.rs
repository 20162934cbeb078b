//! A worker of a study on SynthPEFT's learning curves: `worker PLACE TRIALS [WAIT]`, with so many milliseconds an epoch.
//! The place is a folder or, with the feature `postgres`, the URL of a database. As many of them as you like, at one
//! place; kill them as you like.

use std::time::Duration;

use peft_search::problems::SynthPeft;
use peft_search::study::{Assignment, Budget, Description, Place, Stopped, Watch};
use peft_search::{Asha, Bayes, Scale, SearchError, Settings};

const EPOCHS: u32 = 9;

fn main() -> Result<(), SearchError> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let place: Place = words.first().map_or("study", String::as_str).parse()?;
    let number = |index: usize| words.get(index).and_then(|word| word.parse().ok());
    let (trials, wait) = (number(1).unwrap_or(30), number(2).unwrap_or(20));
    let problem = SynthPeft::SPACE.problem(Scale::Log10, [40.0, SynthPeft::ACCURACY])?;
    let bayes = Bayes {
        initial: 10,
        samples: 4,
        ..Bayes::default()
    };
    let description = Description {
        attempts: u32::MAX,
        full: Some(EPOCHS),
        pruning: Some(Asha {
            most: EPOCHS,
            ..Asha::default()
        }),
        budget: Budget {
            trials: Some(trials),
            ..Budget::default()
        },
        ..Description::new("SynthPEFT", &problem, Settings::Bayes(bayes), 1)?
    };
    let mut study = place.begin(description, problem)?;
    let mut train = |assignment: &Assignment, watch: &mut Watch<'_>| -> Result<Vec<f64>, Stopped> {
        let mut accuracy = 0.0;
        for epoch in 1..=EPOCHS {
            std::thread::sleep(Duration::from_millis(wait));
            accuracy = SynthPeft::default().after(&assignment.configuration, epoch, EPOCHS);
            watch.report(epoch, &[accuracy])?;
        }
        Ok(vec![accuracy])
    };
    let worked = study.work(&mut train, Duration::from_millis(20), &mut |_| true)?;
    let status = study.status()?;
    println!(
        "{worked:?}: {} complete, {} pruned, hypervolume {:.4}",
        status.complete, status.pruned, status.hypervolume
    );
    Ok(())
}
