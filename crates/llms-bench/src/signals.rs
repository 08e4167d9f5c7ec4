//! When somebody wants the program to end: Ctrl-C at the terminal, SIGTERM from service managers, containers and CI.

use std::io;

/// Waits until the program is asked to end.
///
/// # Errors
/// When the system's signals cannot be listened to.
pub(crate) async fn asked_to_end() -> io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminated.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
