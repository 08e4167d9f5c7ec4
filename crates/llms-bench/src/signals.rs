//! When somebody wants the program to end: Ctrl-C at the terminal, SIGTERM from service managers, containers and CI.

use std::io;

/// Listens from its making on, so that a signal between that and [`SignalsToEnd::asked`] is not lost, nor ends the
/// program the system's way.
pub(crate) struct SignalsToEnd {
    #[cfg(unix)]
    interrupted: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminated: tokio::signal::unix::Signal,
}

impl SignalsToEnd {
    /// # Errors
    /// When the system's signals cannot be listened to.
    pub(crate) fn listen() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self {
                interrupted: signal(SignalKind::interrupt())?,
                terminated: signal(SignalKind::terminate())?,
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Waits until the program is asked to end.
    pub(crate) async fn asked(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupted.recv() => {}
            _ = self.terminated.recv() => {}
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            // Nobody can ask.
            std::future::pending::<()>().await;
        }
    }
}

/// From now on a file that grows beyond its limit (`ulimit -f`) is an error of the write, told like a full disk; left to
/// itself the system would end the program without a word. Needs a runtime; for as long as the process lives.
pub(crate) fn outgrown_files_are_errors() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // Where it cannot be listened for, the system's own way stays.
        let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    }
}
