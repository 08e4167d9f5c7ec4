//! Flags of what is asked, besides the plain ones: prompts made by length, conversations, expectations of answers.

use std::{path::PathBuf, time::Duration};

use bench_runner::Expectations;
use clap::Args;
use llms_core::bench::{LengthLaw, Scenario, Sessions, SharedPrefix, Synthetic, ThinkLaw, duration};

use crate::{exit::Failure, load_args::ThinkLawArg};

/// What is asked.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Work")]
pub struct WorkArgs {
    /// Prompts made by length instead of the scenario's, in tokens: 512, uniform:100-900, normal:500,50 (mean, sd),
    /// lognormal:400,0.5 (median, sigma; both with ,MIN-MAX if wanted) or one-of:128,512. No two are alike.
    #[arg(long, value_name = "LENGTH", conflicts_with_all = ["prompts", "trace", "sessions"])]
    pub input_len: Option<LengthLaw>,
    /// Limit of generated tokens of each of them, in the same form.
    #[arg(long, value_name = "LENGTH", conflicts_with_all = ["prompts", "trace", "max_tokens"])]
    pub output_len: Option<LengthLaw>,
    /// Tokens that they share at their beginning, on top of --input-len.
    #[arg(long, value_name = "TOKENS", conflicts_with_all = ["prompts", "trace"])]
    pub prefix_len: Option<u32>,
    /// Different beginnings; one unless given.
    #[arg(long, value_name = "N", requires = "prefix_len")]
    pub prefix_groups: Option<u32>,
    /// Vocabulary that makes them exactly as long as asked, and counts answers beside the server's own count: o200k_base,
    /// cl100k_base, or a tokenizer.json.
    #[arg(long, value_name = "NAME|FILE")]
    pub tokenizer: Option<String>,
    /// Ask whole conversations: the turns of each prompt, every one with the answers really given before it.
    #[arg(long, conflicts_with = "trace")]
    pub sessions: bool,
    /// Mean pause between an answer and the next turn of a conversation.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub turn_think_time: Option<Duration>,
    /// Law of these pauses.
    #[arg(long, value_enum, requires = "turn_think_time")]
    pub turn_think_law: Option<ThinkLawArg>,
    /// At most so many turns of each conversation, the first one included.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_turns: Option<u32>,
    /// Answers that lack this text count as failed; repeatable.
    #[arg(long, value_name = "TEXT")]
    pub expect_contains: Vec<String>,
    /// Answers that this regular expression matches nowhere count as failed; repeatable.
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true)]
    pub expect_matches: Vec<String>,
    /// Answers that are not JSON of this schema count as failed.
    #[arg(long, value_name = "FILE")]
    pub expect_schema: Option<PathBuf>,
}

impl WorkArgs {
    /// Changes what a scenario asks and expects.
    ///
    /// # Errors
    /// A flag that does not fit the scenario.
    pub fn apply(&self, scenario: &mut Scenario) -> Result<(), Failure> {
        self.make_prompts(scenario)?;
        if self.tokenizer.is_some() {
            scenario.tokenizer.clone_from(&self.tokenizer);
        }
        self.converse(scenario)?;
        self.expect(scenario)
    }

    fn make_prompts(&self, scenario: &mut Scenario) -> Result<(), Failure> {
        if let Some(input) = &self.input_len {
            scenario.prompts.clear();
            scenario.sessions = None;
            match &mut scenario.synthetic {
                Some(synthetic) => synthetic.input = input.clone(),
                none => *none = Some(Synthetic::new(input.clone())),
            }
        }
        let flags =
            [("--output-len", self.output_len.is_some()), ("--prefix-len", self.prefix_len.is_some())];
        let given = flags.iter().find(|(_, given)| *given);
        match (&mut scenario.synthetic, given) {
            (Some(synthetic), _) => {
                if self.output_len.is_some() {
                    synthetic.output.clone_from(&self.output_len);
                }
                if let Some(tokens) = self.prefix_len {
                    synthetic.prefix = Some(SharedPrefix { groups: self.prefix_groups.unwrap_or(1), tokens });
                }
                Ok(())
            }
            (None, Some((flag, _))) => Err(Failure::usage(format!(
                "{flag}: only prompts made by length have one; use it with --input-len"
            ))),
            (None, None) => Ok(()),
        }
    }

    fn converse(&self, scenario: &mut Scenario) -> Result<(), Failure> {
        if self.sessions && scenario.sessions.is_none() {
            scenario.sessions = Some(Sessions::default());
        }
        let flags = [
            ("--turn-think-time", self.turn_think_time.is_some()),
            ("--max-turns", self.max_turns.is_some()),
        ];
        match (&mut scenario.sessions, flags.iter().find(|(_, given)| *given)) {
            (Some(sessions), _) => {
                if let Some(mean) = self.turn_think_time {
                    sessions.think_time = mean;
                    sessions.think_law = self.turn_think_law.map_or(ThinkLaw::Constant, Into::into);
                }
                sessions.max_turns = self.max_turns.or(sessions.max_turns);
                Ok(())
            }
            (None, Some((flag, _))) => {
                Err(Failure::usage(format!("{flag}: only conversations have turns; use it with --sessions")))
            }
            (None, None) => Ok(()),
        }
    }

    fn expect(&self, scenario: &mut Scenario) -> Result<(), Failure> {
        if !self.expect_contains.is_empty() {
            scenario.expect.contains.clone_from(&self.expect_contains);
        }
        if !self.expect_matches.is_empty() {
            scenario.expect.matches.clone_from(&self.expect_matches);
        }
        if let Some(path) = &self.expect_schema {
            let wrong = |e: String| Failure::usage(format!("--expect-schema: {}: {e}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|e| wrong(format!("cannot read it: {e}")))?;
            let schema = serde_json::from_str(&text).map_err(|e| wrong(format!("expected JSON: {e}")))?;
            scenario.expect.json_schema = Some(schema);
        }
        let given = !self.expect_contains.is_empty()
            || !self.expect_matches.is_empty()
            || self.expect_schema.is_some();
        // A scenario's own are checked with it; these here, so that the message names the flags' fields.
        if given { Ok(Expectations::compile(scenario).map(drop)?) } else { Ok(()) }
    }
}
