//! The configurations that are timed.

/// A configuration of the workspace's space.
#[derive(Debug)]
pub struct Configuration {
    pub method: &'static str,
    pub size: &'static str,
    pub place: &'static str,
    /// Adapted from this layer up; what lies below does not change in training.
    pub from: usize,
}

/// Layers of the model.
const LAYERS: usize = 6;

const fn of(
    method: &'static str,
    size: &'static str,
    place: &'static str,
    from: usize,
) -> Configuration {
    Configuration {
        method,
        size,
        place,
        from,
    }
}

/// Two for each layer that adaptation can begin at. The first is what a search tries first by itself.
pub const CONFIGURATIONS: [Configuration; 12] = [
    of("lora", "1", "default", 0),
    of("bottleneck", "0.5", "default", 5),
    of("sdctft", "1", "default", 1),
    of("lora", "0.5", "both", 4),
    of("vera", "1", "default", 2),
    of("lora", "2", "attention", 3),
    of("bitfit", "", "", 0),
    of("ssf", "", "default", 5),
    of("bottleneck", "1", "default", 1),
    of("ia3", "", "default", 4),
    of("parallel", "1", "default", 2),
    of("bottleneck", "0.25", "both", 3),
];

impl Configuration {
    /// As `peft search enqueue` takes them.
    pub fn values(&self) -> Vec<String> {
        let mut values = vec![format!("method={}", self.method)];
        for (name, value) in [("size", self.size), ("place", self.place)] {
            if !value.is_empty() {
                values.push(format!("{name}={value}"));
            }
        }
        values.extend((0..self.from.min(LAYERS)).map(|layer| format!("layer_{layer}=off")));
        values
    }

    pub fn words(&self) -> String {
        let size = match self.size {
            "" => String::new(),
            size => format!(", size {size}"),
        };
        let place = match self.place {
            "" | "default" => String::new(),
            place => format!(", {place}"),
        };
        format!("{}{size}{place}, from layer {}", self.method, self.from)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_list_begins_at_each_layer_twice_and_repeats_nothing() {
        for layer in 0..LAYERS {
            let count = CONFIGURATIONS.iter().filter(|one| one.from == layer);
            assert_eq!(count.count(), 2, "layer {layer}");
        }
        let all: BTreeSet<String> = CONFIGURATIONS.iter().map(Configuration::words).collect();
        assert_eq!(all.len(), CONFIGURATIONS.len());
        assert_eq!(
            CONFIGURATIONS[3].values(),
            [
                "method=lora",
                "size=0.5",
                "place=both",
                "layer_0=off",
                "layer_1=off",
                "layer_2=off",
                "layer_3=off"
            ]
        );
    }
}
