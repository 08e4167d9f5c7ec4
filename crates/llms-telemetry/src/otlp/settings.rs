//! Where telemetry goes, from the caller's configuration and the standard variables: a pure function, nothing is
//! opened here. What cannot be honoured is refused by name.
//!
//! # Source
//! OpenTelemetry specification, `configuration/sdk-environment-variables.md` and `protocol/exporter.md`. An empty
//! variable counts as unset.

use std::{fmt, time::Duration};

use llms_core::config::Env;
use reqwest::header::{HeaderName, HeaderValue};
use url::Url;

use super::Config;
use crate::{Semconv, TelemetryError};

const DEFAULT_ENDPOINT: &str = "http://localhost:4318";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }

    fn exporter_variable(self) -> &'static str {
        match self {
            Self::Traces => "OTEL_TRACES_EXPORTER",
            Self::Metrics => "OTEL_METRICS_EXPORTER",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        }
    }
}

/// Where one kind of telemetry goes.
#[derive(Clone)]
pub(super) struct Destination {
    pub(super) url: Url,
    pub(super) timeout: Duration,
    /// Values as they stand in the variable, percent-encoded; secrets, never shown.
    pub(super) headers: Vec<(String, String)>,
    /// PEM file of further roots of trust.
    pub(super) certificate: Option<String>,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Destination")
            .field("url", &self.shown())
            .field("timeout", &self.timeout)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

impl Destination {
    /// The address without query, which may hold a key.
    pub(super) fn shown(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.to_string()
    }
}

/// What to export, and how.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) traces: Option<Destination>,
    pub(super) metrics: Option<Destination>,
    pub(super) interval: Duration,
    pub(super) resource: Vec<(String, String)>,
    pub(super) semconv: Semconv,
}

/// An environment in which empty variables are unset.
pub(super) struct Vars<'e>(pub(super) &'e Env<'e>);

impl Vars<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
    }

    /// The variable of one signal, else the general one, with the name of the one that is set.
    fn of(&self, signal: Signal, what: &str) -> Option<(String, String)> {
        [format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.word()), format!("OTEL_EXPORTER_OTLP_{what}")]
            .into_iter()
            .find_map(|name| self.get(&name).map(|value| (name, value)))
    }

    pub(super) fn disabled(&self) -> bool {
        self.get("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"))
    }

    /// Whether an endpoint or an exporter is named.
    pub(super) fn wanted(&self) -> bool {
        let named = |signal: Signal| self.get(signal.exporter_variable()).map(|v| v != "none");
        let endpoint = |signal| self.of(signal, "ENDPOINT").is_some();
        let one = |signal| named(signal).unwrap_or_else(|| endpoint(signal));
        !self.disabled() && (one(Signal::Traces) || one(Signal::Metrics))
    }
}

fn millis(name: &str, value: &str) -> Result<Duration, TelemetryError> {
    match value.parse::<u64>() {
        Ok(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
        _ => Err(TelemetryError::setting(name, format!("expected milliseconds above 0, got {value:?}"))),
    }
}

impl Settings {
    pub(super) fn resolve(config: &Config, env: &Env<'_>) -> Result<Self, TelemetryError> {
        let vars = Vars(env);
        let interval = match vars.get("OTEL_METRIC_EXPORT_INTERVAL") {
            Some(value) => millis("OTEL_METRIC_EXPORT_INTERVAL", &value)?,
            None => DEFAULT_INTERVAL,
        };
        let opted = vars.get("OTEL_SEMCONV_STABILITY_OPT_IN").unwrap_or_default();
        let latest = opted.split(',').any(|v| v.trim() == "gen_ai_latest_experimental");
        Ok(Self {
            traces: destination(Signal::Traces, config, &vars)?,
            metrics: destination(Signal::Metrics, config, &vars)?,
            interval,
            resource: resource(config, &vars)?,
            semconv: if latest { Semconv::Latest } else { Semconv::V1_41 },
        })
    }
}

fn destination(
    signal: Signal,
    config: &Config,
    vars: &Vars<'_>,
) -> Result<Option<Destination>, TelemetryError> {
    let variable = signal.exporter_variable();
    match vars.get(variable).as_deref() {
        None | Some("otlp") => {}
        Some("none") => return Ok(None),
        Some(other) => {
            let why = format!("{other:?} is not supported here; set it to otlp or none");
            return Err(TelemetryError::setting(variable, why));
        }
    }
    if let Some((name, protocol)) = vars.of(signal, "PROTOCOL")
        && protocol != "http/protobuf"
    {
        let why = format!(
            "{protocol:?} is not supported; set it to http/protobuf and the endpoint to the collector's HTTP port \
             (usually 4318; 4317 is gRPC)"
        );
        return Err(TelemetryError::setting(name, why));
    }
    for what in ["CLIENT_KEY", "CLIENT_CERTIFICATE"] {
        if let Some((name, _)) = vars.of(signal, what) {
            let why =
                "client certificates are not supported; send a header through OTEL_EXPORTER_OTLP_HEADERS";
            return Err(TelemetryError::setting(name, why));
        }
    }
    let own = format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.word());
    let url = if let Some(endpoint) = &config.endpoint {
        address("the OTLP endpoint", endpoint, Some(signal))?
    } else if let Some(endpoint) = vars.get(&own) {
        address(&own, &endpoint, None)?
    } else if let Some(endpoint) = vars.get("OTEL_EXPORTER_OTLP_ENDPOINT") {
        address("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint, Some(signal))?
    } else {
        address("the OTLP endpoint", DEFAULT_ENDPOINT, Some(signal))?
    };
    let timeout = match vars.of(signal, "TIMEOUT") {
        Some((name, value)) => millis(&name, &value)?,
        None => DEFAULT_TIMEOUT,
    };
    let headers = match vars.of(signal, "HEADERS") {
        Some((name, value)) => headers(&name, &value)?,
        None => Vec::new(),
    };
    let certificate = vars.of(signal, "CERTIFICATE").map(|(_, file)| file);
    Ok(Some(Destination { url, timeout, headers, certificate }))
}

/// The address of one signal: the base with its path, or, where the variable is the signal's own, as it is.
fn address(setting: &str, text: &str, append: Option<Signal>) -> Result<Url, TelemetryError> {
    let fail = |why: &str| Err(TelemetryError::setting(setting, why));
    let Ok(mut url) = Url::parse(text) else {
        return fail("expected an address such as http://127.0.0.1:4318");
    };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return fail(
            "expected an address that begins with http:// or https://, such as http://127.0.0.1:4318",
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return fail(
            "an address must not hold credentials; send a header through OTEL_EXPORTER_OTLP_HEADERS",
        );
    }
    if let Some(signal) = append {
        let path = format!("{}{}", url.path().trim_end_matches('/'), signal.path());
        url.set_path(&path);
    }
    Ok(url)
}

fn headers(variable: &str, text: &str) -> Result<Vec<(String, String)>, TelemetryError> {
    let mut headers = Vec::new();
    for (at, part) in text.split(',').map(str::trim).enumerate().filter(|(_, p)| !p.is_empty()) {
        // The text may be a secret: only its place is told.
        let fail = |why: &str| TelemetryError::setting(variable, format!("{why} in part {}", at + 1));
        let (name, value) = part.split_once('=').ok_or_else(|| fail("expected name=value"))?;
        let (name, value) = (name.trim(), value.trim());
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            return Err(fail("expected the name of an HTTP header before ="));
        }
        let decoded = percent_decoded(value).unwrap_or_else(|| value.to_owned());
        if HeaderValue::from_str(&decoded).is_err() {
            return Err(fail("expected a value that an HTTP header can hold after ="));
        }
        headers.push((name.to_owned(), value.to_owned()));
    }
    Ok(headers)
}

/// `service.name` and whatever else describes this process. `OTEL_SERVICE_NAME`, then `OTEL_RESOURCE_ATTRIBUTES`, win
/// over the caller's name; the caller's attributes win over those of the variable.
fn resource(config: &Config, vars: &Vars<'_>) -> Result<Vec<(String, String)>, TelemetryError> {
    const VARIABLE: &str = "OTEL_RESOURCE_ATTRIBUTES";
    let mut all = vec![("service.name".to_owned(), config.service_name.clone())];
    let mut set = |name: &str, value: String| match all.iter_mut().find(|(n, _)| n == name) {
        Some((_, old)) => *old = value,
        None => all.push((name.to_owned(), value)),
    };
    for part in vars.get(VARIABLE).unwrap_or_default().split(',').filter(|p| !p.trim().is_empty()) {
        let (name, value) = part
            .split_once('=')
            .ok_or_else(|| TelemetryError::setting(VARIABLE, format!("expected name=value, got {part:?}")))?;
        let value = value.trim();
        set(name.trim(), percent_decoded(value).unwrap_or_else(|| value.to_owned()));
    }
    for (name, value) in &config.resource {
        set(name, value.clone());
    }
    if let Some(name) = vars.get("OTEL_SERVICE_NAME") {
        set("service.name", name);
    }
    Ok(all)
}

/// `None` when an escape is broken or the result is no text.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(b) = rest.next() {
        if b == b'%' {
            let digit = |b: Option<u8>| char::from(b?).to_digit(16);
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            bytes.push((high * 16 + low) as u8);
        } else {
            bytes.push(b);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(vars: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> + Send + Sync + use<> {
        let vars: Vec<_> = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        move |name: &str| vars.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone())
    }

    fn resolve(endpoint: Option<&str>, vars: &[(&str, &str)]) -> Result<Settings, TelemetryError> {
        let config = Config { endpoint: endpoint.map(Into::into), ..Config::new("llms-bench") };
        Settings::resolve(&config, &env(vars))
    }

    #[track_caller]
    fn check(endpoint: Option<&str>, vars: &[(&str, &str)], traces: Option<&str>, metrics: Option<&str>) {
        let settings = resolve(endpoint, vars).unwrap();
        assert_eq!(settings.traces.map(|d| d.shown()).as_deref(), traces);
        assert_eq!(settings.metrics.map(|d| d.shown()).as_deref(), metrics);
    }

    #[test]
    fn endpoints_follow_the_specification() {
        let (t, m) = (Some("http://localhost:4318/v1/traces"), Some("http://localhost:4318/v1/metrics"));
        check(None, &[], t, m);
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c.example/otlp/");
        let (ct, cm) = (Some("https://c.example/otlp/v1/traces"), Some("https://c.example/otlp/v1/metrics"));
        check(None, &[base], ct, cm);
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t.example:9/x");
        check(None, &[base, own], Some("http://t.example:9/x"), cm);
        check(Some("http://localhost:4318"), &[base, own], t, m);
        check(None, &[("OTEL_TRACES_EXPORTER", "none")], None, m);
        check(None, &[("OTEL_TRACES_EXPORTER", ""), ("OTEL_METRICS_EXPORTER", "none")], t, None);
    }

    #[track_caller]
    fn refused(vars: &[(&str, &str)], expected: &str) {
        let told = resolve(None, vars).unwrap_err().to_string();
        assert!(told.contains(expected), "{told}");
        assert!(!told.contains("s3cret"), "{told}");
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name_and_without_secrets() {
        let grpc = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        refused(&grpc, "OTEL_EXPORTER_OTLP_PROTOCOL: \"grpc\" is not supported; set it to http/protobuf");
        refused(
            &[("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json")],
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
        );
        refused(&[("OTEL_TRACES_EXPORTER", "zipkin")], "OTEL_TRACES_EXPORTER: \"zipkin\" is not supported");
        refused(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")], "expected milliseconds above 0, got \"soon\"");
        refused(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318")], "begins with http://");
        refused(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:s3cret@h")], "must not hold credentials");
        refused(
            &[("OTEL_EXPORTER_OTLP_HEADERS", "a=b,s3cret")],
            "OTEL_EXPORTER_OTLP_HEADERS: expected name=value",
        );
        refused(&[("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret%0A")], "in part 1");
        refused(&[("OTEL_EXPORTER_OTLP_CLIENT_KEY", "s3cret.pem")], "OTEL_EXPORTER_OTLP_CLIENT_KEY");
    }

    #[test]
    fn headers_timeouts_and_resource_are_read_and_secrets_not_shown() {
        let settings = resolve(
            None,
            &[
                ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret%3D, x-team = a"),
                ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
                ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
                ("OTEL_RESOURCE_ATTRIBUTES", "service.name=x,team=a%20b"),
                ("OTEL_SERVICE_NAME", "mine"),
                ("OTEL_SEMCONV_STABILITY_OPT_IN", "http, gen_ai_latest_experimental"),
            ],
        )
        .unwrap();
        let shown = format!("{settings:?}");
        assert!(shown.contains("api-key") && !shown.contains("s3cret"), "{shown}");
        let traces = settings.traces.unwrap();
        assert_eq!(traces.headers[0], ("api-key".to_owned(), "s3cret%3D".to_owned()));
        assert_eq!((traces.timeout, settings.interval), (Duration::from_millis(250), Duration::from_secs(1)));
        assert_eq!(settings.metrics.unwrap().timeout, DEFAULT_TIMEOUT);
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(settings.resource, [pair("service.name", "mine"), pair("team", "a b")]);
        assert_eq!(settings.semconv, Semconv::Latest);
    }

    #[test]
    fn export_is_wanted_when_the_variables_say_so() {
        let wanted = |vars: &[(&str, &str)]| super::super::wanted(&env(vars));
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4318");
        assert!(!wanted(&[]));
        assert!(!wanted(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]));
        assert!(!wanted(&[("OTEL_EXPORTER_OTLP_HEADERS", "a=b")]));
        assert!(wanted(&[endpoint]));
        assert!(wanted(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://h:4318/v1/metrics")]));
        assert!(wanted(&[("OTEL_TRACES_EXPORTER", "otlp")]));
        assert!(!wanted(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]));
        let none = [endpoint, ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_METRICS_EXPORTER", "none")];
        assert!(!wanted(&none));
    }
}
