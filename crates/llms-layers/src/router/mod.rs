//! One model out of several: by what they can do, how large the request is, how hard it is, what it costs and how they are.
//!
//! Two steps: [`fit`] leaves out the routes that cannot take the request, [`Router`] orders those left by the
//! policy and calls them until one answers.

mod fit;
mod standing;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use llms_core::{
    CallContext, Capabilities, ChatModel, ChatRequest, ChatResponse, Error, ErrorCode, ErrorKind, EventSink,
    EventStream, ModelInfo, Outcome, Result, SharedModel,
    health::{Health, HealthState},
    model::stream_of_drive,
    observe::CallEvent,
};

use self::standing::Standing;
use crate::{delivered::Delivered, random::Random, size::estimated_input_tokens};

/// A price, for choosing only: what a run cost is computed elsewhere, from dated price tables.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// US dollars for a million input tokens.
    pub input_usd_per_mtok: f64,
    /// US dollars for a million output tokens.
    pub output_usd_per_mtok: f64,
}

impl Price {
    /// What a request would cost, in US dollars: estimated input, and `max_tokens` or else `typical` output tokens.
    fn of(&self, request: &ChatRequest, typical: u32) -> f64 {
        let input = estimated_input_tokens(request) as f64;
        let output = f64::from(request.options.max_tokens.unwrap_or(typical));
        (input * self.input_usd_per_mtok + output * self.output_usd_per_mtok) / 1e6
    }
}

/// How hard a request is, from 0 (trivial) up; see [`RouterConfig::complexity`].
pub type Complexity = u8;

/// A model to choose.
#[derive(Clone)]
pub struct Route {
    /// What logs and errors call it; unique.
    pub name: String,
    /// The model.
    pub model: SharedModel,
    /// Share of the calls under [`Choice::Weighted`], relative to the others; 0: only as a fallback.
    pub weight: f64,
    /// What it costs, for [`Choice::Cheapest`].
    pub price: Option<Price>,
    /// The hardest requests it is given; `None`: any.
    pub max_complexity: Option<Complexity>,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route")
            .field("name", &self.name)
            .field("weight", &self.weight)
            .field("price", &self.price)
            .field("max_complexity", &self.max_complexity)
            .finish_non_exhaustive()
    }
}

impl Route {
    /// A route of weight 1, any complexity, unknown price.
    pub fn new(name: impl Into<String>, model: SharedModel) -> Self {
        Self { name: name.into(), model, weight: 1.0, price: None, max_complexity: None }
    }

    /// Sets the weight.
    pub fn with_weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// Sets the price.
    pub fn with_price(mut self, price: Price) -> Self {
        self.price = Some(price);
        self
    }

    /// Gives it only requests of at most this complexity.
    pub fn with_max_complexity(mut self, max: Complexity) -> Self {
        self.max_complexity = Some(max);
        self
    }
}

/// Which of the routes that fit is asked first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// In the order given: the others are fallbacks.
    #[default]
    InOrder,
    /// At random, by weight.
    Weighted,
    /// The cheapest for this request; those without a price last, in the order given.
    Cheapest,
}

impl Choice {
    fn why(self) -> &'static str {
        match self {
            Self::InOrder => "first that fits",
            Self::Weighted => "drawn by weight",
            Self::Cheapest => "cheapest that fits",
        }
    }
}

type ComplexityRule = Arc<dyn Fn(&ChatRequest) -> Complexity + Send + Sync>;

/// How a router chooses.
#[derive(Clone)]
pub struct RouterConfig {
    /// Which of the routes that fit is asked first.
    pub choice: Choice,
    /// Whether another route is asked when one fails in a way that the other may not share, before content came.
    pub fallback: bool,
    /// How hard a request is, compared with [`Route::max_complexity`]; without a rule everything is 0.
    pub complexity: Option<ComplexityRule>,
    /// Output tokens assumed for the cost of a request without `max_tokens`.
    pub typical_output_tokens: u32,
    /// Failures in a row (of the service, not of the request) after which a route is asked last.
    pub unhealthy_after: u32,
    /// For how long; then one call may try it again.
    pub cooldown: Duration,
    /// Seed of the weighted draw; from the system when `None`.
    pub seed: Option<u64>,
}

impl Default for RouterConfig {
    /// In order, with fallback; a route is out for 30 s after 3 failures in a row; 500 output tokens assumed.
    fn default() -> Self {
        Self {
            choice: Choice::InOrder,
            fallback: true,
            complexity: None,
            typical_output_tokens: 500,
            unhealthy_after: 3,
            cooldown: Duration::from_secs(30),
            seed: None,
        }
    }
}

impl std::fmt::Debug for RouterConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouterConfig")
            .field("choice", &self.choice)
            .field("fallback", &self.fallback)
            .field("unhealthy_after", &self.unhealthy_after)
            .field("cooldown", &self.cooldown)
            .finish_non_exhaustive()
    }
}

impl RouterConfig {
    /// Chooses by `choice`.
    pub fn new(choice: Choice) -> Self {
        Self { choice, ..Self::default() }
    }

    /// Judges how hard requests are.
    pub fn with_complexity(
        mut self,
        rule: impl Fn(&ChatRequest) -> Complexity + Send + Sync + 'static,
    ) -> Self {
        self.complexity = Some(Arc::new(rule));
        self
    }
}

/// Chooses a model for each call. The choice is told to the observer as [`CallEvent::Routed`].
#[derive(Debug)]
pub struct Router {
    info: ModelInfo,
    routes: Vec<Route>,
    config: RouterConfig,
    random: Random,
    standings: Mutex<Vec<Standing>>,
}

/// A route and why it was chosen.
struct Chosen<'r> {
    index: usize,
    route: &'r Route,
    why: &'static str,
}

impl Router {
    /// A router over `routes`.
    ///
    /// # Errors
    /// `invalid_config` without routes, with two of one name, with a negative weight, or under [`Choice::Weighted`]
    /// without any weight above 0.
    pub fn new(routes: Vec<Route>, config: RouterConfig) -> Result<Self> {
        let refuse = |message: String| Err(Error::new("router.new", ErrorCode::InvalidConfig, message));
        if routes.is_empty() {
            return refuse("expected at least one route".to_owned());
        }
        let mut names = BTreeSet::new();
        for route in &routes {
            if !names.insert(&route.name) {
                return refuse(format!(
                    "expected routes of different names, found two called `{}`",
                    route.name
                ));
            }
            if !(route.weight >= 0.0 && route.weight.is_finite()) {
                return refuse(format!(
                    "route `{}`: expected a weight of at least 0, found {}",
                    route.name, route.weight
                ));
            }
        }
        if config.choice == Choice::Weighted && routes.iter().all(|r| r.weight == 0.0) {
            return refuse("expected a weight above 0 of at least one route".to_owned());
        }
        let infos = routes.iter().map(|r| r.model.info());
        let info = ModelInfo {
            provider: "router".to_owned(),
            model: infos.clone().map(|i| format!("{}:{}", i.provider, i.model)).collect::<Vec<_>>().join("|"),
            endpoint: None,
            capabilities: union(infos.map(|i| &i.capabilities)),
        };
        let standings = Mutex::new(vec![Standing::default(); routes.len()]);
        Ok(Self { info, random: Random::new(config.seed), routes, config, standings })
    }

    fn standings(&self) -> MutexGuard<'_, Vec<Standing>> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The routes that can take the request, in the order in which they are asked.
    ///
    /// # Errors
    /// `invalid_request` saying of each route why it cannot.
    fn order(&self, request: &ChatRequest, streamed: bool, ctx: &CallContext) -> Result<Vec<Chosen<'_>>> {
        let complexity = self.config.complexity.as_ref().map_or(0, |rule| rule(request));
        let mut chosen = Vec::with_capacity(self.routes.len());
        let mut unfit = Vec::new();
        for (index, route) in self.routes.iter().enumerate() {
            match fit::misfit(route, request, streamed, complexity) {
                None => chosen.push(Chosen { index, route, why: self.config.choice.why() }),
                Some(why) => unfit.push(format!("{}: {why}", route.name)),
            }
        }
        if chosen.is_empty() {
            let message = format!("no route can take the request: {}", unfit.join("; "));
            return Err(
                Error::new("router.choose", ErrorCode::InvalidRequest, message).with_provider("router")
            );
        }
        match self.config.choice {
            Choice::InOrder => {}
            Choice::Weighted => self.draw(&mut chosen),
            Choice::Cheapest => {
                let cost = |c: &Chosen<'_>| {
                    c.route.price.map_or(f64::INFINITY, |p| p.of(request, self.config.typical_output_tokens))
                };
                chosen.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
            }
        }
        // Stable: among the well, and among the unwell, the order stays.
        let now = ctx.now();
        let standings = self.standings();
        chosen.sort_by_key(|c| standings[c.index].is_out(now));
        Ok(chosen)
    }

    /// Puts one drawn by weight in front; the others stay in order behind it.
    fn draw(&self, chosen: &mut [Chosen<'_>]) {
        let total: f64 = chosen.iter().map(|c| c.route.weight).sum();
        let mut at = self.random.unit() * total;
        let drawn = chosen.iter().position(|c| {
            at -= c.route.weight;
            at < 0.0
        });
        if let Some(drawn) = drawn {
            chosen[..=drawn].rotate_right(1);
        }
    }

    /// Notes how a call ended, and says whether another route may do better.
    fn note(&self, index: usize, result: Result<()>, ctx: &CallContext) -> Result<(), (Error, bool)> {
        let mut standings = self.standings();
        let standing = &mut standings[index];
        match result {
            Ok(()) => {
                standing.well();
                Ok(())
            }
            Err(error) => {
                if is_of_the_service(&error) {
                    standing.failed(ctx.now(), self.config.unhealthy_after, self.config.cooldown);
                }
                let elsewhere = self.config.fallback && may_differ_elsewhere(&error);
                Err((error, elsewhere))
            }
        }
    }

    fn announce(chosen: &Chosen<'_>, behind: bool, ctx: &CallContext) {
        let info = chosen.route.model.info();
        ctx.emit(|| CallEvent::Routed {
            provider: &info.provider,
            model: &info.model,
            why: if behind { "fallback" } else { chosen.why },
        });
    }
}

/// Whether the error says something about the service rather than about the request or the caller.
fn is_of_the_service(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Overloaded
        | ErrorKind::Transport
        | ErrorKind::Protocol
        | ErrorKind::RateLimited
        | ErrorKind::Auth => true,
        // The caller's own deadline may have been short.
        ErrorKind::Timeout => error.code() != ErrorCode::DeadlineExceeded,
        _ => matches!(error.code(), ErrorCode::ModelNotAvailable | ErrorCode::NotFound),
    }
}

/// Whether another model may succeed where this one failed: never for what the caller did.
fn may_differ_elsewhere(error: &Error) -> bool {
    is_of_the_service(error)
}

/// What any of them can do; limits are the widest, unknown if any is.
fn union<'c>(all: impl Iterator<Item = &'c Capabilities> + Clone) -> Capabilities {
    let any = |has: fn(&Capabilities) -> bool| all.clone().any(has);
    let widest = |of: fn(&Capabilities) -> Option<u32>| {
        all.clone().map(of).try_fold(0, |widest, n| Some(widest.max(n?)))
    };
    Capabilities {
        streaming: any(|c| c.streaming),
        tools: any(|c| c.tools),
        images: any(|c| c.images),
        documents: any(|c| c.documents),
        structured_output: any(|c| c.structured_output),
        prompt_cache: any(|c| c.prompt_cache),
        usage: all.clone().all(|c| c.usage),
        seed: any(|c| c.seed),
        max_temperature: all
            .clone()
            .map(|c| c.max_temperature)
            .try_fold(0.0_f64, |widest, t| Some(widest.max(t?))),
        context_tokens: widest(|c| c.context_tokens),
        max_output_tokens: widest(|c| c.max_output_tokens),
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ChatModel for Router {
    /// Provider `router`; the models, joined by `|`; what any of them can do.
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse> {
        let order = self.order(request, false, ctx)?;
        let last = order.len() - 1;
        for (n, chosen) in order.iter().enumerate() {
            Self::announce(chosen, n > 0, ctx);
            let mut answer = None;
            let result = chosen.route.model.generate(request, ctx).await.map(|a| answer = Some(a));
            match (self.note(chosen.index, result, ctx), answer) {
                (Ok(()), Some(answer)) => return Ok(answer),
                (Err((error, elsewhere)), _) if n == last || !elsewhere => return Err(error),
                _ => {}
            }
        }
        unreachable!("the last route returns")
    }

    async fn drive(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        let order = self.order(request, true, ctx)?;
        let last = order.len() - 1;
        let mut sink = Delivered::new(sink);
        for (n, chosen) in order.iter().enumerate() {
            Self::announce(chosen, n > 0, ctx);
            let mut outcome = None;
            let result = chosen.route.model.drive(request, ctx, &mut sink).await.map(|o| outcome = Some(o));
            match (self.note(chosen.index, result, ctx), outcome) {
                (Ok(()), Some(outcome)) => return Ok(outcome),
                (Err((error, elsewhere)), _) if n == last || !elsewhere || sink.content => return Err(error),
                _ => {}
            }
        }
        unreachable!("the last route returns")
    }

    fn stream<'a>(&'a self, request: &'a ChatRequest, ctx: &'a CallContext) -> EventStream<'a> {
        stream_of_drive(self, request, ctx)
    }

    /// Probes all routes at once: healthy when all are, degraded when some are, unhealthy when none is. What it finds also
    /// counts for the choice.
    async fn check_health(&self, ctx: &CallContext) -> Health {
        let found = join_all(self.routes.iter().map(|r| r.model.check_health(ctx))).await;
        let mut health = Health::pending(&self.info, ctx);
        let well = found.iter().filter(|h| h.state != HealthState::Unhealthy).count();
        health.state = match well {
            0 => HealthState::Unhealthy,
            _ if found.iter().all(|h| h.state == HealthState::Healthy) => HealthState::Healthy,
            _ => HealthState::Degraded,
        };
        health.latency = found.iter().filter_map(|h| h.latency).max();
        let mut reasons = Vec::new();
        let mut standings = self.standings();
        for ((route, found), standing) in self.routes.iter().zip(&found).zip(standings.iter_mut()) {
            let state = format!("{:?}", found.state).to_lowercase();
            health.details.insert(format!("route.{}", route.name), state);
            if let Some(reason) = &found.reason {
                reasons.push(format!("{}: {reason}", route.name));
            }
            if found.state == HealthState::Unhealthy {
                standing.out_until(ctx.now() + self.config.cooldown);
            } else {
                standing.well();
            }
        }
        health.reason = (!reasons.is_empty()).then(|| reasons.join("; "));
        health
    }
}
