//! Whose body a model understands, by its id.

use llms_core::{Capabilities, ChatOptions};

/// The form of a model's own body: the setting `body` of `provider_specific`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// Anthropic's Messages (`anthropic_version: bedrock-2023-05-31`).
    Anthropic,
    /// Cohere's Command R: `message`, `chat_history`, `preamble`.
    Cohere,
    /// Meta's Llama: `prompt` in the template of Llama 2, 3 or 4, whichever the model id names (3 where none).
    Llama,
    /// Mistral's text completion: `prompt` with `[INST]`. Models with Mistral's chat completion are for Converse.
    Mistral,
    /// Amazon Nova (`schemaVersion: messages-v1`).
    Nova,
    /// Amazon Titan Text: `inputText`.
    Titan,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Anthropic, Self::Cohere, Self::Llama, Self::Mistral, Self::Nova, Self::Titan];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Cohere => "cohere",
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Nova => "nova",
            Self::Titan => "titan",
        }
    }

    /// The family of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }

    /// The family of a model id: a foundation model (`anthropic.claude-…`), an inference profile with any prefix
    /// (`us.`, `eu.`, `apac.`, `global.`, …), or an ARN of one of these. `None` where the id does not tell:
    /// application inference profiles, provisioned, imported and custom models, prompt routers; and models whose body
    /// is none of ours.
    pub fn of_model(id: &str) -> Option<Self> {
        let id = id.trim();
        match id.strip_prefix("arn:") {
            // arn:aws:bedrock:REGION:ACCOUNT:KIND/ID, and KIND/BASE/ID of custom models.
            Some(arn) => arn.split('/').skip(1).find_map(Self::of_id),
            None => Self::of_id(id),
        }
    }

    fn of_id(id: &str) -> Option<Self> {
        let (first, rest) = id.split_once('.')?;
        Self::of_maker(first, rest).or_else(|| {
            let (second, rest) = rest.split_once('.')?;
            Self::of_maker(second, rest)
        })
    }

    fn of_maker(maker: &str, model: &str) -> Option<Self> {
        const COMPLETING: [&str; 4] =
            ["mistral-7b-instruct", "mixtral-8x7b-instruct", "mistral-large-2402", "mistral-small-2402"];
        match maker {
            "anthropic" => Some(Self::Anthropic),
            "amazon" if model.starts_with("nova-") => Some(Self::Nova),
            "amazon" if model.starts_with("titan-text") || model.starts_with("titan-tg1") => {
                Some(Self::Titan)
            }
            "cohere" if model.starts_with("command-r") => Some(Self::Cohere),
            "meta" if model.starts_with("llama") => Some(Self::Llama),
            "mistral" if COMPLETING.iter().any(|m| model.starts_with(m)) => Some(Self::Mistral),
            _ => None,
        }
    }

    /// What its body can say.
    pub(crate) fn capabilities(self) -> Capabilities {
        let text = Capabilities {
            streaming: true,
            usage: true,
            max_temperature: Some(1.0),
            ..Capabilities::default()
        };
        match self {
            Self::Anthropic => Capabilities {
                tools: true,
                images: true,
                documents: true,
                structured_output: true,
                prompt_cache: true,
                ..text
            },
            Self::Nova => Capabilities { tools: true, images: true, ..text },
            Self::Cohere => Capabilities { seed: true, max_temperature: Some(5.0), ..text },
            Self::Llama | Self::Mistral | Self::Titan => text,
        }
    }

    /// The options set that its body has no field for.
    pub(crate) fn unsupported(self, options: &ChatOptions) -> Vec<&'static str> {
        let lacks = |families: &[Self]| families.contains(&self);
        let named = self != Self::Cohere;
        [
            ("top_k", options.top_k.is_some() && lacks(&[Self::Llama, Self::Titan])),
            ("stop_sequences", !options.stop_sequences.is_empty() && lacks(&[Self::Llama])),
            ("seed", options.seed.is_some() && named),
            ("frequency_penalty", options.frequency_penalty.is_some() && named),
            ("presence_penalty", options.presence_penalty.is_some() && named),
        ]
        .into_iter()
        .filter(|(_, refused)| *refused)
        .map(|(name, _)| name)
        .collect()
    }

    /// What to do about an option that its body has no field for.
    pub(crate) fn unsupported_help(self) -> String {
        format!(
            "expected it unset: InvokeModel's {} body has no such field; if the model has one of another name, give it \
             in options.extra",
            self.name()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(id: &str, family: Option<Family>) {
        assert_eq!(Family::of_model(id), family, "{id}");
    }

    #[test]
    fn the_model_id_tells_whose_body_it_is() {
        use Family as F;
        check("anthropic.claude-3-haiku-20240307-v1:0", Some(F::Anthropic));
        for profile in ["us", "eu", "apac", "global", "us-gov", "jp"] {
            check(&format!("{profile}.anthropic.claude-sonnet-4-20250514-v1:0"), Some(F::Anthropic));
        }
        check("amazon.titan-text-express-v1", Some(F::Titan));
        check("amazon.titan-embed-text-v2:0", None);
        check("us.amazon.nova-micro-v1:0", Some(F::Nova));
        check("us.meta.llama3-3-70b-instruct-v1:0", Some(F::Llama));
        check("mistral.mistral-7b-instruct-v0:2", Some(F::Mistral));
        check("mistral.mistral-large-2407-v1:0", None);
        check("cohere.command-r-plus-v1:0", Some(F::Cohere));
        check("cohere.command-text-v14", None);
        check("deepseek.r1-v1:0", None);
        check("m", None);
        check("arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-text-lite-v1", Some(F::Titan));
        check(
            "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-v1:0",
            Some(F::Anthropic),
        );
        check(
            "arn:aws:bedrock:us-east-1:123456789012:custom-model/meta.llama3-1-8b-instruct-v1:0:128k/abc",
            Some(F::Llama),
        );
        check("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3", None);
        check("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/a1b2c3", None);
        check("arn:aws:bedrock:us-east-1:123456789012:imported-model/a1b2c3", None);
    }

    #[test]
    fn names_read_back() {
        for family in Family::ALL {
            assert_eq!(Family::of_name(family.name()), Some(family));
        }
        assert_eq!(Family::of_name("openai"), None);
    }
}
