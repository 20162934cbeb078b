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

/// Six for each layer that adaptation can begin at, in an order in which layers and methods take turns. The first is what a search
/// tries first by itself.
pub const CONFIGURATIONS: [Configuration; 36] = [
    of("lora", "1", "default", 0),
    of("lora", "0.5", "both", 1),
    of("sdctft", "1", "default", 2),
    of("bottleneck", "0.5", "default", 3),
    of("vera", "1", "default", 4),
    of("sdctft", "0.25", "attention", 5),
    of("lora", "1", "default", 1),
    of("lora", "0.5", "both", 2),
    of("sdctft", "1", "default", 3),
    of("bottleneck", "0.5", "default", 4),
    of("vera", "1", "default", 5),
    of("bitfit", "", "", 0),
    of("lora", "1", "default", 2),
    of("lora", "0.5", "both", 3),
    of("sdctft", "1", "default", 4),
    of("bottleneck", "0.5", "default", 5),
    of("vera", "1", "default", 0),
    of("ssf", "", "default", 1),
    of("lora", "1", "default", 3),
    of("lora", "0.5", "both", 4),
    of("sdctft", "1", "default", 5),
    of("bottleneck", "0.5", "default", 0),
    of("vera", "1", "default", 1),
    of("ia3", "", "default", 2),
    of("lora", "1", "default", 4),
    of("lora", "0.5", "both", 5),
    of("sdctft", "1", "default", 0),
    of("bottleneck", "0.5", "default", 1),
    of("vera", "1", "default", 2),
    of("parallel", "0.25", "default", 3),
    of("lora", "1", "default", 5),
    of("lora", "0.5", "both", 0),
    of("sdctft", "1", "default", 1),
    of("bottleneck", "0.5", "default", 2),
    of("vera", "1", "default", 3),
    of("lora", "2", "attention", 4),
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
    fn the_list_begins_at_each_layer_equally_often_and_repeats_nothing() {
        for layer in 0..LAYERS {
            let count = CONFIGURATIONS.iter().filter(|one| one.from == layer);
            assert_eq!(count.count(), 6, "layer {layer}");
        }
        let all: BTreeSet<String> = CONFIGURATIONS.iter().map(Configuration::words).collect();
        assert_eq!(all.len(), CONFIGURATIONS.len());
        let from_three = of("lora", "0.5", "both", 3);
        assert_eq!(
            from_three.values(),
            [
                "method=lora",
                "size=0.5",
                "place=both",
                "layer_0=off",
                "layer_1=off",
                "layer_2=off"
            ]
        );
    }
}
