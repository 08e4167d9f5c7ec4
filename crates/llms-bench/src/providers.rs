//! The wiring of providers and transports: the only place that knows them all.

use std::{path::PathBuf, sync::Arc};

use llms_core::{
    CallContext, CallPhase, ChatModel, ChatRequest, Error, ErrorCode, SharedModel, TimedEvent,
    bench::{Scenario, Target, TargetInfo},
    config::process_env,
    registry::{BuildContext, Registry},
    wire::Transport,
};

use llms_transport::{Direct, Options, Pooled, Roots};

use crate::{
    cli::{ConnectArgs, TransportKind},
    exit::Failure,
    target::{TargetSpec, unique_names},
};

/// A registry with every provider of this build.
pub fn registry() -> Registry {
    let registry = Registry::new();
    llms_providers_openai::register(&registry);
    llms_providers_anthropic::register(&registry);
    llms_providers_bedrock::register(&registry);
    llms_providers_ollama::register(&registry);
    registry.register("mock", bench_mock::MockFactory::default());
    registry
}

/// The HTTP client asked for, with the private authorities that it shall trust.
///
/// # Errors
/// A file of certificates that cannot be read; when TLS cannot be set up.
pub fn transport(connect: &ConnectArgs) -> Result<Arc<dyn Transport>, Failure> {
    let options = Options { roots: roots(connect)?, ..Options::default() };
    Ok(match connect.transport {
        TransportKind::Direct => Arc::new(Direct::new(options)),
        TransportKind::Pooled => Arc::new(Pooled::new(options)?),
    })
}

/// The private authorities to trust.
pub(crate) fn roots(connect: &ConnectArgs) -> Result<Roots, Failure> {
    const VARIABLE: &str = "SSL_CERT_FILE";
    let of_environment =
        process_env(VARIABLE).filter(|v| !v.is_empty()).map(|v| (VARIABLE, PathBuf::from(v)));
    let named = connect.ca_cert.iter().map(|path| ("--ca-cert", path.clone()));
    let mut roots = Roots::default();
    for (origin, path) in named.chain(of_environment) {
        let wrong = |why: String| Failure::usage(format!("{origin}: {}: {why}", path.display()));
        let pem = std::fs::read(&path).map_err(|e| wrong(format!("cannot read the certificates: {e}")))?;
        roots.add_pem(&pem).map_err(|e| wrong(e.message().to_owned()))?;
    }
    Ok(roots)
}

/// Builds every target. Nothing is sent.
///
/// # Errors
/// Configuration errors of any target; a scenario that one of them cannot run.
pub async fn build(
    specs: &[TargetSpec],
    scenario: &Scenario,
    transport: &Arc<dyn Transport>,
) -> Result<Vec<Target>, Failure> {
    let names = unique_names(specs)?;
    let registry = registry();
    let build = BuildContext { transport: transport.clone(), env: &process_env };
    let mut targets = Vec::with_capacity(specs.len());
    for (spec, name) in specs.iter().zip(names) {
        let config = spec.to_config(scenario.timeout, &process_env)?;
        let model = registry
            .create(&config, &build)
            .await
            .map_err(|e| Failure::from(e).at(format!("target {spec}")))?;
        scenario
            .validate_provider(model.info())
            .map_err(|e| Failure::from(e).at(format!("target {spec}")))?;
        let in_process = model.info().endpoint.is_none();
        let info = TargetInfo {
            name,
            model: model.info().clone(),
            simulated: model.info().provider == "mock",
            transport: (!in_process).then(|| transport.info()),
            unavailable: None,
        };
        targets.push(Target { info, model: Some(model) });
    }
    Ok(targets)
}

/// Asks each target for one short answer, so that a wrong key, address or model is known before the run begins. A target that
/// cannot be used is kept, with the reason.
///
/// # Errors
/// A request that cannot even be written down; when no target at all can be used.
pub async fn preflight(
    targets: &mut [Target],
    scenario: &Scenario,
    ctx: &CallContext,
) -> Result<(), Failure> {
    for target in &mut *targets {
        if let Some(model) = target.model.clone()
            && let Err(e) = first_word(&model, scenario, ctx).await
        {
            // What cannot even be written down is wrong usage: it concerns the scenario and the options, not the server.
            if e.phase() == Some(CallPhase::Prepare) && e.code() == ErrorCode::InvalidRequest {
                return Err(Failure::from(e).at(format!("target {}", target.info.name)));
            }
            target.info.unavailable = Some(describe(&e, &target.info));
            target.model = None;
        }
    }
    if targets.iter().all(|t| t.model.is_none()) {
        let reasons: Vec<String> = targets
            .iter()
            .map(|t| format!("{}: {}", t.info.name, t.info.unavailable.as_deref().unwrap_or("unavailable")))
            .collect();
        return Err(Failure::run(reasons.join("\n")));
    }
    Ok(())
}

/// One short answer. Overload and rate limits are findings for the run, not reasons to leave a target out.
async fn first_word(model: &SharedModel, scenario: &Scenario, ctx: &CallContext) -> Result<(), Error> {
    if model.info().provider == "mock" {
        return Ok(());
    }
    let mut request = ChatRequest::text("Say hello.").with_options(scenario.options.clone());
    request.options.max_tokens = Some(request.options.max_tokens.unwrap_or(16).min(16));
    let ctx = CallContext { deadline: Some(ctx.now() + scenario.timeout), ..ctx.clone() };
    // In the way that will be measured: a server may serve one and not the other.
    let mut events = Vec::<TimedEvent>::new();
    let answered = if scenario.streaming {
        model.drive(&request, &ctx, &mut events).await.map(drop)
    } else {
        model.generate(&request, &ctx).await.map(drop)
    };
    match answered {
        // Not one event: a page, or another protocol. A stream that breaks off is for the run to find.
        Err(e) if e.code() == ErrorCode::StreamTruncated && events.is_empty() => Err(e),
        Err(e)
            if matches!(
                e.code(),
                ErrorCode::NetworkError
                    | ErrorCode::Timeout
                    | ErrorCode::DeadlineExceeded
                    | ErrorCode::Authentication
                    | ErrorCode::Authorization
                    | ErrorCode::NotFound
                    | ErrorCode::ModelNotAvailable
                    | ErrorCode::InvalidModel
                    | ErrorCode::InvalidRequest
                    | ErrorCode::QuotaExceeded
                    | ErrorCode::MalformedResponse
                    | ErrorCode::Cancelled
            ) =>
        {
            Err(e)
        }
        _ => Ok(()),
    }
}

/// What is wrong with a target and what to do about it.
fn describe(e: &Error, info: &TargetInfo) -> String {
    // What the transport says of a connection has its advice in it.
    if e.code() == ErrorCode::NetworkError {
        return format!("{} ({})", e.message(), e.code());
    }
    let at = info.model.endpoint.as_deref().unwrap_or("in-process");
    let advice = match e.code() {
        ErrorCode::Timeout | ErrorCode::DeadlineExceeded => {
            "it did not answer in time; allow more with --timeout".to_owned()
        }
        ErrorCode::Authentication | ErrorCode::Authorization => "check the key and its rights".to_owned(),
        ErrorCode::NotFound => format!("check the path of {at}"),
        ErrorCode::ModelNotAvailable | ErrorCode::InvalidModel => {
            format!("check the model name `{}`", info.model.model)
        }
        ErrorCode::QuotaExceeded => "check credit and quota of the account".to_owned(),
        ErrorCode::MalformedResponse | ErrorCode::StreamTruncated => {
            format!("check that {at} speaks the protocol of {}", info.model.provider)
        }
        _ => "mend the request or choose another target".to_owned(),
    };
    let status = e.status().map_or_else(String::new, |s| format!(", HTTP {s}"));
    format!("{} ({}{status}); {advice}", e.message(), e.code())
}
