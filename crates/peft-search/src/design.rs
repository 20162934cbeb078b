//! Configurations before there is a model: uniform, and stratified.

use crate::space::Domain;
use crate::{Configuration, Counter, History, Space};

/// Purposes of random streams, so that no two uses share one.
pub(crate) mod purpose {
    pub const RANDOM: u32 = 1;
    pub const DESIGN: u32 = 2;
    pub const FIT: u32 = 3;
    pub const TRUTHS: u32 = 4;
    pub const STARTS: u32 = 5;
    pub const EVOLUTION: u32 = 6;
    pub const DENSITY: u32 = 7;
    pub const RUNG: u32 = 8;
    /// Configurations by which known costs are judged.
    #[cfg(feature = "runs")]
    pub const COSTS: u32 = 9;
}

/// A configuration for trial `number` that nobody has: uniform by rejection, or, where 1000 draws are all taken, the
/// first free one of the enumeration (of spaces of at most 2²⁰ combinations; none beyond).
pub(crate) fn fresh(
    space: &Space,
    counter: &mut Counter,
    taken: impl Fn(&Configuration) -> bool,
) -> Option<Configuration> {
    let drawn = (0..1000).find_map(|_| space.random(counter).filter(|drawn| !taken(drawn)));
    drawn.or_else(|| {
        let small = space.combinations() <= f64::from(1 << 20);
        small.then(|| {
            space
                .enumerate()
                .find(|configuration| !taken(configuration))
        })?
    })
}

/// Sobol sequences of `sobol_burley` end here.
const SOBOL_DIMENSIONS: u32 = 256;

/// Member `index` of a stratified design: scrambled Sobol points over the parameters that are not binary and over
/// the *number* of binary ones that are on, which ones by lot.
///
/// Uniform bits have almost always about half of them on: with twelve, all are on in one of 4096 draws, and the ends
/// of a front, which are there, are never seen. Here each number is as likely as any other, and evenly spread over
/// the members of the design. None where the combination is forbidden or taken.
pub(crate) fn stratified(
    space: &Space,
    seed: u64,
    index: u64,
    taken: impl Fn(&Configuration) -> bool,
) -> Option<Configuration> {
    let scramble = Counter::new(seed, purpose::DESIGN, 0).bits();
    let mut dimension = 0;
    let mut next = || {
        let sample = (index % (1 << 16)) as u32;
        let (within, block) = (dimension % SOBOL_DIMENSIONS, dimension / SOBOL_DIMENSIONS);
        dimension += 1;
        f64::from(sobol_burley::sample(
            sample,
            within,
            scramble.wrapping_add(block),
        ))
    };
    let mut levels = vec![0; space.parameters().len()];
    let mut bits = Vec::new();
    for (position, parameter) in space.parameters().iter().enumerate() {
        if parameter.domain == Domain::Binary {
            bits.push(position);
        } else {
            let count = f64::from(parameter.levels());
            levels[position] = ((next() * count) as u32).min(parameter.levels() - 1);
        }
    }
    let on = ((next() * (bits.len() + 1) as f64) as usize).min(bits.len());
    Counter::new(seed, purpose::DESIGN, index + 1).shuffle(&mut bits);
    bits[..on].iter().for_each(|&bit| levels[bit] = 1);
    let configuration = space.canonical(Configuration(levels));
    (space.allows(&configuration) && !taken(&configuration)).then_some(configuration)
}

/// The next stratified configuration for a trial, passing over members that are forbidden or taken; a uniform one
/// where 64 in a row are.
pub(crate) fn initial(
    space: &Space,
    history: &History,
    seed: u64,
    trial: u64,
    chosen: &[Configuration],
) -> Option<Configuration> {
    let taken = |c: &Configuration| history.has(c) || chosen.contains(c);
    // Members passed over are spent: the sequence goes on where the trials before left it, at the latest.
    (0..64)
        .find_map(|ahead| stratified(space, seed, trial + ahead, taken))
        .or_else(|| {
            fresh(
                space,
                &mut Counter::new(seed, purpose::RANDOM, trial),
                taken,
            )
        })
}
