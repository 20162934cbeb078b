use peft_core::NameMap;

use crate::Family;

/// What a family calls the parts of its encoder and of its classification head.
///
/// Names are those of the family's `…ForSequenceClassification`; `{}` is the number of a layer.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// Prefix of the encoder, absent from checkpoints of the bare encoder.
    pub prefix: &'static str,
    pub word: String,
    pub position: String,
    pub token_type: String,
    pub embedding_norm: String,
    pub projection: Option<String>,
    pub query: String,
    pub key: String,
    pub value: String,
    pub output: String,
    pub attention_norm: String,
    pub up: String,
    pub down: String,
    pub norm: String,
    /// The dense layer between the first token and the classifier.
    pub head_dense: String,
    pub classifier: String,
    /// PEFT's name of the module that holds the head: saved in full.
    pub head_modules: &'static [&'static str],
}

impl Names {
    pub fn of(family: Family) -> Self {
        match family {
            Family::Bert => Self::bert("bert.", "bert.pooler.dense", "classifier", &["classifier"]),
            Family::Roberta => Self::bert(
                "roberta.",
                "classifier.dense",
                "classifier.out_proj",
                &["classifier"],
            ),
            Family::DistilBert => Self::distilbert(),
            Family::Albert => Self::albert(),
        }
    }

    fn bert(
        prefix: &'static str,
        head_dense: &str,
        classifier: &str,
        head_modules: &'static [&'static str],
    ) -> Self {
        let embedding = |part: &str| format!("{prefix}embeddings.{part}");
        let layer = |part: &str| format!("{prefix}encoder.layer.{{}}.{part}");
        Self {
            prefix,
            word: embedding("word_embeddings"),
            position: embedding("position_embeddings"),
            token_type: embedding("token_type_embeddings"),
            embedding_norm: embedding("LayerNorm"),
            projection: None,
            query: layer("attention.self.query"),
            key: layer("attention.self.key"),
            value: layer("attention.self.value"),
            output: layer("attention.output.dense"),
            attention_norm: layer("attention.output.LayerNorm"),
            up: layer("intermediate.dense"),
            down: layer("output.dense"),
            norm: layer("output.LayerNorm"),
            head_dense: head_dense.to_owned(),
            classifier: classifier.to_owned(),
            head_modules,
        }
    }

    fn distilbert() -> Self {
        let layer = |part: &str| format!("distilbert.transformer.layer.{{}}.{part}");
        Self {
            query: layer("attention.q_lin"),
            key: layer("attention.k_lin"),
            value: layer("attention.v_lin"),
            output: layer("attention.out_lin"),
            attention_norm: layer("sa_layer_norm"),
            up: layer("ffn.lin1"),
            down: layer("ffn.lin2"),
            norm: layer("output_layer_norm"),
            ..Self::bert(
                "distilbert.",
                "pre_classifier",
                "classifier",
                &["classifier", "pre_classifier"],
            )
        }
    }

    fn albert() -> Self {
        let layer =
            |part: &str| format!("albert.encoder.albert_layer_groups.{{}}.albert_layers.0.{part}");
        Self {
            projection: Some("albert.encoder.embedding_hidden_mapping_in".to_owned()),
            query: layer("attention.query"),
            key: layer("attention.key"),
            value: layer("attention.value"),
            output: layer("attention.dense"),
            attention_norm: layer("attention.LayerNorm"),
            up: layer("ffn"),
            down: layer("ffn_output"),
            norm: layer("full_layer_layer_norm"),
            ..Self::bert("albert.", "albert.pooler", "classifier", &["classifier"])
        }
    }

    /// What the block at a depth is called; blocks that share their parameters are told apart.
    pub fn layer(&self, depth: usize, distinct: usize) -> String {
        // Queries and norms are parts of a layer, at different depths of its tree.
        let common = |(a, b): &(&str, &str)| a == b;
        let parts = self.query.split('.').zip(self.norm.split('.'));
        let shared: Vec<&str> = parts.take_while(common).map(|(part, _)| part).collect();
        let name = shared
            .join(".")
            .replace("{}", &(depth % distinct).to_string());
        match distinct {
            1 => format!("{name} (pass {})", depth + 1),
            _ => name,
        }
    }

    /// The map between the paths of a [`SequenceModel`](crate::SequenceModel) and these names.
    pub fn map(&self) -> NameMap {
        let mut rules = vec![
            ("encoder.word".to_owned(), self.word.clone()),
            ("encoder.position".to_owned(), self.position.clone()),
            ("encoder.token_type".to_owned(), self.token_type.clone()),
            (
                "encoder.embedding_norm".to_owned(),
                self.embedding_norm.clone(),
            ),
            ("dense".to_owned(), self.head_dense.clone()),
            ("classifier".to_owned(), self.classifier.clone()),
        ];
        if let Some(projection) = &self.projection {
            rules.push(("encoder.projection".to_owned(), projection.clone()));
        }
        for (part, name) in [
            ("query", &self.query),
            ("key", &self.key),
            ("value", &self.value),
            ("output", &self.output),
            ("attention_norm", &self.attention_norm),
            ("up", &self.up),
            ("down", &self.down),
            ("norm", &self.norm),
        ] {
            rules.push((format!("encoder.layers.{{}}.{part}"), name.clone()));
        }
        // The longest name first: `classifier` must not catch `classifier.out_proj`.
        rules.sort_by_key(|(_, name)| std::cmp::Reverse(name.split('.').count()));
        NameMap::new(rules)
    }
}
