//! The program's library: command line, configuration file, wiring, progress. The only crate that knows all others.

mod backpressure;
mod calibrate;
mod capacity;
pub mod cli;
pub mod config_file;
mod doctor;
pub mod exit;
mod forecast;
pub mod limit_args;
mod lines;
pub mod load_args;
mod logging;
mod mock_serve;
mod output;
pub mod plan;
pub mod progress;
pub mod providers;
pub mod saved;
mod scenarios;
pub mod session;
mod signals;
pub mod simulated;
mod soak;
mod stress;
pub mod target;
mod telemetry;
mod tokenizer;
pub mod tokens;
pub mod validate;
pub mod work_args;

use crate::{
    cli::{Cli, Command, MockCommand},
    exit::{Exit, Failure},
    session::Kind,
};

/// Runs a command to its exit code.
///
/// # Errors
/// One message that says what was wrong, where, and what to do.
pub fn run(cli: Cli) -> Result<Exit, Failure> {
    logging::start(cli.log.as_deref(), cli.log_format)?;
    match cli.command {
        Command::Compare(args) => block_on(session::execute(&args, Kind::Compare)),
        Command::Run(args) => block_on(session::execute(&args, Kind::Run)),
        Command::Plan(args) => forecast::execute(&args),
        Command::Report(args) => session::report(&args),
        Command::Study(args) => saved::study(&args),
        Command::Aggregate(args) => saved::aggregate(&args),
        Command::Trend(args) => saved::trend(&args),
        Command::Gate(args) => saved::gate(&args),
        Command::Tokens(args) => tokens::execute(&args),
        Command::Mock(MockCommand::Serve(args)) => block_on(mock_serve::serve(&args)),
        Command::Doctor(args) => block_on(doctor::examine(&args)),
        Command::Capacity(args) => block_on(capacity::execute(*args)),
        Command::Soak(args) => block_on(soak::execute(&args)),
        Command::Stress(args) => block_on(stress::execute(*args)),
        Command::Backpressure(args) => block_on(backpressure::execute(&args)),
        Command::Validate(args) => block_on(validate::validate(&args)),
        Command::Scenarios => Ok(scenarios::list()),
    }
}

/// Runs on half of the processors as workers, one at least: measured on two, one worker costs a quarter less CPU time for an
/// answer than two that steal from one another, and answers a third more requests; the other half is for what is measured
/// on the same machine, and for the thread that takes the records. `TOKIO_WORKER_THREADS` says another number.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        runtime.worker_threads((processors / 2).max(1));
    }
    runtime
        .enable_all()
        .build()
        .map_err(|e| Failure::run(format!("cannot start the async runtime: {e}")))?
        .block_on(async {
            signals::outgrown_files_are_errors();
            future.await
        })
}
