//! A program run to its end, with what the kernel says that it used; and a server that ends with its handle.
#![allow(clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

/// A program that ended well, and what it used over its whole life.
pub(crate) struct Used {
    /// What it printed.
    pub(crate) stdout: String,
    /// User and system time of all its threads, in seconds.
    pub(crate) cpu_s: f64,
    /// Most memory resident at a time, in bytes. The kernel begins with what the parent had when it started the
    /// program, so nothing below the size of this process can be seen; it is kept small.
    pub(crate) peak_rss: u64,
}

/// Runs `command` to its end. What it writes to standard error goes to `errors`, and into the message when it fails.
pub(crate) fn run(command: &mut Command, errors: &Path) -> Result<Used, String> {
    let what = command.get_program().to_string_lossy().into_owned();
    let file = fs::File::create(errors).map_err(|e| format!("cannot write {}: {e}", errors.display()))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file)
        .spawn()
        .map_err(|e| format!("cannot run {what}: {e}"))?;
    let mut stdout = String::new();
    let read = child.stdout.take().expect("invariant: standard output is piped").read_to_string(&mut stdout);
    let ended = wait(&mut child).map_err(|e| format!("cannot wait for {what}: {e}"))?;
    read.map_err(|e| format!("cannot read what {what} prints: {e}"))?;
    if !ended.ok {
        let said = fs::read_to_string(errors).unwrap_or_default();
        let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
        return Err(format!("{what} {} failed: {} {}", arguments.join(" "), said.trim(), stdout.trim()));
    }
    Ok(Used { stdout, cpu_s: ended.cpu_s, peak_rss: ended.peak_rss })
}

struct Ended {
    ok: bool,
    cpu_s: f64,
    peak_rss: u64,
}

/// `wait4`: the only call that tells of one child what it used, however short its life was.
#[cfg(unix)]
fn wait(child: &mut Child) -> std::io::Result<Ended> {
    #![allow(unsafe_code, reason = "wait4 has no safe wrapper in our graph")]
    let pid = i32::try_from(child.id()).map_err(std::io::Error::other)?;
    let mut status = 0;
    // SAFETY: a rusage is plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to locals that outlive the call; the child is ours and nobody else waits for it.
        if unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) } == pid {
            break;
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    Ok(Ended {
        ok: status == 0,
        cpu_s: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        peak_rss: u64::try_from(usage.ru_maxrss).unwrap_or(0) * unit,
    })
}

#[cfg(not(unix))]
fn wait(_: &mut Child) -> std::io::Result<Ended> {
    Err(std::io::Error::other("this platform does not tell what a child used; use Linux or macOS"))
}

/// A server, ended with this.
pub(crate) struct Server {
    child: Child,
    /// `HOST:PORT`.
    pub(crate) address: String,
}

impl Server {
    /// Starts `command`, which says in its first line where it listens.
    pub(crate) fn start(command: &mut Command) -> Result<Self, String> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("cannot start the simulated vendors: {e}"))?;
        let output = child.stdout.take().expect("invariant: standard output is piped");
        let mut server = Self { child, address: String::new() };
        let mut lines = BufReader::new(output).lines();
        let first = lines.next().and_then(Result::ok).unwrap_or_default();
        let is_address = |word: &&str| word.parse::<std::net::SocketAddr>().is_ok();
        let address = first.split_whitespace().find(is_address);
        address
            .ok_or(format!("the simulated vendors did not say where they listen: {first:?}"))?
            .clone_into(&mut server.address);
        // Read on, so that it never waits for us.
        thread::spawn(move || lines.for_each(drop));
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, with Ctrl-C for one.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_used_and_how_it_failed() {
        let dir = std::env::temp_dir();
        let errors = dir.join(format!("bench-self-{}", std::process::id()));
        let used = run(Command::new("sh").args(["-c", "echo said"]), &errors).unwrap();
        assert_eq!(used.stdout, "said\n");
        assert!(used.peak_rss > 0);
        let failed = run(Command::new("sh").args(["-c", "echo why >&2; exit 3"]), &errors).err().unwrap();
        assert!(failed.contains("why"), "{failed}");
        fs::remove_file(&errors).unwrap();
    }
}
