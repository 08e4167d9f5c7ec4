//! The `llms-bench` program: parses arguments, runs the command, ends with the documented exit code.

use std::{io::Write as _, process::ExitCode};

use bench_profiling::CountingAllocator;
use clap::Parser;
use llms_bench::cli::Cli;

/// Counts what is allocated, so that a run can say what it cost itself.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::system();

fn main() -> ExitCode {
    more_descriptors();
    let cli = Cli::parse();
    match llms_bench::run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            let mut errors = std::io::stderr().lock();
            for line in failure.message.lines() {
                // Nobody may be listening any more; the exit code tells all the same.
                let _ = writeln!(errors, "llms-bench: {line}");
            }
            failure.exit.into()
        }
    }
}

/// Every connection is a descriptor: as many as this process may have without asking anybody.
fn more_descriptors() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        // Refused where the platform has a lower ceiling of its own: then the limit stays, and is told when it is reached.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
}
