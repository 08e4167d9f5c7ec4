//! Providers by name, registered at run time.
//!
//! A registry is a value that is passed around, so that tests and embedders have their own; [`global`] is the
//! one shared by the process.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use async_trait::async_trait;

use crate::{
    config::{Env, ModelConfig},
    error::{Error, ErrorCode, Result},
    model::SharedModel,
    wire::Transport,
};

/// What a factory may use to build a model.
pub struct BuildContext<'a> {
    /// Carries and stamps the model's requests.
    pub transport: Arc<dyn Transport>,
    /// Where keys and addresses are looked up.
    pub env: &'a Env<'a>,
}

impl fmt::Debug for BuildContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildContext").field("transport", &self.transport).finish_non_exhaustive()
    }
}

/// Builds models of one provider.
#[async_trait]
pub trait ModelFactory: Send + Sync {
    /// Builds a model.
    ///
    /// # Errors
    /// `invalid_config` naming every wrong field; `authentication_error` when a key is required and missing,
    /// naming the variable to set.
    async fn create(&self, config: &ModelConfig, build: &BuildContext<'_>) -> Result<SharedModel>;
}

/// Provider factories by name.
#[derive(Clone, Default)]
pub struct Registry {
    factories: Arc<RwLock<BTreeMap<String, Arc<dyn ModelFactory>>>>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a provider; returns the factory that had the name before, if any.
    pub fn register(
        &self,
        provider: impl Into<String>,
        factory: impl ModelFactory + 'static,
    ) -> Option<Arc<dyn ModelFactory>> {
        self.factories
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(provider.into(), Arc::new(factory))
    }

    /// Whether a provider is registered.
    pub fn contains(&self, provider: &str) -> bool {
        self.factories.read().unwrap_or_else(PoisonError::into_inner).contains_key(provider)
    }

    /// The names, sorted.
    pub fn providers(&self) -> Vec<String> {
        self.factories.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Builds the model that `config` describes.
    ///
    /// # Errors
    /// `unsupported_provider` naming those there are; else what the factory says.
    pub async fn create(&self, config: &ModelConfig, build: &BuildContext<'_>) -> Result<SharedModel> {
        let factory =
            self.factories.read().unwrap_or_else(PoisonError::into_inner).get(&config.provider).cloned();
        let Some(factory) = factory else {
            return Err(Error::new(
                "registry.create",
                ErrorCode::UnsupportedProvider,
                format!(
                    "no provider is called `{}`; expected one of {}",
                    config.provider,
                    self.providers().join(", ")
                ),
            ));
        };
        factory.create(config, build).await
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("providers", &self.providers()).finish()
    }
}

/// The registry of the process, empty until somebody registers.
pub fn global() -> &'static Registry {
    static GLOBAL: OnceLock<Registry> = OnceLock::new();
    GLOBAL.get_or_init(Registry::new)
}
