//! What a server is started with, and the engines behind its names.

use std::{collections::BTreeMap, fmt, io, net::SocketAddr, path::PathBuf, str::FromStr, sync::Arc};

use llms_core::config::ConfigErrors;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    dialect::Reply,
    settings::{AwsCredentials, Limits, Tls, WhenFull},
};
use crate::{
    engine::{Engine, ProfileHandle},
    profile::{Preset, Profile},
    situation::{self, SITUATIONS},
    truth::TruthLog,
};

/// A wire protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Chat completions.
    OpenAi,
    /// Messages.
    Anthropic,
    /// Converse and ConverseStream.
    Bedrock,
    /// `/api/chat`.
    Ollama,
}

impl Protocol {
    /// All four.
    pub const ALL: [Self; 4] = [Self::OpenAi, Self::Anthropic, Self::Bedrock, Self::Ollama];

    /// The name, which is also the provider's.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Bedrock => "bedrock",
            Self::Ollama => "ollama",
        }
    }

    /// What a base URL of this protocol ends in.
    pub fn base_path(self) -> &'static str {
        if self == Self::OpenAi { "/v1" } else { "" }
    }

    /// The preset that answers unless told otherwise.
    pub fn preset(self) -> Preset {
        match self {
            Self::OpenAi => Preset::OpenAi,
            Self::Anthropic => Preset::Anthropic,
            Self::Bedrock => Preset::Bedrock,
            Self::Ollama => Preset::Ollama,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = ConfigErrors;

    fn from_str(text: &str) -> Result<Self, ConfigErrors> {
        Self::ALL.into_iter().find(|p| p.as_str() == text).ok_or_else(|| {
            let mut errors = ConfigErrors::default();
            errors.push("protocol", "expected one of openai, anthropic, bedrock, ollama", text);
            errors
        })
    }
}

/// What a server is started with. [`ServerConfig::start`] starts it.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Address and port; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Leave to listen on another address than loopback.
    pub allow_remote: bool,
    /// What answers each protocol; the protocol's preset, without faults and memory simulation, where absent.
    pub profiles: BTreeMap<Protocol, Profile>,
    /// What answers models of these names, whatever the protocol.
    pub models: BTreeMap<String, Profile>,
    /// What answers the built-in names `mock-<preset>`, `mock-fast` and `mock-slow`; the preset, without faults and
    /// memory simulation, where absent.
    pub presets: BTreeMap<Preset, Profile>,
    /// Refuse models that are not in `models`, as not found.
    pub only_listed_models: bool,
    /// What answers each protocol, live: this handle instead of `profiles`. Several servers, models and a
    /// [`Configurator`](crate::Configurator) may share one.
    pub handles: BTreeMap<Protocol, ProfileHandle>,
    /// The one key that is accepted; any or none when `None`, but never one that begins with `bad-`. On Bedrock it is
    /// the bearer key.
    pub api_key: Option<SecretString>,
    /// The one pair whose signatures Bedrock accepts; when `None` signatures only have to look like some.
    pub aws_credentials: Option<AwsCredentials>,
    /// HTTPS, with HTTP/2 for those who ask for it; plain HTTP when `None` (with HTTP/2 by prior knowledge).
    pub tls: Option<Tls>,
    /// Leave to change profiles by HTTP (`/mock/config`) when listening on another address than loopback.
    pub allow_remote_admin: bool,
    /// Truth records kept in memory, the latest; 0 keeps none.
    pub truth_capacity: usize,
    /// Where each truth record is written as a line of JSON.
    pub truth_file: Option<PathBuf>,
    /// Connections at a time.
    pub max_connections: usize,
    /// What becomes of more.
    pub when_full: WhenFull,
    /// Requests that a connection of HTTP/1.1 may carry before it is closed; 1 closes it after each. No limit when
    /// `None`.
    pub requests_per_connection: Option<u32>,
    /// What is read at most, and for how long.
    pub limits: Limits,
    /// Threads that serve; one keeps up with tens of thousands of chunks a second.
    pub threads: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            allow_remote: false,
            profiles: BTreeMap::new(),
            models: BTreeMap::new(),
            presets: BTreeMap::new(),
            only_listed_models: false,
            handles: BTreeMap::new(),
            api_key: None,
            aws_credentials: None,
            tls: None,
            allow_remote_admin: false,
            truth_capacity: TruthLog::CAPACITY,
            truth_file: None,
            max_connections: 16_384,
            when_full: WhenFull::default(),
            requests_per_connection: None,
            limits: Limits::default(),
            threads: 1,
        }
    }
}

impl ServerConfig {
    /// What answers `protocol` as things stand.
    pub fn profile(&self, protocol: Protocol) -> Profile {
        if let Some(handle) = self.handles.get(&protocol) {
            return handle.get();
        }
        self.profiles.get(&protocol).cloned().unwrap_or_else(|| protocol.preset().profile().quiet())
    }

    /// Sets what answers a protocol.
    pub fn with_profile(mut self, protocol: Protocol, profile: Profile) -> Self {
        self.profiles.insert(protocol, profile);
        self
    }

    /// Sets what answers a protocol, live: what the handle is set to later counts for requests that arrive then.
    pub fn with_handle(mut self, protocol: Protocol, handle: &ProfileHandle) -> Self {
        self.handles.insert(protocol, handle.clone());
        self
    }

    /// Sets what answers a model's name.
    pub fn with_model(mut self, name: impl Into<String>, profile: Profile) -> Self {
        self.models.insert(name.into(), profile);
        self
    }

    /// Changes what answers each protocol: seed, scale, length for all at once. Protocols with a handle keep theirs.
    pub fn map_profiles(mut self, change: impl Fn(Profile) -> Profile) -> Self {
        for protocol in Protocol::ALL {
            let changed = change(self.profile(protocol));
            self.profiles.insert(protocol, changed);
        }
        for profile in self.models.values_mut() {
            *profile = change(profile.clone());
        }
        self
    }

    /// Changes what answers the built-in names `mock-<preset>`, `mock-fast` and `mock-slow`, as
    /// [`map_profiles`](Self::map_profiles) does with the protocols and models.
    pub fn map_presets(mut self, change: impl Fn(Profile) -> Profile) -> Self {
        for preset in Preset::ALL {
            let changed = change(self.preset(preset));
            self.presets.insert(preset, changed);
        }
        self
    }

    /// What answers a preset's names as things stand.
    fn preset(&self, preset: Preset) -> Profile {
        self.presets.get(&preset).cloned().unwrap_or_else(|| preset.profile().quiet())
    }

    /// Adds profiles from a file: JSON, or TOML by way of it. Tables `openai`, `anthropic`, `bedrock`, `ollama`
    /// and `models.<name>`, each as [`Profile::from_value`] reads it; a protocol's table without `preset` begins
    /// from what answers it now.
    ///
    /// # Errors
    /// Every field that is wrong, under its table's name.
    pub fn merge_profiles(mut self, file: Value) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let Value::Object(tables) = file else {
            errors.push("profiles", "expected a table", "something else");
            return Err(errors);
        };
        for (name, table) in tables {
            if name == "models" {
                for (model, table) in table.as_object().into_iter().flatten() {
                    match Profile::from_value(table.clone()) {
                        Ok(profile) => _ = self.models.insert(model.clone(), profile),
                        Err(e) => errors.nest(&format!("models.{model}"), Err(e)),
                    }
                }
                continue;
            }
            let Ok(protocol) = name.parse::<Protocol>() else {
                let known = "expected a table openai, anthropic, bedrock, ollama or models";
                errors.push(name, known, "an unknown one");
                continue;
            };
            match Profile::from_value(over(&self.profile(protocol), table)) {
                Ok(profile) => _ = self.profiles.insert(protocol, profile),
                Err(e) => errors.nest(&name, Err(e)),
            }
        }
        errors.into_result().map(|()| self)
    }

    pub(super) fn validate(&self) -> Result<(), ConfigErrors> {
        let mut errors = ConfigErrors::default();
        for (protocol, profile) in &self.profiles {
            errors.nest(protocol.as_str(), profile.validate());
        }
        for (name, profile) in &self.models {
            errors.nest(&format!("models.{name}"), profile.validate());
        }
        for (preset, profile) in &self.presets {
            errors.nest(&format!("presets.{preset}"), profile.validate());
        }
        errors.check(
            self.allow_remote || self.bind.ip().is_loopback(),
            "bind",
            "expected a loopback address such as 127.0.0.1, or leave to be reached from elsewhere",
            self.bind,
        );
        errors.check(self.threads > 0, "threads", "expected a number ≥ 1", self.threads);
        errors.check(self.max_connections > 0, "max_connections", "expected a number ≥ 1", "0");
        let some = self.requests_per_connection != Some(0);
        errors.check(some, "requests_per_connection", "expected a number ≥ 1", "0");
        self.limits.validate(&mut errors);
        if let Some(pair) = &self.aws_credentials {
            let named = !pair.access_key_id.is_empty() && !pair.secret_access_key.expose_secret().is_empty();
            errors.check(
                named,
                "aws_credentials",
                "expected an access key id and its secret",
                "an empty one",
            );
        }
        errors.into_result()
    }
}

/// The fields of `table` over those of `base`, unless it names a preset to begin from.
pub(super) fn over(base: &Profile, table: Value) -> Value {
    let Value::Object(fields) = table else { return table };
    if fields.contains_key("preset") {
        return fields.into();
    }
    let mut merged = serde_json::to_value(base).unwrap_or_default();
    if let Value::Object(merged) = &mut merged {
        merged.extend(fields);
    }
    merged
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// An address or a file could not be opened; says which, and what to do.
    #[error("{0}")]
    Io(String),
}

impl From<io::Error> for StartError {
    fn from(e: io::Error) -> Self {
        Self::Io(format!("cannot start the server: {e}"))
    }
}

/// The engine of each name.
pub(super) struct Engines {
    protocols: BTreeMap<Protocol, Arc<Engine>>,
    models: BTreeMap<String, Arc<Engine>>,
    only_listed: bool,
    /// The profiles at the start, in the order of [`Engines::handles`].
    first: Vec<Profile>,
}

impl Engines {
    pub(super) fn new(config: &ServerConfig, log: &TruthLog) -> Result<Self, ConfigErrors> {
        let engine =
            |profile| ProfileHandle::new(profile).map(|handle| Arc::new(Engine::new(handle, log.clone())));
        let mut protocols = BTreeMap::new();
        for protocol in Protocol::ALL {
            let made = match config.handles.get(&protocol) {
                Some(handle) => Arc::new(Engine::new(handle.clone(), log.clone())),
                None => engine(config.profile(protocol))?,
            };
            protocols.insert(protocol, made);
        }
        let mut models = BTreeMap::new();
        if !config.only_listed_models {
            for preset in Preset::ALL {
                models.insert(format!("mock-{preset}"), engine(config.preset(preset))?);
            }
            for (name, preset) in [("mock-fast", Preset::VeryFast), ("mock-slow", Preset::VerySlow)] {
                models.insert(name.to_owned(), models[&format!("mock-{preset}")].clone());
            }
        }
        for (name, profile) in &config.models {
            models.insert(name.clone(), engine(profile.clone())?);
        }
        let mut engines =
            Self { protocols, models, only_listed: config.only_listed_models, first: Vec::new() };
        engines.first = engines.handles().into_iter().map(|(_, handle)| handle.get()).collect();
        Ok(engines)
    }

    /// What answers a model; `None`: there is no such model.
    pub(super) fn find(&self, protocol: Protocol, model: &str) -> Option<&Arc<Engine>> {
        // Vendors' prefixes and versions, and Ollama's tags, do not matter.
        let bare = situation::bare(model).or(model.strip_suffix(":latest")).unwrap_or(model);
        if bare == "mock-missing" {
            return None;
        }
        let listed = self.models.get(model).or_else(|| self.models.get(bare));
        let anything = !self.only_listed && !situation::is_unknown(model);
        listed.or_else(|| anything.then(|| &self.protocols[&protocol]))
    }

    /// A refusal of a model that there is not: where its name begins as situations' do, with the nearest that there is.
    pub(super) fn with_hint(&self, model: &str, reply: Reply) -> Reply {
        let situations = SITUATIONS.iter().map(|(name, _)| *name).filter(|_| !self.only_listed);
        let known = situations.chain(self.names()).filter(|name| *name != "mock-missing");
        let typed = situation::bare(model).filter(|name| *name != "mock-missing");
        match typed.and_then(|name| situation::nearest(name, known)) {
            Some(nearest) => reply.saying(&format!("Did you mean `{nearest}`?")),
            None => reply,
        }
    }

    /// What answers a protocol unless a model's name says otherwise.
    pub(super) fn of(&self, protocol: Protocol) -> &Arc<Engine> {
        &self.protocols[&protocol]
    }

    /// Whether a profile of its own answers this model.
    pub(super) fn is_listed(&self, model: &str) -> bool {
        let bare = model.strip_suffix(":latest").unwrap_or(model);
        self.models.contains_key(model) || self.models.contains_key(bare)
    }

    /// Names for listings: those configured and built in.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.models.keys().map(String::as_str)
    }

    /// The handle of a protocol or a model.
    pub(super) fn handle(&self, name: &str) -> Option<&ProfileHandle> {
        let protocol = name.parse().ok().and_then(|p: Protocol| self.protocols.get(&p));
        protocol.or_else(|| self.models.get(name)).map(|engine| engine.handle())
    }

    /// As at the start: profiles, counters, limits and caches.
    pub(super) fn reset(&self) {
        for ((_, handle), first) in self.handles().into_iter().zip(&self.first) {
            handle.set(first.clone()).expect("invariant: it was valid at the start");
        }
        self.protocols.values().chain(self.models.values()).for_each(|engine| engine.reset());
    }

    pub(super) fn handles(&self) -> Vec<(String, ProfileHandle)> {
        let protocols = self.protocols.iter().map(|(p, e)| (p.as_str().to_owned(), e));
        let models = self.models.iter().map(|(name, e)| (name.clone(), e));
        protocols.chain(models).map(|(name, e)| (name, e.handle().clone())).collect()
    }
}
