//! `llms-bench doctor`: what works from here, what does not, and what to do about it.
//!
//! Looks at the keys that are set (never at what they are), at this machine, and probes every target named. Nothing is
//! charged unless `--probe one-token` asks for it.

mod machine;
mod render;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use llms_core::{
    CallContext,
    config::{process_env, shown_address},
    health::{Health, HealthState},
    observe::{CallEvent, CallObserver, ConnectionInfo},
    registry::BuildContext,
    wire::Transport,
};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use crate::{
    cli::{DoctorArgs, DoctorFormat},
    config_file::{ConfigFile, DEFAULT_NAME},
    exit::{Exit, Failure},
    providers,
    target::{TargetSpec, unique_names},
};

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    /// As it should be.
    Ok,
    /// Worth knowing; measurements may suffer.
    Warn,
    /// Does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    mark: Mark,
    /// What was looked at.
    what: String,
    /// What was found, and where it is not as it should be, what to do.
    found: String,
}

impl Finding {
    fn new(mark: Mark, what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { mark, what: what.into(), found: found.into() }
    }
}

/// Everything found.
#[derive(Debug, Serialize)]
struct Findings {
    keys: Vec<Finding>,
    machine: Vec<Finding>,
    targets: Vec<TargetFinding>,
}

/// What a probe of a target found.
#[derive(Debug, Serialize)]
struct TargetFinding {
    name: String,
    mark: Mark,
    /// Where requests go.
    endpoint: Option<String>,
    /// What the provider found; absent when no model could be built.
    health: Option<HealthState>,
    /// How long the probe took, in ms; absent when it could not be made.
    latency_ms: Option<f64>,
    /// What the provider tells of the service.
    details: BTreeMap<String, String>,
    /// What is wrong and what to do; absent when all is well.
    advice: Option<String>,
    /// In ms; absent where the transport cannot tell, or nothing of the kind happened.
    dns_ms: Option<f64>,
    tcp_ms: Option<f64>,
    tls_ms: Option<f64>,
    /// Seconds that this machine's clock is ahead of the server's `date` header, which has a resolution of 1 s.
    clock_ahead_s: Option<f64>,
}

/// Looks at everything and prints it.
///
/// # Errors
/// Wrong arguments or configuration; a target that does not work is a finding, with exit code 3.
pub(crate) async fn examine(args: &DoctorArgs) -> Result<Exit, Failure> {
    let specs = targets(args)?;
    let names = unique_names(&specs)?;
    let transport = providers::transport(&args.connect)?;
    let mut found = Findings { keys: keys(), machine: machine::findings(), targets: Vec::new() };
    for (spec, name) in specs.iter().zip(names) {
        found.targets.push(target(spec, name, args, &transport).await?);
    }
    let text = match args.format {
        DoctorFormat::Text => render::text(&found),
        DoctorFormat::Json => render::json(&found),
    };
    crate::output::print(&text)?;
    let broken = found.targets.iter().any(|t| t.mark == Mark::Fail);
    Ok(if broken { Exit::Run } else { Exit::Ok })
}

fn targets(args: &DoctorArgs) -> Result<Vec<TargetSpec>, Failure> {
    let default = Path::new(DEFAULT_NAME);
    let mut specs = match &args.config {
        Some(path) => ConfigFile::read(path)?.targets,
        None if default.exists() => ConfigFile::read(default)?.targets,
        None => Vec::new(),
    };
    specs.extend(args.targets.iter().cloned());
    Ok(specs)
}

/// Variables that matter, by provider: those of keys, and those of addresses.
const VARIABLES: &[(&str, &[&str], &[&str])] = &[
    ("openai", &["OPENAI_API_KEY", "AZURE_OPENAI_API_KEY"], &["OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT"]),
    ("anthropic", &["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"], &["ANTHROPIC_BASE_URL"]),
    (
        "bedrock",
        &["AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"],
        &["AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_REGION", "AWS_DEFAULT_REGION"],
    ),
    ("ollama", &["OLLAMA_API_KEY"], &["OLLAMA_HOST"]),
];

fn keys() -> Vec<Finding> {
    let finding = |(provider, keys, places): &(&str, &[&str], &[&str])| {
        let set: Vec<&str> = keys.iter().filter(|v| process_env(v).is_some()).copied().collect();
        let mut found = if set.is_empty() {
            let first = keys[0];
            if *provider == "ollama" {
                "no key, none is needed for a server of your own".to_owned()
            } else {
                format!("no key; set {first} to measure the vendor's own service")
            }
        } else {
            format!("{} set", set.join(", "))
        };
        for place in places.iter().filter(|v| process_env(v).is_some()) {
            found.push_str(&format!(", {place}={}", shown_address(&process_env(place).unwrap_or_default())));
        }
        Finding::new(Mark::Ok, *provider, found)
    };
    VARIABLES.iter().map(finding).collect()
}

/// What the transport and the head of the answer tell.
#[derive(Default)]
struct Seen(Mutex<(Option<ConnectionInfo>, Option<f64>)>);

impl CallObserver for Seen {
    fn observe(&self, event: &CallEvent<'_>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            CallEvent::Connected(info) => seen.0 = Some((*info).clone()),
            CallEvent::Head { headers, .. } => {
                let date =
                    headers.get("date").and_then(|d| OffsetDateTime::parse(d.to_str().ok()?, &Rfc2822).ok());
                seen.1 = date.map(|d| (OffsetDateTime::now_utc() - d).as_seconds_f64());
            }
            _ => {}
        }
    }
}

async fn target(
    spec: &TargetSpec,
    name: String,
    args: &DoctorArgs,
    transport: &Arc<dyn Transport>,
) -> Result<TargetFinding, Failure> {
    let mut config = spec.to_config(args.timeout, &process_env)?;
    if let Some(probe) = args.probe {
        config.health = probe.into();
    }
    let build = BuildContext { transport: transport.clone(), env: &process_env };
    let mut finding = TargetFinding {
        name,
        mark: Mark::Fail,
        endpoint: spec.base_url.as_deref().map(|url| shown_address(url).into_owned()),
        health: None,
        latency_ms: None,
        details: BTreeMap::new(),
        advice: None,
        dns_ms: None,
        tcp_ms: None,
        tls_ms: None,
        clock_ahead_s: None,
    };
    let model = match providers::registry().create(&config, &build).await {
        Ok(model) => model,
        Err(e) => {
            finding.advice = Some(Failure::from(e).message);
            return Ok(finding);
        }
    };
    finding.endpoint.clone_from(&model.info().endpoint);
    let seen = Arc::new(Seen::default());
    let ctx = CallContext::new().with_timeout(args.timeout).with_observer(seen.clone());
    let health = model.check_health(&ctx).await;
    let (connection, ahead) = std::mem::take(&mut *seen.0.lock().unwrap_or_else(PoisonError::into_inner));
    let ms = |span: Option<llms_core::observe::Span>| {
        span.and_then(|s| s.end.since(s.start)).map(|d: Duration| d.as_secs_f64() * 1e3)
    };
    if let Some(c) = connection {
        (finding.dns_ms, finding.tcp_ms, finding.tls_ms) = (ms(c.dns), ms(c.tcp), ms(c.tls));
    }
    // Half a round trip and the second that the header does not tell are no disagreement.
    finding.clock_ahead_s = ahead.map(|s| if s.abs() < 2.0 { 0.0 } else { s });
    finding.mark = match health.state {
        HealthState::Healthy if finding.clock_ahead_s.is_some_and(|s| s.abs() > 60.0) => Mark::Warn,
        HealthState::Healthy if unproven(&health) => Mark::Warn,
        HealthState::Healthy => Mark::Ok,
        HealthState::Degraded | HealthState::Unhealthy => Mark::Fail,
    };
    finding.advice = match (&health.reason, finding.mark) {
        (Some(reason), _) => Some(reason.clone()),
        (None, Mark::Warn) if unproven(&health) => Some(
            "something answers there, but nothing shows that it speaks this protocol: check the path of the address, or ask for a token with --probe one-token".to_owned(),
        ),
        (None, Mark::Warn) => Some("the clocks disagree by more than a minute; signed requests (Bedrock) are refused from 5 minutes on: set this machine's clock".to_owned()),
        (None, _) => None,
    };
    finding.health = Some(health.state);
    finding.latency_ms = health.latency.map(|d| d.as_secs_f64() * 1e3);
    finding.details = health.details;
    Ok(finding)
}

/// Whether the probe only showed that something answers: what it asked for does not exist there.
fn unproven(health: &Health) -> bool {
    const WORDS: [&str; 3] =
        ["not listed by this server", "cannot be looked up on this server", "not offered by this server"];
    health.details.values().any(|v| WORDS.contains(&v.as_str()))
}

/// Facts of a health check, in order.
fn facts(details: &BTreeMap<String, String>) -> String {
    details.iter().map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>().join(" · ")
}
