//! `validate --statistics`: the simulations of `bench_analysis::simulate`, on all processors. Needs no server.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bench_analysis::simulate::{Options, experiments, run};

use super::Validation;
use crate::{cli::ValidateArgs, exit::Failure};

/// Does every experiment; each of its rows is a finding.
pub(super) async fn statistics(args: &ValidateArgs) -> Result<Validation, Failure> {
    let options = if args.quick { Options::quick() } else { Options::full() };
    let quiet = args.quiet;
    // a thread of its own, which an interrupt does not wait for
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let experiments = experiments();
        let done = AtomicUsize::new(0);
        let rows = run(&experiments, &options, &|i| {
            let done = done.fetch_add(1, Relaxed) + 1;
            if !quiet {
                say(&format!("{done} of {}, {}", experiments.len(), experiments[i].topic));
            }
        });
        // nobody listens any more after an interrupt
        let _ = tell.send(rows);
    });
    let statistics =
        told.await.map_err(|_| Failure::run("a simulation broke off; please report this".to_owned()))?;
    Ok(Validation { statistics, ..Validation::default() })
}

#[allow(clippy::print_stderr, reason = "progress belongs on standard error")]
fn say(what: &str) {
    eprintln!("validate: {what}");
}
